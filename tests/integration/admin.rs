//! Health, readiness, metrics, and the end of the service.

use serde_json::json;
use tokio::net::TcpStream;

use crate::support::client::{Ask, Connection};
use crate::support::control::GET_3GPP;
use crate::support::raw::Raw;
use crate::support::{Rig, eventually};

#[tokio::test]
async fn the_admin_listener_serves_three_pages() {
    let rig = Rig::start().await;
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/", 404),
        ("/metrics/", 404),
        ("/device-identifier/v0.1.0/retrieve-type", 404),
    ] {
        assert_eq!(rig.bridge.admin(path).await.0, status, "{path}");
    }
    let post =
        crate::support::client::exchange(rig.bridge.admin, http::Method::POST, "/metrics", "");
    assert_eq!(post.await.0, 405);
}

/// Every family that the operator was promised, and none that tells of a subscriber.
#[tokio::test]
async fn metrics_move_and_tell_of_nobody() {
    let rig = Rig::start().await;
    let bodies = [
        json!({"phoneNumber": "123456789"}),
        json!({"phoneNumber": "34600000007"}),
        json!({"networkAccessIdentifier": "sensor-17@iot.example.com"}),
        json!({"ipv6Address": "2001:db8:85a3:8d3:1319:8a2e:370:7344"}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765}}),
        json!({"phoneNumber": "x"}),
    ];
    for body in &bodies {
        rig.ask(body).await;
    }
    rig.bridge.send(&Ask::any().path("/nowhere")).await;
    let v0_1_0 = "version=\"v0.1.0\"";
    let identifier = "operation=\"retrieve-identifier\"";
    for (name, labels, count) in [
        (
            "pei_bridge_requests_total",
            vec![v0_1_0, identifier, "status=\"200\""],
            4.0,
        ),
        (
            "pei_bridge_requests_total",
            vec![v0_1_0, identifier, "code=\"NOT_FOUND\""],
            1.0,
        ),
        (
            "pei_bridge_requests_total",
            vec![v0_1_0, "code=\"INVALID_ARGUMENT\""],
            1.0,
        ),
        (
            "pei_bridge_requests_total",
            vec![v0_1_0, "operation=\"retrieve-type\""],
            0.0,
        ),
        (
            "pei_bridge_requests_total",
            vec!["version=\"none\"", "code=\"NOT_FOUND\""],
            1.0,
        ),
        (
            "pei_bridge_request_duration_seconds_count",
            vec![v0_1_0, identifier],
            6.0,
        ),
        (
            "pei_bridge_core_calls_total",
            vec!["nf=\"UDM\"", "operation=\"Get3GppRegistration\""],
            4.0,
        ),
        (
            "pei_bridge_core_calls_total",
            vec!["nf=\"BSF\"", "operation=\"GetPCFBindings\""],
            2.0,
        ),
        (
            "pei_bridge_core_calls_total",
            vec!["nf=\"UPF\"", "operation=\"SearchUeIpInfo\""],
            1.0,
        ),
        (
            "pei_bridge_core_call_duration_seconds_count",
            vec!["operation=\"SearchUeIpInfo\""],
            1.0,
        ),
        (
            "pei_bridge_cache_requests_total",
            vec!["equipment", "=\"hit"],
            1.0,
        ),
        (
            "pei_bridge_cache_entries",
            vec!["equipment", "=\"found"],
            3.0,
        ),
        ("pei_bridge_connections_accepted_total", vec![], 7.0),
        ("pei_bridge_shed_total", vec![], 0.0),
    ] {
        let seen = rig.bridge.metric(name, &labels).await;
        assert!((seen - count).abs() < 0.1, "{name} {labels:?}: {seen}");
    }
    eventually("the connections are closed", async || {
        let open = rig.bridge.metric("pei_bridge_connections", &[]).await;
        (open.abs() < 0.1).then_some(())
    })
    .await;
    let (_, text) = rig.bridge.admin("/metrics").await;
    tells_of_nobody(&text);
}

/// Only families of ours, and nothing of whoever was asked for.
fn tells_of_nobody(text: &str) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("pei_bridge_"), "{line}");
    }
    for secret in [
        "123456789",
        "34600000007",
        "sensor-17",
        "2001:db8",
        "84.125.93.10",
        "001010000000001",
        "49015420",
    ] {
        assert!(!text.contains(secret), "{secret} is in the metrics");
    }
}

#[tokio::test]
async fn outcomes_of_the_core_are_told_apart() {
    let rig = Rig::uncached().await;
    let calls = async || {
        let (_, text) = rig.bridge.admin("/metrics").await;
        let ours = |line: &&str| {
            line.starts_with("pei_bridge_core_calls_total{") && line.contains("Get3Gpp")
        };
        text.lines()
            .filter(ours)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut before = calls().await;
    for fault in [
        json!({"status": 500}),
        json!({"status": 503}),
        json!({"status": 400}),
        json!({"mode": "hang"}),
        json!({"mode": "refuse-stream"}),
    ] {
        rig.control.fault(GET_3GPP, &fault).await;
        rig.bridge.send(&Ask::any()).await;
        let now = calls().await;
        let moved = now.iter().filter(|line| !before.contains(line)).count();
        assert_eq!(moved, 1, "{fault}: {now:?}");
        before = now;
    }
}

/// Answered without the core.
fn unknown_path() -> Ask {
    Ask::any().path("/nowhere")
}

#[tokio::test]
async fn draining_answers_what_is_in_flight_and_takes_no_more() {
    let rig = Rig::start().await;
    rig.control.fault(GET_3GPP, &json!({"mode": "hang"})).await;
    let mut idle = [
        Connection::http1(rig.bridge.api).await,
        Connection::http2(rig.bridge.api).await,
    ];
    for connection in &mut idle {
        assert_eq!(connection.send(&unknown_path()).await.status, 404);
    }
    let api = rig.bridge.api;
    let in_flight = [
        ("34600000002", Connection::http2(api).await),
        ("34600000003", Connection::http2(api).await),
    ]
    .map(|(number, mut connection)| {
        let ask = Ask::identifier(&json!({ "phoneNumber": number }));
        tokio::spawn(async move { connection.send(&ask).await })
    });
    eventually("both are in work", async || {
        (rig.control.count(GET_3GPP).await == 2).then_some(())
    })
    .await;
    // Without a word, and within one.
    let silent = Raw::connect(api).await;
    rig.bridge.stop();
    eventually("/readyz is 503", async || {
        (rig.bridge.admin("/readyz").await.0 == 503).then_some(())
    })
    .await;
    assert_eq!(rig.bridge.admin("/healthz").await.0, 200);
    eventually("new connections are refused", async || {
        TcpStream::connect(api).await.err()
    })
    .await;
    assert!(silent.until_closed().await.is_empty());
    // In HTTP/2 what crosses the first GOAWAY is still answered (RFC 9113 6.8).
    for mut connection in idle {
        eventually("an idle connection takes no more", async || {
            connection.try_send(&unknown_path()).await.err()
        })
        .await;
    }
    for request in &in_flight {
        assert!(!request.is_finished(), "nobody answered it yet");
    }
    in_flight.iter().for_each(tokio::task::JoinHandle::abort);
    rig.bridge.ended().await;
}

#[tokio::test]
async fn a_request_in_flight_is_answered_while_draining() {
    let rig = Rig::start().await;
    rig.control
        .fault(GET_3GPP, &json!({"latencyMs": 1500}))
        .await;
    let api = rig.bridge.api;
    let in_flight = [Connection::http1(api).await, Connection::http2(api).await]
        .map(|mut connection| tokio::spawn(async move { connection.send(&Ask::any()).await }));
    eventually("it is in work", async || {
        let now = rig
            .bridge
            .metric("pei_bridge_requests_in_flight", &[])
            .await;
        (now > 1.5).then_some(())
    })
    .await;
    rig.bridge.stop();
    for request in in_flight {
        request.await.unwrap().is_imei("490154203237518");
    }
    rig.bridge.ended().await;
}

#[tokio::test]
async fn the_drain_has_its_own_end() {
    let rig = Rig::configured(|config| {
        config.api.drain_timeout = std::time::Duration::from_millis(100);
    })
    .await;
    rig.control.fault(GET_3GPP, &json!({"mode": "hang"})).await;
    let mut connection = Connection::http1(rig.bridge.api).await;
    let request = tokio::spawn(async move { connection.try_send(&Ask::any()).await });
    let mut slow = Raw::connect(rig.bridge.api).await;
    slow.write("POST / HTT").await;
    eventually("it is in work", async || {
        (rig.control.count(GET_3GPP).await == 1).then_some(())
    })
    .await;
    rig.bridge.stop();
    // Far before the deadline of the request that hangs.
    let begun = std::time::Instant::now();
    rig.bridge.ended().await;
    assert!(begun.elapsed() < crate::support::PATIENCE / 2);
    request.abort();
}
