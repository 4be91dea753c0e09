//! UDMs of which each serves a part of the subscriptions.

use serde_json::json;
use simcore::NfType;

use super::{NUMBER, Network, is_answered, until_answered};
use crate::support::Bridge;
use crate::support::control::GET_3GPP;

/// Two UDMs that state which SUPIs they serve, and of no public name whose it is.
async fn two_parts() -> Network {
    let network = Network::start(&[(NfType::Nrf, 1), (NfType::Udm, 2)], |_| {}).await;
    for (udm, last) in network.all(NfType::Udm).iter().zip(["4", "9"]) {
        let (start, end) = (format!("00101000000000{last}"), "001019999999999");
        let serves = json!({ "udmInfo": { "supiRanges": [{ "start": start, "end": end }] } });
        network.control.profile(&udm.id, &serves).await;
    }
    network
}

#[tokio::test]
async fn a_number_that_one_part_does_not_know_is_not_said_to_be_unknown() {
    let network = two_parts().await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    let unknown = json!({ "status": 404, "cause": "USER_NOT_FOUND" });
    control.fault_at(&udms[0].id, GET_3GPP, &unknown).await;
    let number = json!({ "phoneNumber": NUMBER });
    let bridge = Bridge::start(&network.config());
    until_answered(&bridge).await;
    for _ in 0..20 {
        is_answered(&bridge, &number).await;
    }
    // Nobody knows which part it is in, and one of them cannot say.
    let silent = json!({ "status": 503, "cause": "NF_CONGESTION" });
    control.fault_at(&udms[1].id, GET_3GPP, &silent).await;
    for bridge in [Bridge::start(&network.config()), bridge] {
        bridge.until_ready().await;
        for _ in 0..10 {
            assert_eq!(bridge.ask(&number).await.status, 503);
        }
    }
    control.fault_at(&udms[1].id, GET_3GPP, &unknown).await;
    let bridge = Bridge::start(&network.config());
    bridge.until_ready().await;
    assert_eq!(bridge.ask(&number).await.status, 404);
}
