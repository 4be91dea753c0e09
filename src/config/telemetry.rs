//! `[telemetry]`: who is told what requests go through.

use serde::{Deserialize, Serialize};

use super::{ClientTls, CollectorUrl};

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Traces for a collector.
    pub otlp: Otlp,
}

/// `[telemetry.otlp]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// Where spans are sent (OTLP over HTTP, JSON); absent: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<CollectorUrl>,
    /// The share of requests that are recorded though their consumer did not ask for it.
    pub sample_ratio: f64,
    /// Spans that wait to be sent; more are lost.
    pub queue_entries: usize,
    /// For an endpoint with `https`.
    pub tls: ClientTls,
}

/// Enough to see what is usual, cheap enough for any rate.
const DEFAULT_SAMPLE_RATIO: f64 = 0.01;
/// About a second of a busy bridge that records every request; some megabytes.
const DEFAULT_QUEUE_ENTRIES: usize = 16_384;

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample_ratio: DEFAULT_SAMPLE_RATIO,
            queue_entries: DEFAULT_QUEUE_ENTRIES,
            tls: ClientTls::default(),
        }
    }
}
