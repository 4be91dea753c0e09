//! Asking a second instance when the first one takes unusually long (off unless configured).

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, sleep};

use super::Error;
use super::client::Inner;
use super::request::Question;
use super::response::Answer;
use super::selection::History;

/// Until answers have been seen: a core answers far sooner.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The estimate moves by this share of itself at most with one answer.
const STEP: f64 = 0.05;
/// Below it, a second request costs more than the wait.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The time after which a second instance is asked: a quantile of the answers so far.
#[derive(Debug)]
pub(super) struct Hedging {
    quantile: f64,
    /// In microseconds.
    wait: AtomicU64,
}

impl Hedging {
    pub(super) fn new(quantile: f64) -> Self {
        Self {
            quantile: quantile.clamp(0.0, 1.0),
            wait: AtomicU64::new(microseconds(FIRST_WAIT)),
        }
    }

    /// Sends a GET, and after the wait a second one; the first usable answer counts, and the other
    /// request is cancelled.
    pub(super) async fn ask(
        &self,
        inner: &Inner,
        question: &Question<'_>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let begun = Instant::now();
        let at = Arc::new(AtomicUsize::new(usize::MAX));
        let mut history = History::telling(&at);
        let mut first = pin!(inner.walk(question, deadline, &mut history));
        let answer = tokio::select! {
            answer = &mut first => Some(answer),
            () = sleep(self.wait()) => None,
        };
        if let Some(answer) = answer {
            self.learn(begun.elapsed());
            return answer;
        }
        // Whoever takes long takes no less when asked twice.
        let mut elsewhere = History::default();
        elsewhere.refuse(at.load(Ordering::Relaxed));
        // What is no less than a retry in its cost comes out of the same budget.
        if !(inner.is_another_at_hand(question, &mut elsewhere) && inner.may_retry(0)) {
            let answer = first.await;
            self.learn(begun.elapsed());
            return answer;
        }
        inner.shared().metrics.hedges.inc();
        let mut second = pin!(inner.walk(question, deadline, &mut elsewhere));
        let answer = tokio::select! {
            answer = &mut first => if is_usable(&answer) {
                answer
            } else {
                better(answer, second.await)
            },
            answer = &mut second => if is_usable(&answer) {
                answer
            } else {
                better(answer, first.await)
            },
        };
        self.learn(begun.elapsed());
        answer
    }

    fn wait(&self) -> Duration {
        Duration::from_micros(self.wait.load(Ordering::Relaxed)).max(SHORTEST_WAIT)
    }

    /// Moves the estimate so that it rests where the quantile of the answers is below it. Answers
    /// that are counted at the same time may miss each other: it is an estimate.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "microseconds of an estimate"
    )]
    fn learn(&self, took: Duration) {
        let wait = self.wait.load(Ordering::Relaxed) as f64;
        let factor = if took.as_micros() as f64 > wait {
            1.0 + STEP * self.quantile
        } else {
            1.0 - STEP * (1.0 - self.quantile)
        };
        self.wait
            .store((wait * factor).max(1.0).ceil() as u64, Ordering::Relaxed);
    }
}

/// Whether nothing better is to be expected of the other instance.
fn is_usable(answer: &Result<Answer, Error>) -> bool {
    let is_refusal =
        |status: StatusCode| status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    answer
        .as_ref()
        .is_ok_and(|answer| !is_refusal(answer.status()))
}

/// The later one if that is of more use than the earlier one, which is of none.
fn better(earlier: Result<Answer, Error>, later: Result<Answer, Error>) -> Result<Answer, Error> {
    if is_usable(&later) || earlier.is_err() {
        later
    } else {
        earlier
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_settles_at_the_quantile() {
        let hedging = Hedging::new(0.9);
        // Nine of ten answers take 10 ms, one takes 80.
        for turn in 0..5_000 {
            let took = if turn % 10 == 0 { 80 } else { 10 };
            hedging.learn(Duration::from_millis(took));
        }
        let wait = hedging.wait();
        assert!((8..90).contains(&wait.as_millis()), "{wait:?}");
        let hedging = Hedging::new(0.5);
        for _ in 0..5_000 {
            hedging.learn(Duration::from_millis(10));
        }
        let wait = hedging.wait();
        assert!((9..12).contains(&wait.as_millis()), "{wait:?}");
    }
}
