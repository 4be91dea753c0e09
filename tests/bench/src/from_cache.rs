//! Answers from the cache, beside a hyper server that gives the same answer without a thought.

use std::process::Command;

use crate::bridge::{Access, Bridge, Core, Settings, question};
use crate::connection::{Answer, Connection};
use crate::load::{Load, Question};
use crate::process::{Process, free_address};
use crate::report::{Report, Target};
use crate::rounds::{Contender, Rounds, Targets};
use crate::workplace::Workplace;
use crate::{Effort, Result};

/// Enough to keep the server busy, few enough to leave latency a meaning.
const CONNECTIONS: usize = 32;
/// All of them are in the cache after the first moment.
const SUBSCRIBERS: u64 = 64;
/// What the bridge adds to an answer by itself; hyper adds the rest in both.
const HEADERS: [&str; 3] = ["content-type", "cache-control", "x-correlator"];
const TARGETS: Targets = Targets {
    processor: Target::AtMost(1.25),
    throughput: Target::AtLeast(0.8),
};

/// A token that is known already is looked up, not verified.
const TOKEN_TARGETS: Targets = Targets {
    processor: Target::AtMost(1.1),
    throughput: Target::None,
};

pub(crate) fn measure(workplace: &Workplace, effort: Effort, report: &mut Report) -> Result<()> {
    let core = Core::start(workplace, SUBSCRIBERS)?;
    let settings = Settings {
        access: Access::Tokens,
        lifetime: "1day",
        entries: SUBSCRIBERS,
        device_types: None,
    };
    let bridge = Bridge::start(workplace, &core, settings)?;
    let token = core.token()?;
    let answer = Connection::open(bridge.address)?.ask(&token, &question(0))?;
    if answer.status != 200 {
        return Err(format!("the bridge answers {}", answer.status).into());
    }
    let address = free_address()?;
    let mut bare = Process::start(
        "the bare hyper server",
        Command::new(&workplace.bench)
            .args(["bare-hyper", "--listen", &address.to_string()])
            .args(as_arguments(&answer)?),
    )?;
    bare.wait_until(|| Connection::open(address).is_ok())?;
    let ours = Contender {
        process: &bridge.process,
        address: bridge.address,
        question: Question::Bridge(&token),
    };
    let theirs = Contender {
        process: &bare,
        address,
        question: Question::Bridge(&token),
    };
    let load = Load::new(workplace, CONNECTIONS, SUBSCRIBERS)?;
    Rounds::run(&load, effort, &ours, &theirs)?.tell("cache / bare hyper", TARGETS, report);
    drop(bare);
    let settings = Settings {
        access: Access::Anybody,
        ..settings
    };
    let bridge = Bridge::start(workplace, &core, settings)?;
    let open = Contender {
        process: &bridge.process,
        address: bridge.address,
        question: Question::Open,
    };
    let rounds = Rounds::run(&load, effort, &ours, &open)?;
    rounds.tell("cache, tokens / none", TOKEN_TARGETS, report);
    Ok(())
}

/// The answer as the bare server takes it.
fn as_arguments(answer: &Answer) -> Result<Vec<String>> {
    let mut arguments = Vec::new();
    for name in HEADERS {
        let value = answer.header(name).ok_or(format!("no {name}"))?;
        arguments.extend(["--header".to_owned(), format!("{name}: {value}")]);
    }
    let body = String::from_utf8(answer.body.clone())?;
    arguments.extend(["--body".to_owned(), body]);
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_arguments() {
        let header = |name: &str| (name.to_owned(), "x".to_owned());
        let answer = Answer {
            status: 200,
            headers: HEADERS.map(header).to_vec(),
            body: b"{}".to_vec(),
        };
        let arguments = as_arguments(&answer).unwrap();
        assert_eq!(arguments[..2], ["--header", "content-type: x"]);
        assert_eq!(arguments[6..], ["--body", "{}"]);
        assert!(as_arguments(&Answer::default()).is_err());
    }
}
