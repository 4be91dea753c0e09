//! Proof of possession (RFC 9449): a token that is bound to a key is worth nothing without a proof,
//! made with that key, for this request, now, and used once.

mod replay;
mod target;

use http::request::Parts;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use subtle::ConstantTimeEq as _;

use super::caller::ConsumerId;
use super::claims::Thumbprint;
use super::credentials::{Credentials, Scheme, TokenDigest, sha256};
use super::jws::{self, Header, Jws};
use super::members::Members;
use super::reason::{AuthError, Reason};
use crate::config::{self, Algorithm, DpopMode};
use replay::Replay;
use target::Target;

/// The header that carries the proof (RFC 9449 4.1).
const HEADER: &str = "dpop";
/// A proof holds a key, a signature and five claims; one with an RSA key of 8192 bits has 4 KiB.
const MAX_PROOF_LENGTH: usize = 8 * 1024;
/// Members of a JWK that only its owner may know (RFC 7518 6.2.2, 6.3.2, 6.4.1; RFC 8037 2).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// What the configuration wants proved.
pub(super) struct ProofOfPossession {
    mode: DpopMode,
    algorithms: Vec<Algorithm>,
    window: i64,
    leeway: i64,
    public_url: Option<config::PublicUrl>,
    replay: Replay,
}

impl ProofOfPossession {
    pub(super) fn new(auth: &config::Auth) -> Self {
        let seconds = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Self {
            mode: auth.dpop.mode,
            algorithms: auth.algorithms.clone(),
            window: seconds(auth.dpop.window),
            leeway: seconds(auth.leeway),
            public_url: auth.dpop.public_url.clone(),
            replay: Replay::new(auth.dpop.replay_entries),
        }
    }

    /// Whether these credentials can be good at all, whatever the token is.
    pub(super) fn check_scheme(&self, scheme: Scheme) -> Result<(), Reason> {
        match (self.mode, scheme) {
            (DpopMode::Off, Scheme::Dpop) | (DpopMode::Required, Scheme::Bearer) => {
                Err(Reason::Scheme)
            }
            _ => Ok(()),
        }
    }

    /// Whether the token may be used in this request. A bound one must come as `DPoP` (RFC 9449
    /// 7.1: else a thief of the token alone would call it a bearer token), an unbound one must
    /// not.
    pub(super) fn check(
        &self,
        credentials: &Credentials<'_>,
        digest: &TokenDigest,
        bound_to: Option<&Thumbprint>,
        consumer: &ConsumerId,
        parts: &Parts,
        now: impl FnOnce() -> i64,
    ) -> Result<(), AuthError> {
        match (self.mode, credentials.scheme, bound_to) {
            (DpopMode::Off | DpopMode::Optional, Scheme::Bearer, None) => Ok(()),
            (DpopMode::Optional | DpopMode::Required, Scheme::Dpop, Some(bound_to)) => {
                let now = now();
                let proof = self.read(parts, now)?;
                if !bool::from(proof.thumbprint.ct_eq(bound_to)) {
                    return Err(Reason::ProofKey.into());
                }
                if !bool::from(proof.token.ct_eq(digest.as_bytes())) {
                    return Err(Reason::ProofToken.into());
                }
                // Last, so that only consumers in good standing fill the memory.
                self.replay.enter(proof.id, consumer, proof.good_until, now)
            }
            _ => Err(Reason::Binding.into()),
        }
    }

    /// A proof that is good in itself (RFC 9449 4.3), for this request and now.
    fn read(&self, parts: &Parts, now: i64) -> Result<Proof, Reason> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Reason::ProofMissing);
        };
        let text = value.to_str().map_err(|_| Reason::Proof)?;
        if text.len() > MAX_PROOF_LENGTH {
            return Err(Reason::Proof);
        }
        // Whatever is wrong with its form, it is the proof that is wrong and not the token.
        let form = |_: Reason| Reason::Proof;
        let jws = Jws::parse(text).map_err(form)?;
        let header = jws.header().map_err(form)?;
        let header = Members::parse(&header).map_err(form)?;
        let (algorithm, key, thumbprint) = self.key(&header).map_err(form)?;
        let payload = jws.payload().map_err(form)?;
        let claims = Members::parse(&payload).map_err(form)?;
        let claims = ProofClaims::read(&claims).map_err(form)?;
        let target = self.public_url.as_ref();
        let target = target.and_then(|public_url| Target::of(parts.uri.path(), public_url));
        let target = target.ok_or(Reason::ProofTarget)?;
        if claims.method != parts.method.as_str() || !target.is(&claims.uri) {
            return Err(Reason::ProofTarget);
        }
        let good_until = claims
            .issued
            .saturating_add(self.window)
            .saturating_add(self.leeway);
        if now >= good_until || claims.issued > now.saturating_add(self.leeway) {
            return Err(Reason::ProofTime);
        }
        jws.verify(&key, algorithm).map_err(form)?;
        // One consumer cannot use up the identifiers of another.
        let id = sha256(&[thumbprint.as_slice(), claims.id.as_bytes()].concat());
        Ok(Proof {
            thumbprint,
            token: claims.token,
            id,
            good_until,
        })
    }

    /// The public key that the header brings along, and its thumbprint.
    fn key(&self, header: &Members<'_>) -> Result<(Algorithm, DecodingKey, Thumbprint), Reason> {
        let is_proof = |typ: Option<&str>| {
            typ.is_some_and(|typ| {
                typ.eq_ignore_ascii_case("dpop+jwt")
                    || typ.eq_ignore_ascii_case("application/dpop+jwt")
            })
        };
        let algorithm = Header::read(header, &self.algorithms, is_proof)?.algorithm;
        let members: Members<'_> = header.get("jwk")?.ok_or(Reason::Proof)?;
        if PRIVATE_MEMBERS.iter().any(|name| members.has(name)) {
            return Err(Reason::Proof);
        }
        let jwk: Jwk = header.get("jwk")?.ok_or(Reason::Proof)?;
        let key = jws::key_for(&jwk, algorithm).ok_or(Reason::Proof)?;
        let thumbprint = jwk
            .thumbprint(ThumbprintHash::SHA256)
            .map_err(|_| Reason::Proof)?;
        let thumbprint = jws::decode(&thumbprint)?;
        let thumbprint = thumbprint.try_into().map_err(|_| Reason::Proof)?;
        Ok((algorithm, key, thumbprint))
    }
}

/// A good proof.
struct Proof {
    thumbprint: Thumbprint,
    /// The digest of the token that it is for (`ath`).
    token: [u8; 32],
    id: [u8; 32],
    good_until: i64,
}

/// RFC 9449 4.2
struct ProofClaims {
    id: String,
    method: String,
    uri: String,
    issued: i64,
    token: [u8; 32],
}

impl ProofClaims {
    fn read(claims: &Members<'_>) -> Result<Self, Reason> {
        let text = |name| {
            let text = claims.text(name)?.filter(|text| !text.is_empty());
            Ok(text.ok_or(Reason::Proof)?.into_owned())
        };
        let token = jws::decode(&text("ath")?)?;
        Ok(Self {
            id: text("jti")?,
            method: text("htm")?,
            uri: text("htu")?,
            issued: claims.date("iat", f64::ceil)?.ok_or(Reason::Proof)?,
            token: token.try_into().map_err(|_| Reason::Proof)?,
        })
    }
}

#[cfg(test)]
mod tests;
