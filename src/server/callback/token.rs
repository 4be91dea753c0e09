//! Tokens of the NRF on notifications (TS 33.501 13.4.1, TS 29.510 6.3.5.2.4).

use std::path::{Path, PathBuf};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use uuid::Uuid;

/// The signatures that TS 33.501 13.4.1.1 allows to begin with.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::ES256, Algorithm::RS256];
/// What we are to the NRF, as an audience (TS 29.510, `NFType`).
const NF_TYPE: &str = "NEF";
/// Seconds by which clocks may differ.
const LEEWAY: u64 = 30;

/// Judges tokens by the NRF's keys.
pub struct NrfTokens {
    keys: Vec<Key>,
    validation: Vec<Validation>,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
}

/// Keys that nothing could be judged by.
#[derive(Debug, thiserror::Error)]
pub enum UnusableKeys {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds no key.
    #[error("{}: holds no JWK Set with a key that can be used", path.display())]
    NoKeys {
        /// The file.
        path: PathBuf,
    },
}

/// The claims that are looked at beyond signature, audience and time.
#[derive(Deserialize)]
struct Claims {}

impl NrfTokens {
    /// Reads the NRF's keys, a JWK Set (RFC 7517 5).
    pub fn load(file: &Path, nf_instance_id: Uuid) -> Result<Self, UnusableKeys> {
        let path = || file.to_owned();
        let text = std::fs::read(file).map_err(|source| UnusableKeys::Unreadable {
            path: path(),
            source,
        })?;
        let no_keys = || UnusableKeys::NoKeys { path: path() };
        let set: JwkSet = serde_json::from_slice(&text).map_err(|_| no_keys())?;
        let keys = set.keys.iter().filter_map(|jwk| {
            Some(Key {
                id: jwk.common.key_id.clone(),
                key: DecodingKey::from_jwk(jwk).ok()?,
            })
        });
        let keys: Vec<Key> = keys.collect();
        if keys.is_empty() {
            return Err(no_keys());
        }
        let validation = ALGORITHMS.map(|algorithm| {
            let mut validation = Validation::new(algorithm);
            validation.set_audience(&[NF_TYPE.to_owned(), nf_instance_id.to_string()]);
            validation.set_required_spec_claims(&["exp", "aud"]);
            validation.leeway = LEEWAY;
            validation
        });
        Ok(Self {
            keys,
            validation: validation.into(),
        })
    }

    /// Whether a request carries a token that is good for us.
    pub(super) fn permit(&self, headers: &HeaderMap) -> bool {
        let Some(token) = bearer(headers) else {
            return false;
        };
        let Ok(header) = jsonwebtoken::decode_header(token) else {
            return false;
        };
        let validation = self
            .validation
            .iter()
            .find(|validation| validation.algorithms.contains(&header.alg));
        let Some(validation) = validation else {
            return false;
        };
        let meant = |key: &&Key| match (&header.kid, &key.id) {
            (Some(meant), Some(id)) => meant == id,
            (None, _) | (_, None) => true,
        };
        self.keys
            .iter()
            .filter(meant)
            .any(|key| jsonwebtoken::decode::<Claims>(token, &key.key, validation).is_ok())
    }
}

/// The one token of a request (RFC 6750 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}
