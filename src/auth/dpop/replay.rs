//! Proofs that were used, for as long as they could be used again.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::auth::reason::{AuthError, Missing, Reason};

/// What tells a proof from all others.
type ProofId = [u8; 32];

/// The memory of proofs. None is forgotten before its time: when there is no room left, further
/// proofs are turned away until some have ended (RFC 9449 11.1 asks for a memory that holds).
pub(super) struct Replay {
    most: usize,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    all: HashSet<ProofId>,
    /// By the second in which they end.
    ending: BTreeMap<i64, Vec<ProofId>>,
}

impl Replay {
    pub(super) fn new(entries: u64) -> Self {
        Self {
            most: usize::try_from(entries).unwrap_or(usize::MAX),
            used: Mutex::default(),
        }
    }

    /// Takes note of a proof that is good until `good_until`, unless it was used before.
    pub(super) fn enter(&self, id: ProofId, good_until: i64, now: i64) -> Result<(), AuthError> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.forget(now);
        if used.all.contains(&id) {
            return Err(Reason::ProofReplayed.into());
        }
        if used.all.len() >= self.most {
            return Err(AuthError::Unavailable(Missing::ReplayMemory));
        }
        used.all.insert(id);
        used.ending.entry(good_until).or_default().push(id);
        Ok(())
    }
}

impl Used {
    fn forget(&mut self, now: i64) {
        while let Some(first) = self.ending.first_entry()
            && *first.key() <= now
        {
            for id in first.remove() {
                self.all.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ProofId {
        [number; 32]
    }

    #[test]
    fn a_proof_is_used_once_while_it_is_good() {
        let replay = Replay::new(10);
        assert_eq!(replay.enter(id(1), 100, 50), Ok(()));
        assert_eq!(replay.enter(id(2), 100, 50), Ok(()));
        for now in [50, 99] {
            let again = replay.enter(id(1), 100, now);
            assert_eq!(again, Err(Reason::ProofReplayed.into()));
        }
        // Its own time has passed by then, so nobody gets here with it.
        assert_eq!(replay.enter(id(1), 200, 100), Ok(()));
    }

    #[test]
    fn a_full_memory_forgets_nothing_and_takes_nothing() {
        let replay = Replay::new(2);
        assert_eq!(replay.enter(id(1), 100, 50), Ok(()));
        assert_eq!(replay.enter(id(2), 110, 50), Ok(()));
        let full = Err(AuthError::Unavailable(Missing::ReplayMemory));
        assert_eq!(replay.enter(id(3), 120, 99), full);
        assert_eq!(
            replay.enter(id(2), 110, 99),
            Err(Reason::ProofReplayed.into())
        );
        assert_eq!(replay.enter(id(3), 120, 100), Ok(()));
        assert_eq!(replay.enter(id(4), 120, 100), full);
        let used = replay.used.lock().unwrap();
        assert_eq!((used.all.len(), used.ending.len()), (2, 2));
    }
}
