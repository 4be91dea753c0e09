//! Through an SCP, which is told whom we chose, or chooses itself.

use serde_json::json;
use simcore::{Dialect, NfType};

use super::{NUMBER, Network, is_answered, until_answered};
use crate::support::{Bridge, eventually};

const WITH_SCP: [(NfType, u16); 5] = [
    (NfType::Nrf, 1),
    (NfType::Scp, 2),
    (NfType::Udm, 2),
    (NfType::Bsf, 1),
    (NfType::Upf, 1),
];

#[tokio::test]
async fn an_scp_passes_on_to_whom_we_chose() {
    let network = Network::start(&WITH_SCP, |_| {}).await;
    let mut config = network.config();
    config.core.scp = network.roots(NfType::Scp);
    let bridge = Bridge::start(&config);
    until_answered(&bridge).await;
    let (control, udms) = (network.control, network.all(NfType::Udm));
    eventually("both instances are chosen", async || {
        is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
        let [first, second] = [&udms[0].id, &udms[1].id];
        let both = control.total_at(first).await > 0 && control.total_at(second).await > 0;
        both.then_some(())
    })
    .await;
    eventually("addresses as well", async || {
        let body = json!({ "ipv6Address": "2001:db8:85a3:8d3::1" });
        (bridge.ask(&body).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_scp_finds_the_instances_itself() {
    let network = Network::start(&WITH_SCP, |_| {}).await;
    let mut config = network.config();
    config.core.nrf.clear();
    config.core.scp = network.roots(NfType::Scp);
    config.core.scp_discovers = true;
    let bridge = Bridge::start(&config);
    bridge.until_ready().await;
    for body in [
        json!({ "phoneNumber": NUMBER }),
        json!({ "ipv6Address": "2001:db8:85a3:8d3::1" }),
        json!({ "ipv4Address": { "publicAddress": "84.125.93.10", "publicPort": 59765 } }),
    ] {
        is_answered(&bridge, &body).await;
    }
    assert_eq!(network.control.count("SearchNFInstances").await, 0);
}

#[tokio::test]
async fn one_scp_can_go() {
    let network = Network::start(&WITH_SCP, |_| {}).await;
    let mut config = network.config();
    config.core.scp = network.roots(NfType::Scp);
    let bridge = Bridge::start(&config);
    until_answered(&bridge).await;
    let scp = network.one(NfType::Scp);
    network.control.order(&scp.id, "kill").await;
    for _ in 0..20 {
        is_answered(&bridge, &json!({ "phoneNumber": NUMBER })).await;
    }
}

#[tokio::test]
async fn an_scp_that_drops_headers_and_prefixes_serves_as_well() {
    let network = Network::start(&WITH_SCP, |options| options.dialect = Dialect::Open5gs).await;
    let mut config = network.config();
    config.core.udm = network.roots(NfType::Udm);
    config.core.nrf.clear();
    config.core.scp = network.roots(NfType::Scp);
    let bridge = Bridge::start(&config);
    bridge.until_ready().await;
    // This UDM takes no phone numbers, and says so itself.
    let answer = bridge.ask(&json!({ "phoneNumber": NUMBER })).await;
    assert_eq!(answer.status, 404);
    let udms = network.all(NfType::Udm);
    let asked = [&udms[0].id, &udms[1].id].map(|id| network.control.total_at(id));
    let [first, second] = asked;
    assert!(first.await + second.await > 0);
}
