//! One table: what is asked, and what every version answers.

use serde_json::{Value, json};

use super::support::{VERSIONS, body, outcome, token, token_for, token_of};
use crate::access::support::guarded;
use crate::support::Rig;
use crate::support::client::{Ask, Connection};

/// The tokens that the table asks with.
struct Tokens {
    good: String,
    of_first: String,
    of_refusing: String,
    of_nobody: String,
    of_address: String,
    expired: String,
    of_other_audience: String,
    of_unknown_key: String,
    unscoped: String,
}

impl Tokens {
    async fn fetch(rig: &Rig) -> Self {
        Self {
            good: token_of(rig, "consumer").await,
            of_first: token_for(rig, "tel:+123456789").await,
            of_refusing: token_for(rig, "tel:+34600000006").await,
            of_nobody: token_for(rig, "tel:+34999999999").await,
            of_address: token_for(rig, "ipport:84.125.93.10:59765").await,
            expired: token(rig, "client_id=consumer&expires_in=-3600").await,
            of_other_audience: token(rig, "client_id=consumer&audience=other").await,
            of_unknown_key: token(rig, "client_id=consumer&key=unknown").await,
            unscoped: rig
                .control
                .token("client_id=consumer&scope=openid+device-identifier:other")
                .await,
        }
    }
}

type Choice = fn(&Tokens) -> &str;

const GOOD: Choice = |tokens| &tokens.good;
const OF_FIRST: Choice = |tokens| &tokens.of_first;
const OF_REFUSING: Choice = |tokens| &tokens.of_refusing;
const OF_NOBODY: Choice = |tokens| &tokens.of_nobody;
const OF_ADDRESS: Choice = |tokens| &tokens.of_address;
const NONE: Choice = |_| "";

/// The first published version, and what the later ones say alike.
fn two(first: &'static str, later: &'static str) -> [&'static str; 4] {
    [first, later, later, later]
}

/// What all versions say alike.
fn all(answer: &'static str) -> [&'static str; 4] {
    [answer; 4]
}

const INVALID: &str = "400 INVALID_ARGUMENT";
const OUT_OF_RANGE: &str = "400 OUT_OF_RANGE";
const UNAUTHENTICATED: &str = "401 UNAUTHENTICATED";
const DENIED: &str = "403 PERMISSION_DENIED";
const NOT_FOUND: &str = "404 NOT_FOUND";
const ID_NOT_FOUND: &str = "404 IDENTIFIER_NOT_FOUND";
const MISSING: &str = "422 MISSING_IDENTIFIER";
const UNNECESSARY: &str = "422 UNNECESSARY_IDENTIFIER";
const MISMATCH: &str = "422 IDENTIFIER_MISMATCH";
const NOT_APPLICABLE: &str = "422 SERVICE_NOT_APPLICABLE";

type Row = (Value, Choice, [&'static str; 4]);

/// Asks every operation of every version and compares; `null` is no device.
async fn holds(rig: &Rig, rows: &[Row]) {
    let tokens = Tokens::fetch(rig).await;
    let mut connection = Connection::http2(rig.bridge.api).await;
    for (device, choice, expected) in rows {
        for ((version, operations), expected) in VERSIONS.iter().zip(expected) {
            for operation in *operations {
                let device = (!device.is_null()).then_some(device);
                let mut ask = Ask::of(version, operation, &body(version, operation, device));
                if !choice(&tokens).is_empty() {
                    ask = ask.bearer(choice(&tokens));
                }
                let answer = connection.send(&ask).await;
                let what = format!("{version} {operation} {device:?}: {}", answer.json());
                assert_eq!(outcome(&answer), **expected, "{what}");
                if answer.status == 200 {
                    tells_what_was_asked(operation, &answer.json());
                }
            }
        }
    }
}

/// Members of other operations are not for this one.
fn tells_what_was_asked(operation: &str, answer: &Value) {
    let told = |name| answer.get(name).is_some();
    assert!(told("lastChecked"));
    assert_eq!(told("imei"), operation == "retrieve-identifier", "{answer}");
    assert_eq!(
        told("tac"),
        ["retrieve-identifier", "retrieve-type"].contains(&operation)
    );
    assert_eq!(told("ppid"), operation == "retrieve-ppid", "{answer}");
    assert_eq!(told("match"), operation == "match-identifier", "{answer}");
}

fn phone(number: &str) -> Value {
    json!({ "phoneNumber": number })
}

fn port(port: &Value) -> Value {
    json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": port}})
}

#[tokio::test]
async fn a_device_that_may_be_seen_is_answered() {
    let rig = guarded(|_| {}).await;
    let private = json!({"publicAddress": "84.125.93.10", "privateAddress": "10.45.0.1"});
    holds(
        &rig,
        &[
            (phone("+123456789"), GOOD, all("200")),
            (phone("+34600000002"), GOOD, all("200")),
            (phone("+34600000103"), GOOD, all("200")),
            (phone("+34600000008"), GOOD, all("200")),
            (
                json!({"networkAccessIdentifier": "123456789@domain.com"}),
                GOOD,
                all("200"),
            ),
            (
                json!({"networkAccessIdentifier": "sensor-17@iot.example.com"}),
                GOOD,
                all("200"),
            ),
            (
                json!({"ipv6Address": "2001:db8:85a3:8d3:1319:8a2e:370:7344"}),
                GOOD,
                all("200"),
            ),
            (port(&json!(59_765)), GOOD, all("200")),
            (json!({ "ipv4Address": private }), GOOD, all("200")),
            // The token names the device, by number and by address.
            (json!(null), OF_FIRST, two(INVALID, "200")),
            (json!(null), OF_ADDRESS, two(INVALID, "200")),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_invalid_request_is_400() {
    let rig = guarded(|_| {}).await;
    let no_port = json!({"ipv4Address": {"publicAddress": "84.125.93.10"}});
    let unknown = json!({"phoneNumber": "+123456789", "imei": "490154203237518"});
    let deep = json!({"publicAddress": "84.125.93.10", "publicPort": 59_765, "x": 1});
    let strict = ["200", "200", "200", INVALID];
    holds(
        &rig,
        &[
            (json!({}), GOOD, all(INVALID)),
            (json!({"unknown": "+123456789"}), GOOD, all(INVALID)),
            (phone("123456789"), GOOD, two("200", INVALID)),
            (phone("0123456789"), GOOD, two(NOT_FOUND, INVALID)),
            (phone("+0123456789"), GOOD, two(NOT_FOUND, INVALID)),
            (phone("+1234"), GOOD, all(INVALID)),
            (phone("+1234567890123456"), GOOD, all(INVALID)),
            (json!({"phoneNumber": null}), GOOD, all(INVALID)),
            (
                json!({"networkAccessIdentifier": "nobody"}),
                GOOD,
                all(INVALID),
            ),
            (
                json!({"ipv6Address": "::ffff:84.125.93.10"}),
                GOOD,
                all(INVALID),
            ),
            (no_port, GOOD, all(INVALID)),
            (port(&json!("59765")), GOOD, all(INVALID)),
            (port(&json!(59_765.5)), GOOD, all(INVALID)),
            (port(&json!(null)), GOOD, all(INVALID)),
            (port(&json!(65_536)), GOOD, all(OUT_OF_RANGE)),
            (port(&json!(-1)), GOOD, all(OUT_OF_RANGE)),
            (
                port(&json!(0)),
                GOOD,
                [OUT_OF_RANGE, OUT_OF_RANGE, ID_NOT_FOUND, OUT_OF_RANGE],
            ),
            (
                port(&json!(443)),
                GOOD,
                [OUT_OF_RANGE, OUT_OF_RANGE, ID_NOT_FOUND, ID_NOT_FOUND],
            ),
            (unknown, GOOD, strict),
            (json!({ "ipv4Address": deep }), GOOD, strict),
            // Found invalid before it is found needless.
            (phone("x"), OF_FIRST, all(INVALID)),
            (json!({}), OF_FIRST, all(INVALID)),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_token_that_is_not_good_is_401() {
    let rig = guarded(|_| {}).await;
    let device = phone("+123456789");
    holds(
        &rig,
        &[
            (device.clone(), NONE, all(UNAUTHENTICATED)),
            (
                device.clone(),
                |tokens| &tokens.expired,
                all(UNAUTHENTICATED),
            ),
            (
                device.clone(),
                |tokens| &tokens.of_other_audience,
                all(UNAUTHENTICATED),
            ),
            (
                device.clone(),
                |tokens| &tokens.of_unknown_key,
                all(UNAUTHENTICATED),
            ),
            // Before anything of the body is looked at.
            (phone("x"), NONE, all(UNAUTHENTICATED)),
            (json!(null), NONE, all(UNAUTHENTICATED)),
        ],
    )
    .await;
    assert_eq!(rig.control.total().await, 0);
}

#[tokio::test]
async fn without_scope_or_consent_it_is_403() {
    let rig = guarded(|_| {}).await;
    holds(
        &rig,
        &[
            (phone("+123456789"), |tokens| &tokens.unscoped, all(DENIED)),
            (phone("x"), |tokens| &tokens.unscoped, all(DENIED)),
            (phone("+34600000006"), GOOD, all(DENIED)),
            (json!(null), OF_REFUSING, two(INVALID, DENIED)),
            // The token is good for its own device alone, where the version compares them at all.
            (phone("+34600000002"), OF_FIRST, two(DENIED, UNNECESSARY)),
            (phone("+34999999999"), OF_FIRST, two(DENIED, UNNECESSARY)),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let rig = guarded(|_| {}).await;
    let not_found = two(NOT_FOUND, ID_NOT_FOUND);
    holds(
        &rig,
        &[
            (phone("+34999999999"), GOOD, not_found),
            // Never registered, purged, registered without telling its equipment.
            (phone("+34600000007"), GOOD, not_found),
            (phone("+34600000009"), GOOD, not_found),
            (phone("+34600000011"), GOOD, not_found),
            (
                json!({"networkAccessIdentifier": "nobody@example.com"}),
                GOOD,
                not_found,
            ),
            (json!({"ipv6Address": "2001:db8:dead::1"}), GOOD, not_found),
            (json!({"ipv6Address": "::1"}), GOOD, not_found),
            (port(&json!(2000)), GOOD, not_found),
            (json!(null), OF_NOBODY, two(INVALID, ID_NOT_FOUND)),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_answered_as_it_is_asked_is_422() {
    let rig = guarded(|_| {}).await;
    let contradiction = json!({"publicAddress": "84.125.93.10", "publicPort": 59_765,
        "privateAddress": "10.45.0.2"});
    // What a device may take for its own address.
    let of_itself = json!({"publicAddress": "84.125.93.10", "publicPort": 59_765,
        "privateAddress": "127.0.0.1"});
    let differ = ["200", MISMATCH, "200", "200"];
    holds(
        &rig,
        &[
            (json!(null), GOOD, two(INVALID, MISSING)),
            (phone("+123456789"), OF_FIRST, two("200", UNNECESSARY)),
            (phone("+123456789"), OF_ADDRESS, two("200", UNNECESSARY)),
            // A residential gateway, by its number; a token for it too.
            (phone("+34600000005"), GOOD, two(NOT_FOUND, NOT_APPLICABLE)),
            (
                json!({"phoneNumber": "+123456789", "networkAccessIdentifier": "123456789@domain.com"}),
                GOOD,
                all("200"),
            ),
            (
                json!({"phoneNumber": "+34600000002", "ipv6Address": "2001:db8:85a3:8d3::1"}),
                GOOD,
                differ,
            ),
            (json!({ "ipv4Address": contradiction }), GOOD, differ),
            (json!({ "ipv4Address": of_itself }), GOOD, differ),
            (
                json!({"phoneNumber": "+34999999999", "ipv6Address": "2001:db8:85a3:8d3::1"}),
                GOOD,
                ["200", MISMATCH, ID_NOT_FOUND, ID_NOT_FOUND],
            ),
        ],
    )
    .await;
}

/// Beside the device: method, media types, and bodies that are none.
#[tokio::test]
async fn the_frame_of_a_request_is_judged_by_every_version() {
    type Change = fn(Ask) -> Ask;
    let rig = guarded(|_| {}).await;
    let token = token_of(&rig, "consumer").await;
    let rows: [(Change, [&str; 4]); 11] = [
        (|ask| ask.body(""), all(INVALID)),
        (|ask| ask.body("{"), all(INVALID)),
        (|ask| ask.body("[]"), all(INVALID)),
        (|ask| ask.body("null"), all(INVALID)),
        (|ask| ask.body(r#"{"device": null}"#), all(INVALID)),
        (
            |ask| ask.body(r#"{"device": {"phoneNumber": "+123456789", "phoneNumber": "+1"}}"#),
            all(INVALID),
        ),
        (|ask| ask.body(" ".repeat(16 * 1024 + 1)), all(INVALID)),
        (
            |ask| {
                ask.without("content-type")
                    .header("content-type", "text/plain")
            },
            two(INVALID, "415 UNSUPPORTED_MEDIA_TYPE"),
        ),
        (
            |ask| ask.without("content-type"),
            two(INVALID, "415 UNSUPPORTED_MEDIA_TYPE"),
        ),
        (
            |ask| ask.header("accept", "text/html"),
            all("406 NOT_ACCEPTABLE"),
        ),
        (
            |ask| ask.method(http::Method::PUT),
            all("405 METHOD_NOT_ALLOWED"),
        ),
    ];
    let device = phone("+123456789");
    for (index, (change, expected)) in rows.iter().enumerate() {
        for ((version, operations), expected) in VERSIONS.iter().zip(expected) {
            for operation in *operations {
                let body = body(version, operation, Some(&device));
                let ask = change(Ask::of(version, operation, &body).bearer(&token));
                let answer = rig.bridge.send(&ask).await;
                assert_eq!(
                    outcome(&answer),
                    *expected,
                    "{version} {operation}: {index}"
                );
            }
        }
    }
    assert_eq!(rig.control.total().await, 0);
}

/// Nothing is negotiated.
#[tokio::test]
async fn a_version_that_is_not_served_is_told_those_that_are() {
    let rig = guarded(|config| {
        config.api.versions = ["v0.1.0", "v0.3"]
            .map(|name| pei_bridge::api::Version::named(name).unwrap())
            .to_vec();
    })
    .await;
    let token = token_of(&rig, "consumer").await;
    for version in ["v0.2", "v0.4alpha1", "v1", "vwip", "0.3", "V0.3", ""] {
        let ask = Ask::any()
            .path(&format!("/device-identifier/{version}/retrieve-type"))
            .bearer(&token);
        // A path that leads nowhere is in nobody's definition.
        let mut connection = Connection::http1(rig.bridge.api).await;
        let answer = connection.try_send(&ask).await.unwrap();
        assert_eq!(outcome(&answer), NOT_FOUND, "{version}");
        assert!(
            answer.message().ends_with("served: v0.1.0, v0.3"),
            "{version}"
        );
    }
    let device = phone("+123456789");
    for version in ["v0.1.0", "v0.3"] {
        let ask = super::support::ask(version, "retrieve-type", &device).bearer(&token);
        assert_eq!(rig.bridge.send(&ask).await.status, 200, "{version}");
    }
}
