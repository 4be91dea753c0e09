//! Sessions and what they are found by: whose they are, their IPv4 address, their prefix.

use std::hash::{BuildHasher as _, Hash};

use device::UeId;
use hashbrown::{DefaultHashBuilder, HashMap};

use super::SmfId;
use super::index::Index;
use super::slots::{Session, Slots};

/// All sessions that were told, whether they count or not.
pub(super) struct Store {
    slots: Slots,
    /// As much room as so many sessions need.
    most: u32,
    by_ipv4: Index,
    by_prefix: Index,
    by_session: Index,
    /// The prefix lengths that there are, the longest first, and how often.
    lengths: Vec<(u8, u32)>,
    /// Subscriptions that do not fit a word, by slot, and the room that they take.
    aside: HashMap<u32, UeId>,
    aside_bytes: usize,
    hasher: DefaultHashBuilder,
}

/// What a session takes with all that it is found by.
const SESSION_BYTES: usize = 75;
/// What an identifier takes that lies aside, beside its text.
const ASIDE_BYTES: usize = 64;

/// What a slot is listed by.
#[derive(Clone, Copy)]
struct Hashes {
    ipv4: Option<u64>,
    prefix: Option<u64>,
    session: u64,
}

impl Store {
    pub(super) fn new(most: u32) -> Self {
        Self {
            slots: Slots::default(),
            most,
            by_ipv4: Index::new(),
            by_prefix: Index::new(),
            by_session: Index::new(),
            lengths: Vec::new(),
            aside: HashMap::new(),
            aside_bytes: 0,
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Sessions, and further prefixes of one.
    pub(super) fn used(&self) -> usize {
        self.slots.used()
    }

    /// One more than the last slot that was ever used.
    pub(super) fn end(&self) -> u32 {
        u32::try_from(self.slots.ever()).unwrap_or(u32::MAX)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Session> {
        self.slots.get(slot)
    }

    /// `None` where there is no room.
    pub(super) fn insert(&mut self, session: Session, subscription: &UeId) -> Option<u32> {
        let beside = match session.owner {
            Some(_) => 0,
            None => bytes_of(subscription),
        };
        let taken = (self.slots.used() + 1) * SESSION_BYTES + self.aside_bytes + beside;
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        if taken > most.saturating_mul(SESSION_BYTES) {
            return None;
        }
        let slot = self.slots.insert(session)?;
        if session.owner.is_none() {
            self.aside.insert(slot, subscription.clone());
            self.aside_bytes += beside;
        }
        self.list(slot);
        Some(slot)
    }

    pub(super) fn remove(&mut self, slot: u32) {
        self.unlist(slot);
        if let Some(subscription) = self.aside.remove(&slot) {
            self.aside_bytes -= bytes_of(&subscription);
        }
        self.slots.free(slot);
    }

    /// The slots of one session.
    pub(super) fn of_session(
        &self,
        subscription: &UeId,
        pdu_session_id: u8,
        smf: SmfId,
    ) -> impl Iterator<Item = u32> {
        let hash = match subscription.packed() {
            Some(packed) => hash_session(&self.hasher, packed, pdu_session_id, smf),
            None => hash_session(&self.hasher, subscription, pdu_session_id, smf),
        };
        self.by_session.candidates(hash).filter(move |slot| {
            self.slots.get(*slot).is_some_and(|session| {
                session.smf == smf
                    && session.pdu_session_id == pdu_session_id
                    && self.belongs(*slot, session, subscription)
            })
        })
    }

    /// Whoever has this IPv4 address, in whatever domain.
    pub(super) fn with_ipv4(&self, bits: u32) -> impl Iterator<Item = (u32, &Session)> {
        let claims = self.by_ipv4.candidates(self.hasher.hash_one(bits));
        let sessions = claims.filter_map(|slot| Some((slot, self.slots.get(slot)?)));
        sessions.filter(move |(_, session)| session.ipv4 == bits)
    }

    /// Whoever has exactly this prefix.
    pub(super) fn with_prefix(&self, prefix: (u128, u8)) -> impl Iterator<Item = (u32, &Session)> {
        let claims = self.by_prefix.candidates(self.hasher.hash_one(prefix));
        let sessions = claims.filter_map(|slot| Some((slot, self.slots.get(slot)?)));
        sessions.filter(move |(_, session)| session.prefix() == Some(prefix))
    }

    /// The lengths of the prefixes that there are, the longest first.
    pub(super) fn lengths(&self) -> impl Iterator<Item = u8> {
        self.lengths.iter().map(|&(length, _)| length)
    }

    pub(super) fn owner(&self, slot: u32, session: &Session) -> Option<UeId> {
        match session.owner {
            Some(packed) => Some(packed.into()),
            None => self.aside.get(&slot).cloned(),
        }
    }

    pub(super) fn same_owner(
        &self,
        (slot, session): (u32, &Session),
        (other, its): (u32, &Session),
    ) -> bool {
        session.owner == its.owner
            && (session.owner.is_some() || self.aside.get(&slot) == self.aside.get(&other))
    }

    fn belongs(&self, slot: u32, session: &Session, subscription: &UeId) -> bool {
        match session.owner {
            Some(owner) => subscription.packed() == Some(owner),
            None => self.aside.get(&slot) == Some(subscription),
        }
    }

    /// Enters a slot into the indices, by what it has.
    fn list(&mut self, slot: u32) {
        let Self {
            slots,
            by_ipv4,
            by_prefix,
            by_session,
            lengths,
            hasher,
            aside,
            ..
        } = self;
        let (slots, hasher, aside) = (&*slots, &*hasher, &*aside);
        let Some(session) = slots.get(slot) else {
            return;
        };
        let listed = Hashes::of(hasher, aside, slot, session);
        // All that is in an index has what it is listed by.
        let rehash = |pick: fn(Hashes) -> Option<u64>| {
            move |slot| {
                let session = slots.get(slot);
                let listed = session.map(|session| Hashes::of(hasher, aside, slot, session));
                listed.and_then(pick).unwrap_or_default()
            }
        };
        if let Some(hash) = listed.ipv4 {
            by_ipv4.insert(hash, slot, rehash(|of| of.ipv4));
        }
        if let Some(hash) = listed.prefix {
            by_prefix.insert(hash, slot, rehash(|of| of.prefix));
        }
        by_session.insert(listed.session, slot, rehash(|of| Some(of.session)));
        if let Some((_, length)) = session.prefix() {
            match lengths.binary_search_by(|(known, _)| length.cmp(known)) {
                Ok(place) => {
                    if let Some((_, count)) = lengths.get_mut(place) {
                        *count += 1;
                    }
                }
                Err(place) => lengths.insert(place, (length, 1)),
            }
        }
    }

    /// Takes a slot from the indices.
    fn unlist(&mut self, slot: u32) {
        let Some(session) = self.slots.get(slot) else {
            return;
        };
        let hashes = Hashes::of(&self.hasher, &self.aside, slot, session);
        if let Some(hash) = hashes.ipv4 {
            self.by_ipv4.remove(hash, slot);
        }
        if let Some(hash) = hashes.prefix {
            self.by_prefix.remove(hash, slot);
        }
        self.by_session.remove(hashes.session, slot);
        if let Some((_, length)) = session.prefix()
            && let Ok(place) = self
                .lengths
                .binary_search_by(|(known, _)| length.cmp(known))
            && let Some((_, count)) = self.lengths.get_mut(place)
        {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(place);
            }
        }
    }
}

impl Hashes {
    fn of(
        hasher: &DefaultHashBuilder,
        aside: &HashMap<u32, UeId>,
        slot: u32,
        session: &Session,
    ) -> Self {
        let Session {
            pdu_session_id,
            smf,
            ..
        } = *session;
        let owner = session.owner;
        Self {
            ipv4: (session.ipv4 != 0).then(|| hasher.hash_one(session.ipv4)),
            prefix: session.prefix().map(|prefix| hasher.hash_one(prefix)),
            session: match (owner, aside.get(&slot)) {
                (Some(packed), _) => hash_session(hasher, packed, pdu_session_id, smf),
                (None, Some(aside)) => hash_session(hasher, aside, pdu_session_id, smf),
                (None, None) => 0,
            },
        }
    }
}

fn bytes_of(subscription: &UeId) -> usize {
    let mut text = String::new();
    subscription.reveal_into(&mut text);
    ASIDE_BYTES + text.len()
}

fn hash_session(
    hasher: &DefaultHashBuilder,
    owner: impl Hash,
    pdu_session_id: u8,
    smf: SmfId,
) -> u64 {
    hasher.hash_one((owner, pdu_session_id, smf))
}
