//! Spans on their way to a collector: OTLP over HTTP with JSON bodies (OpenTelemetry Protocol 1.x,
//! "JSON Protobuf Encoding").
//!
//! Requests put their finished spans into a queue and wait for nobody. One task sends them in
//! batches; what the collector does not take is counted and lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use trace::{FinishedSpan, Kind, Tracer, Value};

use crate::config::Otlp;
use crate::tls::{self, TlsError};

/// Spans in one request at most.
const BATCH: usize = 512;
/// How long spans wait for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take.
const EXCHANGE: Duration = Duration::from_secs(5);
/// How long the last spans may take when the bridge ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// The answer says at most how many were refused.
const MAX_ANSWER: usize = 64 * 1024;

/// What became of spans.
#[derive(Debug, Clone)]
pub struct OtlpMetrics {
    sent: IntCounter,
    refused: IntCounter,
    lost: IntCounter,
}

impl OtlpMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let spans = IntCounterVec::new(
            Opts::new(
                "pei_bridge_trace_spans_total",
                "Spans that the collector took (sent), that it did not take (refused), and that found no room in the queue (lost).",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(spans.clone()))?;
        let of = |outcome| spans.with_label_values(&[outcome]);
        Ok(Self {
            sent: of("sent"),
            refused: of("refused"),
            lost: of("lost"),
        })
    }
}

/// Sends spans to a collector.
pub struct Exporter {
    spans: mpsc::Receiver<FinishedSpan>,
    lost: Arc<AtomicU64>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
    metrics: OtlpMetrics,
    is_refused: bool,
}

/// Who traces requests, and who sends what is recorded, if anybody is to have it.
pub fn tracing(
    config: &Otlp,
    metrics: &OtlpMetrics,
) -> Result<(Tracer, Option<Exporter>), TlsError> {
    let Some(endpoint) = &config.endpoint else {
        return Ok((Tracer::default(), None));
    };
    let (finished, spans) = mpsc::channel(config.queue_entries.max(1));
    let lost = Arc::new(AtomicU64::new(0));
    let tracer = Tracer::recording(finished, Arc::clone(&lost), config.sample_ratio);
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(EXCHANGE));
    let tls = if endpoint.is_https() {
        tls::client_config(&config.tls, &[])?
    } else {
        tls::no_trust()?
    };
    let exporter = Exporter {
        spans,
        lost,
        client: Client::builder(TokioExecutor::new()).build(HttpsConnector::from((tcp, tls))),
        endpoint: endpoint.uri().clone(),
        metrics: metrics.clone(),
        is_refused: false,
    };
    Ok((tracer, Some(exporter)))
}

impl Exporter {
    /// Sends until it is told to stop, then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        while !stop.is_cancelled() {
            tokio::select! {
                received = self.spans.recv_many(&mut batch, BATCH) => if received == 0 { break },
                () = stop.cancelled() => break,
            }
            self.gather(&mut batch, &stop).await;
            self.send(&mut batch, EXCHANGE).await;
        }
        let end = Instant::now() + FAREWELL;
        loop {
            while batch.len() < BATCH
                && let Ok(span) = self.spans.try_recv()
            {
                batch.push(span);
            }
            let left = end.saturating_duration_since(Instant::now());
            if batch.is_empty() || left.is_zero() {
                return;
            }
            self.send(&mut batch, left).await;
        }
    }

    /// Waits for more, for a while.
    async fn gather(&mut self, batch: &mut Vec<FinishedSpan>, stop: &CancellationToken) {
        let end = Instant::now() + GATHER;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            tokio::select! {
                more = timeout_at(end, self.spans.recv_many(batch, room)) => match more {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return,
                },
                () = stop.cancelled() => return,
            }
        }
    }

    async fn send(&mut self, batch: &mut Vec<FinishedSpan>, within: Duration) {
        self.metrics
            .lost
            .inc_by(self.lost.swap(0, Ordering::Relaxed));
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let request = self.request(batch);
        batch.clear();
        let client = &self.client;
        let exchange = async {
            let response = client
                .request(request)
                .await
                .map_err(|_| "cannot be reached")?;
            let status = response.status();
            // Read to its end, so that the connection serves again.
            let _ = Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await;
            if status.is_success() {
                Ok(())
            } else {
                Err("refuses them")
            }
        };
        match timeout(within, exchange)
            .await
            .unwrap_or(Err("is too slow"))
        {
            Ok(()) => {
                self.metrics.sent.inc_by(count);
                self.is_refused = false;
            }
            Err(reason) => {
                self.metrics.refused.inc_by(count);
                // Said once until it is well again.
                if !std::mem::replace(&mut self.is_refused, true) {
                    tracing::warn!(reason, "telemetry.otlp: the collector does not take spans");
                }
            }
        }
    }

    fn request(&self, batch: &[FinishedSpan]) -> Request<Full<Bytes>> {
        let body = serde_json::to_vec(&encode(batch)).unwrap_or_default();
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        request
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExportTraceServiceRequest {
    resource_spans: [ResourceSpans; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans {
    resource: Resource,
    scope_spans: [ScopeSpans; 1],
}

#[derive(Serialize)]
struct Resource {
    attributes: Vec<KeyValue>,
}

#[derive(Serialize)]
struct ScopeSpans {
    scope: Scope,
    spans: Vec<Span>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct KeyValue {
    key: &'static str,
    value: AnyValue,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum AnyValue {
    StringValue(String),
    /// 64 bits, which JSON in its protobuf form has as text.
    IntValue(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "they are those of the protocol")]
struct Span {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: &'static str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<KeyValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Status {
    code: u8,
}

/// `STATUS_CODE_ERROR`
const FAILED: Status = Status { code: 2 };

fn encode(batch: &[FinishedSpan]) -> ExportTraceServiceRequest {
    let attribute = |key, value: &str| KeyValue {
        key,
        value: AnyValue::StringValue(value.to_owned()),
    };
    let version = env!("CARGO_PKG_VERSION");
    ExportTraceServiceRequest {
        resource_spans: [ResourceSpans {
            resource: Resource {
                attributes: vec![
                    attribute("service.name", "pei-bridge"),
                    attribute("service.version", version),
                ],
            },
            scope_spans: [ScopeSpans {
                scope: Scope {
                    name: "pei-bridge",
                    version,
                },
                spans: batch.iter().map(Span::from).collect(),
            }],
        }],
    }
}

impl From<&FinishedSpan> for Span {
    fn from(span: &FinishedSpan) -> Self {
        let attributes = span.attributes.iter().map(|(key, value)| KeyValue {
            key,
            value: match value {
                Value::Word(word) => AnyValue::StringValue((*word).to_owned()),
                Value::Number(number) => AnyValue::IntValue(number.to_string()),
            },
        });
        Self {
            trace_id: format!("{:032x}", span.trace_id),
            span_id: format!("{:016x}", span.span_id),
            parent_span_id: span.parent_id.map(|parent| format!("{parent:016x}")),
            name: span.name,
            kind: match span.kind {
                Kind::Internal => 1,
                Kind::Server => 2,
                Kind::Client => 3,
            },
            start_time_unix_nano: nanoseconds(span.began),
            end_time_unix_nano: nanoseconds(span.ended),
            attributes: attributes.collect(),
            status: span.failed.then_some(FAILED),
        }
    }
}

fn nanoseconds(time: SystemTime) -> String {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    since_1970.unwrap_or_default().as_nanos().to_string()
}
