//! Opaque tokens at an issuer that knows its clients by their certificates (RFC 8705 2).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pei_bridge::config::{AuthMode, Config, Issuer, IssuerUrl, SecretSource};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::keys::{ISSUER, now};
use super::support::{AUDIENCE, guarded};
use crate::support::client::Ask;
use crate::support::process::file;
use crate::tls::authority::{Authority, Folder, Identity};

/// An issuer that answers clients of one authority alone, and what these asked.
struct IssuerOverTls {
    address: SocketAddr,
    /// Whether there was an `authorization` header, and the form.
    asked: Arc<Mutex<Vec<(bool, String)>>>,
    _serving: AbortOnDropHandle<()>,
}

impl IssuerOverTls {
    async fn start(identity: &Identity, clients: &Authority) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let trusted = Arc::new(clients.store());
        let verifier = WebPkiClientVerifier::builder_with_provider(trusted, provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![identity.der()], identity.key_der())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let serving = tokio::spawn({
            let asked = asked.clone();
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    // Whoever shows no certificate of theirs gets no further.
                    let Ok(stream) = acceptor.accept(stream).await else {
                        continue;
                    };
                    let asked = asked.clone();
                    let answer = service_fn(move |request| explain(request, asked.clone()));
                    let connection = http1::Builder::new();
                    tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
                }
            }
        });
        Self {
            address,
            asked,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    fn asked(&self) -> Vec<(bool, String)> {
        self.asked.lock().unwrap().clone()
    }
}

/// Every token is good.
async fn explain(
    request: Request<Incoming>,
    asked: Arc<Mutex<Vec<(bool, String)>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let has_secret = request.headers().contains_key("authorization");
    let form = request.into_body().collect().await.unwrap().to_bytes();
    let form = String::from_utf8(form.to_vec()).unwrap();
    asked.lock().unwrap().push((has_secret, form));
    let explained = json!({
        "active": true, "client_id": "shop", "aud": AUDIENCE, "exp": now() + 3600,
        "scope": "device-identifier:retrieve-identifier",
    });
    Ok(Response::new(Full::from(explained.to_string())))
}

#[tokio::test]
async fn an_issuer_that_wants_our_certificate_gets_it() {
    let (folder, authority) = (Folder::new(), Authority::new("Issuers and their clients"));
    let stranger = Authority::new("Somebody else");
    let issuer = IssuerOverTls::start(&authority.issue(), &authority).await;
    let trust = folder.write("trust.pem", &authority.pem());
    let mine = |config: &mut Config, identity: Option<&Identity>| {
        config.auth.mode = AuthMode::Introspection;
        config.auth.tls.ca_file = Some(trust.clone());
        if let Some(identity) = identity {
            let certificate = folder.write("bridge.pem", &identity.certificate);
            config.auth.tls.certificate_file = Some(certificate);
            config.auth.tls.key_file = Some(folder.write("bridge.key", &identity.key));
        }
        let endpoint = format!("https://{}/introspect", issuer.address);
        config.auth.issuers = vec![Issuer {
            introspection_endpoint: Some(IssuerUrl::parse(&endpoint).unwrap()),
            client_id: Some("the bridge".to_owned()),
            // Without a certificate of ours, something else has to say who we are.
            client_secret: identity
                .is_none()
                .then(|| SecretSource::File(file(".secret", "a secret of the bridge"))),
            ..Issuer::new(ISSUER.to_owned(), AUDIENCE.to_owned())
        }];
    };
    let ask = Ask::any().bearer("an-opaque-token");
    for identity in [None, Some(stranger.issue())] {
        let rig = guarded(|config| mine(config, identity.as_ref())).await;
        let answer = rig.bridge.send(&ask).await;
        answer.is_error(503, "UNAVAILABLE");
        assert_eq!(issuer.asked(), [], "it does not get to ask");
    }
    let identity = authority.issue();
    let rig = guarded(|config| mine(config, Some(&identity))).await;
    rig.bridge.send(&ask).await.is_imei("490154203237518");
    let form = "token=an-opaque-token&token_type_hint=access_token&client_id=the%20bridge";
    assert_eq!(issuer.asked(), [(false, form.to_owned())]);
}
