//! What the core said, remembered for as long as it may be believed; asked once at a time.
//!
//! Every lookup stands on this: memory first, then the one question that all who ask meanwhile
//! share. "Nothing there" is remembered apart from what is there, so that invented identifiers
//! cannot push real subscribers out.

use std::hash::Hash;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use adapters::sbi;
use hashbrown::DefaultHashBuilder;
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
pub(super) struct Remembered<K, V> {
    name: CacheName,
    /// Absent where nothing may be remembered.
    known: Option<Memory<K, V>>,
    none_found: Option<Memory<K, LookupError>>,
    none_found_lifetime: Duration,
    flights: Flights<K, Result<V, LookupError>>,
    request_timeout: Duration,
    metrics: Arc<LookupMetrics>,
}

type Memory<K, V> = Cache<K, Kept<V>, DefaultHashBuilder>;

/// How long answers are remembered, and how many.
pub(super) struct Lifetimes {
    /// Answers; zero: not at all.
    pub(super) known: Duration,
    /// Answers remembered at most.
    pub(super) entries: u64,
    /// That there is nothing; zero: not at all.
    pub(super) none_found: Duration,
}

impl<K, V> Remembered<K, V>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// An empty memory.
    pub(super) fn new(
        name: CacheName,
        lifetimes: &Lifetimes,
        config: &Config,
        metrics: Arc<LookupMetrics>,
    ) -> Self {
        Self {
            name,
            known: memory(lifetimes.known, lifetimes.entries),
            none_found: memory(lifetimes.none_found, config.cache.none_found_entries),
            none_found_lifetime: lifetimes.none_found,
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
        F: Future<Output = Result<Told<V>, LookupError>>,
    {
        if let Some(answer) = self.recall(key) {
            return answer;
        }
        loop {
            let question = async || {
                let answer = ask(Instant::now() + self.request_timeout).await;
                self.remember(key, &answer);
                answer.map(|told| told.value)
            };
            match self.flights.join(key, question).await {
                // The flight was older than this request, which still has time of its own.
                Err(LookupError::Core(sbi::Error::DeadlinePassed)) if Instant::now() < deadline => {
                }
                answer => return answer,
            }
        }
    }

    fn recall(&self, key: &K) -> Option<Result<V, LookupError>> {
        if let Some(value) = recall(self.known.as_ref(), key) {
            self.metrics.cache(self.name, CacheOutcome::Hit);
            return Some(Ok(value));
        }
        if let Some(miss) = recall(self.none_found.as_ref(), key) {
            self.metrics.cache(self.name, CacheOutcome::NegativeHit);
            return Some(Err(miss));
        }
        self.metrics.cache(self.name, CacheOutcome::Miss);
        None
    }

    /// Remembers the answer before anybody gets it.
    fn remember(&self, key: &K, answer: &Result<Told<V>, LookupError>) {
        match (answer, &self.known, &self.none_found) {
            (Ok(Told { value, lifetime }), Some(known), _) if !lifetime.is_zero() => {
                known.insert(key.clone(), Kept::for_time(*lifetime, value.clone()));
            }
            (Err(miss), _, Some(none_found)) if miss.is_none_found() => {
                none_found.insert(key.clone(), Kept::for_time(self.none_found_lifetime, *miss));
            }
            _ => {}
        }
    }

    /// Brings the sizes into the metrics.
    pub(super) fn record_size(&self) {
        let (known, none_found) = (size(self.known.as_ref()), size(self.none_found.as_ref()));
        self.metrics.cache_size(self.name, known, none_found);
    }
}

fn memory<K, V>(lifetime: Duration, entries: u64) -> Option<Memory<K, V>>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let memory = || {
        Cache::builder()
            .max_capacity(entries)
            .build_with_hasher(DefaultHashBuilder::default())
    };
    (!lifetime.is_zero()).then(memory)
}

fn recall<K, V>(memory: Option<&Memory<K, V>>, key: &K) -> Option<V>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    memory?.get(key).and_then(Kept::live)
}

fn size<K, V>(memory: Option<&Memory<K, V>>) -> u64
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    memory.map_or(0, |memory| {
        // It counts what it has settled, and settles on use: a quiet bridge would lag.
        memory.run_pending_tasks();
        memory.entry_count()
    })
}
