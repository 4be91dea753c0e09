//! What an answer of the core looks like: a bounded body, its type, problem details, and the
//! headers that are read.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;

use super::{ApiRoot, Error, Producer, Resource, Route, Scp, Text, date};

/// What an SCP says that discovers for us and found nobody who fits.
pub(crate) const NOT_DISCOVERED: &str = "NF_DISCOVERY_FAILURE";

/// A complete answer with any status.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// What was made, where something was.
    created: Option<Box<Resource>>,
    /// Who gave it, where that was asked for.
    producer: Option<Box<Producer>>,
}

impl Answer {
    /// Reads the body of a response whose head is here, at most `most` bytes of it.
    ///
    /// No window capacity is released on the way: `most` is below the stream's window, and h2 gives
    /// the connection's back when the stream is dropped.
    pub(super) async fn read(head: http::Response<RecvStream>, most: usize) -> Result<Self, Error> {
        let (parts, mut stream) = head.into_parts();
        let mut body = Bytes::new();
        let mut rest: Option<BytesMut> = None;
        while !stream.is_end_stream() {
            let Some(chunk) = stream.data().await else {
                break;
            };
            let chunk = chunk.map_err(|_| Error::BadAnswer)?;
            let so_far = rest.as_ref().map_or(body.len(), BytesMut::len);
            if so_far + chunk.len() > most {
                return Err(Error::BadAnswer);
            }
            // Nearly every body is one frame, which is kept as it came.
            match &mut rest {
                Some(rest) => rest.extend_from_slice(&chunk),
                None if body.is_empty() => body = chunk,
                None => {
                    let mut joined = BytesMut::with_capacity(2 * (so_far + chunk.len()));
                    joined.extend_from_slice(&body);
                    joined.extend_from_slice(&chunk);
                    rest = Some(joined);
                }
            }
        }
        Ok(Self {
            status: parts.status,
            headers: parts.headers,
            body: rest.map_or(body, BytesMut::freeze),
            created: None,
            producer: None,
        })
    }

    /// Resolves the `location` of what was made by the instance at `root`, which a proxy stands in
    /// front of or not.
    pub(super) fn locate(&mut self, root: &ApiRoot, route: &Route) {
        let created = match route {
            Route::Direct => {
                let location = self.headers.get(LOCATION);
                location.and_then(|location| Resource::resolve(location, root))
            }
            Route::Proxy(_) => Resource::proxied(&self.headers, Some(root)),
            Route::Delegated(..) => Resource::proxied(&self.headers, None),
        };
        self.created = created.map(Box::new);
    }

    /// What the answer redirects to, if that is at `root`.
    pub(super) fn redirection(&self, root: &ApiRoot) -> Option<Resource> {
        Resource::within(self.headers.get(LOCATION)?, root)
    }

    /// What the answer to a request for `path` redirects to, for a proxy to go there.
    pub(super) fn redirection_by(&self, scp: &Scp, path: &PathAndQuery) -> Option<Resource> {
        let there = Resource::moved(self.headers.get(LOCATION)?, path)?;
        // Another proxy chooses by itself, as the first one would have.
        let is_proxy = there.root().is_some_and(|root| scp.is_at(root));
        Some(if is_proxy { there.of_anybody() } else { there })
    }

    /// The resource that was made (201), where the core says where it is.
    pub(crate) fn created(&self) -> Option<&Resource> {
        self.created.as_deref()
    }

    /// Notes who gave it.
    pub(super) fn given_by(&mut self, producer: Producer) {
        self.producer = Some(Box::new(producer));
    }

    /// Who gave it, where the operation tells that.
    pub(crate) fn producer(&self) -> Option<&Producer> {
        self.producer.as_deref()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body as JSON. A missing content type is forgiven, another one than JSON is not.
    pub(crate) fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        if let Some(value) = self.headers.get(CONTENT_TYPE) {
            let kind = value.to_str().map_err(|_| Error::BadAnswer)?;
            let kind = kind.split_once(';').map_or(kind, |(kind, _)| kind).trim();
            if !kind.eq_ignore_ascii_case("application/json") {
                return Err(Error::BadAnswer);
            }
        }
        from_json(&self.body)
    }

    /// The cause in the problem details (TS 29.571 5.2.4.1), where there is one. Only for
    /// comparison: the peer may write anything into it.
    pub(crate) fn cause(&self) -> Option<Text<'_>> {
        cause(&self.body)
    }

    /// What an answer means that the operation has no meaning of its own for.
    pub(crate) fn failure(&self) -> Error {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Error::Overloaded {
                retry_after: self.retry_after(),
            },
            // An SCP that discovers for us found nobody who fits (TS 29.500 5.2.7.2).
            StatusCode::BAD_REQUEST if self.cause().as_deref() == Some(NOT_DISCOVERED) => {
                Error::Unreachable
            }
            status if status.is_redirection() || status.is_client_error() => Error::Refused {
                status: status.as_u16(),
            },
            _ => Error::BadAnswer,
        }
    }

    /// Seconds until the core wants to be asked again: a number or a date (RFC 9110 10.2.3).
    pub(super) fn retry_after(&self) -> Option<u32> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(text.parse().unwrap_or(u32::MAX));
        }
        let wait = httpdate::parse_http_date(text)
            .ok()?
            .duration_since(SystemTime::now());
        // A time that has come is no reason to wait; a part of a second is a second.
        let wait = wait.unwrap_or(Duration::ZERO);
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// The core's own time of the answer, in whole seconds.
    pub(crate) fn date(&self) -> Option<Timestamp> {
        date::timestamp(self.headers.get(DATE)?)
    }

    /// For how long the answer may be kept (RFC 9111 5.2.2); `None` where the core does not say.
    pub(crate) fn max_age(&self) -> Option<Duration> {
        let mut least = None;
        for value in self.headers.get_all(CACHE_CONTROL) {
            let Ok(text) = value.to_str() else { continue };
            for directive in text.split(',').filter_map(lifetime) {
                least = Some(least.map_or(directive, |so_far: Duration| so_far.min(directive)));
            }
        }
        least
    }
}

/// The lifetime that one directive of `cache-control` grants, if it is about that.
fn lifetime(directive: &str) -> Option<Duration> {
    let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
    let name = name.trim();
    if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
        return Some(Duration::ZERO);
    }
    if !name.eq_ignore_ascii_case("max-age") {
        return None;
    }
    // One that cannot be read is stale (RFC 9111 4.2.1); one beyond 32 bits is as good as for ever.
    let digits = value.trim().trim_matches('"');
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = if valid {
        digits.parse().unwrap_or(u32::MAX)
    } else {
        0
    };
    Some(Duration::from_secs(seconds.into()))
}

/// Reads JSON whose members, as far as they are read, have the form that `T` gives them.
pub(crate) fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    // JSON is UTF-8 (RFC 8259 8.1), and looking at the whole of it once is cheaper than at each
    // string.
    let text = str::from_utf8(body).map_err(|_| Error::BadAnswer)?;
    serde_json::from_str(text).map_err(|_| Error::BadAnswer)
}

#[derive(Deserialize)]
struct Problem<'a> {
    #[serde(borrow)]
    cause: Option<Text<'a>>,
}

/// Problem details are a help, not a promise: whatever cannot be read has no cause.
fn cause(body: &[u8]) -> Option<Text<'_>> {
    let problem: Problem<'_> = serde_json::from_slice(body).ok()?;
    problem.cause.filter(|cause| !cause.is_empty())
}

/// A cause as it may be logged: one that looks like a cause of 3GPP. Anything else could be a text
/// with an identifier in it, and so could a long number.
pub(super) fn loggable(cause: &str) -> Option<&str> {
    const MOST_CHARACTERS: usize = 64;
    const MOST_DIGITS: usize = 4;
    let mut digits = 0;
    let plain = cause.bytes().all(|byte| {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        digits <= MOST_DIGITS && matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_')
    });
    (plain && !cause.is_empty() && cause.len() <= MOST_CHARACTERS).then_some(cause)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn answer(status: u16, header: Option<(&'static str, &str)>, body: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        Answer {
            status,
            headers,
            body: Bytes::from_static(body.as_bytes()),
            created: None,
            producer: None,
        }
    }

    #[test]
    fn each_status_without_a_meaning_of_its_own_has_its_error() {
        let overloaded = Error::Overloaded { retry_after: None };
        for (status, error) in [
            (200, Error::BadAnswer),
            (206, Error::BadAnswer),
            (307, Error::Refused { status: 307 }),
            (400, Error::Refused { status: 400 }),
            (401, Error::Refused { status: 401 }),
            (429, overloaded),
            (500, Error::BadAnswer),
            (501, Error::BadAnswer),
            (502, Error::BadAnswer),
            (503, overloaded),
            (504, Error::BadAnswer),
            (599, Error::BadAnswer),
        ] {
            assert_eq!(answer(status, None, "").failure(), error, "{status}");
        }
    }

    #[test]
    fn whom_an_scp_does_not_find_is_not_there() {
        let nobody = r#"{"status":400,"cause":"NF_DISCOVERY_FAILURE"}"#;
        assert_eq!(answer(400, None, nobody).failure(), Error::Unreachable);
        assert_eq!(
            answer(403, None, nobody).failure(),
            Error::Refused { status: 403 }
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("99999999999", Some(u32::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
        ] {
            assert_eq!(
                answer(503, Some(("retry-after", value)), "").retry_after(),
                seconds
            );
        }
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
        let seconds = answer(503, Some(("retry-after", &later)), "")
            .retry_after()
            .unwrap();
        assert!((29..=30).contains(&seconds), "{seconds}");
    }

    #[test]
    fn cache_control_gives_the_shortest_lifetime() {
        for (value, seconds) in [
            ("max-age=60", Some(60)),
            ("private, Max-Age=\"5\"", Some(5)),
            ("max-age=60, no-cache", Some(0)),
            ("no-store", Some(0)),
            ("max-age=x", Some(0)),
            ("max-age=99999999999", Some(u64::from(u32::MAX))),
            ("must-revalidate", None),
            ("", None),
        ] {
            let age = answer(200, Some(("cache-control", value)), "").max_age();
            assert_eq!(age, seconds.map(Duration::from_secs), "{value}");
        }
        assert_eq!(answer(200, None, "").max_age(), None);
    }

    #[test]
    fn only_json_is_read_as_json() {
        for (kind, fits) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", false),
            ("text/html", false),
            ("", false),
        ] {
            let answer = answer(200, Some(("content-type", kind)), "{}");
            assert_eq!(answer.json::<Problem<'_>>().is_ok(), fits, "{kind}");
        }
        assert!(answer(200, None, "{}").json::<Problem<'_>>().is_ok());
    }

    #[test]
    fn a_cause_is_found_where_there_is_one() {
        for (body, expected) in [
            (
                r#"{"status":404,"cause":"USER_NOT_FOUND"}"#,
                Some("USER_NOT_FOUND"),
            ),
            (r#"{"cause":"A\u005fB"}"#, Some("A_B")),
            (r#"{"cause":""}"#, None),
            (r#"{"cause":null}"#, None),
            (r#"{"cause":7}"#, None),
            (r#"{"title":"x"}"#, None),
            ("[]", None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(cause(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn only_what_looks_like_a_cause_is_logged() {
        for (cause, fits) in [
            ("MODIFICATION_NOT_ALLOWED", true),
            ("ERROR_4711", true),
            ("A12345", false),
            ("imsi-001010000000001", false),
            ("user not found", false),
            ("", false),
        ] {
            assert_eq!(loggable(cause).is_some(), fits, "{cause}");
        }
        assert!(loggable(&"A".repeat(64)).is_some());
        assert!(loggable(&"A".repeat(65)).is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_problem_is_read_without_a_panic(body: Vec<u8>) {
            let _ = cause(&body);
        }

        #[test]
        fn any_header_is_read_without_a_panic(text in "[ -~]{0,40}") {
            let _ = answer(200, Some(("cache-control", &text)), "").max_age();
            let _ = answer(200, Some(("retry-after", &text)), "").retry_after();
            let _ = answer(200, Some(("date", &text)), "").date();
        }
    }
}
