//! The keys of one issuer (RFC 7517): which one a token means, and where they come from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use tokio::time::Instant;

use super::issuer_client::{FetchError, IssuerClient, Metadata};
use super::jws::{self, Header};
use super::metrics::IssuerMetrics;
use super::reason::{AuthError, Missing, Reason};
use super::refreshed::{DeadlinePassed, Refreshed, Schedule};
use crate::config::{Algorithm, IssuerUrl};

/// Keys that can verify something.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keyed: BTreeMap<String, Vec<Key>>,
    /// Those without an id.
    unnamed: Vec<Key>,
}

/// One key for one algorithm: an RSA key that does not say which is there twice.
#[derive(Debug, Clone)]
pub(super) struct Key {
    algorithm: Algorithm,
    key: Arc<DecodingKey>,
}

impl Key {
    pub(super) fn decoding_key(&self) -> &DecodingKey {
        &self.key
    }
}

impl KeySet {
    /// Reads a JWK Set. Keys that we have no use for (encryption, other types, damaged) are passed
    /// over (RFC 7517 5). A set without any other is the issuer's word all the same: whoever withdraws
    /// a key that was stolen and has no new one yet must not be mistaken for one that is down. Where
    /// not all of its members are keys, though, it is no set.
    pub(super) fn parse(json: &[u8], algorithms: &[Algorithm]) -> Result<Self, FetchError> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<serde_json::Value>,
        }

        let jwks: Jwks = serde_json::from_slice(json)
            .map_err(|_| FetchError::Unusable("its keys cannot be read"))?;
        let are_keys = jwks.keys.iter().all(|jwk| {
            let kind = jwk.get("kty");
            kind.is_some_and(serde_json::Value::is_string)
        });
        let mut set = Self::default();
        for jwk in jwks.keys {
            let Ok(jwk) = serde_json::from_value::<Jwk>(jwk) else {
                continue;
            };
            let usable = algorithms.iter().filter_map(|algorithm| {
                let key = Arc::new(jws::key_for(&jwk, *algorithm)?);
                Some(Key {
                    algorithm: *algorithm,
                    key,
                })
            });
            match jwk.common.key_id.clone() {
                Some(kid) => set.keyed.entry(kid).or_default().extend(usable),
                None => set.unnamed.extend(usable),
            }
        }
        set.keyed.retain(|_, keys| !keys.is_empty());
        if set.is_empty() && !are_keys {
            return Err(FetchError::Unusable("its keys cannot be read"));
        }
        Ok(set)
    }

    /// Whether no token could be verified with it.
    fn is_empty(&self) -> bool {
        self.keyed.is_empty() && self.unnamed.is_empty()
    }

    /// The key that a header means: by its id, or, without one, the only one that fits.
    pub(super) fn find(&self, header: &Header) -> Result<Key, Reason> {
        let fits = |key: &&Key| key.algorithm == header.algorithm;
        let Some(kid) = &header.kid else {
            let mut fitting = self
                .keyed
                .values()
                .flatten()
                .chain(&self.unnamed)
                .filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) => Ok(key.clone()),
                _ => Err(Reason::UnknownKey),
            };
        };
        let named = self.keyed.get(kid).ok_or(Reason::UnknownKey)?;
        named.iter().find(fits).cloned().ok_or(Reason::KeyMismatch)
    }
}

/// Where an issuer's keys are.
#[derive(Debug)]
pub(super) enum KeySource {
    /// In a file.
    File(PathBuf),
    /// At a URL.
    Url(IssuerUrl),
    /// Where the issuer's metadata say.
    Metadata {
        /// The issuer, as it must name itself there.
        issuer: String,
        /// Where they are.
        url: IssuerUrl,
    },
}

impl KeySource {
    async fn fetch(
        &self,
        client: &IssuerClient,
        algorithms: &[Algorithm],
    ) -> Result<KeySet, FetchError> {
        let json = match self {
            Self::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || std::fs::read(path));
                read.await.map_err(std::io::Error::other)??.into()
            }
            Self::Url(url) => client.get(url).await?,
            Self::Metadata { issuer, url } => {
                let metadata = Metadata::fetch(client, url, issuer).await?;
                let jwks_uri = metadata
                    .jwks_uri
                    .ok_or(FetchError::Unusable("its metadata name no jwks_uri"))?;
                client.get(&jwks_uri).await?
            }
        };
        KeySet::parse(&json, algorithms)
    }
}

/// The keys of one issuer as they are now.
pub(super) struct IssuerKeys(Refreshed<KeySet>);

impl IssuerKeys {
    /// Fetches from now on. A file must be readable from the first: who names it has it.
    pub(super) fn start(
        source: KeySource,
        algorithms: Vec<Algorithm>,
        client: IssuerClient,
        schedule: Schedule,
        metrics: IssuerMetrics,
    ) -> Result<Self, FetchError> {
        let first = match &source {
            KeySource::File(path) => {
                let keys = KeySet::parse(&std::fs::read(path)?, &algorithms)?;
                if keys.is_empty() {
                    return Err(FetchError::Unusable(
                        "none of its keys fits a configured algorithm",
                    ));
                }
                Some(keys)
            }
            KeySource::Url(_) | KeySource::Metadata { .. } => None,
        };
        // A file is read as often as it may be: nobody tells us when it changes.
        let schedule = match source {
            KeySource::File(_) => Schedule {
                every: schedule.rest.min(schedule.every),
                ..schedule
            },
            KeySource::Url(_) | KeySource::Metadata { .. } => schedule,
        };
        let source = Arc::new((source, client, algorithms, metrics.clone()));
        Ok(Self(Refreshed::start(
            first,
            schedule,
            metrics,
            move || {
                let source = source.clone();
                async move {
                    let (source, client, algorithms, metrics) = &*source;
                    let keys = source.fetch(client, algorithms).await?;
                    metrics.has_keys(!keys.is_empty());
                    Ok(keys)
                }
            },
        )))
    }

    /// The key that a header means. One that is not known makes us look for newer keys, once, if
    /// we have not just done so. Keys that we have are used however long the issuer is down; but
    /// while it cannot be asked, a key that we do not have may be a new one of its, and nobody can
    /// say that its token is bad.
    pub(super) async fn find(&self, header: &Header, deadline: Instant) -> Result<Key, AuthError> {
        match self.0.value().map(|keys| keys.find(header)) {
            Some(Ok(key)) => return Ok(key),
            Some(Err(reason)) if reason != Reason::UnknownKey => return Err(reason.into()),
            Some(Err(_)) | None => {}
        }
        let latest = self
            .0
            .renew(deadline)
            .await
            .map_err(|DeadlinePassed| AuthError::DeadlinePassed)?;
        let unavailable = AuthError::Unavailable(Missing::Keys);
        let keys = latest.value.ok_or(unavailable)?;
        keys.find(header).map_err(|reason| match reason {
            Reason::UnknownKey if latest.failing => unavailable,
            reason => reason.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::testing::SigningKey;

    fn set(jwks: &[Value]) -> Result<KeySet, FetchError> {
        KeySet::parse(
            json!({ "keys": jwks }).to_string().as_bytes(),
            &Algorithm::ALL,
        )
    }

    fn header(algorithm: Algorithm, kid: Option<&str>) -> Header {
        Header {
            algorithm,
            kid: kid.map(str::to_owned),
        }
    }

    #[test]
    fn a_set_is_one_of_keys_even_if_none_is_of_use() {
        let mut encryption = SigningKey::new(Algorithm::ES256).jwk();
        encryption["use"] = json!("enc");
        let symmetric = json!({"kty": "oct", "k": "AQAB", "kid": "s", "alg": "HS256"});
        let unknown = json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AQAB"});
        let damaged = json!({"kty": "RSA", "kid": "d", "e": "AQAB"});
        let useless = [encryption, symmetric, unknown, damaged];
        assert!(set(&useless).unwrap().is_empty());
        assert!(set(&[]).unwrap().is_empty());
        let garbage = [json!(7), json!({}), json!({"kty": 7})];
        for garbage in &garbage {
            assert!(set(&[useless[0].clone(), garbage.clone()]).is_err());
        }
        let good = SigningKey::new(Algorithm::ES256).jwk();
        let mixed: Vec<Value> = useless.into_iter().chain(garbage).chain([good]).collect();
        assert_eq!(set(&mixed).unwrap().keyed.len(), 1);
        for json in ["", "[]", "{}", r#"{"keys": 1}"#, "<html>"] {
            assert!(KeySet::parse(json.as_bytes(), &Algorithm::ALL).is_err());
        }
    }

    #[test]
    fn a_key_is_found_by_its_id_and_must_fit() {
        let ec = SigningKey::new(Algorithm::ES256);
        let rsa = SigningKey::new(Algorithm::RS256);
        let keys = set(&[ec.jwk(), rsa.jwk()]).unwrap();
        let found = |header: &Header| keys.find(header).map(|_| ());
        assert_eq!(found(&header(Algorithm::ES256, Some(&ec.kid))), Ok(()));
        assert_eq!(
            found(&header(Algorithm::ES256, Some(&rsa.kid))),
            Err(Reason::KeyMismatch)
        );
        assert_eq!(
            found(&header(Algorithm::PS256, Some(&rsa.kid))),
            Err(Reason::KeyMismatch),
            "the key says RS256"
        );
        assert_eq!(
            found(&header(Algorithm::ES256, Some("other"))),
            Err(Reason::UnknownKey)
        );
    }

    #[test]
    fn without_an_id_only_one_key_may_fit() {
        let [one, two] = [(); 2].map(|()| SigningKey::new(Algorithm::ES256).jwk());
        let mut unnamed = SigningKey::new(Algorithm::EdDSA).jwk();
        unnamed.as_object_mut().unwrap().remove("kid");
        let keys = set(&[one, unnamed.clone()]).unwrap();
        assert!(keys.find(&header(Algorithm::ES256, None)).is_ok());
        assert!(keys.find(&header(Algorithm::EdDSA, None)).is_ok());
        assert_eq!(
            keys.find(&header(Algorithm::RS256, None)).err(),
            Some(Reason::UnknownKey)
        );
        let keys = set(&[SigningKey::new(Algorithm::ES256).jwk(), two]).unwrap();
        assert_eq!(
            keys.find(&header(Algorithm::ES256, None)).err(),
            Some(Reason::UnknownKey)
        );
    }
}
