//! The life of one HTTP/2 connection: from TCP to the peer's SETTINGS, then streams, until it is
//! lost or takes no more.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

use super::connector::{self, Transport};
use super::{ApiRoot, Settings};

/// Some cores write bodies without regard for flow control and close the connection when its window
/// does not hold them all. Sent right after the preface.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Above the largest body that is usually read, so that no answer waits for an update of its window.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Some cores put a body of any size into one frame.
const MAX_FRAME_SIZE: u32 = 1024 * 1024;
/// TS 29.500 headers are a few hundred bytes; this is room for the longest and a bound for the rest.
const MAX_HEADER_LIST_SIZE: u32 = 32 * 1024;
/// The streams of a connection that takes no more end by their deadlines, far sooner than this.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Why no connection came about. The text names no more than the kind of failure.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("an https apiRoot, and no TLS settings")]
    NoTls,
    #[error("TLS: the peer does not agree to HTTP/2 (ALPN h2)")]
    NotHttp2,
    #[error("the connection broke before HTTP/2 was spoken: {0}")]
    Broken(io::Error),
    #[error("the peer does not complete the HTTP/2 handshake")]
    Handshake,
    #[error("no HTTP/2 connection within the connect timeout")]
    TimedOut,
}

impl From<h2::Error> for OpenError {
    /// With TLS 1.3 a server refuses our certificate after the handshake has ended for us: the
    /// alert comes when HTTP/2 begins, and it is what the operator needs to know. What a peer says
    /// in HTTP/2 is its own text and stays out.
    fn from(error: h2::Error) -> Self {
        error.into_io().map_or(Self::Handshake, Self::Broken)
    }
}

/// The window of a stream: it holds the largest body that is read and one byte more, or a peer would
/// wait for an update of it that never comes.
fn stream_window(settings: &Settings) -> u32 {
    let largest = u32::try_from(settings.largest_body()).unwrap_or(0);
    STREAM_WINDOW.max(largest + 1)
}

/// Why a connection takes no new streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The peer sent GOAWAY (or stream identifiers ran out): open streams may still finish.
    GoAway,
    /// Closed or broken.
    Lost,
    /// The peer left a PING unanswered.
    Silent,
    /// We have no more use for it.
    Retired,
}

/// A connection whose peer has shown that it speaks HTTP/2.
pub(super) struct Connection {
    driver: h2::client::Connection<Transport, Bytes>,
    ping_pong: PingPong,
    sender: SendRequest<Bytes>,
}

impl Connection {
    /// Connects and waits for the PONG to a first PING. The peer's SETTINGS come before it, so the
    /// limit of concurrent streams is known before there is one.
    pub(super) async fn open(root: &ApiRoot, settings: &Settings) -> Result<Self, OpenError> {
        timeout(settings.connect_timeout, Self::establish(root, settings))
            .await
            .map_err(|_| OpenError::TimedOut)?
    }

    async fn establish(root: &ApiRoot, settings: &Settings) -> Result<Self, OpenError> {
        let stream = connector::connect(root, settings).await?;
        let window = stream_window(settings);
        let (sender, mut driver) = Builder::new()
            .enable_push(false)
            .initial_connection_window_size(CONNECTION_WINDOW.max(2 * window))
            .initial_window_size(window)
            .max_frame_size(MAX_FRAME_SIZE)
            .max_header_list_size(MAX_HEADER_LIST_SIZE)
            .handshake(stream)
            .await?;
        let mut ping_pong = driver.ping_pong().ok_or(OpenError::Handshake)?;
        tokio::select! {
            // The connection first, so that its window is on the wire before anything else.
            biased;
            end = &mut driver => {
                return Err(end.map_or_else(OpenError::from, |()| OpenError::Handshake));
            }
            pong = ping_pong.ping(Ping::opaque()) => pong?,
        };
        Ok(Self {
            driver,
            ping_pong,
            sender,
        })
    }

    /// A handle that opens streams.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// Carries the streams until the connection takes no new ones.
    ///
    /// Between being woken and doing its work it lets the other tasks of the thread have a turn:
    /// what they ask meanwhile goes out with the same write.
    pub(super) async fn run(&mut self, settings: &Settings) -> End {
        let Self {
            driver,
            ping_pong,
            sender,
        } = self;
        let mut silence = pin!(silence(ping_pong, settings));
        let mut gathered = false;
        poll_fn(|cx| {
            gathered = !gathered;
            if gathered {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Poll::Ready(end) = poll_open(driver, sender, cx) {
                return Poll::Ready(end);
            }
            silence.as_mut().poll(cx).map(|()| End::Silent)
        })
        .await
    }

    /// Carries the streams that are still open to their end.
    pub(super) async fn drain(self) {
        let Self {
            driver,
            ping_pong,
            sender,
        } = self;
        // h2 closes a connection that nobody can open a stream on.
        drop((ping_pong, sender));
        // How it ends is told to each stream.
        let _ = timeout(DRAIN_LIMIT, driver).await;
    }
}

/// Drives the connection. Only a sender learns of a GOAWAY while streams are open, so it is asked
/// whenever something happened.
fn poll_open(
    driver: &mut h2::client::Connection<Transport, Bytes>,
    sender: &mut SendRequest<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<End> {
    if Pin::new(driver).poll(cx).is_ready() {
        return Poll::Ready(End::Lost);
    }
    match sender.poll_ready(cx) {
        Poll::Ready(Err(_)) => Poll::Ready(End::GoAway),
        Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
    }
}

/// Ends when the peer leaves a PING unanswered for too long.
async fn silence(ping_pong: &mut PingPong, settings: &Settings) {
    loop {
        sleep(settings.keep_alive_interval).await;
        let pong = ping_pong.ping(Ping::opaque());
        match timeout(settings.keep_alive_timeout, pong).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
