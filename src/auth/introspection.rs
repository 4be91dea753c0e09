//! Opaque access tokens, explained by the issuer that gave them (RFC 7662).
//!
//! Which issuer that was cannot be seen, so they are asked in the order of the configuration until
//! one says `active`. A question costs a round trip: it is asked once for all who wait for it, and
//! only so many are under way at a time.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use moka::sync::Cache;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::claims::{ClaimRules, Completeness, Grant};
use super::credentials::TokenDigest;
use super::issuer_client::{FetchError, IssuerClient};
use super::members::Members;
use super::metrics::IssuerMetrics;
use super::reason::{AuthError, Missing, Reason};
use super::refreshed::{DeadlinePassed, Refreshed};
use super::verified::Known;
use crate::config::IssuerUrl;
use crate::flights::Flights;
use crate::secret::Secret;

/// How long a token is remembered to be refused: blunts a consumer that asks in a loop, and is
/// over before anybody notices where a token was activated late.
const REFUSAL_LIFETIME: Duration = Duration::from_secs(5);
/// Refusals remembered at most; about 100 bytes each.
const REFUSAL_ENTRIES: u64 = 10_000;
/// Tokens in question at a time; the others wait for their turn, each until its deadline.
const MAX_QUESTIONS: usize = 128;

/// What is encoded in a form (WHATWG URL, `application/x-www-form-urlencoded`).
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

/// Issuers that are asked.
pub(super) struct Introspection {
    asking: Arc<Asking>,
    flights: Flights<TokenDigest, Result<Known, AuthError>>,
    refused: Cache<TokenDigest, Reason>,
}

struct Asking {
    issuers: Vec<IntrospectingIssuer>,
    client: IssuerClient,
    token_lifetime: Duration,
    turns: Semaphore,
}

/// One of them.
pub(super) struct IntrospectingIssuer {
    pub(super) rules: ClaimRules,
    pub(super) endpoint: Endpoint,
    pub(super) identity: ClientIdentity,
    pub(super) metrics: IssuerMetrics,
}

/// Where it is asked.
pub(super) enum Endpoint {
    /// As configured.
    Url(IssuerUrl),
    /// As its metadata say.
    Metadata(Refreshed<IssuerUrl>),
}

/// Who we are to it (RFC 7662 2.1 wants us to say).
pub(super) enum ClientIdentity {
    /// `client_secret_basic` (RFC 6749 2.3.1).
    Secret {
        /// Our name there.
        client_id: String,
        /// And its proof.
        client_secret: Secret,
    },
    /// The certificate that TLS shows (RFC 8705 2); the name goes into the form.
    Certificate {
        /// Our name there, where it is not read from the certificate.
        client_id: Option<String>,
    },
}

impl Introspection {
    pub(super) fn new(
        issuers: Vec<IntrospectingIssuer>,
        client: IssuerClient,
        token_lifetime: Duration,
    ) -> Self {
        let refused = Cache::builder()
            .max_capacity(REFUSAL_ENTRIES)
            .time_to_live(REFUSAL_LIFETIME)
            .build();
        let asking = Asking {
            issuers,
            client,
            token_lifetime,
            turns: Semaphore::new(MAX_QUESTIONS),
        };
        Self {
            asking: Arc::new(asking),
            flights: Flights::default(),
            refused,
        }
    }

    /// What the issuers know of a token.
    pub(super) async fn verify(
        &self,
        token: &str,
        digest: TokenDigest,
        deadline: Instant,
    ) -> Result<Known, AuthError> {
        if let Some(reason) = self.refused.get(&digest) {
            return Err(reason.into());
        }
        let question = self.flights.join(&digest, || {
            let asking = self.asking.clone();
            let token = Zeroizing::new(token.to_owned());
            async move { asking.ask_all(&token).await }
        });
        let answer = tokio::time::timeout_at(deadline, question)
            .await
            .unwrap_or(Err(AuthError::DeadlinePassed));
        if let Err(AuthError::Unauthenticated(reason)) = answer {
            self.refused.insert(digest, reason);
        }
        answer
    }
}

impl Asking {
    /// The first grant. A refusal is one only when every issuer was heard: the one that is silent
    /// may be the one that knows.
    async fn ask_all(&self, token: &str) -> Result<Known, AuthError> {
        let silent = AuthError::Unavailable(Missing::Introspection);
        let _turn = self.turns.acquire().await.map_err(|_| silent)?;
        let mut refusal = Reason::Inactive;
        let mut all_heard = true;
        for issuer in &self.issuers {
            let answer = issuer.ask(token, &self.client).await;
            issuer.metrics.fetched(answer.as_ref().err());
            let now = super::unix_now();
            match answer.map(|answer| issuer.judge(&answer, now)) {
                Ok(Ok(grant)) => return Ok(Known::of(grant, self.token_lifetime, now)),
                // "Not mine" from one says less than "mine, but expired" from another.
                Ok(Err(Reason::Inactive)) => {}
                Ok(Err(reason)) => refusal = reason,
                Err(_) => all_heard = false,
            }
        }
        Err(if all_heard { refusal.into() } else { silent })
    }
}

impl IntrospectingIssuer {
    async fn ask(&self, token: &str, client: &IssuerClient) -> Result<bytes::Bytes, FetchError> {
        let url = self.endpoint.url().await?;
        let mut form = format!(
            "token={}&token_type_hint=access_token",
            utf8_percent_encode(token, FORM)
        );
        if let ClientIdentity::Certificate {
            client_id: Some(id),
        } = &self.identity
        {
            form.push_str("&client_id=");
            form.extend(utf8_percent_encode(id, FORM));
        }
        let answer = client
            .post_form(&url, self.identity.authorization(), form)
            .await?;
        // Checked here, so that an answer that nobody can read counts as none.
        Members::parse(&answer)
            .and_then(|answer| answer.get::<bool>("active"))
            .ok()
            .flatten()
            .map(|_| answer)
            .ok_or(FetchError::Unusable("its answer says not whether active"))
    }

    fn judge(&self, answer: &[u8], now: i64) -> Result<Grant, Reason> {
        let answer = Members::parse(answer)?;
        if answer.get::<bool>("active")? != Some(true) {
            return Err(Reason::Inactive);
        }
        self.rules.read(&answer, Completeness::Partial, now)
    }
}

/// How long a question waits for an endpoint that metadata have yet to name.
const METADATA_PATIENCE: Duration = Duration::from_secs(5);

impl Endpoint {
    async fn url(&self) -> Result<IssuerUrl, FetchError> {
        match self {
            Self::Url(url) => Ok(url.clone()),
            Self::Metadata(refreshed) => {
                if let Some(url) = refreshed.value() {
                    return Ok((*url).clone());
                }
                let latest = refreshed
                    .renew(Instant::now() + METADATA_PATIENCE)
                    .await
                    .map_err(|DeadlinePassed| FetchError::TimedOut)?;
                latest
                    .value
                    .map(|url| (*url).clone())
                    .ok_or(FetchError::Unusable("its endpoint is not known"))
            }
        }
    }
}

impl ClientIdentity {
    /// Name and secret are form-encoded before they are joined (RFC 6749 2.3.1).
    fn authorization(&self) -> Option<HeaderValue> {
        let Self::Secret {
            client_id,
            client_secret,
        } = self
        else {
            return None;
        };
        let joined = Zeroizing::new(format!(
            "{}:{}",
            utf8_percent_encode(client_id, FORM),
            utf8_percent_encode(client_secret.expose(), FORM)
        ));
        let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(joined.as_bytes())));
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests;
