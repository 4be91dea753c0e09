//! Requests by version and operation.

use serde_json::{Value, json};

use crate::support::Rig;
use crate::support::answer::Answer;
use crate::support::client::Ask;

/// Every version with its operations.
pub const VERSIONS: [(&str, &[&str]); 4] = [
    ("v0.1.0", &["retrieve-identifier", "retrieve-type"]),
    ("v0.2", &["retrieve-identifier", "retrieve-type"]),
    (
        "v0.3",
        &["retrieve-identifier", "retrieve-type", "retrieve-ppid"],
    ),
    (
        "v0.4alpha1",
        &[
            "retrieve-identifier",
            "retrieve-type",
            "retrieve-ppid",
            "match-identifier",
        ],
    ),
];

/// Versions that name the device in a member of the body.
pub const LATER: [&str; 3] = ["v0.2", "v0.3", "v0.4alpha1"];

/// Every scope, as a form writes them.
const SCOPES: &str = "scope=device-identifier:retrieve-identifier+device-identifier:retrieve-type\
    +device-identifier:retrieve-ppid+device-identifier:match-identifier";

/// A token for every operation, with more form parameters.
pub async fn token(rig: &Rig, more: &str) -> String {
    rig.control.token(&format!("{SCOPES}&{more}")).await
}

/// A token for every operation of a consumer.
pub async fn token_of(rig: &Rig, consumer: &str) -> String {
    token(rig, &format!("client_id={consumer}")).await
}

/// A token for every operation that names a device.
pub async fn token_for(rig: &Rig, hint: &str) -> String {
    let hint = hint.replace('+', "%2B");
    token(rig, &format!("client_id=consumer&login_hint={hint}")).await
}

/// The body for a device in a version, or for none.
pub fn body(version: &str, operation: &str, device: Option<&Value>) -> Value {
    let mut body = match device {
        Some(device) if version == "v0.1.0" => device.clone(),
        Some(device) => json!({ "device": device }),
        None => json!({}),
    };
    if operation == "match-identifier" {
        body["providedIdentifierType"] = json!("IMEI");
        body["providedIdentifier"] = json!("490154203237518");
    }
    body
}

/// A question about a device.
pub fn ask(version: &str, operation: &str, device: &Value) -> Ask {
    let body = body(version, operation, Some(device));
    Ask::of(version, operation, &body)
}

/// Asks it with a token.
pub async fn answer(
    rig: &Rig,
    (version, operation): (&str, &str),
    device: &Value,
    token: &str,
) -> Answer {
    rig.bridge
        .send(&ask(version, operation, device).bearer(token))
        .await
}

/// `match-identifier` of v0.4alpha1.
pub fn ask_match(number: &str, kind: &str, value: &str) -> Ask {
    let body = json!({"device": {"phoneNumber": number},
        "providedIdentifierType": kind, "providedIdentifier": value});
    Ask::of("v0.4alpha1", "match-identifier", &body)
}

/// `200`, or the status with its code.
pub fn outcome(answer: &Answer) -> String {
    match answer.status {
        200 => "200".to_owned(),
        status => format!("{status} {}", answer.code()),
    }
}
