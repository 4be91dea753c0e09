//! One instance of a network function: its connections, kept open, and what is known of its health.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::connection::{Connection, End};
use super::metrics::{ClientMetrics, Counted};
use super::{ApiRoot, NfType, Settings};

/// An instance that asks for a longer rest than this is tried again all the same.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// What the endpoints of one client share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) nf: NfType,
    pub(super) settings: Settings,
    pub(super) metrics: ClientMetrics,
    /// Some connection attempt, to whichever endpoint, has an outcome.
    pub(super) attempted: Notify,
    /// Some connection was established, once.
    pub(super) established: AtomicBool,
    /// What the rests of endpoints are counted from.
    pub(super) started: Instant,
}

/// An apiRoot with its connections.
#[derive(Debug)]
pub(super) struct Endpoint {
    root: ApiRoot,
    slots: Box<[Slot]>,
    /// Connection attempts begun, over all slots: each has the number it brought this to.
    begun: AtomicU64,
    /// The highest number of an attempt that failed.
    failed: AtomicU64,
    /// A request waits: the next attempt shall not wait for its backoff.
    wanted: Notify,
    /// Milliseconds since [`Shared::started`] until which other endpoints are preferred.
    rest_until: AtomicU64,
    /// Whether the last outcome that was logged is a failure.
    down: AtomicBool,
}

/// The place of one connection, which is empty while there is none that takes new streams.
#[derive(Debug)]
struct Slot {
    /// Where the connection is driven.
    driver: Handle,
    /// Tells without the lock whether a sender is there.
    ready: AtomicBool,
    connection: Mutex<Option<Occupant>>,
    in_flight: AtomicUsize,
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
    fn new(driver: Handle) -> Self {
        Self {
            driver,
            ready: AtomicBool::new(false),
            connection: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_streams: AtomicUsize::new(usize::MAX),
        }
    }

    /// Whether further streams would have to wait for their turn.
    fn is_full(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) >= self.most_streams.load(Ordering::Relaxed)
    }

    fn connection(&self) -> MutexGuard<'_, Option<Occupant>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, sender: SendRequest<Bytes>) {
        self.most_streams
            .store(sender.current_max_send_streams(), Ordering::Relaxed);
        *self.connection() = Some(Occupant {
            sender,
            used: false,
        });
        self.ready.store(true, Ordering::Release);
    }

    /// In this order: where there is no sender, `ready` says so already.
    fn empty(&self) {
        self.ready.store(false, Ordering::Release);
        *self.connection() = None;
    }

    fn lease(&self) -> Option<Lease<'_>> {
        let mut connection = self.connection();
        let occupant = connection.as_mut()?;
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Lease {
            sender: occupant.sender.clone(),
            is_first: !mem::replace(&mut occupant.used, true),
            in_flight: &self.in_flight,
        })
    }
}

/// The right to one stream of a connection; counts as its load while it lives.
pub(super) struct Lease<'a> {
    pub(super) sender: SendRequest<Bytes>,
    /// Nothing was asked on this connection before.
    pub(super) is_first: bool,
    in_flight: &'a AtomicUsize,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Endpoint {
    /// Without drivers in the settings, the current runtime drives the connections.
    pub(super) fn new(root: ApiRoot, settings: &Settings) -> Self {
        let drivers = match settings.drivers.as_slice() {
            [] => vec![Handle::current()],
            drivers => drivers.to_vec(),
        };
        let connections = settings.connections_per_endpoint.max(drivers.len());
        let drivers = drivers.into_iter().cycle();
        Self {
            root,
            slots: drivers.take(connections).map(Slot::new).collect(),
            begun: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            wanted: Notify::new(),
            rest_until: AtomicU64::new(0),
            down: AtomicBool::new(false),
        }
    }

    pub(super) fn root(&self) -> &ApiRoot {
        &self.root
    }

    /// Whether a connection takes new streams.
    pub(super) fn is_ready(&self) -> bool {
        self.slots
            .iter()
            .any(|slot| slot.ready.load(Ordering::Acquire))
    }

    /// A connection that takes new streams: one with room, one driven by the runtime that asks,
    /// the least loaded, in this order. Streams beyond the peer's limit wait in h2 for their turn,
    /// and the deadline of their request ends the wait.
    pub(super) fn lease(&self) -> Option<Lease<'_>> {
        let here = Handle::current().id();
        self.slots
            .iter()
            .filter(|slot| slot.ready.load(Ordering::Acquire))
            .min_by_key(|slot| {
                let in_flight = slot.in_flight.load(Ordering::Relaxed);
                (slot.is_full(), slot.driver.id() != here, in_flight)
            })
            .and_then(Slot::lease)
            // The chosen one was lost a moment ago.
            .or_else(|| self.slots.iter().find_map(Slot::lease))
    }

    /// The number of connection attempts begun so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// Whether an attempt failed that began when already `begun` had.
    pub(super) fn failed_since(&self, begun: u64) -> bool {
        self.failed.load(Ordering::Acquire) > begun
    }

    /// Lets one slot that waits for its backoff attempt to connect at once.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Prefers other endpoints for as long as this one asked for.
    pub(super) fn rest(&self, shared: &Shared, seconds: u32) {
        let rest = Duration::from_secs(seconds.into()).min(LONGEST_REST);
        let until = (shared.started.elapsed() + rest).as_millis();
        self.rest_until
            .store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether other endpoints are preferred for now.
    pub(super) fn is_resting(&self, shared: &Shared) -> bool {
        let until = self.rest_until.load(Ordering::Relaxed);
        // Most endpoints never rest, and then no clock is read.
        until != 0 && shared.started.elapsed() < Duration::from_millis(until)
    }

    /// Starts to keep all connections open.
    pub(super) fn keep_open(endpoint: &Arc<Self>, shared: &Arc<Shared>, tasks: &mut JoinSet<()>) {
        for (index, slot) in endpoint.slots.iter().enumerate() {
            let (endpoint, shared) = (Arc::clone(endpoint), Arc::clone(shared));
            let keep = async move {
                if let Some(slot) = endpoint.slots.get(index) {
                    endpoint.keep(slot, &shared).await;
                }
            };
            tasks.spawn_on(keep, &slot.driver);
        }
    }

    /// Keeps one slot filled, for as long as its client lives.
    async fn keep(&self, slot: &Slot, shared: &Shared) {
        let settings = &shared.settings;
        let mut backoff = Backoff::new(settings);
        let mut draining = JoinSet::new();
        loop {
            let begun = Instant::now();
            if let Some(mut connection) = self.attempt(shared).await {
                let established = Instant::now();
                let end = self.serve(slot, &mut connection, shared).await;
                if end == End::GoAway {
                    let counted = Counted::new(&shared.metrics.draining);
                    draining.spawn(async move {
                        connection.drain().await;
                        drop(counted);
                    });
                }
                // The first loss is made good at once; a peer that takes connections only to close
                // them is not at fault less than one that takes none.
                if established.elapsed() >= settings.reconnect_max {
                    backoff = Backoff::new(settings);
                    continue;
                }
            }
            while draining.try_join_next().is_some() {}
            sleep_until(begun + settings.reconnect_min).await;
            tokio::select! {
                () = self.wanted.notified() => {}
                () = sleep_until(begun + backoff.next()) => {}
            }
        }
    }

    /// One attempt to connect, whose outcome is told to whoever waits for it.
    async fn attempt(&self, shared: &Shared) -> Option<Connection> {
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let _counted = Counted::new(&shared.metrics.connecting);
        match Connection::open(&self.root, &shared.settings).await {
            Ok(connection) => Some(connection),
            Err(error) => {
                self.failed.fetch_max(number, Ordering::AcqRel);
                shared.attempted.notify_waiters();
                if !self.down.swap(true, Ordering::Relaxed) {
                    let (nf, endpoint) = (shared.nf.name(), self.root.authority());
                    tracing::warn!(nf, %endpoint, %error, "core endpoint is not reachable");
                }
                None
            }
        }
    }

    /// Offers the connection for new streams until it takes none.
    async fn serve(&self, slot: &Slot, connection: &mut Connection, shared: &Shared) -> End {
        let (nf, endpoint) = (shared.nf.name(), self.root.authority());
        slot.fill(connection.sender());
        let _counted = Counted::new(&shared.metrics.ready);
        shared.established.store(true, Ordering::Release);
        shared.attempted.notify_waiters();
        if self.down.swap(false, Ordering::Relaxed) {
            // What one slot found out is good news for the others.
            self.wanted.notify_waiters();
            tracing::info!(nf, %endpoint, "core endpoint is reachable again");
        } else {
            tracing::debug!(nf, %endpoint, "connection to core endpoint established");
        }
        let end = connection.run(&shared.settings).await;
        slot.empty();
        tracing::info!(nf, %endpoint, ?end, "connection to core endpoint takes no more requests");
        end
    }
}

/// Doubling waits with jitter, so that neither one peer nor all bridges at once are stormed.
struct Backoff {
    wait: Duration,
    longest: Duration,
}

impl Backoff {
    fn new(settings: &Settings) -> Self {
        Self {
            wait: settings.reconnect_min,
            longest: settings.reconnect_max,
        }
    }

    /// The next wait: between the half and the whole of a time that doubles up to its bound.
    fn next(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(self.longest);
        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_bound_with_jitter() {
        let mut backoff = Backoff::new(&Settings::default());
        for expected in [20, 40, 80, 160, 320, 500, 500] {
            let wait = backoff.next();
            let whole = Duration::from_millis(expected);
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
        }
    }
}
