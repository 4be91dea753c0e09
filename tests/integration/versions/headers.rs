//! The correlator in the forms of the versions, and limits in their codes.

use serde_json::json;

use super::support::{VERSIONS, ask, outcome, token_of};
use crate::access::support::guarded;
use crate::support::answer::is_uuid;

const UUID: &str = "b4333c46-49c0-4f62-80d7-f0ef930f1c46";

#[tokio::test]
async fn a_correlator_is_written_as_the_version_says() {
    let rig = guarded(|_| {}).await;
    let token = token_of(&rig, "consumer").await;
    let (simple, longer, longest) = ("a".repeat(55), "a".repeat(56), "a".repeat(256));
    let too_long = "a".repeat(257);
    let device = json!({"phoneNumber": "+123456789"});
    // Echoed, refused, or as if there were none.
    let (yes, no, none) = (Some(true), Some(false), None);
    for (correlator, expected) in [
        (UUID, [yes; 4]),
        ("request-17", [no, yes, yes, yes]),
        (simple.as_str(), [no, yes, yes, yes]),
        (longer.as_str(), [no, no, yes, yes]),
        ("a_b:c;d./<e>{f}", [no, no, yes, yes]),
        (longest.as_str(), [no, no, yes, yes]),
        (too_long.as_str(), [no; 4]),
        ("a b", [no; 4]),
        ("a,b", [no; 4]),
        ("a\\b", [no; 4]),
        ("", [no, none, none, none]),
    ] {
        for ((version, operations), expected) in VERSIONS.iter().zip(expected) {
            for operation in *operations {
                let ask = ask(version, operation, &device)
                    .bearer(&token)
                    .header("x-correlator", correlator);
                let answer = rig.bridge.send(&ask).await;
                let echoed = answer.header("x-correlator").unwrap();
                let what = format!("{version} {correlator}");
                match expected {
                    Some(true) => assert_eq!((answer.status, echoed), (200, correlator), "{what}"),
                    Some(false) => {
                        assert_eq!(outcome(&answer), "400 INVALID_ARGUMENT", "{what}");
                        assert!(is_uuid(echoed), "{what}");
                    }
                    None => assert!(answer.status == 200 && is_uuid(echoed), "{what}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_quota_is_named_so_from_v0_2_on() {
    let rig = guarded(|config| {
        let limits = &mut config.limits;
        limits.distinct_subscribers_per_hour = 1;
        let class = pei_bridge::config::LimitsClass {
            consumers: vec!["daily".to_owned()],
            requests_per_day: Some(1),
            distinct_subscribers_per_hour: Some(0),
            ..Default::default()
        };
        limits.classes = [("daily".to_owned(), class)].into();
    })
    .await;
    let (walker, daily) = (
        token_of(&rig, "walker").await,
        token_of(&rig, "daily").await,
    );
    let [first, second] = ["+123456789", "+34600000002"].map(|it| json!({"phoneNumber": it}));
    for token in [&walker, &daily] {
        let ask = ask("v0.1.0", "retrieve-type", &first).bearer(token);
        assert_eq!(rig.bridge.send(&ask).await.status, 200);
    }
    for ((version, operations), expected) in VERSIONS.iter().zip([
        "429 TOO_MANY_REQUESTS",
        "429 QUOTA_EXCEEDED",
        "429 QUOTA_EXCEEDED",
        "429 QUOTA_EXCEEDED",
    ]) {
        for operation in *operations {
            for token in [&walker, &daily] {
                let ask = ask(version, operation, &second).bearer(token);
                let answer = rig.bridge.send(&ask).await;
                assert_eq!(outcome(&answer), expected, "{version} {operation}");
            }
        }
    }
}

/// Asking too fast is not asking too much.
#[tokio::test]
async fn a_rate_is_named_alike_in_every_version() {
    let rig = guarded(|config| {
        config.limits.requests_per_second = 1;
        config.limits.burst = 1;
    })
    .await;
    let device = json!({"phoneNumber": "+123456789"});
    for (version, _) in VERSIONS {
        let token = token_of(&rig, version).await;
        let ask = ask(version, "retrieve-type", &device).bearer(&token);
        let mut answer = rig.bridge.send(&ask).await;
        while answer.status == 200 {
            answer = rig.bridge.send(&ask).await;
        }
        assert_eq!(outcome(&answer), "429 TOO_MANY_REQUESTS", "{version}");
    }
}
