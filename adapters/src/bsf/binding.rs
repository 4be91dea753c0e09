//! What a binding states: whose it is, and of which addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use device::{Gpsi, Supi};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;

use super::dialect::Dialect;
use crate::identifiers::{gpsi, supi};
use crate::sbi::{Error, Fact, Facts, Text, from_json};

/// Whose session was found: a binding names its subscription in at least one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PcfBinding {
    /// By permanent identifier alone.
    Supi(Supi),
    /// By public identifier alone.
    Gpsi(Gpsi),
    /// By both.
    Both {
        /// The permanent identifier.
        supi: Supi,
        /// The public identifier.
        gpsi: Gpsi,
    },
}

impl PcfBinding {
    /// The permanent identifier, where the BSF told it.
    pub fn supi(&self) -> Option<&Supi> {
        match self {
            Self::Supi(supi) | Self::Both { supi, .. } => Some(supi),
            Self::Gpsi(_) => None,
        }
    }

    /// The public identifier, where the BSF told it.
    pub fn gpsi(&self) -> Option<&Gpsi> {
        match self {
            Self::Gpsi(gpsi) | Self::Both { gpsi, .. } => Some(gpsi),
            Self::Supi(_) => None,
        }
    }
}

/// Whose session an IPv4 address was found to be, and what the binding says of the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipv4Binding {
    /// Whose.
    pub subscriber: PcfBinding,
    /// Whether it repeats the address that was asked for. It cannot name another.
    pub names_address: bool,
    /// The address space that the address is of.
    pub ip_domain: Option<Box<str>>,
}

impl PcfBinding {
    /// Reads a `PcfBinding` of TS 29.521; `None` where it names no subscriber. For any bytes: a
    /// value or [`Error::BadAnswer`].
    pub fn from_json(body: &[u8]) -> Result<Option<Self>, Error> {
        let json: PcfBindingJson<'_> = from_json(body)?;
        Self::named(json.supi, json.gpsi)
    }

    fn named(by_supi: Option<Text<'_>>, by_gpsi: Option<Text<'_>>) -> Result<Option<Self>, Error> {
        Ok(match (supi(by_supi)?, gpsi(by_gpsi)?) {
            (Some(supi), Some(gpsi)) => Some(Self::Both { supi, gpsi }),
            (Some(supi), None) => Some(Self::Supi(supi)),
            (None, Some(gpsi)) => Some(Self::Gpsi(gpsi)),
            (None, None) => None,
        })
    }
}

/// A binding that names its subscriber. Addresses are kept as they came: only the one that was asked
/// for has to be understood. An empty text states nothing.
pub(super) struct Session {
    subscriber: PcfBinding,
    ipv4_addr: Option<Box<str>>,
    ipv4_routes: Vec<Box<str>>,
    ip_domain: Option<Box<str>>,
    ipv6_prefix: Option<Box<str>>,
    add_ipv6_prefixes: Vec<Box<str>>,
    ipv6_routes: Vec<Box<str>>,
}

impl Session {
    /// `None` where it names no subscriber.
    pub(super) fn read(json: PcfBindingJson<'_>) -> Result<Option<Self>, Error> {
        let Some(subscriber) = PcfBinding::named(json.supi, json.gpsi)? else {
            return Ok(None);
        };
        let stated = |text: Text<'_>| (!text.is_empty()).then(|| Box::from(&*text));
        let one = |member: Option<Text<'_>>| member.and_then(stated);
        let all = |member: Option<Vec<Text<'_>>>| {
            let member = member.unwrap_or_default();
            member.into_iter().filter_map(stated).collect()
        };
        Ok(Some(Self {
            subscriber,
            ipv4_addr: one(json.ipv4_addr),
            ipv4_routes: all(json.ipv4_frame_route_list),
            ip_domain: one(json.ip_domain),
            ipv6_prefix: one(json.ipv6_prefix),
            add_ipv6_prefixes: all(json.add_ipv6_prefixes),
            ipv6_routes: all(json.ipv6_frame_route_list),
        }))
    }

    /// Whether it can be the session of this address in this address space.
    pub(super) fn check_ipv4(
        &self,
        address: Ipv4Addr,
        ip_domain: Option<&str>,
    ) -> Result<(), Other> {
        if let (Some(asked), Some(stated)) = (ip_domain, self.ip_domain.as_deref())
            && asked != stated
        {
            return Err(Other::IpDomain);
        }
        let own = self.own_ipv4().map(Ipv4Net::from);
        let routes = self.ipv4_routes.iter().filter_map(|it| it.parse().ok());
        let states_none = self.ipv4_addr.is_none() && self.ipv4_routes.is_empty();
        let mut stated = own.into_iter().chain(routes);
        let holds = states_none || stated.any(|net: Ipv4Net| net.contains(&address));
        holds.then_some(()).ok_or(Other::Address)
    }

    /// Whether it can be the session that this address is in, asked for in this dialect.
    ///
    /// A framed route (TS 23.501 5.6.14) is a network behind the device.
    pub(super) fn check_ipv6(&self, address: Ipv6Addr, dialect: Dialect) -> Result<(), Other> {
        let mut own = self.ipv6_prefix.iter().chain(&self.add_ipv6_prefixes);
        let mut routes = self.ipv6_routes.iter();
        let states_none = own.clone().chain(routes.clone()).next().is_none();
        let is_own = |net: Ipv6Net| net.contains(&address) || dialect.writes(address, &net);
        let holds = states_none
            || own.any(|text| ipv6_net(text).is_some_and(is_own))
            || routes.any(|text| ipv6_net(text).is_some_and(|net| net.contains(&address)));
        holds.then_some(()).ok_or(Other::Address)
    }

    /// As the session of this address, which it can be.
    pub(super) fn of_ipv4(self, address: Ipv4Addr) -> Ipv4Binding {
        Ipv4Binding {
            names_address: self.own_ipv4() == Some(address),
            subscriber: self.subscriber,
            ip_domain: self.ip_domain,
        }
    }

    /// Whose it is.
    pub(super) fn into_subscriber(self) -> PcfBinding {
        self.subscriber
    }

    fn own_ipv4(&self) -> Option<Ipv4Addr> {
        self.ipv4_addr.as_deref()?.parse().ok()
    }
}

/// Why a binding is not the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    /// It is of another address space.
    IpDomain,
    /// It states addresses, and none that can be read holds the one that was asked for.
    Address,
}

/// An `Ipv6Prefix` of TS 29.571; an address alone is one of its own.
fn ipv6_net(text: &str) -> Option<Ipv6Net> {
    let address = || text.parse::<Ipv6Addr>().ok();
    let net = text.parse().ok();
    net.or_else(|| address().map(Ipv6Net::from))
}

impl Facts for Session {
    fn facts(&self) -> Vec<Fact> {
        let (supi, gpsi) = (self.subscriber.supi(), self.subscriber.gpsi());
        let whose = [
            supi.map(|supi| Fact::personal("supi", supi.reveal())),
            gpsi.map(|gpsi| Fact::personal("gpsi", gpsi.reveal())),
        ];
        let (ipv4_addr, ipv6_prefix) = (&self.ipv4_addr, &self.ipv6_prefix);
        let addresses = [
            ("ipv4Addr", ipv4_addr.as_slice()),
            ("ipv6Prefix", ipv6_prefix.as_slice()),
            ("addIpv6Prefixes", &self.add_ipv6_prefixes),
            ("ipv4FrameRouteList", &self.ipv4_routes),
            ("ipv6FrameRouteList", &self.ipv6_routes),
        ];
        let addresses = addresses
            .into_iter()
            .flat_map(|(name, all)| all.iter().map(move |one| Fact::personal(name, one)));
        let domain = self.ip_domain.as_ref();
        let domain = domain.map(|domain| Fact::plain("ipDomain", domain));
        let whose = whose.into_iter().flatten();
        whose.chain(addresses).chain(domain).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PcfBindingJson<'a> {
    #[serde(borrow)]
    supi: Option<Text<'a>>,
    #[serde(borrow)]
    gpsi: Option<Text<'a>>,
    #[serde(borrow)]
    ipv4_addr: Option<Text<'a>>,
    #[serde(borrow)]
    ipv4_frame_route_list: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    ip_domain: Option<Text<'a>>,
    #[serde(borrow)]
    ipv6_prefix: Option<Text<'a>>,
    #[serde(borrow)]
    add_ipv6_prefixes: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    ipv6_frame_route_list: Option<Vec<Text<'a>>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_binding_or_an_error(body: Vec<u8>) {
            let _ = PcfBinding::from_json(&body);
        }

        #[test]
        fn any_identifiers_are_read_or_refused(supi in ".{0,30}", gpsi in ".{0,30}") {
            let body = serde_json::json!({"supi": supi, "gpsi": gpsi}).to_string();
            let known = Supi::parse(&supi).is_ok() && Gpsi::parse(&gpsi).is_ok();
            proptest::prop_assert_eq!(PcfBinding::from_json(body.as_bytes()).is_ok(), known);
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let body = [br#"{"x":"#.as_slice(), &b"[".repeat(200_000)].concat();
        assert_eq!(PcfBinding::from_json(&body), Err(Error::BadAnswer));
    }
}
