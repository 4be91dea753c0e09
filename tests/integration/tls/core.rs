//! Towards the core: TLS and mTLS, and what an operator is told when they fail.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pei_bridge::config::{ClientCertificates, ClientTls, Config};
use rustls::ServerConfig;
use serde_json::json;
use simcore::{Options, Simcore};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::authority::{Authority, Folder, Identity};
use super::support::{IMEI, Log, NUMBER, Offer, ask_well, config, core, first_device, server_tls};
use crate::support::client::Connection;
use crate::support::control::{Control, GET_3GPP};
use crate::support::{Bridge, eventually};

const UNREACHABLE: &str = "core endpoint is not reachable";

/// The core's authority and files.
struct Site {
    authority: Authority,
    folder: Folder,
}

impl Site {
    fn new() -> Self {
        Self {
            authority: Authority::new("Core"),
            folder: Folder::new(),
        }
    }

    /// Asks `root` with trust in this site's authority.
    fn config(&self, root: &str) -> Config {
        let mut config = config(root);
        config.core.tls.ca_file = Some(self.trust());
        config
    }

    fn trust(&self) -> PathBuf {
        self.folder.write("trust.pem", &self.authority.pem())
    }

    fn show(&self, tls: &mut ClientTls, identity: &Identity) {
        tls.certificate_file = Some(self.folder.write("nef.pem", &identity.certificate));
        tls.key_file = Some(self.folder.write("nef.key", &identity.key));
    }
}

fn root(core: &Simcore, host: &str) -> String {
    format!("https://{host}:{}", core.core_addr().port())
}

/// 503, and one line in the log for the endpoint, which says why and of whom nothing.
async fn fails(config: &Config, reasons: &[&str]) {
    let (log, _listening) = Log::listen();
    let bridge = Bridge::start(config);
    for _ in 0..3 {
        bridge
            .send(&first_device())
            .await
            .is_error(503, "UNAVAILABLE");
    }
    let lines = log.lines_with(UNREACHABLE);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("UDM"), "{lines:?}");
    assert!(
        reasons.iter().any(|reason| lines[0].contains(reason)),
        "{lines:?}"
    );
    assert!(!log.text().contains(NUMBER), "a number in the log");
}

#[tokio::test]
async fn a_core_is_asked_over_tls_by_name_and_by_address() {
    let site = Site::new();
    let core = core(&site.folder, &site.authority.issue(), None).await;
    for host in ["localhost", "127.0.0.1"] {
        let bridge = Bridge::start(&site.config(&root(&core, host)));
        bridge.send(&first_device()).await.is_imei(IMEI);
    }
}

#[tokio::test]
async fn a_core_that_wants_our_certificate_gets_it() {
    let site = Site::new();
    let clients = Authority::new("Network functions");
    let core = core(&site.folder, &site.authority.issue(), Some(&clients)).await;
    let mut config = site.config(&root(&core, "localhost"));
    site.show(&mut config.core.tls, &clients.issue_for(&["nef.example"]));
    let bridge = Bridge::start(&config);
    bridge.send(&first_device()).await.is_imei(IMEI);
}

/// With TLS 1.3 we write before we can know that we are refused, and may find the connection closed
/// before we come to read why.
const CLOSED: [&str; 2] = ["broken pipe", "connection reset"];

#[tokio::test]
async fn a_core_that_refuses_our_certificate_is_said_to_do_so() {
    let site = Site::new();
    let (clients, strangers) = (
        Authority::new("Network functions"),
        Authority::new("Strangers"),
    );
    let core = core(&site.folder, &site.authority.issue(), Some(&clients)).await;
    let mut config = site.config(&root(&core, "localhost"));
    fails(&config, &["CertificateRequired", CLOSED[0], CLOSED[1]]).await;
    site.show(&mut config.core.tls, &strangers.issue_for(&["nef.example"]));
    // With the alert that webpki's refusal becomes; its name is the library's choice.
    fails(&config, &["received fatal alert", CLOSED[0], CLOSED[1]]).await;
}

#[tokio::test]
async fn a_core_that_is_not_whom_we_trust_is_not_asked() {
    let site = Site::new();
    let core = core(
        &site.folder,
        &site.authority.issue_for(&["localhost"]),
        None,
    )
    .await;
    // A good certificate for another name.
    fails(
        &site.config(&root(&core, "127.0.0.1")),
        &["not valid for name"],
    )
    .await;
    // A good name, and another authority.
    let mut config = site.config(&root(&core, "localhost"));
    let other = Authority::new("Somebody else").pem();
    config.core.tls.ca_file = Some(site.folder.write("other.pem", &other));
    fails(&config, &["UnknownIssuer"]).await;
    let control = Control(core.control_addr());
    assert_eq!(control.count(GET_3GPP).await, 0, "nothing was sent");
}

#[tokio::test]
async fn a_scheme_that_the_core_does_not_speak_fails() {
    let site = Site::new();
    let plain = Simcore::start(Options::default()).await.unwrap();
    fails(
        &site.config(&root(&plain, "localhost")),
        &["TLS: ", "HTTP/2"],
    )
    .await;
    let secure = core(&site.folder, &site.authority.issue(), None).await;
    let root = format!("http://{}", secure.core_addr());
    fails(&site.config(&root), &["HTTP/2"]).await;
}

#[tokio::test]
async fn a_core_that_does_not_agree_to_http2_is_no_core() {
    let site = Site::new();
    let identity = site.authority.issue();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.der()], identity.key_der())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let root = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let accepted = acceptor.accept(stream);
            // Kept until the client has had its say.
            tokio::spawn(async move {
                let mut stream = accepted.await?;
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
            });
        }
    });
    fails(&site.config(&root), &["does not agree to HTTP/2"]).await;
}

#[tokio::test]
async fn connections_are_lost_and_found_over_tls_as_in_clear() {
    let site = Site::new();
    let core = core(&site.folder, &site.authority.issue(), None).await;
    let mut config = site.config(&root(&core, "localhost"));
    config.cache.equipment = Duration::ZERO;
    let bridge = Bridge::start(&config);
    let control = Control(core.control_addr());
    bridge.send(&first_device()).await.is_imei(IMEI);
    for (mode, status) in [
        ("goaway", 503),
        ("refuse-stream", 503),
        ("reset", 502),
        ("truncate", 502),
    ] {
        control.fault(GET_3GPP, &json!({ "mode": mode })).await;
        assert_eq!(bridge.send(&first_device()).await.status, status, "{mode}");
        control.clear_faults().await;
        eventually("the device again", async || {
            let answer = bridge.send(&first_device()).await;
            (answer.status == 200).then_some(())
        })
        .await;
    }
}

async fn until_answered(bridge: &Bridge) {
    eventually("the device is told", async || {
        let answer = bridge.send(&first_device()).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_authority_that_changes_is_trusted_without_a_restart() {
    let site = Site::new();
    let core = core(&site.folder, &site.authority.issue(), None).await;
    let mut config = site.config(&root(&core, "localhost"));
    config.cache.equipment = Duration::ZERO;
    let former = Authority::new("Former");
    site.folder.write("trust.pem", &former.pem());
    let bridge = Bridge::start(&config);
    bridge
        .send(&first_device())
        .await
        .is_error(503, "UNAVAILABLE");
    let both = former.pem() + &site.authority.pem();
    site.folder.write("trust.pem", &both);
    until_answered(&bridge).await;
    // Half a file changes nothing, not even for connections that begin after it was read.
    let (log, _listening) = Log::listen();
    site.folder.write("trust.pem", &both[..both.len() / 2]);
    eventually("it is said", async || {
        let told = log.lines_with("changed files cannot be used");
        (!told.is_empty()).then_some(())
    })
    .await;
    let control = Control(core.control_addr());
    control.fault(GET_3GPP, &json!({ "mode": "goaway" })).await;
    bridge
        .send(&first_device())
        .await
        .is_error(503, "UNAVAILABLE");
    control.clear_faults().await;
    until_answered(&bridge).await;
    // Whoever is trusted no more is not asked any more.
    site.folder.write("trust.pem", &former.pem());
    eventually("nobody is trusted", async || {
        control.fault(GET_3GPP, &json!({ "mode": "goaway" })).await;
        bridge.send(&first_device()).await;
        control.clear_faults().await;
        let answer = bridge.send(&first_device()).await;
        (answer.status == 503).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_certificate_of_ours_that_changes_is_shown_without_a_restart() {
    let site = Site::new();
    let (clients, strangers) = (Authority::new("Functions"), Authority::new("Strangers"));
    let core = core(&site.folder, &site.authority.issue(), Some(&clients)).await;
    let mut config = site.config(&root(&core, "localhost"));
    site.show(&mut config.core.tls, &strangers.issue_for(&["nef.example"]));
    let bridge = Bridge::start(&config);
    bridge
        .send(&first_device())
        .await
        .is_error(503, "UNAVAILABLE");
    site.show(&mut config.core.tls, &clients.issue_for(&["nef.example"]));
    until_answered(&bridge).await;
}

#[tokio::test]
async fn a_request_goes_through_mutual_tls_on_both_sides() {
    let site = Site::new();
    let (functions, consumers) = (Authority::new("Functions"), Authority::new("Consumers"));
    let core = core(&site.folder, &site.authority.issue(), Some(&functions)).await;
    let mut config = site.config(&root(&core, "localhost"));
    site.show(&mut config.core.tls, &functions.issue_for(&["nef.example"]));
    let mut tls = server_tls(&site.folder, &consumers.issue());
    tls.client_certificates = ClientCertificates::Required;
    tls.client_ca_file = Some(site.folder.write("consumers.pem", &consumers.pem()));
    config.api.tls = Some(tls);
    let bridge = Bridge::start(&config);
    let identity = consumers.issue_for(&["consumer.example"]);
    let offer = Offer {
        identity: Some(&identity),
        ..Offer::new(&consumers)
    };
    let stream = offer.connect(bridge.api).await.unwrap();
    let mut connection = Connection::tls(stream, bridge.api).await.unwrap();
    ask_well(&mut connection).await;
}

#[tokio::test]
async fn a_core_in_clear_needs_no_trust() {
    let core = Simcore::start(Options::default()).await.unwrap();
    let mut config = config(&format!("http://{}", core.core_addr()));
    config.core.tls.ca_file = Some("/nonexistent/trust.pem".into());
    let bridge = Bridge::start(&config);
    bridge.send(&first_device()).await.is_imei(IMEI);
}
