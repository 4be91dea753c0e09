//! One connection: HTTP/1.1 or HTTP/2, its limits, its end.
//!
//! The protocol is known from the TLS handshake, or in clear from the first bytes. A watchdog with
//! one timer closes a connection whose client is slow with a header section or idle for too long;
//! body and answer have deadlines of their own in `api`.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Service;
use super::activity::{Activity, Watched};
use crate::auth::KeptToken;
use crate::telemetry::metrics::HandshakeFailure;
use crate::tls::HTTP2;

/// The most header bytes of a request; more is answered 431.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// As the HTTP/2 setting counts it.
const MAX_HEADER_LIST_SIZE: u32 = 32 * 1024;
/// The most header lines of a request.
const MAX_HEADERS: usize = 100;
/// Streams that one HTTP/2 client may have open; more wait at the client.
const MAX_CONCURRENT_STREAMS: u32 = 256;
/// One body of the largest size, and a little more.
const STREAM_WINDOW: u32 = 64 * 1024;
/// A full house of largest bodies cannot make us hold more than this for one connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How often an HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// What HTTP/2 with prior knowledge begins with (RFC 9113 3.4); no HTTP/1.1 method starts so.
const HTTP2_PREFACE_START: &[u8] = b"PRI";
/// Between two looks at a connection that sent less than these three bytes.
const SNIFF_PAUSE: Duration = Duration::from_millis(20);
/// How long a client that is turned away may take to read why.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// The time limits of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// From the first byte of a header section to its last.
    pub(super) header_read_timeout: Duration,
    /// Without a request.
    pub(super) idle_timeout: Duration,
}

/// Answers a connection beyond the limit without looking at what it asks.
pub(super) async fn turn_away(mut stream: TcpStream) {
    let body =
        r#"{"status":503,"code":"UNAVAILABLE","message":"There are too many connections already"}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
         cache-control: no-store\r\nretry-after: 1\r\nx-correlator: {}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        uuid::Uuid::new_v4(),
        body.len()
    );
    let answered = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // A socket that is closed with data unread takes the answer with it.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    // A client that does not read the refusal has lost nothing but the refusal.
    let _ = tokio::time::timeout(TURN_AWAY_TIMEOUT, answered).await;
}

/// Serves a connection in clear to its end.
pub(super) async fn serve_plain(
    stream: TcpStream,
    service: &Arc<Service>,
    stop: CancellationToken,
) {
    if stream.set_nodelay(true).is_err() {
        return; // Closed already.
    }
    let sniffed = tokio::time::timeout(service.limits.header_read_timeout, speaks_http2(&stream));
    let speaks_http2 = tokio::select! {
        sniffed = sniffed => match sniffed {
            Ok(Some(speaks_http2)) => speaks_http2,
            Ok(None) => return,
            Err(_elapsed) => return service.metrics.timed_out.inc(),
        },
        () = stop.cancelled() => return,
    };
    serve(stream, speaks_http2, service, stop).await;
}

/// Shakes hands within the time of a header section, then serves the connection to its end.
pub(super) async fn serve_tls(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    service: &Arc<Service>,
    stop: CancellationToken,
) {
    if stream.set_nodelay(true).is_err() {
        return; // Closed already.
    }
    let handshake =
        tokio::time::timeout(service.limits.header_read_timeout, acceptor.accept(stream));
    let stream = tokio::select! {
        shaken = handshake => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                return service.metrics.handshake_failed(failure(&error));
            }
            Err(_elapsed) => {
                service.metrics.timed_out.inc();
                return service.metrics.handshake_failed(HandshakeFailure::TimedOut);
            }
        },
        () = stop.cancelled() => return,
    };
    // HTTP/2 over TLS is always agreed on by ALPN (RFC 9113 3.2): without it, this is HTTP/1.1.
    let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    serve(stream, speaks_http2, service, stop).await;
}

/// What kind of failure the library reports, beneath the I/O error it comes as.
fn failure(error: &io::Error) -> HandshakeFailure {
    let reason = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<rustls::Error>());
    match reason {
        None => HandshakeFailure::Closed,
        Some(rustls::Error::AlertReceived(_)) => HandshakeFailure::Refused,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            HandshakeFailure::Certificate
        }
        Some(_) => HandshakeFailure::Protocol,
    }
}

async fn serve<S>(stream: S, speaks_http2: bool, service: &Arc<Service>, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let io = TokioIo::new(Watched::new(stream, activity.clone(), speaks_http2));
    if speaks_http2 {
        serve_http2(io, service, &activity, stop).await;
    } else {
        serve_http1(io, service, &activity, stop).await;
    }
}

/// Whether the client opens with the HTTP/2 preface; nothing is taken from the stream. `None`
/// where it closed before it said anything.
async fn speaks_http2(stream: &TcpStream) -> Option<bool> {
    let mut start = [0_u8; 3];
    loop {
        let length = stream.peek(&mut start).await.ok()?;
        let seen = start.get(..length)?;
        if seen.is_empty() {
            return None;
        }
        if seen == HTTP2_PREFACE_START || !HTTP2_PREFACE_START.starts_with(seen) {
            return Some(seen == HTTP2_PREFACE_START);
        }
        tokio::time::sleep(SNIFF_PAUSE).await;
    }
}

async fn serve_http1<S>(
    io: TokioIo<Watched<S>>,
    service: &Arc<Service>,
    activity: &Arc<Activity>,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let kept_token = KeptToken::default();
    let connection = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        // The buffer may grow beyond its own limit by one read, so both are said.
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(MAX_HEADER_BYTES)
        .half_close(true)
        // Answers are small: to copy one behind its headers is cheaper than a vectored write.
        .writev(false)
        .serve_connection(
            io,
            service_fn(|request| {
                activity.header_ended();
                // Taken apart here, so that it lies in the future once: each function that is
                // given it would keep a place of its own for it.
                let (parts, mut body) = request.into_parts();
                let kept_token = &kept_token;
                async move { answer(service, activity, kept_token, &parts, &mut body).await }
            }),
        );
    let mut connection = std::pin::pin!(connection);
    let mut ends = ends(activity, service, stop);
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        Some(end) = ends.next() => match end {
            End::Overdue => return service.metrics.timed_out.inc(),
            End::Stopped => connection.as_mut().graceful_shutdown(),
        }
    }
    tokio::select! {
        _ = connection.as_mut() => {}
        () = activity.quiet() => {}
    }
}

async fn serve_http2<S>(
    io: TokioIo<Watched<S>>,
    service: &Arc<Service>,
    activity: &Arc<Activity>,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_LIST_SIZE)
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(io, {
            let (service, activity) = (service.clone(), activity.clone());
            let kept_token = Arc::<KeptToken>::default();
            service_fn(move |request| {
                let (service, activity) = (service.clone(), activity.clone());
                let kept_token = kept_token.clone();
                let (parts, mut body) = request.into_parts();
                async move { answer(&service, &activity, &kept_token, &parts, &mut body).await }
            })
        });
    let mut connection = std::pin::pin!(connection);
    let mut ends = ends(activity, service, stop);
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        Some(end) = ends.next() => match end {
            End::Overdue => service.metrics.timed_out.inc(),
            End::Stopped => {}
        }
    }
    connection.as_mut().graceful_shutdown();
    // Nor is a client waited for that does not answer the GOAWAY.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = activity.quiet() => {}
    }
}

/// Why a connection has to end.
enum End {
    /// Its client was slow or idle for too long.
    Overdue,
    /// The service stops.
    Stopped,
}

/// Tells when the connection has to end. In a set, which looks at it when it was woken and not each
/// time that a request wakes the connection.
fn ends(
    activity: &Activity,
    service: &Service,
    stop: CancellationToken,
) -> FuturesUnordered<impl Future<Output = End>> {
    let limits = service.limits;
    FuturesUnordered::from_iter([async move {
        tokio::select! {
            () = activity.overdue(limits) => End::Overdue,
            () = stop.cancelled() => End::Stopped,
        }
    }])
}

/// One request: counted, and refused where too many are in work.
async fn answer(
    service: &Service,
    activity: &Activity,
    kept_token: &KeptToken,
    parts: &Parts,
    body: &mut Incoming,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let _in_request = activity.enter();
    let response = match service.in_flight.try_acquire() {
        Ok(_permit) => {
            let _in_flight = InFlight::enter(&service.metrics.in_flight);
            service.api.handle(parts, body, kept_token).await
        }
        Err(_full) => {
            service.metrics.shed_requests.inc();
            service.api.shed(parts)
        }
    };
    Ok(if parts.method == Method::HEAD {
        without_body(response)
    } else {
        response
    })
}

/// An answer to HEAD (RFC 9110 9.3.2): hyper leaves the body out in HTTP/1.1 alone.
fn without_body(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let length = response.body().size_hint().exact().unwrap_or(0);
    let length = HeaderValue::from(length);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    *response.body_mut() = Full::default();
    response
}

/// A request counted as in work, until it is answered or its client gives it up.
struct InFlight<'a>(&'a IntGauge);

impl<'a> InFlight<'a> {
    fn enter(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
