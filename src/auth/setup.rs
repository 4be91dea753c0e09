//! From settings to an [`Authenticator`]: everything that can be wrong with them is found here.

use std::collections::HashSet;
use std::sync::Arc;

use super::caller::Caller;
use super::challenge::Challenges;
use super::claims::ClaimRules;
use super::dpop::ProofOfPossession;
use super::introspection::{ClientIdentity, Endpoint, IntrospectingIssuer, Introspection};
use super::issuer_client::{FetchError, IssuerClient, Metadata};
use super::jwt::{JwtIssuer, JwtIssuers};
use super::keys::{IssuerKeys, KeySource};
use super::metrics::AuthMetrics;
use super::refreshed::{Refreshed, Schedule};
use super::verified::VerifiedTokens;
use super::{Authenticator, Judge};
use crate::config::{self, AuthMode, UrlError};
use crate::secret::{Secret, SecretError};
use crate::tls::{self, TlsError};

/// Why nobody could be authenticated with these settings. Names the issuer, never a secret.
#[derive(Debug, thiserror::Error)]
pub enum AuthSetupError {
    /// Two entries for one issuer: its tokens would mean two things.
    #[error("auth.issuers: {issuer} is there twice")]
    Twice {
        /// The issuer.
        issuer: String,
    },
    /// Its metadata are needed and cannot be asked for.
    #[error(
        "auth.issuers: {issuer}: {source}; or set {instead}, so that its metadata are not needed"
    )]
    Issuer {
        /// The issuer.
        issuer: String,
        /// What could be set instead.
        instead: &'static str,
        /// Why not.
        source: UrlError,
    },
    /// Keys in two places.
    #[error("auth.issuers: {issuer}: set jwks_uri or jwks_file, not both")]
    TwoSources {
        /// The issuer.
        issuer: String,
    },
    /// A file of keys that cannot be used.
    #[error("auth.issuers: {issuer}: jwks_file: {reason}")]
    Keys {
        /// The issuer.
        issuer: String,
        /// Why not.
        reason: String,
    },
    /// Nothing says who we are to an introspection endpoint.
    #[error(
        "auth.issuers: {issuer}: introspection needs client_id and client_secret, or a \
         certificate in auth.tls"
    )]
    Identity {
        /// The issuer.
        issuer: String,
    },
    /// Our secret for an introspection endpoint cannot be had.
    #[error("auth.issuers: {issuer}: client_secret: {source}")]
    Secret {
        /// The issuer.
        issuer: String,
        /// Why not.
        source: SecretError,
    },
    /// Certificates or trust.
    #[error("auth.tls: {0}")]
    Tls(#[from] TlsError),
}

impl Authenticator {
    /// Reads keys and secrets and begins to fetch what issuers publish. Called inside of a
    /// runtime; the fetching ends with the value.
    ///
    /// `listed` are the consumers that the operator names in the configuration.
    pub fn new(
        auth: &config::Auth,
        listed: HashSet<String>,
        metrics: Arc<AuthMetrics>,
    ) -> Result<Self, AuthSetupError> {
        let listed = Arc::new(listed);
        let judge = match auth.mode {
            AuthMode::None => Judge::Nobody(Arc::new(Caller::anonymous())),
            AuthMode::Jwt => Judge::Signature(signatures(auth, &listed, &metrics)?),
            AuthMode::Introspection => Judge::Issuer(introspection(auth, &listed, &metrics)?),
        };
        Ok(Self {
            judge,
            known: VerifiedTokens::new(auth.token_entries, auth.token_lifetime),
            token_lifetime: auth.token_lifetime,
            proofs: ProofOfPossession::new(auth),
            challenges: Challenges::new(auth),
            metrics,
        })
    }
}

fn signatures(
    auth: &config::Auth,
    listed: &Arc<HashSet<String>>,
    metrics: &AuthMetrics,
) -> Result<JwtIssuers, AuthSetupError> {
    let client = client(auth)?;
    let issuers = distinct(auth)?.iter().map(|issuer| {
        let keys = IssuerKeys::start(
            key_source(issuer)?,
            auth.algorithms.clone(),
            client.clone(),
            schedule(auth),
            metrics.issuer(&issuer.issuer, "keys"),
        );
        Ok(JwtIssuer {
            rules: ClaimRules::new(issuer, auth.leeway, listed.clone()),
            keys: keys.map_err(|error: FetchError| AuthSetupError::Keys {
                issuer: issuer.issuer.clone(),
                reason: error.to_string(),
            })?,
        })
    });
    Ok(JwtIssuers {
        issuers: issuers.collect::<Result<_, AuthSetupError>>()?,
        algorithms: auth.algorithms.clone(),
    })
}

fn introspection(
    auth: &config::Auth,
    listed: &Arc<HashSet<String>>,
    metrics: &AuthMetrics,
) -> Result<Introspection, AuthSetupError> {
    let client = client(auth)?;
    let issuers = distinct(auth)?.iter().map(|issuer| {
        Ok(IntrospectingIssuer::new(
            ClaimRules::new(issuer, auth.leeway, listed.clone()),
            endpoint(auth, issuer, &client, metrics)?,
            identity(auth, issuer)?,
            metrics.issuer(&issuer.issuer, "introspection"),
        ))
    });
    let issuers = issuers.collect::<Result<_, AuthSetupError>>()?;
    Ok(Introspection::new(issuers, client, auth.token_lifetime))
}

/// Tokens name their issuer, and the name must lead to one entry.
fn distinct(auth: &config::Auth) -> Result<&[config::Issuer], AuthSetupError> {
    let mut seen = HashSet::new();
    for issuer in &auth.issuers {
        if !seen.insert(&issuer.issuer) {
            return Err(AuthSetupError::Twice {
                issuer: issuer.issuer.clone(),
            });
        }
    }
    Ok(&auth.issuers)
}

/// A system without any authority (a bare container) is fine where no issuer needs one.
pub(super) fn client(auth: &config::Auth) -> Result<IssuerClient, AuthSetupError> {
    let tls = match tls::client_config(&auth.tls, &[b"http/1.1"]) {
        Err(TlsError::NoSystemAuthorities) if !auth.issuers.iter().any(needs_tls) => {
            tls::no_trust()?
        }
        config => config?,
    };
    Ok(IssuerClient::new(tls))
}

fn needs_tls(issuer: &config::Issuer) -> bool {
    let urls = [&issuer.jwks_uri, &issuer.introspection_endpoint];
    issuer.issuer.starts_with("https:")
        || urls.into_iter().flatten().any(config::IssuerUrl::is_https)
}

fn schedule(auth: &config::Auth) -> Schedule {
    Schedule {
        every: auth.keys_refresh,
        rest: auth.keys_refresh_min,
    }
}

fn key_source(issuer: &config::Issuer) -> Result<KeySource, AuthSetupError> {
    match (&issuer.jwks_uri, &issuer.jwks_file) {
        (Some(_), Some(_)) => Err(AuthSetupError::TwoSources {
            issuer: issuer.issuer.clone(),
        }),
        (Some(url), None) => Ok(KeySource::Url(url.clone())),
        (None, Some(file)) => Ok(KeySource::File(file.clone())),
        (None, None) => Ok(KeySource::Metadata {
            issuer: issuer.issuer.clone(),
            url: metadata_url(issuer, "jwks_uri or jwks_file")?,
        }),
    }
}

fn metadata_url(
    issuer: &config::Issuer,
    instead: &'static str,
) -> Result<config::IssuerUrl, AuthSetupError> {
    Metadata::url(&issuer.issuer).map_err(|source| AuthSetupError::Issuer {
        issuer: issuer.issuer.clone(),
        instead,
        source,
    })
}

fn endpoint(
    auth: &config::Auth,
    issuer: &config::Issuer,
    client: &IssuerClient,
    metrics: &AuthMetrics,
) -> Result<Endpoint, AuthSetupError> {
    if let Some(url) = &issuer.introspection_endpoint {
        return Ok(Endpoint::Url(url.clone()));
    }
    let url = metadata_url(issuer, "introspection_endpoint")?;
    let source = Arc::new((client.clone(), url, issuer.issuer.clone()));
    let metrics = metrics.issuer(&issuer.issuer, "metadata");
    let refreshed = Refreshed::start(None, schedule(auth), metrics, move || {
        let source = source.clone();
        async move {
            let (client, url, issuer) = &*source;
            let metadata = Metadata::fetch(client, url, issuer).await?;
            metadata.introspection_endpoint.ok_or(FetchError::Unusable(
                "its metadata name no introspection_endpoint",
            ))
        }
    });
    Ok(Endpoint::Metadata(refreshed))
}

fn identity(
    auth: &config::Auth,
    issuer: &config::Issuer,
) -> Result<ClientIdentity, AuthSetupError> {
    match (&issuer.client_id, &issuer.client_secret) {
        (Some(client_id), Some(source)) => {
            let client_secret = Secret::read(source).map_err(|source| AuthSetupError::Secret {
                issuer: issuer.issuer.clone(),
                source,
            })?;
            Ok(ClientIdentity::Secret {
                client_id: client_id.clone(),
                client_secret,
            })
        }
        (client_id, None) if auth.tls.certificate_file.is_some() => {
            Ok(ClientIdentity::Certificate {
                client_id: client_id.clone(),
            })
        }
        _ => Err(AuthSetupError::Identity {
            issuer: issuer.issuer.clone(),
        }),
    }
}
