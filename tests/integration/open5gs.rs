//! A core that is not the specification: the dialect of Open5GS (real-cores.md).

use serde_json::json;
use simcore::{Dialect, Options};

use crate::support::Rig;
use crate::support::control::{GET_3GPP, GET_BINDINGS, GET_NON_3GPP};

async fn open5gs() -> Rig {
    let options = Options {
        dialect: Dialect::Open5gs,
        subscribers: 100,
        ..Options::default()
    };
    Rig::with(options, |_| {}).await
}

/// Its UDM knows IMSIs alone; another source that names the IMSI makes it answer.
#[tokio::test]
async fn a_subscription_named_by_the_upf_is_answered() {
    let rig = open5gs().await;
    let body = json!({"ipv4Address": {"publicAddress": "203.0.113.1", "publicPort": 2024}});
    let answer = rig.ask(&body).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert_eq!(answer.json()["imeisv"], "3500000000006500");
    assert_eq!(rig.control.count(GET_3GPP).await, 1);
    // A 404 without a cause for a GPSI is no fault of anybody.
    for body in [
        json!({"phoneNumber": "123456789"}),
        json!({"networkAccessIdentifier": "123456789@domain.com"}),
    ] {
        rig.ask(&body).await.is_error(404, "NOT_FOUND");
    }
}

/// 403 without a cause is "no registration", and the other access is asked before that is said.
#[tokio::test]
async fn an_unregistered_subscription_is_not_found() {
    let rig = open5gs().await;
    let subscriber = json!({"supi": "imsi-001010000000050", "gpsis": ["msisdn-34600000050"],
        "sessions": [{"pduSessionId": 1, "ipv4Addr": "10.99.0.1", "ipDomain": "nat-b",
            "nat": {"publicAddress": "198.51.100.99", "firstPort": 1024, "lastPort": 65535}}]});
    rig.control.put(&subscriber).await;
    let body = json!({"ipv4Address": {"publicAddress": "198.51.100.99", "publicPort": 4000}});
    rig.ask(&body).await.is_error(404, "NOT_FOUND");
    assert_eq!(rig.control.count(GET_3GPP).await, 1);
    assert_eq!(rig.control.count(GET_NON_3GPP).await, 1);
    // Purged, its UDM gives the same history over both accesses.
    let mut purged = subscriber;
    purged["amf3gpp"] = json!({"pei": "imeisv-3569380312345905", "purgeFlag": true});
    purged["supi"] = "imsi-001010000000051".into();
    purged["gpsis"] = json!([]);
    purged["sessions"][0]["nat"]["publicAddress"] = "198.51.100.98".into();
    rig.control.put(&purged).await;
    let body = json!({"ipv4Address": {"publicAddress": "198.51.100.98", "publicPort": 4000}});
    rig.ask(&body).await.is_error(404, "NOT_FOUND");
}

/// Its BSF never says whose binding it is: "not found here", counted as a hint at the wiring.
#[tokio::test]
async fn a_binding_without_a_subscriber_is_not_found() {
    let rig = open5gs().await;
    for body in [
        json!({"ipv6Address": "2001:db8:85a3:8d3::1"}),
        json!({"ipv4Address": {"publicAddress": "198.51.100.7", "publicPort": 4000}}),
    ] {
        rig.ask(&body).await.is_error(404, "NOT_FOUND");
    }
    // It shows no address but the one it stores, and refuses a /64.
    rig.ask(&json!({"ipv6Address": "2001:db8:85a3:8d3::2"}))
        .await
        .is_error(404, "NOT_FOUND");
    assert!(rig.control.count(GET_BINDINGS).await >= 3);
    assert_eq!(rig.control.count(GET_3GPP).await, 0);
    let counted = rig
        .bridge
        .metric(
            "pei_bridge_core_bindings_without_subscriber_total",
            &["200"],
        )
        .await;
    assert!(counted > 1.5, "{counted}");
}

/// Bodies written without regard to windows: they must find one that is wide enough.
#[tokio::test]
async fn many_answers_at_once_do_not_break_the_connection() {
    let rig = open5gs().await;
    let connection = crate::support::client::Connection::http2(rig.bridge.api).await;
    let large = json!({"pei": "imeisv-3569380312345101", "x": "y".repeat(100_000),
        "registrationTime": "2026-01-15T08:00:00Z"});
    for number in 0..20 {
        rig.control
            .put(
                &json!({"supi": format!("imsi-0010100000006{number:02}"), "amf3gpp": large,
                "sessions": [{"pduSessionId": 1, "ipv4Addr": format!("10.98.0.{number}"),
                    "ipDomain": "nat-b", "nat": {"publicAddress": format!("198.51.101.{number}"),
                        "firstPort": 1024, "lastPort": 65535}}]}),
            )
            .await;
    }
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let public = format!("198.51.101.{number}");
            let body = json!({"ipv4Address": {"publicAddress": public, "publicPort": 4000}});
            let ask = crate::support::client::Ask::identifier(&body);
            let mut connection = connection.clone();
            tokio::spawn(async move { connection.send(&ask).await })
        })
        .collect();
    for task in tasks {
        let answer = task.await.unwrap();
        assert_eq!(
            answer.json()["imeisv"],
            "3569380312345101",
            "{}",
            answer.json()
        );
    }
}
