//! Which sessions ended lately: a word about one of them that was overtaken on its way must not
//! bring it back.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How long the end of a session is known, and for how many of them.
const KEPT: Duration = Duration::from_mins(1);
const MOST: usize = 262_144;

/// Ends in the order in which they were heard.
#[derive(Default)]
pub(super) struct Ends(VecDeque<End>);

/// The end of a session, and where it is kept.
#[derive(Clone, Copy)]
pub(super) struct End {
    pub(super) slot: u32,
    pub(super) time: i64,
    heard: Instant,
}

impl Ends {
    pub(super) fn push(&mut self, slot: u32, time: i64) {
        self.0.push_back(End {
            slot,
            time,
            heard: Instant::now(),
        });
    }

    /// Takes out the oldest one, if it was kept for long enough and `may_go`, or if there are too
    /// many.
    pub(super) fn pop_outlived(&mut self, may_go: impl FnOnce(End) -> bool) -> Option<End> {
        let oldest = *self.0.front()?;
        let outlived = self.0.len() >= MOST || oldest.heard.elapsed() > KEPT && may_go(oldest);
        outlived.then(|| self.0.pop_front()).flatten()
    }
}
