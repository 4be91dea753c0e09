//! `retrieve-ppid`: one name for a device and a consumer.

use pei_bridge::config::{Audit, AuditSink, Config, Ppid, PpidSecret, SecretSource};
use serde_json::{Value, json};

use super::support::{ask, token_for, token_of};
use crate::access::support::guarded;
use crate::support::Rig;
use crate::support::client::Ask;
use crate::support::process::file;

fn secret(id: &str, text: &str, from: Option<&str>) -> PpidSecret {
    PpidSecret {
        id: id.to_owned(),
        secret: SecretSource::File(file(".secret", text)),
        from: from.map(|time| time.parse().unwrap()),
    }
}

fn old() -> PpidSecret {
    secret("old", "an old secret that is long enough to be one", None)
}

async fn with(secrets: Vec<PpidSecret>, overlap: &str) -> Rig {
    let overlap: jiff::SignedDuration = overlap.parse().unwrap();
    let overlap = overlap.unsigned_abs();
    guarded(|config| config.ppid = Ppid { overlap, secrets }).await
}

async fn answer(rig: &Rig, version: &str, consumer: &str, device: &Value) -> Value {
    let token = token_of(rig, consumer).await;
    let ask = ask(version, "retrieve-ppid", device).bearer(&token);
    let answer = rig.bridge.send(&ask).await;
    assert_eq!(answer.status, 200, "{device}: {}", answer.json());
    answer.json()
}

async fn name(rig: &Rig, consumer: &str, device: &Value) -> String {
    let answer = answer(rig, "v0.4alpha1", consumer, device).await;
    answer["ppid"].as_str().unwrap().to_owned()
}

fn phone(number: &str) -> Value {
    json!({ "phoneNumber": number })
}

#[tokio::test]
async fn a_device_has_one_name_for_each_consumer() {
    let rig = with(vec![old()], "0s").await;
    let first = phone("+123456789");
    let known = name(&rig, "shop", &first).await;
    assert_eq!(known.len(), 64);
    assert!(
        known
            .bytes()
            .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    );
    for device in [
        &first,
        &json!({"networkAccessIdentifier": "123456789@domain.com"}),
        &json!({"ipv6Address": "2001:db8:85a3:8d3::1"}),
        &json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765}}),
    ] {
        assert_eq!(name(&rig, "shop", device).await, known, "{device}");
        let of_v0_3 = answer(&rig, "v0.3", "shop", device).await;
        assert_eq!(of_v0_3["ppid"], known.as_str(), "{device}");
    }
    assert_ne!(name(&rig, "bank", &first).await, known);
    assert_ne!(name(&rig, "shop", &phone("+34600000002")).await, known);
    // The token names the device; the consumer is the same.
    let own = token_for(&rig, "tel:+123456789").await;
    let ask = Ask::of("v0.3", "retrieve-ppid", &json!({})).bearer(&own);
    let by_token = rig.bridge.send(&ask).await.json();
    assert_eq!(
        by_token["ppid"],
        name(&rig, "consumer", &first).await.as_str()
    );
    // The secret makes the name, whichever bridge it is.
    let again = with(vec![old()], "0s").await;
    assert_eq!(name(&again, "shop", &first).await, known);
    let other = secret(
        "other",
        "another secret that is long enough to be one",
        None,
    );
    let other = with(vec![other], "0s").await;
    assert_ne!(name(&other, "shop", &first).await, known);
}

/// Nothing of the device stands beside it, and nothing of it is kept from the audit.
#[tokio::test]
async fn the_name_stands_alone_and_is_recorded_with_its_secret() {
    let path = file(".audit", "");
    let to_file = |config: &mut Config| {
        config.audit = Audit {
            sink: AuditSink::File,
            file: Some(path.clone()),
            ..Audit::default()
        };
        config.ppid.secrets = vec![old()];
    };
    let rig = guarded(to_file).await;
    let told = answer(&rig, "v0.3", "shop", &phone("+123456789")).await;
    let names: Vec<_> = told.as_object().unwrap().keys().collect();
    assert_eq!(names, ["lastChecked", "ppid"]);
    let text = std::fs::read_to_string(&path).unwrap();
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line["operation"], "retrieve-ppid");
    assert_eq!(line["version"], "v0.3");
    assert_eq!(line["decision"], "disclosed");
    assert_eq!(line["fields"], json!(["ppid"]));
    assert_eq!(line["ppidSecret"], "old");
    assert!(!text.contains(told["ppid"].as_str().unwrap()));
}

#[tokio::test]
async fn old_and_new_names_are_given_together_for_a_while() {
    let new = |from| {
        secret(
            "new",
            "a new secret that is long enough to be one",
            Some(from),
        )
    };
    let device = phone("+123456789");
    let only_old = answer(&with(vec![old()], "0s").await, "v0.3", "shop", &device).await;
    let only_new = vec![new("2020-01-01T00:00:00Z")];
    let only_new = answer(&with(only_new, "0s").await, "v0.3", "shop", &device).await;
    let before = only_old["ppid"].as_str();
    let after = only_new["ppid"].as_str();
    assert_ne!(before, after);
    for (from, overlap, ppid, previous) in [
        ("2020-01-01T00:00:00Z", "0s", after, None),
        ("2020-01-01T00:00:00Z", "24h", after, None),
        ("2020-01-01T00:00:00Z", "1000000h", after, before),
        ("2999-01-01T00:00:00Z", "1000000h", before, None),
    ] {
        // In the order of their times, whatever the order of the file.
        let rig = with(vec![new(from), old()], overlap).await;
        for version in ["v0.3", "v0.4alpha1"] {
            let told = answer(&rig, version, "shop", &device).await;
            assert_eq!(told["ppid"].as_str(), ppid, "{from} {overlap}");
            assert_eq!(told["previousPpid"].as_str(), previous, "{from} {overlap}");
        }
    }
}

#[test]
fn secrets_must_be_told_apart() {
    let refused = |secrets: Vec<PpidSecret>| {
        let mut config = crate::support::config(&["127.0.0.1:1".parse().unwrap()]);
        config.ppid.secrets = secrets;
        config.validate().err().map(|error| error.to_string())
    };
    assert_eq!(refused(vec![old()]), None);
    let at = |id| secret(id, "x", Some("2026-01-01T00:00:00Z"));
    for (secrets, said) in [
        (vec![old(), old()], "id twice"),
        (vec![secret("", "x", None)], "needs an id"),
        (vec![at("a"), at("b")], "the same time"),
    ] {
        let refusal = refused(secrets).unwrap();
        assert!(
            refusal.contains("ppid.secrets") && refusal.contains(said),
            "{refusal}"
        );
    }
}

/// A secret that is too short protects nobody: the bridge does not start, and does not say it.
#[tokio::test]
async fn a_weak_secret_refuses_the_start() {
    let mut config = crate::support::config(&["127.0.0.1:1".parse().unwrap()]);
    config.ppid.secrets = vec![secret("weak", "hunter2", None)];
    let refusal = pei_bridge::app::App::build(&config)
        .err()
        .unwrap()
        .to_string();
    assert!(
        refusal.contains("weak") && !refusal.contains("hunter2"),
        "{refusal}"
    );
}
