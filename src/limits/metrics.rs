//! What limits refused, and how far the busiest consumer walks. No label names a consumer: there may
//! be any number of them.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::Refusal;
use super::window::Window;

/// What was refused, and how far the busiest consumer walks.
pub struct LimitMetrics {
    rate: IntCounter,
    quota: IntCounter,
    distinct_subscribers: IntCounter,
    mismatches: IntCounter,
    pub(super) most_distinct: IntGauge,
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

    pub(super) fn refused(&self, refusal: Refusal) {
        match refusal {
            Refusal::Rate(_) => self.rate.inc(),
            Refusal::Quota(_) => self.quota.inc(),
            Refusal::DistinctSubscribers(_) => self.distinct_subscribers.inc(),
            Refusal::Mismatches(_) => self.mismatches.inc(),
        }
    }

    pub(super) fn saw_distinct(&self, distinct: usize, now: Timestamp) {
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
