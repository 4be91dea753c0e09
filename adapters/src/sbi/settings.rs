//! How hard the core is asked, with the reason for every default.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::Steps;

/// Enough to spread one function's streams over its worker threads and to survive the loss of one
/// connection; few enough that the frames of several requests still share a system call.
const CONNECTIONS_PER_ENDPOINT: usize = 2;
/// A core is near: half a second is far beyond any healthy handshake and leaves time for another
/// instance within the deadline of one request.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Short enough that a peer that vanished without FIN is noticed within a few requests' time.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// A PONG needs no work of the application, so a healthy peer answers in milliseconds.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// The shortest time between two attempts of one connection that fail: what a request waits at most
/// to learn that the core is (still) gone.
const RECONNECT_MIN: Duration = Duration::from_millis(20);
/// A returning core is found soon even when nobody asks, and a dead one sees two attempts a second.
const RECONNECT_MAX: Duration = Duration::from_millis(500);
/// The first one, another instance, and one more: further ones seldom help and cost the core most
/// when it has least.
const MAX_ATTEMPTS: u32 = 3;
/// One retry for every five requests is beyond any normal loss and cannot double the load.
const RETRY_RATIO: f64 = 0.2;
/// So that a quiet bridge can retry at all.
const RETRY_FLOOR_PER_SECOND: u32 = 10;
/// A registration is a few kilobytes even with every optional member.
const MAX_RESPONSE_BYTES: usize = 256 * 1024;

/// Five bad answers in a row are no accident, and few enough that hardly a consumer notices.
const CONSECUTIVE_FAILURES: u32 = 5;
/// Short, so that an instance that had a hiccup is back soon.
const EJECT_FOR: Duration = Duration::from_secs(1);
/// An instance that stays broken costs one request in so long.
const EJECT_MAX: Duration = Duration::from_secs(30);
/// A core answers in milliseconds; half of the usual deadline is as bad as no answer.
const SLOW: Duration = Duration::from_secs(1);
/// At a few milliseconds each, far beyond what a core answers: whoever comes on top would only wait.
const MAX_IN_FLIGHT: usize = 2048;

/// The core exposes its capabilities through us (TS 23.501 6.2.5).
const NF_TYPE: &str = "NEF";

/// When an instance that answers badly is left alone.
#[derive(Debug, Clone)]
pub struct OutlierSettings {
    /// Bad answers in a row that eject an instance; 0: none is ejected.
    pub consecutive_failures: u32,
    /// For how long the first time; doubled each time that it is found unwell again.
    pub eject_for: Duration,
    /// For how long at most.
    pub eject_max: Duration,
    /// An answer that takes longer is a bad one; zero: none is.
    pub slow: Duration,
}

impl Default for OutlierSettings {
    /// The defaults named above.
    fn default() -> Self {
        Self {
            consecutive_failures: CONSECUTIVE_FAILURES,
            eject_for: EJECT_FOR,
            eject_max: EJECT_MAX,
            slow: SLOW,
        }
    }
}

/// The settings of a [`Client`](super::Client). `Default` is fit for production.
#[derive(Debug, Clone)]
pub struct Settings {
    /// HTTP/2 connections kept open to each endpoint, at least 1, and at least one for each of
    /// [`Self::drivers`].
    pub connections_per_endpoint: usize,
    /// The runtimes that drive the connections, in turn; empty: the one that makes the client.
    ///
    /// Each is best a thread of its own: a request then prefers a connection of the thread that it
    /// is sent from, so that no other thread is woken for it, and what one turn of the thread asks
    /// goes out in one write.
    pub drivers: Vec<Handle>,
    /// The longest time for TCP, TLS, HTTP/2 preface and the peer's SETTINGS together.
    pub connect_timeout: Duration,
    /// The time between two PINGs of a connection.
    pub keep_alive_interval: Duration,
    /// A connection whose PONG takes longer is lost.
    pub keep_alive_timeout: Duration,
    /// The shortest wait between failing connection attempts.
    pub reconnect_min: Duration,
    /// The longest wait between failing connection attempts, reached by doubling, with jitter.
    pub reconnect_max: Duration,
    /// How often one request may be sent in all, at least 1.
    pub max_attempts: u32,
    /// Retries earned by each request, 0 to 1.
    pub retry_ratio: f64,
    /// Retries a second that are allowed however few requests there are.
    pub retry_floor_per_second: u32,
    /// Calls under way at once to one network function; one more is refused at once.
    pub max_in_flight: usize,
    /// When an instance that answers badly is left alone.
    pub outlier: OutlierSettings,
    /// A GET that takes longer than this share of the ones before it is asked of a second instance
    /// as well, 0 to 1; `None`: never.
    pub hedge_quantile: Option<f64>,
    /// What we are to the core: the beginning of `user-agent` (TS 29.500 5.2.2.2).
    pub nf_type: String,
    /// Whether requests about a subscription say so in `3gpp-Sbi-Correlation-Info`.
    pub correlation_info: bool,
    /// Our NF instance identifier, told to the core in `user-agent` (TS 29.500 5.2.2.2).
    pub nf_instance_id: Uuid,
    /// A larger response body is a bad answer, in bytes; more than 64 MiB counts as 64 MiB. Each
    /// stream's window holds as much.
    pub max_response_bytes: usize,
    /// Trust and own certificate for apiRoots with `https`, which offers ALPN `h2`. Without it they
    /// are not reachable.
    pub tls: Option<Arc<ClientConfig>>,
    /// Where it is told what becomes of each call; `None`: nobody wants to see it.
    pub steps: Option<Steps>,
}

/// The most that [`Settings::max_response_bytes`] can say.
const MOST_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

impl Settings {
    /// The largest body that is read.
    pub(super) fn largest_body(&self) -> usize {
        self.max_response_bytes.min(MOST_RESPONSE_BYTES)
    }
}

impl Default for Settings {
    /// The defaults named above and a random NF instance identifier.
    fn default() -> Self {
        Self {
            connections_per_endpoint: CONNECTIONS_PER_ENDPOINT,
            drivers: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT,
            keep_alive_interval: KEEP_ALIVE_INTERVAL,
            keep_alive_timeout: KEEP_ALIVE_TIMEOUT,
            reconnect_min: RECONNECT_MIN,
            reconnect_max: RECONNECT_MAX,
            max_attempts: MAX_ATTEMPTS,
            retry_ratio: RETRY_RATIO,
            retry_floor_per_second: RETRY_FLOOR_PER_SECOND,
            max_in_flight: MAX_IN_FLIGHT,
            outlier: OutlierSettings::default(),
            hedge_quantile: None,
            nf_type: NF_TYPE.to_owned(),
            correlation_info: true,
            nf_instance_id: Uuid::new_v4(),
            max_response_bytes: MAX_RESPONSE_BYTES,
            tls: None,
            steps: None,
        }
    }
}
