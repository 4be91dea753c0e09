use device::{Gpsi, Imsi, PhoneNumber, Supi, UeId};
use prometheus::Registry;

use super::*;
use crate::config::LimitsClass;

const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;

fn limiter(limits: &Limits) -> Limiter {
    Limiter::new(
        limits,
        Arc::new(LimitMetrics::register(&Registry::new()).unwrap()),
    )
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn consumer(id: &str) -> ConsumerId {
    ConsumerId::parse(id).unwrap()
}

#[test]
fn a_burst_is_admitted_and_no_more() {
    let limits = Limits {
        requests_per_second: 1,
        burst: 3,
        ..Limits::default()
    };
    let limiter = limiter(&limits);
    let admitted = (0..10)
        .filter(|_| limiter.admit(&consumer("a"), at(0)).is_ok())
        .count();
    assert_eq!(admitted, 3);
    assert_eq!(
        limiter.admit(&consumer("a"), at(0)).err(),
        Some(Refusal::Rate(1))
    );
    assert!(limiter.admit(&consumer("b"), at(0)).is_ok());
}

#[test]
fn the_quota_ends_with_the_day_and_refused_requests_do_not_use_it_up() {
    let limiter = limiter(&Limits {
        requests_per_day: 2,
        ..Limits::default()
    });
    let a = consumer("a");
    limiter.admit(&a, at(DAY - 10)).unwrap().give_back();
    assert!(limiter.admit(&a, at(DAY - 10)).is_ok());
    assert!(limiter.admit(&a, at(DAY - 10)).is_ok());
    assert_eq!(
        limiter.admit(&a, at(DAY - 10)).err(),
        Some(Refusal::Quota(10))
    );
    assert!(limiter.admit(&a, at(DAY)).is_ok());
}

#[test]
fn what_yesterday_gives_back_is_not_todays() {
    let limiter = limiter(&Limits {
        requests_per_day: 1,
        ..Limits::default()
    });
    let a = consumer("a");
    let yesterday = limiter.admit(&a, at(DAY - 1)).unwrap();
    assert!(limiter.admit(&a, at(DAY)).is_ok());
    yesterday.give_back();
    assert_eq!(
        limiter.admit(&a, at(DAY)).err(),
        Some(Refusal::Quota(86400))
    );
}

fn number(digits: u64) -> PhoneNumber {
    PhoneNumber::from_digits(&digits.to_string()).unwrap()
}

fn by_number(digits: u64) -> DeviceQuery {
    DeviceQuery {
        phone_number: Some(number(digits)),
        ..DeviceQuery::default()
    }
}

fn by_ipv6(address: &str) -> DeviceQuery {
    DeviceQuery {
        ipv6_address: Some(address.parse().unwrap()),
        ..DeviceQuery::default()
    }
}

/// A lookup that finds nobody.
fn ask(limiter: &Limiter, id: &str, query: &DeviceQuery, second: i64) -> Result<(), Refusal> {
    let consumer = limiter.admit(&consumer(id), at(second))?.consumer();
    limiter.may_ask(&consumer, query, at(second))?;
    limiter.count(&consumer, &Progress::default(), query, at(second))
}

fn found(subscription: UeId) -> Progress {
    Progress {
        subscription: Some(subscription),
        ..Progress::default()
    }
}

fn three_an_hour() -> Limiter {
    limiter(&Limits {
        distinct_subscribers_per_hour: 3,
        ..Limits::default()
    })
}

#[test]
fn who_walks_through_numbers_is_stopped_and_seen() {
    let limiter = three_an_hour();
    let beyond = Err(Refusal::DistinctSubscribers(3500));
    for digits in [11111, 22222, 33333, 11111, 22222] {
        assert_eq!(ask(&limiter, "a", &by_number(digits), 100), Ok(()));
    }
    assert_eq!(ask(&limiter, "a", &by_number(44444), 100), beyond);
    assert_eq!(ask(&limiter, "a", &by_number(33333), 100), Ok(()));
    assert_eq!(limiter.metrics.most_distinct.get(), 3);
    assert_eq!(ask(&limiter, "b", &by_number(44444), 100), Ok(()));
    assert_eq!(ask(&limiter, "a", &by_number(44444), HOUR), Ok(()));
}

#[test]
fn a_prefix_is_one_subscriber_and_a_walk_over_prefixes_is_one() {
    let limiter = three_an_hour();
    for host in 0..20 {
        let query = by_ipv6(&format!("2001:db8::{host:x}"));
        assert_eq!(ask(&limiter, "a", &query, 100), Ok(()));
    }
    assert_eq!(limiter.metrics.most_distinct.get(), 1);
    let walk = (1..20).map(|net| by_ipv6(&format!("2001:db8:0:{net:x}::1")));
    let admitted = walk.filter(|query| ask(&limiter, "a", query, 100).is_ok());
    assert_eq!(admitted.count(), 2);
}

/// However a consumer asks for it, a subscriber that is found is one.
#[test]
fn a_subscriber_that_is_found_counts_once() {
    let limiter = three_an_hour();
    let a = limiter.admit(&consumer("a"), at(100)).unwrap().consumer();
    let subscription = UeId::Supi(Supi::Imsi(Imsi::from_digits("001010000000001").unwrap()));
    for port in 1024..1124 {
        let query = DeviceQuery {
            phone_number: (port % 2 == 0).then(|| number(11111)),
            ipv4_address: Some(device::Ipv4Query::Port {
                public: [84, 125, 93, 10].into(),
                port,
                private: None,
            }),
            ..DeviceQuery::default()
        };
        assert_eq!(limiter.may_ask(&a, &query, at(100)), Ok(()));
        let counted = limiter.count(&a, &found(subscription.clone()), &query, at(100));
        assert_eq!(counted, Ok(()));
    }
    assert_eq!(limiter.metrics.most_distinct.get(), 1);
    // Beyond the limit it is found out only by what leads to somebody new.
    for digits in [22222, 33333] {
        let found = found(UeId::Gpsi(Gpsi::Msisdn(number(digits))));
        let counted = limiter.count(&a, &found, &by_number(digits), at(100));
        assert_eq!(counted, Ok(()));
    }
    let found = found(UeId::Gpsi(Gpsi::Msisdn(number(44444))));
    let both = DeviceQuery {
        network_access_identifier: device::Nai::parse("a@b").ok(),
        ..by_number(22222)
    };
    assert_eq!(limiter.may_ask(&a, &both, at(100)), Ok(()));
    assert!(limiter.count(&a, &found, &both, at(100)).is_err());
}

#[test]
fn who_has_no_limit_is_seen_all_the_same_and_forgotten_with_the_hour() {
    let limiter = limiter(&Limits::default());
    for digits in 11111..11211 {
        assert_eq!(ask(&limiter, "a", &by_number(digits), 100), Ok(()));
    }
    limiter.record_sizes(at(HOUR - 1));
    assert_eq!(limiter.metrics.most_distinct.get(), 100);
    limiter.record_sizes(at(HOUR));
    assert_eq!(limiter.metrics.most_distinct.get(), 0);
}

#[test]
fn a_class_has_its_own_limits_and_otherwise_those_of_all() {
    let class = |consumer: &str, requests_per_day, distinct_subscribers_per_hour| LimitsClass {
        consumers: vec![consumer.to_owned()],
        requests_per_day,
        distinct_subscribers_per_hour,
        ..LimitsClass::default()
    };
    let limiter = limiter(&Limits {
        requests_per_day: 2,
        distinct_subscribers_per_hour: 3,
        classes: [
            ("gold".to_owned(), class("gold", Some(10), None)),
            ("free".to_owned(), class("free", Some(0), Some(0))),
            ("silent".to_owned(), class("silent", None, None)),
        ]
        .into(),
        ..Limits::default()
    });
    for (id, admitted, beyond) in [
        ("gold", 3, Some(Refusal::DistinctSubscribers(3500))),
        ("free", 20, None),
        ("silent", 2, Some(Refusal::Quota(86300))),
        ("other", 2, Some(Refusal::Quota(86300))),
    ] {
        let walk = (11111..11131).map(|digits| ask(&limiter, id, &by_number(digits), 100));
        let outcomes: Vec<_> = walk.collect();
        let first = outcomes.iter().take_while(|outcome| outcome.is_ok());
        assert_eq!(first.count(), admitted, "{id}");
        let refused = outcomes.into_iter().find_map(Result::err);
        assert_eq!(refused, beyond, "{id}");
    }
}

#[test]
fn invented_consumers_are_forgotten() {
    let limits = Limits {
        requests_per_day: 1,
        consumer_entries: 100,
        ..Limits::default()
    };
    let limiter = limiter(&limits);
    for id in 0..10_000 {
        let _ = limiter.admit(&consumer(&id.to_string()), at(0));
    }
    limiter.usage.run_pending_tasks();
    assert!(limiter.usage.entry_count() <= 100);
}

/// However often others ask: a consumer that is forgotten has its whole quota again.
#[test]
fn the_latest_to_ask_is_remembered() {
    let limits = Limits {
        requests_per_day: 1000,
        consumer_entries: 2,
        ..Limits::default()
    };
    let limiter = limiter(&limits);
    for _ in 0..500 {
        for id in ["a", "b"] {
            assert!(limiter.admit(&consumer(id), at(0)).is_ok());
            limiter.usage.run_pending_tasks();
        }
    }
    assert!(limiter.admit(&consumer("c"), at(0)).is_ok());
    limiter.usage.run_pending_tasks();
    assert!(limiter.usage.contains_key(&consumer("c")));
}
