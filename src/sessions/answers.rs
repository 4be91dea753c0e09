//! Whose session an address is, by what counts of what was told.

use std::net::{Ipv4Addr, Ipv6Addr};

use device::UeId;

use super::Part;
use super::event::Addresses;
use super::slots::{DomainId, Session, State};
use super::table::Table;

/// What a session has at least of its own (TS 23.501 5.8.2.2.3). One that is shorter is delegated,
/// and a part of it may be delegated on.
const OWN_PREFIX: u8 = 64;

/// Who has an address.
enum Claim {
    /// No SMF told of it.
    Unheard,
    /// Several have it, or whoever does was told of by an SMF whose word does not count, or may have
    /// lost it.
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

impl Table {
    pub(super) fn by_ipv4(&self, address: Ipv4Addr, ip_domain: Option<&str>) -> Option<UeId> {
        let wanted = match ip_domain {
            Some(name) => Some(*self.ip_domains.get(name)?),
            None if self.smfs.are_complete() => None,
            None => return None,
        };
        let claims = || {
            let claims = self.store.with_ipv4(address.to_bits());
            claims
                .filter(move |(_, session)| wanted.is_none_or(|wanted| session.ip_domain == wanted))
        };
        // Where no domain is known there may be several.
        let is_one_space = |one: &Session, other: &Session| {
            one.ip_domain == other.ip_domain && one.ip_domain != DomainId::UNKNOWN
        };
        self.only_one(claims, is_one_space).owner()
    }

    pub(super) fn by_ipv6(&self, address: Ipv6Addr) -> Option<UeId> {
        let (length, claim) = self.store.lengths().find_map(|length| {
            let prefix = (network(address, length), length);
            match self.only_one(|| self.store.with_prefix(prefix), |_, _| true) {
                Claim::Unheard => None,
                claim => Some((length, claim)),
            }
        })?;
        // A longer one within it may be what an SMF has not told.
        let may_hold_others = length < OWN_PREFIX && !self.smfs.are_complete();
        claim.owner().filter(|_| !may_hold_others)
    }

    pub(super) fn session_with(&self, part: Part, addresses: &Addresses) -> Option<(UeId, u8)> {
        let by_ipv4 = addresses.ipv4.as_ref().into_iter().flat_map(|ipv4| {
            let ip_domain = ipv4.ip_domain.as_deref();
            let ip_domain = ip_domain.and_then(|name| self.ip_domains.get(name).copied());
            let claims = self.store.with_ipv4(ipv4.address.to_bits());
            claims.filter(move |(_, session)| {
                ip_domain.is_none_or(|domain| session.ip_domain == domain)
            })
        });
        let by_prefix = addresses.ipv6.iter().flat_map(|prefix| {
            let prefix = (prefix.network().to_bits(), prefix.prefix_len());
            self.store.with_prefix(prefix)
        });
        let mut found = None;
        for (slot, session) in by_ipv4.chain(by_prefix) {
            if session.part() != part || session.state != State::Live {
                continue;
            }
            let this = Some((self.store.owner(slot, session)?, session.pdu_session_id));
            if found.is_some() && found != this {
                return None;
            }
            found = this;
        }
        found
    }

    /// The one subscription among those who have an address, by the word of SMFs that counts.
    fn only_one<'a, Claims>(
        &'a self,
        claims: impl Fn() -> Claims,
        is_one_space: fn(&Session, &Session) -> bool,
    ) -> Claim
    where
        Claims: Iterator<Item = (u32, &'a Session)>,
    {
        let mut sure: Option<Sure<'a>> = None;
        let mut is_any_doubted = false;
        for (slot, session) in claims() {
            is_any_doubted |= session.state == State::Doubted;
            if session.state != State::Live || !self.smfs.vouch_for(session) {
                continue;
            }
            match &mut sure {
                None => sure = Some(Sure::of(slot, session)),
                Some(sure)
                    if self
                        .store
                        .same_owner((sure.slot, sure.session), (slot, session)) =>
                {
                    sure.is_one_place &= is_one_place(sure.session, session, is_one_space);
                    sure.time = sure.time.max(session.time);
                }
                Some(_) => return Claim::InDoubt,
            }
        }
        let Some(sure) = sure else {
            return match claims().next() {
                Some(_) => Claim::InDoubt,
                None => Claim::Unheard,
            };
        };
        let is_in_the_way = |(slot, session): (u32, &Session)| {
            // An SMF gives one address of one space to one session at a time.
            let was_given_on = sure.is_one_place
                && is_one_place(sure.session, session, is_one_space)
                && session.time < sure.time;
            session.state == State::Doubted
                && self.smfs.vouch_for(session)
                && !was_given_on
                && !self
                    .store
                    .same_owner((sure.slot, sure.session), (slot, session))
        };
        if is_any_doubted && claims().any(is_in_the_way) {
            return Claim::InDoubt;
        }
        let owner = self.store.owner(sure.slot, sure.session);
        owner.map_or(Claim::InDoubt, Claim::Of)
    }
}

/// Sessions of one subscription that surely have an address.
struct Sure<'a> {
    /// The first one of them.
    slot: u32,
    session: &'a Session,
    /// Whether all of them are of one SMF and in one space of addresses.
    is_one_place: bool,
    /// The last word about any of them.
    time: i64,
}

impl<'a> Sure<'a> {
    fn of(slot: u32, session: &'a Session) -> Self {
        Self {
            slot,
            session,
            is_one_place: true,
            time: session.time,
        }
    }
}

fn is_one_place(
    one: &Session,
    other: &Session,
    is_one_space: fn(&Session, &Session) -> bool,
) -> bool {
    one.part() == other.part() && is_one_space(one, other)
}

fn network(address: Ipv6Addr, length: u8) -> u128 {
    let host_bits = 128 - u32::from(length.min(128));
    address.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)
}
