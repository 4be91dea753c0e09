//! Taking turns: each contender under the same load, one after the other, again and again.

use std::net::SocketAddr;
use std::time::Duration;

use crate::load::{Load, Outcome, Question};
use crate::process::Process;
use crate::report::{Report, Row, Target};
use crate::stats::Spread;
use crate::{Effort, Result};

/// A server and the question that is put to it.
pub(crate) struct Contender<'a> {
    pub(crate) process: &'a Process,
    pub(crate) address: SocketAddr,
    pub(crate) question: Question<'a>,
}

/// One turn of one contender.
#[derive(Debug, Clone, Copy)]
struct Turn {
    outcome: Outcome,
    /// Of the server, in microseconds.
    processor_per_request: f64,
}

/// Before the first round: connections opened, memory allocated, caches filled.
const WARM_UP: Duration = Duration::from_secs(1);

impl Contender<'_> {
    fn turn(&self, load: &Load, length: Duration) -> Result<Turn> {
        let before = self.process.processor_time()?;
        let outcome = load.run(self.address, self.question, length)?;
        let used = self.process.processor_time()?.saturating_sub(before);
        Ok(Turn {
            outcome,
            processor_per_request: used.as_secs_f64() * 1e6 / outcome.requests,
        })
    }
}

/// All rounds of ours and theirs.
pub(crate) struct Rounds(Vec<(Turn, Turn)>);

impl Rounds {
    /// Lets both take their turns; who begins changes from round to round.
    pub(crate) fn run(
        load: &Load,
        effort: Effort,
        ours: &Contender<'_>,
        theirs: &Contender<'_>,
    ) -> Result<Self> {
        ours.turn(load, WARM_UP)?;
        theirs.turn(load, WARM_UP)?;
        let rounds = (0..effort.rounds).map(|round| {
            if round % 2 == 0 {
                let first = ours.turn(load, effort.turn)?;
                Ok((first, theirs.turn(load, effort.turn)?))
            } else {
                let first = theirs.turn(load, effort.turn)?;
                Ok((ours.turn(load, effort.turn)?, first))
            }
        });
        rounds.collect::<Result<Vec<_>>>().map(Self)
    }

    /// Adds what was measured to the report.
    pub(crate) fn tell(&self, what: &str, targets: Targets, report: &mut Report) {
        type Value = fn(&Turn) -> f64;
        let measures: [(&str, Value, usize, Target); 4] = [
            (
                "CPU per request, µs",
                |turn| turn.processor_per_request,
                1,
                targets.processor,
            ),
            (
                "requests per second",
                |turn| turn.outcome.per_second,
                0,
                targets.throughput,
            ),
            ("latency p50, µs", |turn| turn.outcome.p50, 0, Target::None),
            ("latency p99, µs", |turn| turn.outcome.p99, 0, Target::None),
        ];
        for (measure, value, digits, target) in measures {
            let ours = Spread::of(self.0.iter().map(|(ours, _)| value(ours)));
            let theirs = Spread::of(self.0.iter().map(|(_, theirs)| value(theirs)));
            let ratio = self
                .0
                .iter()
                .map(|(ours, theirs)| value(ours) / value(theirs));
            report.add(Row {
                what: format!("{what}: {measure}"),
                ours,
                theirs,
                digits,
                measured: Spread::of(ratio),
                target,
            });
        }
    }
}

/// What the ratios should be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Targets {
    pub(crate) processor: Target,
    pub(crate) throughput: Target,
}
