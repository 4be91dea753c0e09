//! How many requests may wait for the core at once, whatever they wait for.
//!
//! One function that hangs is bounded by its calls (`core.max_calls_in_flight`), and so is one
//! number that many ask about; several of either are not. Without a bound on all of them together,
//! requests that wait would take every place that there is for requests
//! (`api.max_requests_in_flight`), and those that memory alone can answer would be turned away.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::telemetry::metrics::LookupMetrics;

/// The places of those who wait. Cheap to clone.
#[derive(Clone)]
pub struct Waiting {
    places: Arc<Semaphore>,
    most: usize,
}

/// On whose behalf something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A request, which takes a place while it waits.
    Request,
    /// A question of a request that has its place, or what the core told unasked.
    Bridge,
}

impl Waiting {
    /// So many places.
    pub(super) fn new(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(most)),
            most,
        }
    }

    /// A place, where one is free.
    pub(super) fn enter(&self) -> Option<SemaphorePermit<'_>> {
        self.places.try_acquire().ok()
    }

    /// Brings the number of those who wait into the metrics.
    pub(super) fn record(&self, metrics: &LookupMetrics) {
        metrics.waiting(self.most - self.places.available_permits());
    }
}
