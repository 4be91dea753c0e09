//! Tokens made by hand: by an attacker who knows the public keys, and by issuers that err.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::keys::{self, Publisher, SigningKey, claims, encode, issuer_with, now};
use super::support::guarded;
use crate::support::Rig;
use crate::support::client::{Ask, Connection};

/// A bridge that knows one key of RSA and one of an elliptic curve.
async fn knowing(rsa: &SigningKey, ecdsa: &SigningKey) -> Rig {
    guarded(|config| config.auth.issuers = vec![issuer_with(&[rsa, ecdsa])]).await
}

async fn status(connection: &mut Connection, token: &str) -> u16 {
    let answer = connection.send(&Ask::any().bearer(token)).await;
    match answer.status {
        200 => answer.is_imei("490154203237518"),
        401 => answer.is_error(401, "UNAUTHENTICATED"),
        _ => {}
    }
    answer.status
}

fn hmac_token(header: &Value, secret: &[u8], algorithm: hmac::Algorithm) -> String {
    let signed = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims().to_string())
    );
    let key = hmac::Key::new(algorithm, secret);
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", encode(tag))
}

#[tokio::test]
async fn a_public_key_is_no_secret_and_none_is_no_algorithm() {
    let (rsa, ecdsa) = (SigningKey::rsa(), SigningKey::ecdsa());
    let rig = knowing(&rsa, &ecdsa).await;
    let mut connection = Connection::http1(rig.bridge.api).await;
    assert_eq!(status(&mut connection, &rsa.sign(&claims())).await, 200);
    assert_eq!(status(&mut connection, &ecdsa.sign(&claims())).await, 200);
    rig.control.reset().await;
    for secret in rsa.public_forms() {
        for (name, algorithm) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
            ("RS256", hmac::HMAC_SHA256),
            ("ES256", hmac::HMAC_SHA256),
        ] {
            for kid in [json!(rsa.kid), json!(ecdsa.kid), json!(null)] {
                let mut header = json!({"alg": name, "typ": "at+jwt"});
                if !kid.is_null() {
                    header["kid"] = kid;
                }
                let token = hmac_token(&header, &secret, algorithm);
                assert_eq!(status(&mut connection, &token).await, 401, "{header}");
            }
        }
    }
    let good = rsa.sign(&claims());
    let signature = good.rsplit_once('.').unwrap().1;
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS256", "RS1", "RS512", "ES256K", "dir",
    ] {
        for kid in [&rsa.kid, &ecdsa.kid] {
            let header = json!({"alg": alg, "typ": "at+jwt", "kid": kid}).to_string();
            let head = format!("{}.{}", encode(&header), encode(claims().to_string()));
            for signature in ["", "AA", signature] {
                let token = format!("{head}.{signature}");
                assert_eq!(status(&mut connection, &token).await, 401, "{header}");
            }
        }
    }
    assert_eq!(rig.control.total().await, 0);
}

/// Everything in a header that brings along a key, asks for an extension, or lies.
#[tokio::test]
async fn headers_bring_no_keys() {
    let (rsa, ecdsa, own) = (SigningKey::rsa(), SigningKey::ecdsa(), SigningKey::ecdsa());
    let own_keys = Publisher::start(&keys::jwks(&[&own])).await;
    let url = format!("http://{}/jwks", own_keys.address);
    let rig = knowing(&rsa, &ecdsa).await;
    let mut connection = Connection::http1(rig.bridge.api).await;
    let brought = [
        json!({"jwk": own.jwk()}),
        json!({"jku": url}),
        json!({"x5u": url}),
        json!({"x5c": ["MIIB"]}),
        json!({"jwk": own.jwk(), "jku": url, "x5u": url}),
    ];
    for members in &brought {
        for kid in [json!(own.kid), json!(ecdsa.kid), json!(url), Value::Null] {
            let mut header = json!({"alg": "ES256", "typ": "at+jwt"});
            if !kid.is_null() {
                header["kid"] = kid;
            }
            merge(&mut header, members);
            let token = own.sign_text(&header.to_string(), &claims().to_string());
            assert_eq!(status(&mut connection, &token).await, 401, "{header}");
        }
        // Ignored where the token is good otherwise.
        let mut header = ecdsa.header();
        merge(&mut header, members);
        let token = ecdsa.sign_text(&header.to_string(), &claims().to_string());
        assert_eq!(status(&mut connection, &token).await, 200, "{header}");
    }
    assert_eq!(own_keys.looks(), 0, "a URL of a header was followed");
    for members in [
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"crit": null}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"crit": ["http://example.com/x"], "http://example.com/x": true}),
        json!({"typ": "dpop+jwt"}),
        json!({"typ": "id_token+jwt"}),
        json!({"typ": 1}),
        json!({"kid": 1}),
        json!({"kid": rsa.kid}),
        json!({"kid": "x".repeat(1000)}),
        json!({"kid": "../../etc/passwd"}),
        json!({"alg": ["ES256"]}),
        json!({"alg": "RS256"}),
        json!({"alg": "ES384"}),
        json!({"alg": "EdDSA"}),
        json!({"alg": null}),
    ] {
        let mut header = ecdsa.header();
        merge(&mut header, &members);
        let token = ecdsa.sign_text(&header.to_string(), &claims().to_string());
        assert_eq!(status(&mut connection, &token).await, 401, "{header}");
    }
    for header in ["", "null", "[]", "{", "{}", "\"ES256\"", "\u{1}"] {
        let token = ecdsa.sign_text(header, &claims().to_string());
        assert_eq!(status(&mut connection, &token).await, 401, "{header}");
    }
    let twice = format!(
        "{{\"alg\":\"none\",\"alg\":\"ES256\",\"kid\":\"{}\"}}",
        ecdsa.kid
    );
    let token = ecdsa.sign_text(&twice, &claims().to_string());
    assert_eq!(status(&mut connection, &token).await, 401);
}

fn merge(into: &mut Value, members: &Value) {
    for (name, value) in members.as_object().unwrap() {
        into[name] = value.clone();
    }
}

/// Signed well, and still not to be believed; or unusual, and good. `null` takes a claim away.
#[tokio::test]
async fn claims_are_judged() {
    let (rsa, ecdsa) = (SigningKey::rsa(), SigningKey::ecdsa());
    let rig = knowing(&rsa, &ecdsa).await;
    let mut connection = Connection::http2(rig.bridge.api).await;
    let scope = "device-identifier:retrieve-identifier";
    for (changes, expected) in [
        (json!({}), 200),
        // One second beyond the leeway of 30.
        (json!({"exp": now() - 31}), 401),
        (json!({"exp": now() - 10}), 200),
        (
            json!({"exp": now() - 31, "nbf": now() - 60, "iat": now() - 60}),
            401,
        ),
        (json!({"exp": null}), 401),
        (json!({"exp": 0}), 401),
        (json!({"exp": -1}), 401),
        (json!({"exp": i64::MIN}), 401),
        (json!({"exp": (now() + 3600).to_string()}), 401),
        (json!({"exp": true}), 401),
        (json!({"exp": []}), 401),
        (json!({"nbf": now() + 20}), 200),
        (json!({"nbf": now() + 90}), 401),
        (json!({"nbf": i64::MAX}), 401),
        (json!({"nbf": "soon"}), 401),
        (json!({"iat": now() + 90}), 401),
        (json!({"iat": null}), 200),
        (json!({"iss": null}), 401),
        (json!({"iss": "https://issuer.example/"}), 401),
        (json!({"iss": "HTTPS://ISSUER.EXAMPLE"}), 401),
        (json!({"iss": "https://issuer.example.evil.example"}), 401),
        (json!({"iss": ["https://issuer.example"]}), 401),
        (json!({"iss": ""}), 401),
        (json!({"aud": null}), 401),
        (json!({"aud": ""}), 401),
        (json!({"aud": []}), 401),
        (json!({"aud": ["other"]}), 401),
        (json!({"aud": "other device-identifier"}), 401),
        (json!({"aud": {"device-identifier": true}}), 401),
        (json!({"aud": ["other", "device-identifier"]}), 200),
        (json!({"client_id": null, "azp": "consumer"}), 200),
        (json!({"client_id": null}), 200),
        (json!({"client_id": null, "sub": null}), 401),
        (json!({"client_id": ""}), 401),
        (json!({"client_id": 5}), 401),
        (json!({"client_id": "a\nb"}), 401),
        (json!({"client_id": "a".repeat(1000)}), 401),
        (json!({"client_id": "tel:+123456789"}), 401),
        (json!({"client_id": null, "sub": "tel:+123456789"}), 401),
        (json!({"scope": scope}), 200),
        (json!({"scope": [scope]}), 200),
        (json!({"scope": ["openid", scope]}), 200),
        (json!({"scope": format!("openid {scope} email")}), 200),
        (json!({"scope": format!("openid  {scope}")}), 200),
        (json!({"scope": null}), 403),
        (json!({"scope": ""}), 403),
        (json!({"scope": []}), 403),
        (json!({"scope": format!("{scope}\t")}), 403),
        (json!({"scope": format!("{scope}\n")}), 403),
        (json!({"scope": format!("{scope},")}), 403),
        (json!({"scope": scope.to_uppercase()}), 403),
        (json!({"scope": "device-identifier:retrieve-type"}), 403),
        (json!({"scope": [[scope]]}), 401),
        (json!({"scope": {scope: true}}), 401),
        (json!({"scope": 1}), 401),
        (json!({"phone_number": "+34600000002"}), 403),
        (json!({"phone_number": "+123456789"}), 200),
        (json!({"phone_number": 123_456_789}), 401),
        (json!({"phone_number": "123456789"}), 401),
        (json!({"phone_number": ""}), 401),
        (json!({"sub": "tel:+34600000002"}), 403),
        (json!({"sub": "tel:+123456789"}), 200),
        (json!({"sub": "tel:"}), 401),
        (json!({"ipport": "84.125.93.10:0"}), 401),
        (json!({"ipport": "84.125.93.10"}), 401),
        (json!({"cnf": {"jkt": encode([0; 32])}}), 401),
        (json!({"cnf": {"x5t#S256": encode([0; 32])}}), 401),
        (json!({"x": "y".repeat(8000)}), 200),
    ] {
        let mut whole = claims();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                whole.as_object_mut().unwrap().remove(name);
            } else {
                whole[name] = value.clone();
            }
        }
        let got = status(&mut connection, &ecdsa.sign(&whole)).await;
        assert_eq!(got, expected, "{changes}");
    }
}

#[tokio::test]
async fn claims_are_one_object_without_doubles() {
    let (rsa, ecdsa) = (SigningKey::rsa(), SigningKey::ecdsa());
    let rig = knowing(&rsa, &ecdsa).await;
    let mut connection = Connection::http2(rig.bridge.api).await;
    let good = claims().to_string();
    let tail = &good[1..];
    for payload in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        format!("{{\"exp\": 1, {tail}"),
        format!("{{\"exp\": 1e999, {tail}"),
        format!("{{\"client_id\": \"other\", {tail}"),
        format!("{good}{good}"),
        "[".repeat(5000),
    ] {
        let token = ecdsa.sign_text(&ecdsa.header().to_string(), &payload);
        assert_eq!(status(&mut connection, &token).await, 401, "{payload:.60}");
    }
}

/// Any change to a token that was good, one part of one token with one of another.
#[tokio::test]
async fn no_bit_of_a_token_can_be_changed() {
    let (rsa, ecdsa) = (SigningKey::rsa(), SigningKey::ecdsa());
    let rig = knowing(&rsa, &ecdsa).await;
    let mut connection = Connection::http1(rig.bridge.api).await;
    for key in [&rsa, &ecdsa] {
        let (one, other) = (key.sign(&claims()), key.sign(&claims()));
        // Known already, and so remembered: what differs in one place is another token.
        assert_eq!(status(&mut connection, &one).await, 200);
        let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
        let mixed = [
            [&parts(&one)[0], &parts(&other)[1], &parts(&one)[2]],
            [&parts(&one)[0], &parts(&one)[1], &parts(&other)[2]],
        ];
        for parts in mixed.map(|parts| parts.map(String::as_str).join(".")) {
            assert_eq!(status(&mut connection, &parts).await, 401);
        }
        for index in (0..one.len()).step_by(7).chain([one.len() - 1]) {
            let mut bytes = one.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let token = String::from_utf8(bytes).unwrap();
            assert_eq!(status(&mut connection, &token).await, 401, "{index}");
        }
    }
}

#[tokio::test]
async fn only_algorithms_of_the_configuration_are_taken() {
    let (rsa, ecdsa) = (SigningKey::rsa(), SigningKey::ecdsa());
    let rig = guarded(|config| {
        config.auth.issuers = vec![issuer_with(&[&rsa, &ecdsa])];
        config.auth.algorithms = vec![pei_bridge::config::Algorithm::ES256];
    })
    .await;
    let mut connection = Connection::http1(rig.bridge.api).await;
    assert_eq!(status(&mut connection, &rsa.sign(&claims())).await, 401);
    assert_eq!(status(&mut connection, &ecdsa.sign(&claims())).await, 200);
}
