//! What the NRF tells of instances: those that are gone or suspended are asked no more.

use std::time::Duration;

use pei_bridge::config::Config;
use simcore::NfType;

use serde_json::json;

use super::{NUMBER, Network, is_answered, until_answered};
use crate::support::client;
use crate::support::{Bridge, eventually};

const FUNCTIONS: [(NfType, u16); 3] = [(NfType::Nrf, 1), (NfType::Udm, 2), (NfType::Smf, 1)];

/// Functions that are discovered whatever is fed: one subscription for each.
pub(super) const UDM_BSF_UPF: u8 = 3;

/// A network in which no search of the bridge is repeated before the test ends: whatever it hears
/// of later was told.
async fn silent_network() -> (Network, Config) {
    let network = Network::start(&FUNCTIONS, |options| {
        options.settings.validity_period = 3600;
        options.settings.heart_beat_timer = 1;
    })
    .await;
    let mut config = network.config();
    config.callback.listen = Some("127.0.0.1:0".parse().unwrap());
    (network, config)
}

pub(super) async fn until_subscribed(bridge: &Bridge, functions: u8) {
    eventually("the NRF is subscribed to", async || {
        let live = bridge
            .metric("pei_bridge_feed_subscriptions", &["feed=\"instances\""])
            .await;
        ((live - f64::from(functions)).abs() < 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_goes_is_left_at_once_and_taken_back_when_it_returns() {
    let (network, config) = silent_network().await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    let bridge = Bridge::start(&config);
    until_answered(&bridge).await;
    until_subscribed(&bridge, UDM_BSF_UPF).await;
    for (go, come) in [("suspend", "resume"), ("deregister", "register")] {
        // Answers when the bridge has acknowledged the notification.
        control.order(&udms[0].id, go).await;
        control.reset_at(&udms[0].id).await;
        for _ in 0..20 {
            is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
        }
        assert_eq!(control.total_at(&udms[0].id).await, 0, "{go}");
        control.order(&udms[0].id, come).await;
        eventually("it is asked again", async || {
            is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
            (control.total_at(&udms[0].id).await > 0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_nrf_that_forgot_the_subscriptions_gets_them_again_and_none_is_left_behind() {
    let (network, config) = silent_network().await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    let nrf = network.one(NfType::Nrf);
    let bridge = Bridge::start(&config);
    until_answered(&bridge).await;
    until_subscribed(&bridge, UDM_BSF_UPF).await;
    assert_eq!(control.count("CreateSubscription").await, 3);
    control.order(&nrf.id, "restart").await;
    eventually("it subscribes again", async || {
        (control.count("CreateSubscription").await == 6).then_some(())
    })
    .await;
    until_subscribed(&bridge, UDM_BSF_UPF).await;
    control.order(&udms[1].id, "suspend").await;
    control.reset_at(&udms[1].id).await;
    for _ in 0..20 {
        is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
    }
    assert_eq!(control.total_at(&udms[1].id).await, 0);
    control.reset().await;
    bridge.stop();
    bridge.ended().await;
    assert_eq!(control.count("RemoveSubscription").await, 3);
    assert_eq!(control.count("DeregisterNFInstance").await, 1);
    let (_, left) = client::get(control.0, "/sim/subscriptions").await;
    assert_eq!(left, "[]");
}

#[tokio::test]
async fn an_smf_that_goes_is_not_believed_any_more() {
    let (network, mut config) = silent_network().await;
    config.feeds.sessions = true;
    config.feeds.check_interval = Duration::from_mins(10);
    let smf = network.one(NfType::Smf);
    let bridge = Bridge::start(&config);
    let smfs = async |state: &str, count: f64| {
        eventually(state, async || {
            let label = format!("state=\"{state}\"");
            let smfs = bridge
                .metric("pei_bridge_session_table_smfs", &[&label])
                .await;
            ((smfs - count).abs() < 0.5).then_some(())
        })
        .await;
    };
    smfs("trusted", 1.0).await;
    until_subscribed(&bridge, UDM_BSF_UPF + 1).await;
    network.control.order(&smf.id, "suspend").await;
    smfs("trusted", 0.0).await;
    network.control.order(&smf.id, "resume").await;
    smfs("trusted", 1.0).await;
}
