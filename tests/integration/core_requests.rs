//! Every request that the bridge sends to the core, held to the `OpenAPI` file of its operation:
//! path, query, headers and body.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use pei_bridge::config::{Config, ConsentMode, GpsiToSupi};
use serde_json::{Value, json};
use simcore::{BsfPrefix, NfType, Options};

use crate::feeds::support::{Wanted, feed, live, until_live};
use crate::network::Network;
use crate::support::control::Control;
use crate::support::openapi::OpenApi;
use crate::support::{Bridge, PATIENCE, Rig, eventually};

/// Far more than any of these tests sends.
pub const KEPT: usize = 10_000;

/// Past the capture of the test harness, which shows nothing of a test that passes.
pub fn tell(what: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "pei-bridge, requests to the core: {what}"
    );
}

pub fn definitions() -> Option<OpenApi> {
    let definitions = OpenApi::find();
    if definitions.is_none() {
        tell("NOT CHECKED: the 3GPP files are not at ../shared/specs/3gpp of the repository");
    }
    definitions
}

/// Holds what came to its definitions, and tells which operations there were.
pub async fn check(control: Control, definitions: &OpenApi) -> BTreeSet<String> {
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

pub fn has_all(operations: &BTreeSet<String>, expected: &[&str]) {
    for operation in expected {
        assert!(
            operations.contains(*operation),
            "{operation}: {operations:?}"
        );
    }
}

/// Whether a request of this operation says this, in its query or in its body.
pub async fn says(control: Control, operation: &str, what: &str) -> bool {
    let says = |request: &Value, place: &str| {
        let said = request[place].as_str().unwrap_or_default().split('&');
        said.into_iter().any(|one| one.starts_with(what))
    };
    let requests = control.requests().await;
    let mut of_operation = requests
        .iter()
        .filter(|one| one["operationId"] == operation);
    of_operation.any(|one| says(one, "query") || says(one, "body"))
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

const EVERYBODY: [(NfType, u16); 6] = [
    (NfType::Nrf, 1),
    (NfType::Scp, 1),
    (NfType::Udm, 2),
    (NfType::Bsf, 1),
    (NfType::Upf, 1),
    (NfType::Smf, 1),
];
const SET_OF_UDMS: &str = "set1.udmset.5gc.mnc001.mcc001";
const ALL_FEEDS: Wanted = Wanted {
    sessions: true,
    equipment: true,
    consent: true,
};

/// All functions, the UDMs in a set of theirs, with every request kept.
async fn everybody(change: impl FnOnce(&mut Options)) -> Network {
    let network = Network::start(&EVERYBODY, |options| {
        options.record = KEPT;
        change(options);
    })
    .await;
    for udm in network.all(NfType::Udm) {
        let in_set = json!({ "nfSetIdList": [SET_OF_UDMS] });
        network.control.profile(&udm.id, &in_set).await;
    }
    network
}

/// With everything that a profile and a search can say, and told of everything or of nothing.
fn in_detail(config: &mut Config, feeds: Wanted) {
    feed(config, feeds);
    let registration = &mut config.core.registration;
    registration.fqdn = Some("bridge.operator.example".to_owned());
    registration.ipv6_addresses = vec!["2001:db8::5".parse().unwrap()];
    registration.plmns = vec!["001-01".parse().unwrap()];
    registration.snssais = vec!["1".parse().unwrap(), "1-00000a".parse().unwrap()];
    registration.locality = Some("north".to_owned());
    config.callback.listen = Some("127.0.0.1:0".parse().unwrap());
    if !config.feeds.any() {
        // Nobody comes to this address.
        let elsewhere = "https://bridge.operator.example:8443/pre";
        config.callback.uri = Some(elsewhere.parse().unwrap());
    }
    let discovery = &mut config.core.discovery;
    discovery.plmns = vec!["001-01".parse().unwrap()];
    discovery.snssais = vec!["1".parse().unwrap()];
    discovery.dnn = Some("internet".to_owned());
    discovery.preferred_locality = Some("north east".to_owned());
    discovery.nf_sets = vec![SET_OF_UDMS.parse().unwrap()];
    config.consent.mode = ConsentMode::Core;
}

/// Asks whatever can be asked, and waits for what goes on in the background.
async fn ask_and_look_around(bridge: &Bridge, control: Control, background: &[&str]) {
    eventually("addresses are found as well", async || {
        let ipv4 = json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59765}});
        (bridge.ask(&ipv4).await.status == 200).then_some(())
    })
    .await;
    ask_all(bridge).await;
    eventually("what goes on in the background has come", async || {
        let calls = control.calls().await;
        let many = |operation: &&str| calls[*operation].as_u64().unwrap_or_default() > 0;
        background.iter().all(many).then_some(())
    })
    .await;
}

/// What goes on with feeds, beside what is asked.
const OF_FEEDS: [&str; 6] = [
    "UpdateEeSubscription",
    "GetIndividualSubcription",
    "ReplaceIndividualSubcription",
    "Modify",
    "CreateEeSubscription",
    "CreateIndividualSubcription",
];

/// With feeds and without: what is told is not asked for.
async fn with_and_without_feeds(
    network: &Network,
    background: &[&str],
    change: impl Fn(&mut Config),
) {
    for feeds in [Wanted::default(), ALL_FEEDS] {
        let mut config = network.config();
        in_detail(&mut config, feeds);
        config.feeds.expiry = Duration::from_secs(2);
        change(&mut config);
        let bridge = Bridge::start(&config);
        let of_feeds: &[&str] = if config.feeds.any() { &OF_FEEDS } else { &[] };
        let background = [background, of_feeds].concat();
        ask_and_look_around(&bridge, network.control, &background).await;
        bridge.stop();
        bridge.ended().await;
    }
}

/// What a bridge asks that finds everybody and is told of everything.
const OF_ALL: [&str; 18] = [
    "CreateSubscription",
    "RemoveSubscription",
    "SearchNFInstances",
    "GetPCFBindings",
    "SearchUeIpInfo",
    "GetSupiOrGpsi",
    "GetUcData",
    "Get3GppRegistration",
    "GetNon3GppRegistration",
    "CreateEeSubscription",
    "UpdateEeSubscription",
    "DeleteEeSubscription",
    "CreateIndividualSubcription",
    "GetIndividualSubcription",
    "ReplaceIndividualSubcription",
    "DeleteIndividualSubcription",
    "Subscribe",
    "Unsubscribe",
];

#[tokio::test]
async fn registration_discovery_and_tokens_conform() {
    let Some(definitions) = definitions() else {
        return;
    };
    let network = everybody(|options| {
        options.settings.heart_beat_timer = 1;
        options.settings.require_tokens = true;
        options.settings.subscription_seconds = 2;
    })
    .await;
    let background = ["UpdateNFInstance", "UpdateSubscription"];
    with_and_without_feeds(&network, &background, |config| {
        config.core.tokens.enabled = true;
    })
    .await;
    let control = network.control;
    let registered = control.request("RegisterNFInstance").await;
    let profile = registered["body"].as_str().unwrap();
    assert!(profile.contains("\"nfServices\""), "{profile}");
    let operations = check(control, &definitions).await;
    has_all(&operations, &OF_ALL);
    let expected = [
        "RegisterNFInstance",
        "UpdateNFInstance",
        "DeregisterNFInstance",
        "UpdateSubscription",
        "AccessTokenRequest",
        "Modify",
    ];
    has_all(&operations, &expected);
    for (operation, what) in [
        ("SearchNFInstances", "target-nf-set-id="),
        ("SearchNFInstances", "target-nf-type=SMF"),
        ("SearchNFInstances", "upf-n6-ip="),
        ("AccessTokenRequest", "scope=nudm-ee"),
        ("AccessTokenRequest", "scope=nsmf-event-exposure"),
    ] {
        assert!(says(control, operation, what).await, "{operation} {what}");
    }
    tell(
        "registration, status subscriptions, discovery and tokens are checked against the 3GPP files",
    );
}

#[tokio::test]
async fn what_goes_through_an_scp_conforms() {
    let Some(definitions) = definitions() else {
        return;
    };
    let network = everybody(|options| options.settings.subscription_seconds = 2).await;
    for scp_discovers in [false, true] {
        with_and_without_feeds(&network, &[], |config| {
            config.core.scp = network.roots(NfType::Scp);
            config.core.scp_discovers = scp_discovers;
            if scp_discovers && !config.feeds.any() {
                config.core.nrf.clear();
            }
        })
        .await;
    }
    let requests = network.control.requests().await;
    for name in [
        "3gpp-sbi-target-apiroot",
        "3gpp-sbi-routing-binding",
        "3gpp-sbi-discovery-supi",
        "3gpp-sbi-discovery-gpsi",
        "3gpp-sbi-discovery-target-nf-set-id",
        "3gpp-sbi-discovery-upf-n6-ip",
    ] {
        let mut requests = requests.iter();
        assert!(
            requests.any(|one| one["headers"].get(name).is_some()),
            "{name}"
        );
    }
    let operations = check(network.control, &definitions).await;
    has_all(&operations, &OF_ALL);
    tell("requests through an SCP are checked against the 3GPP files");
}

#[tokio::test]
async fn subscriptions_conform() {
    let Some(definitions) = definitions() else {
        return;
    };
    let rig = Rig::with(recording(), |config| {
        feed(config, ALL_FEEDS);
        config.consent.mode = ConsentMode::Core;
        config.api.request_timeout = PATIENCE;
        config.feeds.expiry = Duration::from_secs(2);
    })
    .await;
    until_live(&rig.bridge, ALL_FEEDS).await;
    ask_all(&rig.bridge).await;
    eventually("consent is subscribed to", async || {
        (live(&rig.bridge, "consent").await > 0.5).then_some(())
    })
    .await;
    let (control, bridge) = (rig.control, rig.bridge);
    ask_and_look_around(&bridge, control, &OF_FEEDS).await;
    bridge.stop();
    bridge.ended().await;
    let operations = check(control, &definitions).await;
    has_all(&operations, &OF_FEEDS);
    let expected = [
        "DeleteIndividualSubcription",
        "DeleteEeSubscription",
        "Subscribe",
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
