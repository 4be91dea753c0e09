//! `match-identifier`: true or false, and no more.

use std::collections::BTreeSet;

use pei_bridge::config::{Audit, AuditSink, ConsentMode};
use serde_json::{Value, json};

use super::support::{ask_match, outcome, token_for, token_of};
use crate::access::support::guarded;
use crate::support::client::Ask;
use crate::support::control::GET_3GPP;
use crate::support::process::file;
use crate::support::{Rig, SHORT_DEADLINE};

const FIRST: &str = "+123456789";
/// The core knows its IMEI alone.
const SECOND: &str = "+34600000002";

async fn ask(rig: &Rig, token: &str, number: &str, kind: &str, value: &str) -> String {
    let ask = ask_match(number, kind, value).bearer(token);
    let answer = rig.bridge.send(&ask).await;
    if answer.status != 200 {
        return outcome(&answer);
    }
    let body = answer.json();
    let names: Vec<_> = body.as_object().unwrap().keys().collect();
    assert_eq!(names, ["lastChecked", "match"]);
    body["match"].to_string()
}

#[tokio::test]
async fn an_identifier_is_compared_on_the_digits_that_count() {
    let rig = guarded(|_| {}).await;
    let token = token_of(&rig, "consumer").await;
    let not_applicable = "422 SERVICE_NOT_APPLICABLE";
    let invalid = "400 INVALID_ARGUMENT";
    for (number, kind, value, expected) in [
        (FIRST, "IMEI", "490154203237518", "true"),
        // The spare digit that a device sends in the place of the check digit.
        (FIRST, "IMEI", "490154203237510", "true"),
        (FIRST, "IMEI", "490154203237511", "false"),
        (FIRST, "IMEI", "490154203237418", "false"),
        (FIRST, "IMEI", "356938035643809", "false"),
        (FIRST, "IMEISV", "4901542032375180", "true"),
        (FIRST, "IMEISV", "4901542032375181", "false"),
        (FIRST, "TAC", "49015420", "true"),
        (FIRST, "TAC", "35693803", "false"),
        (SECOND, "IMEI", "356938035643809", "true"),
        (SECOND, "IMEI", "356938035643800", "true"),
        (SECOND, "IMEISV", "3569380356438001", not_applicable),
        (SECOND, "TAC", "35693803", "true"),
        ("+34600000005", "TAC", "35693803", not_applicable),
        // Of the wrong length for its kind, or no digits, or of no kind.
        (FIRST, "IMEI", "4901542032375181", invalid),
        (FIRST, "IMEI", "49015420323751", invalid),
        (FIRST, "IMEISV", "490154203237518", invalid),
        (FIRST, "TAC", "490154203", invalid),
        (FIRST, "TAC", "4901542x", invalid),
        (FIRST, "IMEI", "", invalid),
        (FIRST, "imei", "490154203237518", invalid),
        (FIRST, "MSISDN", "490154203237518", invalid),
    ] {
        assert_eq!(
            ask(&rig, &token, number, kind, value).await,
            expected,
            "{kind} {value}"
        );
    }
    let three_legged = token_for(&rig, "tel:+123456789").await;
    let body = json!({"providedIdentifierType": "TAC", "providedIdentifier": "49015420"});
    let ask = Ask::of("v0.4alpha1", "match-identifier", &body).bearer(&three_legged);
    assert_eq!(rig.bridge.send(&ask).await.json()["match"], true);
}

/// Right and wrong guesses look alike in everything but the one word.
#[tokio::test]
async fn every_digit_counts_and_no_answer_says_which() {
    let rig = guarded(|config| config.consent.mode = ConsentMode::None).await;
    let token = token_of(&rig, "consumer").await;
    let mut told = BTreeSet::new();
    for (kind, right) in [("IMEI", "490154203237518"), ("IMEISV", "4901542032375180")] {
        for place in 0..right.len() {
            let mut wrong = right.to_owned().into_bytes();
            wrong[place] = b'0' + (wrong[place] - b'0' + 5) % 10;
            let wrong = String::from_utf8(wrong).unwrap();
            let ask = ask_match(FIRST, kind, &wrong).bearer(&token);
            let answer = rig.bridge.send(&ask).await;
            told.insert(String::from_utf8(answer.body.to_vec()).unwrap());
        }
    }
    let expected = r#"{"lastChecked":"2024-02-20T10:41:38.657Z","match":false}"#;
    assert_eq!(told, BTreeSet::from([expected.to_owned()]));
}

#[tokio::test]
async fn guesses_are_limited_before_it_is_known_whether_they_are_right() {
    let rig = guarded(|config| config.limits.mismatches_per_hour = 3).await;
    let token = token_of(&rig, "guesser").await;
    let guess = |tac: &'static str| ask(&rig, &token, FIRST, "TAC", tac);
    for _ in 0..10 {
        assert_eq!(guess("49015420").await, "true");
        assert_eq!(guess("35000000").await, "false");
    }
    // Who is told nothing has not guessed.
    for _ in 0..10 {
        let unknown = ask(&rig, &token, "+34999999999", "TAC", "49015420").await;
        assert_eq!(unknown, "404 IDENTIFIER_NOT_FOUND");
    }
    assert_eq!(guess("35000001").await, "false");
    assert_eq!(guess("35000002").await, "false");
    let refused = "429 QUOTA_EXCEEDED";
    for tac in ["35000003", "49015420"] {
        assert_eq!(guess(tac).await, refused, "{tac}");
    }
    assert_eq!(guess("35000002").await, "false");
    // By another identifier of the same device, or about another device, it is the same guesser.
    assert_eq!(ask(&rig, &token, SECOND, "TAC", "35693803").await, refused);
    let limited = rig
        .bridge
        .metric("pei_bridge_limited_total", &["limit=\"mismatches\""]);
    assert!((limited.await - 3.0).abs() < 0.5);
    let other = token_of(&rig, "other").await;
    assert_eq!(ask(&rig, &other, FIRST, "TAC", "49015420").await, "true");
}

/// Nor has he who was not told in time.
#[tokio::test]
async fn a_guess_that_nobody_answered_does_not_count() {
    let rig = guarded(|config| {
        config.limits.mismatches_per_hour = 1;
        config.api.request_timeout = SHORT_DEADLINE;
    })
    .await;
    let token = token_of(&rig, "guesser").await;
    let guess = |tac: &'static str| ask(&rig, &token, FIRST, "TAC", tac);
    rig.control.fault(GET_3GPP, &json!({"mode": "hang"})).await;
    assert_eq!(guess("35000000").await, "504 TIMEOUT");
    rig.control.clear_faults().await;
    assert_eq!(guess("35000001").await, "false");
    assert_eq!(guess("35000000").await, "429 QUOTA_EXCEEDED");
}

#[tokio::test]
async fn a_comparison_is_a_disclosure_right_or_wrong() {
    let path = file(".audit", "");
    let rig = guarded(|config| {
        config.audit = Audit {
            sink: AuditSink::File,
            file: Some(path.clone()),
            ..Audit::default()
        };
    })
    .await;
    let token = token_of(&rig, "consumer").await;
    for (number, kind, value, decision, reason, fields) in [
        (
            FIRST,
            "TAC",
            "49015420",
            "disclosed",
            "OK",
            json!(["match"]),
        ),
        (
            FIRST,
            "TAC",
            "49015421",
            "disclosed",
            "OK",
            json!(["match"]),
        ),
        (
            SECOND,
            "IMEISV",
            "3569380356438001",
            "refused",
            "NO_IMEISV",
            json!([]),
        ),
        (
            "+34600000006",
            "TAC",
            "49015420",
            "refused",
            "CONSENT_MISSING",
            json!([]),
        ),
    ] {
        ask(&rig, &token, number, kind, value).await;
        let text = std::fs::read_to_string(&path).unwrap();
        let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(line["operation"], "match-identifier");
        assert_eq!(line["version"], "v0.4alpha1");
        assert_eq!(
            (&line["decision"], &line["reason"]),
            (&json!(decision), &json!(reason))
        );
        assert_eq!(line["fields"], fields);
        assert!(!text.contains(value), "{kind}");
    }
}

/// Of its type where the type is asked about, of the device otherwise.
#[tokio::test]
async fn consent_is_needed_for_what_is_compared() {
    let (device, device_type) = ("DEVICE", "TYPE");
    let rig = guarded(|config| {
        config.consent.identifier_purpose = Some(device.to_owned());
        config.consent.type_purpose = Some(device_type.to_owned());
        config.cache.consent = std::time::Duration::ZERO;
    })
    .await;
    let token = token_of(&rig, "consumer").await;
    let denied = "403 PERMISSION_DENIED";
    for (given, by_imei, by_tac, ppid) in [
        (json!({device: "CONSENT_GIVEN"}), "true", denied, 200),
        (json!({device_type: "CONSENT_GIVEN"}), denied, "true", 403),
    ] {
        let supi = "imsi-001010000000001";
        let mut consent = json!({device: "CONSENT_NOT_GIVEN", device_type: "CONSENT_NOT_GIVEN"});
        for (purpose, value) in given.as_object().unwrap() {
            consent[purpose] = value.clone();
        }
        rig.control.consent(supi, &consent).await;
        assert_eq!(
            ask(&rig, &token, FIRST, "IMEI", "490154203237518").await,
            by_imei
        );
        assert_eq!(ask(&rig, &token, FIRST, "TAC", "49015420").await, by_tac);
        let body = json!({"device": {"phoneNumber": FIRST}});
        let named = Ask::of("v0.3", "retrieve-ppid", &body).bearer(&token);
        assert_eq!(rig.bridge.send(&named).await.status, ppid);
    }
}
