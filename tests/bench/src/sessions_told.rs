//! The same table, kept over the wire: the simulated SMF tells all of its sessions in notifications
//! to the bridge's callback listener. What the whole bridge weighs by then, and whether it knows
//! whose address is whose; what a question to the table takes is measured in [`crate::sessions`].

use std::net::{Ipv6Addr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bridge::{Core, JSON, PATH};
use crate::connection::Connection;
use crate::process::{Process, free_address};
use crate::report::{Report, Row, Target};
use crate::start::as_f64;
use crate::stats::Spread;
use crate::workplace::Workplace;
use crate::{Effort, Result};

/// A gigabyte for ten million.
const BYTES: Target = Target::AtMost(100.0);
/// Ten million take some minutes.
const PATIENCE: Duration = Duration::from_mins(30);
const PAUSE: Duration = Duration::from_millis(100);
/// Sessions whose address is asked about in the end.
const ASKED: u64 = 2000;

pub(crate) fn measure(workplace: &Workplace, effort: Effort, report: &mut Report) -> Result<()> {
    let sessions = effort.told;
    let without = Told::start(workplace, 0)?.bridge.resident()?;
    let told = Told::start(workplace, sessions)?;
    let grown = told.bridge.resident()?.saturating_sub(without);
    let processor = told.bridge.processor_time()?.as_secs_f64();
    told.knows_them(sessions)?;
    let count = as_f64(sessions);
    for (what, value, digits, target) in [
        (
            "bytes a session, all in all",
            as_f64(grown) / count,
            0,
            BYTES,
        ),
        (
            "CPU a session, µs",
            processor * 1e6 / count,
            1,
            Target::None,
        ),
        (
            "sessions/s",
            count / told.took.as_secs_f64(),
            0,
            Target::None,
        ),
    ] {
        let spread = Spread::of([value]);
        report.add(Row {
            what: format!("{sessions} sessions told by an SMF: {what}"),
            ours: spread,
            theirs: None,
            digits,
            measured: spread,
            target,
        });
    }
    Ok(())
}

/// A bridge that an SMF has told everything.
struct Told {
    core: Core,
    bridge: Process,
    api: SocketAddr,
    /// From the start of the bridge.
    took: Duration,
}

impl Told {
    fn start(workplace: &Workplace, sessions: u64) -> Result<Self> {
        let core = Core::start(workplace, sessions)?;
        let (api, admin, callback) = (free_address()?, free_address()?, free_address()?);
        let text = configuration([api, admin, callback], core.address, sessions);
        let file = workplace.write(&format!("told-{}.toml", api.port()), &text)?;
        let begun = Instant::now();
        let mut bridge = Process::start(
            "pei-bridge",
            Command::new(&workplace.bridge)
                .args(["serve", "--config"])
                .arg(file),
        )?;
        bridge.wait_until(|| Connection::open(admin).is_ok())?;
        while !is_told(admin)? {
            if begun.elapsed() > PATIENCE {
                return Err(format!("the SMF has not told everything after {PATIENCE:?}").into());
            }
            thread::sleep(PAUSE);
        }
        Ok(Self {
            core,
            bridge,
            api,
            took: begun.elapsed(),
        })
    }

    /// Asks about some addresses, in no order: each answer has to be the right one, and the BSF
    /// must not have been asked.
    fn knows_them(&self, sessions: u64) -> Result<()> {
        let mut connection = Connection::open(self.api)?;
        let mut subscriber = 1;
        for _ in 0..ASKED {
            subscriber = (subscriber * 1_664_525 + 1_013_904_223) % sessions;
            let question = format!("{{\"ipv6Address\":\"{}\"}}", address(subscriber));
            let answer = connection.post(PATH, JSON, &question)?;
            let told: Value = serde_json::from_slice(&answer.body)?;
            if told.get("imeisv").and_then(Value::as_str) != Some(&imeisv(subscriber)) {
                return Err(format!("{} to a session that was told", answer.status).into());
            }
        }
        let calls = Connection::open(self.core.control)?.get("/sim/calls")?;
        let calls: Value = serde_json::from_slice(&calls.body)?;
        match calls.get("GetPCFBindings").and_then(Value::as_u64) {
            Some(0) => Ok(()),
            asked => Err(format!("the BSF was asked: {asked:?}").into()),
        }
    }
}

/// Whether the report is over, and what it told is believed.
fn is_told(admin: SocketAddr) -> Result<bool> {
    let page = Connection::open(admin)?.get("/metrics")?;
    let page = String::from_utf8(page.body)?;
    Ok(page.contains("pei_bridge_session_table_smfs{state=\"trusted\"} 1"))
}

fn configuration(listeners: [SocketAddr; 3], core: SocketAddr, sessions: u64) -> String {
    let [api, admin, callback] = listeners;
    let root = format!("http://{core}");
    // The named subscribers have some too.
    let entries = sessions + 1000;
    format!(
        "[api]\nlisten = \"{api}\"\n[admin]\nlisten = \"{admin}\"\n[auth]\nmode = \"none\"\n\
         [consent]\nmode = \"none\"\n[log]\nlevel = \"warn\"\n\
         [core]\nudm = [\"{root}\"]\nbsf = [\"{root}\"]\nsmf = [\"{root}\"]\n\
         [callback]\nlisten = \"{callback}\"\n\
         [feeds]\nsessions = true\nreport_time = \"1h\"\nsession_entries = {entries}\n\
         [[feeds.ip_domains]]\nip_domain = \"nat-b\"\nprefix = \"10.64.0.0/10\"\n"
    )
}

/// Some host in the prefix of a synthetic subscriber of the simulated core.
fn address(subscriber: u64) -> Ipv6Addr {
    let first = Ipv6Addr::new(0x2001, 0xdb8, 0x4000, 0, 0, 0, 0, 1).to_bits();
    Ipv6Addr::from_bits(first + (u128::from(subscriber) << 64))
}

/// The device of one.
fn imeisv(subscriber: u64) -> String {
    let (million, rest) = (subscriber / 1_000_000, subscriber % 1_000_000);
    format!("35000000{rest:06}{million:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synthetic_subscriber_has_an_address_and_a_device() {
        assert_eq!(address(0x1_0002).to_string(), "2001:db8:4001:2::1");
        assert_eq!(imeisv(9_000_042), "3500000000004209");
    }
}
