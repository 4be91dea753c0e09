//! The audit: one JSON line for each decision, to a sink of its own.
//!
//! Says who asked for what, what was decided and why, and which fields were disclosed. Names the
//! subscriber by pseudonym, never by number. [`sink`] writes the lines. Whoever has no token cannot
//! fill the disk: lines about callers that nobody knows are limited, and those left out counted.

mod sink;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use device::UeId;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
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
    /// Nothing was told: there was nobody left to tell.
    Abandoned,
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

/// A line as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(flatten)]
    record: &'a Record<'a>,
    /// Lines about callers that nobody knows, left out since the line before.
    #[serde(skip_serializing_if = "is_zero")]
    suppressed_before: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
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

fn pseudonyms(config: &config::Audit) -> Result<Pseudonyms, AuditError> {
    Ok(match &config.pseudonym_key {
        Some(source) => Pseudonyms::new(&Secret::read(source)?)?,
        None => Pseudonyms::random()?,
    })
}

/// The record could not be written, and the operator wants no answer without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRecorded;

/// The audit of a bridge.
pub struct Audit {
    sink: Sink,
    pseudonyms: Pseudonyms,
    on_failure: AuditFailure,
    /// For lines about callers that nobody knows.
    unknown_callers: Option<DefaultDirectRateLimiter>,
    /// Those left out that no line has told of yet.
    untold: AtomicU64,
    metrics: AuditMetrics,
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
            (AuditSink::Stdout, _) => Sink::stdout().map_err(|source| AuditError::Sink {
                path: "(standard output)".to_owned(),
                source,
            })?,
        };
        let pseudonyms = pseudonyms(config)?;
        let unknown_callers = NonZeroU32::new(config.unauthenticated_per_second)
            .map(|per_second| RateLimiter::direct(Quota::per_second(per_second)));
        Ok(Some(Self {
            sink,
            pseudonyms,
            on_failure: config.on_failure,
            unknown_callers,
            untold: AtomicU64::new(0),
            metrics,
        }))
    }

    /// Whether the key can be used that the configuration names, where there is an audit.
    pub fn check_key(config: &config::Audit) -> Result<(), AuditError> {
        match config.sink {
            AuditSink::Off => Ok(()),
            AuditSink::File | AuditSink::Stdout => pseudonyms(config).map(drop),
        }
    }

    /// Whether there is a place for the file that the configuration names. Neither makes nor changes
    /// it, so that whoever looks need not be whom it will belong to.
    pub fn check_file(config: &config::Audit) -> Result<(), AuditError> {
        match (config.sink, &config.file) {
            (AuditSink::File, Some(path)) => {
                sink::look_at(path).map_err(|source| AuditError::Sink {
                    path: path.display().to_string(),
                    source,
                })
            }
            (AuditSink::File, None) | (AuditSink::Off | AuditSink::Stdout, _) => Ok(()),
        }
    }

    /// The name of a subscription in the audit.
    pub fn pseudonym(&self, subscription: &UeId) -> String {
        self.pseudonyms.of(&subscription.reveal())
    }

    /// Writes a line. Returns once it is written where the operator wants no answer without.
    pub async fn record(&self, record: &Record<'_>) -> Result<(), NotRecorded> {
        if self.leaves_out(record) {
            return Ok(());
        }
        let Some(line) = self.line(record) else {
            return self.failed();
        };
        let written = match self.on_failure {
            AuditFailure::Refuse => self.sink.write_through(line).await,
            AuditFailure::Count => self.sink.write_soon(line, self.metrics.lost.clone()),
        };
        if written { Ok(()) } else { self.failed() }
    }

    /// Has a line written that no answer depends on.
    pub fn record_soon(&self, record: &Record<'_>) {
        if self.leaves_out(record) {
            return;
        }
        let lost = &self.metrics.lost;
        let line = self.line(record);
        if !line.is_some_and(|line| self.sink.write_soon(line, lost.clone())) {
            lost.inc();
        }
    }

    /// Whether it is one too many about callers that nobody knows.
    fn leaves_out(&self, record: &Record<'_>) -> bool {
        let limit = self.unknown_callers.as_ref();
        let left_out =
            record.consumer.is_none() && limit.is_some_and(|limit| limit.check().is_err());
        if left_out {
            self.untold.fetch_add(1, Ordering::Relaxed);
            self.metrics.suppressed.inc();
        }
        left_out
    }

    fn line(&self, record: &Record<'_>) -> Option<Vec<u8>> {
        let line = Line {
            record,
            suppressed_before: self.untold.swap(0, Ordering::Relaxed),
        };
        let mut line = serde_json::to_vec(&line).ok()?;
        line.push(b'\n');
        Some(line)
    }

    fn failed(&self) -> Result<(), NotRecorded> {
        self.metrics.lost.inc();
        match self.on_failure {
            AuditFailure::Refuse => Err(NotRecorded),
            AuditFailure::Count => Ok(()),
        }
    }
}

/// What the audit lost or left out.
#[derive(Clone)]
pub struct AuditMetrics {
    lost: IntCounter,
    suppressed: IntCounter,
}

impl AuditMetrics {
    /// Registers the metric.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let lost = IntCounter::new(
            "pei_bridge_audit_lost_total",
            "Decisions whose audit record could not be written",
        )?;
        let suppressed = IntCounter::new(
            "pei_bridge_audit_suppressed_total",
            "Decisions about callers that nobody knows, left out of the audit by its limit",
        )?;
        registry.register(Box::new(lost.clone()))?;
        registry.register(Box::new(suppressed.clone()))?;
        Ok(Self { lost, suppressed })
    }
}

/// Milliseconds, to the microsecond.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
