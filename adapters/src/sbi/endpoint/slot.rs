//! The place of one connection of an endpoint.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::runtime::Handle;

/// The place of one connection, which is empty while there is none that takes new streams.
#[derive(Debug)]
pub(super) struct Slot {
    /// Where the connection is driven.
    pub(super) driver: Handle,
    /// Tells without the lock whether a sender is there.
    pub(super) ready: AtomicBool,
    connection: Mutex<Option<Occupant>>,
    pub(super) in_flight: AtomicUsize,
    /// The streams that the peer allows at a time.
    most_streams: AtomicUsize,
}

/// A connection that is there to be leased.
#[derive(Debug)]
struct Occupant {
    sender: SendRequest<Bytes>,
    /// Whether anything was asked on it.
    used: bool,
}

impl Slot {
    pub(super) fn new(driver: Handle) -> Self {
        Self {
            driver,
            ready: AtomicBool::new(false),
            connection: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_streams: AtomicUsize::new(usize::MAX),
        }
    }

    /// Whether further streams would have to wait for their turn.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) >= self.most_streams.load(Ordering::Relaxed)
    }

    /// The streams under way, where they are more than half of those that the peer allows. Up to
    /// there one connection is as good as another, and what is asked over one goes out in one write.
    pub(super) fn crowd(&self) -> usize {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let most = self.most_streams.load(Ordering::Relaxed);
        if in_flight > most / 2 { in_flight } else { 0 }
    }

    fn connection(&self) -> MutexGuard<'_, Option<Occupant>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fill(&self, sender: SendRequest<Bytes>) {
        self.most_streams
            .store(sender.current_max_send_streams(), Ordering::Relaxed);
        *self.connection() = Some(Occupant {
            sender,
            used: false,
        });
        self.ready.store(true, Ordering::Release);
    }

    /// In this order: where there is no sender, `ready` says so already.
    pub(super) fn empty(&self) {
        self.ready.store(false, Ordering::Release);
        *self.connection() = None;
    }

    pub(super) fn take(&self) -> Option<(SendRequest<Bytes>, bool)> {
        let mut connection = self.connection();
        let occupant = connection.as_mut()?;
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let is_first = !mem::replace(&mut occupant.used, true);
        Some((occupant.sender.clone(), is_first))
    }
}
