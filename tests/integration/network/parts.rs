//! UDMs of which each serves a part of the subscriptions.

use serde_json::json;
use simcore::NfType;

use super::{NUMBER, Network, is_answered, until_answered};
use crate::core_requests;
use crate::support::control::GET_3GPP;
use crate::support::{Bridge, eventually};
use crate::tls::support::Log;

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

/// Each subscriber is searched for, and each result says the same again.
#[tokio::test]
async fn ranges_that_cannot_be_read_are_said_once_however_many_are_searched_for() {
    let instances = [(NfType::Nrf, 1), (NfType::Udm, 2)];
    let network = Network::start(&instances, |options| options.record = core_requests::KEPT).await;
    let patterns = ["^msisdn-(?!999)[0-9]{5,15}$", "^(?!msisdn-35).*$"];
    for (udm, pattern) in network.all(NfType::Udm).iter().zip(patterns) {
        let serves = json!({ "udmInfo": { "gpsiRanges": [{ "pattern": pattern }] } });
        network.control.profile(&udm.id, &serves).await;
    }
    let (log, _listening) = Log::listen();
    let bridge = Bridge::start(&network.config());
    until_answered(&bridge).await;
    let other = json!({ "phoneNumber": "+34600000002" });
    assert_eq!(bridge.ask(&other).await.status, 200);
    for number in ["123456789", "34600000002"] {
        let search = format!("gpsi=msisdn-{number}");
        assert!(core_requests::says(network.control, "SearchNFInstances", &search).await);
    }
    let said = log.lines_with("cannot be read or are too many");
    assert_eq!(said.len(), 1, "{said:?}");
}
