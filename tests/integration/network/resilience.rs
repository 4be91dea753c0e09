//! Instances that fail in different ways at once, and ones that ask for mercy.

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use simcore::NfType;
use tokio::task::JoinSet;

use super::{IMEI, NUMBER, Network, is_answered};
use crate::support::client::{Ask, Connection};
use crate::support::control::{GET_3GPP, GET_BINDINGS};
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

/// By lot: each bound is six standard deviations from what is to be expected.
#[tokio::test]
async fn who_asks_for_some_less_gets_so_much_less() {
    let (network, bridge) = three_udms().await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    let oci = json!({ "oci": { "reduction": 40, "validity": 600 } });
    control.headers_at(&udms[0].id, &oci).await;
    assert_eq!(not_answered(&bridge, 30, 1).await, 0);
    control.reset_at(&udms[0].id).await;
    // Four tenths of what would be its third go to the others, and none is lost.
    assert_eq!(not_answered(&bridge, 600, 1).await, 0);
    let share = control.total_at(&udms[0].id).await;
    assert!((61..=179).contains(&share), "{share}");
    for udm in &udms[1..] {
        control.headers_at(&udm.id, &oci).await;
    }
    not_answered(&bridge, 30, 1).await;
    // Nobody is there to take four tenths of all.
    let refused = not_answered(&bridge, 600, 1).await;
    assert!((168..=312).contains(&refused), "{refused}");
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

/// Asks all of these at once and waits until each of them waits for the core or was turned away.
async fn ask_in_vain(bridge: &Bridge, bodies: &[Value]) -> JoinSet<u16> {
    let connection = Connection::http2(bridge.api).await;
    let mut asking = JoinSet::new();
    for body in bodies {
        let (mut connection, ask) = (connection.clone(), Ask::identifier(body));
        asking.spawn(async move { connection.send(&ask).await.status });
    }
    let mut turned_away = 0;
    eventually("all wait, or were turned away", async || {
        while let Some(status) = asking.try_join_next() {
            assert_eq!(status.unwrap(), 503);
            turned_away += 1;
        }
        let in_flight = bridge.metric("pei_bridge_requests_in_flight", &[]).await;
        (in_flight + f64::from(turned_away) > 7.5).then_some(())
    })
    .await;
    asking
}

/// However many requests wait for the core, and for whatever: there is room for those that memory
/// answers.
#[tokio::test]
async fn requests_that_wait_leave_room_for_answers_from_the_cache() {
    let instances = [(NfType::Udm, 1), (NfType::Bsf, 1)];
    let numbers = [
        "+34600000002",
        "+34600000003",
        "+34600000004",
        "+34600000005",
    ];
    let numbers = numbers.map(|number| json!({ "phoneNumber": number }));
    let addresses = (1..=4).map(|n| json!({ "ipv6Address": format!("2001:db8:85a3:{n}::1") }));
    // At two functions, each below its limit; or for one number, which is one call.
    let at_both: Vec<_> = numbers.iter().cloned().chain(addresses).collect();
    let for_one = vec![numbers[0].clone(); 8];
    for bodies in [at_both, for_one] {
        let network = Network::start(&instances, |_| {}).await;
        let mut config = network.config();
        config.core.nrf.clear();
        config.core.udm = network.roots(NfType::Udm);
        config.core.bsf = network.roots(NfType::Bsf);
        config.core.max_calls_in_flight = 4;
        config.api.max_requests_in_flight = 8;
        config.cache.equipment = crate::support::PATIENCE;
        let bridge = Bridge::start(&config);
        bridge.until_ready().await;
        let cached = json!({ "phoneNumber": NUMBER });
        is_answered(&bridge, &cached).await;
        for operation in [GET_3GPP, GET_BINDINGS] {
            network
                .control
                .fault(operation, &json!({ "mode": "hang" }))
                .await;
        }
        let waiting = ask_in_vain(&bridge, &bodies).await;
        for _ in 0..5 {
            is_answered(&bridge, &cached).await;
        }
        let uncached = json!({ "phoneNumber": "+34600000009" });
        let answer = bridge.ask(&uncached).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), Some("1"));
        let waits = bridge.metric("pei_bridge_requests_waiting", &[]).await;
        assert!((waits - 6.0).abs() < 0.1, "{waits}");
        let shed = bridge.metric("pei_bridge_shed_total", &["waiting"]).await;
        assert!((shed - 3.0).abs() < 0.1, "{shed}");
        drop(waiting);
        eventually("who gives up makes room", async || {
            let waits = bridge.metric("pei_bridge_requests_waiting", &[]).await;
            (waits < 0.5).then_some(())
        })
        .await;
    }
}
