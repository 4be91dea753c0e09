//! Every request that the bridge sends to the core, held to the `OpenAPI` file of its operation:
//! path, query, headers and body.

use std::collections::BTreeSet;
use std::io::Write as _;

use pei_bridge::config::{Config, ConsentMode, GpsiToSupi};
use serde_json::{Value, json};
use simcore::{BsfPrefix, NfType, Options};

use crate::feeds::support::{Wanted, feed, live, until_live};
use crate::network::Network;
use crate::support::control::Control;
use crate::support::openapi::OpenApi;
use crate::support::{Bridge, PATIENCE, Rig, eventually};

/// Far more than any of these tests sends.
const KEPT: usize = 10_000;

/// Past the capture of the test harness, which shows nothing of a test that passes.
fn tell(what: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "pei-bridge, requests to the core: {what}"
    );
}

fn definitions() -> Option<OpenApi> {
    let definitions = OpenApi::find();
    if definitions.is_none() {
        tell("NOT CHECKED: the 3GPP files are not at ../shared/specs/3gpp of the repository");
    }
    definitions
}

/// Holds what came to its definitions, and tells which operations there were.
async fn check(control: Control, definitions: &OpenApi) -> BTreeSet<String> {
    let requests = control.requests().await;
    assert!(requests.len() < KEPT);
    let mut operations = BTreeSet::new();
    for request in requests {
        let faults = definitions.faults(&request);
        assert!(faults.is_empty(), "{faults:?} in {request}");
        operations.insert(request["operationId"].as_str().unwrap().to_owned());
    }
    operations
}

fn has_all(operations: &BTreeSet<String>, expected: &[&str]) {
    for operation in expected {
        assert!(
            operations.contains(*operation),
            "{operation}: {operations:?}"
        );
    }
}

fn recording() -> Options {
    Options {
        record: KEPT,
        subscribers: 10,
        ..Options::default()
    }
}

/// Every kind of identifier, and every kind of outcome of each.
fn questions() -> Vec<Value> {
    let numbers = (1..=11).map(|n| json!({"phoneNumber": format!("+346000000{n:02}")}));
    let others = [
        json!({"phoneNumber": "+123456789"}),
        json!({"networkAccessIdentifier": "123456789@domain.com"}),
        json!({"networkAccessIdentifier": "é/ü?#&=%@x.example"}),
        json!({"ipv6Address": "2001:db8:85a3:8d3:1:2:3:4"}),
        json!({"ipv6Address": "2001:db8:aa00::1"}),
        json!({"ipv6Address": "2001:db8:ffff::1"}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59765}}),
        json!({"ipv4Address": {"publicAddress": "203.0.113.0", "publicPort": 1024}}),
        json!({"ipv4Address": {"publicAddress": "198.51.100.7", "privateAddress": "198.51.100.7"}}),
    ];
    numbers.chain(others).collect()
}

async fn ask_all(bridge: &Bridge) {
    for question in questions() {
        let answer = bridge.ask(&question).await;
        assert!(
            matches!(answer.status, 200 | 403 | 404),
            "{question}: {}",
            answer.json()
        );
    }
}

#[tokio::test]
async fn lookups_conform() {
    let Some(definitions) = definitions() else {
        return;
    };
    let mut operations = BTreeSet::new();
    for (way, bsf_prefix) in [
        (GpsiToSupi::Direct, BsfPrefix::Address),
        (GpsiToSupi::Translation, BsfPrefix::Subnet),
    ] {
        let options = Options {
            bsf_prefix,
            ..recording()
        };
        let rig = Rig::with(options, |config| {
            config.core.gpsi_to_supi = way;
            config.consent.mode = ConsentMode::Core;
        })
        .await;
        ask_all(&rig.bridge).await;
        operations.extend(check(rig.control, &definitions).await);
    }
    let expected = [
        "Get3GppRegistration",
        "GetNon3GppRegistration",
        "GetSupiOrGpsi",
        "GetUcData",
        "GetPCFBindings",
        "SearchUeIpInfo",
    ];
    has_all(&operations, &expected);
    tell("lookups are checked against the 3GPP files");
}

const EVERYBODY: [(NfType, u16); 5] = [
    (NfType::Nrf, 1),
    (NfType::Scp, 1),
    (NfType::Udm, 2),
    (NfType::Bsf, 1),
    (NfType::Upf, 1),
];

/// With everything that a profile and a search can say.
fn in_detail(config: &mut Config) {
    let registration = &mut config.core.registration;
    registration.fqdn = Some("bridge.operator.example".to_owned());
    registration.ipv6_addresses = vec!["2001:db8::5".parse().unwrap()];
    registration.plmns = vec!["001-01".parse().unwrap()];
    registration.snssais = vec!["1".parse().unwrap(), "1-00000a".parse().unwrap()];
    registration.locality = Some("north".to_owned());
    config.callback.listen = Some("127.0.0.1:0".parse().unwrap());
    config.callback.uri = Some("https://bridge.operator.example:8443/pre".parse().unwrap());
    let discovery = &mut config.core.discovery;
    discovery.plmns = vec!["001-01".parse().unwrap()];
    discovery.snssais = vec!["1".parse().unwrap()];
    discovery.dnn = Some("internet".to_owned());
    discovery.preferred_locality = Some("north east".to_owned());
    config.consent.mode = ConsentMode::Core;
}

#[tokio::test]
async fn registration_discovery_and_tokens_conform() {
    let Some(definitions) = definitions() else {
        return;
    };
    let network = Network::start(&EVERYBODY, |options| {
        options.record = KEPT;
        options.settings.heart_beat_timer = 1;
        options.settings.require_tokens = true;
        options.settings.subscription_seconds = 2;
    })
    .await;
    let mut config = network.config();
    in_detail(&mut config);
    config.core.tokens.enabled = true;
    let bridge = Bridge::start(&config);
    eventually("addresses are found as well", async || {
        let ipv4 = json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59765}});
        (bridge.ask(&ipv4).await.status == 200).then_some(())
    })
    .await;
    ask_all(&bridge).await;
    eventually(
        "heart-beats come, and subscriptions are prolonged",
        async || {
            let calls = network.control.calls().await;
            let many = |operation: &str| calls[operation].as_u64().unwrap_or_default() > 0;
            (many("UpdateNFInstance") && many("UpdateSubscription")).then_some(())
        },
    )
    .await;
    let registered = network.control.request("RegisterNFInstance").await;
    let profile = registered["body"].as_str().unwrap();
    assert!(profile.contains("\"nfServices\""), "{profile}");
    bridge.stop();
    bridge.ended().await;
    let operations = check(network.control, &definitions).await;
    let expected = [
        "RegisterNFInstance",
        "UpdateNFInstance",
        "DeregisterNFInstance",
        "CreateSubscription",
        "UpdateSubscription",
        "RemoveSubscription",
        "SearchNFInstances",
        "AccessTokenRequest",
        "GetUcData",
    ];
    has_all(&operations, &expected);
    tell(
        "registration, status subscriptions, discovery and tokens are checked against the 3GPP files",
    );
}

#[tokio::test]
async fn what_goes_through_an_scp_conforms() {
    let Some(definitions) = definitions() else {
        return;
    };
    let network = Network::start(&EVERYBODY, |options| options.record = KEPT).await;
    for scp_discovers in [false, true] {
        let mut config = network.config();
        in_detail(&mut config);
        config.core.scp = network.roots(NfType::Scp);
        config.core.scp_discovers = scp_discovers;
        if scp_discovers {
            config.core.nrf.clear();
        }
        let bridge = Bridge::start(&config);
        eventually("addresses are found as well", async || {
            let ipv6 = json!({"ipv6Address": "2001:db8:85a3:8d3::1"});
            (bridge.ask(&ipv6).await.status == 200).then_some(())
        })
        .await;
        ask_all(&bridge).await;
    }
    let header = |name: &str| {
        let name = name.to_owned();
        async move {
            let requests = network.control.requests().await;
            requests
                .iter()
                .any(|request| request["headers"].get(&name).is_some())
        }
    };
    assert!(header("3gpp-sbi-target-apiroot").await);
    assert!(header("3gpp-sbi-discovery-supi").await);
    check(network.control, &definitions).await;
    tell("requests through an SCP are checked against the 3GPP files");
}

#[tokio::test]
async fn subscriptions_conform() {
    let Some(definitions) = definitions() else {
        return;
    };
    let wanted = Wanted {
        sessions: true,
        equipment: true,
        consent: true,
    };
    let rig = Rig::with(recording(), |config| {
        feed(config, wanted);
        config.consent.mode = ConsentMode::Core;
        config.api.request_timeout = PATIENCE;
        config.feeds.expiry = std::time::Duration::from_secs(2);
    })
    .await;
    until_live(&rig.bridge, wanted).await;
    ask_all(&rig.bridge).await;
    eventually("consent is subscribed to", async || {
        (live(&rig.bridge, "consent").await > 0.5).then_some(())
    })
    .await;
    let (control, bridge) = (rig.control, rig.bridge);
    eventually("subscriptions are prolonged", async || {
        let calls = control.calls().await;
        let many = |operation: &str| calls[operation].as_u64().unwrap_or_default() > 0;
        (many("UpdateEeSubscription") && many("Modify")).then_some(())
    })
    .await;
    bridge.stop();
    bridge.ended().await;
    let operations = check(control, &definitions).await;
    let expected = [
        "CreateIndividualSubcription",
        "DeleteIndividualSubcription",
        "CreateEeSubscription",
        "UpdateEeSubscription",
        "DeleteEeSubscription",
        "Subscribe",
        "Modify",
        "Unsubscribe",
    ];
    has_all(&operations, &expected);
    tell("subscriptions are checked against the 3GPP files");
}

/// A check that finds nothing is worth something only if it can find.
#[test]
fn a_wrong_request_is_found() {
    let Some(definitions) = definitions() else {
        return;
    };
    let good = json!({"operationId": "GetUcData", "method": "GET",
        "path": "/nudm-sdm/v2/imsi-001010000000001/uc-data",
        "query": "uc-purpose=NW_CAP_EXPOSURE",
        "headers": {"user-agent": "NEF-x", "3gpp-sbi-max-rsp-time": "2000"}, "body": ""});
    assert_eq!(definitions.faults(&good), Vec::<String>::new());
    for (pointer, wrong) in [
        ("/method", json!("POST")),
        ("/path", json!("/nudm-sdm/v1/imsi-001010000000001/uc-data")),
        ("/path", json!("/nudm-sdm/v2/uc-data")),
        ("/query", json!("ucPurpose=x")),
        ("/query", json!("supported-features=xyz")),
        ("/headers/user-agent", json!("curl")),
        ("/headers/3gpp-sbi-max-rsp-time", json!("123456")),
        ("/body", json!("{}")),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = wrong;
        assert!(!definitions.faults(&bad).is_empty(), "{bad}");
    }
    let search = json!({"operationId": "SearchNFInstances", "method": "GET",
        "path": "/nnrf-disc/v1/nf-instances", "query": "target-nf-type=UDM",
        "headers": {}, "body": ""});
    assert!(!definitions.faults(&search).is_empty(), "no requester");
    let register = json!({"operationId": "RegisterNFInstance", "method": "PUT",
        "path": "/nnrf-nfm/v1/nf-instances/0b1d6c1e-8f4a-4a57-9b7e-3c6f1f6f4a10", "query": null,
        "headers": {"content-type": "application/json"},
        "body": "{\"nfType\": \"NEF\", \"nfStatus\": 1}"});
    assert!(!definitions.faults(&register).is_empty());
}
