//! Instances that fail in different ways at once, and ones that ask for mercy.

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;
use simcore::NfType;

use super::{IMEI, NUMBER, Network, is_answered};
use crate::support::client::{Ask, Connection};
use crate::support::control::GET_3GPP;
use crate::support::{Bridge, eventually};

const UDMS: [(NfType, u16); 1] = [(NfType::Udm, 3)];

async fn three_udms() -> (Network, Bridge) {
    let network = Network::start(&UDMS, |_| {}).await;
    let mut config = network.config();
    config.core.nrf.clear();
    config.core.udm = network.roots(NfType::Udm);
    let bridge = Bridge::start(&config);
    bridge.until_ready().await;
    eventually("all are connected", async || {
        let ready = bridge
            .metric("pei_bridge_core_connections", &["UDM", "ready"])
            .await;
        (ready >= 6.0).then_some(())
    })
    .await;
    (network, bridge)
}

/// So many requests, so many at a time, of which so many were not answered with the device. None
/// may be answered with another one.
async fn not_answered(bridge: &Bridge, requests: usize, at_a_time: usize) -> usize {
    let connection = Connection::http2(bridge.api).await;
    let ask = Ask::identifier(&json!({ "phoneNumber": NUMBER }));
    let asked = stream::iter(0..requests).map(|_| {
        let (mut connection, ask) = (connection.clone(), ask.clone());
        async move {
            let answer = connection.send(&ask).await;
            if answer.status == 200 {
                answer.is_imei(IMEI);
                return false;
            }
            true
        }
    });
    let failed = asked.buffer_unordered(at_a_time);
    failed.filter(|&failed| async move { failed }).count().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_killed_one_slow_and_one_refusing_lose_nobody_a_request() {
    let (network, bridge) = three_udms().await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    let [killed, slow, refusing] = [&udms[0].id, &udms[1].id, &udms[2].id];
    control
        .fault_at(slow, GET_3GPP, &json!({ "latencyMs": 20 }))
        .await;
    let half = json!({ "status": 503, "cause": "NF_CONGESTION", "probability": 0.5 });
    control.fault_at(refusing, GET_3GPP, &half).await;
    control.order(killed, "kill").await;
    assert_eq!(not_answered(&bridge, 4_000, 40).await, 0);
    control.order(killed, "revive").await;
    eventually("the one that is back is asked again", async || {
        is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
        (control.total_at(killed).await > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_answers_badly_is_left_alone_and_tried_again() {
    let (network, bridge) = three_udms().await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    let broken = json!({ "status": 500 });
    control.fault_at(&udms[0].id, GET_3GPP, &broken).await;
    // Five in a row, which this instance gets for its third of the requests.
    let failed = not_answered(&bridge, 100, 1).await;
    assert!((5..=8).contains(&failed), "{failed}");
    let ejections = "pei_bridge_core_ejections_total";
    assert!(bridge.metric(ejections, &["UDM"]).await >= 1.0);
    control.clear_faults_at(&udms[0].id).await;
    control.reset_at(&udms[0].id).await;
    eventually("it is asked again", async || {
        is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
        (control.total_at(&udms[0].id).await > 5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_overloaded_instance_gets_as_much_less_as_it_asks_for() {
    let (network, bridge) = three_udms().await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    let oci = json!({ "oci": { "reduction": 100, "validity": 600 } });
    control.headers_at(&udms[0].id, &oci).await;
    assert_eq!(not_answered(&bridge, 30, 1).await, 0);
    control.reset_at(&udms[0].id).await;
    assert_eq!(not_answered(&bridge, 60, 1).await, 0);
    assert_eq!(control.total_at(&udms[0].id).await, 0);
}

#[tokio::test]
async fn where_all_ask_for_less_the_rest_is_refused_at_once() {
    let (network, bridge) = three_udms().await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    let oci = json!({ "oci": { "reduction": 100, "validity": 600 } });
    for udm in &udms {
        control.headers_at(&udm.id, &oci).await;
    }
    eventually("all have said so", async || {
        let answer = bridge.ask(&json!({ "phoneNumber": NUMBER })).await;
        (answer.status == 503).then_some(())
    })
    .await;
    control.reset().await;
    let answer = bridge.ask(&json!({ "phoneNumber": NUMBER })).await;
    assert_eq!(answer.status, 503);
    let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((500..=600).contains(&wait), "{wait}");
    assert_eq!(control.count(GET_3GPP).await, 0);
    let withheld = "pei_bridge_core_withheld_total";
    assert!(bridge.metric(withheld, &["UDM", "overload"]).await >= 1.0);
}

#[tokio::test]
async fn a_loaded_instance_gets_less() {
    let (network, bridge) = three_udms().await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    let loaded = json!({ "lci": { "load": 90 } });
    control.headers_at(&udms[0].id, &loaded).await;
    assert_eq!(not_answered(&bridge, 30, 1).await, 0);
    control.reset_at(&udms[0].id).await;
    assert_eq!(not_answered(&bridge, 210, 1).await, 0);
    // A tenth of what each of the others gets: 10 of 210.
    let share = control.total_at(&udms[0].id).await;
    assert!((5..=15).contains(&share), "{share}");
}

#[tokio::test]
async fn what_is_too_much_at_once_is_refused_at_once_and_the_cache_goes_on() {
    let network = Network::start(&UDMS, |_| {}).await;
    let mut config = network.config();
    config.core.nrf.clear();
    config.core.udm = network.roots(NfType::Udm);
    config.core.max_calls_in_flight = 2;
    config.cache.equipment = crate::support::PATIENCE;
    let bridge = Bridge::start(&config);
    bridge.until_ready().await;
    is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
    let control = network.control;
    control.fault(GET_3GPP, &json!({ "mode": "hang" })).await;
    let connection = Connection::http2(bridge.api).await;
    let hanging: Vec<_> = ["+34600000002", "+34600000003"]
        .map(|number| {
            let mut connection = connection.clone();
            let ask = Ask::identifier(&json!({ "phoneNumber": number }));
            tokio::spawn(async move { connection.send(&ask).await })
        })
        .into();
    eventually("both are at the core", async || {
        (control.count(GET_3GPP).await == 3).then_some(())
    })
    .await;
    let answer = bridge.ask(&json!({ "phoneNumber": "+34600000103" })).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
    for task in hanging {
        task.abort();
    }
}
