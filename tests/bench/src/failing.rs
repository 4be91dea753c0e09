//! Three UDMs under a steady load, of which one is killed, one is slow and one answers 503, all at
//! once: what the consumers notice, and how soon the dead one is left and taken back.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bridge::{Access, Bridge, Core, JSON, Settings, question};
use crate::connection::{Answer, Connection};
use crate::report::{Report, Row, Target};
use crate::start::as_f64;
use crate::stats::Spread;
use crate::workplace::Workplace;
use crate::{Effort, Result};

const UDMS: u16 = 3;
/// Requests a second.
const RATE: u64 = 2_000;
/// As many can wait for the slow one at once, when all wait for it, and some more.
const CONSUMERS: usize = 512;
const STACK: usize = 128 * 1024;
/// No two requests under way are about the same one.
const SUBSCRIBERS: u64 = 100_000;
/// A hundred times what an answer takes otherwise.
const SLOW: Duration = Duration::from_millis(100);
/// Shorter ones have no time for what is looked at.
const SHORTEST: Duration = Duration::from_secs(9);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) fn measure(workplace: &Workplace, effort: Effort, report: &mut Report) -> Result<()> {
    let core = Core::start_several(workplace, SUBSCRIBERS, UDMS)?;
    let settings = Settings {
        access: Access::Tokens,
        lifetime: "0s",
        entries: SUBSCRIBERS,
        device_types: None,
    };
    let bridge = Bridge::start(workplace, &core, settings)?;
    let token = core.token()?;
    let load = Load {
        address: bridge.address,
        token: &token,
        begun: Instant::now(),
        length: effort.turn.max(SHORTEST),
        next: AtomicU64::new(0),
        answered: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        wrong: AtomicU64::new(0),
    };
    let (left, back) = thread::scope(|scope| -> Result<_> {
        for _ in 0..CONSUMERS {
            let consumer = thread::Builder::new().stack_size(STACK);
            consumer.spawn_scoped(scope, || load.consume())?;
        }
        let outcome = trouble(&core, &bridge, load.length);
        if outcome.is_err() {
            load.next.store(u64::MAX / 2, Relaxed);
        }
        outcome
    })?;
    let took = load.begun.elapsed();
    let count = |counter: &AtomicU64| as_f64(counter.load(Relaxed));
    let (answered, failed) = (count(&load.answered), count(&load.failed));
    let row = |what: &str, value: f64, digits, target| {
        let spread = Spread::of([value]);
        Row {
            what: format!("{UDMS} UDMs, all in trouble: {what}"),
            ours: spread,
            theirs: None,
            digits,
            measured: spread,
            target,
        }
    };
    // What the load generator was late by on a busy machine is no fault of the bridge's.
    let steady = Target::AtLeast(as_f64(RATE) * 0.95);
    let rate = (answered + failed) / took.as_secs_f64();
    report.add(row("requests/s", rate, 0, steady));
    let of_ten_thousand = failed * 1e4 / (answered + failed);
    let (one, none) = (Target::AtMost(1.0), Target::AtMost(0.0));
    report.require(row("failed of 10,000", of_ten_thousand, 2, one));
    report.require(row("wrong answers", count(&load.wrong), 0, none));
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let (left, back) = (milliseconds(left), milliseconds(back));
    let second = Target::AtMost(1e3);
    report.add(row("the dead one is left, ms", left, 0, second));
    report.add(row("and taken back, ms", back, 0, Target::None));
    Ok(())
}

/// Lets the UDMs fail after a third of the time and the dead one return after two; tells how long it
/// takes the bridge to leave it and to ask it again.
fn trouble(core: &Core, bridge: &Bridge, length: Duration) -> Result<(Duration, Duration)> {
    let [killed, slow, refusing] = instances(core)?;
    thread::sleep(length / 3);
    let all_ready = bridge.connections_ready()?;
    let operation = "faults/Get3GppRegistration";
    let latency = json!({ "latencyMs": SLOW.as_millis() });
    order(core, "PUT", &format!("{slow}/{operation}"), &latency)?;
    let refusal = json!({ "status": 503, "cause": "NF_CONGESTION" });
    order(core, "PUT", &format!("{refusing}/{operation}"), &refusal)?;
    let begun = Instant::now();
    order(core, "POST", &format!("{killed}/kill"), &Value::Null)?;
    let share = all_ready / f64::from(UDMS);
    let left = until(length / 3, || {
        Ok(bridge.connections_ready()? <= all_ready - share)
    })?;
    let left = left - begun;
    thread::sleep((length / 3).saturating_sub(left));
    order(core, "POST", &format!("{killed}/calls/reset"), &Value::Null)?;
    let begun = Instant::now();
    order(core, "POST", &format!("{killed}/revive"), &Value::Null)?;
    let back = until(length / 3, || {
        let calls = order(core, "GET", &format!("{killed}/calls"), &Value::Null)?;
        let calls: Value = serde_json::from_slice(&calls.body)?;
        Ok(calls.get("Get3GppRegistration").and_then(Value::as_u64) > Some(0))
    })?;
    Ok((left, back - begun))
}

/// When it was so.
fn until(limit: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<Instant> {
    let end = Instant::now() + limit;
    while !is_so()? {
        if Instant::now() > end {
            return Err("the bridge does not notice what becomes of an instance".into());
        }
        thread::sleep(PAUSE);
    }
    Ok(Instant::now())
}

fn instances(core: &Core) -> Result<[String; UDMS as usize]> {
    let listed = order(core, "GET", "", &Value::Null)?;
    let listed: Vec<Value> = serde_json::from_slice(&listed.body)?;
    let own = listed.iter().filter(|one| {
        let is = |member: &str, value: Value| one.get(member) == Some(&value);
        is("ownSocket", true.into()) && is("nfType", "UDM".into())
    });
    let ids = own.filter_map(|one| one.get("nfInstanceId")?.as_str().map(str::to_owned));
    let ids: Vec<_> = ids.collect();
    ids.try_into()
        .map_err(|_| "not as many UDMs as wanted".into())
}

fn order(core: &Core, method: &str, path: &str, body: &Value) -> Result<Answer> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let path = format!("/sim/instances/{path}");
    let path = path.trim_end_matches('/');
    let answer = Connection::open(core.control)?.send(method, path, JSON, &body)?;
    match answer.status {
        200..300 => Ok(answer),
        status => Err(format!("{method} {path}: {status}").into()),
    }
}

/// Requests at a steady rate, however long each of them takes, by as many consumers as it needs.
struct Load<'a> {
    address: SocketAddr,
    token: &'a str,
    begun: Instant,
    length: Duration,
    /// The number of the next request, which says when it is due and about whom it is.
    next: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    wrong: AtomicU64,
}

impl Load<'_> {
    fn consume(&self) {
        let mut connection = None;
        loop {
            let number = self.next.fetch_add(1, Relaxed);
            let due = Duration::from_secs(1).mul_f64(as_f64(number) / as_f64(RATE));
            if due >= self.length {
                return;
            }
            thread::sleep(due.saturating_sub(self.begun.elapsed()));
            let subscriber = number % SUBSCRIBERS;
            match self.ask(&mut connection, subscriber) {
                Ok(answer) if answer.status == 200 => {
                    self.answered.fetch_add(1, Relaxed);
                    if !names(&answer.body, subscriber) {
                        self.wrong.fetch_add(1, Relaxed);
                    }
                }
                Ok(_) => {
                    self.failed.fetch_add(1, Relaxed);
                }
                Err(_) => {
                    connection = None;
                    self.failed.fetch_add(1, Relaxed);
                }
            }
        }
    }

    fn ask(&self, connection: &mut Option<Connection>, subscriber: u64) -> Result<Answer> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(Connection::open(self.address)?),
        };
        connection.ask(self.token, &question(subscriber))
    }
}

/// Whether this is the answer about that synthetic subscriber.
fn names(body: &[u8], subscriber: u64) -> bool {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let imeisv = answer.as_ref().and_then(|answer| answer.get("imeisv"));
    imeisv.and_then(Value::as_str) == Some(&format!("35000000{subscriber:06}00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_one_subscriber() {
        let body = br#"{"imeisv":"3500000000004200"}"#;
        assert!(names(body, 42));
        assert!(!names(body, 43));
        assert!(!names(b"{}", 42));
    }
}
