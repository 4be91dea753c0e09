//! One request and its answer on one connection.

use std::future::poll_fn;

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;

use super::super::Error;
use super::super::response::Answer;

/// What became of one attempt that has no answer.
pub(super) enum Failure {
    /// The peer did nothing with it: it may be asked again.
    Untouched,
    /// The connection was lost before the answer began. Only what may be done twice is asked again
    /// (RFC 9110 9.2.2).
    Lost,
    /// The error of the call.
    Final(Error),
}

/// Waits until the connection takes a request.
pub(super) async fn ready(sender: &mut SendRequest<Bytes>) -> Result<(), Failure> {
    let ready = poll_fn(|cx| sender.poll_ready(cx)).await;
    ready.map_err(|_| Failure::Untouched)
}

/// Sends the request. Dropping what is returned cancels the stream.
pub(super) fn send(
    mut sender: SendRequest<Bytes>,
    head: Request<()>,
    body: Option<Bytes>,
) -> Result<ResponseFuture, Failure> {
    let (response, mut stream) = sender
        .send_request(head, body.is_none())
        .map_err(|_| Failure::Untouched)?;
    if let Some(body) = body {
        // h2 sends it as the windows allow; what becomes of it is told with the answer, which a
        // peer may give before it has read everything.
        let _ = stream.send_data(body, true);
    }
    Ok(response)
}

/// Reads the answer. Dropping the future cancels the stream.
pub(super) async fn receive(response: ResponseFuture, most: usize) -> Result<Answer, Failure> {
    let head = response.await.map_err(|error| classify(&error))?;
    Answer::read(head, most).await.map_err(Failure::Final)
}

/// What an error before the head of the answer allows: a reset was meant for this request, and only
/// `REFUSED_STREAM` says that nothing was done with it (RFC 9113 8.7); so does GOAWAY below this
/// stream. Everything else ended the connection: a close, a broken protocol.
fn classify(error: &h2::Error) -> Failure {
    let refused = error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
    if refused || (error.is_remote() && error.is_go_away()) {
        Failure::Untouched
    } else if error.is_reset() {
        Failure::Final(Error::BadAnswer)
    } else {
        Failure::Lost
    }
}
