//! A bridge with TLS, a core with TLS, and a client that chooses everything about its own.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pei_bridge::app::App;
use pei_bridge::config::{AuthMode, ClientCertificates, Config, ServerTls};
use pei_bridge::tac::TacTable;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, SupportedProtocolVersion};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

use crate::authority::{Authority, Folder, Identity};

/// Far beyond what anything here takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const H2: &[u8] = b"h2";
pub const HTTP1: &[u8] = b"http/1.1";

const PATH: &str = "/device-identifier/v0.1.0/retrieve-identifier";
/// A subscriber of simcore's own data, and its device.
pub const NUMBER: &str = "123456789";
pub const IMEI: &str = "490154203237518";

/// Looks until there is something to see.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// On free ports, asking this apiRoot for everything.
pub fn config(core: &str) -> Config {
    let mut config = Config::default();
    config.auth.mode = AuthMode::None;
    config.api.listen.set_port(0);
    config.admin.listen.set_port(0);
    config.api.request_timeout = PATIENCE;
    config.core.connect_timeout = Duration::from_secs(5);
    config.core.udm = vec![core.parse().unwrap()];
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

pub struct Bridge {
    pub api: SocketAddr,
    pub admin: SocketAddr,
    pub stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Bridge {
    pub fn start(config: &Config) -> Self {
        config.validate().unwrap();
        let table = TacTable::read(simcore::TAC_CSV.as_bytes()).unwrap();
        let app = App::build_with(config, table).unwrap();
        Self {
            api: app.api_address(),
            admin: app.admin_address(),
            stop: app.stop_token(),
            running: tokio::spawn(app.run()),
        }
    }

    /// The samples of a metric whose labels hold `label`.
    pub async fn metric(&self, name: &str, label: &str) -> u64 {
        let mut connection = Client::plain(self.admin).await;
        let text = connection
            .send(Method::GET, "/metrics", "")
            .await
            .unwrap()
            .1;
        text.lines()
            .filter(|line| line.starts_with(name) && line.contains(label))
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(_, value)| value.parse::<u64>().unwrap())
            .sum()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop.cancel();
        self.running.abort();
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
        let mut client = Client::over(stream).await?;
        client.ask().await.map(|(status, _)| status)
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// A connection that is kept.
pub struct Client(Sender);

impl Client {
    pub async fn plain(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(Sender::Http1(sender))
    }

    /// Speaks what ALPN says.
    pub async fn over(stream: TlsStream<TcpStream>) -> Result<Self, String> {
        let http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        let io = TokioIo::new(stream);
        if http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            Ok(Self(Sender::Http2(sender)))
        } else {
            let (sender, connection) = http1::handshake(io)
                .await
                .map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            Ok(Self(Sender::Http1(sender)))
        }
    }

    /// Asks for the device of [`NUMBER`].
    pub async fn ask(&mut self) -> Result<(u16, String), String> {
        let body = format!("{{\"phoneNumber\": \"{NUMBER}\"}}");
        self.send(Method::POST, PATH, &body).await
    }

    /// The same, where it has to give the device.
    pub async fn ask_well(&mut self) {
        let (status, body) = self.ask().await.unwrap();
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["imei"], IMEI);
    }

    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<(u16, String), String> {
        let request = |uri: String| {
            Request::builder()
                .method(method)
                .uri(uri)
                .header("host", "localhost")
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(body.to_owned())))
                .unwrap()
        };
        let exchange = async {
            let response = match &mut self.0 {
                Sender::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request(path.to_owned())).await?
                }
                Sender::Http2(sender) => {
                    sender.ready().await?;
                    let uri = format!("https://localhost{path}");
                    sender.send_request(request(uri)).await?
                }
            };
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            Ok((status, String::from_utf8(body.to_vec()).unwrap()))
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .expect("an answer in time")
            .map_err(|error: hyper::Error| error.to_string())
    }
}

/// What is logged on this thread while it lives, which is all there is in a test's runtime.
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
