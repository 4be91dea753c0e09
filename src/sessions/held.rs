//! The addresses of one session, as they come and go.

use super::slots::DomainId;

/// IPv6 prefixes of one session; more are no session's.
pub(super) const PREFIXES_MOST: usize = 16;

/// The addresses of one session.
#[derive(Default)]
pub(super) struct Held {
    pub(super) ipv4: Option<(u32, DomainId)>,
    pub(super) prefixes: Vec<(u128, u8)>,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.ipv4.is_none() && self.prefixes.is_empty()
    }

    pub(super) fn take_away(&mut self, removed: &Self) {
        // Which domain it was in is not always told again.
        let address = |held: Option<(u32, DomainId)>| held.map(|(address, _)| address);
        if removed.ipv4.is_some() && address(self.ipv4) == address(removed.ipv4) {
            self.ipv4 = None;
        }
        self.prefixes
            .retain(|prefix| !removed.prefixes.contains(prefix));
    }

    /// A session has one IPv4 address: a new one takes the place of another.
    pub(super) fn add(&mut self, added: Self) {
        self.ipv4 = added.ipv4.or(self.ipv4);
        for prefix in added.prefixes {
            if !self.prefixes.contains(&prefix) && self.prefixes.len() < PREFIXES_MOST {
                self.prefixes.push(prefix);
            }
        }
    }

    /// Both of two words of which nobody knows which came first. Of two IPv4 addresses it is
    /// neither; says whether there were not two.
    pub(super) fn join(&mut self, other: Self) -> bool {
        let agree = match (self.ipv4, other.ipv4) {
            (Some(own), Some(other)) => own == other,
            (None, _) | (_, None) => true,
        };
        self.add(other);
        if !agree {
            self.ipv4 = None;
        }
        agree
    }
}
