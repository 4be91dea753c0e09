//! How much may be asked again: a share of what is asked, so that a core in trouble never sees a
//! storm.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::Settings;

/// The floor of so many seconds can be saved up for a burst.
const FLOOR_SECONDS_SAVED: f64 = 10.0;
/// Enough for every stream of several lost connections at once.
const MOST_SAVED: f64 = 1000.0;

/// The retry budget of one network function.
#[derive(Debug)]
pub(super) struct RetryBudget {
    /// First requests ever: all that the usual path of a request touches.
    requests: AtomicU64,
    ratio: f64,
    floor_per_second: f64,
    account: Mutex<Account>,
}

#[derive(Debug)]
struct Account {
    balance: f64,
    requests_seen: u64,
    updated: Instant,
}

impl RetryBudget {
    pub(super) fn new(settings: &Settings) -> Self {
        let floor_per_second = f64::from(settings.retry_floor_per_second);
        Self {
            requests: AtomicU64::new(0),
            ratio: settings.retry_ratio.clamp(0.0, 1.0),
            floor_per_second,
            account: Mutex::new(Account {
                balance: floor_per_second * FLOOR_SECONDS_SAVED,
                requests_seen: 0,
                updated: Instant::now(),
            }),
        }
    }

    /// A first request earns its share of a retry.
    pub(super) fn deposit(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one retry out, if there is one left.
    pub(super) fn withdraw(&self) -> bool {
        let now = Instant::now();
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = self.requests.load(Ordering::Relaxed);
        let new = u32::try_from(requests.saturating_sub(account.requests_seen)).unwrap_or(u32::MAX);
        let seconds = now.duration_since(account.updated).as_secs_f64();
        // Idle time alone saves up to its own bound; what is there beyond stays.
        let floor_cap = (self.floor_per_second * FLOOR_SECONDS_SAVED).max(account.balance);
        account.balance = (account.balance + seconds * self.floor_per_second).min(floor_cap);
        account.balance = (account.balance + f64::from(new) * self.ratio).min(MOST_SAVED);
        account.requests_seen = requests;
        account.updated = now;
        let allowed = account.balance >= 1.0;
        if allowed {
            account.balance -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn budget(retry_ratio: f64, retry_floor_per_second: u32) -> RetryBudget {
        RetryBudget::new(&Settings {
            retry_ratio,
            retry_floor_per_second,
            ..Settings::default()
        })
    }

    fn withdrawals(budget: &RetryBudget) -> usize {
        (0..10_000).take_while(|_| budget.withdraw()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn the_floor_is_refilled_by_time_and_bounded() {
        let budget = budget(0.0, 2);
        assert_eq!(withdrawals(&budget), 20);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(withdrawals(&budget), 6);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(withdrawals(&budget), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_earn_their_share_and_no_more_than_the_bound() {
        let budget = budget(0.2, 0);
        assert_eq!(withdrawals(&budget), 0);
        (0..50).for_each(|_| budget.deposit());
        assert_eq!(withdrawals(&budget), 10);
        (0..100_000).for_each(|_| budget.deposit());
        assert_eq!(withdrawals(&budget), 1000);
    }
}
