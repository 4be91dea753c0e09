//! Before and after a SIM moved to another device, by every version and operation.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::{VERSIONS, body, token_for, token_of};
use crate::access::support::guarded;
use crate::support::Rig;
use crate::support::client::Ask;

const SUPI: &str = "imsi-001010000000001";

/// What all operations of all versions say, by two- and three-legged tokens.
async fn answers(rig: &Rig) -> Vec<Value> {
    let (two_legged, three_legged) = (
        token_of(rig, "consumer").await,
        token_for(rig, "tel:+123456789").await,
    );
    let device = json!({"phoneNumber": "+123456789"});
    let mut answers = Vec::new();
    for (version, operations) in VERSIONS {
        for operation in operations {
            let ask = |device: Option<&Value>, token: &str| {
                let body = body(version, operation, device);
                Ask::of(version, operation, &body).bearer(token)
            };
            let mut asks = vec![ask(Some(&device), &two_legged)];
            if version != "v0.1.0" {
                asks.push(ask(None, &three_legged));
            }
            for ask in asks {
                let answer = rig.bridge.send(&ask).await;
                assert_eq!(answer.status, 200, "{version} {operation}");
                answers.push(answer.json());
            }
        }
    }
    answers
}

#[tokio::test]
async fn the_answer_changes_with_the_device() {
    let rig = guarded(|config| config.cache.equipment = Duration::ZERO).await;
    let before = answers(&rig).await;
    assert_eq!(before, answers(&rig).await);
    rig.control
        .swap_device(SUPI, "imeisv-3569380312345121")
        .await;
    let after = answers(&rig).await;
    let mut seen = 0;
    for (before, after) in before.iter().zip(&after) {
        assert!(before["lastChecked"].as_str() < after["lastChecked"].as_str());
        for (name, old, new) in [
            ("imei", json!("490154203237518"), json!("356938031234512")),
            ("tac", json!("49015420"), json!("35693803")),
            ("model", json!("3110"), json!("Phone One")),
            ("match", json!(true), json!(false)),
        ] {
            if before.get(name).is_some() {
                assert_eq!((&before[name], &after[name]), (&old, &new), "{name}");
                seen += 1;
            }
        }
        if let Some(name) = before.get("ppid") {
            assert_ne!(Some(name), after.get("ppid"));
            seen += 1;
        }
    }
    assert_eq!(before.len(), 20);
    assert!(seen >= before.len());
}
