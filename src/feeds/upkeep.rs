//! How long a subscription holds, and how its loss is noticed.

use std::sync::Arc;
use std::time::Duration;

use adapters::sbi::Error;
use adapters::subscription::Renewal;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::correlation::Registry;
use super::metrics::{FeedMetrics, FeedName, Loss};

/// What all feeds have in common.
pub(super) struct Upkeep {
    /// Where notifications are expected.
    pub(super) callback: String,
    pub(super) expiry: Duration,
    pub(super) check_interval: Duration,
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<FeedMetrics>,
    pub(super) stop: CancellationToken,
}

/// How long a question about a subscription may take; an immediate report may come with the answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of a subscription may take while we drain.
pub(super) const LEAVING_TIMEOUT: Duration = Duration::from_secs(2);
/// After a look that failed, the next one decides.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// A core whose clock differs from ours may grant what has ended already by ours.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// Between two attempts to subscribe that fail: doubled from the one to the other.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A look whether a subscription is still there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Until when it is wanted from now on.
    pub(super) expires: Timestamp,
    /// Whether it would end soon.
    pub(super) is_due: bool,
    /// The look is over then.
    pub(super) deadline: Instant,
}

/// Why a subscription is kept no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// We leave.
    Stopped,
    /// It is lost.
    Lost(Loss),
}

impl Upkeep {
    pub(super) fn deadline() -> Instant {
        Instant::now() + TIMEOUT
    }

    /// Until when a subscription is wanted that is made or prolonged now.
    pub(super) fn expires(&self) -> Timestamp {
        Timestamp::now()
            .saturating_add(self.expiry)
            .unwrap_or(Timestamp::MAX)
    }

    /// Where the notifications of one subscription are to go.
    pub(super) fn callback(&self, feed: FeedName, correlation: &str) -> String {
        format!("{}/callback/{}/{correlation}", self.callback, feed.label())
    }

    /// Keeps a subscription that is there now and ends then, as far as it is known, until it is
    /// lost, has a `gap`, or we leave.
    pub(super) async fn watch<F>(
        &self,
        mut expires: Option<Timestamp>,
        gap: &CancellationToken,
        stop: &CancellationToken,
        look: impl Fn(Look) -> F,
    ) -> End
    where
        F: Future<Output = Result<Renewal, Error>>,
    {
        let granted = left(expires);
        let mut pause = self.check_interval.min(granted / 2);
        let mut in_doubt = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = gap.cancelled() => return End::Lost(Loss::Gap),
                () = stop.cancelled() => return End::Stopped,
            }
            // To its end, even when we leave: given up half way, it could come after its own end.
            let is_due = left(expires) <= granted / 2 + self.check_interval;
            let looking = look(Look {
                expires: self.expires(),
                is_due,
                deadline: Self::deadline(),
            });
            match looking.await {
                Ok(Renewal::Renewed(until)) => {
                    in_doubt = false;
                    expires = until.or(expires);
                    pause = self
                        .check_interval
                        .min(left(expires) / 2)
                        .max(SHORTEST_PAUSE);
                }
                Ok(Renewal::Unknown) => return End::Lost(Loss::Unknown),
                Err(_) if in_doubt => return End::Lost(Loss::Unreachable),
                Err(_) => {
                    in_doubt = true;
                    pause = SECOND_LOOK.min(self.check_interval);
                }
            }
        }
    }
}

/// The time that a subscription has left; for ever where the core does not say.
fn left(expires: Option<Timestamp>) -> Duration {
    expires.map_or(Duration::MAX, |expires| {
        let left = expires.duration_since(Timestamp::now());
        Duration::try_from(left).unwrap_or_default()
    })
}

/// Waits between attempts, longer each time.
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) fn new() -> Self {
        Self(PAUSE_MIN)
    }

    /// It worked: the next pause is the shortest one.
    pub(super) fn reset(&mut self) {
        self.0 = PAUSE_MIN;
    }

    /// Waits; `false` where we leave in between.
    pub(super) async fn wait(&mut self, stop: &CancellationToken) -> bool {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = stop.cancelled() => false,
        }
    }
}
