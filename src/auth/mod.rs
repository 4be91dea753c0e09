//! From bearer token to [`Caller`]: who asks, what their token allows, which device it names.
//!
//! Read in this order: this file (the walk of a token), [`caller`] and [`reason`] (what comes out
//! of it), `credentials` (the header), then for signed tokens `jwt`, `jws`, `claims`,
//! `device_claims` and `keys`, for opaque ones `introspection`; `dpop` for proofs of possession,
//! `verified` and `kept_token` for tokens that are remembered, `challenge` for what a 401 asks for.
//! `issuer_client` and `refreshed` fetch what issuers publish; `setup` builds all of it.
//!
//! Where the texts leave a choice, the one that refuses was taken: what cannot be understood is
//! 401, what cannot be judged is 503, and neither is ever let in. Nothing of a token stands in a
//! log, an error or a label.

pub mod caller;
mod challenge;
mod claims;
mod credentials;
mod device_claims;
mod dpop;
mod introspection;
mod issuer_client;
mod jws;
mod jwt;
mod kept_token;
mod keys;
mod members;
mod metrics;
pub mod reason;
mod refreshed;
mod setup;
#[cfg(test)]
mod testing;
mod verified;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use http::request::Parts;
use tokio::time::Instant;

pub use caller::{Caller, ConsumerId, Scopes, Subject};
pub use kept_token::KeptToken;
pub use metrics::AuthMetrics;
pub use reason::{AuthError, Missing, Reason};
pub use setup::AuthSetupError;

use challenge::Challenges;
use credentials::{Credentials, TokenDigest};
use dpop::ProofOfPossession;
use introspection::Introspection;
use jwt::JwtIssuers;
use verified::{Known, VerifiedTokens};

/// Tells callers by their tokens. Fetches keys in the background for as long as it lives.
pub struct Authenticator {
    judge: Judge,
    known: VerifiedTokens,
    token_lifetime: Duration,
    proofs: ProofOfPossession,
    challenges: Challenges,
    metrics: Arc<AuthMetrics>,
}

/// Who says what a token is worth.
enum Judge {
    /// Nobody is asked who they are.
    Nobody(Arc<Caller>),
    /// The signature of its issuer.
    Signature(JwtIssuers),
    /// Its issuer, when asked.
    Issuer(Introspection),
}

impl Authenticator {
    /// Who sends this request, over a connection with which this token is kept. Of `parts`, method and
    /// URI matter to proofs of possession only.
    pub async fn caller(
        &self,
        parts: &Parts,
        kept: &KeptToken,
        deadline: Instant,
    ) -> Result<Arc<Caller>, AuthError> {
        let outcome = self.identify(parts, kept, deadline).await;
        if let Err(error) = outcome {
            self.metrics.refused(error);
        }
        outcome
    }

    /// The walk of a token: header, what is known of it or else its judge, its binding.
    async fn identify(
        &self,
        parts: &Parts,
        kept: &KeptToken,
        deadline: Instant,
    ) -> Result<Arc<Caller>, AuthError> {
        if let Judge::Nobody(anonymous) = &self.judge {
            return Ok(anonymous.clone());
        }
        let credentials = Credentials::of(&parts.headers)?;
        self.proofs.check_scheme(credentials.scheme)?;
        let (digest, known, remembered) = self.worth(&credentials, kept, deadline).await?;
        let bound_to = known.bound_to.as_deref();
        let consumer = &known.caller.consumer;
        self.proofs
            .check(&credentials, &digest, bound_to, consumer, parts, unix_now)?;
        if remembered {
            self.metrics.remembered();
        } else {
            self.metrics.verified();
        }
        Ok(known.caller)
    }

    /// What a token is worth, and whether that was known before.
    async fn worth(
        &self,
        credentials: &Credentials<'_>,
        kept: &KeptToken,
        deadline: Instant,
    ) -> Result<(TokenDigest, Known, bool), AuthError> {
        let token = credentials.token;
        if let Some((digest, known)) = kept.get(token) {
            return Ok((digest, known, true));
        }
        let digest = TokenDigest::of(token);
        let (known, remembered) = match self.known.get(&digest) {
            Some(known) => (known, true),
            // Boxed: the rare way must not make the common one large.
            None => (
                Box::pin(self.judge(credentials, digest, deadline)).await?,
                false,
            ),
        };
        kept.set(token, digest, &known);
        Ok((digest, known, remembered))
    }

    /// Has a token judged, and remembers it if it is good. Bad ones are not remembered here: there
    /// is no end to them.
    async fn judge(
        &self,
        credentials: &Credentials<'_>,
        digest: TokenDigest,
        deadline: Instant,
    ) -> Result<Known, AuthError> {
        credentials.check_form()?;
        let token = credentials.token;
        let known = match &self.judge {
            Judge::Nobody(_) => return Err(Reason::Issuer.into()),
            Judge::Signature(issuers) => {
                let now = unix_now();
                let grant = issuers.verify(token, now, deadline).await?;
                Known::of(grant, self.token_lifetime, now)
            }
            Judge::Issuer(introspection) => introspection.verify(token, digest, deadline).await?,
        };
        self.known.insert(digest, known.clone());
        Ok(known)
    }

    /// What a 401 for this reason says in `www-authenticate` (RFC 9110 11.6.1).
    pub fn challenge(&self, reason: Option<Reason>) -> HeaderValue {
        self.challenges.of(reason)
    }

    /// What a 403 says there to a token that lacks a scope (RFC 6750 3.1).
    pub fn scope_challenge(&self, scope: &str) -> HeaderValue {
        self.challenges.scope_missing(scope)
    }

    /// Brings the gauges up to date.
    pub fn record_sizes(&self) {
        self.metrics.set_entries(self.known.entries());
    }
}

/// Seconds since 1970. Tokens carry wall-clock times, and so must be held against one.
fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
