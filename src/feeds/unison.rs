//! Whether all tell who could: where one of several is silent, no change can be ruled out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::upkeep::Watched;
use crate::lookup::feed::Feed;

/// A feed that several tell, and that is live while all of them do.
pub(super) struct Unison {
    feed: Arc<Feed>,
    voices: Mutex<Voices>,
}

#[derive(Default)]
struct Voices {
    /// Who could tell, and by which subscription they do.
    by_number: BTreeMap<u64, Option<u64>>,
    /// Numbers given so far, of voices and of subscriptions.
    given: u64,
}

impl Voices {
    fn number(&mut self) -> u64 {
        self.given += 1;
        self.given
    }
}

/// One of those who could tell.
pub(super) struct Voice {
    unison: Arc<Unison>,
    number: u64,
}

/// One subscription at one of those who could tell.
pub(super) struct Turn {
    voice: Arc<Voice>,
    number: u64,
    /// Cancelled when something was told that is lost to us.
    gap: CancellationToken,
}

impl Unison {
    pub(super) fn new(feed: Arc<Feed>) -> Arc<Self> {
        Arc::new(Self {
            feed,
            voices: Mutex::default(),
        })
    }

    /// Another one could tell from now on, and does not yet.
    pub(super) fn add(self: &Arc<Self>) -> Arc<Voice> {
        let mut voices = self.voices();
        let number = voices.number();
        voices.by_number.insert(number, None);
        self.feed.end();
        Arc::new(Voice {
            unison: self.clone(),
            number,
        })
    }

    /// This one tells nothing more. What it vouched for is as old as that; the others go on.
    pub(super) fn remove(&self, voice: &Voice) {
        let mut voices = self.voices();
        if voices.by_number.remove(&voice.number).is_some() {
            self.feed.end();
            self.begin_if_all(&voices);
        }
    }

    fn begin_if_all(&self, voices: &Voices) {
        let all = !voices.by_number.is_empty() && voices.by_number.values().all(Option::is_some);
        if all && !self.feed.is_live() {
            self.feed.begin();
            tracing::info!(subscriptions = voices.by_number.len(), "a feed is live");
        }
    }

    fn voices(&self) -> MutexGuard<'_, Voices> {
        self.voices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Voice {
    /// A new subscription, which tells nothing before it [begins](Turn::begin).
    pub(super) fn turn(self: &Arc<Self>) -> Arc<Turn> {
        Arc::new(Turn {
            voice: self.clone(),
            number: self.unison.voices().number(),
            gap: CancellationToken::new(),
        })
    }
}

impl Watched for Turn {
    fn gap(&self) -> &CancellationToken {
        &self.gap
    }

    fn doubt(&self) {
        self.end();
    }

    fn trust(&self) {
        self.begin();
    }
}

impl Turn {
    /// It is made: every change is told by it, unless one is lost already.
    pub(super) fn begin(&self) {
        let unison = &self.voice.unison;
        let mut voices = unison.voices();
        if !self.gap.is_cancelled()
            && let Some(turn) = voices.by_number.get_mut(&self.voice.number)
        {
            *turn = Some(self.number);
            unison.begin_if_all(&voices);
        }
    }

    /// Something was told by it that is lost to us.
    pub(super) fn miss(&self) {
        self.gap.cancel();
        self.end();
    }

    /// It tells no more. Nothing where a later one has taken its place.
    pub(super) fn end(&self) {
        let unison = &self.voice.unison;
        let mut voices = unison.voices();
        let turn = voices.by_number.get_mut(&self.voice.number);
        if let Some(turn) = turn.filter(|turn| **turn == Some(self.number)) {
            *turn = None;
            unison.feed.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn unison() -> (Arc<Feed>, Arc<Unison>) {
        let feed = Arc::new(Feed::new(Duration::from_mins(1)));
        (feed.clone(), Unison::new(feed))
    }

    #[test]
    fn a_feed_is_live_while_all_tell() {
        let (feed, unison) = unison();
        let voices = [unison.add(), unison.add()];
        let turns = voices.each_ref().map(Voice::turn);
        turns[0].begin();
        assert!(!feed.is_live());
        turns[1].begin();
        assert!(feed.is_live());
        turns[0].end();
        assert!(!feed.is_live());
        voices[0].turn().begin();
        assert!(feed.is_live());
        let third = unison.add();
        assert!(!feed.is_live());
        unison.remove(&third);
        assert!(feed.is_live());
        for voice in &voices {
            unison.remove(voice);
        }
        assert!(!feed.is_live(), "nobody tells");
    }

    #[test]
    fn a_loss_before_the_beginning_is_a_loss_and_one_after_the_end_is_none() {
        let (feed, unison) = unison();
        let voice = unison.add();
        let early = voice.turn();
        early.miss();
        early.begin();
        assert!(!feed.is_live());
        let (old, new) = (voice.turn(), voice.turn());
        old.begin();
        new.begin();
        old.miss();
        assert!(feed.is_live(), "the new one tells");
        new.miss();
        assert!(!feed.is_live());
    }

    #[test]
    fn one_that_left_tells_nothing() {
        let (feed, unison) = unison();
        let voice = unison.add();
        let turn = voice.turn();
        unison.remove(&voice);
        turn.begin();
        assert!(!feed.is_live());
    }
}
