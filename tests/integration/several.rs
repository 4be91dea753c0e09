//! Several identifiers in one request: the first that is known, or all of them alike.

use pei_bridge::config::{IdentifierKind, MultipleIdentifiers};
use serde_json::{Value, json};

use crate::support::Rig;
use crate::support::control::GET_BINDINGS;

const FIRST: &str = "490154203237518";
const SECOND: &str = "356938035643809";

const UNKNOWN_NUMBER: &str = "34999999999";
const UNKNOWN_NAI: &str = "nobody@example.com";

async fn rejecting() -> Rig {
    Rig::configured(|config| config.api.multiple_identifiers = MultipleIdentifiers::Reject).await
}

/// Port and private address of different sessions.
fn contradiction() -> Value {
    json!({"publicAddress": "84.125.93.10", "publicPort": 59_765, "privateAddress": "10.45.0.2"})
}

#[tokio::test]
async fn the_first_known_identifier_answers() {
    let rig = Rig::start().await;
    for (body, imei) in [
        (
            json!({"phoneNumber": "123456789", "networkAccessIdentifier": "123456789@domain.com"}),
            FIRST,
        ),
        // The order is that of the API, not that of the body.
        (
            json!({"ipv6Address": "2001:db8:85a3:8d3::1", "phoneNumber": "34600000002"}),
            SECOND,
        ),
        (
            json!({"networkAccessIdentifier": UNKNOWN_NAI, "phoneNumber": "34600000002"}),
            SECOND,
        ),
        (
            json!({"ipv4Address": {"publicAddress": "198.51.100.7", "publicPort": 4000},
                "ipv6Address": "2001:db8:85a3:8d3::1"}),
            FIRST,
        ),
        // What the core does not know falls through, however many there are.
        (
            json!({"phoneNumber": UNKNOWN_NUMBER, "networkAccessIdentifier": UNKNOWN_NAI,
                "ipv6Address": "2001:db8:dead::1",
                "ipv4Address": {"publicAddress": "198.51.100.7", "publicPort": 4000}}),
            SECOND,
        ),
        (
            json!({"ipv6Address": "::1",
                "ipv4Address": {"publicAddress": "198.51.100.7", "publicPort": 4000}}),
            SECOND,
        ),
        // The port decides over a private address.
        (json!({ "ipv4Address": contradiction() }), FIRST),
    ] {
        rig.ask(&body).await.is_imei(imei);
    }
}

#[tokio::test]
async fn a_known_subscription_without_a_device_does_not_fall_through() {
    let rig = Rig::start().await;
    for number in ["34600000007", "34600000009", "34600000005", "34600000011"] {
        let body =
            json!({"phoneNumber": number, "networkAccessIdentifier": "123456789@domain.com"});
        rig.ask(&body).await.is_error(404, "NOT_FOUND");
    }
    // All unknown.
    let body = json!({"phoneNumber": UNKNOWN_NUMBER, "networkAccessIdentifier": UNKNOWN_NAI});
    rig.ask(&body).await.is_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_fault_of_the_core_is_not_taken_for_an_unknown_identifier() {
    let rig = Rig::start().await;
    rig.control
        .fault(GET_BINDINGS, &json!({"status": 503}))
        .await;
    let body = json!({"ipv6Address": "2001:db8:dead::1",
        "ipv4Address": {"publicAddress": "198.51.100.7", "publicPort": 4000}});
    rig.ask(&body).await.is_error(503, "UNAVAILABLE");
}

#[tokio::test]
async fn kinds_that_are_not_supported_are_passed_over() {
    for multiple in [MultipleIdentifiers::Default, MultipleIdentifiers::Reject] {
        let rig = Rig::configured(|config| {
            config.api.multiple_identifiers = multiple;
            config.api.supported_identifiers =
                vec![IdentifierKind::Ipv6Address, IdentifierKind::Ipv4Address];
        })
        .await;
        // Never compared either: the number is another subscriber's.
        let body = json!({"phoneNumber": "34600000002", "ipv6Address": "2001:db8:85a3:8d3::1"});
        rig.ask(&body).await.is_imei(FIRST);
        rig.control.reset().await;
        for body in [
            json!({"phoneNumber": "123456789"}),
            json!({"networkAccessIdentifier": "123456789@domain.com",
                "phoneNumber": "123456789"}),
        ] {
            rig.ask(&body).await.is_error(404, "NOT_FOUND");
        }
        assert_eq!(rig.control.total().await, 0);
        // Passed over is not unchecked.
        let body = json!({"phoneNumber": "x", "ipv6Address": "2001:db8:85a3:8d3::1"});
        rig.ask(&body).await.is_error(400, "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn identifiers_of_different_subscriptions_are_rejected_where_configured() {
    let rig = rejecting().await;
    for body in [
        json!({"phoneNumber": "34600000002", "ipv6Address": "2001:db8:85a3:8d3::1"}),
        json!({"phoneNumber": "123456789", "networkAccessIdentifier": "sensor-17@iot.example.com"}),
        json!({"ipv6Address": "2001:db8:85a3:8d3::1",
            "ipv4Address": {"publicAddress": "198.51.100.7", "publicPort": 4000}}),
        // Unknown beside known is a mismatch, whichever comes first.
        json!({"phoneNumber": UNKNOWN_NUMBER, "networkAccessIdentifier": "123456789@domain.com"}),
        json!({"phoneNumber": "123456789", "networkAccessIdentifier": UNKNOWN_NAI}),
        json!({"phoneNumber": "123456789", "ipv6Address": "2001:db8:dead::1"}),
        json!({"phoneNumber": "123456789", "ipv6Address": "::1"}),
        // Known and not registered is known.
        json!({"phoneNumber": "34600000007", "networkAccessIdentifier": "123456789@domain.com"}),
        // A private address that contradicts the port, beside another identifier and alone.
        json!({"phoneNumber": "123456789", "ipv4Address": contradiction()}),
        json!({ "ipv4Address": contradiction() }),
    ] {
        let answer = rig.ask(&body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.json());
        answer.is_error(400, "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn identifiers_that_agree_are_answered_where_mismatches_are_rejected() {
    let rig = rejecting().await;
    for (body, imei) in [
        (
            json!({"phoneNumber": "+123456789", "networkAccessIdentifier": "123456789@domain.com",
                "ipv6Address": "2001:db8:85a3:8d3::1",
                "ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765,
                    "privateAddress": "10.45.0.1"}}),
            FIRST,
        ),
        (
            json!({"phoneNumber": "34600000002",
                "ipv4Address": {"publicAddress": "198.51.100.7", "privateAddress": "198.51.100.7"}}),
            SECOND,
        ),
        (
            json!({"networkAccessIdentifier": "123456789@domain.com",
                "ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765}}),
            FIRST,
        ),
        (json!({"phoneNumber": "34600000002"}), SECOND),
        (
            json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765,
                "privateAddress": "10.45.0.1"}}),
            FIRST,
        ),
    ] {
        let answer = rig.ask(&body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.json());
        answer.is_imei(imei);
    }
    // Agreement on a subscription without a device, and on nobody.
    for body in [
        json!({"phoneNumber": UNKNOWN_NUMBER, "networkAccessIdentifier": UNKNOWN_NAI}),
        json!({"phoneNumber": UNKNOWN_NUMBER}),
        json!({"phoneNumber": "34600000007"}),
    ] {
        rig.ask(&body).await.is_error(404, "NOT_FOUND");
    }
}
