//! Access tokens of the NRF.

use serde_json::json;
use simcore::NfType;

use super::{NUMBER, Network, is_answered, until_answered};
use crate::support::Bridge;
use crate::support::control::GET_3GPP;

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
    // Nudm_UECM and Nbsf_Management.
    assert_eq!(network.control.count(TOKEN).await, 2);
}

#[tokio::test]
async fn without_a_token_the_core_refuses_which_is_the_operators_to_mend() {
    let network = network().await;
    let bridge = Bridge::start(&network.config());
    crate::support::eventually("the UDM is found, and refuses", async || {
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
