//! Who is responsible for one address or one subscription, where the profiles of the instances do
//! not tell: each is searched for at the NRF, and what was found is remembered for a while.
//!
//! Consumers decide which keys there are, so everything is bounded: what is remembered, for how
//! long nobody found counts, how long and how often the NRF is asked while it does not answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use device::UeId;
use serde_json::json;
use tokio::time::Instant;

use super::discovery::DiscoverySettings;
use super::search::{Criteria, Search};
use crate::sbi::{Allowance, ApiRoot, Client, Error, Path, Served, ServiceName, Subject};

/// Keys whose instances are remembered: the addresses of a network's translation are far fewer, and
/// of subscriptions it spares most of those who come again.
const MOST_KNOWN: usize = 10_000;
/// Places remembered for one key: there are always others that could be asked.
const MOST_PLACES: usize = 32;
/// Keys remembered that nobody is responsible for. Whoever makes them up pushes out none of the
/// others.
const MOST_NOBODIES: usize = 1_000;
/// So long nobody found counts: whoever comes is found soon.
const NOBODY_PERIOD: Duration = Duration::from_secs(5);
/// The different answers that keys share; of further ones each key has its own.
const MOST_SHARED: usize = 64;
/// Before an NRF is searched again that did not answer: nobody waits for it meanwhile.
const PAUSE: Duration = Duration::from_secs(1);
/// What a search may take of the time that is left: there has to be some to ask without it.
const SHARE_OF_TIME: u32 = 3;
/// Searches of one kind in one second. Unknown numbers and addresses can be made up without end.
const MOST_SEARCHES_PER_SECOND: u32 = 100;

/// Who is responsible for a key.
#[derive(Debug)]
pub(crate) enum Located {
    /// The instances at these apiRoots.
    At(Arc<[ApiRoot]>),
    /// Nobody, says the NRF.
    Nowhere,
}

/// Why it is not known who is responsible.
#[derive(Debug)]
pub(crate) enum Unlocated {
    /// Too many are being searched for.
    Withheld,
    /// The NRF does not say.
    Failed(Error),
}

/// Who serves a subscription.
#[derive(Debug)]
pub(crate) enum Serving {
    /// Any of those that the profiles name.
    Anybody,
    /// The instances at these apiRoots.
    At(Arc<[ApiRoot]>),
    /// Those of one part of the subscriptions, and they do not tell which.
    OnePart,
}

/// Which UPF has an address on its N6 side (`upf-n6-ip`).
#[derive(Debug)]
pub struct N6Directory {
    directory: Directory<Ipv4Addr>,
    searches: Allowance,
}

impl N6Directory {
    /// Asks the NRF behind `nrf` which instances of `upfs` fit as well.
    pub fn new(nrf: &Client, upfs: &Client, criteria: Criteria, of: &DiscoverySettings) -> Self {
        Self {
            directory: Directory::new(nrf, upfs, criteria, of),
            searches: Allowance::per_second(MOST_SEARCHES_PER_SECOND),
        }
    }

    /// Where the UPFs are that have this address. An error where nobody can tell.
    pub(crate) async fn locate(
        &self,
        address: Ipv4Addr,
        deadline: Instant,
    ) -> Result<Located, Unlocated> {
        let value = json!({"ipv4Addr": address}).to_string();
        let narrow = |path: Path| path.literal("&upf-n6-ip=").encoded_address(value);
        let mut is_withheld = false;
        let allowed = || {
            is_withheld = !self.searches.take();
            !is_withheld
        };
        let located = self.directory.locate(allowed, &address, narrow, deadline);
        let located = located.await;
        located.map_err(|error| {
            if is_withheld {
                Unlocated::Withheld
            } else {
                Unlocated::Failed(error)
            }
        })
    }

    /// All the UPFs that are known.
    pub(crate) fn upfs(&self) -> Vec<ApiRoot> {
        self.directory.instances.roots(ServiceName::NupfGueip)
    }
}

/// Which UDM serves a subscription, where their profiles name groups, or others.
#[derive(Debug)]
pub struct SubscriberDirectory {
    directory: Directory<UeId>,
    searches: Allowance,
    /// Where they were known, of those that each part of the UDMs had to be asked for.
    knowing: Mutex<Memory<UeId>>,
}

impl SubscriberDirectory {
    /// Asks the NRF behind `nrf` which instances of `udms` fit as well.
    pub fn new(nrf: &Client, udms: &Client, criteria: Criteria, of: &DiscoverySettings) -> Self {
        Self {
            directory: Directory::new(nrf, udms, criteria, of),
            searches: Allowance::per_second(MOST_SEARCHES_PER_SECOND),
            knowing: Mutex::new(Memory::new()),
        }
    }

    /// Which UDMs serve this subscription.
    pub(crate) async fn locate(
        &self,
        service: ServiceName,
        ue: &UeId,
        deadline: Instant,
    ) -> Result<Serving, Error> {
        let instances = &self.directory.instances;
        let unknown_is_told = match instances.served(service, Subject::Ue(ue)) {
            Served::Anywhere => return Ok(Serving::Anybody),
            Served::InOnePart => return Ok(Serving::OnePart),
            Served::Elsewhere => true,
            // The wrong group would say that it knows nothing, and be wrong.
            Served::InOneGroup => false,
        };
        // Boxed: the rare way must not make the common one large.
        let found = Box::pin(self.search(ue, deadline)).await;
        // An NRF need not know by public name who is in which group: it may name nobody, or all.
        let may_not_know = matches!(ue, UeId::Gpsi(_)) && !unknown_is_told;
        match found {
            Ok(Located::At(roots)) if may_not_know && self.is_several(service, ue, &roots) => {
                Ok(Serving::OnePart)
            }
            Ok(Located::Nowhere) if may_not_know => Ok(Serving::OnePart),
            Ok(Located::At(roots)) => Ok(Serving::At(roots)),
            // Whoever is asked says the same.
            Ok(Located::Nowhere) => Ok(Serving::Anybody),
            Err(_) if unknown_is_told => Ok(Serving::Anybody),
            Err(error) => Err(error),
        }
    }

    /// Where the UDMs are that most likely know this subscription, of which nobody told who serves
    /// it: those that knew it before, or the one part that the NRF narrows them to.
    pub(crate) async fn likely(
        &self,
        service: ServiceName,
        ue: &UeId,
        deadline: Instant,
    ) -> Option<Arc<[ApiRoot]>> {
        let instances = &self.directory.instances;
        let known = match lock(&self.knowing).recall(ue) {
            Some(Recalled::Fresh(roots)) => Some(roots),
            Some(Recalled::Old(_) | Recalled::Nobody) | None => None,
        };
        let known = known.filter(|roots| instances.is_offered_at_any(service, roots));
        if known.is_some() {
            return known;
        }
        // An NRF need not know by public name whom the profiles state by SUPI: it may name nobody,
        // or all of them.
        match self.search(ue, deadline).await {
            Ok(Located::At(roots)) if !self.is_several(service, ue, &roots) => Some(roots),
            Ok(Located::At(_) | Located::Nowhere) | Err(_) => None,
        }
    }

    /// Whether the UDMs at these apiRoots are more than one part of them.
    fn is_several(&self, service: ServiceName, ue: &UeId, roots: &[ApiRoot]) -> bool {
        let among = Subject::UeAmong(ue, roots);
        self.directory.instances.parts(service, among).len() > 1
    }

    /// Where the UDMs are, by the part of the subscriptions that they serve.
    pub(crate) fn parts(&self, service: ServiceName, ue: &UeId) -> Vec<Vec<ApiRoot>> {
        self.directory.instances.parts(service, Subject::Ue(ue))
    }

    /// The UDMs at these apiRoots know this subscription.
    pub(crate) fn is_known_at(&self, ue: &UeId, roots: &[ApiRoot]) {
        let roots = roots.get(..MOST_PLACES).unwrap_or(roots);
        lock(&self.knowing).remember(ue, roots, self.directory.longest_period);
    }

    async fn search(&self, ue: &UeId, deadline: Instant) -> Result<Located, Error> {
        let name = match ue {
            UeId::Supi(_) => "&supi=",
            UeId::Gpsi(_) => "&gpsi=",
        };
        let narrow = |path: Path| path.literal(name).identifier(ue);
        let allowed = || self.searches.take();
        self.directory.locate(allowed, ue, narrow, deadline).await
    }
}

/// Instances by a key that the NRF is asked for.
#[derive(Debug)]
struct Directory<K> {
    search: Search,
    criteria: Criteria,
    longest_period: Duration,
    /// Those that are asked.
    instances: Client,
    memory: Mutex<Memory<K>>,
}

impl<K: Clone + Eq + Hash> Directory<K> {
    fn new(nrf: &Client, instances: &Client, criteria: Criteria, of: &DiscoverySettings) -> Self {
        Self {
            search: Search::new(nrf),
            criteria,
            longest_period: of.longest_period,
            instances: instances.clone(),
            memory: Mutex::new(Memory::new()),
        }
    }

    /// Who is responsible for the key, for which `narrow` narrows the search; searched for only
    /// where that is allowed.
    async fn locate(
        &self,
        may_search: impl FnOnce() -> bool,
        key: &K,
        narrow: impl FnOnce(Path) -> Path,
        deadline: Instant,
    ) -> Result<Located, Error> {
        let (old, paused) = {
            let memory = lock(&self.memory);
            // Whoever is gone meanwhile is looked for anew.
            let is_there = |roots: &Arc<[ApiRoot]>| self.instances.is_at_any(roots);
            let old = match memory.recall(key) {
                Some(Recalled::Fresh(roots)) if is_there(&roots) => return Ok(Located::At(roots)),
                Some(Recalled::Fresh(roots) | Recalled::Old(roots)) => Some(roots),
                Some(Recalled::Nobody) => return Ok(Located::Nowhere),
                None => None,
            };
            (old.filter(is_there), memory.paused())
        };
        let otherwise = |error| old.clone().map(Located::At).ok_or(error);
        if let Some(error) = paused {
            return otherwise(error);
        }
        if !may_search() {
            return otherwise(Error::Overloaded {
                retry_after: Some(1),
            });
        }
        let now = Instant::now();
        let until = now + deadline.saturating_duration_since(now) / SHARE_OF_TIME;
        let found = self.search.narrowed(&self.criteria, narrow, until).await;
        let mut memory = lock(&self.memory);
        match found {
            Ok(found) if found.instances.is_empty() => {
                // An NRF that was started anew knows nobody until they register again.
                if let Some(roots) = old {
                    return Ok(Located::At(memory.remember(key, &roots, NOBODY_PERIOD)));
                }
                memory.remember_nobody(key);
                Ok(Located::Nowhere)
            }
            Ok(found) => {
                self.instances.include(&found.instances);
                let period = found.period(self.longest_period);
                let roots = found.instances.into_iter().map(|one| one.root);
                let roots: Vec<_> = roots.take(MOST_PLACES).collect();
                Ok(Located::At(memory.remember(key, &roots, period)))
            }
            Err(error) => {
                memory.pause(error);
                drop(memory);
                otherwise(error)
            }
        }
    }
}

/// What searches have told.
#[derive(Debug)]
struct Memory<K> {
    known: HashMap<K, Known>,
    /// Until when each of them counts.
    nobodies: HashMap<K, Instant>,
    /// The answers that many keys share.
    shared: Vec<Arc<[ApiRoot]>>,
    /// Until when the NRF is not searched, and why.
    pause: Option<(Instant, Error)>,
}

#[derive(Debug)]
struct Known {
    roots: Arc<[ApiRoot]>,
    fresh_until: Instant,
}

enum Recalled {
    Fresh(Arc<[ApiRoot]>),
    /// Good for as long as nothing newer is told.
    Old(Arc<[ApiRoot]>),
    Nobody,
}

impl<K: Clone + Eq + Hash> Memory<K> {
    fn new() -> Self {
        Self {
            known: HashMap::new(),
            nobodies: HashMap::new(),
            shared: Vec::new(),
            pause: None,
        }
    }

    fn recall(&self, key: &K) -> Option<Recalled> {
        let now = Instant::now();
        if let Some(known) = self.known.get(key) {
            let roots = Arc::clone(&known.roots);
            return Some(if now < known.fresh_until {
                Recalled::Fresh(roots)
            } else {
                Recalled::Old(roots)
            });
        }
        let counts = |until: &Instant| now < *until;
        let nobody = self.nobodies.get(key).copied().filter(counts);
        nobody.map(|_| Recalled::Nobody)
    }

    fn remember(&mut self, key: &K, roots: &[ApiRoot], period: Duration) -> Arc<[ApiRoot]> {
        let now = Instant::now();
        self.pause = None;
        self.nobodies.remove(key);
        let roots = self.share(roots);
        if self.known.len() >= MOST_KNOWN && !self.known.contains_key(key) {
            self.known.retain(|_, known| now < known.fresh_until);
        }
        // All of them fresh: one more is searched for each time.
        if self.known.len() < MOST_KNOWN || self.known.contains_key(key) {
            let known = Known {
                roots: Arc::clone(&roots),
                fresh_until: now + period,
            };
            self.known.insert(key.clone(), known);
        }
        roots
    }

    fn remember_nobody(&mut self, key: &K) {
        let now = Instant::now();
        self.pause = None;
        self.known.remove(key);
        if self.nobodies.len() >= MOST_NOBODIES {
            self.nobodies.retain(|_, until| now < *until);
        }
        if self.nobodies.len() < MOST_NOBODIES {
            self.nobodies.insert(key.clone(), now + NOBODY_PERIOD);
        }
    }

    /// The same instances serve many keys: their apiRoots are kept once.
    fn share(&mut self, roots: &[ApiRoot]) -> Arc<[ApiRoot]> {
        if let Some(known) = self.shared.iter().find(|known| ***known == *roots) {
            return Arc::clone(known);
        }
        let roots: Arc<[ApiRoot]> = roots.into();
        if self.shared.len() >= MOST_SHARED {
            self.shared.retain(|known| Arc::strong_count(known) > 1);
        }
        if self.shared.len() < MOST_SHARED {
            self.shared.push(Arc::clone(&roots));
        }
        roots
    }

    fn pause(&mut self, error: Error) {
        self.pause = Some((Instant::now() + PAUSE, error));
    }

    fn paused(&self) -> Option<Error> {
        let (until, error) = self.pause?;
        (Instant::now() < until).then_some(error)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(port: u32) -> ApiRoot {
        format!("http://127.0.0.1:{port}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn nobodies_are_forgotten_soon_and_push_out_nobody() {
        let mut memory = Memory::new();
        memory.remember(&0, &[root(1)], Duration::from_hours(1));
        for key in 1..20_000_u32 {
            memory.remember_nobody(&key);
        }
        assert!(memory.nobodies.len() <= MOST_NOBODIES);
        assert!(matches!(memory.recall(&0), Some(Recalled::Fresh(_))));
        assert!(matches!(memory.recall(&1), Some(Recalled::Nobody)));
        tokio::time::advance(NOBODY_PERIOD).await;
        assert!(memory.recall(&1).is_none());
        memory.remember_nobody(&30_000);
        assert_eq!(memory.nobodies.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_bounded_and_shared() {
        let mut memory = Memory::new();
        for key in 0..11_000_u32 {
            memory.remember(&key, &[root(1 + key % 2)], Duration::from_mins(1));
        }
        assert_eq!(memory.known.len(), MOST_KNOWN);
        assert_eq!(memory.shared.len(), 2);
        // What is there is renewed, and what has ended makes room.
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(matches!(memory.recall(&0), Some(Recalled::Old(_))));
        memory.remember(&0, &[root(1)], Duration::from_mins(1));
        assert!(matches!(memory.recall(&0), Some(Recalled::Fresh(_))));
        memory.remember(&20_000, &[root(1)], Duration::from_mins(1));
        assert!(matches!(memory.recall(&20_000), Some(Recalled::Fresh(_))));
        for answer in 0..200_u32 {
            memory.remember(&answer, &[root(100 + answer)], Duration::from_mins(1));
        }
        assert!(memory.shared.len() <= MOST_SHARED);
    }
}
