//! Deterministic NAT (RFC 7422): from public address and port to private address by arithmetic.
//!
//! A pool hands out its ports in blocks of equal size, one block to each private address, in the
//! order of the addresses.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// One pool as the operator describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NatPool {
    /// The addresses that the world sees.
    pub public_prefix: Ipv4Net,
    /// The first port that is handed out on each public address.
    pub first_port: u16,
    /// The ports of each private address.
    pub ports_per_subscriber: u16,
    /// The addresses behind the NAT.
    pub private_prefix: Ipv4Net,
    /// What the core calls the address space behind the NAT (TS 29.521, `ipDomain`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_domain: Option<String>,
}

/// An address as the session behind a NAT has it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Where it is that session's and no other's.
    pub space: AddressSpace,
}

/// Within which an address is used once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressSpace {
    /// This IP domain (TS 29.521, `ipDomain`).
    Domain(String),
    /// The whole network, by the operator's word.
    Network,
    /// Nobody has said.
    Unknown,
}

/// Whether an address can be used in more than one address space of a network (RFC 1918, RFC 6598).
pub fn is_reusable(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_private() || (first == 100 && second & 0b1100_0000 == 64)
}

impl NatPool {
    /// Says what is wrong with the pool.
    pub fn validate(&self) -> Result<(), &'static str> {
        if self.ports_per_subscriber == 0 {
            return Err("ports_per_subscriber must be greater than zero");
        }
        if self.subscribers_per_address() == 0 {
            return Err("no block of ports_per_subscriber fits above first_port");
        }
        Ok(())
    }

    /// Whole blocks from the first port to port 65535.
    fn subscribers_per_address(&self) -> u32 {
        (65_536 - u32::from(self.first_port)) / u32::from(self.ports_per_subscriber.max(1))
    }

    /// The private address that owns this port, or nothing where the pool hands it to nobody.
    fn private_of(&self, public: Ipv4Addr, port: u16) -> Option<Ipv4Addr> {
        let offset = port.checked_sub(self.first_port)?;
        let block = u32::from(offset) / u32::from(self.ports_per_subscriber.max(1));
        if !self.public_prefix.contains(&public) || block >= self.subscribers_per_address() {
            return None;
        }
        let address_index = u32::from(public) - u32::from(self.public_prefix.network());
        let index = address_index
            .checked_mul(self.subscribers_per_address())?
            .checked_add(block)?;
        let private = Ipv4Addr::from(u32::from(self.private_prefix.network()).checked_add(index)?);
        self.private_prefix.contains(&private).then_some(private)
    }

    /// Whether this private address is seen as this public one.
    fn maps(&self, private: Ipv4Addr, public: Ipv4Addr) -> bool {
        if !self.public_prefix.contains(&public) || !self.private_prefix.contains(&private) {
            return false;
        }
        let index = u32::from(private) - u32::from(self.private_prefix.network());
        let address_index = u32::from(public) - u32::from(self.public_prefix.network());
        index / self.subscribers_per_address().max(1) == address_index
    }

    fn in_domain(&self, address: Ipv4Addr) -> PrivateAddress {
        let domain = self.ip_domain.clone();
        PrivateAddress {
            address,
            space: domain.map_or(AddressSpace::Network, AddressSpace::Domain),
        }
    }
}

/// All pools of a deployment.
#[derive(Debug, Default)]
pub struct NatPools(Vec<NatPool>);

impl NatPools {
    /// Pools that were validated.
    pub fn new(pools: Vec<NatPool>) -> Self {
        Self(pools)
    }

    /// The private address behind a public address and port.
    pub fn by_port(&self, public: Ipv4Addr, port: u16) -> Option<PrivateAddress> {
        self.0.iter().find_map(|pool| {
            pool.private_of(public, port)
                .map(|private| pool.in_domain(private))
        })
    }

    /// The private address in the address space that the public address tells.
    pub fn by_private(&self, public: Ipv4Addr, private: Ipv4Addr) -> Option<PrivateAddress> {
        self.0
            .iter()
            .find(|pool| pool.maps(private, public))
            .map(|pool| pool.in_domain(private))
    }

    /// Whether a pool owns this public address, whoever may be behind it.
    pub fn cover(&self, public: Ipv4Addr) -> bool {
        self.0
            .iter()
            .any(|pool| pool.public_prefix.contains(&public))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pool of the synthetic subscribers: 64 of them share an address, 1000 ports each.
    fn pools() -> NatPools {
        let pool = NatPool {
            public_prefix: "203.0.113.0/24".parse().unwrap(),
            first_port: 1024,
            ports_per_subscriber: 1000,
            private_prefix: "10.64.0.0/12".parse().unwrap(),
            ip_domain: Some("nat-b".to_owned()),
        };
        pool.validate().unwrap();
        NatPools::new(vec![pool])
    }

    fn private(public: &str, port: u16) -> Option<String> {
        let found = pools().by_port(public.parse().unwrap(), port)?;
        assert_eq!(found.space, AddressSpace::Domain("nat-b".to_owned()));
        Some(found.address.to_string())
    }

    #[test]
    fn ports_are_handed_out_in_blocks() {
        for (public, port, expected) in [
            ("203.0.113.0", 1024, Some("10.64.0.0")),
            ("203.0.113.0", 2023, Some("10.64.0.0")),
            ("203.0.113.0", 2024, Some("10.64.0.1")),
            ("203.0.113.0", 65023, Some("10.64.0.63")),
            ("203.0.113.1", 1024, Some("10.64.0.64")),
            ("203.0.113.0", 1023, None),
            ("203.0.113.0", 65024, None),
            ("203.0.114.0", 1024, None),
        ] {
            assert_eq!(
                private(public, port).as_deref(),
                expected,
                "{public}:{port}"
            );
        }
    }

    #[test]
    fn a_private_address_belongs_to_one_public_address() {
        let pools = pools();
        let owned = |private: &str, public: &str| {
            pools
                .by_private(public.parse().unwrap(), private.parse().unwrap())
                .is_some()
        };
        assert!(owned("10.64.0.63", "203.0.113.0"));
        assert!(!owned("10.64.0.64", "203.0.113.0"));
        assert!(owned("10.64.0.64", "203.0.113.1"));
    }

    #[test]
    fn addresses_that_networks_share_are_known() {
        for (address, reusable) in [
            ("10.45.0.1", true),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("192.168.0.1", true),
            ("100.63.255.255", false),
            ("100.64.0.0", true),
            ("100.127.255.255", true),
            ("100.128.0.0", false),
            ("198.51.100.7", false),
        ] {
            assert_eq!(is_reusable(address.parse().unwrap()), reusable, "{address}");
        }
    }

    #[test]
    fn a_pool_that_hands_out_nothing_is_refused() {
        let pool = NatPool {
            first_port: 65_000,
            ..pools().0[0].clone()
        };
        assert!(pool.validate().is_err());
    }

    proptest::proptest! {
        #[test]
        fn every_port_leads_to_its_own_pool(public: u32, port: u16) {
            let public = Ipv4Addr::from(public);
            if let Some(found) = pools().by_port(public, port) {
                proptest::prop_assert!(pools().by_private(public, found.address).is_some());
            }
        }
    }
}
