//! Whose session an address is, by what counts of what was told.

use std::net::{Ipv4Addr, Ipv6Addr};

use device::UeId;

use super::Part;
use super::event::Addresses;
use super::slots::{Session, State};
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
        let claims = self.store.with_ipv4(address.to_bits());
        let claims =
            claims.filter(|(_, session)| wanted.is_none_or(|wanted| session.ip_domain == wanted));
        self.only_one(claims).owner()
    }

    pub(super) fn by_ipv6(&self, address: Ipv6Addr) -> Option<UeId> {
        let (length, claim) = self.store.lengths().find_map(|length| {
            let prefix = (network(address, length), length);
            match self.only_one(self.store.with_prefix(prefix)) {
                Claim::Unheard => None,
                claim => Some((length, claim)),
            }
        })?;
        // A longer one within it may be what an SMF has not told.
        let may_hold_others = length < OWN_PREFIX && !self.smfs.are_complete();
        claim.owner().filter(|_| !may_hold_others)
    }

    pub(super) fn knows(&self, part: Part, subscription: &UeId, pdu_session_id: u8) -> bool {
        let mut slots = self
            .store
            .of_session(subscription, pdu_session_id, part.smf);
        slots.any(|slot| self.store.get(slot).is_some_and(|it| it.part() == part))
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
    fn only_one<'a>(&'a self, claims: impl Iterator<Item = (u32, &'a Session)>) -> Claim {
        let mut claim = Claim::Unheard;
        let mut is_sure = false;
        let mut found: Option<(u32, &Session)> = None;
        for (slot, session) in claims {
            claim = Claim::InDoubt;
            if !self.smfs.vouch_for(session) {
                continue;
            }
            is_sure |= session.state == State::Live;
            match found {
                None => found = Some((slot, session)),
                Some(first) if self.store.same_owner(first, (slot, session)) => {}
                Some(_) => return Claim::InDoubt,
            }
        }
        let found = found.filter(|_| is_sure);
        match found.and_then(|(slot, session)| self.store.owner(slot, session)) {
            Some(owner) => Claim::Of(owner),
            None => claim,
        }
    }
}

fn network(address: Ipv6Addr, length: u8) -> u128 {
    let host_bits = 128 - u32::from(length.min(128));
    address.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)
}
