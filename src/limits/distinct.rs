//! How many different subscribers a consumer asked for: exactly where that is limited, estimated
//! where it is only watched. Neither grows beyond what is said here.

use std::collections::{HashMap, HashSet};

/// Hashes of subscribers within one window of time.
pub(super) enum Distinct {
    /// Against a limit.
    Limited(Limited),
    /// Nothing limits it.
    Watched(Sketch),
}

impl Distinct {
    /// Nobody yet; 0: no limit.
    pub(super) fn new(most: u32) -> Self {
        match usize::try_from(most).unwrap_or(usize::MAX) {
            0 => Self::Watched(Sketch::default()),
            most => Self::Limited(Limited::new(most)),
        }
    }

    /// Forgets everybody, and gives back what they took.
    pub(super) fn clear(&mut self) {
        *self = match self {
            Self::Limited(limited) => Self::Limited(Limited::new(limited.most)),
            Self::Watched(_) => Self::Watched(Sketch::default()),
        };
    }

    /// Whether it is worth finding out who is meant: beyond the limit, only what was asked with
    /// before can lead to somebody who was asked for before.
    pub(super) fn may_ask(&self, asked_with: impl Iterator<Item = u64>) -> bool {
        match self {
            Self::Limited(limited) => limited.may_ask(asked_with),
            Self::Watched(_) => true,
        }
    }

    /// The number of subscribers, this one included; `None` where it is one too many.
    pub(super) fn count(
        &mut self,
        subscriber: u64,
        asked_with: impl Iterator<Item = u64>,
    ) -> Option<usize> {
        match self {
            Self::Limited(limited) => limited.count(subscriber, asked_with),
            Self::Watched(sketch) => {
                sketch.insert(subscriber);
                Some(sketch.estimate())
            }
        }
    }
}

/// Counts exactly, up to a limit.
pub(super) struct Limited {
    most: usize,
    /// Who was asked for, and what with lately, the latest last.
    subscribers: HashMap<u64, Vec<u64>>,
    /// All that they were asked for with.
    identifiers: HashSet<u64>,
}

/// Identifiers remembered for each subscriber: a number, and the addresses and ports that it had
/// lately.
const IDENTIFIERS: usize = 4;

impl Limited {
    fn new(most: usize) -> Self {
        Self {
            most,
            subscribers: HashMap::new(),
            identifiers: HashSet::new(),
        }
    }

    fn may_ask(&self, mut asked_with: impl Iterator<Item = u64>) -> bool {
        self.subscribers.len() < self.most || asked_with.any(|one| self.identifiers.contains(&one))
    }

    fn count(&mut self, subscriber: u64, asked_with: impl Iterator<Item = u64>) -> Option<usize> {
        if self.subscribers.len() >= self.most && !self.subscribers.contains_key(&subscriber) {
            return None;
        }
        let lately = self.subscribers.entry(subscriber).or_default();
        for identifier in asked_with {
            if let Some(place) = lately.iter().position(|known| *known == identifier) {
                lately.remove(place);
            } else if lately.len() >= IDENTIFIERS {
                self.identifiers.remove(&lately.remove(0));
            }
            lately.push(identifier);
            self.identifiers.insert(identifier);
        }
        Some(self.subscribers.len())
    }
}

/// Estimates how many different hashes it was shown, by the smallest of them: as long as there are
/// few, these are all; beyond, the more there are, the closer together the smallest lie (k minimum
/// values).
#[derive(Default)]
pub(super) struct Sketch {
    /// In ascending order.
    smallest: Vec<u64>,
}

/// Two kilobytes, and an estimate that is off by six in a hundred.
const KEPT: usize = 256;

impl Sketch {
    fn insert(&mut self, hash: u64) {
        let Err(place) = self.smallest.binary_search(&hash) else {
            return;
        };
        if place < KEPT {
            self.smallest.truncate(KEPT - 1);
            self.smallest.insert(place, hash);
        }
    }

    fn estimate(&self) -> usize {
        match self.smallest.last() {
            Some(largest) if self.smallest.len() == KEPT => {
                let density = ((KEPT as u128 - 1) << 64) / u128::from(*largest).max(1);
                usize::try_from(density).unwrap_or(usize::MAX)
            }
            _ => self.smallest.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    use super::*;

    #[test]
    fn few_are_counted_and_many_estimated_in_bounded_memory() {
        let hasher = RandomState::new();
        let mut sketch = Sketch::default();
        for count in 1..=200_000_usize {
            for _again in 0..2 {
                sketch.insert(hasher.hash_one(count));
            }
            if count < KEPT {
                assert_eq!(sketch.estimate(), count);
            }
            if count == 1000 || count % 50_000 == 0 {
                let estimate = sketch.estimate();
                // Five times the deviation to be expected.
                assert!(
                    estimate.abs_diff(count) < count / 3,
                    "{estimate} for {count}"
                );
            }
        }
        assert!(sketch.smallest.capacity() <= 2 * KEPT);
    }

    #[test]
    fn a_limit_is_exact_and_its_memory_bounded() {
        let mut distinct = Distinct::new(3);
        for (subscriber, times) in [(0, 100), (1, 100), (2, 1)] {
            for port in 0..times {
                // A number that stays, and ports that do not.
                let asked = [subscriber * 1000, subscriber * 1000 + 1 + port];
                assert!(distinct.may_ask(asked.into_iter()));
                let count = distinct.count(subscriber, asked.into_iter());
                assert_eq!(count, usize::try_from(subscriber + 1).ok());
            }
        }
        assert_eq!(distinct.count(3, [3000].into_iter()), None);
        for number in [0, 1000, 2000] {
            assert!(distinct.may_ask([5000, number].into_iter()), "{number}");
        }
        assert_eq!(distinct.count(2, [2000].into_iter()), Some(3));
        assert!(!distinct.may_ask([5000, 3000].into_iter()));
        let Distinct::Limited(limited) = &distinct else {
            panic!("it is limited");
        };
        assert_eq!(limited.identifiers.len(), 2 * IDENTIFIERS + 2);
        distinct.clear();
        assert_eq!(distinct.count(3, [3000].into_iter()), Some(1));
    }
}
