//! The names that we give subscriptions. A notification under another one is nobody's.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use adapters::nrf::Notifications;
use device::Supi;
use hashbrown::HashMap;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::consent::Told;
use super::equipment::Reported;
use super::sessions::Sessions;

/// Subscriptions by the names that we gave them.
#[derive(Default)]
pub(super) struct Registry {
    given: RwLock<HashMap<u32, Given>>,
    next: AtomicU32,
}

struct Given {
    secret: Secret,
    receiver: Receiver,
}

/// What cannot be guessed of a name: 122 bits of a random UUID.
type Secret = [u8; 32];

/// Whom the notifications of a subscription are for.
#[derive(Clone)]
pub(super) enum Receiver {
    /// The instances that are discovered.
    Instances(Notifications),
    /// One SMF's sessions.
    Sessions(Arc<Sessions>),
    /// Everybody's equipment.
    Equipment(Arc<Reported>),
    /// One subscription's consent.
    Consent(Arc<Told>, Supi),
}

/// A name that is good for as long as this lives.
pub(super) struct Correlation {
    registry: Arc<Registry>,
    place: u32,
    name: String,
}

impl Correlation {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Correlation {
    fn drop(&mut self) {
        let mut given = self
            .registry
            .given
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        given.remove(&self.place);
    }
}

impl Registry {
    /// Gives a new name.
    pub(super) fn give(self: &Arc<Self>, receiver: Receiver) -> Correlation {
        let mut secret: Secret = [0; 32];
        Uuid::new_v4().simple().encode_lower(&mut secret);
        let mut given = self.given.write().unwrap_or_else(PoisonError::into_inner);
        // Counted round, a number may still be in use.
        let place = loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            if !given.contains_key(&place) {
                break place;
            }
        };
        given.insert(place, Given { secret, receiver });
        Correlation {
            registry: self.clone(),
            place,
            name: format!("{place:x}-{}", String::from_utf8_lossy(&secret)),
        }
    }

    /// Whom a notification under this name is for. How long it takes says nothing of how much of a
    /// wrong name is right: the number before the hyphen is no secret.
    pub(super) fn receiver(&self, name: &str) -> Option<Receiver> {
        let (place, secret) = name.split_once('-')?;
        let place = u32::from_str_radix(place, 16).ok()?;
        let given = self.given.read().unwrap_or_else(PoisonError::into_inner);
        let given = given.get(&place)?;
        bool::from(given.secret.as_slice().ct_eq(secret.as_bytes())).then(|| given.receiver.clone())
    }
}
