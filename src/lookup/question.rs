//! What a lookup is asked: whose device, and what of it.

use std::fmt;
use std::net::Ipv6Addr;

use device::{Gpsi, Ipv4Query, Nai, PhoneNumber};

use crate::auth::Subject;
use crate::config::IdentifierKind;

/// The identifiers of one request, parsed; at least one of them is there.
#[derive(Default)]
pub struct DeviceQuery {
    /// An MSISDN.
    pub phone_number: Option<PhoneNumber>,
    /// An External Identifier.
    pub network_access_identifier: Option<Nai>,
    /// Any address inside the device's prefix.
    pub ipv6_address: Option<Ipv6Addr>,
    /// What the world sees of the device, and what tells it apart.
    pub ipv4_address: Option<Ipv4Query>,
}

impl DeviceQuery {
    /// How many identifiers there are.
    pub fn identifiers(&self) -> usize {
        usize::from(self.phone_number.is_some())
            + usize::from(self.network_access_identifier.is_some())
            + usize::from(self.ipv6_address.is_some())
            + usize::from(self.ipv4_address.is_some())
    }
}

/// The device that a token names.
impl From<&Subject> for DeviceQuery {
    fn from(subject: &Subject) -> Self {
        let mut query = Self::default();
        match subject {
            Subject::PhoneNumber(number) => query.phone_number = Some(*number),
            Subject::NetworkAccessIdentifier(nai) => {
                query.network_access_identifier = Some(nai.clone());
            }
            Subject::Ipv6(address) => query.ipv6_address = Some(*address),
            Subject::Ipv4 { address, port } => {
                query.ipv4_address = Some(Ipv4Query::Port {
                    public: *address,
                    port: *port,
                    private: None,
                });
            }
        }
        query
    }
}

/// Identifiers are personal, an address among them.
impl fmt::Debug for DeviceQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceQuery({})", device::MASK)
    }
}

/// Whose device is asked for.
#[derive(Debug)]
pub struct Question {
    /// The subscription, by identifiers.
    pub query: DeviceQuery,
    /// Who named it.
    pub named_by: NamedBy,
}

/// Who named a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// The consumer. A token that names a subscription as well must name the same.
    Request(SeveralIdentifiers),
    /// The token.
    Token,
}

/// What several identifiers in one query mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeveralIdentifiers {
    /// The first that belongs to a known subscription answers.
    First,
    /// The first of a supported kind answers, known or not.
    FirstSupported,
    /// All must name the same subscription.
    MustAgree,
}

/// What of a device the consumer asks for first of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The device: IMEI and IMEISV; its type where that may be seen as well.
    Identifier,
    /// The device and nothing else.
    IdentifierAlone,
    /// The type of device alone.
    Type,
}

/// One identifier, by the question it leads to.
#[derive(PartialEq, Eq)]
pub(super) enum Identifier {
    Gpsi(Gpsi),
    Ipv6(Ipv6Addr),
    Ipv4(Ipv4Query),
}

/// The identifiers of a query, in the order in which they are tried.
pub(super) fn identifiers(query: &DeviceQuery) -> [Option<Identifier>; 4] {
    let phone = query.phone_number.map(Gpsi::Msisdn);
    let nai = query.network_access_identifier.clone();
    [
        phone.map(Identifier::Gpsi),
        nai.map(Gpsi::ExternalId).map(Identifier::Gpsi),
        query.ipv6_address.map(Identifier::Ipv6),
        query.ipv4_address.map(Identifier::Ipv4),
    ]
}

impl Identifier {
    /// Its kind, as settings and requests call it.
    pub(super) fn kind(&self) -> IdentifierKind {
        match self {
            Self::Gpsi(Gpsi::Msisdn(_)) => IdentifierKind::PhoneNumber,
            Self::Gpsi(Gpsi::ExternalId(_)) => IdentifierKind::NetworkAccessIdentifier,
            Self::Ipv6(_) => IdentifierKind::Ipv6Address,
            Self::Ipv4(_) => IdentifierKind::Ipv4Address,
        }
    }
}
