//! The configurations in `deploy/cores`, each against a core of its kind. What only an operator can
//! know (addresses, issuers) is laid over them as variables of the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use http::Method;
use pei_bridge::config::{Config, Layers};
use serde_json::{Value, json};
use simcore::{Dialect, NfType};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::Network;
use crate::access::support::{AUDIENCE, SCOPES};
use crate::feeds::support::{FIRST, OTHER_IMEISV, OTHER_PEI, control, settings};
use crate::support::client::Ask;
use crate::support::process::file;
use crate::support::{Bridge, eventually};
use crate::tls::authority::{Authority, Folder};

const EVERYBODY: [(NfType, u16); 6] = [
    (NfType::Nrf, 1),
    (NfType::Scp, 2),
    (NfType::Smf, 2),
    (NfType::Udm, 2),
    (NfType::Bsf, 1),
    (NfType::Upf, 1),
];

fn sample(name: &str, variables: &[(&str, String)]) -> Config {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/cores")
        .join(name);
    let own = [
        ("API__LISTEN", "127.0.0.1:0".to_owned()),
        ("API__REQUEST_TIMEOUT", "20s".to_owned()),
        ("ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
        ("AUTH__MODE", "none".to_owned()),
    ];
    let variables = own.iter().chain(variables);
    let environment: BTreeMap<String, String> = variables
        .map(|(key, value)| (format!("PEI_BRIDGE__{key}"), value.clone()))
        .collect();
    let layers = Layers {
        file: Some(sample),
        environment,
        ..Layers::default()
    };
    layers.load().unwrap()
}

fn roots(network: &Network, nf_type: NfType) -> String {
    let roots: Vec<String> = network.roots(nf_type);
    json!(roots).to_string()
}

/// Every kind of identifier, once its functions are found.
async fn answers(bridge: &Bridge, bodies: &[Value]) {
    for body in bodies {
        eventually("the device is told", async || {
            let answer = bridge.ask(body).await;
            (answer.status == 200).then(|| answer.is_imei(super::IMEI))
        })
        .await;
    }
}

fn every_kind() -> [Value; 4] {
    [
        json!({ "phoneNumber": "+123456789" }),
        json!({ "networkAccessIdentifier": "123456789@domain.com" }),
        json!({ "ipv6Address": "2001:db8:85a3:8d3::1" }),
        json!({ "ipv4Address": { "publicAddress": "84.125.93.10", "publicPort": 59765 } }),
    ]
}

#[tokio::test]
async fn direct() {
    let network = Network::start(&EVERYBODY, |_| {}).await;
    let variables = [
        ("CORE__UDM", roots(&network, NfType::Udm)),
        ("CORE__BSF", roots(&network, NfType::Bsf)),
        ("CORE__UPF", roots(&network, NfType::Upf)),
    ];
    let bridge = Bridge::start(&sample("direct.toml", &variables));
    answers(&bridge, &every_kind()).await;
    assert_eq!(network.control.count("SearchNFInstances").await, 0);
}

#[tokio::test]
async fn nrf() {
    let network =
        Network::start(&EVERYBODY, |options| options.settings.require_tokens = true).await;
    let variables = [("CORE__NRF", roots(&network, NfType::Nrf))];
    let bridge = Bridge::start(&sample("nrf.toml", &variables));
    answers(&bridge, &every_kind()).await;
    assert_eq!(network.control.count("RegisterNFInstance").await, 1);
    assert!(network.control.count("AccessTokenRequest").await >= 4);
}

#[tokio::test]
async fn scp() {
    let network = Network::start(&EVERYBODY, |_| {}).await;
    let variables = [("CORE__SCP", roots(&network, NfType::Scp))];
    let bridge = Bridge::start(&sample("scp.toml", &variables));
    answers(&bridge, &every_kind()).await;
    assert_eq!(network.control.count("SearchNFInstances").await, 0);
}

/// What the core is told leads to the listener, whose port is not known before it listens.
async fn forward(front: TcpListener, to: SocketAddr) {
    loop {
        let (mut outside, _) = front.accept().await.unwrap();
        tokio::spawn(async move {
            let mut inside = TcpStream::connect(to).await?;
            copy_bidirectional(&mut outside, &mut inside).await
        });
    }
}

/// Addresses are asked of nobody, and a device that is another one shows at once.
#[tokio::test]
async fn feeds() {
    let (folder, operator) = (Folder::new(), Authority::new("The operator"));
    let of_bridge = operator.issue();
    let network = Network::start(&EVERYBODY, |options| {
        options.peer_ca = Some(folder.write("operator.pem", &operator.pem()));
    })
    .await;
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = control(network.control, Method::GET, "/sim/nrf/jwks", &Value::Null).await;
    let keys = file(".json", &keys.to_string());
    let token = json!({"notificationToken": {"audience": "NEF", "scope": "pei-bridge-callback"}});
    settings(network.control, &token).await;
    let written = |key, text: &str| (key, folder.write(key, text).display().to_string());
    let variables = [
        ("CORE__NRF", roots(&network, NfType::Nrf)),
        ("CALLBACK__LISTEN", "127.0.0.1:0".to_owned()),
        (
            "CALLBACK__URI",
            format!("https://{}", front.local_addr().unwrap()),
        ),
        ("CALLBACK__NRF_KEYS_FILE", keys.display().to_string()),
        written("CALLBACK__TLS__CERTIFICATE_FILE", &of_bridge.certificate),
        written("CALLBACK__TLS__KEY_FILE", &of_bridge.key),
    ];
    let bridge = Bridge::start(&sample("feeds.toml", &variables));
    tokio::spawn(forward(front, bridge.callback.unwrap()));
    let all = ["sessions", "equipment", "consent"];
    eventually("all feeds are relied on", async || {
        bridge.ask(&every_kind()[0]).await;
        let mut trusted = 0.0;
        for feed in all {
            let labels = [&*format!("feed=\"{feed}\""), "state=\"trusted\""];
            trusted += bridge.metric("pei_bridge_feed_state", &labels).await;
        }
        (trusted > 2.5).then_some(())
    })
    .await;
    answers(&bridge, &every_kind()).await;
    network.control.reset().await;
    network.control.swap_device(FIRST, OTHER_PEI).await;
    for body in every_kind() {
        let answer = bridge.ask(&body).await;
        assert_eq!(answer.json()["imeisv"], OTHER_IMEISV, "{body}");
    }
    for operation in ["GetPCFBindings", "Get3GppRegistration"] {
        assert_eq!(network.control.count(operation).await, 0, "{operation}");
    }
}

#[tokio::test]
async fn open5gs() {
    let network = Network::start(&EVERYBODY, |options| options.dialect = Dialect::Open5gs).await;
    let issuer = format!("http://{}/oidc", network.control.0);
    let issuers = format!(
        "[{{ issuer = \"{issuer}\", audience = \"{AUDIENCE}\", jwks_uri = \"{issuer}/jwks\" }}]"
    );
    let table = file(".csv", "gpsi,supi\nmsisdn-123456789,imsi-001010000000001\n");
    let variables = [
        ("CORE__NRF", roots(&network, NfType::Nrf)),
        ("CORE__GPSI_TO_SUPI_FILE", table.display().to_string()),
        ("AUTH__MODE", "jwt".to_owned()),
        ("AUTH__ISSUERS", issuers),
    ];
    let bridge = Bridge::start(&sample("open5gs.toml", &variables));
    let form = format!("client_id=consumer&{SCOPES}");
    let named = format!("{form}&login_hint=tel:%2B123456789");
    let named = network.control.token(&named).await;
    let ask = Ask::identifier(&json!({ "phoneNumber": "+123456789" }));
    eventually("the device is told", async || {
        let answer = bridge.send(&ask.clone().bearer(&named)).await;
        (answer.status == 200).then(|| answer.is_imei(super::IMEI))
    })
    .await;
    // A token that names nobody carries no consent.
    let unnamed = network.control.token(&form).await;
    let answer = bridge.send(&ask.bearer(&unnamed)).await;
    assert_eq!(answer.status, 403);
}
