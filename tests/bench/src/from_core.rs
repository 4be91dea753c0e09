//! Answers from the core, beside nghttpx that passes the same question on and the answer back.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::bridge::{Access, Bridge, Core, Settings};
use crate::connection::Connection;
use crate::load::{Load, Question};
use crate::process::{Process, free_address};
use crate::report::{Report, Target};
use crate::rounds::{Contender, Rounds, Targets};
use crate::workplace::Workplace;
use crate::{Effort, Result};

/// As many questions are on their way to the core at once.
const CONNECTIONS: usize = 64;
/// Many more than are on their way, so that no two questions under way are the same.
const SUBSCRIBERS: u64 = 100_000;
const TARGETS: Targets = Targets {
    processor: Target::AtMost(1.2),
    throughput: Target::None,
};

pub(crate) fn measure(workplace: &Workplace, effort: Effort, report: &mut Report) -> Result<()> {
    let core = Core::start(workplace, SUBSCRIBERS)?;
    let token = core.token()?;
    let (proxy, address) = start_proxy(core.address)?;
    let theirs = Contender {
        process: &proxy,
        address,
        question: Question::Core,
    };
    let load = Load::new(workplace, CONNECTIONS, SUBSCRIBERS)?;
    // The proxy checks no tokens: the bridge does what it does, and then more.
    for (access, question, what) in [
        (Access::Anybody, Question::Open, "core, no tokens / nghttpx"),
        (Access::Tokens, Question::Bridge(&token), "core / nghttpx"),
    ] {
        let settings = Settings {
            access,
            lifetime: "0s",
            entries: SUBSCRIBERS,
            device_types: None,
        };
        let bridge = Bridge::start(workplace, &core, settings)?;
        let ours = Contender {
            process: &bridge.process,
            address: bridge.address,
            question,
        };
        Rounds::run(&load, effort, &ours, &theirs)?.tell(what, TARGETS, report);
    }
    Ok(())
}

/// nghttpx with its defaults, without TLS, in the one process whose time is taken.
fn start_proxy(core: SocketAddr) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let mut proxy = Process::start(
        "nghttpx",
        Command::new("nghttpx")
            .args(["--conf=/dev/null", "--single-process"])
            .arg(format!(
                "--frontend={},{};no-tls",
                address.ip(),
                address.port()
            ))
            .arg(format!(
                "--backend={},{};/;proto=h2",
                core.ip(),
                core.port()
            ))
            .args(["--errorlog-file=/dev/null", "--accesslog-file=/dev/null"])
            // Says at every start that it reads its configuration.
            .stderr(Stdio::null()),
    )?;
    proxy.wait_until(|| Connection::open(address).is_ok())?;
    Ok((proxy, address))
}
