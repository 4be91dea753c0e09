//! CAMARA: what API consumers see. HTTP requests in, answers or errors out.
//!
//! The order of checks is fixed (path, method, correlator, token, scope, rate, accept, content
//! type, body, identifiers, consent, core) and reads top down in [`Api::answer`]. What differs
//! between versions stands in one file for each, [`v0_1_0`] and its successors; what is common
//! stands here. 3GPP JSON is not known here.

mod accept;
mod answer;
mod body;
mod correlator;
pub mod device_json;
mod error;
mod route;
mod trail;
mod v0_1_0;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use jiff::Timestamp;
use tokio::time::Instant;
use trace::{Tracer, Value};

pub use error::{ApiError, ErrorCode};
pub use route::{Operation, Version};

use crate::audit::Audit;
use crate::auth::{AuthError, Authenticator, Caller};
use crate::config::{Config, MultipleIdentifiers};
use crate::limits::{Consumer, Limiter};
use crate::lookup::{Lookup, LookupError, SeveralIdentifiers};
use crate::tac::TacTable;
use crate::telemetry::metrics::ApiMetrics;
use body::ReadBody;
use correlator::Correlator;
use route::Route;
use trail::Trail;

/// Seconds after which a request that found no room may be sent again.
const SHED_RETRY_AFTER: u32 = 1;

/// What a request that used up its own time still has for its record.
const RECORD_TIME: Duration = Duration::from_millis(200);

/// The API: everything that a request needs to be answered.
pub struct Api {
    parts: Parts,
    versions: Vec<Version>,
    several: SeveralIdentifiers,
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
    /// Decides which requests are traced.
    pub tracer: Tracer,
    /// Records decisions; absent: nobody wants them recorded.
    pub audit: Option<Audit>,
    /// Counts answers.
    pub metrics: Arc<ApiMetrics>,
}

impl Api {
    /// The API as configured.
    pub fn new(config: &Config, parts: Parts) -> Self {
        let several = match config.api.multiple_identifiers {
            MultipleIdentifiers::Default => v0_1_0::SEVERAL_IDENTIFIERS,
            MultipleIdentifiers::First => SeveralIdentifiers::First,
            MultipleIdentifiers::Reject => SeveralIdentifiers::MustAgree,
        };
        Self {
            parts,
            versions: config.api.versions.clone(),
            several,
            request_timeout: config.api.request_timeout,
            body_read_timeout: config.api.body_read_timeout,
        }
    }

    /// Answers one request, as part of the trace that its consumer began or that we record.
    pub async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Some(mut span) = self.parts.tracer.begin("request", request.headers()) else {
            return self.answer_in_time(request).await;
        };
        if let Ok(route) = Route::of(request.uri().path(), &self.versions) {
            span.set("pei_bridge.version", Value::Word(route.version.as_str()));
            span.set(
                "pei_bridge.operation",
                Value::Word(route.operation.as_str()),
            );
        }
        // Boxed: the rare way must not make the common one large.
        let response = span.around(Box::pin(self.answer_in_time(request))).await;
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
    async fn answer_in_time(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let route = Route::of(request.uri().path(), &self.versions);
        let correlator = Correlator::of(request.headers(), route.as_ref().ok());
        let deadline = started + self.request_timeout;
        let audit = self.parts.audit.as_ref();
        let record = audit.zip(route.as_ref().ok().copied());
        let mut trail = Trail::begin(record, correlator.echo(), started);
        let answer = self.answer(request, route, &correlator, &mut trail, deadline);
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let mut outcome = match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => Err(ApiError::new(ErrorCode::Internal)),
            Err(_elapsed) => Err(ApiError::new(ErrorCode::Timeout)),
        };
        let code = outcome.as_ref().err().map(|error| error.code);
        // A disk that hangs is one that cannot be written.
        let longest = deadline.max(Instant::now() + RECORD_TIME);
        outcome = match tokio::time::timeout_at(longest, trail.record(code)).await {
            Ok(Ok(())) => outcome,
            Ok(Err(_)) | Err(_) => Err(ApiError::unavailable(None)),
        };
        trail.settle(outcome.as_ref().err());
        let correlator = trail.correlator();
        let mut response = self.respond(route.ok(), correlator, outcome, started.elapsed());
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = self.parts.authenticator.challenge(trail.unauthenticated);
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }

    /// Answers a request that there is no room for.
    pub fn shed(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let route = Route::of(request.uri().path(), &self.versions);
        let correlator = Correlator::of(request.headers(), route.as_ref().ok());
        let outcome = Err(ApiError::unavailable(Some(SHED_RETRY_AFTER)));
        self.respond(route.ok(), correlator.echo(), outcome, Duration::ZERO)
    }

    /// Counts an outcome and writes it, with the correlator that every answer carries.
    fn respond(
        &self,
        route: Option<Route>,
        correlator: HeaderValue,
        outcome: Result<Response<Full<Bytes>>, ApiError>,
        took: Duration,
    ) -> Response<Full<Bytes>> {
        let target = route.map(|route| (route.version, route.operation));
        let code = outcome.as_ref().err().map(|error| error.code);
        self.parts.metrics.answered(target, code, took);
        tracing::debug!(
            operation = target.map(|(_, operation)| operation.as_str()),
            code = code.map(ErrorCode::label),
            "answered"
        );
        let mut response = outcome.unwrap_or_else(ApiError::into_response);
        response
            .headers_mut()
            .insert(correlator::HEADER, correlator);
        response
    }

    /// The walk of a request; each stage one call, the first error the answer.
    async fn answer(
        &self,
        request: Request<Incoming>,
        route: Result<Route, ApiError>,
        correlator: &Correlator,
        trail: &mut Trail<'_>,
        deadline: Instant,
    ) -> Result<Response<Full<Bytes>>, ApiError> {
        let (parts, body) = request.into_parts();
        let admitted = self.admit(&parts, route, correlator, trail, deadline).await;
        let (route, caller, consumer) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                body::drain(body).await;
                return Err(error);
            }
        };
        let now = Timestamp::now();
        let parsing = trace::step("parse");
        let body = body::read(body, Instant::now() + self.body_read_timeout).await;
        check_content_type(&parts.headers, &body)?;
        let query = device_json::parse(body.complete()?)?;
        drop(parsing);
        let limiter = &self.parts.limiter;
        let may_ask = limiter.may_ask(&consumer, &query, now);
        may_ask.map_err(v0_1_0::limit_error)?;
        let wanted = route.operation.wanted();
        let lookup = &self.parts.lookup;
        let found = lookup
            .device(
                &query,
                self.several,
                wanted,
                &caller,
                deadline,
                &mut trail.progress,
            )
            .await;
        // What a core that fails does not say tells of nobody.
        if !found.is_err_and(LookupError::is_failure) {
            let subscription = trail.progress.subscription.as_ref();
            let counted = limiter.count(&consumer, subscription, &query, now);
            counted.map_err(v0_1_0::limit_error)?;
        }
        let device = found
            .inspect_err(|error| trail.reason = Some(error.label()))
            .map_err(v0_1_0::lookup_error)?;
        let device_type = self.parts.tac_table.get(device.imei.tac());
        let answer = answer::Members::new(route.operation, &device, device_type);
        if self.parts.audit.is_some() {
            trail.fields = answer.names();
        }
        answer.into_response()
    }

    /// The checks that need no body: who has no business here does not get to send one.
    async fn admit(
        &self,
        parts: &http::request::Parts,
        route: Result<Route, ApiError>,
        correlator: &Correlator,
        trail: &mut Trail<'_>,
        deadline: Instant,
    ) -> Result<(Route, Arc<Caller>, Consumer), ApiError> {
        let route = route?;
        if parts.method != Method::POST {
            return Err(ApiError::new(ErrorCode::MethodNotAllowed));
        }
        correlator.check()?;
        let caller = self.caller(parts, trail, deadline).await?;
        if !caller.scopes.allows(route.operation.scope()) {
            return Err(ApiError::new(ErrorCode::PermissionDenied));
        }
        let admission = self.parts.limiter.admit(&caller.consumer, Timestamp::now());
        let admission = admission.map_err(v0_1_0::limit_error)?;
        let consumer = admission.consumer();
        trail.admission = Some(admission);
        accept::check(&parts.headers)?;
        Ok((route, caller, consumer))
    }

    /// Who asks, by the token.
    async fn caller(
        &self,
        parts: &http::request::Parts,
        trail: &mut Trail<'_>,
        deadline: Instant,
    ) -> Result<Arc<Caller>, ApiError> {
        let caller = self.parts.authenticator.caller(parts, deadline);
        let caller = trace::stage("authenticate", caller).await;
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

/// v0.1.0 knows no 415: another type is an invalid argument there. No type and no body is left to
/// the body's own check.
fn check_content_type(headers: &HeaderMap, body: &ReadBody) -> Result<(), ApiError> {
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
        _ => Err(ApiError::invalid(
            "The content type must be application/json",
        )),
    }
}
