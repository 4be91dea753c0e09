//! `lastChecked` is the core's time, never the moment of the request (core.md).

use pei_bridge::config::LastChecked;
use serde_json::{Value, json};

use crate::support::Rig;

const NUMBER: &str = "34600000040";
const PEI: &str = "imeisv-3569380312345101";

/// The answer for a subscriber with these members in its registration.
async fn checked(rig: &Rig, members: Value) -> String {
    let mut registration = members;
    registration["pei"] = PEI.into();
    rig.control.register(NUMBER, &registration).await;
    let answer = rig.ask(&json!({ "phoneNumber": NUMBER })).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()["lastChecked"].as_str().unwrap().to_owned()
}

fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

/// The whole second: what a `date` header can say.
fn seconds(time: &str) -> &str {
    &time[.."2024-02-20T10:41:38".len()]
}

#[tokio::test]
async fn the_newer_of_both_times_counts_and_is_cut_to_milliseconds() {
    let rig = Rig::uncached().await;
    for (members, expected) in [
        (
            json!({"registrationTime": "2026-01-02T03:04:05.678Z"}),
            "2026-01-02T03:04:05.678Z",
        ),
        (
            json!({"lastSynchronizationTime": "2026-01-02T03:04:05.678Z"}),
            "2026-01-02T03:04:05.678Z",
        ),
        (
            json!({"registrationTime": "2026-01-02T03:04:05Z",
                "lastSynchronizationTime": "2026-01-03T00:00:00Z"}),
            "2026-01-03T00:00:00.000Z",
        ),
        (
            json!({"registrationTime": "2026-01-03T00:00:00Z",
                "lastSynchronizationTime": "2026-01-02T03:04:05Z"}),
            "2026-01-03T00:00:00.000Z",
        ),
        // Compared as times, not as text.
        (
            json!({"registrationTime": "2026-01-02T23:00:00-02:00",
                "lastSynchronizationTime": "2026-01-03T00:30:00Z"}),
            "2026-01-03T01:00:00.000Z",
        ),
        (
            json!({"registrationTime": "2026-01-02T03:04:05.6789Z"}),
            "2026-01-02T03:04:05.678Z",
        ),
        (
            json!({"registrationTime": "2026-01-02T03:04:05.999999999Z"}),
            "2026-01-02T03:04:05.999Z",
        ),
        (
            json!({"registrationTime": "2026-01-02T03:04:05.1+05:30"}),
            "2026-01-01T21:34:05.100Z",
        ),
    ] {
        assert_eq!(checked(&rig, members.clone()).await, expected, "{members}");
    }
}

#[tokio::test]
async fn a_time_to_come_is_now() {
    let rig = Rig::uncached().await;
    for members in [
        json!({"registrationTime": "2999-01-01T00:00:00Z"}),
        json!({"registrationTime": "2026-01-01T00:00:00Z",
            "lastSynchronizationTime": "2999-01-01T00:00:00Z"}),
    ] {
        let before = now();
        let checked = checked(&rig, members).await;
        assert!(
            before <= checked && checked <= now(),
            "{before} {checked} {}",
            now()
        );
    }
}

#[tokio::test]
async fn without_a_time_the_date_of_the_answer_counts() {
    let rig = Rig::uncached().await;
    let before = now();
    let time = checked(&rig, json!({})).await;
    assert_eq!(&time[time.len() - 5..], ".000Z", "{time}");
    assert!(
        seconds(&before) <= seconds(&time) && time <= now(),
        "{before} {time}"
    );
    let missing = rig
        .bridge
        .metric("pei_bridge_core_time_missing_total", &[])
        .await;
    assert!(missing.abs() < 0.1, "the core did give a time");
}

#[tokio::test]
async fn the_date_is_preferred_where_the_operator_says_so() {
    let rig = Rig::configured(|config| config.core.last_checked = LastChecked::Date).await;
    let before = now();
    let members = json!({"registrationTime": "2026-01-02T03:04:05.678Z"});
    let time = checked(&rig, members).await;
    assert!(
        seconds(&before) <= seconds(&time) && time <= now(),
        "{before} {time}"
    );
    // From memory it is the stored one still.
    let again = rig.ask(&json!({ "phoneNumber": NUMBER })).await;
    assert_eq!(again.json()["lastChecked"], time);
}

#[tokio::test]
async fn a_time_of_a_wrong_form_is_a_fault_of_the_core() {
    let rig = Rig::uncached().await;
    for time in [
        json!(""),
        json!("yesterday"),
        json!("2026-01-02"),
        json!("2026-13-02T03:04:05Z"),
        json!("2026-01-02T03:04:05"),
        json!(1_767_225_600),
        json!({}),
    ] {
        for name in ["registrationTime", "lastSynchronizationTime"] {
            let members = json!({"pei": PEI, name: time});
            rig.control.register(NUMBER, &members).await;
            let answer = rig.ask(&json!({ "phoneNumber": NUMBER })).await;
            assert_eq!(answer.status, 502, "{members}: {}", answer.json());
        }
    }
}
