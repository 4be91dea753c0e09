//! The IP domains of the core, as far as its answers and the configuration have shown them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::Nat;

/// Knows whether there is more than one. Once it has seen two, an address alone names nobody.
#[derive(Debug, Default)]
pub(super) struct IpDomains {
    first: OnceLock<Box<str>>,
    several: AtomicBool,
    warned: AtomicBool,
}

impl IpDomains {
    /// Those that the configuration names.
    pub(super) fn of(nat: &Nat) -> Self {
        let known = Self::default();
        let pools = nat.pools.iter().filter_map(|pool| pool.ip_domain.as_ref());
        for domain in pools.chain(&nat.private_ip_domain) {
            known.seen(domain);
        }
        known
    }

    /// Takes note of one.
    pub(super) fn seen(&self, domain: &str) {
        if **self.first.get_or_init(|| domain.into()) != *domain {
            self.several.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is the only one that was ever seen.
    pub(super) fn is_only(&self, domain: &str) -> bool {
        !self.several.load(Ordering::Relaxed)
            && self.first.get().is_none_or(|first| **first == *domain)
    }

    /// Says once what the operator can do about addresses that cannot be told apart.
    pub(super) fn warn(&self) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "private addresses without a port name nobody here, for there are several IP \
                 domains: set nat.private_ip_domain or nat.pools"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_one_is_that_until_there_is_another() {
        let domains = IpDomains::default();
        assert!(domains.is_only("nat-a"));
        domains.seen("nat-a");
        domains.seen("nat-a");
        assert!(domains.is_only("nat-a"));
        assert!(!domains.is_only("nat-b"));
        domains.seen("nat-b");
        assert!(!domains.is_only("nat-a"));
        assert!(!domains.is_only("nat-b"));
    }
}
