//! How much each consumer may ask: requests a second, requests a day, distinct subscribers and wrong
//! guesses at devices an hour.
//!
//! Only consumers with a verified token get here, and what is remembered of them is bounded. How
//! many subscribers each asks for is watched where nothing limits it, too ([`distinct`]).

mod distinct;
mod guesses;
mod metrics;
mod usage;
mod window;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::Ipv6Addr;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use jiff::Timestamp;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::auth::ConsumerId;
use crate::config::{Allowance, IdentifierKind, Limits};
use crate::lookup::{DeviceQuery, Progress};
use guesses::{OpenGuess, TooMany};
use usage::Usage;
use window::Window;

pub use metrics::LimitMetrics;

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
    default: Allowance,
    by_consumer: HashMap<Box<str>, Allowance>,
    usage: Cache<ConsumerId, Arc<Usage>, DefaultHashBuilder>,
    hasher: RandomState,
    metrics: Arc<LimitMetrics>,
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
            members.map(|consumer| (consumer.as_str().into(), limits.of(class)))
        });
        // Whoever has not asked for the longest time is forgotten first. A policy that keeps who
        // asks often would forget the rest at once, and with them what they used.
        let usage = Cache::builder()
            .max_capacity(limits.consumer_entries)
            .eviction_policy(EvictionPolicy::lru())
            .build_with_hasher(DefaultHashBuilder::default());
        Self {
            default: limits.of_others(),
            by_consumer: by_consumer.collect(),
            usage,
            hasher: RandomState::new(),
            metrics,
        }
    }

    /// Admits a request of a consumer by rate and quota.
    pub fn admit(&self, consumer: &ConsumerId, now: Timestamp) -> Result<Admission, Refusal> {
        let usage = self.usage.get_with_by_ref(consumer, || {
            let own = self.by_consumer.get(consumer.as_str());
            Arc::new(Usage::new(own.unwrap_or(&self.default)))
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

    /// Counts the subscribers that a consumer is about to learn of: the one that was found, else
    /// whoever the identifiers would mean, and each that was passed over because nobody has it.
    pub fn count(
        &self,
        consumer: &Consumer,
        progress: &Progress,
        query: &DeviceQuery,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let passed_over = |kind: IdentifierKind| progress.passed_over.contains(&kind);
        let subscriber = match &progress.subscription {
            Some(subscription) => Some(self.hasher.hash_one(subscription)),
            None if progress.passed_over.is_empty() => {
                let identifiers: Vec<u64> = self.identifiers(query).collect();
                Some(self.hasher.hash_one(identifiers))
            }
            None => None,
        };
        let count = consumer.0.this_hour(now, |distinct| {
            let mut count = None;
            for (_, nobody) in self.by_kind(query).filter(|(kind, _)| passed_over(*kind)) {
                let hash = self.hasher.hash_one([nobody]);
                count = Some(distinct.count(hash, std::iter::once(nobody))?);
            }
            let Some(subscriber) = subscriber else {
                return count;
            };
            let asked_with = self.by_kind(query).filter(|(kind, _)| !passed_over(*kind));
            distinct.count(subscriber, asked_with.map(|(_, identifier)| identifier))
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
        let taken = consumer.0.guesses().take(guess, Window::Hour.number(now));
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

    /// What a query asks with, hashed as it is looked at: usually nobody does.
    fn identifiers(&self, query: &DeviceQuery) -> impl Iterator<Item = u64> {
        self.by_kind(query).map(|(_, identifier)| identifier)
    }

    /// The same, and of which kind each is. Of an IPv6 address only the prefix counts: the rest is
    /// the device's to choose.
    fn by_kind(&self, query: &DeviceQuery) -> impl Iterator<Item = (IdentifierKind, u64)> {
        use IdentifierKind::{Ipv4Address, Ipv6Address, NetworkAccessIdentifier, PhoneNumber};

        let hasher = &self.hasher;
        let prefix = |address: Ipv6Addr| address.to_bits() & (u128::MAX << 64);
        let number = query.phone_number.into_iter();
        let nai = query.network_access_identifier.iter();
        let ipv6 = query.ipv6_address.into_iter();
        let ipv4 = query.ipv4_address.into_iter();
        number
            .map(|it| (PhoneNumber, hasher.hash_one(("number", it))))
            .chain(nai.map(|it| (NetworkAccessIdentifier, hasher.hash_one(("nai", it)))))
            .chain(ipv6.map(move |it| (Ipv6Address, hasher.hash_one(("ipv6", prefix(it))))))
            .chain(ipv4.map(|it| (Ipv4Address, hasher.hash_one(("ipv4", it)))))
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
            consumer.0.guesses().was_wrong(open);
        }
    }
}

/// It was right, or the request came to no answer, by a deadline perhaps.
impl Drop for Guess {
    fn drop(&mut self) {
        if let Some((consumer, open)) = self.0.take() {
            consumer.0.guesses().forget(open);
        }
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
        self.consumer.0.give_back(self.day);
    }
}

#[cfg(test)]
mod tests;
