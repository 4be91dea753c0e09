//! One connection of the core: its handshake, its limits, its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;

use super::outcome::Outcome;
use super::places::Place;
use super::{Callbacks, DRAIN_TIMEOUT, READ_TIMEOUT};
use crate::tls::{HTTP2, ListenerTls};

const MAX_CONCURRENT_STREAMS: u32 = 64;
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const MAX_HEADER_LIST_SIZE: u32 = 16 * 1024;
/// How often a peer is asked whether it is still there, and how long it may take to say so. Of a
/// header section that never ends that is the end: no answer can come in the middle of one.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// What HTTP/2 begins with (RFC 9113 3.4), in bytes.
const PREFACE: usize = 24;

/// One connection of the core.
pub(super) struct Connection {
    pub(super) callbacks: Arc<Callbacks>,
    pub(super) place: Place,
    pub(super) stop: CancellationToken,
}

impl Connection {
    pub(super) async fn serve(self, stream: TcpStream, tls: Option<Arc<ListenerTls>>) {
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
            place,
            stop,
        } = self;
        let place = Arc::new(place);
        let end = place.lost().clone();
        let heard = Arc::new(AtomicUsize::new(0));
        let counted = heard.clone();
        let stream = InspectReader::new(stream, move |bytes: &[u8]| {
            counted.fetch_add(bytes.len(), Ordering::Relaxed);
        });
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
                    let (callbacks, place) = (callbacks.clone(), place.clone());
                    async move {
                        let _open = place.open();
                        let outcome = callbacks.take(request).await;
                        callbacks.metrics.count(outcome);
                        if outcome == Outcome::Taken {
                            place.used();
                        }
                        Ok::<_, Infallible>(outcome.response())
                    }
                }),
            );
        let mut connection = std::pin::pin!(connection);
        // Until its preface has come nobody is asked whether he is still there.
        let preface_due = Instant::now() + READ_TIMEOUT;
        tokio::select! {
            _ = connection.as_mut() => return,
            () = tokio::time::sleep_until(preface_due) => {
                if heard.load(Ordering::Relaxed) < PREFACE {
                    return;
                }
            }
            () = stop.cancelled() => {}
            () = end.cancelled() => {}
        }
        tokio::select! {
            _ = connection.as_mut() => return,
            () = stop.cancelled() => {}
            () = end.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        // Over either way.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, connection).await;
    }
}
