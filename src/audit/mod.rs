//! The audit: one JSON line for each decision, to a sink of its own.
//!
//! Says who asked for what, what was decided and why, and which fields were disclosed. Names the
//! subscriber by pseudonym, never by number. [`sink`] writes the lines.

mod sink;

use std::time::Duration;

use device::UeId;
use jiff::Timestamp;
use prometheus::{IntCounter, Registry};
use serde::Serialize;

use crate::config::{self, AuditFailure, AuditSink};
use crate::pseudonym::{NoRandomness, Pseudonyms, WeakKey};
use crate::secret::{Secret, SecretError};
use sink::Sink;

/// What was decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Something of a device was told.
    Disclosed,
    /// Nothing was told: the request may not know, or there is nothing.
    Refused,
    /// Nothing was told: we or the core failed.
    Failed,
}

/// One line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record<'a> {
    /// When the decision was made, by our clock.
    pub time: Timestamp,
    /// The correlator of the answer.
    pub correlator: &'a str,
    /// Who asked, where the token told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<&'a str>,
    /// The operation of the API.
    pub operation: &'static str,
    /// The version of the API.
    pub version: &'static str,
    /// What was decided.
    pub decision: Decision,
    /// Why: `OK` or the error's code, and what lies behind it where that is more.
    pub reason: &'static str,
    /// The members of the answer that tell of the device.
    pub fields: &'a [&'static str],
    /// The subscriber's pseudonym, as far as the request came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber: Option<String>,
    /// The id of the secret that a PPID was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppid_secret: Option<&'a str>,
    /// The consumer needed no consent, by the operator's word.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub consent_exempt: bool,
    /// From the end of the headers to the decision.
    pub latency_ms: f64,
}

/// Why there can be no audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The sink cannot be opened.
    #[error("audit.file {path}: {source}")]
    Sink {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The key cannot be read.
    #[error("audit.pseudonym_key: {0}")]
    Key(#[from] SecretError),
    /// The key is no protection.
    #[error("audit.pseudonym_key: {0}")]
    WeakKey(#[from] WeakKey),
    /// No key was given, and none can be made.
    #[error("audit: {0}")]
    NoKey(#[from] NoRandomness),
}

/// The record could not be written, and the operator wants no answer without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRecorded;

/// The audit of a bridge.
pub struct Audit {
    sink: Sink,
    pseudonyms: Pseudonyms,
    on_failure: AuditFailure,
    lost: IntCounter,
}

impl Audit {
    /// Opens the configured sink; `None` where the audit is off.
    pub fn open(config: &config::Audit, metrics: AuditMetrics) -> Result<Option<Self>, AuditError> {
        let sink = match (config.sink, &config.file) {
            (AuditSink::Off, _) | (AuditSink::File, None) => return Ok(None),
            (AuditSink::File, Some(path)) => {
                Sink::file(path).map_err(|source| AuditError::Sink {
                    path: path.display().to_string(),
                    source,
                })?
            }
            (AuditSink::Stdout, _) => Sink::stdout(),
        };
        let pseudonyms = match &config.pseudonym_key {
            Some(source) => Pseudonyms::new(&Secret::read(source)?)?,
            None => Pseudonyms::random()?,
        };
        let on_failure = config.on_failure;
        Ok(Some(Self {
            sink,
            pseudonyms,
            on_failure,
            lost: metrics.lost,
        }))
    }

    /// The name of a subscription in the audit.
    pub fn pseudonym(&self, subscription: &UeId) -> String {
        self.pseudonyms.of(&subscription.reveal())
    }

    /// Writes a line. Returns once it is written where the operator wants no answer without.
    pub async fn record(&self, record: &Record<'_>) -> Result<(), NotRecorded> {
        let Ok(mut line) = serde_json::to_vec(record) else {
            return self.failed();
        };
        line.push(b'\n');
        let written = match self.on_failure {
            AuditFailure::Refuse => self.sink.write_through(line).await,
            AuditFailure::Count => self.sink.write_soon(line, self.lost.clone()),
        };
        if written { Ok(()) } else { self.failed() }
    }

    fn failed(&self) -> Result<(), NotRecorded> {
        self.lost.inc();
        match self.on_failure {
            AuditFailure::Refuse => Err(NotRecorded),
            AuditFailure::Count => Ok(()),
        }
    }
}

/// What the audit lost.
#[derive(Clone)]
pub struct AuditMetrics {
    lost: IntCounter,
}

impl AuditMetrics {
    /// Registers the metric.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let lost = IntCounter::new(
            "pei_bridge_audit_lost_total",
            "Decisions whose audit record could not be written",
        )?;
        registry.register(Box::new(lost.clone()))?;
        Ok(Self { lost })
    }
}

/// Milliseconds, to the microsecond.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
