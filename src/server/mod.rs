//! Listeners: accepting, limits, draining. What is served is none of this room's business.
//!
//! [`ApiServer`] accepts connections of API consumers and hands each to one of the [`workers`],
//! where [`connection`] serves it; [`activity`] watches its client meanwhile, whom [`frames`] follows
//! in HTTP/2. [`admin`] is the small listener beside it, [`callback`] the one for the core.

mod activity;
pub mod admin;
pub mod callback;
mod connection;
mod frames;
mod workers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::config;
use crate::telemetry::metrics::ServerMetrics;
use crate::tls::ListenerTls;
use connection::Limits;
pub use workers::Workers;

/// Connections that the kernel may hold for us while we are busy.
const BACKLOG: u32 = 1024;

/// How long accepting pauses when the process is out of descriptors: the condition ends when
/// connections do, and trying at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that may be told at once why there is no room for them; the others are closed.
const MAX_TURNED_AWAY: usize = 256;

/// The listener of API consumers, bound.
pub struct ApiServer {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ListenerTls>>,
    service: Arc<Service>,
    connections: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
    workers: Workers,
    drain_timeout: Duration,
}

/// What every connection shares.
struct Service {
    api: Api,
    limits: Limits,
    in_flight: Semaphore,
    metrics: Arc<ServerMetrics>,
}

impl ApiServer {
    /// Binds the configured address; plain HTTP where no TLS is given.
    pub fn bind(
        config: &config::Api,
        tls: Option<ListenerTls>,
        workers: Workers,
        api: Api,
        metrics: Arc<ServerMetrics>,
    ) -> io::Result<Self> {
        let listener = listen(config.listen)?;
        let address = listener.local_addr()?;
        let limits = Limits {
            header_read_timeout: config.header_read_timeout,
            idle_timeout: config.idle_timeout,
        };
        let in_flight = Semaphore::new(config.max_requests_in_flight);
        Ok(Self {
            listener,
            address,
            tls: tls.map(Arc::new),
            service: Arc::new(Service {
                api,
                limits,
                in_flight,
                metrics,
            }),
            connections: Arc::new(Semaphore::new(config.max_connections)),
            turned_away: Arc::new(Semaphore::new(MAX_TURNED_AWAY)),
            workers,
            drain_timeout: config.drain_timeout,
        })
    }

    /// Where it listens; tells the port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The API behind it, for the metrics.
    pub fn record_sizes(&self) -> impl Fn() + Send + Sync + 'static {
        let service = self.service.clone();
        move || service.api.record_sizes()
    }

    /// Serves until `stop` is cancelled; then accepts no more, and gives the requests in flight
    /// the drain time to end. Returns whether all of them did.
    pub async fn run(self, stop: CancellationToken) -> bool {
        let tasks = TaskTracker::new();
        if let Some(tls) = &self.tls {
            let following = Arc::clone(tls).follow(self.service.metrics.clone());
            tasks.spawn(stop.clone().run_until_cancelled_owned(following));
        }
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => self.admit(stream, &tasks, &stop),
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        tasks.close();
        tokio::time::timeout(self.drain_timeout, tasks.wait())
            .await
            .is_ok()
    }

    /// Serves the connection where there is room for it, and turns it away otherwise.
    fn admit(&self, stream: TcpStream, tasks: &TaskTracker, stop: &CancellationToken) {
        let metrics = &self.service.metrics;
        metrics.accepted.inc();
        let Ok(permit) = self.connections.clone().try_acquire_owned() else {
            metrics.shed_connections.inc();
            // Saying why would take the handshake, which is what there is no room for.
            if self.tls.is_none()
                && let Ok(permit) = self.turned_away.clone().try_acquire_owned()
            {
                tasks.spawn(async move {
                    connection::turn_away(stream).await;
                    drop(permit);
                });
            }
            return;
        };
        let Ok(stream) = stream.into_std() else {
            return; // Lost already.
        };
        let service = self.service.clone();
        let stop = stop.clone();
        // A task for each kind, so that a plain connection has no room for TLS in its own.
        if let Some(tls) = &self.tls {
            let acceptor = tls.acceptor();
            self.workers.spawn(tasks, async move {
                service.metrics.connections.inc();
                if let Ok(stream) = TcpStream::from_std(stream) {
                    connection::serve_tls(stream, &acceptor, &service, stop).await;
                }
                service.metrics.connections.dec();
                drop(permit);
            });
        } else {
            self.workers.spawn(tasks, async move {
                service.metrics.connections.inc();
                if let Ok(stream) = TcpStream::from_std(stream) {
                    connection::serve_plain(stream, &service, stop).await;
                }
                service.metrics.connections.dec();
                drop(permit);
            });
        }
    }
}

/// Binds an address and listens on it.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The peer gave up before it was accepted: nothing of ours is wrong.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
