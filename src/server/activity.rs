//! What a connection does, for the watchdog that closes it when its client is slow or idle. What is
//! said and answered on it is [`super::connection`]'s matter.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::connection::Limits;
use super::frames::{Brought, Frames};

/// How long a connection that is to end may go on without a request in work: long enough for one
/// that is on its way, and no longer for one whose headers never end.
const QUIET_BEFORE_END: Duration = Duration::from_secs(1);
/// Between two looks at it.
const QUIET_PAUSE: Duration = Duration::from_millis(50);
/// Looks of the watchdog within the shortest limit, as far as the bounds below allow.
const LOOKS: u32 = 4;
const SHORTEST_WATCH: Duration = Duration::from_millis(50);
const LONGEST_WATCH: Duration = Duration::from_secs(1);

/// What the watchdog is told of a connection. No times: reading a clock for each request would cost
/// more than all the rest of this.
#[derive(Default)]
pub(super) struct Activity {
    in_flight: AtomicUsize,
    /// Requests that ended.
    ended: AtomicU64,
    /// Beginnings and ends of what a client must not take long for: header sections, in HTTP/2 also
    /// any frame. Odd while one is begun and not whole.
    sections: AtomicU64,
}

impl Activity {
    /// A request comes.
    pub(super) fn enter(&self) -> InRequest<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InRequest(self)
    }

    /// A byte came that may be the first of a header section.
    fn header_began(&self) {
        if !is_begun(self.sections.load(Ordering::Relaxed)) {
            self.sections.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A header section is whole.
    pub(super) fn header_ended(&self) {
        if is_begun(self.sections.load(Ordering::Relaxed)) {
            self.sections.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// In HTTP/1.1: whatever comes between two requests is the header section of the next.
    fn bytes_came(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0 {
            self.header_began();
        }
    }

    /// In HTTP/2, where a header section can begin at any time, and much else comes between two.
    fn frames_came(&self, brought: Brought) {
        if brought.an_end {
            self.header_ended();
        }
        if brought.a_beginning {
            self.header_began();
        }
    }

    /// Ends when the client was slow with a header section, or idle for too long. Looks from time to
    /// time, so that both may last one look longer than their limits.
    pub(super) async fn overdue(&self, limits: Limits) {
        let shortest = limits.header_read_timeout.min(limits.idle_timeout);
        let pause = (shortest / LOOKS).clamp(SHORTEST_WATCH, LONGEST_WATCH);
        let (mut ended, mut sections) = (0, 0);
        let (mut quiet_since, mut section_since) = (Instant::now(), Instant::now());
        loop {
            let now = Instant::now();
            let ended_before = mem::replace(&mut ended, self.ended.load(Ordering::Relaxed));
            let busy = self.in_flight.load(Ordering::Relaxed) > 0;
            if busy || ended != ended_before {
                quiet_since = now;
            }
            let before = mem::replace(&mut sections, self.sections.load(Ordering::Relaxed));
            if sections != before {
                section_since = now;
            }
            let (since, limit) = if is_begun(sections) {
                (section_since, limits.header_read_timeout)
            } else {
                (quiet_since, limits.idle_timeout)
            };
            let left = limit.saturating_sub(now - since);
            if left.is_zero() && !busy {
                return;
            }
            tokio::time::sleep(left.clamp(SHORTEST_WATCH, pause)).await;
        }
    }

    /// Ends when no request was in work for a while from now on.
    pub(super) async fn quiet(&self) {
        let mut since = Instant::now();
        while since.elapsed() < QUIET_BEFORE_END {
            tokio::time::sleep(QUIET_PAUSE).await;
            if self.in_flight.load(Ordering::Relaxed) > 0 {
                since = Instant::now();
            }
        }
    }
}

/// Whether the last of so many beginnings and ends is a beginning.
fn is_begun(sections: u64) -> bool {
    sections % 2 == 1
}

/// A request in work on a connection.
pub(super) struct InRequest<'a>(&'a Activity);

impl Drop for InRequest<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that tells the watchdog when bytes come.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    /// In HTTP/2.
    frames: Option<Frames>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>, speaks_http2: bool) -> Self {
        Self {
            stream,
            activity,
            frames: speaks_http2.then(Frames::new),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            let Self {
                activity, frames, ..
            } = &mut *self;
            match frames {
                None => activity.bytes_came(),
                Some(frames) => {
                    let new = buffer.filled().get(before..).unwrap_or_default();
                    activity.frames_came(frames.follow(new));
                }
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
