//! Keys made for a test, tokens signed by them, and a place where they are published.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use pei_bridge::config::{Issuer, IssuerUrl};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::support::AUDIENCE;
use crate::support::process::file;

pub const ISSUER: &str = "https://issuer.example";

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub struct SigningKey {
    pub kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

impl SigningKey {
    pub fn rsa() -> Self {
        Self::of(Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    pub fn ecdsa() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self::of(Pair::Ecdsa(pair))
    }

    fn of(pair: Pair) -> Self {
        let kid = uuid::Uuid::new_v4().to_string();
        Self { kid, pair }
    }

    pub fn header(&self) -> Value {
        let alg = match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ecdsa(_) => "ES256",
        };
        json!({ "alg": alg, "typ": "at+jwt", "kid": self.kid })
    }

    /// A token with its own header.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_text(&self.header().to_string(), &claims.to_string())
    }

    /// A token of exactly these texts.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signature(signed.as_bytes());
        format!("{signed}.{signature}")
    }

    fn signature(&self, message: &[u8]) -> String {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                encode(signature)
            }
            Pair::Ecdsa(pair) => encode(pair.sign(&random, message).unwrap()),
        }
    }

    /// The public half.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({ "kty": "RSA", "n": encode(public.n), "e": encode(public.e) })
            }
            Pair::Ecdsa(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk
    }

    /// A proof of possession (RFC 9449) of a token for a POST to this URL.
    pub fn proof(&self, token: &str, url: &str) -> String {
        let mut header = self.header();
        header["typ"] = json!("dpop+jwt");
        header["jwk"] = self.jwk();
        let digest = digest(&SHA256, token.as_bytes());
        let claims = json!({
            "jti": uuid::Uuid::new_v4().to_string(), "htm": "POST", "htu": url, "iat": now(),
            "ath": encode(digest.as_ref()),
        });
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// RFC 7638 3: the members that make the key, in the order of their names.
    pub fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let names: &[&str] = match &self.pair {
            Pair::Rsa(_) => &["e", "kty", "n"],
            Pair::Ecdsa(_) => &["crv", "kty", "x", "y"],
        };
        let members: Vec<String> = names
            .iter()
            .map(|name| format!("\"{name}\":{}", jwk[name]))
            .collect();
        let text = format!("{{{}}}", members.join(","));
        encode(digest(&SHA256, text.as_bytes()).as_ref())
    }

    /// The public half in the forms that an attacker may use as a symmetric secret.
    pub fn public_forms(&self) -> Vec<Vec<u8>> {
        let Pair::Rsa(pair) = &self.pair else {
            panic!("a key of RSA is what is confused with a secret");
        };
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(spki.as_ref());
        let lines: Vec<&str> = (0..text.len())
            .step_by(64)
            .map(|start| &text[start..text.len().min(start + 64)])
            .collect();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----",
            lines.join("\n")
        );
        let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        vec![
            spki.as_ref().to_vec(),
            pair.public_key().as_ref().to_vec(),
            encode(&public.n).into_bytes(),
            public.n,
            self.jwk().to_string().into_bytes(),
            pem.clone().into_bytes(),
            format!("{pem}\n").into_bytes(),
            self.kid.clone().into_bytes(),
            Vec::new(),
        ]
    }
}

pub fn now() -> i64 {
    Timestamp::now().as_second()
}

/// What a good token of [`ISSUER`] says.
pub fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "consumer",
        "client_id": "consumer",
        "iat": now() - 5,
        "exp": now() + 3600,
        "jti": uuid::Uuid::new_v4().to_string(),
        "scope": "device-identifier:retrieve-identifier device-identifier:retrieve-type",
    })
}

pub fn jwks(keys: &[&SigningKey]) -> Value {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys })
}

/// A file with the public halves.
pub fn jwks_file(keys: &[&SigningKey]) -> PathBuf {
    file(".jwks", &jwks(keys).to_string())
}

/// An issuer whose keys are in a file.
pub fn issuer_with(keys: &[&SigningKey]) -> Issuer {
    Issuer {
        jwks_file: Some(jwks_file(keys)),
        ..Issuer::new(ISSUER.to_owned(), AUDIENCE.to_owned())
    }
}

/// A place that publishes keys, counts who looks, and can be shut.
pub struct Publisher {
    pub address: SocketAddr,
    page: Arc<Mutex<Option<String>>>,
    looks: Arc<AtomicUsize>,
    _serving: AbortOnDropHandle<()>,
}

impl Publisher {
    pub async fn start(page: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let page = Arc::new(Mutex::new(Some(page.to_string())));
        let looks = Arc::new(AtomicUsize::new(0));
        let serving = tokio::spawn({
            let (page, looks) = (page.clone(), looks.clone());
            async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    looks.fetch_add(1, Ordering::Relaxed);
                    let page = page.lock().unwrap().clone();
                    let Some(page) = page else { continue };
                    let mut asked = [0; 4096];
                    let _ = stream.read(&mut asked).await;
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                         connection: close\r\ncontent-length: {}\r\n\r\n",
                        page.len()
                    );
                    let _ = stream.write_all((head + &page).as_bytes()).await;
                }
            }
        });
        Self {
            address,
            page,
            looks,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    pub fn publish(&self, page: &Value) {
        *self.page.lock().unwrap() = Some(page.to_string());
    }

    /// From now on it hangs up on everybody.
    pub fn shut(&self) {
        *self.page.lock().unwrap() = None;
    }

    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }

    /// An issuer whose keys are here.
    pub fn issuer(&self) -> Issuer {
        let url = format!("http://{}/jwks", self.address);
        Issuer {
            jwks_uri: Some(IssuerUrl::parse(&url).unwrap()),
            ..Issuer::new(ISSUER.to_owned(), AUDIENCE.to_owned())
        }
    }
}
