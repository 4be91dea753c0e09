//! Opaque access tokens, explained by the issuer that gave them (RFC 7662).
//!
//! Where a token is signed and names its issuer, that one alone is asked: nobody else need see it.
//! Otherwise they are asked in the order of the configuration until one says `active`. None is waited
//! for long before the next is asked as well: one that swallows questions must not take the time of
//! those that answer. A question costs a round trip: it is asked once for all who wait for it, and
//! each issuer gets only so many at a time.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::HeaderValue;
use moka::sync::Cache;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::claims::{ClaimRules, Completeness, Grant};
use super::credentials::TokenDigest;
use super::issuer_client::{FetchError, IssuerClient};
use super::jws::Jws;
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
/// Questions to one issuer at a time; the others wait for their turn, each until its deadline.
const MAX_QUESTIONS: usize = 128;
/// How long an issuer is waited for before the next is asked beside it. Longer than one that is well
/// takes, so that as a rule a token is shown to nobody after its own issuer.
const HEAD_START: Duration = Duration::from_millis(100);

/// How long an issuer that fails is waited for.
const FAILING_PATIENCE: Duration = Duration::from_millis(250);

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
}

/// One of them.
pub(super) struct IntrospectingIssuer {
    rules: ClaimRules,
    endpoint: Endpoint,
    identity: ClientIdentity,
    metrics: IssuerMetrics,
    /// Its own, so that those who wait for one issuer keep nobody from another.
    turns: Semaphore,
    /// Who finds out whether it is well again.
    probe: Semaphore,
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
    /// The issuers that may have given a token.
    fn askable(&self, token: &str) -> &[IntrospectingIssuer] {
        let named = named_issuer(token);
        let mut issuers = self.issuers.iter();
        let named = named.and_then(|name| issuers.find(|issuer| issuer.rules.issuer == name));
        named.map_or(&self.issuers, std::slice::from_ref)
    }

    /// The first grant. A refusal is one only when every issuer was heard: the one that is silent
    /// may be the one that knows.
    async fn ask_all(&self, token: &str) -> Result<Known, AuthError> {
        let mut refusal = Reason::Inactive;
        let mut all_heard = true;
        let mut unasked = self.askable(token).iter();
        let mut asked = FuturesUnordered::new();
        loop {
            asked.extend(unasked.next().map(|it| it.explain(token, &self.client)));
            let answer = tokio::select! {
                biased;
                answer = asked.next() => answer,
                () = tokio::time::sleep(HEAD_START), if unasked.len() > 0 => continue,
            };
            let Some(answer) = answer else { break };
            let now = super::unix_now();
            match answer.map(|(issuer, answer)| issuer.judge(&answer, now)) {
                Ok(Ok(grant)) => return Ok(Known::of(grant, self.token_lifetime, now)),
                // "Not mine" from one says less than "mine, but expired" from another.
                Ok(Err(Reason::Inactive)) => {}
                Ok(Err(reason)) => refusal = reason,
                Err(Silent) => all_heard = false,
            }
        }
        if all_heard {
            Err(refusal.into())
        } else {
            Err(AuthError::Unavailable(Missing::Introspection))
        }
    }
}

/// The issuer that a token names, where it has claims that can be read. Nobody vouches for them: they
/// only say who is asked.
fn named_issuer(token: &str) -> Option<String> {
    let claims = Jws::parse(token).and_then(|jws| jws.payload()).ok()?;
    let claims = Members::parse(&claims).ok()?;
    let issuer = claims.text("iss").ok().flatten()?;
    Some(issuer.into_owned())
}

/// An issuer that did not explain a token.
struct Silent;

impl IntrospectingIssuer {
    pub(super) fn new(
        rules: ClaimRules,
        endpoint: Endpoint,
        identity: ClientIdentity,
        metrics: IssuerMetrics,
    ) -> Self {
        Self {
            rules,
            endpoint,
            identity,
            metrics,
            turns: Semaphore::new(MAX_QUESTIONS),
            probe: Semaphore::new(1),
        }
    }

    /// What it says of a token. While it fails, one question at a time has all its time (it may merely
    /// be slow), and nobody else is kept waiting: each would hold a place among the requests in flight.
    async fn explain(
        &self,
        token: &str,
        client: &IssuerClient,
    ) -> Result<(&Self, bytes::Bytes), Silent> {
        let probe = self.metrics.is_failing().then(|| self.probe.try_acquire());
        let answer = self.explain_in_turn(token, client);
        match &probe {
            None | Some(Ok(_)) => answer.await,
            Some(Err(_)) => tokio::time::timeout(FAILING_PATIENCE, answer)
                .await
                .unwrap_or(Err(Silent)),
        }
    }

    async fn explain_in_turn(
        &self,
        token: &str,
        client: &IssuerClient,
    ) -> Result<(&Self, bytes::Bytes), Silent> {
        let _turn = self.turns.acquire().await.map_err(|_| Silent)?;
        let question = self.metrics.question();
        let answer = self.ask(token, client).await;
        question.ended(answer.as_ref().err());
        answer.map(|answer| (self, answer)).map_err(|_| Silent)
    }

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
