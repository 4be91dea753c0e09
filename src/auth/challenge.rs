//! What a 401 asks for, and a 403 for want of a scope, in `www-authenticate` (RFC 9110 11.6.1).

use http::HeaderValue;

use super::reason::Reason;
use crate::config::{self, Algorithm, DpopMode};

/// The challenges of a configuration.
pub(super) struct Challenges {
    dpop: DpopMode,
    algorithms: Vec<Algorithm>,
    /// To a request that shows no token of a scheme that is taken: no error code (RFC 6750 3.1).
    nothing_shown: HeaderValue,
    bad_token: HeaderValue,
    bad_proof: HeaderValue,
}

impl Challenges {
    pub(super) fn new(auth: &config::Auth) -> Self {
        let challenge = |bearer: &str, dpop: &str| {
            let (mode, algorithms) = (auth.dpop.mode, &auth.algorithms);
            challenge(mode, algorithms, bearer, dpop)
        };
        let bad_token = r#"error="invalid_token""#;
        Self {
            dpop: auth.dpop.mode,
            algorithms: auth.algorithms.clone(),
            nothing_shown: challenge("", ""),
            bad_token: challenge(bad_token, bad_token),
            // RFC 9449 12.2; of a bearer token nothing is wrong.
            bad_proof: challenge("", r#"error="invalid_dpop_proof""#),
        }
    }

    /// The one for a good token that lacks this scope (RFC 6750 3.1).
    pub(super) fn scope_missing(&self, scope: &str) -> HeaderValue {
        let error = format!(r#"error="insufficient_scope", scope="{scope}""#);
        challenge(self.dpop, &self.algorithms, &error, &error)
    }

    /// The one for this reason, which is all that it tells.
    pub(super) fn of(&self, reason: Option<Reason>) -> HeaderValue {
        let challenge = match reason {
            None | Some(Reason::Missing | Reason::Scheme) => &self.nothing_shown,
            Some(
                Reason::ProofMissing
                | Reason::Proof
                | Reason::ProofKey
                | Reason::ProofToken
                | Reason::ProofTarget
                | Reason::ProofTime
                | Reason::ProofReplayed,
            ) => &self.bad_proof,
            Some(_) => &self.bad_token,
        };
        challenge.clone()
    }
}

/// The schemes that are taken, each with its error, and for proofs the algorithms (RFC 9449 7.1).
fn challenge(
    dpop: DpopMode,
    algorithms: &[Algorithm],
    bearer_error: &str,
    dpop_error: &str,
) -> HeaderValue {
    let bearer = match bearer_error {
        "" => "Bearer".to_owned(),
        error => format!("Bearer {error}"),
    };
    let names: Vec<&str> = algorithms.iter().map(|it| it.as_str()).collect();
    let names = names.join(" ");
    let proof = match dpop_error {
        "" => format!(r#"DPoP algs="{names}""#),
        error => format!(r#"DPoP {error}, algs="{names}""#),
    };
    let text = match dpop {
        DpopMode::Off => bearer,
        DpopMode::Optional => format!("{bearer}, {proof}"),
        DpopMode::Required => proof,
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Auth;

    fn challenges(mode: DpopMode) -> Challenges {
        let mut auth = Auth {
            algorithms: vec![Algorithm::ES256],
            ..Auth::default()
        };
        auth.dpop.mode = mode;
        Challenges::new(&auth)
    }

    #[test]
    fn a_challenge_says_what_was_wrong_with_what_was_shown() {
        for (mode, reason, expected) in [
            (DpopMode::Off, Reason::Missing, "Bearer"),
            (DpopMode::Off, Reason::Scheme, "Bearer"),
            (
                DpopMode::Off,
                Reason::Expired,
                "Bearer error=\"invalid_token\"",
            ),
            (
                DpopMode::Optional,
                Reason::Missing,
                "Bearer, DPoP algs=\"ES256\"",
            ),
            (
                DpopMode::Optional,
                Reason::Signature,
                "Bearer error=\"invalid_token\", DPoP error=\"invalid_token\", algs=\"ES256\"",
            ),
            (
                DpopMode::Optional,
                Reason::ProofReplayed,
                "Bearer, DPoP error=\"invalid_dpop_proof\", algs=\"ES256\"",
            ),
            (
                DpopMode::Required,
                Reason::Binding,
                "DPoP error=\"invalid_token\", algs=\"ES256\"",
            ),
        ] {
            assert_eq!(challenges(mode).of(Some(reason)), expected);
        }
    }

    #[test]
    fn a_challenge_names_the_scope_that_is_missing() {
        let bearer = r#"Bearer error="insufficient_scope", scope="a:b""#;
        let proof = r#"DPoP error="insufficient_scope", scope="a:b", algs="ES256""#;
        for (mode, expected) in [
            (DpopMode::Off, bearer.to_owned()),
            (DpopMode::Optional, format!("{bearer}, {proof}")),
            (DpopMode::Required, proof.to_owned()),
        ] {
            assert_eq!(challenges(mode).scope_missing("a:b"), expected);
        }
    }
}
