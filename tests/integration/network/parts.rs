//! UDMs of which each serves a part of the subscriptions.

use serde_json::json;
use simcore::NfType;

use super::{NUMBER, Network, is_answered, until_answered};
use crate::core_requests;
use crate::support::control::GET_3GPP;
use crate::support::{Bridge, eventually};

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

/// Only the NRF knows who is in a group: it is asked by the name that is known, public or not.
#[tokio::test]
async fn who_serves_a_group_is_asked_of_the_nrf_as_it_is_defined() {
    let instances = [(NfType::Nrf, 1), (NfType::Udm, 2), (NfType::Bsf, 1)];
    let network = Network::start(&instances, |options| options.record = core_requests::KEPT).await;
    let control = network.control;
    for (udm, group) in network.all(NfType::Udm).iter().zip(["north", "south"]) {
        let serves = json!({ "udmInfo": { "groupId": group } });
        control.profile(&udm.id, &serves).await;
    }
    let bridge = Bridge::start(&network.config());
    until_answered(&bridge).await;
    let address = json!({ "ipv6Address": "2001:db8:85a3:8d3:1:2:3:4" });
    eventually("the BSF is found", async || {
        (bridge.ask(&address).await.status == 200).then_some(())
    })
    .await;
    let search = "SearchNFInstances";
    for identity in ["gpsi=msisdn-", "supi=imsi-"] {
        assert!(
            core_requests::says(control, search, identity).await,
            "{identity}"
        );
    }
    let Some(definitions) = core_requests::definitions() else {
        return;
    };
    core_requests::check(control, &definitions).await;
    core_requests::tell("searches for a subscriber are checked against the 3GPP files");
}
