//! Traces: taken from the consumer, passed on to the core, told to a collector.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pei_bridge::config::{CollectorUrl, ConsentMode};
use serde_json::{Value, json};
use simcore::{NfType, Options};
use tokio::net::TcpListener;

use crate::network::Network;
use crate::support::client::{Ask, Connection};
use crate::support::{Bridge, Rig, eventually};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Takes what an OTLP collector takes, and keeps it.
struct Collector {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = bodies.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let kept = kept.clone();
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let kept = kept.clone();
                    async move {
                        assert_eq!(request.uri().path(), "/v1/traces");
                        assert_eq!(request.headers()["content-type"], "application/json");
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let text = String::from_utf8(body.to_vec()).unwrap();
                        kept.lock().unwrap().push(text);
                        Ok::<_, hyper::Error>(http::Response::new(Full::<Bytes>::from("{}")))
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        Self { address, bodies }
    }

    fn url(&self) -> CollectorUrl {
        CollectorUrl::parse(&format!("http://{}/v1/traces", self.address)).unwrap()
    }

    fn text(&self) -> String {
        self.bodies.lock().unwrap().concat()
    }

    /// All spans so far.
    fn spans(&self) -> Vec<Value> {
        let bodies = self.bodies.lock().unwrap();
        let bodies = bodies
            .iter()
            .map(|body| serde_json::from_str(body).unwrap());
        bodies
            .flat_map(|body: Value| {
                let resource = &body["resourceSpans"][0];
                let service = &resource["resource"]["attributes"][0];
                assert_eq!(service["key"], "service.name");
                assert_eq!(service["value"]["stringValue"], "pei-bridge");
                resource["scopeSpans"][0]["spans"]
                    .as_array()
                    .unwrap()
                    .clone()
            })
            .collect()
    }

    /// The first span of this name, once it came.
    async fn span(&self, name: &str) -> Value {
        eventually(name, async || {
            let spans = self.spans();
            spans.into_iter().find(|span| span["name"] == name)
        })
        .await
    }
}

async fn rig(collector: Option<&Collector>, ratio: f64) -> Rig {
    let options = Options {
        record: 1000,
        ..Options::default()
    };
    Rig::with(options, |config| {
        config.consent.mode = ConsentMode::Core;
        config.telemetry.otlp.endpoint = collector.map(Collector::url);
        config.telemetry.otlp.sample_ratio = ratio;
        crate::support::without_caches(config);
        config.api.request_timeout = crate::support::PATIENCE;
    })
    .await
}

fn traced(body: &Value, flags: &str) -> Ask {
    let parent = format!("00-{TRACE}-{PARENT}-{flags}");
    Ask::identifier(body)
        .header("traceparent", parent)
        .header("tracestate", "vendor=secret-34600000002")
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|one| one["key"] == key);
    &found.unwrap_or_else(|| panic!("{key} in {span}"))["value"]
}

#[tokio::test]
async fn a_request_is_recorded_with_its_stages_and_calls() {
    let collector = Collector::start().await;
    let rig = rig(Some(&collector), 0.0).await;
    let body = json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59765}});
    let mut connection = Connection::http2(rig.bridge.api).await;
    let answer = connection.send(&traced(&body, "01")).await;
    answer.is_imei("490154203237518");
    let request = collector.span("request").await;
    assert_eq!(request["traceId"], TRACE);
    assert_eq!(request["parentSpanId"], PARENT);
    assert_eq!(request["kind"], 2);
    let status = attribute(&request, "http.response.status_code");
    assert_eq!(status["intValue"], "200");
    let operation = attribute(&request, "pei_bridge.operation");
    assert_eq!(operation["stringValue"], "retrieve-identifier");
    for stage in [
        "authenticate",
        "parse",
        "subscription",
        "consent",
        "equipment",
    ] {
        let span = collector.span(stage).await;
        assert_eq!(span["parentSpanId"], request["spanId"], "{span}");
        assert_eq!(
            (&span["kind"], &span["traceId"]),
            (&json!(1), &json!(TRACE))
        );
        assert_ne!(span["spanId"], request["spanId"]);
    }
    for (call, stage) in [
        ("SearchUeIpInfo", "subscription"),
        ("GetPCFBindings", "subscription"),
        ("GetUcData", "consent"),
        ("Get3GppRegistration", "equipment"),
    ] {
        let span = collector.span(call).await;
        let stage = collector.span(stage).await;
        assert_eq!(span["parentSpanId"], stage["spanId"], "{span}");
        assert_eq!(span["kind"], 3);
        let status = attribute(&span, "http.response.status_code");
        assert_eq!(status["intValue"], "200");
        let nanoseconds = |name| span[name].as_str().unwrap().parse::<u128>().unwrap();
        assert!(nanoseconds("startTimeUnixNano") <= nanoseconds("endTimeUnixNano"));
        // What the core saw is the call's own span.
        let sent = rig.control.request(call).await;
        let own = span["spanId"].as_str().unwrap();
        assert_eq!(
            sent["headers"]["traceparent"],
            format!("00-{TRACE}-{own}-01")
        );
        assert_eq!(sent["headers"]["tracestate"], "vendor=secret-34600000002");
    }
    for personal in [
        "84.125.93.10",
        "59765",
        "10.45.0.1",
        "001010000000001",
        "123456789",
        "490154203237518",
        "4901542032375180",
        "34600000002",
        "secret",
    ] {
        assert!(!collector.text().contains(personal), "{personal}");
    }
    let sent = rig
        .bridge
        .metric("pei_bridge_trace_spans_total", &["sent"])
        .await;
    assert!(sent > 9.5, "{sent}");
}

/// The NRF is asked within the request which UPF has the address.
#[tokio::test]
async fn a_search_for_the_upf_of_an_address_is_a_call_of_its_request() {
    let collector = Collector::start().await;
    let instances = [
        (NfType::Nrf, 1),
        (NfType::Udm, 1),
        (NfType::Bsf, 1),
        (NfType::Upf, 2),
    ];
    let network = Network::start(&instances, |options| options.record = 1000).await;
    let mut config = network.config();
    config.telemetry.otlp.endpoint = Some(collector.url());
    config.telemetry.otlp.sample_ratio = 0.0;
    let bridge = Bridge::start(&config);
    let body = json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59765}});
    eventually("the functions are found", async || {
        let answer = bridge.send(&traced(&body, "01")).await;
        (answer.status == 200).then(|| answer.is_imei("490154203237518"))
    })
    .await;
    let search = collector.span("SearchNFInstances").await;
    assert_eq!(
        (&search["traceId"], &search["kind"]),
        (&json!(TRACE), &json!(3))
    );
    let stage = eventually("its stage ended", async || {
        let mut spans = collector.spans().into_iter();
        spans.find(|span| span["spanId"] == search["parentSpanId"])
    })
    .await;
    assert_eq!(stage["name"], "subscription");
    let own = search["spanId"].as_str().unwrap();
    let parent = format!("00-{TRACE}-{own}-01");
    let sent = network.control.requests().await;
    let sent = sent
        .iter()
        .find(|sent| sent["headers"]["traceparent"] == *parent);
    let sent = sent.expect("what the NRF saw is the search's own span");
    assert_eq!(sent["operationId"], "SearchNFInstances");
    let query = sent["query"].as_str().unwrap();
    assert!(query.contains("upf-n6-ip="), "{query}");
    assert!(!collector.text().contains("84.125.93.10"));
}

#[tokio::test]
async fn what_fails_is_marked() {
    let collector = Collector::start().await;
    let rig = rig(Some(&collector), 1.0).await;
    rig.control
        .fault("GetUcData", &json!({"mode": "garbage"}))
        .await;
    let answer = rig.ask(&json!({"phoneNumber": "+123456789"})).await;
    assert_eq!(answer.status, 503);
    let call = collector.span("GetUcData").await;
    assert_eq!(call["status"]["code"], 2);
    assert_eq!(attribute(&call, "error.type")["stringValue"], "bad_answer");
    let request = collector.span("request").await;
    assert_eq!(request["status"]["code"], 2);
    assert!(
        request.get("parentSpanId").is_none(),
        "the first of its trace"
    );
    let translation = collector.span("GetSupiOrGpsi").await;
    assert_eq!(translation["traceId"], request["traceId"]);
    assert!(translation.get("status").is_none(), "{translation}");
}

#[tokio::test]
async fn a_trace_is_passed_on_where_nobody_records_it() {
    let collector = Collector::start().await;
    let body = json!({"phoneNumber": "+123456789"});
    for (collector, flags) in [(None, "01"), (None, "00"), (Some(&collector), "00")] {
        let rig = rig(collector, 0.0).await;
        let mut connection = Connection::http1(rig.bridge.api).await;
        connection
            .send(&traced(&body, flags))
            .await
            .is_imei("490154203237518");
        let mut parents = Vec::new();
        for call in ["GetSupiOrGpsi", "GetUcData", "Get3GppRegistration"] {
            let sent = rig.control.request(call).await;
            let parent = sent["headers"]["traceparent"].as_str().unwrap().to_owned();
            assert!(parent.starts_with(&format!("00-{TRACE}-")), "{parent}");
            assert!(parent.ends_with(&format!("-{flags}")), "{parent}");
            assert!(!parent.contains(PARENT), "{parent}");
            parents.push(parent);
        }
        parents.dedup();
        assert_eq!(parents.len(), 3, "each call has its own");
    }
    assert!(collector.spans().is_empty());
}

#[tokio::test]
async fn what_is_no_trace_goes_nowhere() {
    let rig = rig(None, 0.0).await;
    let body = json!({"phoneNumber": "+123456789"});
    let mut connection = Connection::http1(rig.bridge.api).await;
    for parent in [
        "",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "34600000002",
    ] {
        let ask = Ask::identifier(&body)
            .header("traceparent", parent)
            .header("tracestate", "a=b");
        connection.send(&ask).await.is_imei("490154203237518");
    }
    for sent in rig.control.requests().await {
        let headers = &sent["headers"];
        assert!(headers.get("traceparent").is_none(), "{sent}");
        assert!(headers.get("tracestate").is_none(), "{sent}");
    }
}

/// A collector that is not there costs no answer, and spans are counted.
#[tokio::test]
async fn a_collector_that_is_away_is_nobodys_trouble() {
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = Collector {
        address: away.local_addr().unwrap(),
        bodies: Arc::default(),
    };
    drop(away);
    let rig = rig(Some(&collector), 1.0).await;
    rig.ask(&json!({"phoneNumber": "+123456789"}))
        .await
        .is_imei("490154203237518");
    eventually("they are counted", async || {
        let refused = rig
            .bridge
            .metric("pei_bridge_trace_spans_total", &["refused"])
            .await;
        (refused > 0.5).then_some(())
    })
    .await;
}
