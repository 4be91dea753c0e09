//! The addresses of one session, as they come and go.

use super::slots::DomainId;

/// IPv6 prefixes of one session; more are no session's. As many may be in doubt, and as many IPv4
/// addresses.
const PREFIXES_MOST: usize = 16;

/// An IPv4 address in its domain.
pub(super) type Ipv4 = (u32, DomainId);
/// The bits of an IPv6 prefix and how many of them count.
pub(super) type Prefix = (u128, u8);

/// The addresses of one session.
#[derive(Default)]
pub(super) struct Held {
    pub(super) ipv4: Option<Ipv4>,
    pub(super) prefixes: Vec<Prefix>,
    pub(super) doubted: Doubted,
}

/// Addresses that a session may have or not: of what was told of them nobody knows the order.
#[derive(Default)]
pub(super) struct Doubted {
    pub(super) ipv4: Vec<Ipv4>,
    pub(super) prefixes: Vec<Prefix>,
    /// There are more of them than are kept.
    pub(super) are_too_many: bool,
}

impl Held {
    pub(super) fn of(ipv4: Option<Ipv4>, prefixes: impl Iterator<Item = Prefix>) -> Self {
        let mut held = Self {
            ipv4,
            ..Self::default()
        };
        prefixes.for_each(|prefix| held.add_prefix(prefix));
        held
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ipv4.is_none() && self.prefixes.is_empty()
    }

    /// It has these no longer.
    pub(super) fn take_away(&mut self, removed: &Self) {
        if let Some((address, _)) = removed.ipv4 {
            // Which domain it was in is not always told again.
            let is_other = |held: &Ipv4| held.0 != address;
            self.ipv4 = self.ipv4.filter(is_other);
            self.doubted.ipv4.retain(is_other);
        }
        let is_other = |prefix: &Prefix| !removed.prefixes.contains(prefix);
        self.prefixes.retain(is_other);
        self.doubted.prefixes.retain(is_other);
    }

    /// It has these now. A session has one IPv4 address: a new one takes the place of another.
    pub(super) fn add(&mut self, added: Self) {
        if added.ipv4.is_some() {
            self.ipv4 = added.ipv4;
            self.doubted.ipv4.clear();
        }
        for prefix in added.prefixes {
            self.doubted.prefixes.retain(|doubted| *doubted != prefix);
            self.add_prefix(prefix);
        }
    }

    fn add_prefix(&mut self, prefix: Prefix) {
        add(&mut self.prefixes, prefix);
    }

    /// Both of two words of which nobody knows which came first. Of two IPv4 addresses either may be
    /// it; says whether there were not two.
    pub(super) fn join(&mut self, other: Self) -> bool {
        let two = self.ipv4.zip(other.ipv4).filter(|(own, its)| own != its);
        self.add(other);
        if let Some((own, its)) = two {
            self.ipv4 = None;
            self.doubted.add_ipv4(own);
            self.doubted.add_ipv4(its);
        }
        two.is_none()
    }

    /// It had these no longer, and may have got them back.
    pub(super) fn doubt_removed(&mut self, removed: &Self) {
        let is_removed = |held: &Ipv4| removed.ipv4.is_some_and(|(address, _)| address == held.0);
        if let Some(ipv4) = self.ipv4.take_if(|held| is_removed(held)) {
            self.doubted.add_ipv4(ipv4);
        }
        for prefix in &removed.prefixes {
            if let Some(place) = self.prefixes.iter().position(|held| held == prefix) {
                self.prefixes.swap_remove(place);
                self.doubted.add_prefix(*prefix);
            }
        }
    }

    /// It had these, and may have lost them.
    pub(super) fn doubt_added(&mut self, added: &Self) {
        if let Some(ipv4) = added.ipv4.filter(|_| self.ipv4 != added.ipv4) {
            self.doubted.add_ipv4(ipv4);
        }
        for prefix in &added.prefixes {
            if !self.prefixes.contains(prefix) {
                self.doubted.add_prefix(*prefix);
            }
        }
    }
}

impl Doubted {
    fn add_ipv4(&mut self, ipv4: Ipv4) {
        self.are_too_many |= !add(&mut self.ipv4, ipv4);
    }

    fn add_prefix(&mut self, prefix: Prefix) {
        self.are_too_many |= !add(&mut self.prefixes, prefix);
    }
}

/// Says whether it is there now.
fn add<T: PartialEq>(all: &mut Vec<T>, one: T) -> bool {
    if all.contains(&one) {
        return true;
    }
    let has_room = all.len() < PREFIXES_MOST;
    if has_room {
        all.push(one);
    }
    has_room
}
