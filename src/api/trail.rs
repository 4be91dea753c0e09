//! What is remembered of a request on its way, for the audit and the quota. It outlives the walk,
//! which a deadline may end anywhere.

use std::sync::Arc;

use http::HeaderValue;
use jiff::Timestamp;
use tokio::time::Instant;

use super::error::{ApiError, ErrorCode};
use super::route::Route;
use crate::audit::{Audit, Decision, NotRecorded, Record, milliseconds};
use crate::auth::Caller;
use crate::limits::Admission;
use crate::lookup::{Answer, LookupError, Outcome};
use device::UeId;

/// How far a request came.
#[derive(Default)]
pub(super) struct Trail {
    /// Who asks, once the token told.
    pub(super) caller: Option<Arc<Caller>>,
    /// The request's part of the consumer's quota, once it was admitted.
    pub(super) admission: Option<Admission>,
    /// What lies behind the error, where that is more than its code.
    pub(super) reason: Option<&'static str>,
    /// The members of the answer that tell of the device.
    pub(super) fields: Vec<&'static str>,
    /// The id of the secret that a PPID was made with.
    pub(super) ppid_secret: Option<String>,
    subscription: Option<UeId>,
    exempt: bool,
}

impl Trail {
    /// Keeps what the audit needs of a lookup, and gives its answer.
    pub(super) fn follow(&mut self, outcome: Outcome) -> Result<Answer, LookupError> {
        self.subscription = outcome.subscription;
        self.exempt = outcome.exempt;
        outcome
            .answer
            .inspect_err(|error| self.reason = Some(error.label()))
    }

    /// Writes the line of the audit.
    pub(super) async fn record(
        &self,
        audit: &Audit,
        route: Route<'_>,
        correlator: &HeaderValue,
        code: Option<ErrorCode>,
        started: Instant,
    ) -> Result<(), NotRecorded> {
        let record = Record {
            time: Timestamp::now(),
            correlator: correlator.to_str().unwrap_or_default(),
            consumer: self.caller.as_ref().map(|caller| caller.consumer.as_str()),
            operation: route.operation.as_str(),
            version: route.served.version.as_str(),
            decision: match code {
                None => Decision::Disclosed,
                Some(code) if code.status().is_client_error() => Decision::Refused,
                Some(_) => Decision::Failed,
            },
            reason: match code {
                None => "OK",
                Some(code) => self.reason.unwrap_or(code.label()),
            },
            fields: if code.is_none() { &self.fields } else { &[] },
            subscriber: self
                .subscription
                .as_ref()
                .map(|ue_id| audit.pseudonym(ue_id)),
            ppid_secret: self.ppid_secret.as_deref(),
            consent_exempt: self.exempt,
            latency_ms: milliseconds(started.elapsed()),
        };
        audit.record(&record).await
    }

    /// Gives the quota back where the request was refused: 400, 401, 403 and 429 do not use it up.
    pub(super) fn settle(&mut self, error: Option<&ApiError>) {
        let refused = error
            .is_some_and(|error| matches!(error.code.status().as_u16(), 400 | 401 | 403 | 429));
        if let Some(admission) = self.admission.take().filter(|_| refused) {
            admission.give_back(Timestamp::now());
        }
    }
}
