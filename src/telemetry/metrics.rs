//! Prometheus metrics. Every handle is resolved at start: the hot path only counts.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::api::{ErrorCode, Operation, Version};
use crate::audit::AuditMetrics;
use crate::auth::AuthMetrics;
use crate::feeds::FeedMetrics;
use crate::limits::LimitMetrics;
use crate::server::callback::CallbackMetrics;

use super::otlp::OtlpMetrics;

/// Buckets in seconds: answers from memory take microseconds, answers from a core milliseconds.
const DURATION_BUCKETS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
    2.5,
];

/// All metrics of a bridge, and where they are gathered.
#[derive(Clone)]
pub struct Metrics {
    /// What `/metrics` prints.
    pub registry: Registry,
    /// Requests of API consumers.
    pub api: Arc<ApiMetrics>,
    /// Connections and shed load.
    pub server: Arc<ServerMetrics>,
    /// Caches and times.
    pub lookup: Arc<LookupMetrics>,
    /// Tokens, and what is fetched from their issuers.
    pub auth: Arc<AuthMetrics>,
    /// Consumers that met their limits.
    pub limits: Arc<LimitMetrics>,
    /// Records that were lost.
    pub audit: AuditMetrics,
    /// Notifications of the core.
    pub callback: Arc<CallbackMetrics>,
    /// The health of event feeds.
    pub feeds: Arc<FeedMetrics>,
    /// Calls to the core.
    pub core: adapters::sbi::Metrics,
    /// Spans for a collector.
    pub otlp: OtlpMetrics,
}

impl Metrics {
    /// Registers every metric under a registry of its own.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let shed = IntCounterVec::new(
            Opts::new("pei_bridge_shed_total", "Refused to protect the rest"),
            &["what"],
        )?;
        registry.register(Box::new(shed.clone()))?;
        Ok(Self {
            api: Arc::new(ApiMetrics::register(&registry)?),
            server: Arc::new(ServerMetrics::register(&registry, &shed)?),
            lookup: Arc::new(LookupMetrics::register(&registry, &shed)?),
            auth: Arc::new(AuthMetrics::register(&registry)?),
            limits: Arc::new(LimitMetrics::register(&registry)?),
            audit: AuditMetrics::register(&registry)?,
            callback: Arc::new(CallbackMetrics::register(&registry)?),
            feeds: Arc::new(FeedMetrics::register(&registry)?),
            core: adapters::sbi::Metrics::register(&registry)?,
            otlp: OtlpMetrics::register(&registry)?,
            registry,
        })
    }
}

/// Requests by version, operation, status and code.
pub struct ApiMetrics {
    by_operation: Vec<OperationMetrics>,
    /// Requests to no operation: unknown paths.
    unrouted: Vec<(ErrorCode, IntCounter)>,
}

struct OperationMetrics {
    version: Version,
    operation: Operation,
    ok: IntCounter,
    errors: Vec<(ErrorCode, IntCounter)>,
    duration: Histogram,
}

impl ApiMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let labels = ["version", "operation", "status", "code"];
        let requests = IntCounterVec::new(
            Opts::new("pei_bridge_requests_total", "Requests of API consumers"),
            &labels,
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "pei_bridge_request_duration_seconds",
                "From the end of a request's headers to its answer",
            )
            .buckets(DURATION_BUCKETS.to_vec()),
            &["version", "operation"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        let errors = |version: &str, operation: &str| -> Vec<(ErrorCode, IntCounter)> {
            ErrorCode::ALL
                .iter()
                .map(|code| {
                    let status = code.status().as_str().to_owned();
                    let labels = [version, operation, status.as_str(), code.label()];
                    (*code, requests.with_label_values(&labels))
                })
                .collect()
        };
        let by_operation = Version::all()
            .flat_map(|version| {
                let operations = version.operations().iter();
                operations.map(move |operation| (version, *operation))
            })
            .map(|(version, operation)| OperationMetrics {
                version,
                operation,
                ok: requests.with_label_values(&[
                    version.as_str(),
                    operation.as_str(),
                    "200",
                    "OK",
                ]),
                errors: errors(version.as_str(), operation.as_str()),
                duration: durations.with_label_values(&[version.as_str(), operation.as_str()]),
            })
            .collect();
        Ok(Self {
            by_operation,
            unrouted: errors("none", "none"),
        })
    }

    /// Counts one answer; `target` is what the path named, if it named anything.
    pub fn answered(
        &self,
        target: Option<(Version, Operation)>,
        error: Option<ErrorCode>,
        took: Duration,
    ) {
        let served = target.and_then(|(version, operation)| {
            self.by_operation
                .iter()
                .find(|metrics| metrics.version == version && metrics.operation == operation)
        });
        if let Some(metrics) = served {
            metrics.duration.observe(took.as_secs_f64());
        }
        let Some(error) = error else {
            if let Some(metrics) = served {
                metrics.ok.inc();
            }
            return;
        };
        let errors = served.map_or(&self.unrouted, |metrics| &metrics.errors);
        if let Some((_, counter)) = errors.iter().find(|(code, _)| *code == error) {
            counter.inc();
        }
    }
}

/// Connections of API consumers, and what was refused to protect the rest.
pub struct ServerMetrics {
    /// Connections open now.
    pub connections: IntGauge,
    /// Connections accepted so far.
    pub accepted: IntCounter,
    /// Requests in work now.
    pub in_flight: IntGauge,
    /// Connections refused because there were too many.
    pub shed_connections: IntCounter,
    /// Requests refused because there were too many.
    pub shed_requests: IntCounter,
    /// Connections closed because their client was too slow, or idle too long.
    pub timed_out: IntCounter,
    /// Certificates that changed and serve now.
    pub tls_reloaded: IntCounter,
    /// Certificates that changed into something that cannot be used.
    pub tls_reload_refused: IntCounter,
    handshake_failures: [(HandshakeFailure, IntCounter); 5],
}

/// Why a TLS handshake on the api listener came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client's certificate is missing or not good.
    Certificate,
    /// The client does not want us: it sent an alert, often about our certificate.
    Refused,
    /// Not TLS, or no version, cipher or protocol in common.
    Protocol,
    /// The client went away.
    Closed,
    /// The client was too slow.
    TimedOut,
}

impl HandshakeFailure {
    const ALL: [Self; 5] = [
        Self::Certificate,
        Self::Refused,
        Self::Protocol,
        Self::Closed,
        Self::TimedOut,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Refused => "refused",
            Self::Protocol => "protocol",
            Self::Closed => "closed",
            Self::TimedOut => "timed_out",
        }
    }
}

impl ServerMetrics {
    /// Counts a TLS handshake that came to nothing.
    pub fn handshake_failed(&self, why: HandshakeFailure) {
        let counter = self
            .handshake_failures
            .iter()
            .find(|(reason, _)| *reason == why);
        if let Some((_, counter)) = counter {
            counter.inc();
        }
    }

    fn register(registry: &Registry, shed: &IntCounterVec) -> Result<Self, prometheus::Error> {
        let reloads = IntCounterVec::new(
            Opts::new(
                "pei_bridge_tls_reloads_total",
                "Changes of the listener's certificate files, by what became of them",
            ),
            &["outcome"],
        )?;
        let handshakes = IntCounterVec::new(
            Opts::new(
                "pei_bridge_tls_handshakes_failed_total",
                "TLS handshakes of API consumers that came to nothing",
            ),
            &["reason"],
        )?;
        let metrics = Self {
            connections: IntGauge::new(
                "pei_bridge_connections",
                "Connections of API consumers open now",
            )?,
            accepted: IntCounter::new(
                "pei_bridge_connections_accepted_total",
                "Connections of API consumers accepted",
            )?,
            in_flight: IntGauge::new("pei_bridge_requests_in_flight", "Requests in work now")?,
            shed_connections: shed.with_label_values(&["connection"]),
            shed_requests: shed.with_label_values(&["request"]),
            timed_out: IntCounter::new(
                "pei_bridge_connections_timed_out_total",
                "Connections closed because their client was slow or idle",
            )?,
            tls_reloaded: reloads.with_label_values(&["reloaded"]),
            tls_reload_refused: reloads.with_label_values(&["refused"]),
            handshake_failures: HandshakeFailure::ALL
                .map(|why| (why, handshakes.with_label_values(&[why.label()]))),
        };
        registry.register(Box::new(reloads))?;
        registry.register(Box::new(handshakes))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.accepted.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.timed_out.clone()))?;
        Ok(metrics)
    }
}

/// A cache, as its metrics call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheName {
    /// Subscription to device.
    Equipment,
    /// Address to subscription.
    Session,
    /// Public to permanent identifier.
    Subscription,
    /// Subscription and purpose to consent.
    Consent,
}

/// What a cache had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheOutcome {
    /// The answer.
    Hit,
    /// That there is nothing.
    NegativeHit,
    /// Nothing that is still believed.
    Miss,
}

/// Caches by name and outcome, and answers for which the core gave no time.
pub struct LookupMetrics {
    equipment: CacheMetrics,
    session: CacheMetrics,
    subscription: CacheMetrics,
    consent: CacheMetrics,
    past_lifetime: IntCounter,
    time_missing: IntCounter,
    waiting: IntGauge,
    shed_waiting: IntCounter,
    session_table_hits: IntCounter,
    session_table_misses: IntCounter,
}

struct CacheMetrics {
    hits: IntCounter,
    negative_hits: IntCounter,
    misses: IntCounter,
    entries: IntGauge,
    negative_entries: IntGauge,
}

impl LookupMetrics {
    fn register(registry: &Registry, shed: &IntCounterVec) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "pei_bridge_cache_requests_total",
                "What the caches were asked",
            ),
            &["cache", "outcome"],
        )?;
        let entries = IntGaugeVec::new(
            Opts::new("pei_bridge_cache_entries", "Entries in the caches now"),
            &["cache", "kind"],
        )?;
        let past_lifetime = IntCounter::new(
            "pei_bridge_answers_past_lifetime_total",
            "Devices told past their lifetime, for the core gave no answer",
        )?;
        registry.register(Box::new(past_lifetime.clone()))?;
        let waiting = IntGauge::new(
            "pei_bridge_requests_waiting",
            "Requests that wait for the core now",
        )?;
        registry.register(Box::new(waiting.clone()))?;
        let time_missing = IntCounter::new(
            "pei_bridge_core_time_missing_total",
            "Answers of the core without any time, dated by their receipt",
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(entries.clone()))?;
        let session_table = IntCounterVec::new(
            Opts::new(
                "pei_bridge_session_table_requests_total",
                "What the table of sessions was asked",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(session_table.clone()))?;
        registry.register(Box::new(time_missing.clone()))?;
        let cache = |name: &str| CacheMetrics {
            hits: requests.with_label_values(&[name, "hit"]),
            negative_hits: requests.with_label_values(&[name, "negative_hit"]),
            misses: requests.with_label_values(&[name, "miss"]),
            entries: entries.with_label_values(&[name, "found"]),
            negative_entries: entries.with_label_values(&[name, "none_found"]),
        };
        Ok(Self {
            equipment: cache("equipment"),
            session: cache("session"),
            subscription: cache("subscription"),
            consent: cache("consent"),
            past_lifetime,
            time_missing,
            waiting,
            shed_waiting: shed.with_label_values(&["waiting"]),
            session_table_hits: session_table.with_label_values(&["hit"]),
            session_table_misses: session_table.with_label_values(&["miss"]),
        })
    }

    /// Counts one question to a cache.
    pub fn cache(&self, name: CacheName, outcome: CacheOutcome) {
        let metrics = self.of(name);
        match outcome {
            CacheOutcome::Hit => metrics.hits.inc(),
            CacheOutcome::NegativeHit => metrics.negative_hits.inc(),
            CacheOutcome::Miss => metrics.misses.inc(),
        }
    }

    /// Sets the size of a cache.
    pub fn cache_size(&self, name: CacheName, found: u64, none_found: u64) {
        let metrics = self.of(name);
        metrics
            .entries
            .set(i64::try_from(found).unwrap_or(i64::MAX));
        metrics
            .negative_entries
            .set(i64::try_from(none_found).unwrap_or(i64::MAX));
    }

    /// Counts a device that was told past its lifetime.
    pub fn answered_past_lifetime(&self) {
        self.past_lifetime.inc();
    }

    /// Sets how many requests wait for the core.
    pub fn waiting(&self, requests: usize) {
        self.waiting
            .set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    /// Counts a request that was not to wait for the core beside so many others.
    pub fn shed_waiting(&self) {
        self.shed_waiting.inc();
    }

    /// Counts one question to the table of sessions.
    pub fn session_table(&self, is_hit: bool) {
        if is_hit {
            self.session_table_hits.inc();
        } else {
            self.session_table_misses.inc();
        }
    }

    /// Counts an answer of the core that carried no time at all.
    pub fn time_missing(&self) {
        self.time_missing.inc();
    }

    fn of(&self, name: CacheName) -> &CacheMetrics {
        match name {
            CacheName::Equipment => &self.equipment,
            CacheName::Session => &self.session,
            CacheName::Subscription => &self.subscription,
            CacheName::Consent => &self.consent,
        }
    }
}
