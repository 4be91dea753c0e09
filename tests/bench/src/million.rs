//! The memory of a million cached subscribers, beside a bare moka cache with as many entries.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bridge::{Access, Bridge, Core, Settings, question};
use crate::connection::Connection;
use crate::report::{Report, Row, Target};
use crate::start::as_f64;
use crate::stats::Spread;
use crate::workplace::Workplace;
use crate::{Effort, Result};

/// Enough to keep both cores busy.
const CONNECTIONS: usize = 32;
/// Asked before, so that what connections and their buffers take does not count as cache.
const WARM_UP: u64 = 2000;
const TARGET: Target = Target::AtMost(1.1);

pub(crate) fn measure(workplace: &Workplace, effort: Effort, report: &mut Report) -> Result<()> {
    let entries = effort.subscribers;
    // Room to spare: an entry that is evicted would not weigh anything.
    let capacity = entries + entries / 10;
    let ours = bridge_growth(workplace, entries, capacity)? / as_f64(entries);
    let theirs = moka_growth(workplace, entries, capacity)? / as_f64(entries);
    report.add(Row {
        what: format!("{entries} cached / bare moka: bytes an entry"),
        ours: Spread::of([ours]),
        theirs: Spread::of([theirs]),
        digits: 0,
        measured: Spread::of([ours / theirs]),
        target: TARGET,
    });
    Ok(())
}

/// The bytes by which the bridge grows when it is asked about each of `entries` subscribers.
fn bridge_growth(workplace: &Workplace, entries: u64, capacity: u64) -> Result<f64> {
    let core = Core::start(workplace, entries + WARM_UP)?;
    let settings = Settings {
        access: Access::Tokens,
        lifetime: "1day",
        entries: capacity,
        device_types: None,
    };
    let bridge = Bridge::start(workplace, &core, settings)?;
    let token = core.token()?;
    ask_all(bridge.address, &token, entries..entries + WARM_UP)?;
    let before = bridge.process.resident()?;
    ask_all(bridge.address, &token, 0..entries)?;
    Ok(as_f64(bridge.process.resident()?.saturating_sub(before)))
}

/// Asks about each subscriber once, over several connections at a time.
fn ask_all(address: SocketAddr, token: &str, subscribers: std::ops::Range<u64>) -> Result<()> {
    let next = AtomicU64::new(subscribers.start);
    let ask = || -> Result<()> {
        let mut connection = Connection::open(address)?;
        loop {
            let subscriber = next.fetch_add(1, Ordering::Relaxed);
            if subscriber >= subscribers.end {
                return Ok(());
            }
            let answer = connection.ask(token, &question(subscriber))?;
            if answer.status != 200 {
                return Err(format!("the bridge answers {}", answer.status).into());
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or(Err("a thread panicked".into())))
    })
}

/// The same of the bare cache, as it says itself.
fn moka_growth(workplace: &Workplace, entries: u64, capacity: u64) -> Result<f64> {
    let output = Command::new(&workplace.bench)
        .args(["bare-moka", "--entries", &entries.to_string()])
        .args(["--capacity", &capacity.to_string()])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let bytes = text.trim().parse::<f64>();
    bytes.map_err(|_| format!("the bare cache did not say what it weighs: {text:?}").into())
}
