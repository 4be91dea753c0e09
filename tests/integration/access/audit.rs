//! The record of every decision: who, what, why, and never whose number.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pei_bridge::config::{Audit, AuditFailure, AuditSink, ConsentMode, GpsiToSupi, SecretSource};
use serde_json::{Value, json};

use super::keys::{SigningKey, claims, issuer_with};
use super::support::{Settings, ask_number, guarded, serve, token_for, token_of};
use crate::support::client::{Ask, Connection};
use crate::support::control::{GET_3GPP, GET_UC_DATA};
use crate::support::process::file;
use crate::support::{Rig, SHORT_DEADLINE, eventually};

const CORRELATOR: &str = "b4333c46-49c0-4f62-80d7-f0ef930f1c46";
const KEY: &str = "a-key-that-is-long-enough-for-pseudonyms";

fn to_file(path: &Path) -> Audit {
    Audit {
        sink: AuditSink::File,
        file: Some(path.to_owned()),
        on_failure: AuditFailure::Refuse,
        pseudonym_key: Some(SecretSource::File(file(".key", KEY))),
        ..Audit::default()
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The line of this request, which is the last one.
async fn line_of(rig: &Rig, path: &Path, ask: Ask) -> Value {
    let before = lines(path).len();
    let answer = rig
        .bridge
        .send(&ask.header("x-correlator", CORRELATOR))
        .await;
    let lines = lines(path);
    assert_eq!(lines.len(), before + 1, "one line for each decision");
    let line = lines.last().unwrap().clone();
    assert_eq!(line["correlator"], CORRELATOR);
    assert_eq!(line["decision"] == "disclosed", answer.status == 200);
    let mut fields: Vec<_> = line["fields"].as_array().unwrap().clone();
    fields.retain(|field| field != "lastChecked");
    let mut told: Vec<Value> = Vec::new();
    if answer.status == 200 {
        let body = answer.json();
        let names = body.as_object().unwrap().keys();
        told.extend(
            names
                .filter(|name| *name != "lastChecked")
                .map(|name| json!(name)),
        );
    }
    fields.sort_by_key(ToString::to_string);
    assert_eq!(fields, told, "the fields that were disclosed");
    assert!(line["latencyMs"].as_f64().unwrap() >= 0.0);
    let time: jiff::Timestamp = line["time"].as_str().unwrap().parse().unwrap();
    let age = jiff::Timestamp::now().as_second() - time.as_second();
    assert!((0..60).contains(&age), "{time}");
    assert_eq!(line["version"], "v0.1.0");
    let allowed = [
        "consentExempt",
        "consumer",
        "correlator",
        "decision",
        "fields",
        "latencyMs",
        "operation",
        "reason",
        "subscriber",
        "suppressedBefore",
        "time",
        "version",
    ];
    for name in line.as_object().unwrap().keys() {
        assert!(allowed.contains(&name.as_str()), "{name}");
    }
    line
}

#[tokio::test]
async fn every_decision_is_one_line_that_says_why() {
    let path = file(".audit", "");
    let rig = guarded(|config| {
        config.audit = to_file(&path);
        config.cache.consent = std::time::Duration::ZERO;
        config.cache.equipment = std::time::Duration::ZERO;
    })
    .await;
    let token = token_of(&rig, "shop").await;
    let own = token_for(&rig, "tel:+123456789").await;
    let unscoped = rig.control.token("client_id=shop&scope=openid").await;
    let ask = |number: &str| ask_number(number, &token);
    let body = json!({"phoneNumber": "123456789"});
    for (ask, consumer, decision, subscriber) in [
        (ask("123456789"), Some("shop"), "disclosed", true),
        (
            Ask::device_type(&body).bearer(&token),
            Some("shop"),
            "disclosed",
            true,
        ),
        (ask("34600000006"), Some("shop"), "refused", true),
        (ask("34600000007"), Some("shop"), "refused", true),
        (ask("34999999999"), Some("shop"), "refused", true),
        (
            ask_number("34600000002", &own),
            Some("consumer"),
            "refused",
            true,
        ),
        (ask("x"), Some("shop"), "refused", false),
        (
            ask("123456789").header("accept", "text/html"),
            Some("shop"),
            "refused",
            false,
        ),
        (
            ask_number("123456789", &unscoped),
            Some("shop"),
            "refused",
            false,
        ),
        (Ask::any(), None, "refused", false),
        (Ask::any().bearer("abc"), None, "refused", false),
    ] {
        let operation = ask.path.rsplit('/').next().unwrap().to_owned();
        let line = line_of(&rig, &path, ask).await;
        assert_eq!(
            line.get("consumer").and_then(Value::as_str),
            consumer,
            "{line}"
        );
        assert_eq!(line["decision"], decision, "{line}");
        assert_eq!(line["operation"], operation, "{line}");
        assert!(!line["reason"].as_str().unwrap().is_empty(), "{line}");
        assert_eq!(line["reason"] == "OK", decision == "disclosed", "{line}");
        assert_eq!(line.get("subscriber").is_some(), subscriber, "{line}");
        assert!(line.get("consentExempt").is_none(), "{line}");
    }
    for operation in [GET_UC_DATA, GET_3GPP] {
        rig.control.fault(operation, &json!({"status": 500})).await;
        let line = line_of(&rig, &path, ask("123456789")).await;
        assert_eq!(line["decision"], "failed", "{line}");
        rig.control.clear_faults().await;
    }
    let text = std::fs::read_to_string(&path).unwrap();
    for secret in [
        "123456789",
        "34600000",
        "34999999999",
        "00101000",
        "4901542032",
        KEY,
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
}

/// The first subscriber, by everything that leads to it.
fn first_subscriber() -> [Value; 6] {
    [
        json!({"phoneNumber": "123456789"}),
        json!({"phoneNumber": "+123456789"}),
        json!({"networkAccessIdentifier": "123456789@domain.com"}),
        json!({"networkAccessIdentifier": "123456789@example.com"}),
        json!({"ipv6Address": "2001:db8:85a3:8d3::1"}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_001}}),
    ]
}

/// The name that the record gives to whoever is asked about.
async fn pseudonym(rig: &Rig, path: &Path, ask: Ask) -> String {
    let line = line_of(rig, path, ask).await;
    line["subscriber"].as_str().unwrap().to_owned()
}

/// The same subscriber has one name, whichever identifier was asked with; nobody shares it. What is
/// needed for it is that the core was asked for the SUPI: for the consent, or for the device.
#[tokio::test]
async fn a_subscriber_has_one_pseudonym() {
    for (consent, way) in [
        (ConsentMode::Core, GpsiToSupi::Direct),
        (ConsentMode::Core, GpsiToSupi::Translation),
        (ConsentMode::None, GpsiToSupi::Translation),
    ] {
        let path = file(".audit", "");
        let rig = guarded(|config| {
            config.audit = to_file(&path);
            config.consent.mode = consent;
            config.core.gpsi_to_supi = way;
        })
        .await;
        let token = token_of(&rig, "shop").await;
        let mut names = BTreeSet::new();
        for body in first_subscriber() {
            let ask = Ask::identifier(&body).bearer(&token);
            names.insert(pseudonym(&rig, &path, ask).await);
        }
        assert_eq!(names.len(), 1, "{consent:?} {way:?}: {names:?}");
        let most = "pei_bridge_distinct_subscribers_max";
        let most = rig.bridge.metric(most, &[]).await;
        assert!((most - 1.0).abs() < 0.1, "{consent:?} {way:?}: {most}");
        let others = ["34600000002", "34600000003", "34600000103", "34600000006"];
        for number in others {
            names.insert(pseudonym(&rig, &path, ask_number(number, &token)).await);
        }
        assert_eq!(names.len(), 1 + others.len());
        for name in &names {
            assert!(name.len() >= 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
    }
}

/// Where the core is asked for nobody's SUPI, what the token had it asked for is made use of.
#[tokio::test]
async fn what_a_token_made_known_names_the_subscriber() {
    let path = file(".audit", "");
    let rig = guarded(|config| {
        config.audit = to_file(&path);
        config.consent.mode = ConsentMode::None;
    })
    .await;
    let own = token_for(&rig, "tel:+123456789").await;
    let [_, _, nai, other_nai, ipv6, ipv4] = first_subscriber();
    let mut names = BTreeSet::new();
    for body in [nai, other_nai, ipv6, ipv4] {
        let ask = Ask::identifier(&body).bearer(&own);
        names.insert(pseudonym(&rig, &path, ask).await);
    }
    assert_eq!(names.len(), 1, "{names:?}");
}

#[tokio::test]
async fn the_exempt_are_marked() {
    let path = file(".audit", "");
    let rig = guarded(|config| {
        config.audit = to_file(&path);
        config.consent.exempt_consumers = vec!["police".to_owned()];
    })
    .await;
    let token = token_of(&rig, "police").await;
    let line = line_of(&rig, &path, ask_number("34600000006", &token)).await;
    assert_eq!(
        (&line["consentExempt"], &line["decision"]),
        (&json!(true), &json!("disclosed"))
    );
    let line = line_of(&rig, &path, ask_number("34999999999", &token)).await;
    assert_eq!(line["consentExempt"], true, "{line}");
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_followed_by_another() {
    let path = file(".audit", "");
    let rig = guarded(|config| config.audit = to_file(&path)).await;
    let ask = Ask::any().bearer(&token_of(&rig, "shop").await);
    let moved = PathBuf::from(format!("{}.1", path.display()));
    let mut connection = Connection::http1(rig.bridge.api).await;
    connection.send(&ask).await;
    std::fs::rename(&path, &moved).unwrap();
    let mut asked = 1;
    eventually("a new file is there", async || {
        connection.send(&ask).await;
        asked += 1;
        path.exists().then_some(())
    })
    .await;
    assert_eq!(lines(&moved).len() + lines(&path).len(), asked);
}

#[tokio::test]
async fn a_sink_that_cannot_be_written_refuses_or_counts() {
    let full = || Path::new("/dev/full").to_owned();
    let rig = guarded(|config| config.audit = to_file(&full())).await;
    let token = token_of(&rig, "shop").await;
    for ask in [
        ask_number("123456789", &token),
        ask_number("x", &token),
        Ask::any(),
    ] {
        let answer = rig.bridge.send(&ask).await;
        answer.is_error(503, "UNAVAILABLE");
    }
    let lost = rig.bridge.metric("pei_bridge_audit_lost_total", &[]).await;
    assert!((lost - 3.0).abs() < 0.1, "{lost}");
    let rig = guarded(|config| {
        config.audit = Audit {
            on_failure: AuditFailure::Count,
            ..to_file(&full())
        };
    })
    .await;
    let token = token_of(&rig, "shop").await;
    let answer = rig.bridge.send(&ask_number("123456789", &token)).await;
    answer.is_imei("490154203237518");
    eventually("the loss is counted", async || {
        let lost = rig.bridge.metric("pei_bridge_audit_lost_total", &[]).await;
        (lost > 0.5).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_output_has_the_audit_and_nothing_else() {
    let rig = guarded(|_| {}).await;
    let served = serve(
        &rig,
        &Settings {
            audit: "sink = \"stdout\"",
            ..Settings::default()
        },
    )
    .await;
    let mut connection = Connection::http1(served.api).await;
    let ask = Ask::any().bearer(&token_of(&rig, "shop").await);
    for _ in 0..5 {
        connection.send(&ask).await.is_imei("490154203237518");
    }
    let ended = served.service.terminate().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 5);
    for line in ended.stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["decision"], "disclosed");
    }
}

/// A disk that is full must not be followed by a log that is.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_cannot_be_written_is_said_once() {
    let rig = guarded(|_| {}).await;
    let settings = Settings {
        audit: "sink = \"file\"\nfile = \"/dev/full\"\non_failure = \"count\"",
        ..Settings::default()
    };
    let served = serve(&rig, &settings).await;
    let mut connection = Connection::http1(served.api).await;
    let ask = Ask::any().bearer(&token_of(&rig, "shop").await);
    for _ in 0..20 {
        connection.send(&ask).await.is_imei("490154203237518");
    }
    let ended = served.service.terminate().await;
    let said = ended.stderr.matches("the audit cannot be written").count();
    assert_eq!(said, 1, "{}", ended.stderr);
}

/// Nobody reads the pipe, which fills: requests are answered all the same, one way or the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_does_not_hang_requests() {
    let rig = guarded(|_| {}).await;
    for (on_failure, expected) in [("refuse", 503), ("count", 200)] {
        let audit = format!("sink = \"stdout\"\non_failure = \"{on_failure}\"");
        let api = "request_timeout = \"500ms\"";
        let served = serve(
            &rig,
            &Settings {
                audit: &audit,
                api,
                ..Settings::default()
            },
        )
        .await;
        let mut connection = Connection::http1(served.api).await;
        let ask = Ask::any().bearer(&token_of(&rig, "shop").await);
        let mut last = 0;
        for _ in 0..600 {
            last = connection.send(&ask).await.status;
            if last != 200 {
                break;
            }
        }
        assert_eq!(last, expected, "{on_failure}");
        served.service.terminate().await;
    }
}

/// What was answered is recorded, however long the disk takes to take it.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_loses_no_line() {
    let rig = guarded(|_| {}).await;
    let settings = Settings {
        audit: "sink = \"stdout\"\non_failure = \"count\"",
        ..Settings::default()
    };
    let served = serve(&rig, &settings).await;
    let ask = Ask::any().bearer(&token_of(&rig, "shop").await);
    let mut connection = Connection::http1(served.api).await;
    // More than the pipe holds, which nobody reads before the end.
    let asked = 1000;
    for _ in 0..asked {
        connection.send(&ask).await.is_imei("490154203237518");
    }
    let ended = served.service.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), asked);
}

#[tokio::test]
async fn what_takes_too_long_names_the_subscriber_as_far_as_known() {
    let path = file(".audit", "");
    let rig = guarded(|config| {
        config.audit = to_file(&path);
        config.api.request_timeout = SHORT_DEADLINE;
    })
    .await;
    let token = token_of(&rig, "shop").await;
    for operation in [GET_UC_DATA, GET_3GPP] {
        rig.control.reset().await;
        rig.control
            .fault(operation, &json!({ "mode": "hang" }))
            .await;
        let line = line_of(&rig, &path, ask_number("123456789", &token)).await;
        assert_eq!(line["decision"], "failed", "{line}");
        assert!(line["subscriber"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn a_request_that_its_client_gives_up_is_recorded() {
    let path = file(".audit", "");
    let rig = guarded(|config| config.audit = to_file(&path)).await;
    let ask = ask_number("123456789", &token_of(&rig, "shop").await);
    let hang = json!({ "mode": "hang" });
    rig.control.fault(GET_3GPP, &hang).await;
    let mut connection = Connection::http2(rig.bridge.api).await;
    let asking = tokio::spawn(async move { connection.try_send(&ask).await.is_ok() });
    eventually("the device is asked for", async || {
        (rig.control.count(GET_3GPP).await > 0).then_some(())
    })
    .await;
    assert!(lines(&path).is_empty());
    asking.abort();
    let line = eventually("it is recorded", async || lines(&path).pop()).await;
    assert_eq!(line["decision"], "abandoned", "{line}");
    assert_eq!(line["consumer"], "shop", "{line}");
    assert!(line["subscriber"].is_string(), "{line}");
    assert_eq!(line["fields"], json!([]), "{line}");
}

/// Where nothing but the subject names the consumer, and it is written like a subscriber, nobody is
/// named: unless the operator knows it for a consumer.
#[tokio::test]
async fn a_subscriber_is_no_consumer() {
    let key = SigningKey::ecdsa();
    let path = file(".audit", "");
    let rig = guarded(|config| {
        config.audit = to_file(&path);
        config.auth.issuers = vec![issuer_with(&[&key])];
        config.consent.exempt_consumers = vec!["4600000009".to_owned()];
    })
    .await;
    let token = |name: &str, id: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove("client_id");
        claims["sub"] = json!("subject");
        claims[name] = json!(id);
        key.sign(&claims)
    };
    for (name, id, consumer) in [
        ("sub", "34600000002", None),
        ("sub", "001010000000001", None),
        ("sub", "somebody@domain.com", None),
        ("sub", "4600000009", Some("4600000009")),
        ("sub", "shop", Some("shop")),
        ("client_id", "34600000003", Some("34600000003")),
        ("azp", "app@partner.example", Some("app@partner.example")),
    ] {
        let line = line_of(&rig, &path, ask_number("123456789", &token(name, id))).await;
        let named = line.get("consumer").and_then(Value::as_str);
        assert_eq!(named, consumer, "{line}");
        assert_eq!(line["decision"] == "disclosed", consumer.is_some());
    }
    let text = std::fs::read_to_string(&path).unwrap();
    for personal in ["34600000002", "001010000000001", "somebody"] {
        assert!(!text.contains(personal), "{text}");
    }
}

/// Whoever has no token writes a line now and then, and all are counted.
#[tokio::test]
async fn a_flood_without_tokens_fills_no_disk() {
    let path = file(".audit", "");
    let rig = guarded(|config| {
        config.audit = Audit {
            unauthenticated_per_second: 1,
            ..to_file(&path)
        };
    })
    .await;
    let flood = 500;
    let begun = std::time::Instant::now();
    let mut connection = Connection::http1(rig.bridge.api).await;
    for _ in 0..flood {
        let answer = connection.send(&Ask::any().bearer("invented")).await;
        answer.is_error(401, "UNAUTHENTICATED");
    }
    let most = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    let written = lines(&path).len();
    assert!((1..=most).contains(&written), "{written} of {most}");
    // Who has a token is recorded all the same, and the line tells of those left out.
    let ask = ask_number("123456789", &token_of(&rig, "shop").await);
    let told = |line: &Value| line.get("suppressedBefore").and_then(Value::as_u64);
    for _ in 0..20 {
        line_of(&rig, &path, ask.clone()).await;
    }
    let lines = lines(&path);
    assert_eq!(lines.len(), written + 20);
    let untold: u64 = lines.iter().filter_map(told).sum();
    assert_eq!(untold, u64::try_from(flood - written).unwrap());
    let counted = rig
        .bridge
        .metric("pei_bridge_audit_suppressed_total", &[])
        .await;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let untold = untold as f64;
    assert!((counted - untold).abs() < 0.1, "{counted} of {untold}");
}
