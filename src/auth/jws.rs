//! JWS in compact form (RFC 7515 7.1), as far as access tokens and proofs of possession need it.
//!
//! Headers are read here and not by the JWT library, which would read (and could stumble over)
//! what must be ignored: `jwk`, `jku`, `x5u` and `x5c` in an access token are an attacker's way to
//! bring the key along.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};

use super::members::Members;
use super::reason::Reason;
use crate::config::Algorithm;

/// The three parts of a token, none of them judged.
pub(super) struct Jws<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// What the signature is over: header, dot, payload.
    signed: &'a str,
}

/// What a header says that we listen to.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
}

impl<'a> Jws<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Reason> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Reason::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Reason::Malformed)?;
        if payload.contains('.') {
            return Err(Reason::Malformed);
        }
        Ok(Self {
            header,
            payload,
            signature,
            signed,
        })
    }

    /// The header in clear.
    pub(super) fn header(&self) -> Result<Vec<u8>, Reason> {
        decode(self.header)
    }

    /// The claims in clear.
    pub(super) fn payload(&self) -> Result<Vec<u8>, Reason> {
        decode(self.payload)
    }

    /// Whether `key` signed this with `algorithm`.
    pub(super) fn verify(&self, key: &DecodingKey, algorithm: Algorithm) -> Result<(), Reason> {
        let algorithm = library_name(algorithm);
        match jsonwebtoken::crypto::verify(self.signature, self.signed.as_bytes(), key, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Reason::Signature),
        }
    }
}

impl Header {
    /// Reads what every JWS of ours must have: an algorithm of `allowed`, a type that `typed`
    /// accepts, and no `crit` (RFC 7515 4.1.11), for we understand no extension.
    pub(super) fn read(
        members: &Members<'_>,
        allowed: &[Algorithm],
        typed: fn(Option<&str>) -> bool,
    ) -> Result<Self, Reason> {
        if members.has("crit") {
            return Err(Reason::Critical);
        }
        if !typed(members.text("typ")?.as_deref()) {
            return Err(Reason::Type);
        }
        let name = members.text("alg")?.ok_or(Reason::Malformed)?;
        let algorithm = allowed
            .iter()
            .copied()
            .find(|algorithm| algorithm.as_str() == name)
            .ok_or(Reason::Algorithm)?;
        let kid = members.text("kid")?.map(std::borrow::Cow::into_owned);
        Ok(Self { algorithm, kid })
    }
}

/// Base64url without padding; a text has one encoding only, the last bits included.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Reason::Malformed)
}

/// The key of a JWK, if it may verify signatures of `algorithm`: by its type and curve, and by
/// what it says of itself (`use`, `key_ops`, `alg`; RFC 7517 4.2 to 4.4).
pub(super) fn key_for(jwk: &Jwk, algorithm: Algorithm) -> Option<DecodingKey> {
    let common = &jwk.common;
    let for_signatures = common
        .public_key_use
        .as_ref()
        .is_none_or(|usage| *usage == PublicKeyUse::Signature)
        && common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let for_algorithm = common
        .key_algorithm
        .is_none_or(|own| own == KeyAlgorithm::from(library_name(algorithm)));
    (for_signatures && for_algorithm && fits(&jwk.algorithm, algorithm))
        .then(|| DecodingKey::from_jwk(jwk).ok())
        .flatten()
}

/// Bytes of an RSA modulus: 2048 to 8192 bits (RFC 7518 3.3, and what can be verified in a
/// reasonable time).
const RSA_MODULUS_LENGTHS: std::ops::RangeInclusive<usize> = 256..=1024;

/// Whether type, curve and lengths are those of the algorithm (RFC 7518 6, RFC 8037 2).
fn fits(parameters: &AlgorithmParameters, algorithm: Algorithm) -> bool {
    let has_length = |text: &str, length: usize| decode(text).is_ok_and(|b| b.len() == length);
    match (parameters, algorithm) {
        (AlgorithmParameters::RSA(key), Algorithm::RS256 | Algorithm::PS256) => {
            decode(&key.n).is_ok_and(|n| RSA_MODULUS_LENGTHS.contains(&n.len()))
        }
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => {
            key.curve == EllipticCurve::P256 && has_length(&key.x, 32) && has_length(&key.y, 32)
        }
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384) => {
            key.curve == EllipticCurve::P384 && has_length(&key.x, 48) && has_length(&key.y, 48)
        }
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
            key.curve == EllipticCurve::Ed25519 && has_length(&key.x, 32)
        }
        _ => false,
    }
}

fn library_name(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::testing::SigningKey;

    #[test]
    fn a_token_has_three_parts() {
        for text in ["", ".", "a.b", "a.b.c.d", "a.b.c.d.e"] {
            assert!(Jws::parse(text).is_err(), "{text}");
        }
        let jws = Jws::parse("a.b.c").ok().unwrap();
        assert_eq!(
            (jws.header, jws.payload, jws.signature, jws.signed),
            ("a", "b", "c", "a.b")
        );
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(decode("QQ").unwrap(), b"A");
        for text in ["QQ==", "QR", "Q", "Q+", "Q/", "Q Q", "\u{e9}"] {
            assert_eq!(decode(text), Err(Reason::Malformed), "{text}");
        }
    }

    #[test]
    fn every_algorithm_verifies_its_own_and_no_other_signature() {
        let keys = Algorithm::ALL.map(SigningKey::new);
        for key in &keys {
            let token = key.sign(&json!({}), &json!({"a": 1}));
            let jws = Jws::parse(&token).ok().unwrap();
            let jwk: Jwk = serde_json::from_value(key.jwk()).unwrap();
            let own = key_for(&jwk, key.algorithm).unwrap();
            assert_eq!(jws.verify(&own, key.algorithm), Ok(()));
            for other in keys.iter().filter(|other| other.kid != key.kid) {
                let other_jwk: Jwk = serde_json::from_value(other.jwk()).unwrap();
                assert!(
                    key_for(&other_jwk, key.algorithm).is_none(),
                    "{:?} is a key of {:?}",
                    other.algorithm,
                    key.algorithm
                );
                let other_key = key_for(&other_jwk, other.algorithm).unwrap();
                assert!(jws.verify(&other_key, key.algorithm).is_err());
            }
        }
    }

    #[test]
    fn a_key_is_used_for_what_it_says_it_is_for() {
        let key = SigningKey::new(Algorithm::ES256);
        let with = |name: &str, value: serde_json::Value| {
            let mut jwk = key.jwk();
            jwk[name] = value;
            let jwk: Option<Jwk> = serde_json::from_value(jwk).ok();
            jwk.and_then(|jwk| key_for(&jwk, Algorithm::ES256))
                .is_some()
        };
        for (name, value, usable) in [
            ("use", json!("sig"), true),
            ("use", json!("enc"), false),
            ("key_ops", json!(["verify"]), true),
            ("key_ops", json!(["encrypt"]), false),
            ("alg", json!("ES256"), true),
            ("alg", json!("ES384"), false),
            ("alg", json!("HS256"), false),
            ("alg", json!("something-new"), false),
            ("crv", json!("P-384"), false),
            ("crv", json!("secp256k1"), false),
            ("kty", json!("oct"), false),
            ("x", json!("AQAB"), false),
            ("x", json!("!"), false),
            ("x5c", json!(["anything"]), true),
        ] {
            assert_eq!(with(name, value.clone()), usable, "{name}: {value}");
        }
    }

    #[test]
    fn short_rsa_keys_are_not_used() {
        let jwk = json!({"kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode([0xff; 128])});
        let jwk: Jwk = serde_json::from_value(jwk).unwrap();
        assert!(key_for(&jwk, Algorithm::RS256).is_none());
    }
}
