//! Told through an SCP: what is subscribed to there is found again by what it is bound to.

use http::Method;
use pei_bridge::config::{Config, ConsentMode};
use serde_json::{Value, json};
use simcore::NfType;

use super::support::{
    EQUIPMENT, FIRST, OTHER_IMEISV, OTHER_PEI, Wanted, control, feed, live, losses, subscriptions,
    until_live,
};
use crate::core_requests;
use crate::network::Network;
use crate::support::control::GET_BINDINGS;
use crate::support::{Bridge, eventually};

const ALL: Wanted = Wanted {
    sessions: true,
    consent: true,
    ..EQUIPMENT
};
const SET: &str = "set1.udmset.5gc.mnc001.mcc001";

async fn network() -> Network {
    let instances = [
        (NfType::Nrf, 1),
        (NfType::Scp, 1),
        (NfType::Udm, 2),
        (NfType::Smf, 1),
        (NfType::Bsf, 1),
    ];
    let network = Network::start(&instances, |options| options.record = core_requests::KEPT).await;
    for udm in network.all(NfType::Udm) {
        let path = format!("/sim/instances/{}", udm.id);
        let set = json!({ "nfSetIdList": [SET] });
        control(network.control, Method::PATCH, &path, &set).await;
    }
    network
}

fn config(network: &Network) -> Config {
    let mut config = network.config();
    feed(&mut config, ALL);
    config.core.scp = network.roots(NfType::Scp);
    config.core.registration.enabled = false;
    config.consent.mode = ConsentMode::Core;
    config
}

/// The routing bindings of all requests of this operation; none of them is without one.
async fn bindings(network: &Network, operation: &str) -> Vec<String> {
    let mut bindings = Vec::new();
    for request in network.control.requests().await {
        if request["operationId"] == operation {
            let binding = &request["headers"]["3gpp-sbi-routing-binding"];
            bindings.push(binding.as_str().expect(operation).to_owned());
        }
    }
    bindings
}

#[tokio::test]
async fn subscriptions_are_prolonged_and_ended_where_they_are_bound_to() {
    let network = network().await;
    // Told whom we chose, or choosing itself.
    for scp_discovers in [false, true] {
        let mut config = config(&network);
        config.core.scp_discovers = scp_discovers;
        let bridge = Bridge::start(&config);
        until_live(&bridge, ALL).await;
        let body = json!({"phoneNumber": "123456789"});
        eventually("the consent is covered", async || {
            bridge.ask(&body).await;
            (live(&bridge, "consent").await > 0.5).then_some(())
        })
        .await;
        network.control.reset().await;
        let of_address = json!({"ipv6Address": "2001:db8:85a3:8d3:1:2:3:4"});
        assert_eq!(bridge.ask(&of_address).await.status, 200);
        assert_eq!(network.control.count(GET_BINDINGS).await, 0);
        network.control.swap_device(FIRST, OTHER_PEI).await;
        assert_eq!(bridge.ask(&body).await.json()["imeisv"], OTHER_IMEISV);
        let pei = "imeisv-4901542032375180";
        network.control.swap_device(FIRST, pei).await;
        let looks = ["UpdateEeSubscription", "GetIndividualSubcription", "Modify"];
        eventually("all are looked at", async || {
            let calls = network.control.calls().await;
            let looked = |operation: &str| calls[operation].as_u64() > Some(1);
            looks.into_iter().all(looked).then_some(())
        })
        .await;
        for feed in ["sessions", "equipment", "consent"] {
            assert!(losses(&bridge, feed).await < 0.5, "{feed}");
        }
        bridge.stop();
        bridge.ended().await;
        let ends = [
            "DeleteEeSubscription",
            "DeleteIndividualSubcription",
            "Unsubscribe",
        ];
        let smf = &network.one(NfType::Smf).id;
        let udms = network.all(NfType::Udm);
        for operation in looks.into_iter().chain(ends) {
            let kept = bindings(&network, operation).await;
            assert!(!kept.is_empty(), "{operation}");
            let at_udm = |binding: &String| {
                let of = |udm: &&simcore::InstanceAddress| {
                    *binding == format!("bl=nf-set; nfset={SET}; nfinst={}", udm.id)
                };
                udms.iter().any(of)
            };
            let at_smf = |binding: &String| *binding == format!("bl=nf-instance; nfinst={smf}");
            let right = kept.iter().all(at_udm) || kept.iter().all(at_smf);
            assert!(right, "{operation}: {kept:?}");
        }
        assert_eq!(subscriptions(network.control).await, Vec::<Value>::new());
    }
    let Some(definitions) = core_requests::definitions() else {
        return;
    };
    let operations = core_requests::check(network.control, &definitions).await;
    let expected = [
        "CreateEeSubscription",
        "UpdateEeSubscription",
        "DeleteEeSubscription",
        "CreateIndividualSubcription",
        "GetIndividualSubcription",
        "DeleteIndividualSubcription",
        "Subscribe",
        "Modify",
        "Unsubscribe",
    ];
    core_requests::has_all(&operations, &expected);
    core_requests::tell("feeds through an SCP are checked against the 3GPP files");
}
