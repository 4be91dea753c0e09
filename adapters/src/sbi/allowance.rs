//! So many a second and no more, of what somebody else can bring about without end.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What may happen so often within a second.
#[derive(Debug)]
pub(crate) struct Allowance {
    most: u32,
    /// When the second began, and how many were asked for in it.
    taken: Mutex<(Instant, u32)>,
}

impl Allowance {
    /// At most so many in one second.
    pub(crate) fn per_second(most: u32) -> Self {
        Self {
            most,
            taken: Mutex::new((Instant::now(), 0)),
        }
    }

    /// Whether one more may be.
    pub(crate) fn take(&self) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = &mut *taken;
        if since.elapsed() >= Duration::from_secs(1) {
            *since = Instant::now();
            *count = 0;
        }
        *count = count.saturating_add(1);
        *count <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_second_has_its_own() {
        let allowance = Allowance::per_second(2);
        for _second in 0..3 {
            assert_eq!(
                [(); 4].map(|()| allowance.take()),
                [true, true, false, false]
            );
            tokio::time::advance(Duration::from_millis(999)).await;
            assert!(!allowance.take());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }
}
