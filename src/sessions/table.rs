//! The rules of the table, for whoever holds its lock: what becomes of an event.

use std::cmp::Ordering;

use device::UeId;
use hashbrown::HashMap;

use super::ends::Ends;
use super::event::{Addresses, Change, SessionEvent};
use super::held::{Held, PREFIXES_MOST};
use super::slots::{DomainId, Session, State};
use super::smfs::Smfs;
use super::store::Store;
use super::{Applied, Part, Size};

/// Slots that one sweep looks at: some tens of microseconds under the lock.
const SWEPT_AT_ONCE: u32 = 256;

pub(super) struct Table {
    pub(super) smfs: Smfs,
    pub(super) store: Store,
    pub(super) ip_domains: HashMap<Box<str>, DomainId>,
    ends: Ends,
}

/// What was said last of a session.
#[derive(Clone, Copy)]
struct LastWord {
    time: i64,
    /// That it ended.
    released: bool,
    /// That it lost an address, at that time: a word of the same time that brings one may be the
    /// older of the two.
    narrowed: bool,
}

/// One word about one session, and what is known of that.
struct Word<'a> {
    part: Part,
    event: &'a SessionEvent,
    /// The slots of the session.
    known: Vec<u32>,
    /// Absent where this subscription at the SMF has not told of it.
    last: Option<LastWord>,
}

impl Table {
    pub(super) fn new(most: u32) -> Self {
        Self {
            smfs: Smfs::default(),
            store: Store::new(most),
            ip_domains: HashMap::new(),
            ends: Ends::default(),
        }
    }

    pub(super) fn apply(&mut self, part: Part, event: &SessionEvent) -> Applied {
        if !self.smfs.hears(part) {
            return Applied::Outdated;
        }
        let (subscription, pdu_session_id) = (&event.subscription, event.pdu_session_id);
        let known: Vec<u32> = self
            .store
            .of_session(subscription, pdu_session_id, part.smf)
            .collect();
        let last = self.last_word(part, &known);
        let word = Word {
            part,
            event,
            known,
            last,
        };
        match &event.change {
            Change::Released => self.released(&word),
            Change::Established(_) | Change::Moved { .. }
                if last.is_none() && self.smfs.may_have_ended_since(part, event.time) =>
            {
                self.smfs.set_incomplete(part);
                Applied::Outdated
            }
            Change::Established(addresses) => self.established(&word, addresses),
            Change::Moved { added, removed } => self.moved(&word, added, removed),
        }
    }

    /// The last word of this subscription at the SMF about a session.
    fn last_word(&self, part: Part, known: &[u32]) -> Option<LastWord> {
        let sessions = known.iter().filter_map(|slot| self.store.get(*slot));
        let told = sessions.filter(|session| session.part() == part);
        told.max_by_key(|session| session.time)
            .map(|session| LastWord {
                time: session.time,
                released: session.state == State::Released,
                narrowed: session.narrowed,
            })
    }

    fn established(&mut self, word: &Word<'_>, addresses: &Addresses) -> Applied {
        let time = word.event.time;
        let told = self.hold(addresses);
        let Some(last) = word.last else {
            return self.set(word, time, &told, false);
        };
        match time.cmp(&last.time) {
            Ordering::Less => Applied::Outdated,
            Ordering::Greater => self.set(word, time, &told, false),
            // Of an end and a beginning at the same time nobody knows which came first.
            Ordering::Equal if last.released || last.narrowed => Applied::Outdated,
            Ordering::Equal => {
                let mut held = self.held(word);
                let agree = held.join(told);
                self.set(word, time, &held, !agree)
            }
        }
    }

    fn released(&mut self, word: &Word<'_>) -> Applied {
        let time = word.event.time;
        if word.last.is_some_and(|last| time < last.time) {
            return Applied::Outdated;
        }
        self.remove_all(&word.known);
        self.forget_old_ends();
        let mut end = word.session(time);
        end.state = State::Released;
        let Some(slot) = self.store.insert(end, &word.event.subscription) else {
            self.smfs.forget_end(word.part, time);
            return Applied::Full;
        };
        self.ends.push(slot, time);
        Applied::Done
    }

    /// What is taken away can only make the table say less, so it is done even when it is told late.
    fn moved(&mut self, word: &Word<'_>, added: &Addresses, removed: &Addresses) -> Applied {
        let (added, removed) = (self.hold(added), self.hold(removed));
        let narrows = !removed.is_empty();
        // What another subscription at the SMF told of the session does not count.
        let mut held = word.last.map_or_else(Held::default, |_| self.held(word));
        held.take_away(&removed);
        let time = word.event.time;
        let Some(last) = word.last.filter(|last| time <= last.time) else {
            held.add(added);
            return self.set(word, time, &held, narrows);
        };
        if last.released {
            return Applied::Outdated;
        }
        if time == last.time && !last.narrowed {
            let agree = held.join(added);
            return self.set(word, time, &held, narrows || !agree);
        }
        match self.set(word, last.time, &held, last.narrowed) {
            Applied::Done => Applied::Outdated,
            applied => applied,
        }
    }

    /// These are the addresses of the session from now on.
    fn set(&mut self, word: &Word<'_>, time: i64, held: &Held, narrowed: bool) -> Applied {
        self.remove_all(&word.known);
        let ipv4 = std::iter::once(held.ipv4);
        let prefixes = held.prefixes.iter().copied().map(Some);
        // The IPv4 address shares a slot with the first prefix.
        let slots = prefixes.len().max(1);
        let both = ipv4
            .chain(std::iter::repeat(None))
            .zip(prefixes.chain(std::iter::repeat(None)));
        for (ipv4, prefix) in both.take(slots) {
            let mut session = word.session(time);
            session.narrowed = narrowed;
            (session.ipv4, session.ip_domain) = ipv4.unwrap_or((0, DomainId::UNKNOWN));
            session.set_prefix(prefix);
            if self
                .store
                .insert(session, &word.event.subscription)
                .is_none()
            {
                self.smfs.set_incomplete(word.part);
                return Applied::Full;
            }
        }
        Applied::Done
    }

    /// All addresses that a session has.
    fn held(&self, word: &Word<'_>) -> Held {
        let sessions = || word.known.iter().filter_map(|slot| self.store.get(*slot));
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

    /// Makes room for another end. One that is forgotten while its SMF reports could be followed by
    /// a beginning that is older and told all the same, so these stay as long as there is room.
    fn forget_old_ends(&mut self) {
        let Self {
            smfs, store, ends, ..
        } = self;
        let kept_there = |store: &Store, slot, time| {
            let session = store.get(slot)?;
            let is_this = session.state == State::Released && session.time == time;
            is_this.then(|| session.part())
        };
        while let Some(end) = ends.pop_outlived(|end| {
            kept_there(store, end.slot, end.time).is_none_or(|part| !smfs.is_reporting(part))
        }) {
            if let Some(part) = kept_there(store, end.slot, end.time) {
                smfs.forget_end(part, end.time);
                store.remove(end.slot);
            }
        }
    }

    fn remove_all(&mut self, slots: &[u32]) {
        for &slot in slots {
            self.store.remove(slot);
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
        let end = self.store.end();
        let to = from.saturating_add(SWEPT_AT_ONCE).min(end);
        for slot in from..to {
            let outlived = self.store.get(slot).is_some_and(|session| {
                session.state != State::Free && !self.smfs.hears(session.part())
            });
            if outlived {
                self.store.remove(slot);
            }
        }
        (to < end).then_some(to)
    }

    pub(super) fn size(&self) -> Size {
        let (trusted, distrusted) = self.smfs.trusted_and_distrusted();
        Size {
            sessions: self.store.used(),
            trusted,
            distrusted,
            complete: self.smfs.are_complete(),
        }
    }
}

impl Word<'_> {
    /// The session as this word leaves it, without addresses.
    fn session(&self, time: i64) -> Session {
        let subscription: &UeId = &self.event.subscription;
        Session::new(
            subscription.packed(),
            self.event.pdu_session_id,
            self.part,
            time,
        )
    }
}
