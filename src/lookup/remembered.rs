//! What the core said, remembered for as long as it may be believed; asked once at a time.
//!
//! Every lookup stands on this: memory first, then the one question that all who ask meanwhile
//! share. "Nothing there" is remembered apart from what is there, so that invented identifiers
//! cannot push real subscribers out.
//!
//! Where a [`Feed`] tells of changes, a word of the core that comes unasked takes the place of what
//! is remembered, and of what a question brings that was asked before: that may be older.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adapters::sbi;
use hashbrown::{DefaultHashBuilder, HashMap};
use moka::sync::Cache;
use tokio::time::Instant;

use super::LookupError;
use super::feed::{Feed, Life, Until};
use super::waiting::{Asker, Waiting};
use crate::config::Config;
use crate::flights::Flights;
use crate::telemetry::metrics::{CacheName, CacheOutcome, LookupMetrics};

/// A value and the moment from which it is not believed any more.
///
/// The lifetime is kept in the value because this costs the cache no timer for each entry, and in
/// one word because that is half of what an [`Instant`] takes.
#[derive(Clone, Copy)]
struct Kept<V> {
    value: V,
    until: Until,
}

/// What the core said, and how long it may be believed at most by the core's own word.
pub(super) struct Told<V> {
    pub(super) value: V,
    /// Zero: for this answer only.
    pub(super) at_most: Duration,
}

impl<V> Told<V> {
    /// The core set no limit of its own.
    pub(super) fn of(value: V) -> Self {
        Self {
            value,
            at_most: Duration::MAX,
        }
    }
}

/// Answers of the core by what was asked.
pub(super) struct Remembered<K, V> {
    name: CacheName,
    lifetime: Duration,
    /// Absent where nothing may be remembered.
    known: Option<Memory<K, V>>,
    none_found: Option<Memory<K, LookupError>>,
    none_found_lifetime: Duration,
    past_lifetime: Duration,
    flights: Flights<K, Result<V, LookupError>>,
    waiting: Waiting,
    metrics: Arc<LookupMetrics>,
    /// Absent where nobody tells of changes.
    fed: Option<Fed<K>>,
}

type Memory<K, V> = Cache<K, Kept<V>, DefaultHashBuilder>;

/// What a memory needs whose content changes unasked.
struct Fed<K> {
    feed: Arc<Feed>,
    lifetime: Duration,
    /// The questions under way, and whether a word of the core about the same came since. Held
    /// while either of them is remembered, so that the later word stays.
    questions: Mutex<HashMap<K, Overtaken>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overtaken {
    No,
    Yes,
}

/// How long answers are remembered, and how many.
pub(super) struct Lifetimes {
    /// Answers; zero: not at all.
    pub(super) known: Duration,
    /// Answers remembered at most.
    pub(super) entries: u64,
    /// That there is nothing; zero: not at all.
    pub(super) none_found: Duration,
    /// How long after its end an answer is given all the same while the core gives none; zero: not
    /// at all.
    pub(super) past_lifetime: Duration,
    /// A feed that tells of changes, and how long answers are remembered while it lasts.
    pub(super) fed: Option<(Arc<Feed>, Duration)>,
}

/// What becomes of what is remembered.
pub(super) enum Correction<V> {
    /// This takes its place.
    Replace(V),
    /// Whoever asks next asks the core.
    Forget,
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
        waiting: &Waiting,
        metrics: Arc<LookupMetrics>,
    ) -> Self {
        let fed = lifetimes.fed.clone();
        let longest = fed
            .as_ref()
            .map_or(lifetimes.known, |(_, long)| lifetimes.known.max(*long));
        Self {
            name,
            lifetime: lifetimes.known,
            known: memory(longest, lifetimes.entries),
            none_found: memory(lifetimes.none_found, config.cache.none_found_entries),
            none_found_lifetime: lifetimes.none_found,
            past_lifetime: lifetimes.past_lifetime,
            flights: Flights::default(),
            waiting: waiting.clone(),
            metrics,
            fed: fed.map(|(feed, lifetime)| Fed {
                feed,
                lifetime,
                questions: Mutex::default(),
            }),
        }
    }

    /// The answer about `key`, from memory or else from `ask`, which is told its deadline. Where too
    /// many requests wait already, one more is refused at once.
    pub(super) async fn get<F>(
        &self,
        key: &K,
        asker: Asker,
        deadline: Instant,
        ask: impl Fn(Instant) -> F,
    ) -> Result<V, LookupError>
    where
        F: Future<Output = Result<Told<V>, LookupError>>,
    {
        if let Some(answer) = self.recall(key) {
            return answer;
        }
        let _place = match asker {
            Asker::Request => match self.waiting.enter() {
                Some(place) => Some(place),
                // The core may be well: what is past its lifetime is not for this.
                None => return Err(self.too_many()),
            },
            Asker::Bridge => None,
        };
        loop {
            let question = async || match &self.fed {
                None => {
                    let answer = ask(deadline).await;
                    self.remember(key, &answer, self.lifetime, Life::NONE);
                    answer.map(|told| told.value)
                }
                Some(fed) => self.ask_fed(fed, key, deadline, &ask).await,
            };
            match self.flights.join(key, question).await {
                // The flight was older than this request, which still has time of its own.
                Err(LookupError::Core(sbi::Error::DeadlinePassed)) if Instant::now() < deadline => {
                }
                Err(error) if error.is_outage() => return self.past(key).ok_or(error),
                answer => return answer,
            }
        }
    }

    fn too_many(&self) -> LookupError {
        self.metrics.shed_waiting();
        LookupError::Core(sbi::Error::Overloaded {
            retry_after: Some(1),
        })
    }

    /// What was the answer until lately.
    fn past(&self, key: &K) -> Option<V> {
        if self.past_lifetime.is_zero() {
            return None;
        }
        let feed = self.fed.as_ref().map(|fed| &*fed.feed);
        let kept = self.known.as_ref()?.get(key)?;
        let value = kept.until.was_ahead(self.past_lifetime, feed);
        let value = value.then_some(kept.value)?;
        self.metrics.answered_past_lifetime();
        Some(value)
    }

    /// Asks until the answer is the last word. One that was overtaken by what the core told unasked
    /// is not believed, whatever it says: it may have been on its way since before.
    async fn ask_fed<F>(
        &self,
        fed: &Fed<K>,
        key: &K,
        deadline: Instant,
        ask: impl Fn(Instant) -> F,
    ) -> Result<V, LookupError>
    where
        F: Future<Output = Result<Told<V>, LookupError>>,
    {
        while Instant::now() < deadline {
            let life = fed.feed.life();
            let question = fed.begin(key);
            let answer = ask(deadline).await;
            let questions = fed.questions();
            if questions.get(key) == Some(&Overtaken::No) {
                let lifetime = match life {
                    Life::NONE => self.lifetime,
                    _ => fed.lifetime,
                };
                self.remember(key, &answer, lifetime, life);
                drop(questions);
                drop(question);
                return answer.map(|told| told.value);
            }
            drop(questions);
            drop(question);
            if let Some(value) = self.known(key) {
                return Ok(value);
            }
        }
        Err(LookupError::Core(sbi::Error::DeadlinePassed))
    }

    /// Takes a word of the core that came unasked: `correct` is told what is remembered, believed
    /// or not.
    pub(super) fn correct(&self, key: &K, correct: impl FnOnce(Option<V>) -> Correction<V>) {
        let Some(fed) = &self.fed else {
            return;
        };
        let mut questions = fed.questions();
        if let Some(question) = questions.get_mut(key) {
            *question = Overtaken::Yes;
        }
        if let Some(none_found) = &self.none_found {
            none_found.invalidate(key);
        }
        let Some(known) = &self.known else {
            return;
        };
        match correct(known.get(key).map(|kept| kept.value)) {
            Correction::Forget => known.invalidate(key),
            Correction::Replace(value) => {
                let life = fed.feed.life();
                let lifetime = match life {
                    Life::NONE => self.lifetime,
                    _ => fed.lifetime,
                };
                // Where nothing may be remembered, what was remembered goes.
                known.invalidate(key);
                self.remember(key, &Ok(Told::of(value)), lifetime, life);
            }
        }
        drop(questions);
    }

    fn recall(&self, key: &K) -> Option<Result<V, LookupError>> {
        if let Some(value) = self.known(key) {
            self.metrics.cache(self.name, CacheOutcome::Hit);
            return Some(Ok(value));
        }
        if let Some(miss) = recall(self.none_found.as_ref(), None, key) {
            self.metrics.cache(self.name, CacheOutcome::NegativeHit);
            return Some(Err(miss));
        }
        self.metrics.cache(self.name, CacheOutcome::Miss);
        None
    }

    /// Whether there is an answer that is believed.
    pub(super) fn holds(&self, key: &K) -> bool {
        self.known(key).is_some()
    }

    /// The answer that is believed.
    fn known(&self, key: &K) -> Option<V> {
        let feed = self.fed.as_ref().map(|fed| &*fed.feed);
        recall(self.known.as_ref(), feed, key)
    }

    /// Remembers the answer before anybody gets it.
    fn remember(
        &self,
        key: &K,
        answer: &Result<Told<V>, LookupError>,
        lifetime: Duration,
        life: Life,
    ) {
        match answer {
            Ok(Told { value, at_most }) => {
                let lifetime = lifetime.min(*at_most);
                if lifetime.is_zero() {
                    self.supersede(key);
                } else if let Some(known) = &self.known {
                    let until = Until::new(lifetime, life);
                    let value = value.clone();
                    known.insert(key.clone(), Kept { value, until });
                }
            }
            Err(miss) if miss.is_none_found() => {
                self.supersede(key);
                if let Some(none_found) = &self.none_found {
                    let until = Until::new(self.none_found_lifetime, Life::NONE);
                    let value = *miss;
                    none_found.insert(key.clone(), Kept { value, until });
                }
            }
            Err(_) => {}
        }
    }

    /// What was remembered is not the answer any more, not even in an outage.
    fn supersede(&self, key: &K) {
        if let Some(known) = &self.known
            && !self.past_lifetime.is_zero()
        {
            known.invalidate(key);
        }
    }

    /// Brings the sizes into the metrics.
    pub(super) fn record_size(&self) {
        let (known, none_found) = (size(self.known.as_ref()), size(self.none_found.as_ref()));
        self.metrics.cache_size(self.name, known, none_found);
    }
}

impl<K: Eq + Hash + Clone> Fed<K> {
    fn begin<'a>(&'a self, key: &'a K) -> Question<'a, K> {
        self.questions().insert(key.clone(), Overtaken::No);
        Question { fed: self, key }
    }

    fn questions(&self) -> MutexGuard<'_, HashMap<K, Overtaken>> {
        self.questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question under way; of one key there is one at a time.
struct Question<'a, K: Eq + Hash + Clone> {
    fed: &'a Fed<K>,
    key: &'a K,
}

impl<K: Eq + Hash + Clone> Drop for Question<'_, K> {
    fn drop(&mut self) {
        self.fed.questions().remove(self.key);
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

fn recall<K, V>(memory: Option<&Memory<K, V>>, feed: Option<&Feed>, key: &K) -> Option<V>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let kept = memory?.get(key)?;
    kept.until.is_ahead(feed).then_some(kept.value)
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
