//! CAMARA: what API consumers see. HTTP requests in, answers or errors out.
//!
//! The order of checks is fixed (path, method, correlator, accept, content type, body,
//! identifiers, core) and reads top down in [`Api::answer`]. What differs between versions stands
//! in one file for each, [`v0_1_0`] and its successors; what is common stands here. 3GPP JSON is
//! not known here.

mod accept;
mod answer;
mod body;
mod correlator;
pub mod device_json;
mod error;
mod route;
mod v0_1_0;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;

pub use error::{ApiError, ErrorCode};
pub use route::{Operation, Version};

use crate::config::{Config, MultipleIdentifiers};
use crate::lookup::{Lookup, SeveralIdentifiers};
use crate::tac::TacTable;
use crate::telemetry::metrics::ApiMetrics;
use body::ReadBody;
use correlator::Correlator;
use route::Route;

/// Seconds after which a request that found no room may be sent again.
const SHED_RETRY_AFTER: u32 = 1;

/// The API: everything that a request needs to be answered.
pub struct Api {
    lookup: Lookup,
    tac_table: TacTable,
    versions: Vec<Version>,
    several: SeveralIdentifiers,
    request_timeout: Duration,
    body_read_timeout: Duration,
    metrics: Arc<ApiMetrics>,
}

impl Api {
    /// The API as configured, over this lookup and this table of device types.
    pub fn new(
        config: &Config,
        lookup: Lookup,
        tac_table: TacTable,
        metrics: Arc<ApiMetrics>,
    ) -> Self {
        let several = match config.api.multiple_identifiers {
            MultipleIdentifiers::Default => v0_1_0::SEVERAL_IDENTIFIERS,
            MultipleIdentifiers::First => SeveralIdentifiers::First,
            MultipleIdentifiers::Reject => SeveralIdentifiers::MustAgree,
        };
        Self {
            lookup,
            tac_table,
            versions: config.api.versions.clone(),
            several,
            request_timeout: config.api.request_timeout,
            body_read_timeout: config.api.body_read_timeout,
            metrics,
        }
    }

    /// Answers one request, whatever happens on the way: owns the deadline, the correlator, the
    /// count, and the last net below a bug of ours.
    pub async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let route = Route::of(request.uri().path(), &self.versions);
        let correlator = Correlator::of(request.headers(), route.as_ref().ok());
        let deadline = started + self.request_timeout;
        let answer = AssertUnwindSafe(self.answer(request, route, &correlator, deadline));
        let outcome = match tokio::time::timeout_at(deadline, answer.catch_unwind()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => Err(ApiError::new(ErrorCode::Internal)),
            Err(_elapsed) => Err(ApiError::new(ErrorCode::Timeout)),
        };
        self.respond(route, correlator, outcome, started.elapsed())
    }

    /// Answers a request that there is no room for.
    pub fn shed(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let route = Route::of(request.uri().path(), &self.versions);
        let correlator = Correlator::of(request.headers(), route.as_ref().ok());
        let outcome = Err(ApiError::unavailable(Some(SHED_RETRY_AFTER)));
        self.respond(route, correlator, outcome, Duration::ZERO)
    }

    /// Counts an outcome and writes it, with the correlator that every answer carries.
    fn respond(
        &self,
        route: Result<Route, ApiError>,
        correlator: Correlator,
        outcome: Result<Response<Full<Bytes>>, ApiError>,
        took: Duration,
    ) -> Response<Full<Bytes>> {
        let target = route.ok().map(|route| (route.version, route.operation));
        let code = outcome.as_ref().err().map(|error| error.code);
        self.metrics.answered(target, code, took);
        tracing::debug!(
            operation = target.map(|(_, operation)| operation.as_str()),
            code = code.map(ErrorCode::label),
            "answered"
        );
        let mut response = outcome.unwrap_or_else(ApiError::into_response);
        response
            .headers_mut()
            .insert(correlator::HEADER, correlator.echo());
        response
    }

    /// The walk of a request; each stage one call, the first error the answer.
    async fn answer(
        &self,
        request: Request<Incoming>,
        route: Result<Route, ApiError>,
        correlator: &Correlator,
        deadline: Instant,
    ) -> Result<Response<Full<Bytes>>, ApiError> {
        let (parts, body) = request.into_parts();
        // Read before anything is judged: an answer to a client that is still sending is lost
        // when the connection closes under it.
        let body = body::read(body, Instant::now() + self.body_read_timeout).await;
        let route = route?;
        if parts.method != Method::POST {
            return Err(ApiError::new(ErrorCode::MethodNotAllowed));
        }
        correlator.check()?;
        accept::check(&parts.headers)?;
        check_content_type(&parts.headers, &body)?;
        let query = device_json::parse(body.complete()?)?;
        let device = self
            .lookup
            .device(&query, self.several, deadline)
            .await
            .map_err(v0_1_0::lookup_error)?;
        let device_type = self.tac_table.get(device.imei.tac());
        answer::write(route.operation, &device, device_type)
    }

    /// What `/metrics` needs brought up to date before it is printed.
    pub fn record_sizes(&self) {
        self.lookup.record_sizes();
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
