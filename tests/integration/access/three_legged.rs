//! A token that names a device is good for its subscription alone.

use serde_json::{Value, json};

use super::support::{guarded, token_for};
use crate::support::client::Ask;

/// By any identifier of its own; another subscription, known or not, is refused alike.
#[tokio::test]
async fn a_token_that_names_a_device_is_good_for_it_alone() {
    let rig = guarded(|_| {}).await;
    let same = [
        json!({"phoneNumber": "123456789"}),
        json!({"phoneNumber": "+123456789"}),
        json!({"networkAccessIdentifier": "123456789@domain.com"}),
        json!({"networkAccessIdentifier": "123456789@example.com"}),
        json!({"ipv6Address": "2001:db8:85a3:8d3:1319:8a2e:370:7344"}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_001}}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "privateAddress": "10.45.0.1"}}),
        json!({"phoneNumber": "123456789", "networkAccessIdentifier": "123456789@domain.com"}),
    ];
    let others = [
        json!({"phoneNumber": "34600000002"}),
        json!({"phoneNumber": "34600000006"}),
        json!({"phoneNumber": "34600000007"}),
        json!({"phoneNumber": "34999999999"}),
        json!({"networkAccessIdentifier": "sensor-17@iot.example.com"}),
        json!({"networkAccessIdentifier": "nobody@nowhere.example"}),
        json!({"ipv6Address": "2001:db8:aa00::1"}),
        json!({"ipv6Address": "2001:db8:ffff::1"}),
        json!({"ipv4Address": {"publicAddress": "198.51.100.7", "publicPort": 4000}}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 2000}}),
    ];
    for hint in [
        "tel:+123456789",
        "ipport:84.125.93.10:59765",
        "ipport:[2001:db8:85a3:8d3::1]:443",
    ] {
        let token = token_for(&rig, hint).await;
        for body in &same {
            let answer = rig.bridge.send(&Ask::identifier(body).bearer(&token)).await;
            assert_eq!(answer.status, 200, "{hint} {body}: {}", answer.json());
            answer.is_imei("490154203237518");
            let answer = rig
                .bridge
                .send(&Ask::device_type(body).bearer(&token))
                .await;
            assert_eq!(answer.status, 200, "{hint} {body}: {}", answer.json());
        }
        for body in &others {
            let answer = rig.bridge.send(&Ask::identifier(body).bearer(&token)).await;
            let got = (answer.status, answer.code());
            let denied = (403, "PERMISSION_DENIED".to_owned());
            assert_eq!(got, denied, "{hint} {body}");
        }
    }
}

/// Whether somebody else consents, or has a device, is not told: all refusals read the same.
#[tokio::test]
async fn refusals_do_not_tell_subscriptions_apart() {
    let rig = guarded(|_| {}).await;
    let token = token_for(&rig, "tel:+123456789").await;
    let mut told: Vec<Value> = Vec::new();
    for number in ["34600000002", "34600000006", "34600000007", "34999999999"] {
        let ask = Ask::identifier(&json!({ "phoneNumber": number })).bearer(&token);
        told.push(rig.bridge.send(&ask).await.json());
    }
    // Nor does the token's own device behind it make a difference.
    for number in ["34600000002", "34999999999"] {
        let own = "123456789@domain.com";
        let both = json!({ "phoneNumber": number, "networkAccessIdentifier": own });
        let ask = Ask::identifier(&both).bearer(&token);
        told.push(rig.bridge.send(&ask).await.json());
    }
    assert!(told.windows(2).all(|two| two[0] == two[1]), "{told:?}");
    assert_eq!(rig.control.count("Get3GppRegistration").await, 0);
    assert_eq!(rig.control.count("GetUcData").await, 0);
}

#[tokio::test]
async fn a_body_without_identifier_is_400_whatever_the_token_says() {
    let rig = guarded(|_| {}).await;
    let token = token_for(&rig, "tel:+123456789").await;
    for body in [
        "{}",
        "",
        "null",
        "{\"device\": {}}",
        "{\"device\": {\"phoneNumber\": \"+123456789\"}}",
    ] {
        let ask = Ask::any().body(body).bearer(&token);
        rig.bridge
            .send(&ask)
            .await
            .is_error(400, "INVALID_ARGUMENT");
    }
    assert_eq!(rig.control.total().await, 0);
}

/// The body names somebody else first and the token's own device second, and the other way round.
#[tokio::test]
async fn the_tokens_device_beside_another_opens_no_door() {
    let rig = guarded(|_| {}).await;
    let token = token_for(&rig, "tel:+123456789").await;
    let own = "123456789@domain.com";
    let other_first = json!({"phoneNumber": "34600000002", "networkAccessIdentifier": own});
    let answer = rig
        .bridge
        .send(&Ask::identifier(&other_first).bearer(&token))
        .await;
    answer.is_error(403, "PERMISSION_DENIED");
    let own_first =
        json!({"phoneNumber": "123456789", "networkAccessIdentifier": "sensor-17@iot.example.com"});
    let answer = rig
        .bridge
        .send(&Ask::identifier(&own_first).bearer(&token))
        .await;
    answer.is_imei("490154203237518");
    // An address that nobody has at the moment is nobody's name, and gives way.
    let nobody_first = json!({
        "ipv6Address": "2001:db8:dead::1",
        "ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765},
    });
    let answer = rig
        .bridge
        .send(&Ask::identifier(&nobody_first).bearer(&token))
        .await;
    answer.is_imei("490154203237518");
    // A token of nobody known is good for nobody.
    let token = token_for(&rig, "tel:+34999999999").await;
    for (number, expected) in [
        ("123456789", 403),
        ("34999999999", 404),
        ("34888888888", 403),
    ] {
        let ask = Ask::identifier(&json!({ "phoneNumber": number })).bearer(&token);
        assert_eq!(rig.bridge.send(&ask).await.status, expected, "{number}");
    }
}

/// The address has moved on to somebody else: the token is theirs now, or nobody's, but no longer
/// a way to the first.
#[tokio::test]
async fn a_token_by_address_follows_the_address() {
    let rig = guarded(|_| {}).await;
    let token = token_for(&rig, "ipport:84.125.93.10:59765").await;
    let ask = Ask::any().bearer(&token);
    rig.bridge.send(&ask).await.is_imei("490154203237518");
    rig.control.release_session("imsi-001010000000001:1").await;
    rig.bridge
        .send(&ask)
        .await
        .is_error(403, "PERMISSION_DENIED");
}
