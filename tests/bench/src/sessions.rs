//! The table that event feeds keep: ten million sessions, each with an IPv4 address and an IPv6
//! prefix. What it weighs, and what a question to it takes.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Instant;

use clap::Args;
use device::{Supi, UeId};
use ipnet::Ipv6Net;
use pei_bridge::sessions::SessionTable;
use pei_bridge::sessions::event::{Addresses, Change, SessionEvent, SessionIpv4};

use crate::report::{Report, Row, Target};
use crate::start::as_f64;
use crate::stats::Spread;
use crate::workplace::Workplace;
use crate::{Effort, Result, procfs};

/// Questions of each kind.
const QUESTIONS: u32 = 2_000_000;
/// A gigabyte for ten million.
const BYTES: Target = Target::AtMost(100.0);
const NANOSECONDS: Target = Target::AtMost(1000.0);

/// Another process, so that what it weighs is the table alone.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The sessions to enter.
    #[arg(long)]
    sessions: u32,
}

pub(crate) fn measure(workplace: &Workplace, effort: Effort, report: &mut Report) -> Result<()> {
    let sessions = effort.subscribers * 10;
    let mut columns = [const { Vec::new() }; 4];
    for _ in 0..effort.starts.min(3) {
        let output = Command::new(&workplace.bench)
            .args(["session-table", "--sessions", &sessions.to_string()])
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let mut figures = text.split_ascii_whitespace();
        for column in &mut columns {
            let figure = figures.next().ok_or("a figure of the table is missing")?;
            column.push(figure.parse::<f64>()?);
        }
    }
    let what = [
        ("bytes a session", BYTES),
        ("ns by IPv4 address", NANOSECONDS),
        ("ns by longest prefix", NANOSECONDS),
        ("ns an event", Target::None),
    ];
    for ((what, target), column) in what.into_iter().zip(columns) {
        let spread = Spread::of(column);
        report.add(Row {
            what: format!("{sessions} sessions: {what}"),
            ours: spread,
            theirs: None,
            digits: 0,
            measured: spread,
            target,
        });
    }
    Ok(())
}

/// Prints bytes a session, and the nanoseconds of a question by address and by prefix and of an
/// event.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let sessions = arguments.sessions;
    let before = procfs::resident("self")?;
    let table = SessionTable::new(u32::MAX);
    let smf = table.add_smf().ok_or("no room for an SMF")?;
    let part = table.begin(smf);
    let begun = Instant::now();
    for index in 0..sessions {
        table.apply(part, &established(index)?);
    }
    let event = begun.elapsed().as_secs_f64() * 1e9 / f64::from(sessions);
    table.complete(part);
    let bytes = as_f64(procfs::resident("self")?.saturating_sub(before)) / f64::from(sessions);
    let by_address = asked(sessions, |index| {
        table.by_ipv4(address(index), Some("internet"))
    })?;
    // Some host of the prefix.
    let by_prefix = asked(sessions, |index| {
        table.by_ipv6(Ipv6Addr::from_bits(prefix(index) | 0x1234_5678))
    })?;
    writeln!(io::stdout(), "{bytes} {by_address} {by_prefix} {event}")?;
    Ok(())
}

/// Nanoseconds a question about sessions in no order; every answer has to be the right one.
fn asked(sessions: u32, ask: impl Fn(u32) -> Option<UeId>) -> Result<f64> {
    let begun = Instant::now();
    let found = in_no_order(sessions).filter_map(&ask).count();
    let took = begun.elapsed().as_secs_f64() * 1e9 / f64::from(QUESTIONS);
    if u32::try_from(found)? != QUESTIONS {
        return Err("the table did not know a session".into());
    }
    for session in in_no_order(sessions) {
        if ask(session) != Some(subscription(session)?) {
            return Err("the table gave a wrong answer".into());
        }
    }
    Ok(took)
}

/// As many sessions as there are questions, in an order that no prefetcher guesses: a generator
/// that comes to all residues (Hull and Dobell).
fn in_no_order(sessions: u32) -> impl Iterator<Item = u32> {
    let next = |index: &u32| Some(index.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let all = std::iter::successors(Some(1_u32), next);
    all.map(move |index| index % sessions)
        .take(usize::try_from(QUESTIONS).unwrap_or(usize::MAX))
}

fn established(index: u32) -> Result<SessionEvent> {
    let addresses = Addresses {
        ipv4: Some(SessionIpv4 {
            address: address(index),
            ip_domain: Some("internet".into()),
        }),
        ipv6: vec![Ipv6Net::new(Ipv6Addr::from_bits(prefix(index)), 64)?],
    };
    Ok(SessionEvent {
        subscription: subscription(index)?,
        pdu_session_id: 1,
        time: i64::from(index),
        change: Change::Established(addresses),
    })
}

fn subscription(index: u32) -> Result<UeId> {
    let supi = Supi::parse(&format!("imsi-00101{:010}", u64::from(index)));
    Ok(supi.map_err(|_| "no IMSI")?.into())
}

fn address(index: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + index)
}

fn prefix(index: u32) -> u128 {
    let all = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);
    all.to_bits() + (u128::from(index) << 64)
}
