//! What is counted about the core. Labels are fixed names; nothing of a request is among them.
//!
//! Handles are resolved when a client or an operation is made, so that a call looks up no label.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::Error;

/// The kind of a network function (TS 29.510, `NFType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NfType {
    /// Unified Data Management.
    Udm,
    /// Binding Support Function.
    Bsf,
    /// User Plane Function.
    Upf,
    /// Session Management Function.
    Smf,
    /// Network Repository Function.
    Nrf,
    /// Service Communication Proxy.
    Scp,
}

impl NfType {
    /// The name that TS 29.510 gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udm => "UDM",
            Self::Bsf => "BSF",
            Self::Upf => "UPF",
            Self::Smf => "SMF",
            Self::Nrf => "NRF",
            Self::Scp => "SCP",
        }
    }
}

/// From half a millisecond, which a near core needs, to just beyond the default deadline of 2 s.
const DURATION_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// The metrics of everything in this crate, registered once and shared by all clients.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: IntCounterVec,
    durations: HistogramVec,
    connections: IntGaugeVec,
    retries: IntCounterVec,
    nameless_bindings: IntCounterVec,
    ejections: IntCounterVec,
    withheld: IntCounterVec,
    hedges: IntCounterVec,
}

impl Metrics {
    /// Registers all metrics; fails only when their names are taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            calls: IntCounterVec::new(
                Opts::new(
                    "pei_bridge_core_calls_total",
                    "Calls to the core, by what became of them.",
                ),
                &["nf", "operation", "outcome"],
            )?,
            durations: HistogramVec::new(
                HistogramOpts::new(
                    "pei_bridge_core_call_duration_seconds",
                    "Time from a call to its outcome, retries included.",
                )
                .buckets(DURATION_BUCKETS.to_vec()),
                &["nf", "operation"],
            )?,
            connections: IntGaugeVec::new(
                Opts::new(
                    "pei_bridge_core_connections",
                    "HTTP/2 connections to the core, by state.",
                ),
                &["nf", "state"],
            )?,
            retries: IntCounterVec::new(
                Opts::new(
                    "pei_bridge_core_retries_total",
                    "Requests sent again (sent), and those the retry budget kept back (denied).",
                ),
                &["nf", "decision"],
            )?,
            nameless_bindings: IntCounterVec::new(
                Opts::new(
                    "pei_bridge_core_bindings_without_subscriber_total",
                    "BSF answers that name no subscriber, by status.",
                ),
                &["status"],
            )?,
            ejections: IntCounterVec::new(
                Opts::new(
                    "pei_bridge_core_ejections_total",
                    "Instances left alone for a while because they answered badly.",
                ),
                &["nf"],
            )?,
            withheld: IntCounterVec::new(
                Opts::new(
                    "pei_bridge_core_withheld_total",
                    "Requests not sent: too many under way (full), or the core asked for fewer \
                     (overload).",
                ),
                &["nf", "reason"],
            )?,
            hedges: IntCounterVec::new(
                Opts::new(
                    "pei_bridge_core_hedges_total",
                    "Requests sent to a second instance because the first one took long.",
                ),
                &["nf"],
            )?,
        };
        registry.register(Box::new(metrics.ejections.clone()))?;
        registry.register(Box::new(metrics.withheld.clone()))?;
        registry.register(Box::new(metrics.hedges.clone()))?;
        registry.register(Box::new(metrics.calls.clone()))?;
        registry.register(Box::new(metrics.durations.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.retries.clone()))?;
        registry.register(Box::new(metrics.nameless_bindings.clone()))?;
        Ok(metrics)
    }

    pub(super) fn client(&self, nf: NfType) -> ClientMetrics {
        let connections = |state| self.connections.with_label_values(&[nf.name(), state]);
        let retries = |decision| self.retries.with_label_values(&[nf.name(), decision]);
        let withheld = |reason| self.withheld.with_label_values(&[nf.name(), reason]);
        ClientMetrics {
            connecting: connections("connecting"),
            ready: connections("ready"),
            draining: connections("draining"),
            retries_sent: retries("sent"),
            retries_denied: retries("denied"),
            ejections: self.ejections.with_label_values(&[nf.name()]),
            withheld_when_full: withheld("full"),
            withheld_for_overload: withheld("overload"),
            hedges: self.hedges.with_label_values(&[nf.name()]),
        }
    }

    pub(super) fn operation(&self, nf: NfType, operation: &str) -> OperationMetrics {
        let outcome = |label| self.calls.with_label_values(&[nf.name(), operation, label]);
        OperationMetrics {
            duration: self.durations.with_label_values(&[nf.name(), operation]),
            answered: outcome("answered"),
            abandoned: outcome("abandoned"),
            unreachable: outcome(Error::Unreachable.label()),
            overloaded: outcome(Error::Overloaded { retry_after: None }.label()),
            deadline_passed: outcome(Error::DeadlinePassed.label()),
            bad_answer: outcome(Error::BadAnswer.label()),
            refused: outcome(Error::Refused { status: 0 }.label()),
        }
    }

    /// BSF answers with this status that name no subscriber.
    pub(crate) fn nameless_bindings(&self, status: &str) -> IntCounter {
        self.nameless_bindings.with_label_values(&[status])
    }
}

/// The handles of one client.
#[derive(Debug)]
pub(super) struct ClientMetrics {
    pub(super) connecting: IntGauge,
    pub(super) ready: IntGauge,
    pub(super) draining: IntGauge,
    pub(super) retries_sent: IntCounter,
    pub(super) retries_denied: IntCounter,
    pub(super) ejections: IntCounter,
    pub(super) withheld_when_full: IntCounter,
    pub(super) withheld_for_overload: IntCounter,
    pub(super) hedges: IntCounter,
}

/// The handles of one operation.
#[derive(Debug)]
pub(super) struct OperationMetrics {
    pub(super) duration: Histogram,
    /// The caller went away before there was an outcome.
    pub(super) abandoned: IntCounter,
    answered: IntCounter,
    unreachable: IntCounter,
    overloaded: IntCounter,
    deadline_passed: IntCounter,
    bad_answer: IntCounter,
    refused: IntCounter,
}

impl OperationMetrics {
    /// The counter of this outcome.
    pub(super) fn outcome<T>(&self, result: &Result<T, Error>) -> &IntCounter {
        match result {
            Ok(_) => &self.answered,
            Err(Error::Unreachable) => &self.unreachable,
            Err(Error::Overloaded { .. }) => &self.overloaded,
            Err(Error::DeadlinePassed) => &self.deadline_passed,
            Err(Error::BadAnswer) => &self.bad_answer,
            Err(Error::Refused { .. }) => &self.refused,
        }
    }
}

/// Holds a gauge one higher for as long as it lives.
#[derive(Debug)]
pub(super) struct Counted(IntGauge);

impl Counted {
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
