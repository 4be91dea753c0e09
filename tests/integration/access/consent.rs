//! What subscribers allow: anything but an explicit consent is a refusal, and a core that cannot
//! say is never a consent.

use std::time::Duration;

use pei_bridge::config::{ConsentMode, GpsiToSupi};
use serde_json::{Value, json};

use super::support::{ask_number, guarded, token_for, token_of};
use crate::support::client::Ask;
use crate::support::control::{GET_3GPP, GET_NON_3GPP, GET_UC_DATA, TRANSLATE};
use crate::support::{Rig, SHORT_DEADLINE, eventually};

const FIRST: &str = "imsi-001010000000001";
const IDENTIFIER: &str = "DEVICE_IDENTIFIER";
const TYPE: &str = "DEVICE_TYPE";

fn both(number: &str, token: &str) -> [Ask; 2] {
    let body = json!({ "phoneNumber": number });
    [
        Ask::identifier(&body).bearer(token),
        Ask::device_type(&body).bearer(token),
    ]
}

async fn asked_for_equipment(rig: &Rig) -> u64 {
    rig.control.count(GET_3GPP).await + rig.control.count(GET_NON_3GPP).await
}

/// A subscriber who has these consents, and a registered device.
async fn subscriber(rig: &Rig, number: &str, consent: &Value) {
    rig.control
        .put(&json!({
            "supi": format!("imsi-0010177{number:0>8}"),
            "gpsis": [format!("msisdn-{number}")],
            "amf3gpp": {"pei": "imeisv-4901542032375180", "registrationTime": "2024-02-20T10:41:38.657Z"},
            "consent": consent,
        }))
        .await;
}

#[tokio::test]
async fn without_consent_nothing_is_told_and_no_device_looked_up() {
    let rig = guarded(|_| {}).await;
    let token = token_of(&rig, "consumer").await;
    let none = [
        json!({"NW_CAP_EXPOSURE": "CONSENT_NOT_GIVEN"}),
        json!({"NW_CAP_EXPOSURE": "CONSENT_REVOKED"}),
        json!({"NW_CAP_EXPOSURE": "consent_given"}),
        json!({"NW_CAP_EXPOSURE": "CONSENT_GIVEN_"}),
        json!({"ANALYTICS": "CONSENT_GIVEN"}),
        json!({}),
    ];
    for (index, consent) in none.iter().enumerate() {
        let number = format!("{}", 34_700_000 + index);
        subscriber(&rig, &number, consent).await;
        for ask in both(&number, &token) {
            let answer = rig.bridge.send(&ask).await;
            let got = (answer.status, answer.code());
            assert_eq!(got, (403, "PERMISSION_DENIED".to_owned()), "{consent}");
        }
    }
    for ask in both("34600000006", &token) {
        let answer = rig.bridge.send(&ask).await;
        answer.is_error(403, "PERMISSION_DENIED");
    }
    // What is no word at all is a core that cannot say.
    let nonsense = [
        json!(null),
        json!(true),
        json!(["CONSENT_GIVEN"]),
        json!({}),
    ];
    for (index, value) in nonsense.iter().enumerate() {
        let number = format!("{}", 34_720_000 + index);
        subscriber(&rig, &number, &json!({ "NW_CAP_EXPOSURE": value })).await;
        for ask in both(&number, &token) {
            let answer = rig.bridge.send(&ask).await;
            assert!(
                matches!(answer.status, 403 | 503),
                "{value}: {}",
                answer.status
            );
        }
    }
    assert_eq!(asked_for_equipment(&rig).await, 0);
    // A three-legged token is no consent by itself.
    let own = token_for(&rig, "tel:+34600000006").await;
    let answer = rig.bridge.send(&ask_number("34600000006", &own)).await;
    answer.is_error(403, "PERMISSION_DENIED");
    assert_eq!(asked_for_equipment(&rig).await, 0);
}

#[tokio::test]
async fn a_changed_mind_shows_after_the_lifetime_and_either_way() {
    let rig = guarded(|config| config.cache.consent = Duration::from_millis(100)).await;
    let token = token_of(&rig, "consumer").await;
    let ask = ask_number("123456789", &token);
    for (consent, status) in [
        ("CONSENT_GIVEN", 200),
        ("CONSENT_NOT_GIVEN", 403),
        ("CONSENT_GIVEN", 200),
        ("CONSENT_REVOKED", 403),
    ] {
        rig.control
            .consent(FIRST, &json!({"NW_CAP_EXPOSURE": consent}))
            .await;
        eventually("the change shows", async || {
            (rig.bridge.send(&ask).await.status == status).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn consent_is_asked_for_once_within_its_lifetime() {
    let rig = guarded(|_| {}).await;
    let token = token_of(&rig, "consumer").await;
    for number in ["123456789", "34600000006"] {
        rig.control.reset().await;
        for _ in 0..5 {
            let [identifier, _] = both(number, &token);
            rig.bridge.send(&identifier).await;
        }
        let by_nai = json!({"networkAccessIdentifier": "123456789@domain.com"});
        rig.bridge
            .send(&Ask::identifier(&by_nai).bearer(&token))
            .await;
        assert_eq!(rig.control.count(GET_UC_DATA).await, 1, "{number}");
    }
    // Switched off, it is asked for each time.
    let rig = guarded(|config| config.cache.consent = Duration::ZERO).await;
    let token = token_of(&rig, "consumer").await;
    for _ in 0..3 {
        let answer = rig.bridge.send(&ask_number("123456789", &token)).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(rig.control.count(GET_UC_DATA).await, 3);
}

#[tokio::test]
async fn identifier_and_type_are_consented_to_apart() {
    let rig = guarded(|config| {
        config.consent.identifier_purpose = Some(IDENTIFIER.to_owned());
        config.consent.type_purpose = Some(TYPE.to_owned());
    })
    .await;
    let token = token_of(&rig, "consumer").await;
    let (given, not) = ("CONSENT_GIVEN", "CONSENT_NOT_GIVEN");
    let time = "2024-02-20T10:41:38.657Z";
    let type_only =
        json!({"lastChecked": time, "tac": "49015420", "model": "3110", "manufacturer": "Nokia"});
    let identifier_only =
        json!({"lastChecked": time, "imei": "490154203237518", "imeisv": "4901542032375180"});
    let mut all = type_only.clone();
    for (name, value) in identifier_only.as_object().unwrap() {
        all[name] = value.clone();
    }
    for (index, (consent, identifier, device_type)) in [
        (
            json!({IDENTIFIER: given, TYPE: given}),
            Some(&all),
            Some(&type_only),
        ),
        (
            json!({IDENTIFIER: not, TYPE: given}),
            None,
            Some(&type_only),
        ),
        (json!({TYPE: given}), None, Some(&type_only)),
        (
            json!({IDENTIFIER: given, TYPE: not}),
            Some(&identifier_only),
            None,
        ),
        (json!({IDENTIFIER: given}), Some(&identifier_only), None),
        (json!({IDENTIFIER: not, TYPE: not}), None, None),
        // The common purpose is not asked for where both have their own.
        (json!({"NW_CAP_EXPOSURE": given}), None, None),
    ]
    .into_iter()
    .enumerate()
    {
        let number = format!("{}", 34_710_000 + index);
        subscriber(&rig, &number, &consent).await;
        for (ask, expected) in both(&number, &token).iter().zip([identifier, device_type]) {
            let answer = rig.bridge.send(ask).await;
            match expected {
                Some(members) => answer.is(members),
                None => answer.is_error(403, "PERMISSION_DENIED"),
            }
        }
    }
}

/// A fault of the core, and what the consumer is told of it.
#[tokio::test]
async fn a_core_that_cannot_say_is_no_consent() {
    let rig = guarded(|config| {
        config.cache.consent = Duration::ZERO;
        config.api.request_timeout = SHORT_DEADLINE;
    })
    .await;
    let token = token_of(&rig, "consumer").await;
    // The subscription is known already: what fails is the consent alone.
    assert_eq!(
        rig.bridge
            .send(&ask_number("123456789", &token))
            .await
            .status,
        200
    );
    let mut faults: Vec<(Value, u16)> = [400, 401, 403, 405, 429, 500, 502, 503, 504]
        .map(|status| (json!({ "status": status }), 503))
        .to_vec();
    faults.extend(
        [
            "reset",
            "refuse-stream",
            "goaway",
            "garbage",
            "empty",
            "truncate",
        ]
        .map(|mode| (json!({ "mode": mode }), 503)),
    );
    faults.extend([
        (json!({"status": 403, "cause": "USER_NOT_ALLOWED"}), 503),
        (
            json!({"status": 503, "cause": "NF_CONGESTION", "retryAfter": 7}),
            503,
        ),
        (json!({"mode": "hang"}), 504),
        (json!({"latencyMs": 5000}), 504),
        (json!({"status": 404}), 403),
        (json!({"status": 404, "cause": "USER_NOT_FOUND"}), 403),
        (json!({"status": 404, "cause": "DATA_NOT_FOUND"}), 403),
    ]);
    for (fault, status) in faults {
        rig.control.reset().await;
        rig.control.fault(GET_UC_DATA, &fault).await;
        for ask in both("123456789", &token) {
            let answer = rig.bridge.send(&ask).await;
            assert_eq!(answer.status, status, "{fault}: {}", answer.json());
        }
        assert_eq!(asked_for_equipment(&rig).await, 0, "{fault}");
        rig.control.clear_faults().await;
        eventually("it is over", async || {
            let answer = rig.bridge.send(&ask_number("123456789", &token)).await;
            (answer.status == 200).then_some(())
        })
        .await;
    }
    let congested = json!({"status": 503, "retryAfter": 7});
    rig.control.fault(GET_UC_DATA, &congested).await;
    let answer = rig.bridge.send(&ask_number("123456789", &token)).await;
    answer.is_error(503, "UNAVAILABLE");
    assert_eq!(answer.header("retry-after"), Some("7"));
}

#[tokio::test]
async fn a_core_that_is_not_there_is_no_consent() {
    let mut rig = guarded(|config| {
        config.cache.consent = Duration::ZERO;
        config.api.request_timeout = SHORT_DEADLINE;
    })
    .await;
    let token = token_of(&rig, "consumer").await;
    // Device and subscription are remembered; only consent has to be asked for.
    assert_eq!(
        rig.bridge
            .send(&ask_number("123456789", &token))
            .await
            .status,
        200
    );
    let other = simcore::Simcore::start(simcore::Options::default())
        .await
        .unwrap();
    std::mem::replace(&mut rig.core, other).stop().await;
    let answer = rig.bridge.send(&ask_number("123456789", &token)).await;
    assert!(matches!(answer.status, 503 | 504), "{}", answer.json());
}

#[tokio::test]
async fn who_is_exempt_needs_no_consent_and_nobody_else() {
    let rig = guarded(|config| config.consent.exempt_consumers = vec!["police".to_owned()]).await;
    for (consumer, status) in [
        ("police", 200),
        ("Police", 403),
        ("police2", 403),
        ("", 403),
    ] {
        let consumer = if consumer.is_empty() {
            "other"
        } else {
            consumer
        };
        let token = token_of(&rig, consumer).await;
        let answer = rig.bridge.send(&ask_number("34600000006", &token)).await;
        assert_eq!(answer.status, status, "{consumer}");
    }
}

#[tokio::test]
async fn trust_in_three_legged_tokens_ends_with_them() {
    let rig = guarded(|config| config.consent.trust_three_legged = true).await;
    let two = token_of(&rig, "consumer").await;
    let own = token_for(&rig, "tel:+34600000006").await;
    let others = token_for(&rig, "tel:+34600000002").await;
    for (token, status) in [(&two, 403), (&own, 200), (&others, 403)] {
        let answer = rig.bridge.send(&ask_number("34600000006", token)).await;
        assert_eq!(answer.status, status);
    }
    assert_eq!(rig.control.count(GET_UC_DATA).await, 1);
}

#[tokio::test]
async fn where_tokens_carry_consent_two_legged_ones_have_none() {
    let rig = guarded(|config| config.consent.mode = ConsentMode::Token).await;
    let two = token_of(&rig, "consumer").await;
    let three = token_for(&rig, "tel:+34600000006").await;
    for number in ["34600000006", "34600000002", "34999999999"] {
        let answer = rig.bridge.send(&ask_number(number, &two)).await;
        answer.is_error(403, "PERMISSION_DENIED");
    }
    assert_eq!(rig.control.total().await, 0);
    let answer = rig.bridge.send(&ask_number("34600000006", &three)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(rig.control.count(GET_UC_DATA).await, 0);
}

/// An address can have passed to somebody else since the token was given, and names nobody who
/// consented.
#[tokio::test]
async fn an_address_in_a_token_is_no_consent() {
    let body = json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765}});
    let hint = "ipport:84.125.93.10:59765";
    let rig = guarded(|config| config.consent.mode = ConsentMode::Token).await;
    let ask = Ask::identifier(&body).bearer(&token_for(&rig, hint).await);
    let answer = rig.bridge.send(&ask).await;
    answer.is_error(403, "PERMISSION_DENIED");
    assert_eq!(rig.control.total().await, 0);

    let rig = guarded(|config| {
        config.consent.trust_three_legged = true;
        config.cache.consent = Duration::ZERO;
    })
    .await;
    let ask = Ask::identifier(&body).bearer(&token_for(&rig, hint).await);
    assert_eq!(rig.bridge.send(&ask).await.status, 200);
    assert_eq!(rig.control.count(GET_UC_DATA).await, 1);
    rig.control
        .consent(FIRST, &json!({"NW_CAP_EXPOSURE": "CONSENT_REVOKED"}))
        .await;
    let answer = rig.bridge.send(&ask).await;
    answer.is_error(403, "PERMISSION_DENIED");
}

/// Consent and device are both asked for by SUPI: the translation serves both.
#[tokio::test]
async fn a_number_is_translated_once() {
    let rig = guarded(|config| config.core.gpsi_to_supi = GpsiToSupi::Translation).await;
    let token = token_of(&rig, "consumer").await;
    for ask in both("123456789", &token) {
        assert_eq!(rig.bridge.send(&ask).await.status, 200);
    }
    assert_eq!(rig.control.count(TRANSLATE).await, 1);
}
