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
/// How long a look may take: whoever does not answer it may not reach us either.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the end of a subscription may take while we drain.
pub(super) const LEAVING_TIMEOUT: Duration = Duration::from_secs(2);
/// After a look that failed, the next one decides.
pub(super) const SECOND_LOOK: Duration = Duration::from_secs(1);
/// A core whose clock differs from ours may grant what has ended already by ours.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// Between two attempts to subscribe: doubled from the one to the other.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// While the core does not take or keep subscriptions.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// While it takes them and then tells what cannot be understood: each new one may make it tell
/// everything that it has.
const PAUSE_AFTER_GAPS_MAX: Duration = Duration::from_mins(5);
/// A subscription that lasted for so long says nothing against the next one.
const STEADY: Duration = Duration::from_mins(1);
/// The same, where it ended with a gap.
const STEADY_BEFORE_GAP: Duration = Duration::from_mins(10);

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

/// A subscription that is looked at now and then.
pub(super) trait Watched {
    /// Cancelled when something was told that is lost to us.
    fn gap(&self) -> &CancellationToken;
    /// It may be lost: what it told is not to be relied on until [`Self::trust`].
    fn doubt(&self);
    /// It is there.
    fn trust(&self);
}

/// Why a subscription may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// Whoever keeps it answered, and not whether it is there.
    Unanswered,
    /// Whoever keeps it could not be reached, and may have told us something in vain.
    CutOff,
}

impl Doubt {
    fn by(error: Error) -> Self {
        match error {
            Error::Unreachable | Error::DeadlinePassed => Self::CutOff,
            Error::Overloaded { .. } | Error::BadAnswer | Error::Refused { .. } => Self::Unanswered,
        }
    }
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
    /// lost, has a gap, or we leave.
    pub(super) async fn watch<F>(
        &self,
        mut expires: Option<Timestamp>,
        subscription: &impl Watched,
        stop: &CancellationToken,
        look: impl Fn(Look) -> F,
    ) -> End
    where
        F: Future<Output = Result<Renewal, Error>>,
    {
        let granted = left(expires);
        let mut pause = self.check_interval.min(granted / 2);
        let mut doubt = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = subscription.gap().cancelled() => return End::Lost(Loss::Gap),
                () = stop.cancelled() => return End::Stopped,
            }
            // To its end, even when we leave: given up half way, it could come after its own end.
            let left_now = left(expires);
            let is_due = left_now <= granted / 2 + self.check_interval;
            let looking = look(Look {
                expires: self.expires(),
                is_due,
                // What has ended is in doubt at the latest.
                deadline: Instant::now() + LOOK_TIMEOUT.min(left_now.max(SECOND_LOOK)),
            });
            match (looking.await, doubt) {
                // It was cut off, and what it told meanwhile is lost.
                (Ok(Renewal::Renewed(_)), Some(Doubt::CutOff)) => {
                    return End::Lost(Loss::Unreachable);
                }
                (Ok(Renewal::Renewed(until)), _) => {
                    if doubt.take().is_some() {
                        subscription.trust();
                    }
                    expires = until.or(expires);
                    pause = self
                        .check_interval
                        .min(left(expires) / 2)
                        .max(SHORTEST_PAUSE);
                }
                (Ok(Renewal::Unknown), _) => return End::Lost(Loss::Unknown),
                (Err(_), Some(_)) => return End::Lost(Loss::Unreachable),
                (Err(error), None) => {
                    subscription.doubt();
                    doubt = Some(Doubt::by(error));
                    pause = SECOND_LOOK.min(self.check_interval);
                }
            }
        }
    }
}

/// The time that a subscription has left; for ever where the core does not say.
pub(super) fn left(expires: Option<Timestamp>) -> Duration {
    expires.map_or(Duration::MAX, |expires| {
        let left = expires.duration_since(Timestamp::now());
        Duration::try_from(left).unwrap_or_default()
    })
}

/// Waits between attempts, longer each time, with jitter.
///
/// A new subscription alone is no success: where the last one was lost at once, so is the next, and
/// an immediate report of ten million sessions is nothing to ask for four times a second.
pub(super) struct Pauses {
    after_failure: Duration,
    after_gap: Duration,
    last: Ended,
}

/// How the last attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Failed,
    WithGap,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self {
            after_failure: PAUSE_MIN,
            after_gap: PAUSE_MIN,
            last: Ended::Failed,
        }
    }

    /// The core did not take the subscription.
    pub(super) fn failed(&mut self) {
        self.last = Ended::Failed;
    }

    /// A subscription is lost that had lasted so long.
    pub(super) fn lost(&mut self, loss: Loss, lasted: Duration) {
        self.last = match loss {
            Loss::Gap => Ended::WithGap,
            Loss::Unknown | Loss::Unreachable => Ended::Failed,
        };
        if lasted >= STEADY {
            self.after_failure = PAUSE_MIN;
        }
        if lasted >= STEADY_BEFORE_GAP {
            self.after_gap = PAUSE_MIN;
        }
    }

    /// Waits; `false` where we leave in between.
    pub(super) async fn wait(&mut self, stop: &CancellationToken) -> bool {
        let (next, longest) = match self.last {
            Ended::Failed => (&mut self.after_failure, PAUSE_MAX),
            Ended::WithGap => (&mut self.after_gap, PAUSE_AFTER_GAPS_MAX),
        };
        // Not to the same moment for all SMFs, who lose their places together.
        let pause = next.mul_f64(0.5 + fastrand::f64() / 2.0);
        *next = (*next * 2).min(longest);
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = stop.cancelled() => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Writes down what is thought of it.
    #[derive(Default)]
    struct Thought {
        gap: CancellationToken,
        of: Mutex<Vec<&'static str>>,
    }

    impl Watched for Thought {
        fn gap(&self) -> &CancellationToken {
            &self.gap
        }

        fn doubt(&self) {
            self.of.lock().unwrap().push("doubt");
        }

        fn trust(&self) {
            self.of.lock().unwrap().push("trust");
        }
    }

    /// What is thought of a subscription whose looks come out so, and how it ends.
    async fn watched(looks: &[Result<Renewal, Error>]) -> (Vec<&'static str>, End) {
        let metrics = FeedMetrics::register(&prometheus::Registry::new()).unwrap();
        let upkeep = Upkeep {
            callback: String::new(),
            expiry: Duration::from_hours(1),
            check_interval: Duration::from_secs(10),
            registry: Arc::default(),
            metrics: Arc::new(metrics),
            stop: CancellationToken::new(),
        };
        let (thought, stop) = (Thought::default(), CancellationToken::new());
        let looks = Mutex::new(looks.iter().copied());
        let end = upkeep.watch(None, &thought, &stop, |_| {
            let next = looks.lock().unwrap().next();
            if next.is_none() {
                stop.cancel();
            }
            std::future::ready(next.unwrap_or(Ok(Renewal::Renewed(None))))
        });
        let end = end.await;
        (thought.of.into_inner().unwrap(), end)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_relied_on_in_doubt() {
        let good = Ok(Renewal::Renewed(None));
        let lost = End::Lost(Loss::Unreachable);
        for (looks, thought, end) in [
            (&[good, good][..], &[][..], End::Stopped),
            (&[Ok(Renewal::Unknown)], &[], End::Lost(Loss::Unknown)),
            // It answers, and not whether it is there.
            (
                &[good, Err(Error::BadAnswer), good],
                &["doubt", "trust"],
                End::Stopped,
            ),
            (&[Err(Error::BadAnswer); 2], &["doubt"], lost),
            // While it did not answer at all, it may have told us something in vain.
            (&[Err(Error::Unreachable), good], &["doubt"], lost),
            (&[Err(Error::DeadlinePassed), good], &["doubt"], lost),
        ] {
            assert_eq!(watched(looks).await, (thought.to_vec(), end), "{looks:?}");
        }
    }

    /// How long the pauses are after subscriptions that end so.
    async fn pauses(ends: impl IntoIterator<Item = (Loss, Duration)>) -> Vec<Duration> {
        let (mut pauses, stop) = (Pauses::new(), CancellationToken::new());
        let mut waited = Vec::new();
        for (loss, lasted) in ends {
            let begun = Instant::now();
            pauses.lost(loss, lasted);
            assert!(pauses.wait(&stop).await);
            waited.push(begun.elapsed());
        }
        waited
    }

    const AT_ONCE: Duration = Duration::from_millis(1);

    /// Tokio's clock counts milliseconds.
    fn is_about(waited: Duration, pause: Duration) -> bool {
        (pause / 2..=pause + AT_ONCE).contains(&waited)
    }

    #[tokio::test(start_paused = true)]
    async fn gaps_make_pauses_longer_whatever_is_subscribed_to_in_between() {
        let waited = pauses(std::iter::repeat_n((Loss::Gap, AT_ONCE), 20)).await;
        assert!(is_about(waited[0], PAUSE_MIN), "{waited:?}");
        assert!(is_about(waited[19], PAUSE_AFTER_GAPS_MAX), "{waited:?}");
        // Fewer than one in two minutes in the end, for a report of everything each time.
        assert!(waited[10..].iter().sum::<Duration>() > Duration::from_mins(20));
        // And not at the same moment for everybody.
        let others = pauses(std::iter::repeat_n((Loss::Gap, AT_ONCE), 20)).await;
        assert_ne!(waited, others);
    }

    #[tokio::test(start_paused = true)]
    async fn a_core_that_comes_back_is_not_waited_for_long() {
        let waited = pauses(std::iter::repeat_n((Loss::Unknown, AT_ONCE), 20)).await;
        assert!(is_about(waited[19], PAUSE_MAX), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscription_that_lasted_is_forgiven_its_end() {
        for (loss, lasted) in [(Loss::Unreachable, STEADY), (Loss::Gap, STEADY_BEFORE_GAP)] {
            let ends = [(loss, AT_ONCE), (loss, AT_ONCE), (loss, lasted)];
            let last = pauses(ends).await[2];
            assert!(is_about(last, PAUSE_MIN), "{last:?}");
        }
    }
}
