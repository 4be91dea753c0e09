//! Placeholder of the caller until the room is built.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use device::{Nai, PhoneNumber};

/// Who asks.
#[derive(Debug)]
pub struct Caller {
    /// The consumer.
    pub consumer: ConsumerId,
    /// What it may do.
    pub scopes: Scopes,
    /// The device that the token names.
    pub subject: Option<Subject>,
}

/// A consumer's id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConsumerId(Arc<str>);

impl ConsumerId {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ConsumerId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// What a token allows.
#[derive(Debug)]
pub enum Scopes {
    /// Everything.
    All,
}

impl Scopes {
    /// Whether the scope is there.
    pub fn allows(&self, _scope: &str) -> bool {
        true
    }
}

/// The device that a token names.
pub enum Subject {
    /// By number.
    PhoneNumber(PhoneNumber),
    /// By address and port.
    Ipv4 {
        /// Address.
        address: Ipv4Addr,
        /// Port.
        port: u16,
    },
    /// By address.
    Ipv6(Ipv6Addr),
    /// By NAI.
    NetworkAccessIdentifier(Nai),
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subject(***)")
    }
}

/// Reads tokens.
pub struct Authenticator;

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Missing.
    Missing,
}

impl Reason {
    /// For metrics and audit.
    pub fn label(self) -> &'static str {
        "missing"
    }
}

/// Why nobody is known to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthError {
    /// 401.
    Unauthenticated(Reason),
    /// 503.
    Unavailable,
    /// 504.
    DeadlinePassed,
}

impl Caller {
    /// Whoever asks where nobody has to prove who it is.
    pub fn anonymous() -> Self {
        Self {
            consumer: ConsumerId::from("anonymous"),
            scopes: Scopes::All,
            subject: None,
        }
    }
}

impl Authenticator {
    /// Who asks?
    pub async fn caller(
        &self,
        _parts: &http::request::Parts,
        _deadline: tokio::time::Instant,
    ) -> Result<Arc<Caller>, AuthError> {
        Err(AuthError::Unauthenticated(Reason::Missing))
    }
}
