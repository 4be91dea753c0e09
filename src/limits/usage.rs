//! What one consumer used of its limits within the window of each. A lock is held for a comparison
//! or two.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;

use super::Refusal;
use super::distinct::Distinct;
use super::guesses::Guesses;
use super::window::Window;
use crate::config::Allowance;

/// What one consumer used.
pub(super) struct Usage {
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

impl Usage {
    pub(super) fn new(allowance: &Allowance) -> Self {
        let rate = NonZeroU32::new(allowance.requests_per_second).map(|per_second| {
            let burst = NonZeroU32::new(allowance.burst).unwrap_or(per_second);
            RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst))
        });
        Self {
            rate,
            requests_per_day: allowance.requests_per_day,
            today: Mutex::default(),
            this_hour: Mutex::new(ThisHour {
                hour: 0,
                distinct: Distinct::new(allowance.distinct_subscribers_per_hour),
            }),
            guesses: Mutex::new(Guesses::new(allowance.mismatches_per_hour)),
        }
    }

    pub(super) fn take_rate(&self) -> Result<(), Refusal> {
        let Some(rate) = &self.rate else {
            return Ok(());
        };
        rate.check().map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Refusal::Rate(whole_seconds(wait))
        })
    }

    /// The day of whose quota it was taken.
    pub(super) fn take_quota(&self, now: Timestamp) -> Result<i64, Refusal> {
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

    /// A request of that day does not count after all.
    pub(super) fn give_back(&self, day: i64) {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if today.day == day {
            today.requests = today.requests.saturating_sub(1);
        }
    }

    /// Looks at the subscribers of this hour, or has one counted.
    pub(super) fn this_hour<T>(&self, now: Timestamp, look: impl FnOnce(&mut Distinct) -> T) -> T {
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

    /// The guesses at devices, for as long as the lock is held.
    pub(super) fn guesses(&self) -> MutexGuard<'_, Guesses> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rounded up: an earlier try would be refused again.
fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}
