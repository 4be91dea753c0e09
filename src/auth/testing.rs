//! What the tests of this room share: keys that sign, and an issuer that answers over a socket.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::metrics::AuthMetrics;
use crate::config::{Algorithm, Auth, Issuer, IssuerUrl};

/// A key made for the test.
pub(super) struct SigningKey {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let ecdsa = |curve| Pair::Ecdsa(EcdsaKeyPair::generate(curve).unwrap());
        let pair = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => {
                Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
            }
            Algorithm::ES256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::ES384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::EdDSA => Pair::Ed25519(Ed25519KeyPair::generate().unwrap()),
        };
        Self {
            kid: uuid::Uuid::new_v4().to_string(),
            algorithm,
            pair,
        }
    }

    /// A token; what `header` says goes over what it would be.
    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let mut whole = json!({ "alg": self.algorithm.as_str(), "typ": "at+jwt", "kid": self.kid });
        for (name, value) in header.as_object().unwrap() {
            if value.is_null() {
                whole.as_object_mut().unwrap().remove(name);
            } else {
                whole[name] = value.clone();
            }
        }
        self.sign_text(&whole.to_string(), &claims.to_string())
    }

    /// A token of exactly these texts.
    pub(super) fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let message = signed.as_bytes();
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if self.algorithm == Algorithm::PS256 {
                        &RSA_PSS_SHA256
                    } else {
                        &RSA_PKCS1_SHA256
                    };
                pair.sign(padding, &random, message, &mut signature)
                    .unwrap();
                encode(signature)
            }
            Pair::Ecdsa(pair) => encode(pair.sign(&random, message).unwrap()),
            Pair::Ed25519(pair) => encode(pair.sign(message)),
        };
        format!("{signed}.{signature}")
    }

    /// The public half.
    pub(super) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({ "kty": "RSA", "n": encode(public.n), "e": encode(public.e) })
            }
            Pair::Ecdsa(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) })
            }
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key()) })
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm.as_str());
        jwk
    }
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An issuer as the configuration has it.
pub(super) fn issuer(url: &str) -> Issuer {
    let issuer = json!({ "issuer": url, "audience": "device-identifier" });
    serde_json::from_value(issuer).unwrap()
}

/// Settings for these issuers.
pub(super) fn auth(issuers: Vec<Issuer>) -> Auth {
    Auth {
        issuers,
        ..Auth::default()
    }
}

pub(super) fn metrics() -> Arc<AuthMetrics> {
    Arc::new(AuthMetrics::register(&Registry::new()).unwrap())
}

/// A request as the server hands it over.
pub(super) fn request(headers: &[(&str, &str)]) -> http::request::Parts {
    let mut request = Request::post("http://127.0.0.1/device-identifier/v0.1.0/retrieve-type");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// A file that goes with the test.
pub(super) struct TempFile(pub(super) PathBuf);

impl TempFile {
    /// With a name of its own and this in it.
    pub(super) fn new(text: &str) -> Self {
        let name = format!("pei-bridge-test-{}", uuid::Uuid::new_v4());
        let file = Self(std::env::temp_dir().join(name));
        std::fs::write(&file.0, text).unwrap();
        file
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a path is answered with: status and body.
type Answers = HashMap<String, (u16, String)>;

/// A question that was asked.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// An issuer's web server on a port of its own. Goes down when dropped.
pub(super) struct IssuerServer {
    pub(super) address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    questions: Arc<Mutex<Vec<Question>>>,
    _task: AbortOnDropHandle<()>,
}

impl IssuerServer {
    pub(super) async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    /// Where another one was before.
    pub(super) async fn start_at(address: SocketAddr) -> Self {
        Self::listen(address, None).await
    }

    /// With TLS, and the certificate (PEM) by which it can be trusted.
    pub(super) async fn start_tls() -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let address = ([127, 0, 0, 1], 0).into();
        let server = Self::listen(address, Some(acceptor)).await;
        (server, pem(made.cert.der()))
    }

    async fn listen(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::<Mutex<Answers>>::default();
        let questions = Arc::<Mutex<Vec<Question>>>::default();
        let task = tokio::spawn(accept(listener, tls, answers.clone(), questions.clone()));
        Self {
            address,
            answers,
            questions,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(super) fn url(&self, path: &str) -> IssuerUrl {
        IssuerUrl::parse(&self.text_url(path)).unwrap()
    }

    pub(super) fn text_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on `path` is answered so. What is not set is 404.
    pub(super) fn answer(&self, path: &str, status: u16, body: &Value) {
        let answer = (status, body.to_string());
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// Publishes keys at `/jwks`.
    pub(super) fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.answer("/jwks", 200, &json!({ "keys": keys }));
    }

    pub(super) fn questions(&self, path: &str) -> Vec<Question> {
        let questions = self.questions.lock().unwrap();
        questions
            .iter()
            .filter(|question| question.path == path)
            .cloned()
            .collect()
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

fn pem(certificate: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    answers: Arc<Mutex<Answers>>,
    questions: Arc<Mutex<Vec<Question>>>,
) {
    // Connections end with the server.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answers, questions) = (answers.clone(), questions.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (answers, questions) = (answers.clone(), questions.clone());
            async move {
                let (parts, body) = request.into_parts();
                let path = parts.uri.path().to_owned();
                let body = body.collect().await.unwrap().to_bytes();
                questions.lock().unwrap().push(Question {
                    path: path.clone(),
                    headers: parts.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                });
                let answer = answers.lock().unwrap().get(&path).cloned();
                let (status, body) = answer.unwrap_or((404, String::new()));
                let mut response = Response::new(Full::new(Bytes::from(body)));
                *response.status_mut() = status.try_into().unwrap();
                Ok::<_, Infallible>(response)
            }
        });
        let tls = tls.clone();
        connections.spawn(async move {
            let stream: Box<dyn Stream> = match tls {
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => Box::new(stream),
                    Err(_) => return,
                },
                None => Box::new(stream),
            };
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
