//! What an SMF tells of a session, as the table takes it.

use std::fmt;
use std::net::Ipv4Addr;

use device::UeId;
use ipnet::Ipv6Net;

/// One thing that happened to one PDU session.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionEvent {
    /// Whose session it is.
    pub subscription: UeId,
    /// Which of the subscription's sessions at this SMF (TS 24.501 9.4).
    pub pdu_session_id: u8,
    /// When, by the SMF's clock: microseconds since the epoch.
    pub time: i64,
    /// What.
    pub change: Change,
}

/// What happened.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// The session began, or is there: these are all of its addresses.
    Established(Addresses),
    /// The session ended.
    Released,
    /// Addresses came and went.
    Moved {
        /// Those that it has now.
        added: Addresses,
        /// Those that it has no longer.
        removed: Addresses,
    },
}

/// Addresses of one session.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The one IPv4 address that a session can have.
    pub ipv4: Option<SessionIpv4>,
    /// Its IPv6 prefixes, of whatever length.
    pub ipv6: Vec<Ipv6Net>,
}

/// An IPv4 address in its address space.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionIpv4 {
    /// The address.
    pub address: Ipv4Addr,
    /// The address space (TS 29.521, `ipDomain`), where it is known.
    pub ip_domain: Option<Box<str>>,
}

/// Whose address it is, and which, is personal.
impl fmt::Debug for SessionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionEvent({})", device::MASK)
    }
}

/// Addresses are personal.
impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Addresses({})", device::MASK)
    }
}
