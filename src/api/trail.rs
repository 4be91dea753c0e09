//! What is remembered of a request on its way, for the audit and the quota. It outlives the walk,
//! which a deadline may end anywhere.

use std::mem;
use std::sync::Arc;

use http::HeaderValue;
use jiff::Timestamp;
use tokio::time::Instant;

use super::error::{ApiError, ErrorCode};
use super::route::Route;
use crate::audit::{Audit, Decision, NotRecorded, Record, milliseconds};
use crate::auth::{Caller, Reason};
use crate::limits::Admission;
use crate::lookup::Progress;

/// How far a request came. One that is dropped before its decision was recorded is one whose client
/// has left, and its line says so.
pub(super) struct Trail<'a> {
    /// Who asks, once the token told.
    pub(super) caller: Option<Arc<Caller>>,
    /// The request's part of the consumer's quota, once it was admitted.
    pub(super) admission: Option<Admission>,
    /// What lies behind the error, where that is more than its code.
    pub(super) reason: Option<&'static str>,
    /// Why it is nobody who asks.
    pub(super) unauthenticated: Option<Reason>,
    /// The scope that the token lacks.
    pub(super) scope_missing: Option<&'static str>,
    /// The members of the answer that tell of the device.
    pub(super) fields: Vec<&'static str>,
    /// The id of the secret that a PPID was made with.
    pub(super) ppid_secret: Option<String>,
    /// How far the lookup came.
    pub(super) progress: Progress,
    correlator: HeaderValue,
    started: Instant,
    /// Where a decision is recorded; absent: it is not, or not any more.
    record: Option<(&'a Audit, Route<'a>)>,
}

/// The reason of a line that nobody was told anything of.
const CONNECTION_LOST: &str = "CONNECTION_LOST";

impl<'a> Trail<'a> {
    pub(super) fn begin(
        record: Option<(&'a Audit, Route<'a>)>,
        correlator: HeaderValue,
        started: Instant,
    ) -> Self {
        Self {
            caller: None,
            admission: None,
            reason: None,
            unauthenticated: None,
            scope_missing: None,
            fields: Vec::new(),
            ppid_secret: None,
            progress: Progress::default(),
            correlator,
            started,
            record,
        }
    }

    /// What the answer carries, once the decision is recorded.
    pub(super) fn take_correlator(&mut self) -> HeaderValue {
        mem::replace(&mut self.correlator, HeaderValue::from_static(""))
    }

    /// Whether a decision is still to be recorded.
    pub(super) fn is_recorded(&self) -> bool {
        self.record.is_some()
    }

    /// Writes the line of the audit, where there is one.
    pub(super) async fn record(&mut self, code: Option<ErrorCode>) -> Result<(), NotRecorded> {
        let Some((audit, route)) = self.record.take() else {
            return Ok(());
        };
        let decision = match code {
            None => Decision::Disclosed,
            Some(code) if code.status().is_client_error() => Decision::Refused,
            Some(_) => Decision::Failed,
        };
        let reason = match code {
            None => "OK",
            Some(code) => self.reason.unwrap_or(code.label()),
        };
        audit
            .record(&self.line(audit, route, decision, reason))
            .await
    }

    fn line(
        &self,
        audit: &Audit,
        route: Route<'_>,
        decision: Decision,
        reason: &'static str,
    ) -> Record<'_> {
        let disclosed = decision == Decision::Disclosed;
        let subscription = self.progress.subscription.as_ref();
        Record {
            time: Timestamp::now(),
            correlator: self.correlator.to_str().unwrap_or_default(),
            consumer: self.caller.as_ref().map(|caller| caller.consumer.as_str()),
            operation: route.operation.as_str(),
            version: route.served.version.as_str(),
            decision,
            reason,
            fields: if disclosed { &self.fields } else { &[] },
            subscriber: subscription.map(|ue_id| audit.pseudonym(ue_id)),
            ppid_secret: self.ppid_secret.as_deref(),
            consent_exempt: self.progress.exempt,
            latency_ms: milliseconds(self.started.elapsed()),
        }
    }

    /// Gives the quota back where the request was refused: 400, 401, 403 and 429 do not use it up.
    pub(super) fn settle(&mut self, error: Option<&ApiError>) {
        let refused = error
            .is_some_and(|error| matches!(error.code.status().as_u16(), 400 | 401 | 403 | 429));
        if let Some(admission) = self.admission.take().filter(|_| refused) {
            admission.give_back();
        }
    }
}

impl Drop for Trail<'_> {
    fn drop(&mut self) {
        if let Some((audit, route)) = self.record.take() {
            audit.record_soon(&self.line(audit, route, Decision::Abandoned, CONNECTION_LOST));
        }
    }
}
