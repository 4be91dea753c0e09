//! Several UDMs, each of which tells of its own subscribers alone.

use std::time::Duration;

use http::Method;
use pei_bridge::config::Config;
use serde_json::{Value, json};
use simcore::{NfType, Options};

use super::support::{
    CONSENT, EQUIPMENT, FIRST, LONG, OTHER_IMEISV, OTHER_PEI, control, feed, live, losses,
    settings, subscriptions,
};
use crate::network::Network;
use crate::support::control::GET_3GPP;
use crate::support::{Bridge, eventually};

const SECOND: &str = "imsi-001010000000002";
const OF_FIRST: &str = "123456789";
const OF_SECOND: &str = "34600000002";
/// Between two questions that are to reach the core where no feed is live.
const SHORT: Duration = Duration::from_millis(100);

async fn two_udms() -> Network {
    Network::start(
        &[(NfType::Nrf, 1), (NfType::Udm, 2)],
        |options: &mut Options| {
            options.settings.udms_tell_own = true;
            options.settings.validity_period = 1;
        },
    )
    .await
}

/// A configuration that names the UDMs.
fn configured(network: &Network) -> Config {
    let mut config = discovering(network);
    config.core.nrf.clear();
    config.core.udm = network.roots(NfType::Udm);
    config
}

/// One that leaves them to the NRF.
fn discovering(network: &Network) -> Config {
    let mut config = network.config();
    feed(&mut config, EQUIPMENT);
    config.cache.equipment = SHORT;
    config
}

async fn until_subscribed(bridge: &Bridge, at: f64) {
    eventually("all UDMs are subscribed to", async || {
        ((live(bridge, "equipment").await - at).abs() < 0.1).then_some(())
    })
    .await;
}

async fn imeisv(bridge: &Bridge, number: &str) -> Value {
    let answer = bridge.ask(&json!({ "phoneNumber": number })).await;
    answer.json()["imeisv"].clone()
}

/// Subscriptions, but for those at the NRF.
async fn at_udms(network: &Network) -> Vec<Value> {
    let mut all = subscriptions(network.control).await;
    all.retain(|one| one["nfType"] == "UDM");
    all
}

/// Whether a device is remembered for longer than without a feed.
async fn is_believed(network: &Network, bridge: &Bridge) -> bool {
    // What was remembered before ends first.
    tokio::time::sleep(SHORT * 2).await;
    imeisv(bridge, OF_FIRST).await;
    network.control.reset().await;
    tokio::time::sleep(SHORT * 2).await;
    imeisv(bridge, OF_FIRST).await;
    network.control.count(GET_3GPP).await == 0
}

#[tokio::test]
async fn each_udm_tells_of_its_own() {
    let network = two_udms().await;
    for config in [configured(&network), discovering(&network)] {
        let bridge = Bridge::start(&config);
        until_subscribed(&bridge, 2.0).await;
        for (number, supi) in [(OF_FIRST, FIRST), (OF_SECOND, SECOND)] {
            let before = imeisv(&bridge, number).await;
            assert_ne!(before, OTHER_IMEISV);
            network.control.swap_device(supi, OTHER_PEI).await;
            assert_eq!(imeisv(&bridge, number).await, OTHER_IMEISV, "{supi}");
            // As it was, for the next one.
            network
                .control
                .swap_device(supi, "imeisv-3569380356438201")
                .await;
        }
        bridge.stop();
        bridge.ended().await;
        assert_eq!(at_udms(&network).await, Vec::<Value>::new());
    }
}

#[tokio::test]
async fn nothing_is_believed_for_long_while_one_of_them_is_silent() {
    let network = two_udms().await;
    let of_second = &network.all(NfType::Udm)[1].id;
    let refused = json!({ "status": 500 });
    network
        .control
        .fault_at(of_second, "CreateEeSubscription", &refused)
        .await;
    let bridge = Bridge::start(&configured(&network));
    bridge.until_ready().await;
    until_subscribed(&bridge, 1.0).await;
    assert!(!is_believed(&network, &bridge).await);
    network.control.clear_faults_at(of_second).await;
    until_subscribed(&bridge, 2.0).await;
    assert!(is_believed(&network, &bridge).await);
    // The loss of one of two is a break as well.
    network
        .control
        .fault_at(of_second, "CreateEeSubscription", &refused)
        .await;
    network
        .control
        .fault_at(of_second, "UpdateEeSubscription", &refused)
        .await;
    eventually("the loss shows", async || {
        (losses(&bridge, "equipment").await > 0.5).then_some(())
    })
    .await;
    assert!(!is_believed(&network, &bridge).await);
}

#[tokio::test]
async fn a_udm_that_comes_is_subscribed_to_before_anything_is_believed() {
    let network = two_udms().await;
    let second = &network.all(NfType::Udm)[1].id;
    network.control.order(second, "suspend").await;
    let bridge = Bridge::start(&discovering(&network));
    until_subscribed(&bridge, 1.0).await;
    assert!(is_believed(&network, &bridge).await);
    let refused = json!({ "status": 500 });
    network
        .control
        .fault_at(second, "CreateEeSubscription", &refused)
        .await;
    network.control.order(second, "resume").await;
    eventually("it is subscribed to in vain", async || {
        let failures = "pei_bridge_feed_subscribe_failures_total";
        (bridge.metric(failures, &["equipment"]).await > 0.5).then_some(())
    })
    .await;
    assert!(!is_believed(&network, &bridge).await);
    network.control.order(second, "suspend").await;
    eventually("the other one alone is enough", async || {
        is_believed(&network, &bridge).await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn udms_of_one_set_keep_one_subscription() {
    let network = two_udms().await;
    for udm in network.all(NfType::Udm) {
        let path = format!("/sim/instances/{}", udm.id);
        let set = json!({ "nfSetIdList": ["set1.udmset.5gc.mnc001.mcc001"] });
        control(network.control, Method::PATCH, &path, &set).await;
    }
    let bridge = Bridge::start(&discovering(&network));
    until_subscribed(&bridge, 1.0).await;
    assert!(is_believed(&network, &bridge).await);
    assert_eq!(at_udms(&network).await.len(), 1);
}

/// The one that made the subscription dies: the other one of its set prolongs it, and nothing is
/// lost.
#[tokio::test]
async fn a_subscription_outlives_the_udm_of_the_set_that_made_it() {
    let network = two_udms().await;
    for udm in network.all(NfType::Udm) {
        let path = format!("/sim/instances/{}", udm.id);
        let set = json!({ "nfSetIdList": ["set1.udmset.5gc.mnc001.mcc001"] });
        control(network.control, Method::PATCH, &path, &set).await;
    }
    settings(network.control, &json!({ "udmsTellOwn": false })).await;
    let bridge = Bridge::start(&discovering(&network));
    until_subscribed(&bridge, 1.0).await;
    let made = at_udms(&network).await;
    let (maker, other): (Vec<_>, Vec<_>) = network
        .all(NfType::Udm)
        .into_iter()
        .partition(|udm| made[0]["nfInstanceId"] == *udm.id);
    network.control.order(&maker[0].id, "kill").await;
    network.control.reset_at(&other[0].id).await;
    eventually("the other one is asked to prolong it", async || {
        (network.control.total_at(&other[0].id).await >= 3).then_some(())
    })
    .await;
    assert!(losses(&bridge, "equipment").await < 0.5);
    assert!(is_believed(&network, &bridge).await);
    assert_eq!(at_udms(&network).await.len(), 1);
    network.control.swap_device(FIRST, OTHER_PEI).await;
    assert_eq!(imeisv(&bridge, OF_FIRST).await, OTHER_IMEISV);
    bridge.stop();
    bridge.ended().await;
    assert_eq!(at_udms(&network).await, Vec::<Value>::new());
}

/// A UDM that does not serve the subscriber could not tell of the consent.
#[tokio::test]
async fn consent_is_subscribed_to_at_the_udm_that_serves_the_subscriber() {
    let network = two_udms().await;
    let udms = network.all(NfType::Udm);
    for (udm, supi) in udms.iter().zip([SECOND, FIRST]) {
        let number = &supi[5..];
        let serves = json!({ "udmInfo": { "supiRanges": [{ "start": number, "end": number }] } });
        let path = format!("/sim/instances/{}", udm.id);
        control(network.control, Method::PATCH, &path, &serves).await;
    }
    let mut config = network.config();
    feed(&mut config, CONSENT);
    config.cache.consent = LONG;
    config.consent.mode = pei_bridge::config::ConsentMode::Core;
    let bridge = Bridge::start(&config);
    for (number, covered) in [(OF_FIRST, 1.0), (OF_SECOND, 2.0)] {
        eventually("the consent is covered", async || {
            bridge.ask(&json!({ "phoneNumber": number })).await;
            (live(&bridge, "consent").await > covered - 0.5).then_some(())
        })
        .await;
    }
    let of_udm = |one: &Value| one["nfType"] == "UDM";
    for one in subscriptions(network.control)
        .await
        .iter()
        .filter(|one| of_udm(one))
    {
        let expected = usize::from(one["ue"] == FIRST);
        assert_eq!(one["nfInstanceId"], *udms[expected].id, "{one}");
    }
}
