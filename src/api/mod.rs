//! CAMARA: what API consumers see. HTTP requests in, answers or errors out.
//!
//! The order of checks is fixed (path, method, correlator, token, scope, rate, accept, content
//! type, body, identifiers, consent, core) and reads top down in [`Api::answer`]. What differs
//! between versions is data and stands in [`version`] on one screen; the rest reads it there and
//! names no version. 3GPP JSON is not known here.

mod accept;
mod answer;
mod body;
mod correlator;
mod device_json;
mod error;
mod json;
mod object;
mod operation;
mod provided;
mod refusal;
pub mod request_json;
mod route;
mod served;
mod trail;
mod version;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use jiff::Timestamp;
use tokio::time::Instant;
use trace::{Tracer, Value};

pub use error::{ApiError, ErrorCode};
pub use operation::Operation;
pub use provided::ProvidedIdentifier;
pub use version::{UnknownVersion, Version};

use crate::audit::Audit;
use crate::auth::{AuthError, Authenticator, Caller, KeptToken};
use crate::config::Config;
use crate::limits::{Consumer, Limiter};
use crate::lookup::{Answer, DeviceQuery, Lookup, LookupError, NamedBy, Question};
use crate::ppid::Ppids;
use crate::tac::TacTable;
use crate::telemetry::metrics::ApiMetrics;
use answer::Members;
use body::ReadBody;
use correlator::Correlator;
use request_json::{Asked, Request as Asking};
use route::{Route, correlator_form};
use served::Served;
use trail::Trail;
use version::{BodyForm, Rules, Several};

/// Seconds after which a request that found no room may be sent again.
const SHED_RETRY_AFTER: u32 = 1;

/// What a request that used up its own time still has for its record.
const RECORD_TIME: Duration = Duration::from_millis(200);

/// The API: everything that a request needs to be answered.
pub struct Api {
    parts: Parts,
    served: Vec<Served>,
    request_timeout: Duration,
    body_read_timeout: Duration,
}

/// What an API is made of.
pub struct Parts {
    /// Tells who asks.
    pub authenticator: Authenticator,
    /// How much each consumer may ask.
    pub limiter: Limiter,
    /// Asks the core.
    pub lookup: Lookup,
    /// Knows device types.
    pub tac_table: TacTable,
    /// Makes PPIDs; absent: there is no secret for them, and they cannot be asked for.
    pub ppids: Option<Ppids>,
    /// Decides which requests are traced.
    pub tracer: Tracer,
    /// Records decisions; absent: nobody wants them recorded.
    pub audit: Option<Audit>,
    /// Counts answers.
    pub metrics: Arc<ApiMetrics>,
}

/// What is known of a request before it is looked at.
struct Arrival<'a> {
    route: Result<Route<'a>, ApiError>,
    correlator: &'a Correlator,
    /// The token that is kept with its connection.
    kept_token: &'a KeptToken,
    deadline: Instant,
    now: Timestamp,
}

impl Api {
    /// The API as configured.
    pub fn new(config: &Config, parts: Parts) -> Self {
        let has_ppids = parts.ppids.is_some();
        let versions = config.api.versions.iter();
        let served = versions.map(|version| Served::new(*version, &config.api, has_ppids));
        Self {
            served: served.collect(),
            parts,
            request_timeout: config.api.request_timeout,
            body_read_timeout: config.api.body_read_timeout,
        }
    }

    /// Answers one request of a connection, as part of the trace that its consumer began or that we
    /// record.
    pub async fn handle(
        &self,
        parts: &http::request::Parts,
        body: &mut Incoming,
        kept_token: &KeptToken,
    ) -> Response<Full<Bytes>> {
        let Some(mut span) = self.parts.tracer.begin("request", &parts.headers) else {
            return self.answer_in_time(parts, body, kept_token).await;
        };
        if let Ok(route) = Route::of(parts.uri.path(), &self.served) {
            let version = Value::Word(route.served.version.as_str());
            span.set("pei_bridge.version", version);
            span.set(
                "pei_bridge.operation",
                Value::Word(route.operation.as_str()),
            );
        }
        // Boxed: the rare way must not make the common one large.
        let answered = Box::pin(self.answer_in_time(parts, body, kept_token));
        let response = span.around(answered).await;
        let status = response.status();
        let number = Value::Number(status.as_u16().into());
        span.set("http.response.status_code", number);
        if status.is_server_error() {
            span.fail();
        }
        response
    }

    /// Answers one request, whatever happens on the way: owns the deadline, the correlator, the
    /// count, the audit, and the last net below a bug of ours.
    async fn answer_in_time(
        &self,
        parts: &http::request::Parts,
        body: &mut Incoming,
        kept_token: &KeptToken,
    ) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let route = Route::of(parts.uri.path(), &self.served);
        let correlator = Correlator::of(&parts.headers, correlator_form(route.as_ref()));
        let deadline = started + self.request_timeout;
        let target = route.as_ref().ok().copied();
        let record = self.parts.audit.as_ref().zip(target);
        let mut trail = Trail::begin(record, correlator.echo(), started);
        let arrival = Arrival {
            route,
            correlator: &correlator,
            kept_token,
            deadline,
            now: Timestamp::now(),
        };
        let answered = {
            // Pinned where it is made: moving it would copy some kilobytes.
            let answer = pin!(self.answer(parts, body, arrival, &mut trail));
            let answer = AssertUnwindSafe(answer).catch_unwind();
            tokio::time::timeout_at(deadline, answer).await
        };
        let mut outcome = match answered {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => Err(ApiError::new(ErrorCode::Internal)),
            Err(_elapsed) => Err(ApiError::new(ErrorCode::Timeout)),
        };
        let code = outcome.as_ref().err().map(|error| error.code);
        if trail.is_recorded() {
            // A disk that hangs is one that cannot be written.
            let longest = deadline.max(Instant::now() + RECORD_TIME);
            outcome = match tokio::time::timeout_at(longest, trail.record(code)).await {
                Ok(Ok(())) => outcome,
                Ok(Err(_)) | Err(_) => Err(ApiError::unavailable(None)),
            };
        }
        trail.settle(outcome.as_ref().err());
        let correlator = trail.take_correlator();
        let mut response = self.respond(target, correlator, outcome, started.elapsed());
        let authenticator = &self.parts.authenticator;
        let challenge = match (response.status(), trail.scope_missing) {
            (StatusCode::UNAUTHORIZED, _) => authenticator.challenge(trail.unauthenticated),
            (StatusCode::FORBIDDEN, Some(scope)) => authenticator.scope_challenge(scope),
            _ => return response,
        };
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    }

    /// Answers a request that there is no room for.
    pub fn shed(&self, parts: &http::request::Parts) -> Response<Full<Bytes>> {
        let route = Route::of(parts.uri.path(), &self.served);
        let correlator = Correlator::of(&parts.headers, correlator_form(route.as_ref()));
        let outcome = Err(ApiError::unavailable(Some(SHED_RETRY_AFTER)));
        self.respond(route.ok(), correlator.echo(), outcome, Duration::ZERO)
    }

    /// Counts an outcome and writes it, with the correlator that every answer carries.
    fn respond(
        &self,
        route: Option<Route<'_>>,
        correlator: HeaderValue,
        outcome: Result<Response<Full<Bytes>>, ApiError>,
        took: Duration,
    ) -> Response<Full<Bytes>> {
        let target = route.map(|route| (route.served.version, route.operation));
        let code = outcome.as_ref().err().map(|error| error.code);
        self.parts.metrics.answered(target, code, took);
        tracing::debug!(
            version = target.map(|(version, _)| version.as_str()),
            operation = target.map(|(_, operation)| operation.as_str()),
            code = code.map(ErrorCode::label),
            "answered"
        );
        let mut response = outcome.unwrap_or_else(ApiError::into_response);
        if let Some(route) = route {
            route.served.mark(response.headers_mut());
        }
        response
            .headers_mut()
            .insert(correlator::HEADER, correlator);
        response
    }

    /// The walk of a request; each stage one call, the first error the answer.
    async fn answer(
        &self,
        parts: &http::request::Parts,
        body: &mut Incoming,
        arrival: Arrival<'_>,
        trail: &mut Trail<'_>,
    ) -> Result<Response<Full<Bytes>>, ApiError> {
        let Arrival { deadline, now, .. } = arrival;
        let (route, caller, consumer) = match self.admit(parts, arrival, trail).await {
            Ok(admitted) => admitted,
            Err(error) => {
                body::drain(body).await;
                return Err(error);
            }
        };
        let rules = route.rules();
        let parsing = trace::step("parse");
        let body = body::read(body, self.body_read_timeout).await;
        check_content_type(&parts.headers, &body, rules)?;
        let Asking { device, asked } =
            request_json::parse(route.served.version, route.operation, body.complete()?)?;
        let question = question(device, &caller, route)?;
        drop(parsing);
        let limiter = &self.parts.limiter;
        let refused = |refusal| refusal::of_limit(refusal, rules.codes);
        let may_ask = limiter.may_ask(&consumer, &question.query, now);
        may_ask.map_err(refused)?;
        let guess = match &asked {
            Asked::Match(provided) => {
                let guess = limiter.admit_guess(&consumer, &question.query, provided, now);
                Some(guess.map_err(refused)?)
            }
            Asked::Identifier | Asked::Type | Asked::Ppid => None,
        };
        let lookup = &self.parts.lookup;
        let progress = &mut trail.progress;
        let found = lookup
            .device(&question, asked.wanted(), &caller, deadline, progress)
            .await;
        let failed = found.is_err_and(LookupError::is_failure);
        // What a core that fails does not say tells of nobody, but for those who were passed over.
        let counted = if failed && trail.progress.passed_over.is_empty() {
            Ok(())
        } else {
            limiter.count(&consumer, &trail.progress, &question.query, now)
        };
        let answer = counted.map_err(refused).and_then(|()| {
            let found = found.inspect_err(|error| trail.reason = Some(error.label()));
            let device = found.map_err(|error| refusal::of_lookup(error, rules.codes))?;
            self.tell(asked, rules, &question, &caller, &device, trail)
        });
        if let Some(guess) = guess
            && answer.as_ref().is_ok_and(Members::is_mismatch)
        {
            guess.was_wrong();
        }
        let answer = answer?;
        if self.parts.audit.is_some() {
            trail.fields = answer.names();
        }
        answer.into_response()
    }

    /// What the consumer is told of a device that was found.
    fn tell<'a>(
        &'a self,
        asked: Asked,
        rules: &Rules,
        question: &'a Question,
        caller: &Caller,
        device: &Answer,
        trail: &mut Trail<'_>,
    ) -> Result<Members<'a>, ApiError> {
        let members = match asked {
            Asked::Identifier | Asked::Type => {
                let device_type = self.parts.tac_table.get(device.imei.tac());
                Members::described(device, device_type, rules.longest_name)
            }
            Asked::Ppid => {
                let ppids = self.parts.ppids.as_ref();
                let ppids = ppids.ok_or(ApiError::new(ErrorCode::Internal))?;
                let names = ppids.of(device.imei, &caller.consumer, Timestamp::now());
                if self.parts.audit.is_some() {
                    trail.ppid_secret = Some(names.secret_id.to_owned());
                }
                Members::ppid(device, names.current, names.previous)
            }
            Asked::Match(provided) => {
                let matches = provided.matches(device.imei, device.imeisv);
                let matches = matches.map_err(|provided::ImeisvUnknown| {
                    trail.reason = Some("NO_IMEISV");
                    ApiError::new(rules.codes.not_applicable)
                })?;
                Members::matches(device, matches)
            }
        };
        Ok(match rules.several {
            Several::FirstSupported => members.naming(device, &question.query),
            Several::Configurable(_) => members,
        })
    }

    /// The checks that need no body: who has no business here does not get to send one.
    async fn admit<'a>(
        &self,
        parts: &http::request::Parts,
        arrival: Arrival<'a>,
        trail: &mut Trail<'_>,
    ) -> Result<(Route<'a>, Arc<Caller>, Consumer), ApiError> {
        let Arrival {
            route,
            correlator,
            kept_token,
            deadline,
            now,
        } = arrival;
        let route = route?;
        if parts.method != Method::POST {
            return Err(ApiError::new(ErrorCode::MethodNotAllowed));
        }
        correlator.check()?;
        let caller = self.caller(parts, kept_token, trail, deadline).await?;
        let scope = route.operation.scope();
        if !caller.scopes.allows(scope) {
            trail.scope_missing = Some(scope);
            return Err(ApiError::new(ErrorCode::PermissionDenied));
        }
        let admission = self.parts.limiter.admit(&caller.consumer, now);
        let codes = route.rules().codes;
        let admission = admission.map_err(|refusal| refusal::of_limit(refusal, codes))?;
        let consumer = admission.consumer();
        trail.admission = Some(admission);
        accept::check(&parts.headers)?;
        Ok((route, caller, consumer))
    }

    /// Who asks, by the token.
    async fn caller(
        &self,
        parts: &http::request::Parts,
        kept_token: &KeptToken,
        trail: &mut Trail<'_>,
        deadline: Instant,
    ) -> Result<Arc<Caller>, ApiError> {
        let caller = {
            let authenticator = &self.parts.authenticator;
            let caller = pin!(authenticator.caller(parts, kept_token, deadline));
            trace::stage("authenticate", caller).await
        };
        let caller = caller.map_err(|error| match error {
            AuthError::Unauthenticated(reason) => {
                trail.reason = Some(reason.label());
                trail.unauthenticated = Some(reason);
                ApiError::new(ErrorCode::Unauthenticated)
            }
            AuthError::Unavailable(missing) => {
                trail.reason = Some(missing.label());
                ApiError::unavailable(None)
            }
            AuthError::DeadlinePassed => ApiError::new(ErrorCode::Timeout),
        })?;
        trail.caller = Some(caller.clone());
        Ok(caller)
    }

    /// What `/metrics` needs brought up to date before it is printed.
    pub fn record_sizes(&self) {
        self.parts.authenticator.record_sizes();
        self.parts.lookup.record_sizes();
        self.parts.limiter.record_sizes(Timestamp::now());
    }
}

/// Whose device is asked for, by the request or by the token.
fn question(
    device: Option<DeviceQuery>,
    caller: &Caller,
    route: Route<'_>,
) -> Result<Question, ApiError> {
    match (device, &caller.subject, route.rules().body) {
        (Some(_), Some(_), BodyForm::OptionalDevice) => {
            Err(ApiError::new(ErrorCode::UnnecessaryIdentifier))
        }
        (Some(query), _, _) => Ok(Question {
            query,
            named_by: NamedBy::Request(route.served.several),
        }),
        (None, Some(subject), _) => Ok(Question {
            query: subject.into(),
            named_by: NamedBy::Token,
        }),
        (None, None, _) => Err(ApiError::new(ErrorCode::MissingIdentifier)),
    }
}

/// No type and no body is left to the body's own check.
fn check_content_type(headers: &HeaderMap, body: &ReadBody, rules: &Rules) -> Result<(), ApiError> {
    let value = headers
        .get(http::header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes);
    let essence = value.and_then(|value| value.split(|byte| *byte == b';').next());
    match essence {
        Some(essence)
            if essence
                .trim_ascii()
                .eq_ignore_ascii_case(b"application/json") =>
        {
            Ok(())
        }
        None if body.is_empty() => Ok(()),
        _ => Err(ApiError::with_message(
            rules.codes.content_type,
            "The content type must be application/json",
        )),
    }
}
