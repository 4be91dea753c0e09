//! Tokens of the simulated core's issuer: what is 401, what is 403, what is neither.

use http::Method;
use serde_json::json;

use super::support::{SCOPES, ask_number, guarded, token_of};
use crate::support::Rig;
use crate::support::client::{Ask, Connection, RETRIEVE_IDENTIFIER};
use crate::support::raw::Raw;
use crate::versions::support::{VERSIONS, ask};

const IMEI: &str = "490154203237518";
const UNAUTHENTICATED: (u16, &str) = (401, "UNAUTHENTICATED");
const DENIED: (u16, &str) = (403, "PERMISSION_DENIED");

/// Sends it over both protocols and wants this error.
async fn refused(rig: &Rig, what: &str, ask: &Ask, (status, code): (u16, &str)) {
    for mut connection in [
        Connection::http1(rig.bridge.api).await,
        Connection::http2(rig.bridge.api).await,
    ] {
        let answer = connection.send(ask).await;
        let got = (answer.status, answer.code());
        assert_eq!(got, (status, code.to_owned()), "{what}");
    }
}

#[tokio::test]
async fn what_the_issuer_writes_wrong_is_refused() {
    let rig = guarded(|_| {}).await;
    let identifier_only = "scope=device-identifier:retrieve-identifier";
    let type_only = "scope=device-identifier:retrieve-type";
    for (form, expected) in [
        (format!("{SCOPES}&expires_in=-60"), UNAUTHENTICATED),
        (format!("{SCOPES}&expires_in=-31"), UNAUTHENTICATED),
        (format!("{SCOPES}&not_before=600"), UNAUTHENTICATED),
        (
            format!("{SCOPES}&issuer=http://other.example/oidc"),
            UNAUTHENTICATED,
        ),
        (format!("{SCOPES}&issuer="), UNAUTHENTICATED),
        (format!("{SCOPES}&audience=other"), UNAUTHENTICATED),
        (
            format!("{SCOPES}&audience=device-identifier2"),
            UNAUTHENTICATED,
        ),
        (
            format!("{SCOPES}&audience=Device-Identifier"),
            UNAUTHENTICATED,
        ),
        (format!("{SCOPES}&key=unknown"), UNAUTHENTICATED),
        (format!("{SCOPES}&login_hint=tel:nobody"), UNAUTHENTICATED),
        (
            format!("{SCOPES}&login_hint=ipport:198.51.100.7"),
            UNAUTHENTICATED,
        ),
        // The first fault counts.
        (format!("{type_only}&expires_in=-60"), UNAUTHENTICATED),
        (String::new(), DENIED),
        ("scope=".to_owned(), DENIED),
        ("scope=openid".to_owned(), DENIED),
        (type_only.to_owned(), DENIED),
        ("scope=device-identifier".to_owned(), DENIED),
        ("scope=device-identifier:*".to_owned(), DENIED),
        (
            "scope=device-identifier:retrieve-identifiers".to_owned(),
            DENIED,
        ),
        (
            "scope=DEVICE-IDENTIFIER:RETRIEVE-IDENTIFIER".to_owned(),
            DENIED,
        ),
        (
            "scope=x:device-identifier:retrieve-identifier".to_owned(),
            DENIED,
        ),
        (
            identifier_only.replace('=', "=device-identifier:retrieve-type,"),
            DENIED,
        ),
    ] {
        let token = rig
            .control
            .token(&format!("client_id=consumer&{form}"))
            .await;
        refused(&rig, &form, &Ask::any().bearer(&token), expected).await;
    }
    let token = format!("client_id=consumer&{identifier_only}");
    let token = rig.control.token(&token).await;
    let ask = Ask::device_type(&json!({"phoneNumber": "123456789"})).bearer(&token);
    refused(&rig, "another operation", &ask, DENIED).await;
    assert_eq!(rig.control.total().await, 0, "the core was asked");
    rig.bridge
        .send(&Ask::any().bearer(&token))
        .await
        .is_imei(IMEI);
}

#[tokio::test]
async fn what_consumers_send_wrong_is_refused() {
    let rig = guarded(|_| {}).await;
    let token = token_of(&rig, "consumer").await;
    let (head, signature) = token.rsplit_once('.').unwrap();
    let long = "a".repeat(20 * 1024);
    for value in [
        String::new(),
        token.clone(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer{token}"),
        format!("Bearer\t{token}"),
        format!("Bearer {token} x"),
        format!("Bearer {token},"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer \"{token}\""),
        format!("Bearer token={token}"),
        format!("Bearer {head}"),
        format!("Bearer {head}."),
        format!("Bearer {head}.{signature}."),
        format!("Bearer .{head}.{signature}"),
        format!("Bearer {token}="),
        format!("Bearer {token}A"),
        format!("Bearer {}", &token[..token.len() - 1]),
        format!("Bearer {}", token.replace('.', "")),
        format!("Bearer {}", token.to_lowercase()),
        format!("Bearer {long}"),
        format!("Bearer {long}.{long}"),
        "Bearer ..".to_owned(),
        "Bearer null".to_owned(),
        format!("Basic {token}"),
        "Basic Y29uc3VtZXI6c2VjcmV0".to_owned(),
        format!("DPoP {token}"),
        format!("Token {token}"),
    ] {
        // What does not fit into a header section is another matter.
        if value.len() < 30_000 {
            let ask = Ask::any().header("authorization", value.clone());
            refused(&rig, &value, &ask, UNAUTHENTICATED).await;
        }
    }
    let good = format!("Bearer {token}");
    for (first, second) in [
        (&good, &good),
        (&good, &String::new()),
        (&"Basic x".to_owned(), &good),
    ] {
        let ask = Ask::any()
            .header("authorization", first.clone())
            .header("authorization", second.clone());
        refused(&rig, "two headers", &ask, UNAUTHENTICATED).await;
    }
    refused(&rig, "no token", &Ask::any(), UNAUTHENTICATED).await;
    for name in ["access_token", "token", "authorization"] {
        let path = format!("{RETRIEVE_IDENTIFIER}?{name}={token}");
        refused(&rig, name, &Ask::any().path(&path), UNAUTHENTICATED).await;
        let body = json!({ "phoneNumber": "123456789", name: &token });
        refused(&rig, name, &Ask::identifier(&body), UNAUTHENTICATED).await;
    }
    for name in ["x-authorization", "proxy-authorization", "cookie"] {
        let ask = Ask::any().header(name, good.clone());
        refused(&rig, name, &ask, UNAUTHENTICATED).await;
    }
    assert_eq!(rig.control.total().await, 0, "the core was asked");
}

/// Its header section is over the limit: refused before anybody looks for a token.
#[tokio::test]
async fn a_token_of_64_kib_is_refused() {
    let rig = guarded(|_| {}).await;
    let token = token_of(&rig, "consumer").await;
    let long = format!("{token}{}", "A".repeat(64 * 1024));
    let mut raw = Raw::connect(rig.bridge.api).await;
    raw.try_write(format!(
        "POST {RETRIEVE_IDENTIFIER} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {long}\r\n\
         content-length: 0\r\n\r\n"
    ))
    .await;
    let status = raw.answer().await.map(|answer| answer.status);
    assert!(matches!(status, Some(401 | 431)), "{status:?}");
    let mut http2 = Connection::http2(rig.bridge.api).await;
    let answer = http2.try_send(&Ask::any().bearer(&long)).await;
    assert!(answer.is_err() || matches!(answer.unwrap().status, 401 | 431));
    let answer = rig.bridge.send(&Ask::any().bearer(&token)).await;
    answer.is_imei(IMEI);
}

#[tokio::test]
async fn good_tokens_are_taken_however_they_are_written() {
    let rig = guarded(|_| {}).await;
    for form in [
        SCOPES.to_owned(),
        format!("{SCOPES}&alg=ES256"),
        format!("{SCOPES}&not_before=-10"),
        format!("{SCOPES}+openid+number-verification:verify"),
        // Within the leeway.
        format!("{SCOPES}&expires_in=-10"),
        format!("{SCOPES}&not_before=10"),
    ] {
        let token = rig
            .control
            .token(&format!("client_id=consumer&{form}"))
            .await;
        for scheme in ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "] {
            let ask = Ask::any().header("authorization", format!("{scheme} {token}"));
            let answer = rig.bridge.send(&ask).await;
            assert_eq!(answer.status, 200, "{form} {scheme}: {}", answer.json());
        }
    }
    let token = token_of(&rig, "consumer").await;
    let path = format!("{RETRIEVE_IDENTIFIER}?access_token=x");
    let ask = Ask::any().path(&path).bearer(&token);
    rig.bridge.send(&ask).await.is_imei(IMEI);
    // A refusal is not remembered in its favour, nor a success against it.
    let (head, signature) = token.rsplit_once('.').unwrap();
    let bad = format!("{head}.{}", signature.chars().rev().collect::<String>());
    for _ in 0..3 {
        refused(&rig, "altered", &Ask::any().bearer(&bad), UNAUTHENTICATED).await;
        rig.bridge
            .send(&Ask::any().bearer(&token))
            .await
            .is_imei(IMEI);
    }
    let ask = Ask::any().bearer(&token).method(Method::GET);
    refused(&rig, "GET", &ask, (405, "METHOD_NOT_ALLOWED")).await;
}

/// Who shows nothing is told what to show, and who shows a bad token that it is bad (RFC 6750 3.1).
#[tokio::test]
async fn a_challenge_tells_a_bad_token_from_none() {
    let rig = guarded(|_| {}).await;
    let expired = rig.control.token("client_id=shop&expires_in=-60").await;
    let basic = Ask::any().header("authorization", "Basic c2hvcDpzZWNyZXQ=");
    for (ask, challenge) in [
        (Ask::any(), "Bearer"),
        (basic, "Bearer"),
        (Ask::any().bearer("x"), "Bearer error=\"invalid_token\""),
        (
            Ask::any().bearer(&expired),
            "Bearer error=\"invalid_token\"",
        ),
    ] {
        let answer = rig.bridge.send(&ask).await;
        answer.is_error(401, "UNAUTHENTICATED");
        assert_eq!(answer.header("www-authenticate"), Some(challenge));
    }
}

/// A scope that is missing is named, whatever the version (RFC 6750 3.1); consent that is missing is
/// nothing that another token would mend.
#[tokio::test]
async fn a_missing_scope_is_named() {
    let rig = guarded(|_| {}).await;
    let unscoped = rig.control.token("client_id=shop&scope=openid").await;
    for (version, operations) in VERSIONS {
        for operation in operations {
            let device = json!({"phoneNumber": "+123456789"});
            let ask = ask(version, operation, &device).bearer(&unscoped);
            let answer = rig.bridge.send(&ask).await;
            answer.is_error(403, "PERMISSION_DENIED");
            let challenge = format!(
                "Bearer error=\"insufficient_scope\", scope=\"device-identifier:{operation}\""
            );
            assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
        }
    }
    let token = token_of(&rig, "shop").await;
    let refused = rig.bridge.send(&ask_number("34600000006", &token)).await;
    refused.is_error(403, "PERMISSION_DENIED");
    assert_eq!(refused.header("www-authenticate"), None);
}
