//! Registration, discovery, and an NRF that goes.

use std::time::Duration;

use serde_json::json;
use simcore::{Dialect, NfType};

use super::status::{UDM_BSF_UPF, until_subscribed};
use super::{IMEI, NUMBER, Network, is_answered, until_answered};
use crate::support::client;
use crate::support::{Bridge, eventually};

const EVERY_FUNCTION: [(NfType, u16); 4] = [
    (NfType::Nrf, 1),
    (NfType::Udm, 2),
    (NfType::Bsf, 1),
    (NfType::Upf, 2),
];

#[tokio::test]
async fn every_function_is_found_at_the_nrf() {
    let network = Network::start(&EVERY_FUNCTION, |_| {}).await;
    let bridge = Bridge::start(&network.config());
    until_answered(&bridge).await;
    for body in [
        json!({ "phoneNumber": NUMBER }),
        json!({ "networkAccessIdentifier": "123456789@domain.com" }),
        json!({ "ipv6Address": "2001:db8:85a3:8d3:1:2:3:4" }),
        json!({ "ipv4Address": { "publicAddress": "84.125.93.10", "publicPort": 59765 } }),
    ] {
        eventually("found as well", async || {
            let answer = bridge.ask(&body).await;
            (answer.status == 200).then(|| answer.is_imei(IMEI))
        })
        .await;
    }
}

/// A set is of one function: it says nothing of the others, which may be in sets of their own.
#[tokio::test]
async fn a_set_of_udms_narrows_the_search_for_udms_alone() {
    const SET: &str = "set1.udmset.5gc.mnc001.mcc001";
    let network = Network::start(&EVERY_FUNCTION, |_| {}).await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    control
        .profile(&udms[0].id, &json!({ "nfSetIdList": [SET] }))
        .await;
    let mut config = network.config();
    config.core.discovery.nf_sets = vec![SET.parse().unwrap()];
    let bridge = Bridge::start(&config);
    for body in [
        json!({ "phoneNumber": NUMBER }),
        json!({ "ipv6Address": "2001:db8:85a3:8d3:1:2:3:4" }),
        json!({ "ipv4Address": { "publicAddress": "84.125.93.10", "publicPort": 59765 } }),
    ] {
        eventually("the function is found", async || {
            let answer = bridge.ask(&body).await;
            (answer.status == 200).then(|| answer.is_imei(IMEI))
        })
        .await;
    }
    assert!(control.total_at(&udms[0].id).await > 0);
    assert_eq!(control.total_at(&udms[1].id).await, 0, "not of the set");
}

/// Whether or not the NRF makes something of it.
#[tokio::test]
async fn the_near_instance_is_asked_first_whatever_its_priority() {
    let network = Network::start(&[(NfType::Nrf, 1), (NfType::Udm, 2)], |_| {}).await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    for (udm, locality, priority) in [(udms[0], "north", 2), (udms[1], "south", 1)] {
        let profile = json!({ "locality": locality, "priority": priority });
        control.profile(&udm.id, &profile).await;
    }
    let mut config = network.config();
    config.core.discovery.preferred_locality = Some("north".to_owned());
    let bridge = Bridge::start(&config);
    until_answered(&bridge).await;
    eventually("both are connected", async || {
        let labels = ["UDM", "ready"];
        let ready = bridge.metric("pei_bridge_core_connections", &labels).await;
        (ready >= 4.0).then_some(())
    })
    .await;
    control.reset_at(&udms[1].id).await;
    for _ in 0..20 {
        is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
    }
    assert_eq!(
        control.total_at(&udms[1].id).await,
        0,
        "the near one is there"
    );
    control.order(&udms[0].id, "kill").await;
    for _ in 0..5 {
        is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
    }
    assert!(control.total_at(&udms[1].id).await >= 5);
}

/// What of so many requests each of these gets.
async fn shares(network: &Network, bridge: &Bridge, requests: usize) -> Vec<u64> {
    let (control, udms) = (network.control, network.all(NfType::Udm));
    control.reset().await;
    for _ in 0..requests {
        is_answered(bridge, &json!({ "phoneNumber": NUMBER })).await;
    }
    let mut shares = Vec::new();
    for udm in udms {
        shares.push(control.total_at(&udm.id).await);
    }
    shares
}

#[tokio::test]
async fn profiles_say_who_gets_how_much() {
    let network = Network::start(&[(NfType::Nrf, 1), (NfType::Udm, 3)], |options| {
        options.settings.validity_period = 1;
    })
    .await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    let mut config = network.config();
    // Nobody falls from favour for being slow on a busy machine.
    config.core.outlier.consecutive_failures = 0;
    let bridge = Bridge::start(&config);
    until_answered(&bridge).await;
    let until = async |what: &str, expected: [u64; 3]| {
        eventually(what, async || {
            let shares = shares(&network, &bridge, 90).await;
            let mut pairs = shares.iter().zip(expected);
            let is_so = pairs.all(|(&share, expected)| share.abs_diff(expected) <= 4);
            is_so.then_some(())
        })
        .await;
    };
    until("all are alike", [30, 30, 30]).await;
    for (udm, capacity, load) in [(udms[0], 300, 0), (udms[1], 100, 0), (udms[2], 100, 50)] {
        let profile = json!({ "capacity": capacity, "load": load });
        control.profile(&udm.id, &profile).await;
    }
    until("by what is left of the capacity", [60, 20, 10]).await;
    control
        .profile(&udms[1].id, &json!({ "priority": 0 }))
        .await;
    until("the lowest priority takes all", [0, 90, 0]).await;
    control.order(&udms[1].id, "kill").await;
    until("as long as it is there", [77, 0, 13]).await;
}

#[tokio::test]
async fn the_bridge_is_registered_for_as_long_as_it_runs() {
    let network = Network::start(&EVERY_FUNCTION, |options| {
        options.settings.heart_beat_timer = 1;
    })
    .await;
    let (control, nrf) = (network.control, network.one(NfType::Nrf));
    let bridge = Bridge::start(&network.config());
    eventually("heart-beats come", async || {
        (control.count("UpdateNFInstance").await >= 2).then_some(())
    })
    .await;
    assert_eq!(control.count("RegisterNFInstance").await, 1);
    control.order(&nrf.id, "restart").await;
    eventually("it registers again at an NRF that forgot it", async || {
        (control.count("RegisterNFInstance").await == 2).then_some(())
    })
    .await;
    bridge.stop();
    bridge.ended().await;
    assert_eq!(control.count("DeregisterNFInstance").await, 1);
}

#[tokio::test]
async fn without_the_nrf_nothing_is_lost() {
    let network = Network::start(&EVERY_FUNCTION, |options| {
        // Every result is out of date before the test ends.
        options.settings.validity_period = 1;
        options.settings.heart_beat_timer = 1;
    })
    .await;
    let bridge = Bridge::start(&network.config());
    until_answered(&bridge).await;
    let ipv4 = json!({ "ipv4Address": { "publicAddress": "84.125.93.10", "publicPort": 59765 } });
    eventually("the UPF of the address is known", async || {
        (bridge.ask(&ipv4).await.status == 200).then_some(())
    })
    .await;
    network
        .control
        .order(&network.one(NfType::Nrf).id, "kill")
        .await;
    for _ in 0..30 {
        is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
        is_answered(&bridge, &ipv4).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_next_nrf_takes_over_with_registration_and_subscriptions() {
    let functions = [(NfType::Nrf, 2), (NfType::Udm, 2)];
    let network = Network::start(&functions, |options| {
        options.settings.heart_beat_timer = 1;
        options.settings.validity_period = 3600;
    })
    .await;
    let mut config = network.config();
    config.callback.listen = Some("127.0.0.1:0".parse().unwrap());
    let (control, nrfs, udms) = (
        network.control,
        network.all(NfType::Nrf),
        network.all(NfType::Udm),
    );
    let bridge = Bridge::start(&config);
    until_answered(&bridge).await;
    until_subscribed(&bridge, UDM_BSF_UPF).await;
    control.order(&nrfs[0].id, "kill").await;
    control.reset().await;
    eventually("heart-beats go to the other one", async || {
        (control.count("UpdateNFInstance").await >= 2).then_some(())
    })
    .await;
    // Who knows us already is not told again; who is to tell us is asked for it.
    assert_eq!(control.count("RegisterNFInstance").await, 0);
    eventually("it is subscribed to", async || {
        (control.count("CreateSubscription").await == u64::from(UDM_BSF_UPF)).then_some(())
    })
    .await;
    until_subscribed(&bridge, UDM_BSF_UPF).await;
    control.order(&udms[0].id, "suspend").await;
    control.reset_at(&udms[0].id).await;
    for _ in 0..20 {
        is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
    }
    assert_eq!(control.total_at(&udms[0].id).await, 0, "it was told");
    bridge.stop();
    bridge.ended().await;
    assert_eq!(control.count("DeregisterNFInstance").await, 1);
    let (_, left) = client::get(control.0, "/sim/subscriptions").await;
    assert_eq!(left, "[]");
}

#[tokio::test]
async fn an_instance_that_is_suspended_is_asked_no_more() {
    let network = Network::start(&EVERY_FUNCTION, |options| {
        options.settings.validity_period = 1;
    })
    .await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    let bridge = Bridge::start(&network.config());
    until_answered(&bridge).await;
    control.order(&udms[0].id, "suspend").await;
    eventually("the other one has all the calls", async || {
        control.reset_at(&udms[0].id).await;
        for _ in 0..10 {
            is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
        }
        (control.total_at(&udms[0].id).await == 0).then_some(())
    })
    .await;
    control.order(&udms[0].id, "resume").await;
    eventually("it is asked again", async || {
        is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
        (control.total_at(&udms[0].id).await > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_nrf_that_shows_nobody_to_an_nef_shows_them_to_an_af() {
    let instances = [(NfType::Nrf, 1), (NfType::Udm, 1)];
    let network = Network::start(&instances, |options| options.dialect = Dialect::Open5gs).await;
    let mut config = network.config();
    let as_nef = Bridge::start(&config);
    let control = network.control;
    eventually("it has asked", async || {
        (control.count("SearchNFInstances").await >= 3).then_some(())
    })
    .await;
    let answer = as_nef.ask(&json!({ "phoneNumber": NUMBER })).await;
    assert_eq!(answer.status, 503, "nobody is there");
    config.core.discovery.requester_nf_type = "AF".to_owned();
    let as_af = Bridge::start(&config);
    // This UDM knows no phone number: it says so, which takes that it was found.
    eventually("somebody is there", async || {
        let answer = as_af.ask(&json!({ "phoneNumber": NUMBER })).await;
        (answer.status == 404).then_some(())
    })
    .await;
}
