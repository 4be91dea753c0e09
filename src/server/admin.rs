//! The admin listener: `/healthz`, `/readyz`, `/metrics`, `/openapi/{version}.yaml`; HTTP/1.1, for
//! the operator alone.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::listen;
use crate::api::Version;

/// A scraper, a load balancer, an engineer or two.
const MAX_CONNECTIONS: usize = 64;
/// From the first byte of a request's headers to its last, and between two requests.
const HEADER_READ_TIMEOUT: Duration = Duration::from_mins(1);

/// From the start of a connection to its end: a client that does not read its answer must not hold
/// one of the few for ever. A scraper opens another.
const MAX_AGE: Duration = Duration::from_mins(10);
/// For the answer that is on its way then.
const LAST_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// OpenAPI 3.0 as YAML (RFC 9512).
const OPENAPI: &str = "application/yaml";

/// The admin listener, bound.
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
    state: Arc<State>,
}

/// What the admin listener tells of.
pub struct State {
    /// What `/metrics` prints.
    pub registry: Registry,
    /// Those whose OpenAPI documents are served.
    pub versions: Vec<Version>,
    /// Brings gauges up to date that nobody else does.
    pub refresh: Box<dyn Fn() + Send + Sync>,
    /// Whether the core could be asked once.
    pub core_answered: Box<dyn Fn() -> bool + Send + Sync>,
    /// Cancelled when the service drains.
    pub draining: CancellationToken,
}

impl AdminServer {
    /// Binds the address.
    pub fn bind(address: SocketAddr, state: State) -> io::Result<Self> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            state: Arc::new(state),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped: readiness must be visible while the service drains.
    pub async fn run(self) {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(super::ACCEPT_PAUSE).await;
                continue;
            };
            let Ok(permit) = connections.clone().try_acquire_owned() else {
                continue;
            };
            let state = self.state.clone();
            tokio::spawn(async move {
                let _permit = permit;
                let service = service_fn(|request| {
                    let response = state.answer(&request);
                    async move { Ok::<_, Infallible>(response) }
                });
                // How a scraper's connection ends is the scraper's business.
                if stream.set_nodelay(true).is_err() {
                    return;
                }
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_READ_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service);
                let mut connection = std::pin::pin!(connection);
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = tokio::time::sleep(MAX_AGE) => connection.as_mut().graceful_shutdown(),
                }
                let _ = tokio::time::timeout(LAST_ANSWER_TIMEOUT, connection).await;
            });
        }
    }
}

impl State {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let document = self.document(path);
        let known = document.is_some() || ["/healthz", "/readyz", "/metrics"].contains(&path);
        if known && !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if let Some(document) = document {
            return with_type(text(StatusCode::OK, document), OPENAPI);
        }
        match path {
            "/healthz" => text(StatusCode::OK, "alive\n"),
            "/readyz" if self.draining.is_cancelled() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            }
            "/readyz" if !(self.core_answered)() => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the core has not been reached yet\n",
            ),
            "/readyz" => text(StatusCode::OK, "ready\n"),
            "/metrics" => self.metrics(),
            _ => text(
                StatusCode::NOT_FOUND,
                "/healthz, /readyz, /metrics or /openapi/{version}.yaml\n",
            ),
        }
    }

    /// The OpenAPI document of a served version.
    fn document(&self, path: &str) -> Option<&'static str> {
        let name = path.strip_prefix("/openapi/")?.strip_suffix(".yaml")?;
        let mut versions = self.versions.iter();
        versions
            .find(|version| version.as_str() == name)
            .map(|version| version.document())
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        (self.refresh)();
        match TextEncoder::new().encode_to_string(&self.registry.gather()) {
            Ok(metrics) => with_type(text(StatusCode::OK, metrics), prometheus::TEXT_FORMAT),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be encoded");
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "metrics cannot be encoded\n",
                )
            }
        }
    }
}

fn with_type(mut response: Response<Full<Bytes>>, kind: &'static str) -> Response<Full<Bytes>> {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    use super::*;

    fn serve() -> SocketAddr {
        let state = State {
            registry: Registry::new(),
            versions: Version::all().collect(),
            refresh: Box::new(|| {}),
            core_answered: Box::new(|| true),
            draining: CancellationToken::new(),
        };
        let server = AdminServer::bind(SocketAddr::from(([127, 0, 0, 1], 0)), state).unwrap();
        let address = server.address();
        tokio::spawn(server.run());
        address
    }

    const REQUEST: &[u8] = b"GET /openapi/v0.3.yaml HTTP/1.1\r\nhost: x\r\n\r\n";

    async fn is_served(address: SocketAddr) -> bool {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut first = [0];
        stream.write_all(REQUEST).await.is_ok()
            && matches!(stream.read(&mut first).await, Ok(length) if length > 0)
    }

    /// However busy it is.
    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_with_its_age() {
        let mut stream = TcpStream::connect(serve()).await.unwrap();
        let begun = Instant::now();
        let mut answers = vec![0; 64 * 1024];
        while stream.write_all(REQUEST).await.is_ok() {
            tokio::time::sleep(HEADER_READ_TIMEOUT / 2).await;
            if !matches!(stream.read(&mut answers).await, Ok(length) if length > 0) {
                break;
            }
        }
        let age = begun.elapsed();
        assert!(age >= MAX_AGE, "{age:?}");
        assert!(age <= MAX_AGE + HEADER_READ_TIMEOUT, "{age:?}");
    }

    /// Whoever does not read what was asked for makes room when its connection is old.
    #[tokio::test(start_paused = true)]
    async fn those_who_do_not_read_do_not_stay() {
        let address = serve();
        let mut deaf = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let stream = TcpStream::connect(address).await.unwrap();
            while stream.writable().await.is_ok() && stream.try_write(REQUEST).is_ok() {
                tokio::task::yield_now().await;
            }
            deaf.push(stream);
        }
        assert!(!is_served(address).await, "there is no room");
        tokio::time::sleep(MAX_AGE + LAST_ANSWER_TIMEOUT * 2).await;
        assert!(is_served(address).await, "there is room again");
    }
}
