//! How much each consumer may ask: requests a second, requests a day, distinct subscribers and wrong
//! guesses at devices an hour.
//!
//! Only consumers with a verified token get here, and what is remembered of them is bounded. A
//! limit that is not set costs nothing.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use moka::sync::Cache;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::auth::ConsumerId;
use crate::config::{Limits, Rates};

/// Seconds of the window in which distinct subscribers are counted.
const HOUR: i64 = 60 * 60;
/// Seconds of the window of the quota.
const DAY: i64 = 24 * HOUR;

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
    default: Rates,
    by_consumer: HashMap<Box<str>, Rates>,
    usage: Cache<ConsumerId, Arc<Usage>>,
    hasher: RandomState,
    metrics: Arc<LimitMetrics>,
}

/// What one consumer used.
struct Usage {
    rates: Rates,
    rate: Option<DefaultDirectRateLimiter>,
    today: Mutex<Counted<u64>>,
    this_hour: Mutex<Counted<HashSet<u64>>>,
    guesses: Mutex<Counted<HashSet<u64>>>,
}

/// Something counted within a window of time.
#[derive(Default)]
struct Counted<T> {
    /// The number of the window since the epoch.
    window: i64,
    count: T,
}

impl<T: Default> Counted<T> {
    /// What was counted in the window of `now`, and the seconds that are left of it.
    fn within(&mut self, now: Timestamp, length: i64) -> (&mut T, u32) {
        let seconds = now.as_second();
        let window = seconds.div_euclid(length);
        if self.window != window {
            *self = Self {
                window,
                count: T::default(),
            };
        }
        let left = length - seconds.rem_euclid(length);
        (&mut self.count, u32::try_from(left).unwrap_or(u32::MAX))
    }
}

/// A request that was admitted. Given back when it is refused for another reason, it does not use
/// up the quota.
#[must_use]
pub struct Admission(Option<Arc<Usage>>);

/// A guess at a device that was admitted. It counts unless it turns out right, or nothing was said.
#[must_use]
pub struct Guess(Option<(Arc<Usage>, u64)>);

impl Limiter {
    /// The limits as configured.
    pub fn new(limits: &Limits, metrics: Arc<LimitMetrics>) -> Self {
        let by_consumer = limits.classes.values().flat_map(|class| {
            class
                .consumers
                .iter()
                .map(|consumer| (consumer.as_str().into(), class.rates()))
        });
        Self {
            default: limits.rates(),
            by_consumer: by_consumer.collect(),
            usage: Cache::new(limits.consumer_entries),
            hasher: RandomState::new(),
            metrics,
        }
    }

    /// Admits a request of a consumer by rate and quota.
    pub fn admit(&self, consumer: &ConsumerId, now: Timestamp) -> Result<Admission, Refusal> {
        let Some(usage) = self.usage_of(consumer) else {
            return Ok(Admission(None));
        };
        let admitted = usage.take_rate().and_then(|()| usage.take_quota(now));
        admitted.inspect_err(|refusal| self.metrics.refused(*refusal))?;
        Ok(Admission(Some(usage)))
    }

    /// Admits the subscriber that a request asks for, among those of this hour.
    pub fn admit_subscriber(
        &self,
        consumer: &ConsumerId,
        subscriber: &impl Hash,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let Some(usage) = self.usage_of(consumer) else {
            return Ok(());
        };
        let subscriber = self.hasher.hash_one(subscriber);
        let distinct = usage.take_subscriber(subscriber, now);
        if let Ok(distinct) = distinct {
            self.metrics.saw_distinct(distinct, now);
        }
        distinct
            .map(drop)
            .inspect_err(|refusal| self.metrics.refused(*refusal))
    }

    /// Admits a guess at a device, among the wrong ones of this hour. Decided before anybody knows
    /// whether it is right: refusing only wrong ones would tell.
    pub fn admit_guess(
        &self,
        consumer: &ConsumerId,
        guess: &impl Hash,
        now: Timestamp,
    ) -> Result<Guess, Refusal> {
        let Some(usage) = self.usage_of(consumer) else {
            return Ok(Guess(None));
        };
        let guess = self.hasher.hash_one(guess);
        let fresh = usage.take_guess(guess, now);
        let fresh = fresh.inspect_err(|refusal| self.metrics.refused(*refusal))?;
        Ok(Guess(fresh.then_some((usage, guess))))
    }

    /// What a consumer used; `None` where nothing limits it.
    fn usage_of(&self, consumer: &ConsumerId) -> Option<Arc<Usage>> {
        let rates = *self
            .by_consumer
            .get(consumer.as_str())
            .unwrap_or(&self.default);
        if rates == Rates::default() {
            return None;
        }
        Some(
            self.usage
                .get_with_by_ref(consumer, || Arc::new(Usage::new(rates))),
        )
    }
}

impl Admission {
    /// The request was refused with 400, 401, 403 or 429: it does not use up the quota.
    pub fn give_back(self, now: Timestamp) {
        if let Some(usage) = self.0 {
            let mut today = usage.today.lock().unwrap_or_else(PoisonError::into_inner);
            let (count, _) = today.within(now, DAY);
            *count = count.saturating_sub(1);
        }
    }
}

impl Guess {
    /// It was right, or the consumer was not told: it does not count.
    pub fn forget(self) {
        if let Some((usage, guess)) = self.0 {
            let mut guesses = usage.guesses.lock().unwrap_or_else(PoisonError::into_inner);
            guesses.count.remove(&guess);
        }
    }
}

impl Usage {
    fn new(rates: Rates) -> Self {
        let rate = NonZeroU32::new(rates.requests_per_second).map(|per_second| {
            let burst = NonZeroU32::new(rates.burst).unwrap_or(per_second);
            RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst))
        });
        Self {
            rates,
            rate,
            today: Mutex::default(),
            this_hour: Mutex::default(),
            guesses: Mutex::default(),
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

    fn take_quota(&self, now: Timestamp) -> Result<(), Refusal> {
        let most = self.rates.requests_per_day;
        if most == 0 {
            return Ok(());
        }
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, left) = today.within(now, DAY);
        if *count >= most {
            return Err(Refusal::Quota(left));
        }
        *count += 1;
        Ok(())
    }

    /// The number of distinct subscribers within this hour, this one included.
    fn take_subscriber(&self, subscriber: u64, now: Timestamp) -> Result<usize, Refusal> {
        let most = self.rates.distinct_subscribers_per_hour;
        take_distinct(&self.this_hour, most, subscriber, now)
            .map(|(distinct, _)| distinct)
            .map_err(Refusal::DistinctSubscribers)
    }

    /// Whether the guess is a new one of this hour.
    fn take_guess(&self, guess: u64, now: Timestamp) -> Result<bool, Refusal> {
        take_distinct(&self.guesses, self.rates.mismatches_per_hour, guess, now)
            .map(|(_, fresh)| fresh)
            .map_err(Refusal::Mismatches)
    }
}

/// Counts one more of at most so many distinct things an hour, 0 being no limit: how many there are
/// now and whether this one is new, or the seconds until the hour ends.
fn take_distinct(
    things: &Mutex<Counted<HashSet<u64>>>,
    most: u32,
    thing: u64,
    now: Timestamp,
) -> Result<(usize, bool), u32> {
    if most == 0 {
        return Ok((0, false));
    }
    let mut things = things.lock().unwrap_or_else(PoisonError::into_inner);
    let (seen, left) = things.within(now, HOUR);
    let full = seen.len() >= usize::try_from(most).unwrap_or(usize::MAX);
    if full && !seen.contains(&thing) {
        return Err(left);
    }
    let fresh = seen.insert(thing);
    Ok((seen.len(), fresh))
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
    most_distinct_hour: Mutex<i64>,
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
            most_distinct_hour: Mutex::default(),
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
        let hour = now.as_second().div_euclid(HOUR);
        let mut known = self
            .most_distinct_hour
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *known != hour || distinct > self.most_distinct.get() {
            *known = hour;
            self.most_distinct.set(distinct);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn without_limits_nothing_is_remembered() {
        let limiter = limiter(&Limits::default());
        for _ in 0..10_000 {
            assert!(limiter.admit(&consumer("a"), at(0)).is_ok());
        }
        assert_eq!(limiter.usage.entry_count(), 0);
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
        limiter
            .admit(&a, at(DAY - 10))
            .unwrap()
            .give_back(at(DAY - 10));
        assert!(limiter.admit(&a, at(DAY - 10)).is_ok());
        assert!(limiter.admit(&a, at(DAY - 10)).is_ok());
        assert_eq!(
            limiter.admit(&a, at(DAY - 10)).err(),
            Some(Refusal::Quota(10))
        );
        assert!(limiter.admit(&a, at(DAY)).is_ok());
    }

    #[test]
    fn who_walks_through_numbers_is_stopped_and_seen() {
        let limiter = limiter(&Limits {
            distinct_subscribers_per_hour: 3,
            ..Limits::default()
        });
        let a = consumer("a");
        for number in [1, 2, 3, 1, 2] {
            assert!(limiter.admit_subscriber(&a, &number, at(100)).is_ok());
        }
        assert_eq!(
            limiter.admit_subscriber(&a, &4, at(100)),
            Err(Refusal::DistinctSubscribers(3500))
        );
        assert!(limiter.admit_subscriber(&a, &3, at(100)).is_ok());
        assert_eq!(limiter.metrics.most_distinct.get(), 3);
        assert!(limiter.admit_subscriber(&a, &4, at(HOUR)).is_ok());
    }

    #[test]
    fn who_guesses_at_devices_is_stopped_before_it_is_known_whether_he_is_right() {
        let limiter = limiter(&Limits {
            mismatches_per_hour: 2,
            ..Limits::default()
        });
        let a = consumer("a");
        let guess = |guess: u32, now| limiter.admit_guess(&a, &guess, at(now));
        for right in 0..10 {
            guess(right, 100).unwrap().forget();
        }
        for wrong in [11, 12, 11, 12] {
            assert!(guess(wrong, 100).is_ok());
        }
        assert_eq!(guess(0, 100).err(), Some(Refusal::Mismatches(3500)));
        assert_eq!(guess(13, 100).err(), Some(Refusal::Mismatches(3500)));
        // A guess that is repeated says nothing new, and is no way to give the first one back.
        guess(11, 100).unwrap().forget();
        assert!(guess(13, 100).is_err());
        assert!(guess(13, HOUR).is_ok());
    }

    #[test]
    fn a_class_has_its_own_limits() {
        let class = crate::config::LimitsClass {
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
}
