//! The rules of the table, for whoever holds its lock: what becomes of an event.

use std::cmp::Ordering;

use device::UeId;
use hashbrown::HashMap;

use super::ends::Ends;
use super::event::{Addresses, Change, SessionEvent};
use super::held::{Held, Ipv4, Prefix};
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
        let time = told.clone().map(|session| session.time).max()?;
        let mut last = told.filter(|session| session.time == time);
        Some(LastWord {
            time,
            released: last.clone().any(|session| session.state == State::Released),
            narrowed: last.any(|session| session.narrowed),
        })
    }

    fn established(&mut self, word: &Word<'_>, addresses: &Addresses) -> Applied {
        let time = word.event.time;
        let told = self.hold(addresses);
        let Some(last) = word.last else {
            return self.set(word, time, &told, false);
        };
        match time.cmp(&last.time) {
            Ordering::Greater => self.set(word, time, &told, false),
            Ordering::Less if last.released => Applied::Outdated,
            Ordering::Equal if !last.released && !last.narrowed => {
                let mut held = self.held(word);
                let agree = held.join(told);
                self.set(word, time, &held, !agree)
            }
            Ordering::Less | Ordering::Equal => {
                let mut held = self.held(word);
                held.doubt_added(&told);
                self.set_in_doubt(word, last, &held)
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

    fn moved(&mut self, word: &Word<'_>, added: &Addresses, removed: &Addresses) -> Applied {
        let (added, removed) = (self.hold(added), self.hold(removed));
        let narrows = !removed.is_empty();
        // What another subscription at the SMF told of the session does not count.
        let mut held = word.last.map_or_else(Held::default, |_| self.held(word));
        let time = word.event.time;
        let Some(last) = word.last.filter(|last| time <= last.time) else {
            held.take_away(&removed);
            held.add(added);
            return self.set(word, time, &held, narrows);
        };
        if last.released && time < last.time {
            return Applied::Outdated;
        }
        held.doubt_removed(&removed);
        if time == last.time && !last.released && !last.narrowed {
            let agree = held.join(added);
            return self.set(word, time, &held, narrows || !agree);
        }
        held.doubt_added(&added);
        self.set_in_doubt(word, last, &held)
    }

    /// Takes in a word that is not later than the last one, so that nobody knows what holds. Its
    /// addresses stay in the table, in doubt: as if nobody had them, whoever has a shorter prefix or
    /// the same address in another domain would be answered in the place of the session.
    fn set_in_doubt(&mut self, word: &Word<'_>, last: LastWord, held: &Held) -> Applied {
        // Of an end and a beginning at the same time nobody knows which came first either.
        let narrowed = last.narrowed || last.released;
        match self.set(word, last.time, held, narrowed) {
            Applied::Done => Applied::Outdated,
            applied => applied,
        }
    }

    /// These are the addresses of the session from now on.
    fn set(&mut self, word: &Word<'_>, time: i64, held: &Held, narrowed: bool) -> Applied {
        let ended_just_then = self.remove_all_but_end(word, time);
        let doubted = side_by_side(&held.doubted.ipv4, &held.doubted.prefixes, 0);
        // Without an address it is there as well.
        let is_there = ended_just_then || doubted.len() > 0;
        let least = usize::from(!is_there);
        let sure = side_by_side(held.ipv4.as_slice(), &held.prefixes, least);
        let sure = sure.map(|addresses| (State::Live, addresses));
        let doubted = doubted.map(|addresses| (State::Doubted, addresses));
        for (state, (ipv4, prefix)) in sure.chain(doubted) {
            let mut session = word.session(time);
            session.state = state;
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
        if held.doubted.are_too_many {
            self.smfs.set_incomplete(word.part);
            return Applied::Muddled;
        }
        Applied::Done
    }

    /// Removes what was known of the session but its end at this very time, which is known for as
    /// long as any: says whether there is one.
    fn remove_all_but_end(&mut self, word: &Word<'_>, time: i64) -> bool {
        let mut ended = false;
        for &slot in &word.known {
            let is_end = self.store.get(slot).is_some_and(|session| {
                session.state == State::Released
                    && session.part() == word.part
                    && session.time == time
            });
            if is_end {
                ended = true;
            } else {
                self.store.remove(slot);
            }
        }
        ended
    }

    /// All addresses that a session has, or may have.
    fn held(&self, word: &Word<'_>) -> Held {
        let mut held = Held::default();
        for session in word.known.iter().filter_map(|slot| self.store.get(*slot)) {
            let ipv4 = (session.ipv4 != 0).then_some((session.ipv4, session.ip_domain));
            match session.state {
                State::Live => {
                    held.ipv4 = held.ipv4.or(ipv4);
                    held.prefixes.extend(session.prefix());
                }
                State::Doubted => {
                    held.doubted.ipv4.extend(ipv4);
                    held.doubted.prefixes.extend(session.prefix());
                }
                State::Free | State::Released => {}
            }
        }
        held
    }

    fn hold(&mut self, addresses: &Addresses) -> Held {
        let ipv4 = addresses.ipv4.as_ref().map(|ipv4| {
            let ip_domain = self.ip_domain(ipv4.ip_domain.as_deref());
            (ipv4.address.to_bits(), ip_domain)
        });
        let prefixes = addresses.ipv6.iter();
        Held::of(
            ipv4,
            prefixes.map(|prefix| (prefix.network().to_bits(), prefix.prefix_len())),
        )
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

/// An IPv4 address shares a slot with a prefix; at least so many slots.
fn side_by_side(
    ipv4: &[Ipv4],
    prefixes: &[Prefix],
    least: usize,
) -> impl ExactSizeIterator<Item = (Option<Ipv4>, Option<Prefix>)> {
    let slots = ipv4.len().max(prefixes.len()).max(least);
    (0..slots).map(|place| (ipv4.get(place).copied(), prefixes.get(place).copied()))
}
