//! Signed access tokens (RFC 9068, and the CAMARA profile of them).
//!
//! What is cheap is checked first, so that a flood of garbage costs us JSON and not signatures:
//! header, issuer, audience and times, then the key, then the signature. Nothing that was read
//! leaves this module before the signature was found good.

use tokio::time::Instant;

use super::claims::{ClaimRules, Completeness, Grant};
use super::jws::{Header, Jws};
use super::keys::{IssuerKeys, Key};
use super::members::Members;
use super::reason::{AuthError, Reason};
use crate::config::Algorithm;

/// The issuers whose signatures are accepted.
pub(super) struct JwtIssuers {
    pub(super) issuers: Vec<JwtIssuer>,
    pub(super) algorithms: Vec<Algorithm>,
}

/// One issuer. Its keys vouch for its own tokens and for no other's.
pub(super) struct JwtIssuer {
    pub(super) rules: ClaimRules,
    pub(super) keys: IssuerKeys,
}

/// Types of access tokens (RFC 9068 2.1; `JWT` and none from servers that are older than that).
/// ID tokens call themselves `JWT` too and are told apart by their audience.
fn is_access_token(typ: Option<&str>) -> bool {
    typ.is_none_or(|typ| {
        ["at+jwt", "application/at+jwt", "JWT"]
            .iter()
            .any(|known| typ.eq_ignore_ascii_case(known))
    })
}

impl JwtIssuers {
    /// The grant of a token at `now` (seconds since 1970).
    pub(super) async fn verify(
        &self,
        token: &str,
        now: i64,
        deadline: Instant,
    ) -> Result<Grant, AuthError> {
        let rules = self.issuers.iter().map(|issuer| &issuer.rules);
        let claimed = Claimed::read(token, rules, &self.algorithms, now)?;
        let issuer = self.issuers.get(claimed.issuer).ok_or(Reason::Issuer)?;
        let key = issuer.keys.find(&claimed.header, deadline).await?;
        Ok(claimed.signed_by(&key)?)
    }
}

/// What a token claims to be, before its signature is looked at.
struct Claimed<'a> {
    jws: Jws<'a>,
    header: Header,
    /// By place in the configuration.
    issuer: usize,
    grant: Grant,
}

impl<'a> Claimed<'a> {
    fn read<'r>(
        token: &'a str,
        rules: impl Iterator<Item = &'r ClaimRules>,
        algorithms: &[Algorithm],
        now: i64,
    ) -> Result<Self, Reason> {
        let jws = Jws::parse(token)?;
        let header = jws.header()?;
        let header = Header::read(&Members::parse(&header)?, algorithms, is_access_token)?;
        let payload = jws.payload()?;
        let claims = Members::parse(&payload)?;
        let name = claims.text("iss")?.ok_or(Reason::Issuer)?;
        let (issuer, rules) = rules
            .enumerate()
            .find(|(_, rules)| rules.issuer == name)
            .ok_or(Reason::Issuer)?;
        let grant = rules.read(&claims, Completeness::Whole, now)?;
        Ok(Self {
            jws,
            header,
            issuer,
            grant,
        })
    }

    fn signed_by(self, key: &Key) -> Result<Grant, Reason> {
        self.jws.verify(key.decoding_key(), self.header.algorithm)?;
        Ok(self.grant)
    }
}

#[cfg(test)]
mod tests;
