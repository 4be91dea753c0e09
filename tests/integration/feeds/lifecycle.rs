//! Subscriptions are prolonged while we are there, and ended when we leave.

use std::time::Duration;

use serde_json::{Value, json};
use simcore::{Options, Settings};

use super::support::{
    CONSENT, FIRST, LONG, Wanted, fed, fed_by, forget_subscriptions, live, losses, subscriptions,
    until_live,
};
use crate::support::eventually;

const ALL: Wanted = Wanted {
    sessions: true,
    equipment: true,
    consent: true,
};

#[tokio::test]
async fn leaving_ends_every_subscription() {
    let rig = fed(ALL, |config| {
        config.consent.mode = pei_bridge::config::ConsentMode::Core;
    })
    .await;
    rig.ask(&json!({"phoneNumber": "123456789"})).await;
    eventually("the consent is covered", async || {
        (live(&rig.bridge, "consent").await > 0.5).then_some(())
    })
    .await;
    assert_eq!(subscriptions(rig.control).await.len(), 3);
    rig.bridge.stop();
    rig.bridge.ended().await;
    assert_eq!(subscriptions(rig.control).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_core_that_cannot_be_told_goodbye_does_not_keep_us() {
    let rig = fed(ALL, |_| {}).await;
    for operation in ["DeleteIndividualSubcription", "DeleteEeSubscription"] {
        rig.control.fault(operation, &json!({"mode": "hang"})).await;
    }
    rig.bridge.stop();
    rig.bridge.ended().await;
}

/// The core grants less than is asked for, and less than the time between two looks.
#[tokio::test]
async fn subscriptions_are_prolonged_before_they_end() {
    let options = Options {
        settings: Settings {
            subscription_seconds: 1,
            ..Settings::default()
        },
        ..Options::default()
    };
    let rig = fed_by(options, ALL, |config| {
        config.feeds.check_interval = Duration::from_mins(1);
    })
    .await;
    rig.control.reset().await;
    eventually("both were prolonged", async || {
        let calls = rig.control.calls().await;
        let count = |operation: &str| calls[operation].as_u64().unwrap_or(0);
        let sessions = count("ReplaceIndividualSubcription");
        (sessions >= 3 && count("UpdateEeSubscription") >= 1).then_some(())
    })
    .await;
    for feed in ["sessions", "equipment"] {
        assert!(losses(&rig.bridge, feed).await < 0.5, "{feed}");
    }
    until_live(&rig.bridge, ALL).await;
}

/// The same for the consent of one subscriber.
#[tokio::test]
async fn subscriptions_to_consent_are_prolonged_for_as_long_as_they_are_granted() {
    let options = Options {
        settings: Settings {
            subscription_seconds: 1,
            ..Settings::default()
        },
        ..Options::default()
    };
    let rig = fed_by(options, CONSENT, |config| {
        config.consent.mode = pei_bridge::config::ConsentMode::Core;
        config.feeds.check_interval = Duration::from_mins(1);
        config.cache.consent = LONG;
    })
    .await;
    let body = json!({"phoneNumber": "123456789"});
    let refused = json!({"NW_CAP_EXPOSURE": "CONSENT_NOT_GIVEN"});
    rig.ask(&body).await.is_imei("490154203237518");
    eventually("it was prolonged", async || {
        // One that nobody asks about is not.
        rig.ask(&body).await.is_imei("490154203237518");
        (rig.control.count("Modify").await >= 4).then_some(())
    })
    .await;
    assert!(losses(&rig.bridge, "consent").await < 0.5);
    rig.control.consent(FIRST, &refused).await;
    assert_eq!(rig.ask(&body).await.status, 403);
    // Where it cannot be prolonged, what is told no more is not believed.
    rig.control
        .consent(FIRST, &json!({"NW_CAP_EXPOSURE": "CONSENT_GIVEN"}))
        .await;
    rig.ask(&body).await.is_imei("490154203237518");
    for operation in ["Modify", "Subscribe"] {
        rig.control.fault(operation, &json!({"status": 500})).await;
    }
    eventually("the loss shows", async || {
        (losses(&rig.bridge, "consent").await > 0.5).then_some(())
    })
    .await;
    assert!(live(&rig.bridge, "consent").await < 0.5);
}

/// The subscription is known still, and the core does not answer.
#[tokio::test]
async fn a_core_that_does_not_answer_is_not_trusted() {
    let rig = fed(ALL, |_| {}).await;
    for operation in ["GetIndividualSubcription", "UpdateEeSubscription"] {
        rig.control.fault(operation, &json!({"status": 500})).await;
    }
    for feed in ["sessions", "equipment"] {
        eventually("the loss shows", async || {
            (losses(&rig.bridge, feed).await > 0.5).then_some(())
        })
        .await;
    }
    rig.control.clear_faults().await;
    until_live(&rig.bridge, ALL).await;
}

/// Which feeds are relied on now can be seen.
#[tokio::test]
async fn a_feed_is_off_trusted_or_distrusted() {
    let both = Wanted {
        consent: false,
        ..ALL
    };
    let rig = fed(both, |_| {}).await;
    let are = async |expected: &str| {
        eventually(expected, async || {
            let mut as_expected = true;
            for (feed, state) in [
                ("sessions", expected),
                ("equipment", expected),
                ("consent", "off"),
            ] {
                for label in ["off", "trusted", "distrusted"] {
                    let labels = [format!("feed=\"{feed}\""), format!("state=\"{label}\"")];
                    let labels = labels.each_ref().map(String::as_str);
                    let value = rig.bridge.metric("pei_bridge_feed_state", &labels).await;
                    as_expected &= (value > 0.5) == (label == state);
                }
            }
            as_expected.then_some(())
        })
        .await;
    };
    are("trusted").await;
    for operation in ["CreateIndividualSubcription", "CreateEeSubscription"] {
        rig.control.fault(operation, &json!({"status": 500})).await;
    }
    forget_subscriptions(rig.control).await;
    are("distrusted").await;
    rig.control.clear_faults().await;
    are("trusted").await;
}
