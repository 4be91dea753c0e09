//! Several identifiers in one request, and kinds that a deployment does not support.

use pei_bridge::config::{IdentifierKind, MultipleIdentifiers};
use serde_json::{Value, json};

use super::support::{LATER, VERSIONS, answer, ask, body, outcome, token_for, token_of};
use crate::access::support::guarded;
use crate::support::Rig;
use crate::support::client::Ask;

const NUMBER: &str = "+34600000002";
const SIX: &str = "2001:db8:85a3:8d3::1";

/// From v0.3 on the answer names the identifier that was used, in the order of the API.
#[tokio::test]
async fn the_answer_names_the_identifier_that_was_used() {
    let rig = guarded(|_| {}).await;
    let token = token_of(&rig, "consumer").await;
    let four = json!({"publicAddress": "84.125.93.10", "publicPort": 59_765,
        "privateAddress": "10.45.0.2"});
    let used = json!({"publicAddress": "84.125.93.10", "publicPort": 59_765});
    let no_nat = json!({"publicAddress": "198.51.100.7", "privateAddress": "198.51.100.7"});
    let nai = "123456789@domain.com";
    for (device, named) in [
        (
            json!({"ipv6Address": SIX, "phoneNumber": NUMBER}),
            json!({"phoneNumber": NUMBER}),
        ),
        (
            json!({"ipv6Address": SIX, "networkAccessIdentifier": nai, "ipv4Address": no_nat}),
            json!({"networkAccessIdentifier": nai}),
        ),
        (
            json!({"ipv6Address": "2001:0DB8:85a3:8d3:0:0:0:1", "ipv4Address": no_nat}),
            json!({"ipv6Address": SIX}),
        ),
        (json!({"phoneNumber": NUMBER}), Value::Null),
        (json!({"ipv4Address": four}), Value::Null),
    ] {
        for (version, operations) in &VERSIONS[2..] {
            for operation in *operations {
                let answer = answer(&rig, (version, operation), &device, &token).await;
                assert_eq!(answer.status, 200, "{device}: {}", answer.json());
                assert_eq!(answer.json()["device"], named, "{version} {operation}");
            }
        }
        for (version, _) in &VERSIONS[..2] {
            let answer = answer(&rig, (version, "retrieve-type"), &device, &token).await;
            assert!(answer.json().get("device").is_none());
        }
    }
    // Where addresses alone are supported, a number beside one is passed over.
    let rig = guarded(addresses_alone).await;
    let token = token_of(&rig, "consumer").await;
    let device = json!({"phoneNumber": NUMBER, "ipv4Address": four});
    for version in ["v0.3", "v0.4alpha1"] {
        let answer = answer(&rig, (version, "retrieve-identifier"), &device, &token)
            .await
            .json();
        // What was not used is not repeated as if it were true.
        assert_eq!(
            answer["device"],
            json!({ "ipv4Address": used }),
            "{version}"
        );
        assert_eq!(answer["imei"], "490154203237518");
    }
}

fn addresses_alone(config: &mut pei_bridge::config::Config) {
    config.api.supported_identifiers =
        vec![IdentifierKind::Ipv6Address, IdentifierKind::Ipv4Address];
}

#[tokio::test]
async fn kinds_that_are_not_supported_are_refused_in_the_words_of_the_version() {
    let rig = guarded(addresses_alone).await;
    let token = token_of(&rig, "consumer").await;
    let three_legged = token_for(&rig, "tel:+123456789").await;
    for (version, operations) in VERSIONS {
        for operation in operations {
            let expected = if version == "v0.1.0" {
                "404 NOT_FOUND"
            } else {
                "422 UNSUPPORTED_IDENTIFIER"
            };
            for device in [
                json!({"phoneNumber": "+123456789"}),
                json!({"phoneNumber": "+123456789", "networkAccessIdentifier": "a@b"}),
            ] {
                let answer = answer(&rig, (version, operation), &device, &token).await;
                assert_eq!(outcome(&answer), expected, "{version} {operation}");
            }
            // Passed over silently, and never compared.
            let beside = json!({"phoneNumber": NUMBER, "ipv6Address": SIX});
            let answer = answer(&rig, (version, operation), &beside, &token).await;
            assert_eq!(answer.status, 200, "{version} {operation}");
            if version == "v0.1.0" {
                continue;
            }
            // What the issuer names is no identifier of the request.
            let none = Ask::of(version, operation, &body(version, operation, None));
            let answer = rig.bridge.send(&none.bearer(&three_legged)).await;
            assert_eq!(answer.status, 200, "{version} {operation}");
        }
    }
}

async fn with(multiple: MultipleIdentifiers) -> Rig {
    guarded(|config| config.api.multiple_identifiers = multiple).await
}

/// The setting speaks of versions that leave it open.
#[tokio::test]
async fn the_operator_decides_until_v0_2_and_the_version_after_that() {
    use MultipleIdentifiers::{Default, First, Reject};
    let device = json!({"phoneNumber": NUMBER, "ipv6Address": SIX});
    let mismatch = "422 IDENTIFIER_MISMATCH";
    for (multiple, expected) in [
        (Default, ["200", mismatch, "200", "200"]),
        (First, ["200", "200", "200", "200"]),
        (Reject, ["400 INVALID_ARGUMENT", mismatch, "200", "200"]),
    ] {
        let rig = with(multiple).await;
        let token = token_of(&rig, "consumer").await;
        for ((version, _), expected) in VERSIONS.iter().zip(expected) {
            let ask = ask(version, "retrieve-identifier", &device).bearer(&token);
            let answer = rig.bridge.send(&ask).await;
            assert_eq!(outcome(&answer), expected, "{multiple:?} {version}");
            if answer.status == 200 {
                answer.is_imei("356938035643809");
            }
        }
    }
}

/// The first of a supported kind is used even when the core does not know it.
#[tokio::test]
async fn nothing_is_asked_about_identifiers_that_are_not_used() {
    let rig = guarded(|_| {}).await;
    let token = token_of(&rig, "consumer").await;
    let device = json!({"phoneNumber": "+34600000002", "ipv6Address": SIX,
        "ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765}});
    for version in LATER.iter().skip(1) {
        rig.control.reset().await;
        let ask = ask(version, "retrieve-identifier", &device).bearer(&token);
        rig.bridge.send(&ask).await.is_imei("356938035643809");
        for operation in ["GetPCFBindings", "SearchUeIpInfo"] {
            assert_eq!(rig.control.count(operation).await, 0, "{version}");
        }
    }
}
