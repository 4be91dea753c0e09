//! How much a consumer may ask: by second, by day, by distinct subscribers.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use pei_bridge::config::LimitsClass;
use serde_json::json;

use super::support::{ask_number, guarded, token_of};
use crate::support::Rig;
use crate::support::client::{Ask, Connection};
use crate::support::control::GET_BINDINGS;

const HOUR: u32 = 3600;
const DAY: u32 = 24 * HOUR;
/// Seconds that no test here takes, on a loaded machine.
const LONGEST_TEST: i64 = 30;

async fn limited(rig: &Rig, limit: &str) -> f64 {
    let label = format!("limit=\"{limit}\"");
    rig.bridge
        .metric("pei_bridge_limited_total", &[&label])
        .await
}

fn about(metric: f64, expected: usize) -> bool {
    (metric - f64::from(u32::try_from(expected).unwrap())).abs() < 0.1
}

/// The statuses of so many requests that are under way at once.
async fn at_once(rig: &Rig, ask: &Ask, times: usize) -> Vec<u16> {
    let connection = Connection::http2(rig.bridge.api).await;
    let asking = (0..times).map(|_| {
        let (mut connection, ask) = (connection.clone(), ask.clone());
        tokio::spawn(async move { connection.send(&ask).await.status })
    });
    let mut statuses = Vec::new();
    for task in asking.collect::<Vec<_>>() {
        statuses.push(task.await.unwrap());
    }
    statuses
}

#[tokio::test]
async fn beyond_rate_and_burst_is_429() {
    let rig = guarded(|config| {
        config.limits.requests_per_second = 1;
        config.limits.burst = 5;
    })
    .await;
    let ask = Ask::any().bearer(&token_of(&rig, "hasty").await);
    let begun = Instant::now();
    let statuses = at_once(&rig, &ask, 60).await;
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    let admitted = statuses.iter().filter(|status| **status == 200).count();
    assert!(
        (5..=5 + seconds).contains(&admitted),
        "{admitted} in {seconds} s"
    );
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!(admitted + refused, statuses.len());
    assert!(about(limited(&rig, "rate").await, refused));
    // Another consumer has a rate of its own; another token of the same one has not.
    let other = Ask::any().bearer(&token_of(&rig, "patient").await);
    assert_eq!(rig.bridge.send(&other).await.status, 200);
    let again = Ask::any().bearer(&token_of(&rig, "hasty").await);
    let mut connection = Connection::http1(rig.bridge.api).await;
    let mut refusal = connection.send(&again).await;
    while refusal.status == 200 {
        refusal = connection.send(&again).await;
    }
    refusal.is_error(429, "TOO_MANY_REQUESTS");
    assert_eq!(refusal.header("retry-after"), Some("1"));
}

/// Waits where the hour, or with it the day, is about to end: what is counted begins anew then.
pub async fn within_the_hour() {
    let left = i64::from(HOUR) - Timestamp::now().as_second().rem_euclid(i64::from(HOUR));
    if left < LONGEST_TEST {
        let left = u64::try_from(left).unwrap();
        tokio::time::sleep(Duration::from_secs(left)).await;
    }
}

#[tokio::test]
async fn only_what_was_answered_uses_up_the_quota() {
    within_the_hour().await;
    let rig = guarded(|config| config.limits.requests_per_day = 4).await;
    let token = token_of(&rig, "consumer").await;
    let unscoped = rig.control.token("client_id=consumer&scope=openid").await;
    let good = ask_number("123456789", &token);
    let unknown = ask_number("34999999999", &token);
    let silent = ask_number("34600000007", &token);
    for _ in 0..5 {
        for (ask, status) in [
            (good.clone().body("{"), 400),
            (good.clone().without("content-type"), 400),
            (ask_number("x", &token), 400),
            (Ask::any(), 401),
            (ask_number("123456789", &unscoped), 403),
            (ask_number("34600000006", &token), 403),
        ] {
            assert_eq!(rig.bridge.send(&ask).await.status, status);
        }
    }
    for (ask, status) in [(&good, 200), (&unknown, 404), (&silent, 404), (&good, 200)] {
        assert_eq!(rig.bridge.send(ask).await.status, status);
    }
    for count in 1..4 {
        let answer = rig.bridge.send(&good).await;
        answer.is_error(429, "TOO_MANY_REQUESTS");
        let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=DAY).contains(&wait), "{wait}");
        assert!(about(limited(&rig, "quota").await, count));
    }
    let other = token_of(&rig, "other").await;
    assert_eq!(
        rig.bridge
            .send(&ask_number("123456789", &other))
            .await
            .status,
        200
    );
}

/// However many come at once.
#[tokio::test]
async fn a_quota_is_exact() {
    within_the_hour().await;
    let rig = guarded(|config| config.limits.requests_per_day = 20).await;
    let ask = Ask::any().bearer(&token_of(&rig, "consumer").await);
    let statuses = at_once(&rig, &ask, 80).await;
    let admitted = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(admitted, 20);
}

#[tokio::test]
async fn who_walks_through_numbers_is_stopped_and_seen() {
    within_the_hour().await;
    let rig = guarded(|config| config.limits.distinct_subscribers_per_hour = 5).await;
    let walker = token_of(&rig, "walker").await;
    // Known or not, consenting or not: each is one more.
    for (number, status) in [
        ("123456789", 200),
        ("+123456789", 200),
        ("34600000002", 200),
        ("34600000006", 403),
        ("34999999999", 404),
        ("34999999998", 404),
        ("123456789", 200),
        ("34999999997", 429),
        ("34600000003", 429),
        ("34999999999", 404),
        ("34600000002", 200),
    ] {
        let answer = rig.bridge.send(&ask_number(number, &walker)).await;
        assert_eq!(answer.status, status, "{number}");
        if status == 429 {
            assert_eq!(answer.code(), "TOO_MANY_REQUESTS");
            let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=HOUR).contains(&wait), "{wait}");
        }
    }
    assert!(about(limited(&rig, "distinct_subscribers").await, 2));
    let most = rig
        .bridge
        .metric("pei_bridge_distinct_subscribers_max", &[]);
    assert!(about(most.await, 5));
    // The other operation walks the same way; another consumer walks its own.
    let body = json!({"phoneNumber": "34600000003"});
    let answer = rig
        .bridge
        .send(&Ask::device_type(&body).bearer(&walker))
        .await;
    answer.is_error(429, "TOO_MANY_REQUESTS");
    let other = token_of(&rig, "other").await;
    assert_eq!(
        rig.bridge
            .send(&ask_number("34600000003", &other))
            .await
            .status,
        200
    );
    // Bodies that are refused are nobody's number.
    let answer = rig.bridge.send(&ask_number("x", &walker)).await;
    answer.is_error(400, "INVALID_ARGUMENT");
}

/// Whether an address is that of a number is a guess at somebody, too, and so is what stands behind
/// it: the number that is known already is no cover for it.
#[tokio::test]
async fn guesses_whose_address_it_is_are_counted() {
    within_the_hour().await;
    let rig = guarded(|config| config.limits.distinct_subscribers_per_hour = 3).await;
    let by_prefix = |host: u32| json!({"ipv6Address": format!("2001:db8:dead:{host}::1")});
    let by_private = |host: u32| {
        json!({"ipv4Address": {
            "publicAddress": "84.125.93.10",
            "publicPort": 59_765,
            "privateAddress": format!("10.45.9.{host}"),
        }})
    };
    for (walker, guesses) in [
        ("by-prefix", [1, 2, 3, 4, 5].map(by_prefix)),
        ("by-private-address", [1, 2, 3, 4, 5].map(by_private)),
    ] {
        let token = token_of(&rig, walker).await;
        let mut statuses = Vec::new();
        for mut device in guesses {
            device["phoneNumber"] = json!("+123456789");
            let body = json!({ "device": device });
            let ask = Ask::identifier(&body).path("/device-identifier/v0.2/retrieve-identifier");
            statuses.push(rig.bridge.send(&ask.bearer(&token)).await.status);
        }
        assert_eq!(statuses, [422, 422, 422, 429, 429], "{walker}");
    }
}

/// Where one that nobody has is passed over, the answer tells that nobody has it: the number that is
/// known already is no cover for that either, below the limit or beyond it.
#[tokio::test]
async fn what_is_passed_over_is_counted() {
    within_the_hour().await;
    let rig = guarded(|config| config.limits.distinct_subscribers_per_hour = 4).await;
    let walker = token_of(&rig, "walker").await;
    let mut statuses = Vec::new();
    for number in [
        "34999999991",
        "34999999991",
        "34999999992",
        "34999999993",
        "34999999994",
        "34600000002",
        "34999999992",
    ] {
        let body = json!({
            "phoneNumber": number,
            "networkAccessIdentifier": "123456789@domain.com",
        });
        let ask = Ask::identifier(&body).bearer(&walker);
        statuses.push(rig.bridge.send(&ask).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429, 200]);
    let most = rig
        .bridge
        .metric("pei_bridge_distinct_subscribers_max", &[]);
    assert!(about(most.await, 4));
}

/// Nor is a core that fails afterwards: who was passed over is told all the same.
#[tokio::test]
async fn what_is_passed_over_is_counted_where_the_core_then_fails() {
    within_the_hour().await;
    let rig = guarded(|config| config.limits.distinct_subscribers_per_hour = 2).await;
    rig.control
        .fault(GET_BINDINGS, &json!({"status": 500}))
        .await;
    let walker = token_of(&rig, "walker").await;
    let mut statuses = Vec::new();
    for number in ["34999999991", "34999999992", "34999999993"] {
        let body = json!({"phoneNumber": number, "ipv6Address": "2001:db8:85a3:8d3::1"});
        let ask = Ask::identifier(&body).bearer(&walker);
        statuses.push(rig.bridge.send(&ask).await.status);
    }
    assert_eq!(statuses, [502, 502, 429]);
}

#[tokio::test]
async fn classes_have_limits_of_their_own() {
    within_the_hour().await;
    let class = |consumers: &[&str], requests_per_day| LimitsClass {
        consumers: consumers.iter().map(|it| (*it).to_owned()).collect(),
        requests_per_day: Some(requests_per_day),
        ..LimitsClass::default()
    };
    let rig = guarded(|config| {
        config.limits.requests_per_day = 1;
        let classes = &mut config.limits.classes;
        classes.insert("gold".to_owned(), class(&["a", "b"], 3));
        classes.insert("free".to_owned(), class(&["c"], 0));
    })
    .await;
    for (consumer, most) in [("a", 3), ("b", 3), ("c", 10), ("d", 1), ("A", 1)] {
        let ask = Ask::any().bearer(&token_of(&rig, consumer).await);
        let mut admitted = 0;
        for _ in 0..10 {
            admitted += usize::from(rig.bridge.send(&ask).await.status == 200);
        }
        assert_eq!(admitted, most, "{consumer}");
    }
}

/// A subscriber that is found is one, however it is asked for; what leads to nobody counts by what
/// it was asked for with.
#[tokio::test]
async fn subscribers_are_counted_and_not_questions() {
    within_the_hour().await;
    let rig = guarded(|config| config.limits.distinct_subscribers_per_hour = 3).await;
    let token = token_of(&rig, "walker").await;
    let ask = async |body: serde_json::Value| {
        let ask = Ask::identifier(&body).bearer(&token);
        rig.bridge.send(&ask).await.status
    };
    let by_port =
        |port: u32| json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": port}});
    for port in 59_000..59_020 {
        assert_eq!(ask(by_port(port)).await, 200);
    }
    for body in [
        json!({"phoneNumber": "+123456789"}),
        json!({"networkAccessIdentifier": "123456789@domain.com"}),
        json!({"phoneNumber": "123456789", "networkAccessIdentifier": "123456789@domain.com"}),
        json!({"ipv6Address": "2001:db8:85a3:8d3::1"}),
        json!({"ipv6Address": "2001:db8:85a3:8d3::2"}),
    ] {
        assert_eq!(ask(body.clone()).await, 200, "{body}");
    }
    let most = "pei_bridge_distinct_subscribers_max";
    assert!(about(rig.bridge.metric(most, &[]).await, 1));
    // One prefix of nobody, and a port of nobody: then it is enough.
    for host in 1..5 {
        let body = json!({ "ipv6Address": format!("2001:db8:dead::{host}") });
        assert_eq!(ask(body).await, 404);
    }
    assert_eq!(ask(by_port(50_000)).await, 404);
    assert!(about(rig.bridge.metric(most, &[]).await, 3));
    rig.control.reset().await;
    for body in [
        by_port(50_001),
        json!({"ipv6Address": "2001:db8:beef::1"}),
        json!({"phoneNumber": "34600000002"}),
    ] {
        assert_eq!(ask(body).await, 429);
    }
    assert_eq!(rig.control.total().await, 0);
    // One that was asked for cannot be the cover for one that was not.
    let both =
        json!({"phoneNumber": "34600000002", "networkAccessIdentifier": "123456789@domain.com"});
    assert_eq!(ask(both).await, 429);
    assert_eq!(ask(json!({"phoneNumber": "123456789"})).await, 200);
}

#[tokio::test]
async fn who_has_no_limit_is_seen_all_the_same() {
    within_the_hour().await;
    let rig = guarded(|_| {}).await;
    let token = token_of(&rig, "walker").await;
    for number in 0..50 {
        let number = format!("{}", 34_999_000 + number);
        let answer = rig.bridge.send(&ask_number(&number, &token)).await;
        assert_eq!(answer.status, 404);
    }
    let most = rig
        .bridge
        .metric("pei_bridge_distinct_subscribers_max", &[]);
    assert!(about(most.await, 50));
}
