//! The callback listener: notifications from the core; HTTP/2 and nothing else.
//!
//! Who calls has to know a name that we gave to the core and, where it is configured, shows a
//! certificate or a token of the NRF. Nothing of a body is read before that.

mod token;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{ACCEPT_PAUSE, listen};
use crate::feeds::inbox::{Addressee, FeedName, Inbox, Unreceived};
use crate::telemetry::metrics::ServerMetrics;
use crate::tls::{HTTP2, ListenerTls};
pub use token::{NrfTokens, UnusableKeys};

/// Some thousands of sessions; more come in several notifications.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// As many bodies of the largest size are held at once.
const MAX_IN_WORK: usize = 64;
const MAX_CONCURRENT_STREAMS: u32 = 64;
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const MAX_HEADER_LIST_SIZE: u32 = 16 * 1024;
/// For the TLS handshake, and for a body.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a peer is asked whether it is still there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
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
    /// Whom notifications are for.
    pub inbox: Inbox,
    /// Whose tokens are good; absent: none is asked for.
    pub tokens: Option<NrfTokens>,
    /// Counts what came.
    pub metrics: Arc<CallbackMetrics>,
}

/// Notifications by what became of them.
pub struct CallbackMetrics {
    requests: IntCounterVec,
}

impl CallbackMetrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "pei_bridge_callback_requests_total",
                "Requests to the callback listener, by what became of them",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        for outcome in Outcome::ALL {
            requests.with_label_values(&[outcome.label()]);
        }
        Ok(Self { requests })
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Taken,
    WrongMethod,
    UnknownPath,
    Unauthorized,
    WrongType,
    TooLarge,
    TooSlow,
    Malformed,
    Failed,
    Shed,
}

impl Outcome {
    const ALL: [Self; 10] = [
        Self::Taken,
        Self::WrongMethod,
        Self::UnknownPath,
        Self::Unauthorized,
        Self::WrongType,
        Self::TooLarge,
        Self::TooSlow,
        Self::Malformed,
        Self::Failed,
        Self::Shed,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::WrongMethod => "wrong_method",
            Self::UnknownPath => "unknown",
            Self::Unauthorized => "unauthorized",
            Self::WrongType => "wrong_type",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Malformed => "malformed",
            Self::Failed => "failed",
            Self::Shed => "shed",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Taken => StatusCode::NO_CONTENT,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::WrongType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Failed | Self::Shed => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn response(self) -> Response<Full<Bytes>> {
        let status = self.status();
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if self == Self::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self != Self::Taken {
            let kind = HeaderValue::from_static("application/problem+json");
            headers.insert(CONTENT_TYPE, kind);
            let problem = format!(
                r#"{{"status":{},"title":"{}"}}"#,
                status.as_u16(),
                status.canonical_reason().unwrap_or_default()
            );
            *response.body_mut() = Full::new(problem.into());
        }
        response
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
        let connections = Arc::new(Semaphore::new(self.max_connections));
        let in_work = Arc::new(Semaphore::new(MAX_IN_WORK));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Ok(permit) = connections.clone().try_acquire_owned() else {
                self.server_metrics.shed_connections.inc();
                continue;
            };
            let connection = Connection {
                callbacks: callbacks.clone(),
                in_work: in_work.clone(),
                stop: stop.clone(),
            };
            let tls = self.tls.clone();
            tasks.spawn(async move {
                connection.serve(stream, tls).await;
                drop(permit);
            });
        }
        tasks.close();
        // What is still under way is told again by whoever was not answered.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, tasks.wait()).await;
    }
}

/// One connection of the core.
struct Connection {
    callbacks: Arc<Callbacks>,
    in_work: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<Arc<ListenerTls>>) {
        if stream.set_nodelay(true).is_err() {
            return; // Closed already.
        }
        let Some(tls) = tls else {
            return self.serve_http2(stream).await;
        };
        let accepting = tls.acceptor().accept(stream);
        if let Ok(Ok(stream)) = tokio::time::timeout(READ_TIMEOUT, accepting).await
            && stream.get_ref().1.alpn_protocol() == Some(HTTP2)
        {
            self.serve_http2(stream).await;
        }
    }

    async fn serve_http2<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self {
            callbacks,
            in_work,
            stop,
        } = self;
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEADER_LIST_SIZE)
            .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| {
                    let (callbacks, in_work) = (callbacks.clone(), in_work.clone());
                    async move {
                        let outcome = match in_work.try_acquire() {
                            Ok(_permit) => callbacks.take(request).await,
                            Err(_full) => callbacks.shed(&request),
                        };
                        callbacks.metrics.count(outcome);
                        Ok::<_, Infallible>(outcome.response())
                    }
                }),
            );
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}

impl CallbackMetrics {
    fn count(&self, outcome: Outcome) {
        self.requests.with_label_values(&[outcome.label()]).inc();
    }
}

impl Callbacks {
    async fn take(&self, request: Request<Incoming>) -> Outcome {
        if let Some(tokens) = &self.tokens
            && !tokens.permit(request.headers())
        {
            self.missed(&request);
            return Outcome::Unauthorized;
        }
        let Some(addressee) = self.addressee(&request) else {
            return Outcome::UnknownPath;
        };
        if request.method() != Method::POST {
            return Outcome::WrongMethod;
        }
        if !is_json(request.headers()) {
            return Outcome::WrongType;
        }
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
        let body = match tokio::time::timeout(READ_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                self.inbox.missed(&addressee);
                return Outcome::TooLarge;
            }
            // Nothing obliges the core to tell it again.
            Ok(Err(_)) => {
                self.inbox.missed(&addressee);
                return Outcome::Malformed;
            }
            Err(_elapsed) => {
                self.inbox.missed(&addressee);
                return Outcome::TooSlow;
            }
        };
        match self.inbox.receive(&addressee, &body).await {
            Ok(()) => Outcome::Taken,
            Err(Unreceived::Malformed) => Outcome::Malformed,
            Err(Unreceived::Failed) => Outcome::Failed,
        }
    }

    /// Refuses a notification that there is no room for.
    fn shed(&self, request: &Request<Incoming>) -> Outcome {
        self.missed(request);
        Outcome::Shed
    }

    /// What was refused unread may have been told by the core, which alone knows the name: what it
    /// said is lost.
    fn missed(&self, request: &Request<Incoming>) {
        if let Some(addressee) = self.addressee(request) {
            self.inbox.missed(&addressee);
        }
    }

    fn addressee(&self, request: &Request<Incoming>) -> Option<Addressee> {
        let (feed, name) = target(request.uri().path())?;
        self.inbox.addressee(feed, name)
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
