//! Proofs that were used, for as long as they could be used again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::auth::caller::ConsumerId;
use crate::auth::reason::{AuthError, Missing, Reason};

/// What tells a proof from all others.
type ProofId = [u8; 32];

/// The memory of proofs. None is forgotten before its time: when there is no room left, further
/// proofs are turned away until some have ended (RFC 9449 11.1 asks for a memory that holds).
///
/// A consumer may hold no more than is free, so that none can fill it for the others: alone it
/// comes to half of it, two come to a third each, and there is room for the next one always.
pub(super) struct Replay {
    most: usize,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    all: HashSet<ProofId>,
    /// By the second in which they end.
    ending: BTreeMap<i64, Vec<(ProofId, ConsumerId)>>,
    /// How many each consumer holds.
    held: HashMap<ConsumerId, usize>,
}

impl Replay {
    pub(super) fn new(entries: u64) -> Self {
        Self {
            most: usize::try_from(entries).unwrap_or(usize::MAX),
            used: Mutex::default(),
        }
    }

    /// Takes note of a consumer's proof that is good until `good_until`, unless it was used before.
    pub(super) fn enter(
        &self,
        id: ProofId,
        consumer: &ConsumerId,
        good_until: i64,
        now: i64,
    ) -> Result<(), AuthError> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.forget(now);
        if used.all.contains(&id) {
            return Err(Reason::ProofReplayed.into());
        }
        let free = self.most.saturating_sub(used.all.len());
        if used.held.get(consumer).copied().unwrap_or(0) >= free {
            return Err(AuthError::Unavailable(Missing::ReplayMemory));
        }
        used.all.insert(id);
        *used.held.entry(consumer.clone()).or_default() += 1;
        let ending = used.ending.entry(good_until).or_default();
        ending.push((id, consumer.clone()));
        Ok(())
    }
}

impl Used {
    fn forget(&mut self, now: i64) {
        while let Some(first) = self.ending.first_entry()
            && *first.key() <= now
        {
            for (id, consumer) in first.remove() {
                self.all.remove(&id);
                self.give_back(&consumer);
            }
        }
    }

    fn give_back(&mut self, consumer: &ConsumerId) {
        let Some(held) = self.held.get_mut(consumer) else {
            return;
        };
        *held -= 1;
        if *held == 0 {
            self.held.remove(consumer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Result<(), AuthError> = Err(AuthError::Unavailable(Missing::ReplayMemory));

    fn id(number: u8) -> ProofId {
        [number; 32]
    }

    fn consumer(id: &str) -> ConsumerId {
        ConsumerId::parse(id).unwrap()
    }

    #[test]
    fn a_proof_is_used_once_while_it_is_good() {
        let (replay, shop) = (Replay::new(10), consumer("shop"));
        assert_eq!(replay.enter(id(1), &shop, 100, 50), Ok(()));
        assert_eq!(replay.enter(id(2), &shop, 100, 50), Ok(()));
        for now in [50, 99] {
            let again = replay.enter(id(1), &shop, 100, now);
            assert_eq!(again, Err(Reason::ProofReplayed.into()));
        }
        // Its own time has passed by then, so nobody gets here with it.
        assert_eq!(replay.enter(id(1), &shop, 200, 100), Ok(()));
    }

    #[test]
    fn a_full_memory_forgets_nothing_and_takes_nothing() {
        let replay = Replay::new(2);
        let [one, two, three] = ["one", "two", "three"].map(consumer);
        assert_eq!(replay.enter(id(1), &one, 100, 50), Ok(()));
        assert_eq!(replay.enter(id(2), &two, 110, 50), Ok(()));
        assert_eq!(replay.enter(id(3), &three, 120, 99), FULL);
        assert_eq!(
            replay.enter(id(2), &two, 110, 99),
            Err(Reason::ProofReplayed.into())
        );
        assert_eq!(replay.enter(id(3), &three, 120, 100), Ok(()));
        assert_eq!(replay.enter(id(4), &one, 120, 100), FULL);
        let used = replay.used.lock().unwrap();
        let sizes = (used.all.len(), used.ending.len(), used.held.len());
        assert_eq!(sizes, (2, 2, 2), "nothing is kept of what has ended");
    }

    /// However many there are, and of however many consumers: as many as may be are remembered, none
    /// of these is forgotten, the rest is turned away, and nothing is left when they have ended.
    #[test]
    fn a_flood_of_proofs_leaves_as_many_as_may_be() {
        const MOST: usize = 1000;
        let replay = Replay::new(MOST as u64);
        let proof = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            (id, consumer(&format!("invented-{}", number % 5000)))
        };
        let mut taken = Vec::new();
        for number in 0..100_000 {
            let (id, consumer) = proof(number);
            let until = 100 + i64::try_from(number % 90).unwrap();
            match replay.enter(id, &consumer, until, 50) {
                Ok(()) => taken.push((number, until)),
                full => assert_eq!(full, FULL),
            }
        }
        assert_eq!(taken.len(), MOST);
        for (number, until) in taken {
            let (id, consumer) = proof(number);
            let again = replay.enter(id, &consumer, until, 99);
            assert_eq!(again, Err(Reason::ProofReplayed.into()));
        }
        let sizes = || {
            let used = replay.used.lock().unwrap();
            let ending: usize = used.ending.values().map(Vec::len).sum();
            (used.all.len(), ending, used.held.len())
        };
        assert_eq!(sizes(), (MOST, MOST, MOST));
        assert_eq!(replay.enter([9; 32], &consumer("shop"), 300, 200), Ok(()));
        assert_eq!(sizes(), (1, 1, 1));
    }

    #[test]
    fn one_consumer_leaves_room_for_the_others() {
        let replay = Replay::new(12);
        let mut next = 0;
        let mut fill = |name: &str, now| {
            let name = consumer(name);
            let mut taken = 0;
            loop {
                next += 1;
                match replay.enter(id(next), &name, now + 50, now) {
                    Ok(()) => taken += 1,
                    full => {
                        assert_eq!(full, FULL);
                        return taken;
                    }
                }
            }
        };
        assert_eq!(fill("greedy", 50), 6);
        assert_eq!(fill("second", 50), 3);
        assert_eq!(fill("third", 50), 2);
        assert_eq!(fill("greedy", 50), 0);
        assert_eq!(fill("greedy", 100), 6, "the others' have ended too");
    }
}
