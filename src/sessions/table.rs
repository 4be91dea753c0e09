//! The rules of the table, for whoever holds its lock.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hash};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use device::UeId;
use hashbrown::{DefaultHashBuilder, HashMap};
use tokio::time::Instant;

use super::event::{Addresses, Change, SessionEvent};
use super::index::Index;
use super::slots::{DomainId, Session, Slots, State};
use super::{Applied, Part, Size, SmfId};

/// How long the end of a session is known, and for how many of them: a word about it that was
/// overtaken on its way must not bring it back.
const RELEASED_KEPT: Duration = Duration::from_mins(1);
const RELEASED_MOST: usize = 65_536;

/// IPv6 prefixes of one session; more are no session's.
const PREFIXES_MOST: usize = 16;

/// Slots that one sweep looks at: some tens of microseconds under the lock.
const SWEPT_AT_ONCE: u32 = 256;

pub(super) struct Table {
    slots: Slots,
    most: u32,
    by_ipv4: Index,
    by_prefix: Index,
    by_session: Index,
    /// The prefix lengths that there are, the longest first, and how often.
    lengths: Vec<(u8, u32)>,
    /// Subscriptions that do not fit a word, by slot.
    aside: HashMap<u32, UeId>,
    ip_domains: HashMap<Box<str>, DomainId>,
    smfs: Vec<Smf>,
    released: VecDeque<Ended>,
    hasher: DefaultHashBuilder,
}

struct Smf {
    epoch: u16,
    trust: Trust,
    /// Whether something that it told found no room.
    overflown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Its immediate report is not over.
    Reporting,
    /// What it told counts.
    Live,
    /// What it told does not count.
    Lost,
    /// Nothing is expected of it.
    Gone,
}

/// Who has an address.
enum Claim {
    /// No SMF told of it.
    Unheard,
    /// Several have it, or whoever does was told of by an SMF whose word does not count.
    InDoubt,
    /// This subscription.
    Of(UeId),
}

impl Claim {
    fn owner(self) -> Option<UeId> {
        match self {
            Self::Of(owner) => Some(owner),
            Self::Unheard | Self::InDoubt => None,
        }
    }
}

/// A session that ended, and where its end is kept.
struct Ended {
    slot: u32,
    time: i64,
    heard: Instant,
}

impl Table {
    pub(super) fn new(most: u32) -> Self {
        Self {
            slots: Slots::default(),
            most,
            by_ipv4: Index::new(),
            by_prefix: Index::new(),
            by_session: Index::new(),
            lengths: Vec::new(),
            aside: HashMap::new(),
            ip_domains: HashMap::new(),
            smfs: Vec::new(),
            released: VecDeque::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub(super) fn add_smf(&mut self) -> Option<SmfId> {
        // One that is gone makes room: under a new epoch, nothing of the old one counts.
        let gone = self.smfs.iter().position(|smf| smf.trust == Trust::Gone);
        let place = gone.unwrap_or(self.smfs.len());
        let id = u16::try_from(place).ok().filter(|id| *id < u16::MAX)?;
        match self.smfs.get_mut(place) {
            Some(smf) => smf.trust = Trust::Lost,
            None => self.smfs.push(Smf {
                epoch: 0,
                trust: Trust::Lost,
                overflown: false,
            }),
        }
        Some(SmfId(id))
    }

    pub(super) fn remove_smf(&mut self, smf: SmfId) {
        if let Some(smf) = self.smfs.get_mut(usize::from(smf.0)) {
            smf.trust = Trust::Gone;
        }
    }

    pub(super) fn begin(&mut self, smf: SmfId) -> Part {
        let mut epoch = 0;
        if let Some(smf) = self.smfs.get_mut(usize::from(smf.0)) {
            smf.epoch = smf.epoch.wrapping_add(1);
            smf.trust = Trust::Reporting;
            smf.overflown = false;
            epoch = smf.epoch;
        }
        Part { smf, epoch }
    }

    pub(super) fn complete(&mut self, part: Part) {
        if let Some(smf) = self.smf_of(part)
            && smf.trust == Trust::Reporting
        {
            smf.trust = Trust::Live;
        }
    }

    pub(super) fn distrust(&mut self, part: Part) {
        if let Some(smf) = self.smf_of(part)
            && smf.trust != Trust::Gone
        {
            smf.trust = Trust::Lost;
        }
    }

    /// The SMF, while this is the subscription that counts.
    fn smf_of(&mut self, part: Part) -> Option<&mut Smf> {
        self.smfs
            .get_mut(usize::from(part.smf.0))
            .filter(|smf| smf.epoch == part.epoch)
    }

    pub(super) fn apply(&mut self, part: Part, event: &SessionEvent) -> Applied {
        let heard = self.smf_of(part).is_some_and(|smf| smf.is_heard());
        if !heard {
            return Applied::Outdated;
        }
        let known = self.known(part, event);
        let (last, released) = self.last_word(part, &known);
        match &event.change {
            Change::Established(addresses) => {
                let outdated = match last {
                    // Of an end and a beginning at the same time nobody knows which came first.
                    Some(last) if released => event.time <= last,
                    Some(last) => event.time < last,
                    None => false,
                };
                if outdated {
                    return Applied::Outdated;
                }
                self.remove_all(&known);
                let held = self.hold(addresses);
                self.add(part, event, event.time, &held)
            }
            Change::Released => {
                if last.is_some_and(|last| event.time < last) {
                    return Applied::Outdated;
                }
                self.remove_all(&known);
                self.keep_end(part, event)
            }
            Change::Moved { added, removed } => {
                let late =
                    last.is_some_and(|last| event.time < last || released && event.time == last);
                if released && late {
                    return Applied::Outdated;
                }
                // What another subscription told of the session does not count.
                let mut held = last.map_or_else(Held::default, |_| self.held(&known));
                // It can only make the table say less, so it is done even when it comes late.
                held.take_away(&self.hold(removed));
                if !late {
                    held.add(self.hold(added));
                }
                self.remove_all(&known);
                let time = last.map_or(event.time, |last| last.max(event.time));
                match self.add(part, event, time, &held) {
                    Applied::Done if late => Applied::Outdated,
                    applied => applied,
                }
            }
        }
    }

    /// The slots of the session that the event is about.
    fn known(&self, part: Part, event: &SessionEvent) -> Vec<u32> {
        let SessionEvent {
            subscription,
            pdu_session_id,
            ..
        } = event;
        let hash = self.session_hash(subscription, *pdu_session_id, part.smf);
        let same = |slot: &u32| {
            self.slots.get(*slot).is_some_and(|session| {
                session.smf == part.smf
                    && session.pdu_session_id == *pdu_session_id
                    && self.belongs(*slot, session, subscription)
            })
        };
        self.by_session.candidates(hash).filter(same).collect()
    }

    /// The time of the last word of this subscription about a session, and whether it was its end.
    fn last_word(&self, part: Part, known: &[u32]) -> (Option<i64>, bool) {
        let told = || {
            let sessions = known.iter().filter_map(|slot| self.slots.get(*slot));
            sessions.filter(|session| session.epoch == part.epoch)
        };
        (
            told().map(|session| session.time).max(),
            told().any(|session| session.state == State::Released),
        )
    }

    fn add(&mut self, part: Part, event: &SessionEvent, time: i64, held: &Held) -> Applied {
        let ipv4 = std::iter::once(held.ipv4);
        let prefixes = held.prefixes.iter().copied().map(Some);
        // The IPv4 address shares a slot with the first prefix.
        let slots = prefixes.len().max(1);
        let both = ipv4
            .chain(std::iter::repeat(None))
            .zip(prefixes.chain(std::iter::repeat(None)));
        for (ipv4, prefix) in both.take(slots) {
            let mut session = Session::new(
                event.subscription.packed(),
                event.pdu_session_id,
                part,
                time,
            );
            (session.ipv4, session.ip_domain) = ipv4.unwrap_or((0, DomainId::UNKNOWN));
            session.set_prefix(prefix);
            if self.add_slot(session, event).is_none() {
                if let Some(smf) = self.smf_of(part) {
                    smf.overflown = true;
                }
                return Applied::Full;
            }
        }
        Applied::Done
    }

    fn add_slot(&mut self, session: Session, event: &SessionEvent) -> Option<u32> {
        let slot = self.slots.insert(session, self.most)?;
        if session.owner.is_none() {
            self.aside.insert(slot, event.subscription.clone());
        }
        self.list(slot);
        Some(slot)
    }

    /// All addresses that these slots of one session have.
    fn held(&self, known: &[u32]) -> Held {
        let sessions = || known.iter().filter_map(|slot| self.slots.get(*slot));
        Held {
            ipv4: sessions()
                .find(|session| session.ipv4 != 0)
                .map(|session| (session.ipv4, session.ip_domain)),
            prefixes: sessions().filter_map(Session::prefix).collect(),
        }
    }

    fn hold(&mut self, addresses: &Addresses) -> Held {
        let ipv4 = addresses.ipv4.as_ref();
        Held {
            ipv4: ipv4.map(|ipv4| {
                let ip_domain = self.ip_domain(ipv4.ip_domain.as_deref());
                (ipv4.address.to_bits(), ip_domain)
            }),
            prefixes: addresses
                .ipv6
                .iter()
                .map(|prefix| (prefix.network().to_bits(), prefix.prefix_len()))
                .take(PREFIXES_MOST)
                .collect(),
        }
    }

    /// Remembers the end, so that no earlier word brings the session back.
    fn keep_end(&mut self, part: Part, event: &SessionEvent) -> Applied {
        let now = Instant::now();
        while let Some(ended) = self.released.front()
            && (self.released.len() >= RELEASED_MOST
                || now.duration_since(ended.heard) > RELEASED_KEPT)
        {
            let (slot, time) = (ended.slot, ended.time);
            self.released.pop_front();
            let is_this = self
                .slots
                .get(slot)
                .is_some_and(|session| session.state == State::Released && session.time == time);
            if is_this {
                self.remove(slot);
            }
        }
        let owner = event.subscription.packed();
        let mut session = Session::new(owner, event.pdu_session_id, part, event.time);
        session.state = State::Released;
        let Some(slot) = self.add_slot(session, event) else {
            return Applied::Full;
        };
        self.released.push_back(Ended {
            slot,
            time: event.time,
            heard: now,
        });
        Applied::Done
    }

    fn remove_all(&mut self, slots: &[u32]) {
        for &slot in slots {
            self.remove(slot);
        }
    }

    fn remove(&mut self, slot: u32) {
        self.unlist(slot);
        self.aside.remove(&slot);
        self.slots.free(slot);
    }

    pub(super) fn by_ipv4(&self, address: Ipv4Addr, ip_domain: Option<&str>) -> Option<UeId> {
        let wanted = match ip_domain {
            Some(name) => Some(*self.ip_domains.get(name)?),
            None if self.is_complete() => None,
            None => return None,
        };
        let bits = address.to_bits();
        let claims = self.by_ipv4.candidates(self.hasher.hash_one(bits));
        self.only_one(claims, |session| {
            session.ipv4 == bits && wanted.is_none_or(|wanted| session.ip_domain == wanted)
        })
        .owner()
    }

    pub(super) fn by_ipv6(&self, address: Ipv6Addr) -> Option<UeId> {
        let longest = self.lengths.iter().find_map(|&(length, _)| {
            let prefix = (network(address, length), length);
            let claims = self.by_prefix.candidates(self.hasher.hash_one(prefix));
            match self.only_one(claims, |session| session.prefix() == Some(prefix)) {
                Claim::Unheard => None,
                claim => Some(claim),
            }
        });
        longest?.owner()
    }

    pub(super) fn session_with(&self, part: Part, addresses: &Addresses) -> Option<(UeId, u8)> {
        let by_ipv4 = addresses.ipv4.as_ref().into_iter().flat_map(|ipv4| {
            let bits = ipv4.address.to_bits();
            let ip_domain = ipv4.ip_domain.as_deref();
            let ip_domain = ip_domain.and_then(|name| self.ip_domains.get(name).copied());
            let has = move |session: &Session| {
                session.ipv4 == bits && ip_domain.is_none_or(|domain| session.ip_domain == domain)
            };
            let claims = self.by_ipv4.candidates(self.hasher.hash_one(bits));
            claims.filter(move |slot| self.slots.get(*slot).is_some_and(has))
        });
        let by_prefix = addresses.ipv6.iter().flat_map(|prefix| {
            let prefix = (prefix.network().to_bits(), prefix.prefix_len());
            let has = move |session: &Session| session.prefix() == Some(prefix);
            let claims = self.by_prefix.candidates(self.hasher.hash_one(prefix));
            claims.filter(move |slot| self.slots.get(*slot).is_some_and(has))
        });
        let mut found = None;
        for slot in by_ipv4.chain(by_prefix) {
            let session = self.slots.get(slot)?;
            if session.smf != part.smf || session.epoch != part.epoch {
                continue;
            }
            let this = Some((self.owner(slot, session)?, session.pdu_session_id));
            if found.is_some() && found != this {
                return None;
            }
            found = this;
        }
        found
    }

    /// The one subscription that has an address, by the word of SMFs that counts.
    fn only_one(&self, claims: impl Iterator<Item = u32>, has: impl Fn(&Session) -> bool) -> Claim {
        let sessions = claims.filter_map(|slot| Some((slot, self.slots.get(slot)?)));
        let mut claim = Claim::Unheard;
        let mut found: Option<(u32, &Session)> = None;
        for (slot, session) in sessions.filter(|(_, session)| has(session)) {
            claim = Claim::InDoubt;
            if !self.counts(session) {
                continue;
            }
            match found {
                None => found = Some((slot, session)),
                Some(first) if self.same_owner(first, (slot, session)) => {}
                Some(_) => return Claim::InDoubt,
            }
        }
        match found.and_then(|(slot, session)| self.owner(slot, session)) {
            Some(owner) => Claim::Of(owner),
            None => claim,
        }
    }

    fn counts(&self, session: &Session) -> bool {
        self.smfs
            .get(usize::from(session.smf.0))
            .is_some_and(|smf| smf.epoch == session.epoch && smf.counts())
    }

    /// Whether all sessions are known, so that what is not there is nowhere.
    fn is_complete(&self) -> bool {
        let mut expected = self
            .smfs
            .iter()
            .filter(|smf| smf.trust != Trust::Gone)
            .peekable();
        expected.peek().is_some() && expected.all(|smf| smf.counts() && !smf.overflown)
    }

    fn owner(&self, slot: u32, session: &Session) -> Option<UeId> {
        match session.owner {
            Some(packed) => Some(packed.into()),
            None => self.aside.get(&slot).cloned(),
        }
    }

    fn same_owner(&self, (slot, session): (u32, &Session), (other, its): (u32, &Session)) -> bool {
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

    fn session_hash(&self, subscription: &UeId, pdu_session_id: u8, smf: SmfId) -> u64 {
        match subscription.packed() {
            Some(packed) => hash_session(&self.hasher, packed, pdu_session_id, smf),
            None => hash_session(&self.hasher, subscription, pdu_session_id, smf),
        }
    }

    /// The place of an IP domain in the list, which holds what the configuration names.
    fn ip_domain(&mut self, name: Option<&str>) -> DomainId {
        let Some(name) = name else {
            return DomainId::UNKNOWN;
        };
        if let Some(known) = self.ip_domains.get(name) {
            return *known;
        }
        match u16::try_from(self.ip_domains.len() + 1) {
            Ok(next) => *self.ip_domains.entry(name.into()).or_insert(DomainId(next)),
            Err(_) => DomainId::UNKNOWN,
        }
    }

    pub(super) fn sweep(&mut self, from: u32) -> Option<u32> {
        let end = u32::try_from(self.slots.ever()).unwrap_or(u32::MAX);
        let to = from.saturating_add(SWEPT_AT_ONCE).min(end);
        for slot in from..to {
            let outlived = self
                .slots
                .get(slot)
                .is_some_and(|session| session.state != State::Free && !self.may_count(session));
            if outlived {
                self.remove(slot);
            }
        }
        (to < end).then_some(to)
    }

    /// Whether a session counts, or will when its SMF has reported.
    fn may_count(&self, session: &Session) -> bool {
        self.smfs
            .get(usize::from(session.smf.0))
            .is_some_and(|smf| smf.epoch == session.epoch && smf.is_heard())
    }

    pub(super) fn size(&self) -> Size {
        let trusted = self.smfs.iter().filter(|smf| smf.counts()).count();
        let gone = |smf: &&Smf| smf.trust == Trust::Gone;
        Size {
            sessions: self.slots.used(),
            trusted,
            distrusted: self.smfs.len() - trusted - self.smfs.iter().filter(gone).count(),
        }
    }
}

/// The addresses of one session.
#[derive(Default)]
struct Held {
    ipv4: Option<(u32, DomainId)>,
    prefixes: Vec<(u128, u8)>,
}

impl Held {
    fn take_away(&mut self, removed: &Self) {
        // Which domain it was in is not always told again.
        let address = |held: Option<(u32, DomainId)>| held.map(|(address, _)| address);
        if removed.ipv4.is_some() && address(self.ipv4) == address(removed.ipv4) {
            self.ipv4 = None;
        }
        self.prefixes
            .retain(|prefix| !removed.prefixes.contains(prefix));
    }

    /// A session has one IPv4 address: a new one takes the place of another.
    fn add(&mut self, added: Self) {
        self.ipv4 = added.ipv4.or(self.ipv4);
        for prefix in added.prefixes {
            if !self.prefixes.contains(&prefix) && self.prefixes.len() < PREFIXES_MOST {
                self.prefixes.push(prefix);
            }
        }
    }
}

impl Smf {
    fn is_heard(&self) -> bool {
        match self.trust {
            Trust::Reporting | Trust::Live => true,
            Trust::Lost | Trust::Gone => false,
        }
    }

    fn counts(&self) -> bool {
        self.trust == Trust::Live
    }
}

/// What a slot is listed by.
#[derive(Clone, Copy)]
struct Hashes {
    ipv4: Option<u64>,
    prefix: Option<u64>,
    session: u64,
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

fn hash_session(
    hasher: &DefaultHashBuilder,
    owner: impl Hash,
    pdu_session_id: u8,
    smf: SmfId,
) -> u64 {
    hasher.hash_one((owner, pdu_session_id, smf))
}

fn network(address: Ipv6Addr, length: u8) -> u128 {
    let host_bits = 128 - u32::from(length.min(128));
    address.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)
}
