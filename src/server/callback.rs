//! The callback listener: notifications from the core; HTTP/2 and nothing else.
//!
//! Who calls has to know a name that we gave to the core and, where it is configured, shows a
//! certificate or a token of the NRF. Nothing of a body is read before that.

mod connection;
mod outcome;
mod places;
mod token;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{ACCEPT_PAUSE, listen};
use crate::feeds::inbox::{Addressee, FeedName, Inbox, Unreceived};
use crate::telemetry::metrics::ServerMetrics;
use crate::tls::ListenerTls;
use connection::Connection;
pub use outcome::CallbackMetrics;
use outcome::Outcome;
use places::Places;
pub use token::{Accepted, NrfTokens, UnusableKeys};

/// Some thousands of sessions; more come in several notifications.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// As many bodies of the largest size are held at once: of sessions, which come from every SMF, and
/// of each other feed.
const MAX_SESSIONS_IN_WORK: usize = 64;
const MAX_OTHERS_IN_WORK: usize = 16;
/// For the TLS handshake, the HTTP/2 preface, and a body.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take to end while we drain.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The listener of the core, bound.
pub struct CallbackServer {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ListenerTls>>,
    max_connections: usize,
    server_metrics: Arc<ServerMetrics>,
}

/// What every connection shares.
pub struct Callbacks {
    inbox: Inbox,
    /// Whose tokens are good; absent: none is asked for.
    tokens: Option<NrfTokens>,
    metrics: Arc<CallbackMetrics>,
    in_work: InWork,
}

/// Room for notifications: each feed has its own, so that none is kept out by another one's flood.
struct InWork {
    instances: Semaphore,
    sessions: Semaphore,
    equipment: Semaphore,
    consent: Semaphore,
}

impl InWork {
    fn new() -> Self {
        let others = || Semaphore::new(MAX_OTHERS_IN_WORK);
        Self {
            instances: others(),
            sessions: Semaphore::new(MAX_SESSIONS_IN_WORK),
            equipment: others(),
            consent: others(),
        }
    }

    fn of(&self, feed: FeedName) -> &Semaphore {
        match feed {
            FeedName::Instances => &self.instances,
            FeedName::Sessions => &self.sessions,
            FeedName::Equipment => &self.equipment,
            FeedName::Consent => &self.consent,
        }
    }
}

impl CallbackServer {
    /// Binds the address.
    pub fn bind(
        address: SocketAddr,
        tls: Option<ListenerTls>,
        max_connections: usize,
        server_metrics: Arc<ServerMetrics>,
    ) -> io::Result<Self> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            tls: tls.map(Arc::new),
            max_connections,
            server_metrics,
        })
    }

    /// Where it listens; tells the port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it is spoken to in TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves until `stop` is cancelled.
    pub async fn run(self, callbacks: Arc<Callbacks>, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        if let Some(tls) = &self.tls {
            let following = Arc::clone(tls).follow(self.server_metrics.clone());
            tasks.spawn(stop.clone().run_until_cancelled_owned(following));
        }
        let places = Places::new(self.max_connections);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let Ok((stream, _)) = accepted else {
                // Whoever it was, or who waits meanwhile, may give up.
                callbacks.inbox.turned_away();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Some(place) = places.take() else {
                self.server_metrics.shed_connections.inc();
                callbacks.inbox.turned_away();
                continue;
            };
            let connection = Connection {
                callbacks: callbacks.clone(),
                place,
                stop: stop.clone(),
            };
            tasks.spawn(connection.serve(stream, self.tls.clone()));
        }
        tasks.close();
        // What is still under way is told again by whoever was not answered.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, tasks.wait()).await;
    }
}

impl Callbacks {
    /// Takes notifications for `inbox`; with `tokens`, those alone that show one of them.
    pub fn new(inbox: Inbox, tokens: Option<NrfTokens>, metrics: Arc<CallbackMetrics>) -> Self {
        Self {
            inbox,
            tokens,
            metrics,
            in_work: InWork::new(),
        }
    }

    async fn take(&self, request: Request<Incoming>) -> Outcome {
        let Some((feed, name)) = target(request.uri().path()) else {
            return Outcome::UnknownPath;
        };
        let Some(addressee) = self.inbox.addressee(feed, name) else {
            return Outcome::UnknownPath;
        };
        if request.method() != Method::POST {
            return Outcome::WrongMethod;
        }
        // The core alone knows the name: what it said is lost unless it is taken, be it that we
        // refuse it or that the core gives up waiting, which ends this future.
        let at_risk = AtRisk {
            inbox: &self.inbox,
            addressee: Some(&addressee),
        };
        let outcome = self.take_for(feed, &addressee, request).await;
        if outcome == Outcome::Taken {
            at_risk.taken();
        }
        outcome
    }

    async fn take_for(
        &self,
        feed: FeedName,
        addressee: &Addressee,
        request: Request<Incoming>,
    ) -> Outcome {
        let Ok(_permit) = self.in_work.of(feed).try_acquire() else {
            return Outcome::Shed;
        };
        if let Some(tokens) = &self.tokens
            && !tokens.permit(request.headers()).await
        {
            return Outcome::Unauthorized;
        }
        self.read(addressee, request).await
    }

    async fn read(&self, addressee: &Addressee, request: Request<Incoming>) -> Outcome {
        if !is_json(request.headers()) {
            return Outcome::WrongType;
        }
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
        let body = match tokio::time::timeout(READ_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return Outcome::TooLarge;
            }
            Ok(Err(_)) => return Outcome::Malformed,
            Err(_elapsed) => return Outcome::TooSlow,
        };
        match self.inbox.receive(addressee, &body).await {
            Ok(()) => Outcome::Taken,
            Err(Unreceived::Malformed) => Outcome::Malformed,
            Err(Unreceived::Failed) => Outcome::Failed,
        }
    }
}

/// A notification that was not taken yet. Nothing obliges the core to tell it again.
struct AtRisk<'a> {
    inbox: &'a Inbox,
    /// Absent once it was taken.
    addressee: Option<&'a Addressee>,
}

impl AtRisk<'_> {
    /// What it says holds.
    fn taken(mut self) {
        self.addressee = None;
    }
}

impl Drop for AtRisk<'_> {
    fn drop(&mut self) {
        if let Some(addressee) = self.addressee {
            self.inbox.missed(addressee);
        }
    }
}

/// The feed and the name in `…/callback/{feed}/{name}`, whatever the prefix.
fn target(path: &str) -> Option<(FeedName, &str)> {
    let (rest, name) = path.rsplit_once('/')?;
    let (rest, feed) = rest.rsplit_once('/')?;
    let feed = FeedName::by_label(feed)?;
    rest.ends_with("/callback").then_some((feed, name))
}

/// A missing content type is forgiven, another one than JSON is not.
fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_none_or(|value| {
        let kind = value.to_str().unwrap_or_default();
        let kind = kind.split_once(';').map_or(kind, |(kind, _)| kind);
        kind.trim().eq_ignore_ascii_case("application/json")
    })
}
