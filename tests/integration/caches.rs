//! What is remembered, how long, and what never is (core.md, caches).

use std::time::Duration;

use pei_bridge::config::ConsentMode;
use serde_json::{Value, json};

use crate::support::client::{Ask, Connection};
use crate::support::control::{
    Control, GET_3GPP, GET_BINDINGS, GET_NON_3GPP, GET_UC_DATA, TRANSLATE, UE_IP_INFO,
};
use crate::support::{PATIENCE, Rig, eventually};

const FIRST: &str = "imsi-001010000000001";

fn first() -> Value {
    json!({"phoneNumber": "123456789"})
}

/// Adds a subscriber whose session has this address and no NAT.
async fn with_address(control: Control, number: u8, pei: &str, address: &str) {
    control
        .put(&json!({
            "supi": format!("imsi-0010100000000{number}"),
            "gpsis": [format!("msisdn-346000000{number}")],
            "amf3gpp": {"pei": pei, "registrationTime": "2026-01-15T08:00:00.000Z"},
            "sessions": [session(address)],
        }))
        .await;
}

fn session(address: &str) -> Value {
    json!({"pduSessionId": 1, "ipv4Addr": address})
}

fn by_address(address: &str) -> Value {
    json!({"ipv4Address": {"publicAddress": address, "publicPort": 4000}})
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_requests_for_one_cold_subscriber_make_one_call() {
    let rig = Rig::start().await;
    rig.control
        .fault(GET_3GPP, &json!({"latencyMs": 200}))
        .await;
    let connections = (0..50).map(async |index| {
        if index % 2 == 0 {
            Connection::http1(rig.bridge.api).await
        } else {
            Connection::http2(rig.bridge.api).await
        }
    });
    let mut tasks = Vec::new();
    for connection in connections {
        let mut connection = connection.await;
        let ask = Ask::identifier(&first());
        tasks.push(tokio::spawn(async move { connection.send(&ask).await }));
    }
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap().json());
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]));
    assert_eq!(answers[0]["lastChecked"], "2024-02-20T10:41:38.657Z");
    assert_eq!(rig.control.total().await, 1);
    // The next one makes none, however it arrives.
    let again = rig.ask(&first()).await;
    assert_eq!(again.json(), answers[0]);
    let type_alone = rig.ask_type(&first()).await;
    assert_eq!(type_alone.json()["lastChecked"], answers[0]["lastChecked"]);
    assert_eq!(rig.control.total().await, 1);
    assert!(
        rig.bridge
            .metric("pei_bridge_cache_requests_total", &["equipment", "hit"])
            .await
            > 1.5
    );
}

#[tokio::test]
async fn a_cold_address_is_asked_for_once_as_well() {
    let rig = Rig::start().await;
    for operation in [UE_IP_INFO, GET_BINDINGS] {
        rig.control
            .fault(operation, &json!({"latencyMs": 500}))
            .await;
    }
    let body = json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765}});
    let connection = Connection::http2(rig.bridge.api).await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (mut connection, ask) = (connection.clone(), Ask::identifier(&body));
            tokio::spawn(async move { connection.send(&ask).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().is_imei("490154203237518");
    }
    for operation in [UE_IP_INFO, GET_BINDINGS, GET_3GPP] {
        assert_eq!(rig.control.count(operation).await, 1, "{operation}");
    }
}

/// Old device with new time, or the other way round, would be a lie.
#[tokio::test]
async fn a_device_swap_shows_when_the_lifetime_has_passed() {
    let rig = Rig::configured(|config| config.cache.equipment = Duration::from_millis(300)).await;
    let before = rig.ask(&first()).await.json();
    rig.control
        .swap_device(FIRST, "imeisv-3569380312345101")
        .await;
    let after = eventually("the new device shows", async || {
        let now = rig.ask(&first()).await.json();
        if now == before {
            return None;
        }
        Some(now)
    })
    .await;
    assert_eq!(after["imeisv"], "3569380312345101");
    assert_eq!(after["model"], "Phone One");
    assert!(after["lastChecked"].as_str() > before["lastChecked"].as_str());
    assert_ne!(after["lastChecked"], before["lastChecked"]);
}

#[tokio::test]
async fn the_memory_holds_while_it_is_young() {
    let rig = Rig::start().await;
    let before = rig.ask(&first()).await.json();
    rig.control
        .swap_device(FIRST, "imeisv-3569380312345101")
        .await;
    assert_eq!(rig.ask(&first()).await.json(), before);
    assert_eq!(rig.control.total().await, 1);
}

#[tokio::test]
async fn nothing_there_is_remembered_for_its_own_time() {
    let rig = Rig::configured(|config| config.cache.none_found = Duration::from_secs(1)).await;
    let body = json!({"phoneNumber": "34600000007"});
    for _ in 0..3 {
        rig.ask(&body).await.is_error(404, "NOT_FOUND");
    }
    assert_eq!(rig.control.count(GET_3GPP).await, 1);
    rig.control
        .swap_device("imsi-001010000000007", "imeisv-3569380312345101")
        .await;
    eventually("the device shows", async || {
        let answer = rig.ask(&body).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn zero_seconds_switch_a_cache_off() {
    let rig = Rig::configured(|config| {
        config.cache.equipment = Duration::ZERO;
        config.cache.none_found = Duration::ZERO;
    })
    .await;
    for (body, calls) in [(first(), 3), (json!({"phoneNumber": "34999999999"}), 3)] {
        rig.control.reset().await;
        for _ in 0..3 {
            rig.ask(&body).await;
        }
        assert_eq!(rig.control.count(GET_3GPP).await, calls, "{body}");
    }
    // A swap shows at once.
    rig.ask(&first()).await.is_imei("490154203237518");
    rig.control
        .swap_device(FIRST, "imeisv-3569380312345101")
        .await;
    assert_eq!(rig.ask(&first()).await.json()["imeisv"], "3569380312345101");
}

/// A fault is no knowledge: it is not remembered.
#[tokio::test]
async fn faults_are_not_remembered() {
    let rig = Rig::start().await;
    rig.control.fault(GET_3GPP, &json!({"status": 500})).await;
    rig.ask(&first()).await.is_error(502, "BAD_GATEWAY");
    rig.control.clear_faults().await;
    rig.ask(&first()).await.is_imei("490154203237518");
}

#[tokio::test]
async fn an_address_that_moved_to_another_subscriber_is_answered_at_once() {
    let rig = Rig::start().await;
    let address = "198.51.100.50";
    with_address(rig.control, 31, "imeisv-3569380312345101", address).await;
    with_address(rig.control, 32, "imeisv-3529920912345602", "198.51.100.51").await;
    for _ in 0..2 {
        let answer = rig.ask(&by_address(address)).await;
        assert_eq!(answer.json()["imeisv"], "3569380312345101");
    }
    rig.control.release_session("imsi-001010000000031:1").await;
    rig.ask(&by_address(address))
        .await
        .is_error(404, "NOT_FOUND");
    let mut taken_over = session(address);
    taken_over["supi"] = "imsi-001010000000032".into();
    rig.control.start_session(&taken_over).await;
    let answer = rig.ask(&by_address(address)).await;
    assert_eq!(answer.json()["imeisv"], "3529920912345602");
    // The old address of the new owner is nobody's: its session was replaced.
    rig.ask(&by_address("198.51.100.51"))
        .await
        .is_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn sessions_are_kept_where_the_operator_says_so() {
    let rig = Rig::configured(|config| config.cache.session = Duration::from_secs(1)).await;
    let body = json!({"ipv6Address": "2001:db8:85a3:8d3::1"});
    for _ in 0..3 {
        rig.ask(&body).await.is_imei("490154203237518");
    }
    assert_eq!(rig.control.count(GET_BINDINGS).await, 1);
    rig.control.release_session(&format!("{FIRST}:1")).await;
    eventually("the lifetime passes", async || {
        (rig.ask(&body).await.status == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_leaves_does_not_take_the_answer_from_the_others() {
    let rig = Rig::configured(|config| config.api.request_timeout = PATIENCE).await;
    rig.control
        .fault(GET_3GPP, &json!({"latencyMs": 1500}))
        .await;
    let send = |mut connection: Connection| {
        tokio::spawn(async move { connection.send(&Ask::identifier(&first())).await })
    };
    let connection = Connection::http2(rig.bridge.api).await;
    let leader = send(connection.clone());
    eventually("the leader asks", async || {
        (rig.control.count(GET_3GPP).await == 1).then_some(())
    })
    .await;
    let followers = [
        send(connection.clone()),
        send(Connection::http1(rig.bridge.api).await),
    ];
    eventually("the followers are in work", async || {
        let in_work = rig
            .bridge
            .metric("pei_bridge_requests_in_flight", &[])
            .await;
        (in_work > 2.5).then_some(())
    })
    .await;
    leader.abort();
    for follower in followers {
        follower.await.unwrap().is_imei("490154203237518");
    }
    // The call of the leader went with it; one of the others asked for both.
    assert_eq!(rig.control.total().await, 2);
}

/// A late follower of a flight that runs into its deadline has time of its own left.
#[tokio::test]
async fn a_late_follower_is_not_ended_by_the_deadline_of_the_leader() {
    let rig = Rig::configured(|config| config.api.request_timeout = Duration::from_secs(2)).await;
    rig.control.fault(GET_3GPP, &json!({"mode": "hang"})).await;
    let mut leader = Connection::http1(rig.bridge.api).await;
    let leader = tokio::spawn(async move { leader.send(&Ask::identifier(&first())).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut follower = Connection::http1(rig.bridge.api).await;
    let follower = tokio::spawn(async move { follower.send(&Ask::identifier(&first())).await });
    eventually("both wait for one flight", async || {
        let in_work = rig
            .bridge
            .metric("pei_bridge_requests_in_flight", &[])
            .await;
        (in_work > 1.5).then_some(())
    })
    .await;
    rig.control.clear_faults().await;
    leader.await.unwrap().is_error(504, "TIMEOUT");
    follower.await.unwrap().is_imei("490154203237518");
}

#[tokio::test]
async fn the_caches_are_measured() {
    let rig = Rig::start().await;
    rig.ask(&first()).await;
    rig.ask(&first()).await;
    rig.ask(&json!({"phoneNumber": "34999999999"})).await;
    for (labels, count) in [
        (["equipment", "hit"], 1.0),
        (["equipment", "miss"], 2.0),
        (["equipment", "negative_hit"], 0.0),
    ] {
        let seen = rig
            .bridge
            .metric("pei_bridge_cache_requests_total", &labels)
            .await;
        assert!((seen - count).abs() < 0.1, "{labels:?}: {seen}");
    }
    for kind in ["kind=\"found\"", "kind=\"none_found\""] {
        eventually("the size shows", async || {
            let size = rig
                .bridge
                .metric("pei_bridge_cache_entries", &["equipment", kind])
                .await;
            ((size - 1.0).abs() < 0.1).then_some(())
        })
        .await;
    }
}

/// A device that is remembered for a moment, and told past that while the core gives no answer.
async fn told_in_an_outage(past_lifetime: Duration, mode: ConsentMode) -> Rig {
    let rig = Rig::configured(|config| {
        config.cache.equipment = MOMENT;
        config.cache.equipment_past_lifetime = past_lifetime;
        config.cache.consent = MOMENT;
        config.cache.none_found = Duration::ZERO;
        config.consent.mode = mode;
    })
    .await;
    assert_eq!(rig.ask(&first()).await.status, 200);
    rig
}

const MOMENT: Duration = Duration::from_millis(20);

/// Lets the core answer like this, and waits until nothing that is remembered is believed.
async fn outage(rig: &Rig, fault: &Value) {
    for operation in [GET_3GPP, GET_NON_3GPP, GET_UC_DATA, TRANSLATE] {
        rig.control.fault(operation, fault).await;
    }
    tokio::time::sleep(MOMENT).await;
}

#[tokio::test]
async fn in_an_outage_a_device_is_told_past_its_lifetime_with_its_own_time() {
    let rig = told_in_an_outage(PATIENCE, ConsentMode::None).await;
    let last_checked = rig.ask(&first()).await.json()["lastChecked"].clone();
    for fault in [
        json!({"status": 503}),
        json!({"status": 500}),
        json!({"status": 504}),
        json!({"mode": "refuse-stream"}),
    ] {
        outage(&rig, &fault).await;
        let answer = rig.ask(&first()).await;
        assert_eq!(answer.status, 200, "{fault}");
        assert_eq!(answer.json()["lastChecked"], last_checked, "{fault}");
    }
    let told = rig
        .bridge
        .metric("pei_bridge_answers_past_lifetime_total", &[]);
    assert!((told.await - 4.0).abs() < 0.5);
    // Nobody was asked about this one before.
    let unknown = rig.ask(&json!({"phoneNumber": "34600000002"})).await;
    assert_eq!(unknown.status, 503);
}

/// Who is turned away here has not heard that the core gives no answer.
#[tokio::test]
async fn too_many_who_wait_are_no_outage() {
    let rig = Rig::configured(|config| {
        config.cache.equipment = MOMENT;
        config.cache.equipment_past_lifetime = PATIENCE;
        config.api.max_requests_waiting = Some(1);
    })
    .await;
    assert_eq!(rig.ask(&first()).await.status, 200);
    outage(&rig, &json!({"mode": "hang"})).await;
    let mut connection = Connection::http1(rig.bridge.api).await;
    let ask = Ask::identifier(&json!({"phoneNumber": "34600000002"}));
    let waiting = tokio::spawn(async move { connection.send(&ask).await.status });
    eventually("somebody waits", async || {
        let waits = rig.bridge.metric("pei_bridge_requests_waiting", &[]).await;
        (waits > 0.5).then_some(())
    })
    .await;
    rig.ask(&first()).await.is_error(503, "UNAVAILABLE");
    waiting.abort();
}

#[tokio::test]
async fn what_the_core_says_after_an_outage_counts_at_once_and_stays() {
    let rig = told_in_an_outage(PATIENCE, ConsentMode::None).await;
    outage(&rig, &json!({"status": 404, "cause": "CONTEXT_NOT_FOUND"})).await;
    assert_eq!(rig.ask(&first()).await.status, 404);
    outage(&rig, &json!({"status": 503})).await;
    assert_eq!(rig.ask(&first()).await.status, 503, "the device has gone");
}

#[tokio::test]
async fn no_device_is_told_longer_than_is_configured_or_on_consent_of_the_past() {
    for (past_lifetime, mode) in [
        (Duration::ZERO, ConsentMode::None),
        (Duration::from_millis(1), ConsentMode::None),
        (PATIENCE, ConsentMode::Core),
    ] {
        let rig = told_in_an_outage(past_lifetime, mode).await;
        outage(&rig, &json!({"status": 503})).await;
        tokio::time::sleep(MOMENT).await;
        assert_eq!(rig.ask(&first()).await.status, 503, "{past_lifetime:?}");
    }
}
