//! What a 401 asks for, in `www-authenticate` (RFC 9110 11.6.1).

use http::HeaderValue;

use super::reason::Reason;
use crate::config::{self, DpopMode};

/// The challenges of a configuration.
pub(super) struct Challenges {
    /// To a request that shows no token of a scheme that is taken: no error code (RFC 6750 3.1).
    nothing_shown: HeaderValue,
    bad_token: HeaderValue,
    bad_proof: HeaderValue,
}

impl Challenges {
    pub(super) fn new(auth: &config::Auth) -> Self {
        Self {
            nothing_shown: challenge(auth, None, None),
            bad_token: challenge(auth, Some("invalid_token"), Some("invalid_token")),
            // RFC 9449 12.2; of a bearer token nothing is wrong.
            bad_proof: challenge(auth, None, Some("invalid_dpop_proof")),
        }
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
fn challenge(auth: &config::Auth, bearer: Option<&str>, dpop: Option<&str>) -> HeaderValue {
    let error = |code: &str| format!("error=\"{code}\"");
    let bearer = bearer.map_or_else(String::new, |code| format!(" {}", error(code)));
    let dpop = dpop.map_or_else(String::new, |code| format!("{}, ", error(code)));
    let names: Vec<&str> = auth.algorithms.iter().map(|a| a.as_str()).collect();
    let bearer = format!("Bearer{bearer}");
    let dpop = format!("DPoP {dpop}algs=\"{}\"", names.join(" "));
    let text = match auth.dpop.mode {
        DpopMode::Off => bearer,
        DpopMode::Optional => format!("{bearer}, {dpop}"),
        DpopMode::Required => dpop,
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Algorithm, Auth};

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
            let mut auth = Auth {
                algorithms: vec![Algorithm::ES256],
                ..Auth::default()
            };
            auth.dpop.mode = mode;
            assert_eq!(Challenges::new(&auth).of(Some(reason)), expected);
        }
    }
}
