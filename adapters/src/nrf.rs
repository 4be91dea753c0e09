//! The NRF: who is in this core, and that we are (TS 29.510).
//!
//! [`Registration`] keeps our own profile known, [`Discovery`] keeps the instances that we ask up
//! to date, by searches and by what the NRF notifies. What a search finds is kept for as long as
//! the NRF cannot be asked: a core without its NRF goes on answering. Tokens of the NRF are in
//! [`sbi`](crate::sbi), which shows them with each request.

mod directory;
mod discovery;
mod management;
mod network;
mod profile;
mod search;
mod status;

pub(crate) use directory::{Located, Serving, Unlocated};
pub use directory::{N6Directory, SubscriberDirectory};
pub use discovery::{Discovery, DiscoverySettings};
pub use management::{NfProfile, Registration};
pub use network::{InvalidNetwork, NfSetId, PlmnId, Snssai};
pub use profile::instances_from_json;
pub use search::Criteria;
pub use status::{Notifications, StatusSettings, Subscriptions};

use std::time::Duration;

/// For a question that no consumer waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts when the NRF does not answer, doubled up to the bound.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// An NRF that is back is found this soon.
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Waits that double, with jitter, so that not all bridges ask a returning NRF at once.
struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Self(FIRST_RETRY)
    }

    fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(LAST_RETRY);
        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}
