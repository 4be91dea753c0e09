//! What a request to the core looks like: headers of TS 29.500 5.2, and paths with their
//! identifiers encoded.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use device::{MASK, UeId};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use trace::TraceContext;
use trace::context::{TRACEPARENT, TRACESTATE};

use super::date::sender_timestamp;
use super::pool::Wish;
use super::steps::{CallSteps, Shown};
use super::{Content, Error, Resource, ServiceName, Settings, Subject};

static MAX_RSP_TIME: HeaderName = HeaderName::from_static("3gpp-sbi-max-rsp-time");
static SENDER_TIMESTAMP: HeaderName = HeaderName::from_static("3gpp-sbi-sender-timestamp");
static CORRELATION_INFO: HeaderName = HeaderName::from_static("3gpp-sbi-correlation-info");
static ACCEPTED: HeaderValue =
    HeaderValue::from_static("application/json, application/problem+json");

/// The most that the five digits of `3gpp-Sbi-Max-Rsp-Time` can say, in milliseconds.
const MOST_RSP_TIME: u128 = 99_999;

/// One request, whichever instance it is sent to.
pub(super) struct Question<'a> {
    pub(super) service: ServiceName,
    pub(super) subject: Subject<'a>,
    pub(super) method: Method,
    pub(super) path: &'a PathAndQuery,
    pub(super) content: Option<&'a Content>,
    /// What it is about, where that was made by an instance, which is asked first.
    pub(super) resource: Option<&'a Resource>,
    /// Who sees what becomes of it.
    pub(super) observed: Observed<'a>,
}

/// Who sees what becomes of a request. Usually nobody.
#[derive(Clone, Copy, Default)]
pub(super) struct Observed<'a> {
    /// Whoever wires the bridge to the core.
    pub(super) steps: Option<&'a CallSteps>,
    /// The trace that it is part of.
    pub(super) trace: Option<&'a TraceContext>,
    /// Whether the answer is to say who gave it.
    pub(super) tells_producer: bool,
}

impl<'a> Question<'a> {
    /// A GET, which any instance of the service may answer that serves the subject.
    pub(super) fn get(service: ServiceName, subject: Subject<'a>, path: &'a PathAndQuery) -> Self {
        Self {
            service,
            subject,
            method: Method::GET,
            path,
            content: None,
            resource: None,
            observed: Observed::default(),
        }
    }

    /// What decides which instance is asked.
    pub(super) fn wish(&self, resource: Option<&'a Resource>) -> Wish<'a> {
        Wish {
            service: self.service,
            subject: self.subject,
            preferred: resource.and_then(Resource::root),
            may_probe: self.method.is_idempotent(),
        }
    }
}

/// What is different each time that a question is sent.
pub(super) struct Underway<'a> {
    pub(super) uri: Uri,
    /// For how long the answer is of use.
    pub(super) remaining: Duration,
    /// It is the first one on its connection: it brings the names of the headers that change all
    /// the time into the HPACK table, for the later ones to refer to. Their values have no place
    /// there: each would be searched for among all earlier ones.
    pub(super) introduces: bool,
    /// The access token.
    pub(super) authorization: Option<&'a HeaderValue>,
    /// What a proxy needs to know.
    pub(super) routing: Option<HeaderMap>,
}

/// What all requests of a client have in common.
#[derive(Debug)]
pub(super) struct Sender {
    user_agent: HeaderValue,
    correlation_info: bool,
}

impl Sender {
    /// Who we are to the core (TS 29.500 5.2.2.2: NF type, hyphen, anything).
    pub(super) fn new(settings: &Settings) -> Self {
        let name = format!("{}-{}", settings.nf_type, settings.nf_instance_id);
        Self {
            user_agent: HeaderValue::from_maybe_shared(Bytes::from(name))
                .unwrap_or(HeaderValue::from_static("NEF")),
            correlation_info: settings.correlation_info,
        }
    }

    /// The head of a request.
    pub(super) fn head(&self, question: &Question<'_>, underway: Underway<'_>) -> Request<()> {
        let Underway {
            uri,
            remaining,
            introduces,
            authorization,
            routing,
        } = underway;
        let milliseconds = u32::try_from(remaining.as_millis().min(MOST_RSP_TIME)).unwrap_or(0);
        let mut max_rsp_time = HeaderValue::from(milliseconds);
        max_rsp_time.set_sensitive(!introduces);
        let mut headers = routing.unwrap_or_else(|| HeaderMap::with_capacity(5));
        headers.insert(&USER_AGENT, self.user_agent.clone());
        headers.insert(&ACCEPT, ACCEPTED.clone());
        headers.insert(&MAX_RSP_TIME, max_rsp_time);
        if let Some(mut timestamp) = sender_timestamp(SystemTime::now()) {
            timestamp.set_sensitive(!introduces);
            headers.insert(&SENDER_TIMESTAMP, timestamp);
        }
        if self.correlation_info
            && let Some(ue) = question.subject.ue()
            && let Some(info) = correlation_info(ue)
        {
            headers.insert(&CORRELATION_INFO, info);
        }
        if let Some(content) = question.content {
            headers.insert(CONTENT_TYPE, content.kind());
        }
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(trace) = question.observed.trace {
            // Another one each time: no place for them in compression tables.
            let mut parent = trace.traceparent();
            parent.set_sensitive(true);
            headers.insert(&TRACEPARENT, parent);
            if let Some(mut state) = trace.state.clone() {
                state.set_sensitive(true);
                headers.insert(&TRACESTATE, state);
            }
        }
        let mut request = Request::new(());
        *request.method_mut() = question.method.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request
    }
}

/// The `3gpp-Sbi-Correlation-Info` of a subscription (TS 29.500 5.2.3.2.6): its identifier, where
/// the header can hold that. No table of HPACK gets it, on whichever hop (RFC 7541 7.1.3), and no
/// log shows it.
fn correlation_info(ue: &UeId) -> Option<HeaderValue> {
    let mut identifier = String::with_capacity(32);
    ue.reveal_into(&mut identifier);
    let may_be_told =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~@".contains(&byte);
    if !identifier.bytes().all(may_be_told) {
        return None;
    }
    let mut info = HeaderValue::from_maybe_shared(Bytes::from(identifier)).ok()?;
    info.set_sensitive(true);
    Some(info)
}

/// Everything but the unreserved characters of RFC 3986 2.3 is encoded.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Builds a path and query from the service name on. It holds identifiers: never log one.
#[derive(Clone)]
pub(crate) struct Path {
    text: String,
    /// Where identifiers stand in it.
    personal: [Range<usize>; MOST_PERSONAL],
}

/// The most identifiers that a path holds: an address and a port.
const MOST_PERSONAL: usize = 2;

impl Path {
    /// Begins with `literal`, which must be encoded already.
    pub(crate) fn new(literal: &str) -> Self {
        let mut text = String::with_capacity(128);
        text.push_str(literal);
        Self {
            text,
            personal: Default::default(),
        }
    }

    /// Adds what needs no encoding.
    pub(crate) fn literal(mut self, text: impl fmt::Display) -> Self {
        // A `String` takes everything.
        let _ = write!(self.text, "{text}");
        self
    }

    /// Adds an address or a part of one, which needs no encoding.
    pub(crate) fn address(self, text: impl fmt::Display) -> Self {
        let begin = self.text.len();
        self.literal(text).mark(begin)
    }

    /// Adds one path segment or query value, encoded as it is written.
    pub(crate) fn value(mut self, value: impl fmt::Display) -> Self {
        let _ = write!(Encoder(&mut self.text), "{value}");
        self
    }

    /// Adds an address, encoded as it is written.
    pub(crate) fn encoded_address(self, value: impl fmt::Display) -> Self {
        let begin = self.text.len();
        self.value(value).mark(begin)
    }

    /// Adds an identifier as one path segment.
    pub(crate) fn identifier(mut self, ue: &UeId) -> Self {
        let begin = self.text.len();
        ue.reveal_into(&mut self.text);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !self.text.bytes().skip(begin).all(is_plain) {
            let identifier = self.text.split_off(begin);
            self.text
                .extend(percent_encode(identifier.as_bytes(), RESERVED));
        }
        // What stands before the hyphen is the kind.
        let kind = self.text.bytes().skip(begin).position(|byte| byte == b'-');
        self.mark(kind.map_or(begin, |hyphen| begin + hyphen + 1))
    }

    /// What stands from `begin` on is personal.
    fn mark(mut self, begin: usize) -> Self {
        let end = self.text.len();
        let [first, second] = &mut self.personal;
        if first.start == first.end {
            *first = begin..end;
        } else if second.start == second.end {
            *second = begin..end;
        } else {
            // Rather too much than too little.
            second.end = end;
        }
        self
    }

    /// The path for whoever wires the bridge to the core.
    pub(super) fn shown(&self) -> Shown {
        let mut masked = self.text.clone();
        for range in self.personal.iter().rev() {
            if range.start < range.end {
                masked.replace_range(range.clone(), MASK);
            }
        }
        Shown::of(masked, self.text.clone())
    }

    /// The whole; an error only when it is longer than a URI can be, which only a value that the
    /// core itself gave can make it.
    pub(crate) fn build(self) -> Result<PathAndQuery, Error> {
        PathAndQuery::from_maybe_shared(Bytes::from(self.text)).map_err(|_| Error::BadAnswer)
    }
}

/// One value of a form, encoded.
pub(super) fn encode(value: &str) -> impl Iterator<Item = &str> {
    percent_encode(value.as_bytes(), RESERVED)
}

struct Encoder<'a>(&'a mut String);

impl fmt::Write for Encoder<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend(percent_encode(text.as_bytes(), RESERVED));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(settings: &Settings, subject: Subject<'_>) -> HeaderMap {
        let path = PathAndQuery::from_static("/x");
        let underway = Underway {
            uri: Uri::from_static("http://udm:80/x"),
            remaining: Duration::from_hours(1),
            introduces: true,
            authorization: None,
            routing: None,
        };
        let question = Question::get(ServiceName::NudmUecm, subject, &path);
        let request = Sender::new(settings).head(&question, underway);
        request.headers().clone()
    }

    fn settings() -> Settings {
        Settings {
            nf_instance_id: uuid::Uuid::nil(),
            ..Settings::default()
        }
    }

    #[test]
    fn who_is_asked_about_is_told_where_the_header_can_hold_it_and_it_is_wanted() {
        static NAME: &str = "3gpp-sbi-correlation-info";
        for (identifier, told) in [
            ("imsi-001010000000001", true),
            ("nai-user@example.com", true),
            ("nai-us/er@example.com", false),
        ] {
            let ue = UeId::from(device::Supi::parse(identifier).unwrap());
            let headers = head(&settings(), Subject::Ue(&ue));
            let info = headers.get(NAME);
            assert_eq!(
                info.map(HeaderValue::as_bytes),
                told.then_some(identifier.as_bytes())
            );
            // Even on the request that brings other names into the table.
            assert!(info.is_none_or(HeaderValue::is_sensitive));
            assert!(!format!("{headers:?}").contains(identifier));
            let silent = Settings {
                correlation_info: false,
                ..settings()
            };
            assert!(!head(&silent, Subject::Ue(&ue)).contains_key(NAME));
        }
    }

    #[test]
    fn the_user_agent_begins_with_what_we_are() {
        let settings = Settings {
            nf_type: "AF".to_owned(),
            ..settings()
        };
        let headers = head(&settings, Subject::Anybody);
        assert_eq!(
            headers["user-agent"],
            "AF-00000000-0000-0000-0000-000000000000"
        );
    }

    #[test]
    fn every_header_is_there_once() {
        let headers = head(&settings(), Subject::Anybody);
        assert_eq!(headers.len(), 4);
        assert_eq!(
            headers["user-agent"],
            "NEF-00000000-0000-0000-0000-000000000000"
        );
        assert_eq!(
            headers["accept"],
            "application/json, application/problem+json"
        );
        assert_eq!(headers["3gpp-sbi-max-rsp-time"], "99999");
        assert_eq!(headers["3gpp-sbi-sender-timestamp"].len(), 33);
    }

    #[test]
    fn identifiers_are_encoded_where_they_have_to_be() {
        for (identifier, encoded) in [
            ("imsi-001010000000001", "/imsi-001010000000001"),
            ("nai-a/b@c", "/nai-a%2Fb%40c"),
        ] {
            let ue = UeId::from(device::Supi::parse(identifier).unwrap());
            assert_eq!(Path::new("/").identifier(&ue).build().unwrap(), encoded);
        }
    }

    #[test]
    fn a_path_is_shown_without_identifiers() {
        let ue = UeId::from(device::Supi::parse("imsi-001010000000001").unwrap());
        for (path, shown) in [
            (
                Path::new("/nudm-uecm/v1/")
                    .identifier(&ue)
                    .literal("/x?a=b"),
                "/nudm-uecm/v1/imsi-***/x?a=b",
            ),
            (
                Path::new("/a?ip=")
                    .address("10.45.0.1")
                    .literal("&port=")
                    .address(59765),
                "/a?ip=***&port=***",
            ),
            (
                Path::new("/a?n6=")
                    .encoded_address("{10.45.0.1}")
                    .literal("&d=")
                    .value("nat a"),
                "/a?n6=***&d=nat%20a",
            ),
        ] {
            assert_eq!(path.shown().to_string(), shown);
            assert_eq!(path.shown().reveal(), path.build().unwrap().as_str());
        }
    }

    #[test]
    fn values_are_encoded_and_literals_are_not() {
        let path = Path::new("/a/")
            .value("extid-x/y@z é?")
            .literal("/b?c=")
            .value("d&e")
            .build();
        assert_eq!(path.unwrap(), "/a/extid-x%2Fy%40z%20%C3%A9%3F/b?c=d%26e");
        assert!(Path::new("/").value("x".repeat(70_000)).build().is_err());
    }
}
