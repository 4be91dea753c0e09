//! The names that we give subscriptions. A notification under another one is nobody's.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

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
    names: RwLock<Names>,
    next: AtomicU32,
}

#[derive(Default)]
struct Names {
    given: HashMap<u32, Given>,
    /// Those of subscriptions that are about no single subscriber, which are few.
    about_all: BTreeSet<u32>,
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
        let mut names = self.registry.write();
        names.given.remove(&self.place);
        names.about_all.remove(&self.place);
    }
}

impl Registry {
    /// Gives a new name.
    pub(super) fn give(self: &Arc<Self>, receiver: Receiver) -> Correlation {
        let mut secret: Secret = [0; 32];
        Uuid::new_v4().simple().encode_lower(&mut secret);
        let mut names = self.write();
        // Counted round, a number may still be in use.
        let place = loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            if !names.given.contains_key(&place) {
                break place;
            }
        };
        if !matches!(receiver, Receiver::Consent(..)) {
            names.about_all.insert(place);
        }
        names.given.insert(place, Given { secret, receiver });
        drop(names);
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
        let names = self.read();
        let given = names.given.get(&place)?;
        bool::from(given.secret.as_slice().ct_eq(secret.as_bytes())).then(|| given.receiver.clone())
    }

    /// Whom notifications are for that are about no single subscriber.
    pub(super) fn receivers_about_all(&self) -> Vec<Receiver> {
        let names = self.read();
        let given = names.about_all.iter().filter_map(|it| names.given.get(it));
        given.map(|given| given.receiver.clone()).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
}
