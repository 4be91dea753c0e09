//! Which device a subscription uses, told by the UDM when it is another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{
    EQUIPMENT, FIRST, LONG, OTHER_IMEISV, OTHER_PEI, Wanted, callback, fed, feed,
    forget_subscriptions, live, losses, notification, notifications, path_of, post, report,
    until_live,
};
use crate::support::client::{Ask, Connection};
use crate::support::control::{GET_3GPP, TRANSLATE};
use crate::support::{Rig, eventually};

/// The first subscriber by every kind of name.
fn by_every_name() -> [Value; 5] {
    [
        json!({"phoneNumber": "123456789"}),
        json!({"networkAccessIdentifier": "123456789@domain.com"}),
        json!({"networkAccessIdentifier": "123456789@example.com"}),
        json!({"ipv6Address": "2001:db8:85a3:8d3:1:2:3:4"}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765}}),
    ]
}

#[tokio::test]
async fn a_swap_shows_at_once_by_every_name() {
    for wanted in [
        EQUIPMENT,
        Wanted {
            sessions: true,
            ..EQUIPMENT
        },
    ] {
        let rig = fed(wanted, |_| {}).await;
        let mut before = Vec::new();
        for body in by_every_name() {
            before.push(rig.ask(&body).await.json());
        }
        assert_eq!(before[0]["imeisv"], "4901542032375180");
        assert!(before.windows(2).all(|two| two[0] == two[1]));
        rig.control.reset().await;
        rig.control.swap_device(FIRST, OTHER_PEI).await;
        for body in by_every_name() {
            let answer = rig.ask(&body).await.json();
            assert_eq!(answer["imeisv"], OTHER_IMEISV, "{body}");
            assert!(answer["lastChecked"].as_str() > before[0]["lastChecked"].as_str());
        }
        assert_eq!(rig.control.count(GET_3GPP).await, 0, "it was told");
    }
}

/// One that was never asked about, one without a device, and one whose device has no IMEI.
#[tokio::test]
async fn a_swap_of_anybody_shows() {
    let rig = fed(EQUIPMENT, |_| {}).await;
    for (number, supi, status) in [
        ("34600000003", "imsi-001010000000003", None),
        ("34600000007", "imsi-001010000000007", Some(404)),
        ("34600000005", "imsi-001010000000005", Some(422)),
    ] {
        let body = json!({"phoneNumber": number});
        if let Some(status) = status {
            let answer = rig.ask(&body).await;
            assert!(answer.status == status || answer.status == 404, "{number}");
        }
        rig.control.swap_device(supi, OTHER_PEI).await;
        assert_eq!(rig.ask(&body).await.json()["imeisv"], OTHER_IMEISV);
    }
}

#[tokio::test]
async fn a_device_is_believed_for_long_while_changes_are_told() {
    let rig = fed(EQUIPMENT, |config| {
        config.cache.equipment = Duration::from_millis(100);
    })
    .await;
    let body = json!({"phoneNumber": "123456789"});
    rig.ask(&body).await.is_imei("490154203237518");
    rig.control.reset().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    rig.ask(&body).await.is_imei("490154203237518");
    assert_eq!(rig.control.count(GET_3GPP).await, 0);
    // Whose number it is, is asked again all the same: the number may have moved.
    assert_eq!(rig.control.count(TRANSLATE).await, 1);
}

#[tokio::test]
async fn a_feed_that_breaks_makes_lifetimes_short_again() {
    let rig = fed(EQUIPMENT, |config| {
        config.cache.equipment = Duration::from_millis(300);
    })
    .await;
    let body = json!({"phoneNumber": "123456789"});
    rig.ask(&body).await.is_imei("490154203237518");
    rig.control
        .fault("CreateEeSubscription", &json!({"status": 500}))
        .await;
    notifications(rig.control, "lose").await;
    rig.control.swap_device(FIRST, OTHER_PEI).await;
    rig.ask(&body).await.is_imei("490154203237518");
    forget_subscriptions(rig.control).await;
    eventually("the loss shows", async || {
        (losses(&rig.bridge, "equipment").await > 0.5).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.ask(&body).await.json()["imeisv"], OTHER_IMEISV);
    // What is asked for without a feed has its short time.
    rig.control.reset().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.ask(&body).await;
    assert_eq!(rig.control.count(GET_3GPP).await, 1);
    rig.control.clear_faults().await;
    notifications(rig.control, "deliver").await;
    until_live(&rig.bridge, EQUIPMENT).await;
    // What was not told meanwhile is not believed for long.
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.control
        .swap_device(FIRST, "imeisv-4901542032375180")
        .await;
    rig.ask(&body).await.is_imei("490154203237518");
}

/// A phone number is no less known in an outage than its device.
#[tokio::test]
async fn a_device_is_answered_past_its_lifetime_while_the_core_is_down() {
    let rig = fed(EQUIPMENT, |config| {
        config.cache.equipment = Duration::from_millis(100);
        config.cache.equipment_past_lifetime = LONG;
    })
    .await;
    let body = json!({"phoneNumber": "123456789"});
    rig.ask(&body).await.is_imei("490154203237518");
    let down = [
        GET_3GPP,
        TRANSLATE,
        "CreateEeSubscription",
        "UpdateEeSubscription",
    ];
    for operation in down {
        rig.control.fault(operation, &json!({"status": 500})).await;
    }
    eventually("the loss shows", async || {
        (losses(&rig.bridge, "equipment").await > 0.5).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    rig.ask(&body).await.is_imei("490154203237518");
    let past = "pei_bridge_answers_past_lifetime_total";
    assert!(rig.bridge.metric(past, &[]).await > 0.5);
    // What was never known is not made up.
    let unknown = json!({"phoneNumber": "34600000002"});
    rig.ask(&unknown).await.is_error(502, "BAD_GATEWAY");
}

/// The answer of the core is on its way, with the old device in it, when the swap is told.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_overtaken_is_not_believed() {
    for lifetime in [Duration::ZERO, Duration::from_mins(1)] {
        let rig = fed(EQUIPMENT, |config| config.cache.equipment = lifetime).await;
        rig.control
            .fault(GET_3GPP, &json!({"latencyMs": 1000}))
            .await;
        let mut asking = Vec::new();
        for body in by_every_name() {
            let mut connection = Connection::http1(rig.bridge.api).await;
            let ask = Ask::identifier(&body);
            asking.push(tokio::spawn(async move { connection.send(&ask).await }));
        }
        eventually("the core is asked", async || {
            (rig.control.count(GET_3GPP).await >= 1).then_some(())
        })
        .await;
        rig.control.swap_device(FIRST, OTHER_PEI).await;
        rig.control.clear_faults().await;
        for answer in asking {
            assert_eq!(answer.await.unwrap().json()["imeisv"], OTHER_IMEISV);
        }
        for body in by_every_name() {
            assert_eq!(rig.ask(&body).await.json()["imeisv"], OTHER_IMEISV);
        }
    }
}

/// The device is swapped again and again while everybody asks by every name. Whatever is asked
/// after a swap was acknowledged is answered with the new one.
#[tokio::test(flavor = "multi_thread")]
async fn no_old_device_is_answered_under_load() {
    const ROUNDS: usize = 30;
    let devices: Vec<String> = (0..ROUNDS)
        .map(|round| format!("35693803123{round:05}"))
        .collect();
    let rig = fed(
        Wanted {
            sessions: true,
            ..EQUIPMENT
        },
        |_| {},
    )
    .await;
    // Answers that are underway for longer than it takes to tell.
    rig.control.fault(GET_3GPP, &json!({"latencyMs": 20})).await;
    rig.control
        .swap_device(FIRST, &format!("imeisv-{}", devices[0]))
        .await;
    let told = Arc::new(AtomicUsize::new(0));
    let end = Instant::now() + Duration::from_mins(1);
    let mut asking = Vec::new();
    for body in by_every_name().into_iter().cycle().take(10) {
        let mut connection = Connection::http2(rig.bridge.api).await;
        let (told, devices) = (told.clone(), devices.clone());
        asking.push(tokio::spawn(async move {
            let ask = Ask::identifier(&body);
            let mut answers = 0;
            while told.load(Ordering::SeqCst) < ROUNDS && Instant::now() < end {
                let at_least = told.load(Ordering::SeqCst).min(ROUNDS - 1);
                let answer = connection.send(&ask).await.json();
                let imeisv = answer["imeisv"].as_str().unwrap();
                let round = devices.iter().position(|device| device == imeisv);
                assert!(round.unwrap() >= at_least, "{round:?} after {at_least}");
                answers += 1;
            }
            answers
        }));
    }
    for (round, device) in devices.iter().enumerate().skip(1) {
        rig.control
            .swap_device(FIRST, &format!("imeisv-{device}"))
            .await;
        told.store(round, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    told.store(ROUNDS, Ordering::SeqCst);
    for answers in asking {
        assert!(answers.await.unwrap() > ROUNDS / 3);
    }
}

/// A report about a number whose subscription cannot be found out, or that leads to nobody, is not
/// acknowledged: the device may be remembered by another name.
#[tokio::test]
async fn a_report_that_cannot_be_understood_breaks_the_feed() {
    for fault in [
        json!({"status": 500}),
        json!({"status": 404, "cause": "USER_NOT_FOUND"}),
    ] {
        let rig = fed(EQUIPMENT, |config| {
            config.cache.equipment = Duration::from_millis(100);
        })
        .await;
        let body = json!({"networkAccessIdentifier": "123456789@domain.com"});
        rig.ask(&body).await.is_imei("490154203237518");
        rig.control.fault(TRANSLATE, &fault).await;
        rig.control.swap_device(FIRST, OTHER_PEI).await;
        until_new_after_gap(&rig, &body).await;
    }
}

/// Notifications overtake each other, and are sent again.
#[tokio::test]
async fn an_older_report_takes_nothing_away_from_a_newer_one() {
    let rig = fed(EQUIPMENT, |_| {}).await;
    let path = path_of(&rig, "equipment").await;
    let ask = notification(&path, &report());
    let remembered = json!({"phoneNumber": "123456789"});
    rig.ask(&remembered).await.is_imei("490154203237518");
    rig.control
        .swap_device(FIRST, "imeisv-3569380356438201")
        .await;
    // The core reported this one before, and of this subscriber nothing is remembered.
    let of_another = report().to_string().replace("123456789", "34600000002");
    for ask in [ask.clone(), ask.body(of_another)] {
        assert_eq!(post(&rig, &ask).await, 204);
    }
    let answer = rig.ask(&remembered).await;
    assert_eq!(answer.json()["imeisv"], "3569380356438201");
    let forgotten = json!({"phoneNumber": "34600000002"});
    rig.ask(&forgotten).await.is_imei("356938035643809");
}

/// The core does not wait for the acknowledgement until the subscription is found out.
#[tokio::test]
async fn a_report_that_the_core_gave_up_breaks_the_feed() {
    let rig = fed(EQUIPMENT, |config| {
        config.cache.equipment = Duration::from_millis(100);
    })
    .await;
    let body = json!({"phoneNumber": "123456789"});
    rig.ask(&body).await.is_imei("490154203237518");
    let path = path_of(&rig, "equipment").await;
    // The same happened in the core, which tells of it a little later.
    notifications(rig.control, "lose").await;
    rig.control.swap_device(FIRST, OTHER_PEI).await;
    rig.control.reset().await;
    rig.control.fault(TRANSLATE, &json!({"mode": "hang"})).await;
    let mut connection = Connection::http2(callback(&rig)).await;
    let ask = notification(&path, &report());
    let asking = tokio::spawn(async move { connection.try_send(&ask).await.is_ok() });
    eventually("the subscription is asked for", async || {
        (rig.control.count(TRANSLATE).await > 0).then_some(())
    })
    .await;
    asking.abort();
    until_new_after_gap(&rig, &body).await;
}

async fn until_new_after_gap(rig: &Rig, body: &Value) {
    eventually("the gap shows", async || {
        (losses(&rig.bridge, "equipment").await > 0.5).then_some(())
    })
    .await;
    rig.control.clear_faults().await;
    eventually("the new device shows", async || {
        let answer = rig.ask(body).await;
        (answer.status == 200 && answer.json()["imeisv"] == OTHER_IMEISV).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_core_without_the_service_is_asked_as_before() {
    let rig = Rig::configured(|config| feed(config, EQUIPMENT)).await;
    until_live(&rig.bridge, EQUIPMENT).await;
    rig.control
        .fault("CreateEeSubscription", &json!({"status": 501}))
        .await;
    forget_subscriptions(rig.control).await;
    eventually("the feed is down", async || {
        (live(&rig.bridge, "equipment").await < 0.5).then_some(())
    })
    .await;
    for body in by_every_name() {
        rig.ask(&body).await.is_imei("490154203237518");
    }
}
