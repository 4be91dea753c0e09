//! Reading a body: bounded in size and time.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::error::ApiError;

/// The most that a body may hold.
const MAX_BYTES: usize = 16 * 1024;
/// The most that is read of a body that is too long, so that its sender is still there to read
/// the answer: a connection closed with data unread takes the answer with it.
const MAX_DRAINED: usize = 1024 * 1024;

/// How long a refused client may go on sending.
const DRAIN_TIME: Duration = Duration::from_millis(250);

/// A body as far as it was read.
pub(super) enum ReadBody {
    /// All of it.
    Complete(Bytes),
    /// More than a request can need; what was read is dropped.
    TooLarge,
    /// Its end did not come: the client was too slow, sent far too much, or went away.
    Unfinished,
}

impl ReadBody {
    /// Whether nothing came.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Complete(bytes) if bytes.is_empty())
    }

    /// The bytes, or 400.
    pub(super) fn complete(&self) -> Result<&[u8], ApiError> {
        match self {
            Self::Complete(bytes) => Ok(bytes),
            Self::TooLarge => Err(ApiError::invalid("The body is larger than 16 KiB")),
            Self::Unfinished => Err(ApiError::invalid("The body did not arrive whole").closing()),
        }
    }
}

/// Reads the body for so long; a slow client is cut off, not waited for.
pub(super) async fn read(body: &mut Incoming, longest: Duration) -> ReadBody {
    let mut collecting = pin!(collect(body));
    // Nearly every body came with its headers, and needs no timer.
    if let Some(read) = collecting.as_mut().now_or_never() {
        return read;
    }
    tokio::time::timeout(longest, collecting)
        .await
        .unwrap_or(ReadBody::Unfinished)
}

/// Takes what a refused client is still sending, for a moment and up to a bound, so that it is there
/// to read the answer: a connection closed with data unread takes the answer with it.
pub(super) async fn drain(body: &mut Incoming) {
    // Whoever sends more slowly, or more, does so at the risk of the answer.
    let _ = tokio::time::timeout(DRAIN_TIME, collect(body)).await;
}

async fn collect(body: &mut Incoming) -> ReadBody {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length = 0_usize;
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let Ok(frame) = frame else {
            return ReadBody::Unfinished;
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length = length.saturating_add(data.len());
        if length > MAX_DRAINED {
            return ReadBody::Unfinished;
        }
        if length > MAX_BYTES {
            continue;
        }
        if first.is_empty() {
            first = data;
            continue;
        }
        // Nearly every body comes in one piece and is not copied; this one did not.
        if rest.is_empty() {
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&data);
    }
    if length > MAX_BYTES {
        ReadBody::TooLarge
    } else if rest.is_empty() {
        ReadBody::Complete(first)
    } else {
        ReadBody::Complete(rest.freeze())
    }
}
