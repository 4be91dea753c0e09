//! One instance of a network function: its connections, and what is known of its health.

mod slot;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::metrics::ClientMetrics;
use super::outlier::{Health, Standing, milliseconds};
use super::overload::{Pressure, Reduction, Whose};
use super::pool::Member;
use super::{ApiRoot, NfType, Settings};
use slot::Slot;

/// An instance that asks for a longer rest than this is tried again all the same.
const LONGEST_REST: Duration = Duration::from_mins(1);
/// The rest of an instance that is overloaded and does not say for how long: enough to spare most
/// requests the way there and back, too short to push its share onto the others for good.
const SHORTEST_REST: Duration = Duration::from_millis(250);

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
    /// How often an instance was chosen among several.
    pub(super) turn: AtomicU64,
}

impl Shared {
    pub(super) fn new(nf: NfType, settings: &Settings, metrics: ClientMetrics) -> Self {
        Self {
            nf,
            settings: settings.clone(),
            metrics,
            attempted: Notify::new(),
            established: AtomicBool::new(false),
            started: Instant::now(),
            turn: AtomicU64::new(0),
        }
    }

    /// Milliseconds since the client began.
    pub(super) fn now(&self) -> u64 {
        milliseconds(self.started.elapsed())
    }
}

/// Whether it is the fault of whoever answered so.
pub(super) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502..=504)
}

/// What tells endpoints apart, whichever pool they are in.
static NUMBERS: AtomicUsize = AtomicUsize::new(0);

/// An apiRoot with its connections.
#[derive(Debug)]
pub(super) struct Endpoint {
    number: usize,
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
    /// Requests under way through a proxy.
    proxied: AtomicUsize,
    health: Health,
    pressure: Pressure,
    /// No longer one of the instances.
    retired: watch::Sender<bool>,
}

/// The right to send one request to an instance; counts as its load while it lives.
pub(super) struct Lease {
    pub(super) member: Arc<Member>,
    /// `None` for an instance that is reached through another one.
    pub(super) sender: Option<SendRequest<Bytes>>,
    /// Nothing was asked on this connection before.
    pub(super) is_first: bool,
    /// It tries whether the instance is well again.
    pub(super) is_probe: bool,
    slot: usize,
}

impl Lease {
    /// A connection that takes new streams: one with room, one driven by the runtime that asks, the
    /// first that is not crowded or else the least loaded, in this order. Streams beyond the peer's
    /// limit wait in h2 for their turn, and the deadline of their request ends the wait.
    pub(super) fn take(member: Arc<Member>, is_probe: bool) -> Option<Self> {
        let endpoint = &member.endpoint;
        if endpoint.slots.is_empty() {
            endpoint.proxied.fetch_add(1, Ordering::Relaxed);
            return Some(Self {
                member,
                sender: None,
                is_first: false,
                is_probe,
                slot: 0,
            });
        }
        let here = Handle::current().id();
        let numbered = || endpoint.slots.iter().enumerate();
        let take = |(number, slot): (usize, &Slot)| Some((number, slot.take()?));
        let (slot, (sender, is_first)) = numbered()
            .filter(|(_, slot)| slot.ready.load(Ordering::Acquire))
            .min_by_key(|(_, slot)| (slot.is_full(), slot.driver.id() != here, slot.crowd()))
            .and_then(take)
            // The chosen one was lost a moment ago.
            .or_else(|| numbered().find_map(take))?;
        Some(Self {
            sender: Some(sender),
            is_first,
            is_probe,
            slot,
            member,
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let endpoint = &self.member.endpoint;
        let slot = endpoint.slots.get(self.slot);
        slot.map_or(&endpoint.proxied, |slot| &slot.in_flight)
            .fetch_sub(1, Ordering::Relaxed);
    }
}

impl Endpoint {
    /// An endpoint that is connected to. Without drivers in the settings, the current runtime
    /// drives the connections.
    pub(super) fn new(root: ApiRoot, settings: &Settings) -> Self {
        let drivers = match settings.drivers.as_slice() {
            [] => vec![Handle::current()],
            drivers => drivers.to_vec(),
        };
        let connections = settings.connections_per_endpoint.max(drivers.len());
        let drivers = drivers.into_iter().cycle();
        Self::with(root, drivers.take(connections).map(Slot::new).collect())
    }

    /// An endpoint that is reached through a proxy.
    pub(super) fn proxied(root: ApiRoot) -> Self {
        Self::with(root, Box::default())
    }

    fn with(root: ApiRoot, slots: Box<[Slot]>) -> Self {
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            root,
            slots,
            begun: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            wanted: Notify::new(),
            rest_until: AtomicU64::new(0),
            down: AtomicBool::new(false),
            proxied: AtomicUsize::new(0),
            health: Health::default(),
            pressure: Pressure::default(),
            retired: watch::Sender::new(false),
        }
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Whether a request can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        let ready = |slot: &Slot| slot.ready.load(Ordering::Acquire);
        self.slots.is_empty() || self.slots.iter().any(ready)
    }

    /// The requests under way.
    pub(super) fn in_flight(&self) -> u64 {
        let in_flight = |slot: &Slot| slot.in_flight.load(Ordering::Relaxed);
        let proxied = self.proxied.load(Ordering::Relaxed);
        (proxied + self.slots.iter().map(in_flight).sum::<usize>()) as u64
    }

    /// Ends the connections when their requests have ended, and takes no new ones.
    pub(super) fn retire(&self) {
        self.retired.send_replace(true);
    }

    pub(super) fn is_retired(&self) -> bool {
        *self.retired.borrow()
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

    /// Takes in what an answer says of the load of this instance.
    pub(super) fn press(&self, headers: &HeaderMap, whose: Whose, shared: &Shared) {
        self.pressure.read(headers, whose, || shared.now());
    }

    /// It answered well, or not; `took` tells for how long it was waited for.
    pub(super) fn judge(
        &self,
        status: StatusCode,
        took: Duration,
        is_probe: bool,
        shared: &Shared,
    ) {
        let slow = shared.settings.outlier.slow;
        let is_slow = !slow.is_zero() && took > slow;
        if is_slow || is_failure(status) {
            self.fail(is_probe, shared);
        } else {
            self.pass();
        }
    }

    /// It does what it is there for.
    pub(super) fn pass(&self) {
        self.health.good();
    }

    /// It gave a bad answer, or none in time.
    pub(super) fn fail(&self, is_probe: bool, shared: &Shared) {
        if self
            .health
            .bad(shared.now(), is_probe, &shared.settings.outlier)
        {
            shared.metrics.ejections.inc();
            let (nf, endpoint) = (shared.nf.name(), self.root.authority());
            tracing::warn!(nf, %endpoint, "core endpoint answers badly and is left alone for a while");
        }
    }

    /// Prefers other endpoints for as long as this one asked for.
    pub(super) fn rest(&self, shared: &Shared, seconds: Option<u32>) {
        let rest = seconds.map_or(Duration::ZERO, |seconds| {
            Duration::from_secs(seconds.into())
        });
        let until = shared.started.elapsed() + rest.clamp(SHORTEST_REST, LONGEST_REST);
        self.rest_until
            .store(milliseconds(until), Ordering::Relaxed);
    }

    /// Whether other endpoints are preferred for now.
    pub(super) fn standing(&self, shared: &Shared) -> Standing {
        let until = self.rest_until.load(Ordering::Relaxed);
        // Most endpoints never rest, and then no clock is read.
        if self.health.is_ejected() || (until != 0 && shared.now() < until) {
            Standing::Ejected
        } else {
            Standing::Good
        }
    }

    /// Whether this request shall try if the endpoint is well again.
    pub(super) fn try_probe(&self, shared: &Shared) -> bool {
        self.health.is_ejected()
            && self
                .health
                .try_probe(shared.now(), &shared.settings.outlier)
    }

    /// The share of requests that it wants to be spared, if any.
    pub(super) fn reduction(&self, shared: &Shared) -> Option<Reduction> {
        self.pressure.reduction(|| shared.now())
    }

    /// In percent, where it told it.
    pub(super) fn load(&self) -> Option<u8> {
        self.pressure.load()
    }
}
