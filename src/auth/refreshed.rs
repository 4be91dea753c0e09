//! A value of an issuer's that is fetched in the background and now and then out of turn.
//!
//! A task owns the fetching, so that there is one fetch at a time and no lock; requests see the
//! last good value and can ask the task for a newer one, which it grants only so often.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::issuer_client::FetchError;
use super::metrics::IssuerMetrics;

/// How often to fetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// When all is well.
    pub(super) every: Duration,
    /// At least between two fetches, whoever asks; and after one that failed.
    pub(super) rest: Duration,
}

/// The value, and the task behind it, which ends with it.
pub(super) struct Refreshed<T> {
    state: watch::Receiver<State<T>>,
    wanted: Arc<Notify>,
    rest: Duration,
    _task: AbortOnDropHandle<()>,
}

struct State<T> {
    value: Option<Arc<T>>,
    /// When the latest fetch began; absent: none has.
    began: Option<Instant>,
    /// Whether it is still under way.
    under_way: bool,
    /// Fetches ended so far, well or not.
    ended: u64,
    /// Whether the latest of them failed.
    failing: bool,
}

/// The last good value, and what it is worth.
pub(super) struct Latest<T> {
    /// Absent: there was none yet.
    pub(super) value: Option<Arc<T>>,
    /// Whether the latest fetch failed, so that there may be a newer one.
    pub(super) failing: bool,
}

/// The request's deadline passed while it waited.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DeadlinePassed;

impl<T: Send + Sync + 'static> Refreshed<T> {
    /// Begins with `value`, or with none, and fetches from now on. Called inside of a runtime.
    pub(super) fn start<F, Fetch>(
        value: Option<T>,
        schedule: Schedule,
        metrics: IssuerMetrics,
        fetch: F,
    ) -> Self
    where
        F: Fn() -> Fetch + Send + Sync + 'static,
        Fetch: Future<Output = Result<T, FetchError>> + Send + 'static,
    {
        let (sender, state) = watch::channel(State {
            value: value.map(Arc::new),
            began: None,
            under_way: true,
            ended: 0,
            failing: false,
        });
        let wanted = Arc::new(Notify::new());
        let task = keep_fresh(sender, wanted.clone(), schedule, metrics, fetch);
        Self {
            state,
            wanted,
            rest: schedule.rest,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        }
    }

    /// The last good value.
    pub(super) fn value(&self) -> Option<Arc<T>> {
        self.state.borrow().value.clone()
    }

    /// Waits for the fetch under way, or else for a new one where that is allowed; returns at once
    /// where it is not. An issuer that is down keeps nobody waiting: it is tried again in the
    /// background, and requests are judged by what there is.
    pub(super) async fn renew(&self, deadline: Instant) -> Result<Latest<T>, DeadlinePassed> {
        let seen = {
            let state = self.state.borrow();
            let rested = state.began.is_none_or(|began| began.elapsed() >= self.rest);
            if state.failing || (!state.under_way && !rested) {
                return Ok(state.latest());
            }
            if !state.under_way {
                self.wanted.notify_one();
            }
            state.ended
        };
        let mut state = self.state.clone();
        let ended = state.wait_for(|state| state.ended != seen);
        match tokio::time::timeout_at(deadline, ended).await {
            Ok(_) => Ok(self.state.borrow().latest()),
            Err(_elapsed) => Err(DeadlinePassed),
        }
    }
}

impl<T> State<T> {
    fn latest(&self) -> Latest<T> {
        Latest {
            value: self.value.clone(),
            failing: self.failing,
        }
    }
}

async fn keep_fresh<T, F, Fetch>(
    state: watch::Sender<State<T>>,
    wanted: Arc<Notify>,
    schedule: Schedule,
    metrics: IssuerMetrics,
    fetch: F,
) where
    F: Fn() -> Fetch,
    Fetch: Future<Output = Result<T, FetchError>>,
{
    loop {
        let began = Instant::now();
        state.send_modify(|state| {
            state.began = Some(began);
            state.under_way = true;
        });
        let fetched = fetch().await;
        metrics.fetched(fetched.as_ref().err());
        let failing = fetched.is_err();
        let wait = if failing {
            schedule.rest.min(schedule.every)
        } else {
            schedule.every
        };
        state.send_modify(|state| {
            // The old value is used for as long as there is no newer one.
            if let Ok(value) = fetched {
                state.value = Some(Arc::new(value));
            }
            state.under_way = false;
            state.ended += 1;
            state.failing = failing;
        });
        let turn = tokio::time::sleep_until(began + wait);
        tokio::pin!(turn);
        loop {
            tokio::select! {
                () = &mut turn => break,
                // A wish may be as old as the fetch that fulfilled it.
                () = wanted.notified() => if began.elapsed() >= schedule.rest { break },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const EVERY: Duration = Duration::from_mins(5);
    const REST: Duration = Duration::from_secs(10);

    struct Source {
        asked: Arc<AtomicU64>,
        refreshed: Refreshed<u64>,
    }

    /// Gives 1, 2, 3 and so on, each a second late; fails where `fails` says so.
    fn source(fails: fn(u64) -> bool) -> Source {
        let asked = Arc::new(AtomicU64::new(0));
        let count = asked.clone();
        let schedule = Schedule {
            every: EVERY,
            rest: REST,
        };
        let metrics = IssuerMetrics::unregistered();
        let refreshed = Refreshed::start(None, schedule, metrics, move || {
            let number = count.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if fails(number) {
                    Err(FetchError::TimedOut)
                } else {
                    Ok(number)
                }
            }
        });
        Source { asked, refreshed }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_fetch_is_waited_for() {
        let source = source(|_| false);
        assert_eq!(source.refreshed.value(), None);
        let hurry = Instant::now() + Duration::from_millis(1);
        assert_eq!(
            source.refreshed.renew(hurry).await.err(),
            Some(DeadlinePassed)
        );
        source.refreshed.renew(soon()).await.unwrap();
        assert_eq!(source.refreshed.value().as_deref(), Some(&1));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_renewed_in_turn_and_out_of_turn_but_not_more_often() {
        let source = source(|_| false);
        source.refreshed.renew(soon()).await.unwrap();
        source.refreshed.renew(soon()).await.unwrap();
        assert_eq!(source.asked.load(Ordering::Relaxed), 1, "has not rested");
        tokio::time::sleep(REST).await;
        let many = (0..100).map(|_| source.refreshed.renew(soon()));
        futures_util::future::join_all(many).await;
        assert_eq!(source.refreshed.value().as_deref(), Some(&2));
        assert_eq!(source.asked.load(Ordering::Relaxed), 2, "one flight");
        tokio::time::sleep(EVERY + REST).await;
        assert_eq!(source.refreshed.value().as_deref(), Some(&3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_keeps_the_value_and_is_tried_again_soon() {
        let source = source(|number| (2..6).contains(&number));
        source.refreshed.renew(soon()).await.unwrap();
        tokio::time::sleep(EVERY + REST).await;
        assert_eq!(source.refreshed.value().as_deref(), Some(&1));
        let began = Instant::now();
        let latest = source.refreshed.renew(soon()).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "keeps nobody waiting");
        assert_eq!((latest.value.as_deref(), latest.failing), (Some(&1), true));
        tokio::time::sleep(REST * 4).await;
        assert_eq!(source.refreshed.value().as_deref(), Some(&6));
        let latest = source.refreshed.renew(soon()).await.unwrap();
        assert!(!latest.failing);
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_ends_with_the_value() {
        let source = source(|_| false);
        source.refreshed.renew(soon()).await.unwrap();
        drop(source.refreshed);
        tokio::time::sleep(EVERY * 3).await;
        assert_eq!(source.asked.load(Ordering::Relaxed), 1);
    }
}
