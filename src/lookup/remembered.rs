//! What the core said, remembered for as long as it may be believed; asked once at a time.
//!
//! Every lookup stands on this: memory first, then the one question that all who ask meanwhile
//! share. "Nothing there" is remembered apart from what is there, so that invented identifiers
//! cannot push real subscribers out.

use std::hash::Hash;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use adapters::sbi;
use moka::sync::Cache;
use tokio::time::Instant;

use super::LookupError;
use crate::config::Config;
use crate::flights::Flights;
use crate::telemetry::metrics::{CacheName, CacheOutcome, LookupMetrics};

/// A value and the moment from which it is not believed any more.
///
/// The lifetime is kept in the value because this costs the cache no timer for each entry, and in
/// milliseconds since [`STARTED`] because that is half of what an [`Instant`] takes.
#[derive(Clone, Copy)]
struct Kept<V> {
    value: V,
    until: u64,
}

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

impl<V> Kept<V> {
    /// Believes the value for so long from now.
    fn for_time(lifetime: Duration, value: V) -> Self {
        let until = (STARTED.elapsed() + lifetime).as_millis();
        Self {
            value,
            until: u64::try_from(until).unwrap_or(u64::MAX),
        }
    }

    /// The value, while it is believed.
    fn live(self) -> Option<V> {
        (STARTED.elapsed() < Duration::from_millis(self.until)).then_some(self.value)
    }
}

/// What the core said, and how long it may be believed; zero: for this answer only.
pub(super) struct Told<V> {
    pub(super) value: V,
    pub(super) lifetime: Duration,
}

/// Answers of the core by what was asked.
pub(super) struct Remembered<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    name: CacheName,
    known: Cache<K, Kept<V>>,
    none_found: Cache<K, Kept<LookupError>>,
    none_found_lifetime: Duration,
    flights: Flights<K, Result<V, LookupError>>,
    request_timeout: Duration,
    metrics: Arc<LookupMetrics>,
}

impl<K, V> Remembered<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// An empty memory of at most so many entries, in which nothing found is believed for
    /// `none_found`.
    pub(super) fn new(
        name: CacheName,
        entries: u64,
        none_found: Duration,
        config: &Config,
        metrics: Arc<LookupMetrics>,
    ) -> Self {
        Self {
            name,
            known: Cache::new(entries),
            none_found: Cache::new(config.cache.none_found_entries),
            none_found_lifetime: none_found,
            flights: Flights::default(),
            request_timeout: config.api.request_timeout,
            metrics,
        }
    }

    /// The answer about `key`, from memory or else from `ask`, which is told its deadline.
    pub(super) async fn get<F>(
        &self,
        key: &K,
        deadline: Instant,
        ask: impl Fn(Instant) -> F,
    ) -> Result<V, LookupError>
    where
        F: Future<Output = Result<Told<V>, LookupError>> + Send + 'static,
    {
        if let Some(answer) = self.recall(key) {
            return answer;
        }
        loop {
            let own_deadline = Instant::now() + self.request_timeout;
            let question = || self.remembering(key.clone(), ask(own_deadline));
            match self.flights.join(key, question).await {
                // The flight was older than this request, which still has time of its own.
                Err(LookupError::Core(sbi::Error::DeadlinePassed)) if Instant::now() < deadline => {
                }
                answer => return answer,
            }
        }
    }

    fn recall(&self, key: &K) -> Option<Result<V, LookupError>> {
        if let Some(value) = self.known.get(key).and_then(Kept::live) {
            self.metrics.cache(self.name, CacheOutcome::Hit);
            return Some(Ok(value));
        }
        if let Some(miss) = self.none_found.get(key).and_then(Kept::live) {
            self.metrics.cache(self.name, CacheOutcome::NegativeHit);
            return Some(Err(miss));
        }
        self.metrics.cache(self.name, CacheOutcome::Miss);
        None
    }

    /// Remembers the answer before anybody gets it.
    fn remembering(
        &self,
        key: K,
        answer: impl Future<Output = Result<Told<V>, LookupError>> + Send + 'static,
    ) -> impl Future<Output = Result<V, LookupError>> + Send + 'static {
        let (known, none_found) = (self.known.clone(), self.none_found.clone());
        let none_found_lifetime = self.none_found_lifetime;
        async move {
            match answer.await {
                Ok(Told { value, lifetime }) => {
                    if !lifetime.is_zero() {
                        known.insert(key, Kept::for_time(lifetime, value.clone()));
                    }
                    Ok(value)
                }
                Err(miss) => {
                    if miss.is_none_found() && !none_found_lifetime.is_zero() {
                        none_found.insert(key, Kept::for_time(none_found_lifetime, miss));
                    }
                    Err(miss)
                }
            }
        }
    }

    /// Brings the sizes into the metrics.
    pub(super) fn record_size(&self) {
        // The caches count what they have settled, and settle on use: a quiet bridge would lag.
        self.known.run_pending_tasks();
        self.none_found.run_pending_tasks();
        let (known, none_found) = (self.known.entry_count(), self.none_found.entry_count());
        self.metrics.cache_size(self.name, known, none_found);
    }
}
