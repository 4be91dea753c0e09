//! Whatever the core does, the consumer gets the status of core.md, in time; and the first request
//! after a fault is answered.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::control::{GET_3GPP, GET_BINDINGS, GET_NON_3GPP, TRANSLATE, UE_IP_INFO};
use crate::support::{PATIENCE, Rig, SHORT_DEADLINE};

fn by_number() -> Value {
    json!({"phoneNumber": "123456789"})
}

fn by_ipv6() -> Value {
    json!({"ipv6Address": "2001:db8:85a3:8d3::1"})
}

fn by_ipv4() -> Value {
    json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765}})
}

/// A fault, what the consumer gets, and how often the faulty operation may be asked at most.
type Row = (Value, u16, &'static str, u64);

fn transport_faults() -> Vec<Row> {
    vec![
        (json!({"mode": "hang"}), 504, "TIMEOUT", 1),
        (json!({"latencyMs": 60_000}), 504, "TIMEOUT", 1),
        (json!({"mode": "reset"}), 502, "BAD_GATEWAY", 1),
        (json!({"mode": "garbage"}), 502, "BAD_GATEWAY", 1),
        (json!({"mode": "empty"}), 502, "BAD_GATEWAY", 1),
        (json!({"mode": "truncate"}), 502, "BAD_GATEWAY", 1),
        (json!({"mode": "refuse-stream"}), 503, "UNAVAILABLE", 3),
        (json!({"mode": "goaway"}), 503, "UNAVAILABLE", 3),
    ]
}

/// What every operation has in common.
fn status_faults() -> Vec<Row> {
    let mut rows = vec![
        (json!({"status": 429}), 503, "UNAVAILABLE", 1),
        (json!({"status": 503}), 503, "UNAVAILABLE", 1),
        (
            json!({"status": 503, "cause": "NF_CONGESTION"}),
            503,
            "UNAVAILABLE",
            1,
        ),
        (
            json!({"status": 403, "cause": "MODIFICATION_NOT_ALLOWED"}),
            502,
            "BAD_GATEWAY",
            1,
        ),
    ];
    for status in [401, 405, 406, 410, 411, 413, 415, 418] {
        rows.push((json!({ "status": status }), 502, "BAD_GATEWAY", 1));
    }
    for status in [500, 501, 502, 504, 505, 599] {
        rows.push((json!({ "status": status }), 502, "BAD_GATEWAY", 1));
        let with_cause = json!({"status": status, "cause": "SYSTEM_FAILURE"});
        rows.push((with_cause, 502, "BAD_GATEWAY", 1));
    }
    rows
}

async fn meets(rig: &Rig, operation: &str, body: &Value, rows: Vec<Row>) {
    for (fault, status, code, calls) in rows {
        rig.control.fault(operation, &fault).await;
        rig.control.reset().await;
        let begun = Instant::now();
        let answer = rig.ask(body).await;
        let took = begun.elapsed();
        let what = format!("{operation} {fault}: {}", answer.json());
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{what}"
        );
        // Far below what a missed deadline would take.
        assert!(took < SHORT_DEADLINE + PATIENCE / 4, "{what}: {took:?}");
        assert!(
            status != 504 || took >= SHORT_DEADLINE / 2,
            "{what}: {took:?}"
        );
        let asked = rig.control.count(operation).await;
        assert!((1..=calls).contains(&asked), "{what}: asked {asked} times");
        rig.control.clear_faults().await;
        let after = rig.ask(body).await;
        assert_eq!(after.status, 200, "after {what}: {}", after.json());
        after.is_imei("490154203237518");
    }
}

#[tokio::test]
async fn faults_of_the_udm() {
    let rig = Rig::uncached().await;
    let mut rows = transport_faults();
    rows.extend(status_faults());
    rows.extend([
        (json!({"status": 400}), 502, "BAD_GATEWAY", 1),
        (
            json!({"status": 400, "cause": "MANDATORY_IE_INCORRECT"}),
            502,
            "BAD_GATEWAY",
            1,
        ),
        (json!({"status": 404}), 404, "NOT_FOUND", 1),
        (
            json!({"status": 404, "cause": "USER_NOT_FOUND"}),
            404,
            "NOT_FOUND",
            1,
        ),
        (
            json!({"status": 404, "cause": "CONTEXT_NOT_FOUND"}),
            404,
            "NOT_FOUND",
            1,
        ),
        (
            json!({"status": 404, "cause": "DATA_NOT_FOUND"}),
            404,
            "NOT_FOUND",
            1,
        ),
        (
            json!({"status": 404, "cause": "RESOURCE_URI_STRUCTURE_NOT_FOUND"}),
            502,
            "BAD_GATEWAY",
            1,
        ),
        (json!({"status": 403}), 404, "NOT_FOUND", 1),
        (
            json!({"status": 403, "cause": "OPERATION_NOT_ALLOWED"}),
            502,
            "BAD_GATEWAY",
            1,
        ),
    ]);
    meets(&rig, GET_3GPP, &by_number(), rows).await;
}

/// The first subscriber has no registration there, so the fault decides for those without one.
#[tokio::test]
async fn faults_of_the_udm_over_non_3gpp_access() {
    let rig = Rig::uncached().await;
    let wifi = json!({"phoneNumber": "34600000008"});
    let mut rows = transport_faults();
    rows.push((json!({"status": 500}), 502, "BAD_GATEWAY", 1));
    rows.push((json!({"status": 503}), 503, "UNAVAILABLE", 1));
    rows.push((json!({"status": 403}), 404, "NOT_FOUND", 1));
    rows.push((json!({"status": 404}), 404, "NOT_FOUND", 1));
    for (fault, status, code, _) in rows {
        rig.control.fault(GET_NON_3GPP, &fault).await;
        let answer = rig.ask(&wifi).await;
        let what = format!("{fault}: {}", answer.json());
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{what}"
        );
        rig.control.clear_faults().await;
        let after = rig.ask(&wifi).await;
        assert_eq!(after.json()["imeisv"], "3569380312345804", "after {what}");
    }
}

/// Both refusals that a real core gave to an unregistered subscriber lead to the other access.
#[tokio::test]
async fn no_registration_over_3gpp_access_leads_to_the_other() {
    let rig = Rig::uncached().await;
    for (fault, status) in [
        (json!({"status": 404, "cause": "CONTEXT_NOT_FOUND"}), 200),
        (json!({"status": 404}), 200),
        (json!({"status": 403}), 200),
        (json!({"status": 404, "cause": "USER_NOT_FOUND"}), 404),
    ] {
        rig.control.fault(GET_3GPP, &fault).await;
        rig.control.reset().await;
        let answer = rig.ask(&json!({"phoneNumber": "34600000008"})).await;
        assert_eq!(answer.status, status, "{fault}: {}", answer.json());
        let asked = rig.control.count(GET_NON_3GPP).await;
        assert_eq!(asked, u64::from(status == 200), "{fault}");
        rig.control.clear_faults().await;
    }
}

#[tokio::test]
async fn faults_of_the_bsf() {
    let rig = Rig::uncached().await;
    // Teaches the dialect, so that each request asks once.
    assert_eq!(rig.ask(&by_ipv6()).await.status, 200);
    for body in [by_ipv6(), by_ipv4()] {
        let mut rows = transport_faults();
        rows.extend(status_faults());
        rows.extend([
            (json!({"status": 400}), 502, "BAD_GATEWAY", 1),
            (json!({"status": 403}), 502, "BAD_GATEWAY", 1),
            (json!({"status": 404}), 404, "NOT_FOUND", 1),
            (
                json!({"status": 404, "cause": "USER_NOT_FOUND"}),
                404,
                "NOT_FOUND",
                1,
            ),
            (
                json!({"status": 404, "cause": "ANYTHING_ELSE"}),
                404,
                "NOT_FOUND",
                1,
            ),
        ]);
        meets(&rig, GET_BINDINGS, &body, rows).await;
    }
}

#[tokio::test]
async fn a_bsf_that_refuses_both_dialects_is_a_bad_gateway() {
    let rig = Rig::uncached().await;
    rig.control
        .fault(GET_BINDINGS, &json!({"status": 400}))
        .await;
    rig.ask(&by_ipv6()).await.is_error(502, "BAD_GATEWAY");
    assert_eq!(rig.control.count(GET_BINDINGS).await, 2);
    rig.control.clear_faults().await;
    rig.ask(&by_ipv6()).await.is_imei("490154203237518");
}

#[tokio::test]
async fn faults_of_the_upf() {
    let rig = Rig::uncached().await;
    let mut rows = transport_faults();
    rows.extend(status_faults());
    rows.extend([
        (json!({"status": 400}), 502, "BAD_GATEWAY", 1),
        (json!({"status": 403}), 502, "BAD_GATEWAY", 1),
        (json!({"status": 404}), 404, "NOT_FOUND", 1),
        (
            json!({"status": 404, "cause": "CONTEXT_NOT_FOUND"}),
            404,
            "NOT_FOUND",
            1,
        ),
    ]);
    meets(&rig, UE_IP_INFO, &by_ipv4(), rows).await;
}

#[tokio::test]
async fn faults_of_the_translation() {
    let rig = Rig::configured(|config| {
        crate::support::without_caches(config);
        config.core.gpsi_to_supi = pei_bridge::config::GpsiToSupi::Translation;
    })
    .await;
    let mut rows = transport_faults();
    rows.extend(status_faults());
    rows.extend([
        (json!({"status": 400}), 502, "BAD_GATEWAY", 1),
        (json!({"status": 403}), 502, "BAD_GATEWAY", 1),
        (json!({"status": 404}), 404, "NOT_FOUND", 1),
        (
            json!({"status": 404, "cause": "USER_NOT_FOUND"}),
            404,
            "NOT_FOUND",
            1,
        ),
        (
            json!({"status": 404, "cause": "SOMETHING_ELSE"}),
            502,
            "BAD_GATEWAY",
            1,
        ),
    ]);
    meets(&rig, TRANSLATE, &by_number(), rows).await;
    rig.control.reset().await;
    assert_eq!(rig.ask(&by_number()).await.status, 200);
    assert_eq!(rig.control.count(TRANSLATE).await, 1);
    assert_eq!(rig.control.total().await, 2);
}

#[tokio::test]
async fn retry_after_is_passed_on() {
    let rig = Rig::uncached().await;
    for (operation, body) in [
        (GET_3GPP, by_number()),
        (GET_BINDINGS, by_ipv6()),
        (UE_IP_INFO, by_ipv4()),
    ] {
        for status in [429, 503] {
            for seconds in [1, 17, 86_400] {
                let fault = json!({"status": status, "retryAfter": seconds});
                rig.control.fault(operation, &fault).await;
                let answer = rig.ask(&body).await;
                answer.is_error(503, "UNAVAILABLE");
                let told = answer.header("retry-after").map(str::to_owned);
                assert_eq!(told, Some(seconds.to_string()), "{operation} {fault}");
                rig.control.clear_faults().await;
                // However long that is: the core is asked again at once, and is well.
                rig.ask(&body).await.is_imei("490154203237518");
            }
            rig.control
                .fault(operation, &json!({ "status": status }))
                .await;
            let answer = rig.ask(&body).await;
            assert_eq!(answer.header("retry-after"), None, "where known");
            rig.control.clear_faults().await;
        }
    }
}

#[tokio::test]
async fn a_member_that_is_read_must_have_its_form() {
    let rig = Rig::uncached().await;
    let number = "34600000041";
    for (name, value) in [
        ("pei", json!("imei-35693803564380")),
        ("pei", json!("imei-3569380356438000")),
        ("pei", json!("imei-35693803564380a")),
        ("pei", json!("imeisv-356938035643820")),
        ("pei", json!("imeisv-35693803564382011")),
        ("pei", json!("imeisv-")),
        ("pei", json!("mac-00-00-5E-00-53")),
        ("pei", json!("eui-00-00-5E-00-53-01")),
        ("pei", json!("")),
        ("pei", json!(3_569_380)),
        ("pei", json!(["imei-356938035643809"])),
        ("purgeFlag", json!("true")),
        ("purgeFlag", json!(1)),
    ] {
        let mut registration = json!({"pei": "imei-356938035643809",
            "registrationTime": "2026-01-15T08:00:00Z"});
        registration[name] = value;
        rig.control.register(number, &registration).await;
        let answer = rig.ask(&json!({ "phoneNumber": number })).await;
        assert_eq!(answer.status, 502, "{registration}: {}", answer.json());
    }
    // What is not read may be anything, and what is missing may be missing.
    for registration in [
        json!({"pei": "imei-356938035643809", "registrationTime": "2026-01-15T08:00:00Z",
            "guami": 1, "ratType": null, "amfInstanceId": [], "x": {"y": "z"}}),
        json!({"pei": "imei-356938035643809", "purgeFlag": null}),
    ] {
        rig.control.register(number, &registration).await;
        rig.ask(&json!({ "phoneNumber": number }))
            .await
            .is_imei("356938035643809");
    }
}

/// A fault that comes and goes: nothing worse than its own status, and never a lost request.
#[tokio::test]
async fn faults_by_chance_are_survived() {
    let rig = Rig::uncached().await;
    for (mode, expected) in [
        ("goaway", [200, 503]),
        ("refuse-stream", [200, 503]),
        ("reset", [200, 502]),
    ] {
        let fault = json!({"mode": mode, "probability": 0.3});
        rig.control.fault(GET_3GPP, &fault).await;
        for _ in 0..30 {
            let answer = rig.ask(&by_number()).await;
            assert!(
                expected.contains(&answer.status),
                "{mode}: {}",
                answer.json()
            );
        }
        rig.control.clear_faults().await;
        rig.ask(&by_number()).await.is_imei("490154203237518");
    }
    // The deadline is that of the request, whatever is tried again.
    rig.control
        .fault(GET_3GPP, &json!({"mode": "goaway", "latencyMs": 150}))
        .await;
    let begun = Instant::now();
    let answer = rig.ask(&by_number()).await;
    assert!(matches!(answer.status, 503 | 504), "{}", answer.json());
    assert!(begun.elapsed() < SHORT_DEADLINE + Duration::from_secs(5));
}
