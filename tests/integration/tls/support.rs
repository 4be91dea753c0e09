//! A core with TLS, a client that chooses everything about its own, and what is logged meanwhile.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use pei_bridge::config::{ClientCertificates, Config, ServerTls};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, SupportedProtocolVersion};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing_subscriber::fmt::MakeWriter;

use super::authority::{Authority, Folder, Identity};
use crate::support::client::{Ask, Connection};
use crate::support::{self, PATIENCE};

pub const H2: &[u8] = b"h2";
pub const HTTP1: &[u8] = b"http/1.1";

/// The first named subscriber, and its device.
pub const NUMBER: &str = "123456789";
pub const IMEI: &str = "490154203237518";

pub fn first_device() -> Ask {
    Ask::identifier(&json!({ "phoneNumber": NUMBER }))
}

/// Asks this connection for the device, and gets it.
pub async fn ask_well(connection: &mut Connection) {
    connection.send(&first_device()).await.is_imei(IMEI);
}

/// A configuration that asks this apiRoot alone.
pub fn config(core: &str) -> Config {
    let mut config = support::config(&[]);
    config.core.udm = vec![core.parse().unwrap()];
    config.core.connect_timeout = PATIENCE;
    config
}

/// The listener's part of a configuration, with its files written.
pub fn server_tls(folder: &Folder, identity: &Identity) -> ServerTls {
    ServerTls {
        certificate_file: folder.write("api.pem", &identity.certificate),
        key_file: folder.write("api.key", &identity.key),
        client_certificates: ClientCertificates::Off,
        client_ca_file: None,
    }
}

/// A core over TLS; its clients need a certificate where an authority for them is given.
pub async fn core(
    folder: &Folder,
    identity: &Identity,
    clients: Option<&Authority>,
) -> simcore::Simcore {
    simcore::Simcore::start(simcore::Options {
        tls: Some(simcore::Tls {
            certificate: folder.write("core.pem", &identity.certificate),
            key: folder.write("core.key", &identity.key),
            client_ca: clients.map(|clients| folder.write("clients.pem", &clients.pem())),
        }),
        ..simcore::Options::default()
    })
    .await
    .unwrap()
}

/// The TLS of a client: whom it trusts, who it is, what it offers.
pub struct Offer<'a> {
    pub trust: &'a Authority,
    pub identity: Option<&'a Identity>,
    pub versions: &'a [&'static SupportedProtocolVersion],
    pub alpn: &'a [&'a [u8]],
}

impl<'a> Offer<'a> {
    pub fn new(trust: &'a Authority) -> Self {
        Self {
            trust,
            identity: None,
            versions: rustls::ALL_VERSIONS,
            alpn: &[H2],
        }
    }

    fn config(&self) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(self.trust.store());
        let mut config = match self.identity {
            Some(identity) => builder
                .with_client_auth_cert(vec![identity.der()], identity.key_der())
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        config
    }

    pub async fn connect(&self, to: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(to).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(Arc::new(self.config())).connect(name, stream);
        tokio::time::timeout(PATIENCE, connecting).await.unwrap()
    }

    /// Connects and asks for a device: with TLS 1.3, a refused client learns it only then.
    pub async fn ask(&self, to: SocketAddr) -> Result<u16, String> {
        let stream = self.connect(to).await.map_err(|error| error.to_string())?;
        let mut connection = Connection::tls(stream, to)
            .await
            .map_err(|error| error.to_string())?;
        match connection.try_send(&first_device()).await {
            Ok(answer) => Ok(answer.status),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What is logged while it lives by this thread and those that it starts.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    pub fn lines_with(&self, part: &str) -> Vec<String> {
        let text = self.text();
        let lines = text.lines().filter(|line| line.contains(part));
        lines.map(ToOwned::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
