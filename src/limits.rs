//! How much each consumer may ask: requests a second, requests a day, distinct subscribers and wrong
//! guesses at devices an hour.
//!
//! Only consumers with a verified token get here, and what is remembered of them is bounded. How
//! many subscribers each asks for is watched where nothing limits it, too ([`distinct`]).

mod distinct;
mod guesses;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use device::UeId;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hashbrown::DefaultHashBuilder;
use jiff::Timestamp;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::auth::ConsumerId;
use crate::config::{Limits, LimitsClass};
use crate::lookup::DeviceQuery;
use distinct::Distinct;
use guesses::{Guesses, OpenGuess, TooMany};

/// Which limit a consumer met, and the seconds after which it may try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Requests a second.
    Rate(u32),
    /// Requests a day.
    Quota(u32),
    /// Distinct subscribers an hour.
    DistinctSubscribers(u32),
    /// Identifiers that were not the device's, an hour.
    Mismatches(u32),
}

/// The limits of all consumers, and what they used of them.
pub struct Limiter {
    default: LimitsClass,
    by_consumer: HashMap<Box<str>, LimitsClass>,
    usage: Cache<ConsumerId, Arc<Usage>, DefaultHashBuilder>,
    hasher: RandomState,
    metrics: Arc<LimitMetrics>,
}

/// What one consumer used.
struct Usage {
    rate: Option<DefaultDirectRateLimiter>,
    /// 0: no limit.
    requests_per_day: u64,
    today: Mutex<Today>,
    this_hour: Mutex<ThisHour>,
    guesses: Mutex<Guesses>,
}

#[derive(Default)]
struct Today {
    day: i64,
    requests: u64,
}

struct ThisHour {
    hour: i64,
    distinct: Distinct,
}

/// Windows of time are numbered since the epoch.
#[derive(Clone, Copy)]
enum Window {
    /// Of distinct subscribers.
    Hour,
    /// Of the quota: from midnight to midnight, UTC.
    Day,
}

impl Window {
    fn seconds(self) -> i64 {
        match self {
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        }
    }

    fn number(self, now: Timestamp) -> i64 {
        now.as_second().div_euclid(self.seconds())
    }

    /// The seconds that are left of it.
    fn left(self, now: Timestamp) -> u32 {
        let left = self.seconds() - now.as_second().rem_euclid(self.seconds());
        u32::try_from(left).unwrap_or(u32::MAX)
    }
}

/// A request that was admitted. Given back when it is refused for another reason, it does not use
/// up the quota.
#[must_use]
pub struct Admission {
    consumer: Consumer,
    day: i64,
}

/// A consumer by what it used.
#[derive(Clone)]
pub struct Consumer(Arc<Usage>);

/// A guess at a device that was admitted. Dropped, it does not count: nothing was said.
#[must_use]
pub struct Guess(Option<(Consumer, OpenGuess)>);

impl Limiter {
    /// The limits as configured.
    pub fn new(limits: &Limits, metrics: Arc<LimitMetrics>) -> Self {
        let by_consumer = limits.classes.values().flat_map(|class| {
            let members = class.consumers.iter();
            members.map(|consumer| (consumer.as_str().into(), class.clone()))
        });
        // Whoever has not asked for the longest time is forgotten first. A policy that keeps who
        // asks often would forget the rest at once, and with them what they used.
        let usage = Cache::builder()
            .max_capacity(limits.consumer_entries)
            .eviction_policy(EvictionPolicy::lru())
            .build_with_hasher(DefaultHashBuilder::default());
        Self {
            default: limits.default_class(),
            by_consumer: by_consumer.collect(),
            usage,
            hasher: RandomState::new(),
            metrics,
        }
    }

    /// Admits a request of a consumer by rate and quota.
    pub fn admit(&self, consumer: &ConsumerId, now: Timestamp) -> Result<Admission, Refusal> {
        let usage = self.usage.get_with_by_ref(consumer, || {
            let class = self.by_consumer.get(consumer.as_str());
            Arc::new(Usage::new(class.unwrap_or(&self.default)))
        });
        let admitted = usage.take_rate().and_then(|()| usage.take_quota(now));
        let day = admitted.inspect_err(|refusal| self.metrics.refused(*refusal))?;
        Ok(Admission {
            consumer: Consumer(usage),
            day,
        })
    }

    /// Refuses a consumer that has met its limit on subscribers and asks with something new, before
    /// the core is asked whom it means.
    pub fn may_ask(
        &self,
        consumer: &Consumer,
        query: &DeviceQuery,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let may_ask = consumer
            .0
            .this_hour(now, |distinct| distinct.may_ask(self.identifiers(query)));
        self.or_refuse(may_ask.then_some(()), now)
    }

    /// Counts the subscriber that a consumer is about to learn of: the one that was found, else
    /// whoever the identifiers would mean.
    pub fn count(
        &self,
        consumer: &Consumer,
        found: Option<&UeId>,
        query: &DeviceQuery,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let subscriber = if let Some(subscription) = found {
            self.hasher.hash_one(subscription)
        } else {
            let identifiers: Vec<u64> = self.identifiers(query).collect();
            self.hasher.hash_one(identifiers)
        };
        let count = consumer.0.this_hour(now, |distinct| {
            distinct.count(subscriber, self.identifiers(query))
        });
        if let Some(count) = count {
            self.metrics.saw_distinct(count, now);
        }
        self.or_refuse(count.map(drop), now)
    }

    /// Admits a guess at a device, among the wrong ones of this hour. Decided before anybody knows
    /// whether it is right: refusing only wrong ones would tell.
    pub fn admit_guess(
        &self,
        consumer: &Consumer,
        query: &DeviceQuery,
        guess: &impl Hash,
        now: Timestamp,
    ) -> Result<Guess, Refusal> {
        let device: Vec<u64> = self.identifiers(query).collect();
        let guess = self.hasher.hash_one((device, guess));
        let taken = consumer.guesses().take(guess, Window::Hour.number(now));
        let refusal = || Refusal::Mismatches(Window::Hour.left(now));
        let open = taken
            .map_err(|TooMany| refusal())
            .inspect_err(|refusal| self.metrics.refused(*refusal))?;
        Ok(Guess(open.map(|open| (consumer.clone(), open))))
    }

    fn or_refuse(&self, admitted: Option<()>, now: Timestamp) -> Result<(), Refusal> {
        let refusal = || Refusal::DistinctSubscribers(Window::Hour.left(now));
        admitted
            .ok_or_else(refusal)
            .inspect_err(|refusal| self.metrics.refused(*refusal))
    }

    /// What a query asks with, hashed as it is looked at: usually nobody does. Of an IPv6 address
    /// only the prefix counts: the rest is the device's to choose.
    fn identifiers(&self, query: &DeviceQuery) -> impl Iterator<Item = u64> {
        let hasher = &self.hasher;
        let prefix = |address: Ipv6Addr| address.to_bits() & (u128::MAX << 64);
        let number = query.phone_number.into_iter();
        let nai = query.network_access_identifier.iter();
        let ipv6 = query.ipv6_address.into_iter();
        let ipv4 = query.ipv4_address.into_iter();
        number
            .map(|it| hasher.hash_one(("number", it)))
            .chain(nai.map(|it| hasher.hash_one(("nai", it))))
            .chain(ipv6.map(move |it| hasher.hash_one(("ipv6", prefix(it)))))
            .chain(ipv4.map(|it| hasher.hash_one(("ipv4", it))))
    }

    /// Brings the gauge up to date; called when it is read.
    pub fn record_sizes(&self, now: Timestamp) {
        self.metrics.saw_distinct(0, now);
    }
}

impl Guess {
    /// The consumer is told that it is wrong: it counts.
    pub fn was_wrong(mut self) {
        if let Some((consumer, open)) = self.0.take() {
            consumer.guesses().was_wrong(open);
        }
    }
}

/// It was right, or the request came to no answer, by a deadline perhaps.
impl Drop for Guess {
    fn drop(&mut self) {
        if let Some((consumer, open)) = self.0.take() {
            consumer.guesses().forget(open);
        }
    }
}

impl Consumer {
    fn guesses(&self) -> MutexGuard<'_, Guesses> {
        self.0
            .guesses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// Whose it is.
    pub fn consumer(&self) -> Consumer {
        self.consumer.clone()
    }

    /// The request was refused with 400, 401, 403 or 429: it does not use up the quota of the day
    /// that it was admitted on.
    pub fn give_back(self) {
        let today = &self.consumer.0.today;
        let mut today = today.lock().unwrap_or_else(PoisonError::into_inner);
        if today.day == self.day {
            today.requests = today.requests.saturating_sub(1);
        }
    }
}

impl Usage {
    fn new(class: &LimitsClass) -> Self {
        let rate = NonZeroU32::new(class.requests_per_second).map(|per_second| {
            let burst = NonZeroU32::new(class.burst).unwrap_or(per_second);
            RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst))
        });
        Self {
            rate,
            requests_per_day: class.requests_per_day,
            today: Mutex::default(),
            this_hour: Mutex::new(ThisHour {
                hour: 0,
                distinct: Distinct::new(class.distinct_subscribers_per_hour),
            }),
            guesses: Mutex::new(Guesses::new(class.mismatches_per_hour)),
        }
    }

    fn take_rate(&self) -> Result<(), Refusal> {
        let Some(rate) = &self.rate else {
            return Ok(());
        };
        rate.check().map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Refusal::Rate(whole_seconds(wait))
        })
    }

    /// The day of whose quota it was taken.
    fn take_quota(&self, now: Timestamp) -> Result<i64, Refusal> {
        let day = Window::Day.number(now);
        if self.requests_per_day == 0 {
            return Ok(day);
        }
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if today.day != day {
            *today = Today { day, requests: 0 };
        }
        if today.requests >= self.requests_per_day {
            return Err(Refusal::Quota(Window::Day.left(now)));
        }
        today.requests += 1;
        Ok(day)
    }

    /// Looks at the subscribers of this hour, or has one counted.
    fn this_hour<T>(&self, now: Timestamp, look: impl FnOnce(&mut Distinct) -> T) -> T {
        let hour = Window::Hour.number(now);
        let mut this_hour = self
            .this_hour
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if this_hour.hour != hour {
            this_hour.hour = hour;
            this_hour.distinct.clear();
        }
        look(&mut this_hour.distinct)
    }
}

/// Rounded up: an earlier try would be refused again.
fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

/// What was refused, and how far the busiest consumer walks.
pub struct LimitMetrics {
    rate: IntCounter,
    quota: IntCounter,
    distinct_subscribers: IntCounter,
    mismatches: IntCounter,
    most_distinct: IntGauge,
    most_distinct_hour: AtomicI64,
}

impl LimitMetrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let refused = IntCounterVec::new(
            Opts::new(
                "pei_bridge_limited_total",
                "Requests refused by a limit of their consumer",
            ),
            &["limit"],
        )?;
        let most_distinct = IntGauge::new(
            "pei_bridge_distinct_subscribers_max",
            "Distinct subscribers that the consumer with the most of them asked for this hour",
        )?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(most_distinct.clone()))?;
        Ok(Self {
            rate: refused.with_label_values(&["rate"]),
            quota: refused.with_label_values(&["quota"]),
            distinct_subscribers: refused.with_label_values(&["distinct_subscribers"]),
            mismatches: refused.with_label_values(&["mismatches"]),
            most_distinct,
            most_distinct_hour: AtomicI64::new(0),
        })
    }

    fn refused(&self, refusal: Refusal) {
        match refusal {
            Refusal::Rate(_) => self.rate.inc(),
            Refusal::Quota(_) => self.quota.inc(),
            Refusal::DistinctSubscribers(_) => self.distinct_subscribers.inc(),
            Refusal::Mismatches(_) => self.mismatches.inc(),
        }
    }

    fn saw_distinct(&self, distinct: usize, now: Timestamp) {
        let distinct = i64::try_from(distinct).unwrap_or(i64::MAX);
        let hour = Window::Hour.number(now);
        // Without a lock that every request would take: at worst a race hides one more of many.
        let is_new_hour = self.most_distinct_hour.load(Ordering::Relaxed) != hour;
        if is_new_hour {
            self.most_distinct_hour.store(hour, Ordering::Relaxed);
        }
        if is_new_hour || distinct > self.most_distinct.get() {
            self.most_distinct.set(distinct);
        }
    }
}

#[cfg(test)]
mod tests {
    use device::{Gpsi, Imsi, PhoneNumber, Supi};

    use super::*;

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
        limiter.count(&consumer, None, query, at(second))
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
            let counted = limiter.count(&a, Some(&subscription), &query, at(100));
            assert_eq!(counted, Ok(()));
        }
        assert_eq!(limiter.metrics.most_distinct.get(), 1);
        // Beyond the limit it is found out only by what leads to somebody new.
        for digits in [22222, 33333] {
            let found = UeId::Gpsi(Gpsi::Msisdn(number(digits)));
            let counted = limiter.count(&a, Some(&found), &by_number(digits), at(100));
            assert_eq!(counted, Ok(()));
        }
        let found = UeId::Gpsi(Gpsi::Msisdn(number(44444)));
        let both = DeviceQuery {
            network_access_identifier: device::Nai::parse("a@b").ok(),
            ..by_number(22222)
        };
        assert_eq!(limiter.may_ask(&a, &both, at(100)), Ok(()));
        assert!(limiter.count(&a, Some(&found), &both, at(100)).is_err());
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
    fn a_class_has_its_own_limits() {
        let class = LimitsClass {
            consumers: vec!["gold".to_owned()],
            ..Default::default()
        };
        let limits = Limits {
            requests_per_day: 1,
            classes: [("gold".to_owned(), class)].into(),
            ..Limits::default()
        };
        let limiter = limiter(&limits);
        for _ in 0..5 {
            assert!(limiter.admit(&consumer("gold"), at(0)).is_ok());
        }
        assert!(limiter.admit(&consumer("a"), at(0)).is_ok());
        assert!(limiter.admit(&consumer("a"), at(0)).is_err());
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
}
