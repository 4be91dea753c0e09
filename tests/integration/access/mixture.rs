//! Requests of every kind, with every kind of token, good and bad, to every version and operation.

use serde_json::{Value, json};

use crate::support::Rig;
use crate::support::client::Ask;
use crate::versions::support::{VERSIONS, body, token, token_for, token_of};

/// So many that they meet every operation and every token: no divisor in common with theirs.
fn devices() -> [Option<Value>; 19] {
    let address = |port: u32| json!({"publicAddress": "84.125.93.10", "publicPort": port});
    [
        json!({"phoneNumber": "+123456789"}),
        json!({"phoneNumber": "34600000002"}),
        json!({"phoneNumber": "+34600000002"}),
        json!({"phoneNumber": "+34600000006"}),
        json!({"phoneNumber": "+34999999999"}),
        json!({"phoneNumber": "34600000002x"}),
        json!({"networkAccessIdentifier": "123456789@domain.com"}),
        json!({"networkAccessIdentifier": "sensor-17@iot.example.com"}),
        json!({"networkAccessIdentifier": "sensor-17@iot@example.com"}),
        json!({"ipv6Address": "2001:db8:85a3:8d3:1319:8a2e:370:7344"}),
        json!({"ipv6Address": "2001:db8::/64"}),
        json!({"ipv4Address": address(59_765)}),
        json!({"ipv4Address": address(597_650)}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "privateAddress": "10.45.0.1"}}),
        json!({"ipv4Address": {"publicAddress": "198.51.100.7", "publicPort": 4000}}),
        // Where the answer names the identifier that was used.
        json!({"phoneNumber": "+123456789", "networkAccessIdentifier": "123456789@domain.com"}),
        json!({"phoneNumber": "+123456789", "networkAccessIdentifier": "sensor-17@iot.example.com"}),
        json!({"phoneNumber": "+34600000002", "other": "imsi-001010000000001"}),
        Value::Null,
    ]
    .map(|device| (!device.is_null()).then_some(device))
}

/// What a consumer takes the device for: right, wrong, and of the wrong form.
const PROVIDED: [(&str, &str); 7] = [
    ("IMEI", "490154203237518"),
    ("IMEI", "356938035643800"),
    ("IMEI", "990000862471854"),
    ("IMEISV", "4901542032375180"),
    ("IMEISV", "3569380356438001"),
    ("TAC", "35693803"),
    ("IMEI", "4901542032375x"),
];

/// Good ones, three-legged ones, and bad ones of each kind.
pub async fn tokens(rig: &Rig) -> Vec<String> {
    let mut tokens = vec![token_of(rig, "shop").await, token_of(rig, "police").await];
    for hint in [
        "tel:+123456789",
        "ipport:84.125.93.10:59765",
        "tel:+34999999999",
    ] {
        tokens.push(token_for(rig, hint).await);
    }
    for form in [
        "expires_in=-60",
        "not_before=600",
        "issuer=http://other",
        "audience=other",
        "key=unknown",
        "alg=ES256",
        "login_hint=tel:34600000002",
    ] {
        tokens.push(token(rig, &format!("client_id=shop&{form}")).await);
    }
    tokens.push(rig.control.token("client_id=shop&scope=openid").await);
    tokens.push(tokens[0].chars().rev().collect());
    tokens
}

/// The mixture; `round` shifts what is combined with what.
pub fn mixture(tokens: &[String], round: usize, count: usize) -> Vec<Ask> {
    let devices = devices();
    let targets = || {
        VERSIONS
            .iter()
            .flat_map(|(version, operations)| operations.iter().map(move |it| (*version, *it)))
    };
    let one = |index: usize| {
        let number = round * count + index;
        let (version, operation) = targets().cycle().nth(number % targets().count()).unwrap();
        let device = devices[number % devices.len()].as_ref();
        let mut body = body(version, operation, device);
        if operation == "match-identifier" {
            let (kind, value) = PROVIDED[number / 11 % PROVIDED.len()];
            body["providedIdentifierType"] = json!(kind);
            body["providedIdentifier"] = json!(value);
        }
        let ask = Ask::of(version, operation, &body);
        let token = &tokens[number % tokens.len()];
        match number % 41 {
            0 => ask,
            1 => ask.bearer(token).bearer(token),
            2 => ask.header("authorization", format!("Basic {token}")),
            3 => {
                let path = format!("{}?access_token={token}", ask.path);
                ask.path(&path)
            }
            // A correlator in no version.
            4 => ask.bearer(token).header("x-correlator", "+34600000002"),
            5 => ask.bearer(token).header("accept", "x/123456789"),
            6 => ask
                .path(&format!("/device-identifier/{version}/123456789"))
                .bearer(token),
            7 => ask.bearer(token).header("cookie", token.clone()),
            8 => ask
                .path(&format!("/device-identifier/123456789/{operation}"))
                .bearer(token),
            _ => ask.bearer(token),
        }
    };
    (0..count).map(one).collect()
}
