//! The api listener over TLS: protocols, client certificates, reload, limits.

use std::time::{Duration, Instant};

use pei_bridge::config::{ClientCertificates, Config};
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use simcore::{Options, Simcore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::authority::{Authority, Folder};
use super::support::{H2, HTTP1, Log, Offer, ask_well, config, first_device, server_tls};
use crate::support::client::Connection;
use crate::support::{Bridge, PATIENCE, eventually};

const FAILED: &str = "pei_bridge_tls_handshakes_failed_total";
const RELOADS: &str = "pei_bridge_tls_reloads_total";

/// A bridge over TLS with a core in clear.
struct Rig {
    authority: Authority,
    folder: Folder,
    bridge: Bridge,
    _core: Simcore,
}

impl Rig {
    async fn start(change: impl FnOnce(&mut Config, &Folder)) -> Self {
        let core = Simcore::start(Options::default()).await.unwrap();
        let (authority, folder) = (Authority::new("Consumers' trust"), Folder::new());
        let mut config = config(&format!("http://{}", core.core_addr()));
        config.api.tls = Some(server_tls(&folder, &authority.issue()));
        change(&mut config, &folder);
        Self {
            bridge: Bridge::start(&config),
            authority,
            folder,
            _core: core,
        }
    }

    fn offer(&self) -> Offer<'_> {
        Offer::new(&self.authority)
    }

    /// As whole numbers, which is what is counted.
    async fn metric(&self, name: &str, label: &str) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of a few"
        )]
        let count = self.bridge.metric(name, &[label]).await as u64;
        count
    }

    /// The certificate that a new connection is shown.
    async fn shown(&self) -> CertificateDer<'static> {
        let stream = self.offer().connect(self.bridge.api).await.unwrap();
        shown_on(&stream)
    }
}

fn shown_on(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    chain[0].clone().into_owned()
}

/// What a peer says until it closes, however it closes.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let read = stream.read_to_end(&mut said);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("a close");
    said
}

#[tokio::test]
async fn both_protocols_are_spoken_over_both_versions_as_alpn_says() {
    let rig = Rig::start(|_, _| {}).await;
    for version in [&TLS12, &TLS13] {
        for (alpn, agreed) in [
            (&[H2][..], Some(H2)),
            (&[HTTP1], Some(HTTP1)),
            (&[HTTP1, H2], Some(H2)),
            (&[], None),
        ] {
            let offer = Offer {
                versions: &[version],
                alpn,
                ..rig.offer()
            };
            let stream = offer.connect(rig.bridge.api).await.unwrap();
            let (_, session) = stream.get_ref();
            assert_eq!(session.protocol_version(), Some(version.version));
            assert_eq!(session.alpn_protocol(), agreed);
            let mut client = Connection::tls(stream, rig.bridge.api).await.unwrap();
            ask_well(&mut client).await;
            ask_well(&mut client).await;
        }
    }
}

#[tokio::test]
async fn a_client_without_a_protocol_in_common_is_told_so() {
    let rig = Rig::start(|_, _| {}).await;
    let offer = Offer {
        alpn: &[b"spdy/3"],
        ..rig.offer()
    };
    let error = offer.connect(rig.bridge.api).await.unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    eventually("the handshakes are counted", async || {
        (rig.metric(FAILED, "protocol").await >= 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_is_counted_apart() {
    let rig = Rig::start(|_, _| {}).await;
    let stranger = Authority::new("Somebody else's trust");
    assert!(Offer::new(&stranger).connect(rig.bridge.api).await.is_err());
    eventually("the alert is counted", async || {
        (rig.metric(FAILED, "refused").await >= 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn plain_http_to_the_tls_port_is_closed_without_harm() {
    let rig = Rig::start(|_, _| {}).await;
    for words in [
        &b"POST /device-identifier/v0.1.0/retrieve-identifier HTTP/1.1\r\nhost: a\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0xff; 4096],
    ] {
        let mut stream = TcpStream::connect(rig.bridge.api).await.unwrap();
        stream.write_all(words).await.unwrap();
        let said = until_closed(&mut stream).await;
        assert!(!said.windows(4).any(|four| four == b"HTTP"), "{said:?}");
    }
    eventually("the handshakes are counted", async || {
        (rig.metric(FAILED, "protocol").await >= 3).then_some(())
    })
    .await;
    assert_eq!(rig.offer().ask(rig.bridge.api).await, Ok(200));
}

#[tokio::test]
async fn client_certificates_are_checked_as_configured() {
    let (ours, theirs) = (Authority::new("Consumers"), Authority::new("Strangers"));
    let (good, bad) = (
        ours.issue_for(&["consumer"]),
        theirs.issue_for(&["consumer"]),
    );
    for (mode, without, with_bad) in [
        (ClientCertificates::Off, true, true),
        (ClientCertificates::Optional, true, false),
        (ClientCertificates::Required, false, false),
    ] {
        let rig = Rig::start(|config, folder| {
            let tls = config.api.tls.as_mut().unwrap();
            tls.client_certificates = mode;
            if mode != ClientCertificates::Off {
                tls.client_ca_file = Some(folder.write("clients.pem", &ours.pem()));
            }
        })
        .await;
        for version in [&TLS12, &TLS13] {
            for (identity, let_in) in [(None, without), (Some(&good), true), (Some(&bad), with_bad)]
            {
                let offer = Offer {
                    identity,
                    versions: &[version],
                    ..rig.offer()
                };
                let answered = offer.ask(rig.bridge.api).await;
                assert_eq!(answered.is_ok(), let_in, "{mode:?}: {answered:?}");
            }
        }
        let refused = [without, with_bad].map(|let_in| 2 * u64::from(!let_in));
        eventually("the refused ones are counted", async || {
            let counted = rig.metric(FAILED, "certificate").await;
            (counted == refused[0] + refused[1]).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn changed_certificates_serve_new_connections_and_leave_the_open_ones() {
    let rig = Rig::start(|_, _| {}).await;
    let (second, third) = (rig.authority.issue(), rig.authority.issue());
    let stream = rig.offer().connect(rig.bridge.api).await.unwrap();
    let first = shown_on(&stream);
    let mut open = Connection::tls(stream, rig.bridge.api).await.unwrap();
    ask_well(&mut open).await;

    rig.folder.write("api.pem", &second.certificate);
    rig.folder.write("api.key", &second.key);
    eventually("the second certificate", async || {
        (rig.shown().await == second.der()).then_some(())
    })
    .await;
    assert_ne!(first, second.der());
    ask_well(&mut open).await;

    // Half of the next pair, then nothing of use, then a file that is gone.
    for (file, text) in [("api.pem", third.certificate.as_str()), ("api.key", "?")] {
        let before = rig.metric(RELOADS, "refused").await;
        rig.folder.write(file, text);
        refused_again(&rig, before).await;
    }
    let before = rig.metric(RELOADS, "refused").await;
    std::fs::remove_file(rig.folder.path("api.key")).unwrap();
    refused_again(&rig, before).await;
    assert_eq!(rig.shown().await, second.der());
    ask_well(&mut open).await;

    rig.folder.write("api.key", &third.key);
    eventually("the third certificate", async || {
        (rig.shown().await == third.der()).then_some(())
    })
    .await;
    ask_well(&mut open).await;
}

async fn refused_again(rig: &Rig, before: u64) {
    eventually("the change is refused", async || {
        (rig.metric(RELOADS, "refused").await > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn changed_authorities_of_clients_take_effect_and_the_log_keeps_keys_out() {
    let (log, _listening) = Log::listen();
    let (old, new) = (Authority::new("Old"), Authority::new("New"));
    let rig = Rig::start(|config, folder| {
        let tls = config.api.tls.as_mut().unwrap();
        tls.client_certificates = ClientCertificates::Required;
        tls.client_ca_file = Some(folder.write("clients.pem", &old.pem()));
    })
    .await;
    let (before, after) = (old.issue_for(&["consumer"]), new.issue_for(&["consumer"]));
    let offer = |identity| Offer {
        identity: Some(identity),
        ..rig.offer()
    };
    assert_eq!(offer(&before).ask(rig.bridge.api).await, Ok(200));
    assert!(offer(&after).ask(rig.bridge.api).await.is_err());
    rig.folder.write("clients.pem", &new.pem());
    eventually("the new authority", async || {
        offer(&after).ask(rig.bridge.api).await.ok()
    })
    .await;
    assert!(offer(&before).ask(rig.bridge.api).await.is_err());

    let stray = rig.authority.issue();
    rig.folder.write("api.key", &stray.key);
    eventually("the stray key is refused", async || {
        (!log.lines_with("is not the key of").is_empty()).then_some(())
    })
    .await;
    let text = log.text();
    for line in stray.key.lines().filter(|line| !line.contains("-----")) {
        assert!(!text.contains(line), "the log repeats a key");
    }
}

#[tokio::test]
async fn a_slow_handshake_is_cut_off() {
    let rig =
        Rig::start(|config, _| config.api.header_read_timeout = Duration::from_millis(300)).await;
    // Nothing at all, and the beginning of a ClientHello.
    for beginning in [&[][..], &[22, 3, 1, 2, 0, 1]] {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(rig.bridge.api).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        until_closed(&mut stream).await;
        assert!(begun.elapsed() >= Duration::from_millis(300));
    }
    // The socket closes a moment before its end is counted.
    eventually("both are counted, and hold no place any more", async || {
        let failed = rig.metric(FAILED, "timed_out").await;
        let open = rig.metric("pei_bridge_connections", "").await;
        (failed >= 2 && open == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_handshake_takes_one_of_the_connections_there_may_be() {
    let rig = Rig::start(|config, _| config.api.max_connections = 1).await;
    let taken = TcpStream::connect(rig.bridge.api).await.unwrap();
    eventually("the first one is counted", async || {
        (rig.metric("pei_bridge_connections", "").await >= 1).then_some(())
    })
    .await;
    assert!(rig.offer().connect(rig.bridge.api).await.is_err());
    assert!(rig.metric("pei_bridge_shed_total", "connection").await >= 1);
    drop(taken);
    eventually("the place is free again", async || {
        rig.offer().ask(rig.bridge.api).await.ok()
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_connection_is_said_so_that_nothing_can_be_cut_off_unseen() {
    let rig = Rig::start(|_, _| {}).await;
    let offer = Offer {
        alpn: &[HTTP1],
        ..rig.offer()
    };
    let mut stream = offer.connect(rig.bridge.api).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // Without close_notify (RFC 8446 6.1) this is an error of its own.
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 404"));
}

#[tokio::test]
async fn a_drain_ends_open_connections_and_handshakes() {
    let rig = Rig::start(|_, _| {}).await;
    let stream = rig.offer().connect(rig.bridge.api).await.unwrap();
    let mut open = Connection::tls(stream, rig.bridge.api).await.unwrap();
    ask_well(&mut open).await;
    let mut half = TcpStream::connect(rig.bridge.api).await.unwrap();
    // So that it is accepted before the stop.
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.bridge.stop();
    assert!(until_closed(&mut half).await.is_empty());
    eventually("no more requests are taken", async || {
        open.try_send(&first_device()).await.err()
    })
    .await;
}
