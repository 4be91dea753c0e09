//! Hand-made tokens, good and bad, against the pure part: keys at hand, the time an argument.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::auth::keys::KeySet;
use crate::auth::testing::{SigningKey, encode, issuer};

const NOW: i64 = 1_700_000_000;
const LEEWAY: i64 = 30;

static RSA: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::new(Algorithm::RS256));
static EC: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::new(Algorithm::ES256));
/// Of another issuer.
static OTHER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::new(Algorithm::ES256));

/// Two issuers: the first with the keys `RSA` and `EC`, the second with `OTHER`.
fn verify_at(token: &str, algorithms: &[Algorithm], now: i64) -> Result<Grant, Reason> {
    let rules = ["https://one.example", "https://two.example"].map(|url| {
        let mut issuer = issuer(url);
        if url.contains("two") {
            issuer.audience = "second-audience".to_owned();
            issuer.consumer_claims = vec!["partner".to_owned()];
            issuer.consumer_prefix = "two:".to_owned();
        }
        ClaimRules::new(
            &issuer,
            Duration::from_secs(LEEWAY.unsigned_abs()),
            Arc::default(),
        )
    });
    let sets = [&[RSA.jwk(), EC.jwk()][..], &[OTHER.jwk()]]
        .map(|jwks| json!({ "keys": jwks }).to_string())
        .map(|json| KeySet::parse(json.as_bytes(), &Algorithm::ALL).unwrap());
    let claimed = Claimed::read(token, rules.iter(), algorithms, now)?;
    let key = sets[claimed.issuer].find(&claimed.header)?;
    claimed.signed_by(&key)
}

fn verify(token: &str) -> Result<Grant, Reason> {
    verify_at(token, &Algorithm::ALL, NOW)
}

fn claims() -> Value {
    json!({
        "iss": "https://one.example", "aud": "device-identifier", "client_id": "shop",
        "sub": "shop", "exp": NOW + 60, "iat": NOW, "jti": "1",
        "scope": "device-identifier:retrieve-identifier",
    })
}

#[test]
fn a_good_token_names_its_consumer() {
    for key in [&*RSA, &*EC] {
        let grant = verify(&key.sign(&json!({}), &claims())).unwrap();
        assert_eq!(grant.caller.consumer.as_str(), "shop");
        let scope = "device-identifier:retrieve-identifier";
        assert!(grant.caller.scopes.allows(scope));
        assert_eq!(grant.caller.subject, None);
        assert_eq!(grant.good_until, Some(NOW + 60 + LEEWAY));
    }
}

#[test]
fn each_issuer_has_its_own_audience_claims_and_keys() {
    let second = json!({
        "iss": "https://two.example", "aud": ["second-audience"], "partner": "bank",
        "client_id": "x", "exp": NOW + 60,
    });
    let grant = verify(&OTHER.sign(&json!({}), &second)).unwrap();
    assert_eq!(grant.caller.consumer.as_str(), "two:bank");
    // Signed by one issuer in the name of the other, with its own kid or with the other's.
    let token = OTHER.sign(&json!({}), &claims());
    assert_eq!(verify(&token).err(), Some(Reason::UnknownKey));
    let token = OTHER.sign(&json!({"kid": EC.kid}), &claims());
    assert_eq!(verify(&token).err(), Some(Reason::Signature));
    let token = EC.sign(&json!({}), &second);
    assert_eq!(verify(&token).err(), Some(Reason::UnknownKey));
}

#[test]
fn headers_are_held_to_what_we_understand() {
    let attacker = SigningKey::new(Algorithm::ES256);
    for (header, reason) in [
        (json!({"typ": "AT+JWT"}), None),
        (json!({"typ": "application/at+jwt"}), None),
        (json!({"typ": "jwt"}), None),
        (json!({"typ": null}), None),
        (json!({"typ": "dpop+jwt"}), Some(Reason::Type)),
        (json!({"typ": "logout+jwt"}), Some(Reason::Type)),
        (json!({"typ": ""}), Some(Reason::Type)),
        (json!({"typ": 1}), Some(Reason::Malformed)),
        (json!({"crit": ["exp"], "exp": 1}), Some(Reason::Critical)),
        (json!({"crit": []}), Some(Reason::Critical)),
        (json!({"kid": null}), None),
        (json!({"kid": "../../jwks"}), Some(Reason::UnknownKey)),
        (json!({"kid": 7}), Some(Reason::Malformed)),
        (json!({"kid": RSA.kid}), Some(Reason::KeyMismatch)),
        // Ignored, and so harmless, whatever they hold.
        (json!({"jwk": attacker.jwk()}), None),
        (json!({"jwk": "nonsense", "x5c": 1}), None),
        (json!({"jku": "https://attacker.example/jwks"}), None),
        (json!({"x5u": "https://attacker.example/x5u"}), None),
        (json!({"x5c": ["AQAB"]}), None),
        (json!({"alg": null}), Some(Reason::Malformed)),
        (json!({"alg": "none"}), Some(Reason::Algorithm)),
        (json!({"alg": "None"}), Some(Reason::Algorithm)),
        (json!({"alg": "es256"}), Some(Reason::Algorithm)),
        (json!({"alg": "ES512"}), Some(Reason::Algorithm)),
        (json!({"alg": "HS256"}), Some(Reason::Algorithm)),
        (json!({"alg": "RS256"}), Some(Reason::KeyMismatch)),
        (json!({"alg": ["ES256"]}), Some(Reason::Malformed)),
    ] {
        let token = EC.sign(&header, &claims());
        assert_eq!(verify(&token).err(), reason, "{header}");
    }
}

#[test]
fn a_key_that_comes_along_is_not_used() {
    let attacker = SigningKey::new(Algorithm::ES256);
    let jwk = attacker.jwk();
    for header in [
        json!({"jwk": jwk}),
        json!({"jwk": jwk, "kid": EC.kid}),
        json!({"jku": "https://attacker.example/jwks", "kid": EC.kid}),
        json!({"x5u": "https://attacker.example/x5u", "kid": EC.kid}),
    ] {
        assert!(
            verify(&attacker.sign(&header, &claims())).is_err(),
            "{header}"
        );
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let jwk = RSA.jwk();
    let modulus = jwk["n"].as_str().unwrap();
    for secret in [modulus.as_bytes().to_vec(), jwk.to_string().into_bytes()] {
        let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": RSA.kid}).to_string();
        let signed = format!("{}.{}", encode(header), encode(claims().to_string()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let tag = hmac::sign(&key, signed.as_bytes());
        let token = format!("{signed}.{}", encode(tag));
        assert_eq!(verify(&token).err(), Some(Reason::Algorithm));
    }
}

#[test]
fn only_listed_algorithms_are_taken() {
    let token = RSA.sign(&json!({}), &claims());
    let refused = verify_at(&token, &[Algorithm::ES256], NOW).err();
    assert_eq!(refused, Some(Reason::Algorithm));
    assert!(verify_at(&token, &[Algorithm::RS256], NOW).is_ok());
}

#[test]
fn a_signature_is_over_every_byte() {
    let token = EC.sign(&json!({}), &claims());
    let parts: Vec<&str> = token.split('.').collect();
    let other = encode(
        json!({"iss": "https://one.example", "aud": "device-identifier",
        "client_id": "bank", "exp": NOW + 60})
        .to_string(),
    );
    for (token, reason) in [
        (
            format!("{}.{other}.{}", parts[0], parts[2]),
            Reason::Signature,
        ),
        (format!("{}.{}.", parts[0], parts[1]), Reason::Signature),
        (format!("{}.{}", parts[0], parts[1]), Reason::Malformed),
        (format!("{token}."), Reason::Malformed),
        (format!("{token}A"), Reason::Signature),
        (format!(".{}.{}", parts[1], parts[2]), Reason::Malformed),
        (format!("{}..{}", parts[0], parts[2]), Reason::Malformed),
    ] {
        assert_eq!(verify(&token).err(), Some(reason), "{token}");
    }
}

#[test]
fn expired_one_second_beyond_the_leeway_is_refused() {
    let token = EC.sign(&json!({}), &claims());
    let end = NOW + 60 + LEEWAY;
    for (now, reason) in [
        (end - 1, None),
        (end, Some(Reason::Expired)),
        (end + 1, Some(Reason::Expired)),
        (i64::MAX, Some(Reason::Expired)),
        (NOW - LEEWAY, None),
        (NOW - LEEWAY - 1, Some(Reason::NotYetValid)),
        (i64::MIN, Some(Reason::NotYetValid)),
    ] {
        assert_eq!(
            verify_at(&token, &Algorithm::ALL, now).err(),
            reason,
            "{now}"
        );
    }
}

#[test]
fn a_member_that_stands_twice_is_refused() {
    let header = json!({"alg": "ES256", "kid": EC.kid}).to_string();
    let text = claims().to_string();
    assert!(verify(&EC.sign_text(&header, &text)).is_ok());
    let twice = text.replacen('{', r#"{"client_id": "bank","#, 1);
    assert_eq!(
        verify(&EC.sign_text(&header, &twice)).err(),
        Some(Reason::Malformed)
    );
    let twice = header.replacen('{', r#"{"alg": "ES256","#, 1);
    assert_eq!(
        verify(&EC.sign_text(&twice, &text)).err(),
        Some(Reason::Malformed)
    );
    for claims in ["[]", "\"x\"", "", "{\"iss\":"] {
        let token = EC.sign_text(&header, claims);
        assert_eq!(verify(&token).err(), Some(Reason::Malformed));
    }
}

#[test]
fn depth_and_width_are_survived() {
    let header = json!({"alg": "ES256", "kid": EC.kid}).to_string();
    for claims in [
        "[".repeat(8000),
        format!("{{\"iss\":{}", "{\"a\":".repeat(2000)),
        format!(
            "{{{}\"iss\":1}}",
            (0..2000).fold(String::new(), |text, n| text + &format!("\"{n}\":1,"))
        ),
    ] {
        let token = EC.sign_text(&header, &claims);
        assert_eq!(verify(&token).err(), Some(Reason::Malformed));
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(token in "[ -~]{0,200}") {
        prop_assert!(verify(&token).is_err());
    }

    #[test]
    fn any_bytes_in_the_parts_are_survived(
        header in proptest::collection::vec(any::<u8>(), 0..60),
        claims in proptest::collection::vec(any::<u8>(), 0..200),
        signature in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let token = format!("{}.{}.{}", encode(header), encode(&claims), encode(&signature));
        prop_assert!(verify(&token).is_err());
        let header = json!({"alg": "ES256", "kid": EC.kid}).to_string();
        let token = format!("{}.{}.{}", encode(header), encode(claims), encode(signature));
        prop_assert!(verify(&token).is_err());
    }

    #[test]
    fn any_signature_but_the_right_one_is_refused(
        signature in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let token = EC.sign(&json!({}), &claims());
        let (signed, _) = token.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", encode(signature));
        prop_assert_eq!(verify(&forged).err(), Some(Reason::Signature));
    }
}
