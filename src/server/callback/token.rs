//! Tokens of the NRF on notifications (TS 33.501 13.4.1, TS 29.510 6.3.5.2.4).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// The signatures that TS 33.501 13.4.1.1 allows to begin with.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::ES256, Algorithm::RS256];
/// Seconds by which clocks may differ.
const LEEWAY: u64 = 30;
/// Between two looks at the file that nobody asked for.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);
/// Between two looks at the file, whoever asks.
const REST: Duration = Duration::from_secs(1);
/// How long a notification waits for a look.
const PATIENCE: Duration = Duration::from_secs(3);

/// Judges tokens by the NRF's keys, as the file has them now.
pub struct NrfTokens {
    keys: watch::Receiver<Keys>,
    /// Asks for a look at the file.
    wanted: Arc<Notify>,
    validation: [Validation; 2],
    scope: Option<String>,
    _following: AbortOnDropHandle<()>,
}

/// For whom a token has to be, and for what.
pub struct Accepted {
    /// One of these is the audience (TS 29.510, `AccessTokenClaims`): what we are to the NRF, or who.
    pub nf_types: Vec<String>,
    /// See above.
    pub nf_instance_id: Uuid,
    /// Is among its scopes; absent: whatever they are.
    pub scope: Option<String>,
}

struct Keys {
    keys: Vec<Key>,
    /// Looks at the file so far.
    looks: u64,
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
struct Claims {
    /// Required by TS 29.510, and needed where one is asked for.
    scope: Option<String>,
}

/// What came of a look at a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
    /// None of the keys made the signature.
    UnknownKey,
}

impl NrfTokens {
    /// Reads the NRF's keys, a JWK Set (RFC 7517 5), and follows the file from now on. Must be called
    /// within a Tokio runtime.
    pub fn open(file: &Path, accepted: Accepted) -> Result<Self, UnusableKeys> {
        let Accepted {
            nf_types,
            nf_instance_id,
            scope,
        } = accepted;
        let text = read(file)?;
        let (sender, keys) = watch::channel(Keys {
            keys: parse(file, &text)?,
            looks: 0,
        });
        let audiences: Vec<String> = nf_types
            .into_iter()
            .chain([nf_instance_id.to_string()])
            .collect();
        let validation = ALGORITHMS.map(|algorithm| {
            let mut validation = Validation::new(algorithm);
            validation.set_audience(&audiences);
            validation.set_required_spec_claims(&["exp", "aud"]);
            validation.leeway = LEEWAY;
            validation
        });
        let wanted = Arc::new(Notify::new());
        let following = follow(file.to_owned(), text, sender, wanted.clone());
        Ok(Self {
            keys,
            wanted,
            validation,
            scope,
            _following: AbortOnDropHandle::new(tokio::spawn(following)),
        })
    }

    /// Whether a request carries a token that is good for us. Where it was signed with a key that is
    /// not known, the file is looked at once more: the NRF may have changed its keys.
    pub(super) async fn permit(&self, headers: &HeaderMap) -> bool {
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
        let judge = |keys: &Keys| self.judge(keys, token, &header, validation);
        let (verdict, seen) = {
            let keys = self.keys.borrow();
            (judge(&keys), keys.looks)
        };
        if verdict != Verdict::UnknownKey {
            return verdict == Verdict::Good;
        }
        self.wanted.notify_one();
        let mut keys = self.keys.clone();
        let looked = keys.wait_for(|keys| keys.looks != seen);
        match tokio::time::timeout(PATIENCE, looked).await {
            Ok(Ok(keys)) => judge(&keys) == Verdict::Good,
            Ok(Err(_)) | Err(_) => false,
        }
    }

    fn judge(&self, keys: &Keys, token: &str, header: &Header, validation: &Validation) -> Verdict {
        let meant = |key: &&Key| match (&header.kid, &key.id) {
            (Some(meant), Some(id)) => meant == id,
            (None, _) | (_, None) => true,
        };
        for key in keys.keys.iter().filter(meant) {
            match jsonwebtoken::decode::<Claims>(token, &key.key, validation) {
                Ok(token) if self.covers(&token.claims) => return Verdict::Good,
                Err(error) if is_of_another_key(error.kind()) => {}
                Ok(_) | Err(_) => return Verdict::Bad,
            }
        }
        Verdict::UnknownKey
    }

    fn covers(&self, claims: &Claims) -> bool {
        self.scope.as_ref().is_none_or(|wanted| {
            let scopes = claims.scope.as_deref().unwrap_or_default();
            scopes.split(' ').any(|scope| scope == wanted)
        })
    }
}

/// Whether a token was signed with another key than this one.
fn is_of_another_key(error: &ErrorKind) -> bool {
    matches!(
        error,
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat
    )
}

/// Looks at the file now and then, and when somebody asks.
async fn follow(file: PathBuf, mut text: Vec<u8>, keys: watch::Sender<Keys>, wanted: Arc<Notify>) {
    loop {
        tokio::time::sleep(REST).await;
        // Either is a reason to look.
        let _ = tokio::time::timeout(LOOK_INTERVAL, wanted.notified()).await;
        let path = file.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let text = read(&path)?;
            let keys = parse(&path, &text);
            Ok::<_, UnusableKeys>((text, keys))
        });
        let changed = match looked.await {
            Ok(Ok((now, parsed))) if now != text => {
                // Each change is told once, whatever it is.
                text = now;
                parsed.map(Some)
            }
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Ok(None),
        };
        let changed = changed.unwrap_or_else(|error| {
            tracing::error!(%error, "callback.nrf_keys_file cannot be used as it is now, the last good one serves on");
            None
        });
        keys.send_modify(|keys| {
            keys.looks += 1;
            if let Some(changed) = changed {
                tracing::info!(
                    keys = changed.len(),
                    "callback.nrf_keys_file was read again"
                );
                keys.keys = changed;
            }
        });
    }
}

fn read(file: &Path) -> Result<Vec<u8>, UnusableKeys> {
    std::fs::read(file).map_err(|source| UnusableKeys::Unreadable {
        path: file.to_owned(),
        source,
    })
}

fn parse(file: &Path, text: &[u8]) -> Result<Vec<Key>, UnusableKeys> {
    let no_keys = || UnusableKeys::NoKeys {
        path: file.to_owned(),
    };
    let set: JwkSet = serde_json::from_slice(text).map_err(|_| no_keys())?;
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
    Ok(keys)
}

/// The one token of a request (RFC 6750 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}
