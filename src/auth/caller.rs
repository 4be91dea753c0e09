//! Who asks: what the rest of the bridge knows of a token.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use device::{MASK, Nai, PhoneNumber};

/// The API consumer behind a request, and what its token allows.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub consumer: ConsumerId,
    /// What may be asked.
    pub scopes: Scopes,
    /// The device that the token names (three-legged), if it names one.
    pub subject: Option<Subject>,
}

impl Caller {
    /// Who asks where nobody is asked who they are (`auth.mode = "none"`): may ask everything.
    pub fn anonymous() -> Self {
        Self {
            consumer: ConsumerId("anonymous".into()),
            scopes: Scopes::EVERY,
            subject: None,
        }
    }
}

/// The id of an API consumer. Names a business, not a person, and may be logged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConsumerId(Arc<str>);

/// No issuer's client ids are longer, and limits are kept for each of them.
const MAX_CONSUMER_LENGTH: usize = 256;

impl ConsumerId {
    /// Reads an id: something, not too long, nothing that could break a log line.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = !text.is_empty()
            && text.len() <= MAX_CONSUMER_LENGTH
            && !text.chars().any(char::is_control);
        well_formed.then(|| Self(text.into()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConsumerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The operations of this API that a token allows, one bit for each of [`OPERATIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

/// What scopes of this API begin with.
const SCOPE_PREFIX: &str = "device-identifier:";
/// What follows, in whichever version it is served. Nothing else of a token's scopes is kept: a
/// token may name many, and tokens are remembered by the hundred thousand.
const OPERATIONS: [&str; 4] = [
    "retrieve-identifier",
    "retrieve-type",
    "retrieve-ppid",
    "match-identifier",
];

impl Scopes {
    /// All there are.
    pub const EVERY: Self = Self(u8::MAX);

    /// Reads a list separated by spaces (RFC 6749 3.3).
    pub fn parse(list: &str) -> Self {
        let ours = list.split(' ').filter_map(bit);
        Self(ours.fold(0, |all, one| all | one))
    }

    /// Whether `scope` is among them, in exactly this spelling.
    pub fn allows(self, scope: &str) -> bool {
        bit(scope).is_some_and(|bit| self.0 & bit != 0)
    }
}

fn bit(scope: &str) -> Option<u8> {
    let operation = scope.strip_prefix(SCOPE_PREFIX)?;
    let place = OPERATIONS.iter().position(|known| *known == operation)?;
    Some(1 << place)
}

/// The device that a token names.
#[derive(Clone, PartialEq, Eq)]
pub enum Subject {
    /// By number.
    PhoneNumber(PhoneNumber),
    /// By public address and port.
    Ipv4 {
        /// The address that the world sees.
        address: Ipv4Addr,
        /// And the port, which tells devices behind a NAT apart.
        port: u16,
    },
    /// By address; a port tells nothing more.
    Ipv6(Ipv6Addr),
    /// By external identifier.
    NetworkAccessIdentifier(Nai),
}

impl Subject {
    /// Whether it names a subscriber, who may have consented. An address names whoever holds it at
    /// the moment, and it can have passed to somebody else since the token was given.
    pub fn names_subscriber(&self) -> bool {
        match self {
            Self::PhoneNumber(_) | Self::NetworkAccessIdentifier(_) => true,
            Self::Ipv4 { .. } | Self::Ipv6(_) => false,
        }
    }
}

/// A subject is personal whatever its kind.
impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::PhoneNumber(_) => "PhoneNumber",
            Self::Ipv4 { .. } => "Ipv4",
            Self::Ipv6(_) => "Ipv6",
            Self::NetworkAccessIdentifier(_) => "NetworkAccessIdentifier",
        };
        write!(f, "{kind}({MASK})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_scope_allows() {
        let scopes =
            Scopes::parse("openid device-identifier:retrieve-type  dpv:FraudPrevention location:x");
        assert_eq!(scopes, Scopes::parse("device-identifier:retrieve-type"));
        assert!(scopes.allows("device-identifier:retrieve-type"));
        for other in [
            "",
            "device-identifier:retrieve-identifier",
            "device-identifier:retrieve",
            "DEVICE-IDENTIFIER:RETRIEVE-TYPE",
            "openid",
        ] {
            assert!(!scopes.allows(other), "{other}");
        }
        assert!(!Scopes::parse("").allows("device-identifier:retrieve-type"));
        assert_eq!(Scopes::parse("device-identifier:invented"), Scopes(0));
        for operation in OPERATIONS {
            let scope = format!("{SCOPE_PREFIX}{operation}");
            assert!(Scopes::EVERY.allows(&scope));
            let allowed = OPERATIONS
                .iter()
                .filter(|other| Scopes::parse(&scope).allows(&format!("{SCOPE_PREFIX}{other}")));
            assert_eq!(allowed.collect::<Vec<_>>(), [&operation]);
        }
    }

    #[test]
    fn consumer_ids_fit_a_log_line() {
        assert_eq!(ConsumerId::parse("shop-1").unwrap().as_str(), "shop-1");
        for text in ["", "a\nb", "a\u{7f}", &"x".repeat(257)] {
            assert!(ConsumerId::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn subjects_are_masked() {
        let subjects = [
            Subject::PhoneNumber(PhoneNumber::from_digits("34600000002").unwrap()),
            Subject::Ipv4 {
                address: "84.125.93.10".parse().unwrap(),
                port: 59765,
            },
            Subject::Ipv6("2001:db8::1".parse().unwrap()),
            Subject::NetworkAccessIdentifier(Nai::parse("a@b.example").unwrap()),
        ];
        let printed = format!("{subjects:?}");
        for personal in ["3460", "84.125", "59765", "2001", "b.example"] {
            assert!(!printed.contains(personal), "{printed}");
        }
    }
}
