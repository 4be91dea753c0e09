//! Whether the core tells every change of something, so that it may be believed for long.
//!
//! While a feed is live, what was asked for under it is believed for a long time. When it breaks,
//! that is believed for no longer than what no feed ever covered: its short lifetime, counted from
//! the break. A later feed does not know what happened in between, so it begins anew.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the first use of the clock.
pub(super) fn now() -> u64 {
    u64::try_from(STARTED.elapsed().as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One uninterrupted life of a feed; [`Life::NONE`] is under no feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life(u32);

impl Life {
    pub(super) const NONE: Self = Self(0);
    /// How many bits tell them apart.
    const BITS: u32 = 19;

    fn next(self) -> Self {
        Self(self.0 % ((1 << Self::BITS) - 1) + 1)
    }
}

/// Until when something is believed, and under which life of a feed, in one word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until(u64);

impl Until {
    pub(super) fn new(lifetime: Duration, life: Life) -> Self {
        // More than ten centuries are as good as that.
        let until = now()
            .saturating_add(milliseconds(lifetime))
            .min(u64::MAX >> Life::BITS);
        Self(until << Life::BITS | u64::from(life.0))
    }

    fn milliseconds(self) -> u64 {
        self.0 >> Life::BITS
    }

    fn life(self) -> Life {
        let bits = self.0 & ((1 << Life::BITS) - 1);
        Life(u32::try_from(bits).unwrap_or(0))
    }

    /// Whether what was asked for under `feed`, if any, is still believed.
    pub(super) fn is_ahead(self, feed: Option<&Feed>) -> bool {
        let now = now();
        if now >= self.milliseconds() {
            return false;
        }
        match (self.life(), feed) {
            (Life::NONE, _) => true,
            (life, Some(feed)) => feed.vouches(life, now),
            (_, None) => false,
        }
    }
}

impl Until {
    /// Whether it was still believed so short a time ago, as far as that is known.
    pub(super) fn was_ahead(self, ago: Duration, feed: Option<&Feed>) -> bool {
        let end = match (self.life(), feed) {
            (Life::NONE, _) => Some(self.milliseconds()),
            (life, Some(feed)) => feed
                .vouched_until(life)
                .map(|end| end.min(self.milliseconds())),
            (_, None) => None,
        };
        end.is_some_and(|end| now() < end.saturating_add(milliseconds(ago)))
    }
}

/// A feed of changes, as those see it who remember what changes.
pub struct Feed {
    /// How long what it covered is believed after it broke.
    grace: Duration,
    /// The life now or the last one, whether it lasts, and when the last break was.
    state: AtomicU64,
    /// Held by whoever changes the state.
    changing: Mutex<()>,
}

/// The state of a feed, out of its word.
#[derive(Clone, Copy)]
struct State {
    life: Life,
    live: bool,
    broke: u64,
}

const LIVE: u64 = 1 << Life::BITS;
const BROKE_SHIFT: u32 = Life::BITS + 1;

impl State {
    fn of(word: u64) -> Self {
        let life = word & (LIVE - 1);
        Self {
            life: Life(u32::try_from(life).unwrap_or(0)),
            live: word & LIVE != 0,
            broke: word >> BROKE_SHIFT,
        }
    }

    fn word(self) -> u64 {
        let live = if self.live { LIVE } else { 0 };
        self.broke << BROKE_SHIFT | live | u64::from(self.life.0)
    }
}

impl Feed {
    /// A feed that has not begun.
    pub fn new(grace: Duration) -> Self {
        Self {
            grace,
            state: AtomicU64::new(0),
            changing: Mutex::default(),
        }
    }

    /// From now on every change is told.
    pub fn begin(&self) {
        self.change(|state| State {
            life: state.life.next(),
            live: true,
            ..state
        });
    }

    /// Changes may have been missed. Says whether that is news.
    pub fn end(&self) -> bool {
        let before = self.change(|state| State {
            live: false,
            broke: if state.live { now() } else { state.broke },
            ..state
        });
        before.live
    }

    /// Whether every change is told.
    pub fn is_live(&self) -> bool {
        self.state().live
    }

    /// Whether it broke, and nothing that it covered is believed any more.
    pub fn has_settled(&self) -> bool {
        let State { live, broke, .. } = self.state();
        !live && now() >= broke.saturating_add(milliseconds(self.grace))
    }

    /// The life that something belongs to which is asked for now.
    pub(super) fn life(&self) -> Life {
        let State { life, live, .. } = self.state();
        if live { life } else { Life::NONE }
    }

    fn vouches(&self, life: Life, now: u64) -> bool {
        self.vouched_until(life).is_some_and(|end| now < end)
    }

    /// Until when what was asked for in this life is believed; `None` where that is forgotten.
    fn vouched_until(&self, life: Life) -> Option<u64> {
        let state = self.state();
        if state.live && state.life == life {
            return Some(u64::MAX);
        }
        // Before the first break nothing is older than the life that lasts.
        let last = if state.live {
            life.next() == state.life
        } else {
            life == state.life
        };
        last.then(|| state.broke.saturating_add(milliseconds(self.grace)))
    }

    fn state(&self) -> State {
        State::of(self.state.load(Ordering::Acquire))
    }

    fn change(&self, change: impl FnOnce(State) -> State) -> State {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.state();
        self.state.store(change(before).word(), Ordering::Release);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_hours(1);
    const SHORT: Duration = Duration::from_mins(1);

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_feed_covers_has_its_own_time() {
        let feed = Feed::new(SHORT);
        let until = Until::new(SHORT, feed.life());
        feed.begin();
        feed.end();
        pass(SHORT / 2).await;
        assert!(until.is_ahead(Some(&feed)) && until.is_ahead(None));
        pass(SHORT / 2).await;
        assert!(!until.is_ahead(Some(&feed)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_life_is_long_while_it_lasts_and_short_after_its_end() {
        let feed = Feed::new(SHORT);
        feed.begin();
        let until = Until::new(LONG, feed.life());
        pass(LONG / 2).await;
        assert!(until.is_ahead(Some(&feed)));
        assert!(!feed.has_settled());
        assert!(feed.end());
        assert!(!feed.end());
        pass(SHORT / 2).await;
        assert!(until.is_ahead(Some(&feed)) && !feed.has_settled());
        // A second end is none.
        feed.end();
        // The next life does not know what happened in between.
        feed.begin();
        assert!(until.is_ahead(Some(&feed)));
        pass(SHORT / 2).await;
        assert!(!until.is_ahead(Some(&feed)));
        assert!(Until::new(LONG, feed.life()).is_ahead(Some(&feed)));
        feed.end();
        pass(SHORT).await;
        assert!(feed.has_settled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_time_ends_within_a_life_too() {
        let feed = Feed::new(SHORT);
        feed.begin();
        let until = Until::new(LONG, feed.life());
        pass(LONG).await;
        assert!(!until.is_ahead(Some(&feed)));
    }

    #[tokio::test(start_paused = true)]
    async fn how_long_ago_something_was_believed_is_known() {
        let feed = Feed::new(SHORT);
        let unfed = Until::new(SHORT, Life::NONE);
        feed.begin();
        let long_lived = Until::new(LONG, feed.life());
        feed.end();
        for (until, feed) in [(unfed, None), (long_lived, Some(&feed))] {
            assert!(until.was_ahead(Duration::ZERO, feed));
        }
        pass(SHORT * 2).await;
        for (until, feed) in [(unfed, None), (long_lived, Some(&feed))] {
            assert!(!until.was_ahead(SHORT / 2, feed));
            assert!(until.was_ahead(SHORT * 2, feed));
        }
        // Of an older life nobody knows when it ended.
        feed.begin();
        feed.end();
        feed.begin();
        assert!(!long_lived.was_ahead(LONG, Some(&feed)));
    }

    #[test]
    fn lives_come_round_without_the_one_that_is_none() {
        let mut life = Life::NONE;
        for _ in 0..1 << Life::BITS {
            life = life.next();
            assert_ne!(life, Life::NONE);
        }
        assert_eq!(life, Life(1));
    }
}
