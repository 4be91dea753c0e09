//! Where: the address of a device's session as a consumer may give it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::MASK;

/// An IPv4 address of a device: what the world sees, and what tells the devices behind it apart.
///
/// CAMARA `DeviceIpv4Addr`: the public address and at least one of port and private address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ipv4Query {
    /// Public address and port; a private address beside them can only confirm or contradict.
    Port {
        /// The address that the application server saw.
        public: Ipv4Addr,
        /// The port that the application server saw.
        port: u16,
        /// The address that the device says it has.
        private: Option<Ipv4Addr>,
    },
    /// Public and private address; equal where there is no NAT.
    Private {
        /// The address that the application server saw.
        public: Ipv4Addr,
        /// The address that the device has.
        private: Ipv4Addr,
    },
}

impl Ipv4Query {
    /// The address that the world sees.
    pub fn public(self) -> Ipv4Addr {
        match self {
            Self::Port { public, .. } | Self::Private { public, .. } => public,
        }
    }

    /// The address that the device says it has, if it was given.
    pub fn private(self) -> Option<Ipv4Addr> {
        match self {
            Self::Port { private, .. } => private,
            Self::Private { private, .. } => Some(private),
        }
    }
}

/// An address is personal: it leads to its subscriber.
impl fmt::Debug for Ipv4Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ipv4Query({MASK})")
    }
}

/// Reads dotted decimal without leading zeros (RFC 6943 3.1.1, the strict form).
pub fn parse_ipv4(text: &str) -> Option<Ipv4Addr> {
    text.parse().ok()
}

/// Reads a textual form of RFC 4291 2.2. Zones and IPv4-mapped addresses are no device's address.
pub fn parse_ipv6(text: &str) -> Option<Ipv6Addr> {
    let address: Ipv6Addr = text.parse().ok()?;
    address.to_ipv4_mapped().is_none().then_some(address)
}

/// Whether a subscriber's session can have this address at all.
pub fn session_ipv4(address: Ipv4Addr) -> bool {
    !(address.is_loopback()
        || address.is_multicast()
        || address.is_unspecified()
        || address.is_link_local()
        || address.is_broadcast())
}

/// Whether a subscriber's session can have this address at all.
pub fn session_ipv6(address: Ipv6Addr) -> bool {
    !(address.is_loopback()
        || address.is_multicast()
        || address.is_unspecified()
        || address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strict_forms_are_addresses() {
        for text in ["84.125.93.10", "0.0.0.0", "255.255.255.255"] {
            assert!(parse_ipv4(text).is_some(), "{text}");
        }
        for text in [
            "084.125.93.10",
            "84.125.93",
            "0x54.1.2.3",
            "1.2.3.4/32",
            " 1.2.3.4",
            "",
        ] {
            assert!(parse_ipv4(text).is_none(), "{text}");
        }
        for text in [
            "2001:db8::1",
            "::",
            "64:ff9b::192.0.2.1",
            "2001:DB8:0:0:0:0:0:1",
        ] {
            assert!(parse_ipv6(text).is_some(), "{text}");
        }
        for text in [
            "fe80::1%eth0",
            "::ffff:1.2.3.4",
            "2001:db8::/64",
            "2001:db8",
            "[::1]",
            "",
        ] {
            assert!(parse_ipv6(text).is_none(), "{text}");
        }
    }

    #[test]
    fn addresses_of_no_session_are_known() {
        for text in [
            "127.0.0.1",
            "224.0.0.1",
            "0.0.0.0",
            "169.254.1.1",
            "255.255.255.255",
        ] {
            assert!(!session_ipv4(text.parse().unwrap()), "{text}");
        }
        assert!(session_ipv4("10.45.0.1".parse().unwrap()));
        for text in ["::1", "ff02::1", "::", "fe80::1"] {
            assert!(!session_ipv6(text.parse().unwrap()), "{text}");
        }
        assert!(session_ipv6("2001:db8::1".parse().unwrap()));
    }
}
