//! The same question in every version of the API, beside v0.1.0: rules are data and cost nothing.
//!
//! One bridge answers both contenders, so that nothing but the version differs.

use crate::bridge::{Access, Bridge, Core, Settings};
use crate::load::{Load, Question};
use crate::report::{Report, Target};
use crate::rounds::{Contender, Rounds, Targets};
use crate::workplace::Workplace;
use crate::{Effort, Result};

/// Enough to keep the server busy, few enough to leave latency a meaning.
const CONNECTIONS: usize = 32;
/// All of them are in the cache after the first moment.
const SUBSCRIBERS: u64 = 64;
/// Those that are compared with v0.1.0.
const LATER: [&str; 3] = ["v0.2", "v0.3", "v0.4alpha1"];
const TARGETS: Targets = Targets {
    processor: Target::AtMost(1.03),
    throughput: Target::AtLeast(0.97),
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
    let contender = |question| Contender {
        process: &bridge.process,
        address: bridge.address,
        question,
    };
    let first = contender(Question::Bridge(&token));
    let load = Load::new(workplace, CONNECTIONS, SUBSCRIBERS)?;
    for version in LATER {
        let later = contender(Question::Version(version, &token));
        let rounds = Rounds::run(&load, effort, &later, &first)?;
        rounds.tell(&format!("{version} / v0.1.0"), TARGETS, report);
    }
    Ok(())
}
