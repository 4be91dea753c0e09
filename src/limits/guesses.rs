//! Which guesses at devices a consumer made, as far as they were wrong.

use std::collections::HashSet;

/// Hashes of guesses within one window of time; never more than the limit.
pub(super) struct Guesses {
    /// 0: no limit.
    most: usize,
    hour: i64,
    made: HashSet<u64>,
}

impl Guesses {
    /// None yet; 0: no limit.
    pub(super) fn new(most: u32) -> Self {
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            hour: 0,
            made: HashSet::new(),
        }
    }

    /// Takes a guess within an hour: whether it is a new one that counts, or `None` where it is one
    /// too many.
    pub(super) fn take(&mut self, guess: u64, hour: i64) -> Option<bool> {
        if self.most == 0 {
            return Some(false);
        }
        if self.hour != hour {
            self.hour = hour;
            self.made = HashSet::new();
        }
        if self.made.len() >= self.most && !self.made.contains(&guess) {
            return None;
        }
        Some(self.made.insert(guess))
    }

    /// It was right, or nothing was said.
    pub(super) fn forget(&mut self, guess: u64) {
        self.made.remove(&guess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_guesses_are_counted_once_and_right_ones_not() {
        let mut guesses = Guesses::new(2);
        for right in 0..10 {
            assert_eq!(guesses.take(right, 7), Some(true));
            guesses.forget(right);
        }
        assert_eq!(guesses.take(11, 7), Some(true));
        assert_eq!(guesses.take(12, 7), Some(true));
        // A guess that is repeated says nothing new.
        assert_eq!(guesses.take(11, 7), Some(false));
        // Nothing new can be tried, right or wrong.
        assert_eq!(guesses.take(0, 7), None);
        assert_eq!(guesses.take(13, 7), None);
        assert_eq!(guesses.take(13, 8), Some(true));
    }

    #[test]
    fn without_a_limit_nothing_is_remembered() {
        let mut guesses = Guesses::new(0);
        for guess in 0..1000 {
            assert_eq!(guesses.take(guess, 7), Some(false));
        }
        assert!(guesses.made.is_empty());
    }
}
