//! Which guesses at devices a consumer made, as far as they were wrong.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Hashes of guesses within one window of time; never more than the limit.
pub(super) struct Guesses {
    /// 0: no limit.
    most: usize,
    hour: i64,
    made: HashMap<u64, Made>,
}

/// What became of a guess.
enum Made {
    /// So many requests make it and were not answered yet. It takes its place all the same: who
    /// asks at once may not ask more than who asks one after the other.
    Open(usize),
    /// It was wrong, and the consumer was told.
    Wrong,
}

/// A guess whose answer is open.
#[derive(Clone, Copy)]
pub(super) struct OpenGuess {
    guess: u64,
    hour: i64,
}

/// A new guess, and as many as may be are made already.
pub(super) struct TooMany;

impl Guesses {
    /// None yet; 0: no limit.
    pub(super) fn new(most: u32) -> Self {
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            hour: 0,
            made: HashMap::new(),
        }
    }

    /// Takes a guess within an hour. Nothing is open where no answer can count: without a limit, and
    /// where the consumer knows it to be wrong.
    pub(super) fn take(&mut self, guess: u64, hour: i64) -> Result<Option<OpenGuess>, TooMany> {
        if self.most == 0 {
            return Ok(None);
        }
        if self.hour != hour {
            self.hour = hour;
            self.made = HashMap::new();
        }
        let is_full = self.made.len() >= self.most;
        match self.made.entry(guess) {
            Entry::Occupied(mut made) => match made.get_mut() {
                Made::Wrong => return Ok(None),
                Made::Open(requests) => *requests += 1,
            },
            Entry::Vacant(_) if is_full => return Err(TooMany),
            Entry::Vacant(place) => {
                place.insert(Made::Open(1));
            }
        }
        Ok(Some(OpenGuess { guess, hour }))
    }

    /// The consumer was told that it is wrong. What was taken in an hour that has passed counts no
    /// more.
    pub(super) fn was_wrong(&mut self, open: OpenGuess) {
        if open.hour == self.hour {
            self.made.insert(open.guess, Made::Wrong);
        }
    }

    /// It was right, or nothing was said.
    pub(super) fn forget(&mut self, open: OpenGuess) {
        if open.hour != self.hour {
            return;
        }
        if let Entry::Occupied(mut made) = self.made.entry(open.guess) {
            match made.get_mut() {
                Made::Open(requests) if *requests > 1 => *requests -= 1,
                Made::Open(_) => {
                    made.remove();
                }
                // By another request that made the same guess.
                Made::Wrong => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a guess whose answer can count.
    fn open(guesses: &mut Guesses, guess: u64, hour: i64) -> OpenGuess {
        let taken = guesses.take(guess, hour).ok().flatten();
        taken.expect("it is admitted, and its answer can count")
    }

    fn is_refused(guesses: &mut Guesses, guess: u64, hour: i64) -> bool {
        guesses.take(guess, hour).is_err()
    }

    fn is_known(guesses: &mut Guesses, guess: u64, hour: i64) -> bool {
        matches!(guesses.take(guess, hour), Ok(None))
    }

    #[test]
    fn wrong_guesses_are_counted_once_and_right_ones_not() {
        let mut guesses = Guesses::new(2);
        for right in 0..10 {
            let right = open(&mut guesses, right, 7);
            guesses.forget(right);
        }
        for wrong in [11, 12] {
            let wrong = open(&mut guesses, wrong, 7);
            guesses.was_wrong(wrong);
        }
        // A guess that is repeated says nothing new.
        assert!(is_known(&mut guesses, 11, 7));
        // Nothing new can be tried, right or wrong.
        assert!(is_refused(&mut guesses, 0, 7));
        assert!(is_refused(&mut guesses, 13, 7));
        open(&mut guesses, 13, 8);
    }

    /// Whichever of them is answered first, and whatever becomes of the other.
    #[test]
    fn a_guess_that_is_made_twice_at_once_counts_where_one_of_them_is_answered() {
        let mut guesses = Guesses::new(1);
        let [first, second] = [(); 2].map(|()| open(&mut guesses, 1, 7));
        assert!(is_refused(&mut guesses, 2, 7), "an open one has its place");
        guesses.forget(first);
        assert!(is_refused(&mut guesses, 2, 7), "the other is open still");
        guesses.was_wrong(second);
        assert!(is_known(&mut guesses, 1, 7));
        assert!(is_refused(&mut guesses, 2, 7));
        let mut guesses = Guesses::new(1);
        let [first, second] = [(); 2].map(|()| open(&mut guesses, 1, 7));
        guesses.was_wrong(first);
        guesses.forget(second);
        assert!(is_known(&mut guesses, 1, 7));
        let mut guesses = Guesses::new(1);
        let [first, second] = [(); 2].map(|()| open(&mut guesses, 1, 7));
        guesses.forget(first);
        guesses.forget(second);
        open(&mut guesses, 2, 7);
    }

    #[test]
    fn what_is_answered_in_the_next_hour_counts_in_neither() {
        let mut guesses = Guesses::new(1);
        let late = open(&mut guesses, 1, 7);
        let again = open(&mut guesses, 1, 8);
        guesses.forget(late);
        assert!(is_refused(&mut guesses, 2, 8), "the new one is open still");
        guesses.was_wrong(late);
        guesses.forget(again);
        open(&mut guesses, 2, 8);
    }

    #[test]
    fn a_flood_of_guesses_is_refused_and_leaves_as_many_as_may_be() {
        let mut guesses = Guesses::new(100);
        let mut told = 0;
        for guess in 0..100_000 {
            match guesses.take(guess, 7) {
                Ok(Some(open)) if guess % 2 == 0 => guesses.was_wrong(open),
                Ok(open) => {
                    assert!(open.is_some(), "it is a new one");
                }
                Err(TooMany) => told += 1,
            }
        }
        assert_eq!((guesses.made.len(), told), (100, 99_900));
        assert!(guesses.made.capacity() < 400, "{}", guesses.made.capacity());
        open(&mut guesses, 1, 8);
        assert_eq!(guesses.made.len(), 1, "of an hour that has passed");
    }

    #[test]
    fn without_a_limit_nothing_is_remembered() {
        let mut guesses = Guesses::new(0);
        for guess in 0..1000 {
            assert!(is_known(&mut guesses, guess, 7));
        }
        assert!(guesses.made.is_empty());
    }
}
