//! Whose session is this address? A table that events of the SMFs keep, so that nobody is asked.
//!
//! From an IPv4 address and its IP domain, or from an IPv6 address by its longest prefix, to a
//! subscription. Pure data: it knows neither how events arrive nor who asks.
//!
//! An address moves to another person, and the wrong one must never be answered. Therefore:
//!
//! - Each SMF has a part of its own. What an SMF told counts from the end of its immediate report
//!   until its subscription is lost or has a gap, and never afterwards: a new subscription tells
//!   everything anew, under a new [`Part`].
//! - Sessions are told apart by SMF, subscription and PDU session id; of two words about one the
//!   later by the SMF's own clock counts. Clocks of different SMFs are never compared: an address
//!   that two of them claim for different subscriptions is nobody's until one of them lets it go.
//! - What is in doubt is not answered. There is always the BSF to ask. An address that a word takes
//!   from a session or brings to it which is not later than the last one stays with it, in doubt,
//!   until a later one: nobody else is answered in its place but whom the SMF gave it to later.
//!
//! | module | what it is |
//! |---|---|
//! | [`event`] | what is told |
//! | `table` | what becomes of an event |
//! | `held`, `ends` | the addresses of one session; the sessions that ended lately |
//! | `smfs` | whose word counts |
//! | `answers` | whose session an address is |
//! | `store`, `slots`, `index` | how ten million sessions stay below a gigabyte, and are found |

mod answers;
mod ends;
pub mod event;
mod held;
mod index;
mod slots;
mod smfs;
mod store;
mod table;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use device::UeId;

use event::{Addresses, SessionEvent};
use table::Table;

/// Sessions by address. Shared: readers do not wait for each other, and a writer holds the table
/// for one event.
pub struct SessionTable {
    table: RwLock<Table>,
}

/// An SMF, as the table knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SmfId(u16);

/// What one subscription at one SMF tells, from its immediate report on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    smf: SmfId,
    /// Counts the subscriptions at this SMF.
    epoch: u16,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The table says so now.
    Done,
    /// A later word about the session was heard already, or the subscription is not the one that
    /// counts any more.
    Outdated,
    /// There is no room: the address is not in the table, and the table is not complete.
    Full,
    /// More of the session is in doubt than is kept, and the table is not complete until the SMF
    /// told everything anew.
    Muddled,
}

/// How much is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Sessions, and further prefixes of one.
    pub sessions: usize,
    /// SMFs whose word counts.
    pub trusted: usize,
    /// SMFs whose word does not count, or not yet.
    pub distrusted: usize,
    /// Whether all sessions of all SMFs are known.
    pub complete: bool,
}

impl SessionTable {
    /// An empty table that holds at most so many sessions.
    pub fn new(most: u32) -> Self {
        Self {
            table: RwLock::new(Table::new(most)),
        }
    }

    /// Makes room for another SMF; `None` where there are 65,535 already.
    pub fn add_smf(&self) -> Option<SmfId> {
        self.write().smfs.add()
    }

    /// This SMF is gone for good: what it told does not count, and nothing more is expected of it.
    pub fn remove_smf(&self, smf: SmfId) {
        self.write().smfs.remove(smf);
    }

    /// A new subscription at this SMF: what others told does not count any more, and what it tells
    /// counts from [`Self::complete`] on.
    pub fn begin(&self, smf: SmfId) -> Part {
        self.write().smfs.begin(smf)
    }

    /// The immediate report is over.
    pub fn complete(&self, part: Part) {
        self.write().smfs.complete(part);
    }

    /// The subscription is lost, or has a gap: what it told does not count any more.
    pub fn distrust(&self, part: Part) {
        self.write().smfs.distrust(part);
    }

    /// The subscription may be lost: what it told does not count until [`Self::trust`].
    pub fn doubt(&self, part: Part) {
        self.write().smfs.set_in_doubt(part, true);
    }

    /// The subscription is there.
    pub fn trust(&self, part: Part) {
        self.write().smfs.set_in_doubt(part, false);
    }

    /// Keeps the table in step with one event.
    pub fn apply(&self, part: Part, event: &SessionEvent) -> Applied {
        self.write().apply(part, event)
    }

    /// Whose session this subscription at an SMF told of that has one of these addresses, and which
    /// of theirs it is; `None` where none has, or several have.
    pub fn session_with(&self, part: Part, addresses: &Addresses) -> Option<(UeId, u8)> {
        self.read().session_with(part, addresses)
    }

    /// The subscription of the session with this address. Without an IP domain, only where the
    /// table knows all sessions and a single subscription has the address in any domain.
    pub fn by_ipv4(&self, address: Ipv4Addr, ip_domain: Option<&str>) -> Option<UeId> {
        self.read().by_ipv4(address, ip_domain)
    }

    /// The subscription of the session with the longest prefix that holds this address.
    pub fn by_ipv6(&self, address: Ipv6Addr) -> Option<UeId> {
        self.read().by_ipv6(address)
    }

    /// Frees what does not count any more, a small piece at a time; returns where to go on, and
    /// `None` at the end.
    pub fn sweep(&self, from: u32) -> Option<u32> {
        self.write().sweep(from)
    }

    /// How much is in it.
    pub fn size(&self) -> Size {
        self.read().size()
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}
