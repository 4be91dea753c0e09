//! A core that is not the specification: the dialect of Open5GS (real-cores.md).

use std::path::{Path, PathBuf};

use pei_bridge::config::{Config, GpsiToSupi, Purged};
use serde_json::json;
use simcore::{Dialect, NfType, Options};

use crate::network::Network;
use crate::support::control::{GET_3GPP, GET_BINDINGS, GET_NON_3GPP};
use crate::support::process::file;
use crate::support::{Bridge, Rig, eventually};

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

/// The operator's table, with a row that is none.
fn table() -> PathBuf {
    file(
        ".csv",
        "gpsi,supi\nmsisdn-123456789,imsi-001010000000001\nbad,row\n\
         extid-123456789@domain.com,imsi-001010000000001\n",
    )
}

fn by_table(config: &mut Config, table: &Path) {
    config.core.gpsi_to_supi = GpsiToSupi::File;
    config.core.gpsi_to_supi_file = Some(table.to_owned());
}

/// The whole path, from what a consumer knows to the device.
async fn leads_to_the_device(bridge: &Bridge) {
    for body in [
        json!({"phoneNumber": "+123456789"}),
        json!({"networkAccessIdentifier": "123456789@domain.com"}),
    ] {
        eventually("the device is told", async || {
            let answer = bridge.ask(&body).await;
            (answer.status == 200).then(|| answer.is_imei("490154203237518"))
        })
        .await;
    }
    bridge
        .ask(&json!({"phoneNumber": "+34600000002"}))
        .await
        .is_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_phone_number_leads_to_the_device() {
    let table = table();
    let options = Options {
        dialect: Dialect::Open5gs,
        ..Options::default()
    };
    let rig = Rig::with(options, |config| by_table(config, &table)).await;
    leads_to_the_device(&rig.bridge).await;
}

#[tokio::test]
async fn a_phone_number_leads_to_the_device_through_the_nrf() {
    let instances = [
        (NfType::Nrf, 1),
        (NfType::Udm, 1),
        (NfType::Bsf, 1),
        (NfType::Upf, 1),
    ];
    let network = Network::start(&instances, |options| options.dialect = Dialect::Open5gs).await;
    let mut config = network.config();
    by_table(&mut config, &table());
    config.core.discovery.requester_nf_type = "AF".to_owned();
    let bridge = Bridge::start(&config);
    leads_to_the_device(&bridge).await;
    let forgets = network.control.count("RegisterNFInstance").await;
    let nrf = &network.one(NfType::Nrf).id;
    network.control.order(nrf, "restart").await;
    eventually("it registers again at an NRF that forgot it", async || {
        (network.control.count("RegisterNFInstance").await > forgets).then_some(())
    })
    .await;
    leads_to_the_device(&bridge).await;
}

#[tokio::test]
async fn a_phone_number_leads_to_the_device_through_the_scp() {
    let instances = [(NfType::Scp, 1), (NfType::Udm, 1)];
    let network = Network::start(&instances, |options| options.dialect = Dialect::Open5gs).await;
    let mut config = network.config();
    by_table(&mut config, &table());
    config.core.nrf.clear();
    config.core.udm = network.roots(NfType::Udm);
    config.core.scp = network.roots(NfType::Scp);
    let bridge = Bridge::start(&config);
    leads_to_the_device(&bridge).await;
}

/// Another SIM has the number: whoever asks after the file changed is told its device, whatever is
/// remembered of the former one.
#[tokio::test]
async fn a_table_that_changes_is_read_again() {
    let table = table();
    let rig = Rig::with(Options::default(), |config| by_table(config, &table)).await;
    let body = json!({"phoneNumber": "+123456789"});
    rig.bridge.ask(&body).await.is_imei("490154203237518");
    std::fs::write(&table, "no table at all\n").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    rig.bridge.ask(&body).await.is_imei("490154203237518");
    std::fs::write(&table, "gpsi,supi\nmsisdn-123456789,imsi-001010000000002\n").unwrap();
    eventually("the other device is told", async || {
        let answer = rig.bridge.ask(&body).await;
        (answer.json()["imei"] == "356938035643809").then_some(())
    })
    .await;
}

/// A purged registration is still 200 there, over either access.
#[tokio::test]
async fn a_purged_registration_is_no_device_unless_the_operator_says_so() {
    let table = file(
        ".csv",
        "gpsi,supi\nmsisdn-34600000009,imsi-001010000000009\n",
    );
    for (purged, status) in [(Purged::NotFound, 404), (Purged::LastKnown, 200)] {
        let options = Options {
            dialect: Dialect::Open5gs,
            ..Options::default()
        };
        let rig = Rig::with(options, |config| {
            by_table(config, &table);
            config.core.purged = purged;
        })
        .await;
        let answer = rig.ask(&json!({"phoneNumber": "+34600000009"})).await;
        assert_eq!(answer.status, status, "{}", answer.json());
    }
}
