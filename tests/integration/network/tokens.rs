//! Access tokens of the NRF.

use serde_json::json;
use simcore::NfType;

use super::{NUMBER, Network, is_answered, until_answered};
use crate::support::control::GET_3GPP;
use crate::support::{Bridge, eventually};

const TOKEN: &str = "AccessTokenRequest";

async fn network() -> Network {
    let instances = [(NfType::Nrf, 1), (NfType::Udm, 1), (NfType::Bsf, 1)];
    Network::start(&instances, |options| options.settings.require_tokens = true).await
}

#[tokio::test]
async fn each_service_has_one_token_for_all_its_requests() {
    let network = network().await;
    let mut config = network.config();
    config.core.tokens.enabled = true;
    let bridge = Bridge::start(&config);
    until_answered(&bridge).await;
    for _ in 0..10 {
        is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
        is_answered(&bridge, &json!({ "ipv6Address": "2001:db8:85a3:8d3::1" })).await;
    }
    // Nudm_UECM, Nbsf_Management, and Nupf_GetUEPrivateIPaddrAndIdentifiers, which is discovered.
    assert_eq!(network.control.count(TOKEN).await, 3);
}

#[tokio::test]
async fn without_the_nrf_an_address_that_was_never_seen_is_answered_all_the_same() {
    let instances = [
        (NfType::Nrf, 1),
        (NfType::Udm, 2),
        (NfType::Bsf, 1),
        (NfType::Upf, 2),
    ];
    let network = Network::start(&instances, |options| {
        options.settings.require_tokens = true;
        // Every result is out of date before the test ends.
        options.settings.validity_period = 1;
    })
    .await;
    let mut config = network.config();
    config.core.tokens.enabled = true;
    let bridge = Bridge::start(&config);
    until_answered(&bridge).await;
    eventually("all are found, and every token is there", async || {
        let connected = async |nf: &str| {
            let labels = [&*format!("nf=\"{nf}\""), "state=\"ready\""];
            bridge.metric("pei_bridge_core_connections", &labels).await
        };
        let found = connected("BSF").await >= 1.0 && connected("UPF").await >= 2.0;
        (found && network.control.count(TOKEN).await == 3).then_some(())
    })
    .await;
    let nrf = network.one(NfType::Nrf);
    network.control.order(&nrf.id, "kill").await;
    let translated =
        json!({ "ipv4Address": { "publicAddress": "84.125.93.10", "publicPort": 59765 } });
    for _ in 0..20 {
        for body in [
            &translated,
            &json!({ "ipv6Address": "2001:db8:85a3:8d3::1" }),
            &json!({ "phoneNumber": NUMBER }),
        ] {
            is_answered(&bridge, body).await;
        }
    }
}

#[tokio::test]
async fn without_a_token_the_core_refuses_which_is_the_operators_to_mend() {
    let network = network().await;
    let bridge = Bridge::start(&network.config());
    eventually("the UDM is found, and refuses", async || {
        let answer = bridge.ask(&json!({ "phoneNumber": NUMBER })).await;
        (answer.status == 502).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let network = network().await;
    let mut config = network.config();
    config.core.tokens.enabled = true;
    let bridge = Bridge::start(&config);
    until_answered(&bridge).await;
    let control = network.control;
    control.fault(GET_3GPP, &json!({ "status": 401 })).await;
    control.reset().await;
    let answer = bridge.ask(&json!({ "phoneNumber": NUMBER })).await;
    assert_eq!(answer.status, 502);
    assert_eq!(control.count(TOKEN).await, 1);
    assert_eq!(control.count(GET_3GPP).await, 2);
    control.clear_faults().await;
    is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
}
