//! What a subscriber allows, told by the UDM when it is another thing.

use std::time::Duration;

use pei_bridge::config::{Config, ConsentMode};
use serde_json::{Value, json};

use super::support::{
    CONSENT, FIRST, OTHER_IMEISV, OTHER_PEI, Wanted, fed, forget_subscriptions, live, losses,
    notification, notifications, path_of, post, report, subscriptions,
};
use crate::support::answer::Answer;
use crate::support::client::{Ask, Connection};
use crate::support::control::{GET_3GPP, GET_UC_DATA};
use crate::support::{Rig, eventually};

pub fn body() -> Value {
    json!({"phoneNumber": "123456789"})
}

pub fn refused() -> Value {
    json!({"NW_CAP_EXPOSURE": "CONSENT_NOT_GIVEN"})
}

pub fn given() -> Value {
    json!({"NW_CAP_EXPOSURE": "CONSENT_GIVEN"})
}

/// A bridge that asks for consent and is told of it, once it is told of the first subscriber's.
async fn covered(lifetime: Duration) -> Rig {
    covered_with(lifetime, |_| {}).await
}

pub async fn covered_with(lifetime: Duration, change: impl FnOnce(&mut Config)) -> Rig {
    let rig = fed(CONSENT, |config| {
        config.consent.mode = ConsentMode::Core;
        config.cache.consent = lifetime;
        change(config);
    })
    .await;
    rig.ask(&body()).await.is_imei("490154203237518");
    eventually("the consent is covered", async || {
        (live(&rig.bridge, "consent").await > 0.5).then_some(())
    })
    .await;
    // From now on it is believed for long.
    rig.ask(&body()).await.is_imei("490154203237518");
    rig
}

#[tokio::test]
async fn a_refusal_and_a_consent_show_at_once() {
    let rig = covered(Duration::from_mins(1)).await;
    for round in 0..3 {
        rig.control.consent(FIRST, &refused()).await;
        let answer = rig.ask(&body()).await;
        assert_eq!(answer.status, 403, "{round}");
        rig.control.consent(FIRST, &given()).await;
        rig.ask(&body()).await.is_imei("490154203237518");
    }
}

#[tokio::test]
async fn a_consent_is_believed_for_long_while_changes_are_told() {
    let rig = covered(Duration::from_millis(100)).await;
    rig.control.reset().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    rig.ask(&body()).await.is_imei("490154203237518");
    assert_eq!(rig.control.count(GET_UC_DATA).await, 0);
}

/// The core is asked for the device while the refusal is told.
#[tokio::test]
async fn a_refusal_stops_an_answer_on_its_way() {
    let rig = covered(Duration::from_mins(1)).await;
    rig.control
        .swap_device(FIRST, "imeisv-3569380312345101")
        .await;
    // A device that is not remembered.
    let body = json!({"phoneNumber": "34600000003"});
    let third = "imsi-001010000000003";
    rig.control.fault(GET_3GPP, &json!({"status": 500})).await;
    rig.ask(&body).await.is_error(502, "BAD_GATEWAY");
    eventually("the consent is covered", async || {
        (live(&rig.bridge, "consent").await > 1.5).then_some(())
    })
    .await;
    rig.control
        .fault(GET_3GPP, &json!({"latencyMs": 1000}))
        .await;
    rig.control.reset().await;
    let mut connection = Connection::http1(rig.bridge.api).await;
    let ask = Ask::identifier(&body);
    let asking = tokio::spawn(async move { connection.send(&ask).await });
    eventually("the core is asked for the device", async || {
        (rig.control.count(GET_3GPP).await == 1).then_some(())
    })
    .await;
    rig.control.consent(third, &refused()).await;
    assert_eq!(asking.await.unwrap().status, 403);
}

/// A bridge that is told of the consents of the first and the third subscriber, and remembers no
/// device.
async fn without_devices() -> Rig {
    let rig = covered_with(Duration::from_mins(1), |config| {
        config.cache.equipment = Duration::ZERO;
    })
    .await;
    assert_eq!(rig.ask(&third()).await.status, 200);
    eventually("both are covered", async || {
        (live(&rig.bridge, "consent").await > 1.5).then_some(())
    })
    .await;
    let fault = json!({"latencyMs": 1000});
    rig.control.fault(GET_3GPP, &fault).await;
    rig.control.reset().await;
    rig
}

fn third() -> Value {
    json!({"phoneNumber": "34600000003"})
}

/// Asks for the first subscriber's device while the core tells another consent of somebody, once
/// each time that it is asked for the device.
async fn asked_while_told(rig: &Rig, supi: &str) -> (Answer, u64) {
    let mut connection = Connection::http1(rig.bridge.api).await;
    let ask = Ask::identifier(&body());
    let asking = tokio::spawn(async move { connection.send(&ask).await });
    let mut words = 0;
    while !asking.is_finished() {
        let asked = rig.control.count(GET_3GPP).await;
        if asked > words {
            words = asked;
            rig.control.consent(supi, &refused()).await;
            rig.control.consent(supi, &given()).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (asking.await.unwrap(), words)
}

#[tokio::test]
async fn words_about_others_cost_a_request_nothing() {
    let rig = without_devices().await;
    let (answer, asked) = asked_while_told(&rig, "imsi-001010000000003").await;
    answer.is_imei("490154203237518");
    assert_eq!(asked, 1);
}

/// Nothing is disclosed, and the core is not asked for as long as there is time.
#[tokio::test]
async fn a_subscriber_who_goes_on_saying_otherwise_is_not_disclosed() {
    let rig = without_devices().await;
    let (answer, asked) = asked_while_told(&rig, FIRST).await;
    answer.is_error(503, "UNAVAILABLE");
    assert_eq!(asked, 4);
}

/// The subscriber takes the consent back and gives it again while the core is asked for the device,
/// and uses another device while the core is asked for the consent once more.
async fn swapped_while_consent_is_asked_for(tell: impl AsyncFnOnce(&Rig)) {
    let both = Wanted {
        equipment: true,
        ..CONSENT
    };
    let rig = fed(both, |config| {
        config.consent.mode = ConsentMode::Core;
    })
    .await;
    rig.control.fault(GET_3GPP, &json!({"status": 500})).await;
    rig.ask(&body()).await.is_error(502, "BAD_GATEWAY");
    eventually("the consent is covered", async || {
        (live(&rig.bridge, "consent").await > 0.5).then_some(())
    })
    .await;
    for operation in [GET_3GPP, GET_UC_DATA] {
        let fault = json!({"latencyMs": 1000});
        rig.control.fault(operation, &fault).await;
    }
    rig.control.reset().await;
    let mut connection = Connection::http1(rig.bridge.api).await;
    let ask = Ask::identifier(&body());
    let asking = tokio::spawn(async move { connection.send(&ask).await });
    let is_asked = async |operation: &str, times: u64| {
        eventually(operation, async || {
            (rig.control.count(operation).await >= times).then_some(())
        })
        .await;
    };
    is_asked(GET_3GPP, 1).await;
    let consents_asked = rig.control.count(GET_UC_DATA).await;
    rig.control.consent(FIRST, &refused()).await;
    rig.control.consent(FIRST, &given()).await;
    is_asked(GET_UC_DATA, consents_asked + 1).await;
    tell(&rig).await;
    let answer = asking.await.unwrap();
    assert_eq!(answer.json()["imeisv"], OTHER_IMEISV, "{}", answer.json());
}

#[tokio::test]
async fn a_swap_shows_in_an_answer_that_waits_for_consent() {
    swapped_while_consent_is_asked_for(async |rig| {
        rig.control.swap_device(FIRST, OTHER_PEI).await;
    })
    .await;
}

/// By the clock of who reports it, it was before the old device was last seen.
#[tokio::test]
async fn a_swap_of_an_earlier_time_shows_in_an_answer_that_waits_for_consent() {
    swapped_while_consent_is_asked_for(async |rig| {
        let path = path_of(rig, "equipment").await;
        notifications(rig.control, "lose").await;
        rig.control.swap_device(FIRST, OTHER_PEI).await;
        let mut report = report();
        report[0]["timeStamp"] = json!("2024-01-01T00:00:00Z");
        assert_eq!(post(rig, &notification(&path, &report)).await, 204);
    })
    .await;
}

#[tokio::test]
async fn a_subscription_that_the_core_forgot_ends_them_all() {
    let rig = covered(Duration::from_millis(200)).await;
    notifications(rig.control, "lose").await;
    rig.control.consent(FIRST, &refused()).await;
    forget_subscriptions(rig.control).await;
    rig.control
        .fault("Subscribe", &json!({"status": 500}))
        .await;
    eventually("the loss shows", async || {
        (losses(&rig.bridge, "consent").await > 0.5).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(rig.ask(&body()).await.status, 403);
}

#[tokio::test]
async fn there_are_no_more_subscriptions_than_configured() {
    let rig = fed(CONSENT, |config| {
        config.consent.mode = ConsentMode::Core;
        config.feeds.consent_entries = 2;
    })
    .await;
    for number in ["123456789", "34600000002", "34600000003", "34600000103"] {
        rig.ask(&json!({"phoneNumber": number})).await;
    }
    eventually("two are covered", async || {
        (live(&rig.bridge, "consent").await > 1.5).then_some(())
    })
    .await;
    for number in ["34600000003", "34600000103"] {
        let answer = rig.ask(&json!({"phoneNumber": number})).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(subscriptions(rig.control).await.len(), 2);
}
