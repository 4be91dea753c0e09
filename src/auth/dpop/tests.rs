//! Proofs, good ones and each way to be bad.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::auth::testing::{SigningKey, encode};
use crate::config::Auth;

const NOW: i64 = 1_700_000_000;
const URL: &str = "https://api.example.com/device-identifier/v0.1.0/retrieve-type";
const TOKEN: &str = "the.access.token";

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::new(Algorithm::ES256));

fn checks(mode: DpopMode) -> ProofOfPossession {
    with_memory(mode, 10)
}

fn with_memory(mode: DpopMode, entries: u64) -> ProofOfPossession {
    let mut auth = Auth::default();
    auth.dpop.mode = mode;
    auth.dpop.replay_entries = entries;
    auth.dpop.public_url = Some("https://api.example.com".to_owned().try_into().unwrap());
    ProofOfPossession::new(&auth)
}

fn consumer() -> ConsumerId {
    ConsumerId::parse("shop").unwrap()
}

fn thumbprint(key: &SigningKey) -> Thumbprint {
    let jwk: Jwk = serde_json::from_value(key.jwk()).unwrap();
    let text = jwk.thumbprint(ThumbprintHash::SHA256).unwrap();
    jws::decode(&text).unwrap().try_into().unwrap()
}

fn claims() -> Value {
    json!({
        "jti": uuid::Uuid::new_v4().to_string(), "htm": "POST", "htu": URL, "iat": NOW,
        "ath": encode(sha256(TOKEN.as_bytes())),
    })
}

fn proof_by(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let mut whole = json!({"typ": "dpop+jwt", "kid": null, "jwk": key.jwk()});
    for (name, value) in header.as_object().unwrap() {
        whole[name] = value.clone();
    }
    key.sign(&whole, claims)
}

fn proof(header: &Value, claims: &Value) -> String {
    proof_by(&KEY, header, claims)
}

fn parts(proofs: &[&str]) -> Parts {
    let mut request = http::Request::post(URL);
    for proof in proofs {
        request = request.header(HEADER, *proof);
    }
    request.body(()).unwrap().into_parts().0
}

/// A request with this proof and the token that is bound to `KEY`.
fn check_at(checks: &ProofOfPossession, proofs: &[&str], now: i64) -> Result<(), AuthError> {
    let credentials = Credentials {
        scheme: Scheme::Dpop,
        token: TOKEN,
    };
    let digest = TokenDigest::of(TOKEN);
    let bound_to = thumbprint(&KEY);
    checks.check(
        &credentials,
        &digest,
        Some(&bound_to),
        &consumer(),
        &parts(proofs),
        || now,
    )
}

/// Whom the request says that it is for is the word of whoever stole the proof.
#[test]
fn a_proof_for_another_server_is_none_for_us() {
    let mut elsewhere = claims();
    elsewhere["htu"] = json!(URL.replace("api.example.com", "evil.example"));
    let stolen = proof(&json!({}), &elsewhere);
    let (mut parts, ()) = http::Request::post(URL.replace("api.example.com", "evil.example"))
        .header("host", "evil.example")
        .header(HEADER, &stolen)
        .body(())
        .unwrap()
        .into_parts();
    let checks = checks(DpopMode::Required);
    for uri in [parts.uri.clone(), parts.uri.path().parse().unwrap()] {
        parts.uri = uri;
        assert_eq!(
            checks.read(&parts, NOW).err(),
            Some(Reason::ProofTarget),
            "{}",
            parts.uri
        );
    }
}

fn check(proof: &str) -> Option<Reason> {
    refusal(check_at(&checks(DpopMode::Required), &[proof], NOW))
}

/// Why not, if not.
fn refusal(outcome: Result<(), AuthError>) -> Option<Reason> {
    match outcome.err()? {
        AuthError::Unauthenticated(reason) => Some(reason),
        other => panic!("{other}"),
    }
}

#[test]
fn a_good_proof_is_taken_once() {
    for mode in [DpopMode::Optional, DpopMode::Required] {
        let checks = checks(mode);
        let proof = proof(&json!({}), &claims());
        assert_eq!(check_at(&checks, &[&proof], NOW), Ok(()));
        let again = check_at(&checks, &[&proof], NOW + 1);
        assert_eq!(refusal(again), Some(Reason::ProofReplayed));
    }
}

#[test]
fn the_thumbprint_is_that_of_rfc_9449() {
    // The key and the thumbprint of RFC 9449, figures 2 and 7.
    let jwk = json!({
        "kty": "EC", "crv": "P-256",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    });
    let jwk: Jwk = serde_json::from_value(jwk).unwrap();
    assert_eq!(
        jwk.thumbprint(ThumbprintHash::SHA256).unwrap(),
        "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    );
}

#[test]
fn schemes_and_bindings_must_fit_the_mode_and_each_other() {
    use DpopMode::{Off, Optional, Required};
    use Scheme::{Bearer, Dpop};
    let bound_to = thumbprint(&KEY);
    for (mode, scheme, bound, reason) in [
        (Off, Bearer, false, None),
        (Off, Bearer, true, Some(Reason::Binding)),
        (Off, Dpop, true, Some(Reason::Scheme)),
        (Off, Dpop, false, Some(Reason::Scheme)),
        (Optional, Bearer, false, None),
        (Optional, Bearer, true, Some(Reason::Binding)),
        (Optional, Dpop, true, None),
        (Optional, Dpop, false, Some(Reason::Binding)),
        (Required, Bearer, false, Some(Reason::Scheme)),
        (Required, Bearer, true, Some(Reason::Scheme)),
        (Required, Dpop, true, None),
        (Required, Dpop, false, Some(Reason::Binding)),
    ] {
        let checks = checks(mode);
        let credentials = Credentials {
            scheme,
            token: TOKEN,
        };
        let proof = proof(&json!({}), &claims());
        let outcome = checks
            .check_scheme(scheme)
            .map_err(AuthError::from)
            .and_then(|()| {
                checks.check(
                    &credentials,
                    &TokenDigest::of(TOKEN),
                    bound.then_some(&bound_to),
                    &consumer(),
                    &parts(&[&proof]),
                    || NOW,
                )
            });
        assert_eq!(refusal(outcome), reason, "{mode:?} {scheme:?} {bound}");
    }
}

#[test]
fn there_is_exactly_one_proof() {
    let (one, two) = (proof(&json!({}), &claims()), proof(&json!({}), &claims()));
    let checks = checks(DpopMode::Required);
    for proofs in [&[][..], &[one.as_str(), &two], &[&one, &one]] {
        let outcome = check_at(&checks, proofs, NOW);
        assert_eq!(refusal(outcome), Some(Reason::ProofMissing));
    }
    let long = "a".repeat(MAX_PROOF_LENGTH + 1);
    for bad in ["", "a.b.c", "a.b", &long] {
        assert_eq!(check(bad), Some(Reason::Proof));
    }
}

#[test]
fn headers_of_proofs_are_held_to_the_text() {
    let mut private = KEY.jwk();
    private["d"] = json!("AQAB");
    let mut damaged = KEY.jwk();
    damaged["x"] = json!("AQAB");
    for (header, reason) in [
        (json!({"typ": "DPoP+JWT"}), None),
        (json!({"typ": "at+jwt"}), Some(Reason::Proof)),
        (json!({"typ": null}), Some(Reason::Proof)),
        (json!({"alg": "none"}), Some(Reason::Proof)),
        (json!({"alg": "HS256"}), Some(Reason::Proof)),
        (json!({"alg": "RS256"}), Some(Reason::Proof)),
        (json!({"crit": ["b64"], "b64": true}), Some(Reason::Proof)),
        (json!({"jwk": null}), Some(Reason::Proof)),
        (json!({"jwk": "x"}), Some(Reason::Proof)),
        (json!({"jwk": private}), Some(Reason::Proof)),
        (json!({"jwk": damaged}), Some(Reason::Proof)),
        (
            json!({"jwk": {"kty": "oct", "k": "AQAB"}}),
            Some(Reason::Proof),
        ),
    ] {
        let proof = proof(&header, &claims());
        assert_eq!(check(&proof), reason, "{header}");
    }
}

#[test]
fn claims_of_proofs_are_held_to_the_request() {
    let window = 60;
    let leeway = 30;
    for (name, value, reason) in [
        ("jti", json!(null), Some(Reason::Proof)),
        ("jti", json!(""), Some(Reason::Proof)),
        ("jti", json!(1), Some(Reason::Proof)),
        ("htm", json!("GET"), Some(Reason::ProofTarget)),
        ("htm", json!("post"), Some(Reason::ProofTarget)),
        ("htm", json!(null), Some(Reason::Proof)),
        (
            "htu",
            json!("https://api.example.com/other"),
            Some(Reason::ProofTarget),
        ),
        (
            "htu",
            json!("https://other.example.com/device-identifier/v0.1.0/retrieve-type"),
            Some(Reason::ProofTarget),
        ),
        (
            "htu",
            json!("http://api.example.com/device-identifier/v0.1.0/retrieve-type"),
            Some(Reason::ProofTarget),
        ),
        ("htu", json!(format!("{URL}?q=1#f")), None),
        (
            "htu",
            json!("HTTPS://API.example.com:443/device-identifier/v0.1.0/retrieve-type"),
            None,
        ),
        ("iat", json!(NOW - window - leeway + 1), None),
        ("iat", json!(NOW - window - leeway), Some(Reason::ProofTime)),
        ("iat", json!(NOW + leeway), None),
        ("iat", json!(NOW + leeway + 1), Some(Reason::ProofTime)),
        ("iat", json!(u64::MAX), Some(Reason::ProofTime)),
        ("iat", json!(i64::MIN), Some(Reason::ProofTime)),
        ("iat", json!(null), Some(Reason::Proof)),
        ("ath", json!(null), Some(Reason::Proof)),
        (
            "ath",
            json!(encode(sha256(b"another token"))),
            Some(Reason::ProofToken),
        ),
        ("ath", json!("AQAB"), Some(Reason::Proof)),
    ] {
        let mut claims = claims();
        claims[name] = value.clone();
        let proof = proof(&json!({}), &claims);
        assert_eq!(check(&proof), reason, "{name}: {value}");
    }
}

#[test]
fn the_proof_must_be_made_with_the_bound_key() {
    let other = SigningKey::new(Algorithm::ES256);
    let by_other = proof_by(&other, &json!({}), &claims());
    assert_eq!(check(&by_other), Some(Reason::ProofKey));
    // The bound key shown, another one used.
    let forged = proof_by(&other, &json!({"jwk": KEY.jwk()}), &claims());
    assert_eq!(check(&forged), Some(Reason::Proof));
}

#[test]
fn every_algorithm_of_the_list_can_prove() {
    for algorithm in Algorithm::ALL {
        let key = SigningKey::new(algorithm);
        let proof = proof_by(&key, &json!({}), &claims());
        let checks = checks(DpopMode::Required);
        let read = checks.read(&parts(&[&proof]), NOW).ok().unwrap();
        assert_eq!(read.thumbprint, thumbprint(&key), "{algorithm:?}");
    }
}

#[test]
fn a_full_memory_is_no_reason_to_forget() {
    let checks = with_memory(DpopMode::Required, 1);
    let [first, second] = [(); 2].map(|()| proof(&json!({}), &claims()));
    assert_eq!(check_at(&checks, &[&first], NOW), Ok(()));
    let full = check_at(&checks, &[&second], NOW);
    assert!(matches!(full, Err(AuthError::Unavailable(_))));
    let replayed = check_at(&checks, &[&first], NOW);
    assert_eq!(refusal(replayed), Some(Reason::ProofReplayed));
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "[ -~]{0,200}") {
        prop_assert!(check(&text).is_some());
    }
}
