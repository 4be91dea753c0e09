//! The instances of each network function, kept up to date.
//!
//! One task for each function searches, refreshes before the result ends (`validityPeriod`), and
//! keeps what it has for as long as the NRF does not answer, or answers that there is nobody: an
//! NRF that was started anew knows nobody until they register again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::profile::{SearchResult, Unread};
use super::search::{Criteria, Search};
use super::{Backoff, PATIENCE};
use crate::sbi::{Client, Instance};

/// A result that states no period, or a longer one, is asked for again after so long.
const LONGEST_PERIOD: Duration = Duration::from_hours(1);
/// A result is never asked for again sooner, whatever it says and however much is notified.
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);
/// Refreshed when this share of the period is over.
const REFRESH_AT: f64 = 0.8;

/// About as often as a heart-beat: so late is noticed that an NRF was started anew. No search for
/// what may have changed comes sooner.
const CHECK_PERIOD: Duration = Duration::from_secs(10);
/// More instances than can go while one search is under way.
const MOST_GONE: usize = 1024;

/// How discovery is done.
#[derive(Debug, Clone)]
pub struct DiscoverySettings {
    /// The shortest time between two searches for one function.
    pub shortest_period: Duration,
    /// The longest time until a search is repeated.
    pub longest_period: Duration,
    /// Between two looks whether the NRF still has our subscriptions, where no heart-beat of ours
    /// shows that it has forgotten them, and between two searches for what may have changed.
    pub check_period: Duration,
}

impl Default for DiscoverySettings {
    /// The defaults named above.
    fn default() -> Self {
        Self {
            shortest_period: SHORTEST_PERIOD,
            longest_period: LONGEST_PERIOD,
            check_period: CHECK_PERIOD,
        }
    }
}

/// Discovery at the NRF. Its tasks end when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Discovery {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    search: Search,
    settings: DiscoverySettings,
    followed: Mutex<Vec<Arc<Followed>>>,
    tasks: Mutex<JoinSet<()>>,
}

/// One function whose instances are kept up to date.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) criteria: Criteria,
    instances: watch::Sender<Arc<[Instance]>>,
    /// Those that went while a search was under way, which may still name them. Held while
    /// instances are changed.
    gone: Mutex<BTreeSet<Uuid>>,
    /// Something has changed: search again.
    changed: Notify,
    /// Something may have changed: search again, and not too often.
    doubted: Notify,
}

impl Discovery {
    /// Discovery at the NRF behind `client`.
    pub fn new(client: &Client, settings: DiscoverySettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                search: Search::new(client),
                settings,
                followed: Mutex::default(),
                tasks: Mutex::default(),
            }),
        }
    }

    /// The instances that fit, as they change. Must be called within a Tokio runtime.
    pub fn watch(&self, criteria: Criteria) -> watch::Receiver<Arc<[Instance]>> {
        let (sender, receiver) = watch::channel(Arc::default());
        let followed = Arc::new(Followed {
            criteria,
            instances: sender,
            gone: Mutex::default(),
            changed: Notify::new(),
            doubted: Notify::new(),
        });
        lock(&self.inner.followed).push(Arc::clone(&followed));
        let (search, settings) = (self.inner.search.clone(), self.inner.settings.clone());
        lock(&self.inner.tasks).spawn(async move { followed.follow(&search, &settings).await });
        receiver
    }

    /// Gives `client` the instances that fit, as they change. Must be called within a Tokio
    /// runtime.
    pub fn follow(&self, criteria: Criteria, client: Client) {
        let mut instances = self.watch(criteria);
        lock(&self.inner.tasks).spawn(async move {
            while instances.changed().await.is_ok() {
                let now = instances.borrow_and_update().to_vec();
                client.replace(now);
            }
        });
    }

    pub(super) fn settings(&self) -> &DiscoverySettings {
        &self.inner.settings
    }

    /// The functions that are followed.
    pub(super) fn followed(&self) -> Vec<Arc<Followed>> {
        lock(&self.inner.followed).clone()
    }

    /// An instance cannot be asked any more.
    pub(super) fn remove(&self, nf_instance_id: Uuid) {
        for followed in self.followed() {
            followed.remove(nf_instance_id);
        }
    }

    /// Something about an instance has changed: what is known is searched for anew.
    pub(super) fn refresh(&self) {
        for followed in self.followed() {
            followed.refresh();
        }
    }

    /// Something about an instance may have changed.
    pub(super) fn doubt(&self) {
        for followed in self.followed() {
            followed.doubted.notify_one();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Followed {
    async fn follow(&self, search: &Search, settings: &DiscoverySettings) {
        let nf = self.criteria.nf_type.name();
        let mut backoff = Backoff::new();
        let mut nobody_logged = false;
        let mut unread = Unread::default();
        loop {
            lock(&self.gone).clear();
            let deadline = Instant::now() + PATIENCE;
            let found = search.instances(&self.criteria, deadline).await;
            // Here alone: what is searched for one subscriber is said of the same profiles.
            if let Ok(SearchResult { unread: now, .. }) = found
                && now != unread
            {
                unread = now;
                unread.report(nf);
            }
            let wait = match found {
                Ok(found) if found.instances.is_empty() => {
                    if !nobody_logged {
                        nobody_logged = true;
                        let requester = self.criteria.requester_nf_type.as_str();
                        let profiles = found.profiles;
                        tracing::warn!(
                            nf,
                            requester,
                            profiles,
                            "the NRF names no instance that can be asked: is one registered, do its \
                             allowedNfTypes hold our type (core.discovery.requester_nf_type), is it of \
                             the NF set, network and slice that are asked for (core.discovery)?"
                        );
                    }
                    backoff.next()
                }
                Ok(found) => {
                    backoff = Backoff::new();
                    nobody_logged = false;
                    let period = found.period(settings.longest_period);
                    self.publish(found.instances);
                    period.mul_f64(REFRESH_AT)
                }
                Err(error) => {
                    tracing::debug!(nf, %error, "discovery: the NRF does not answer");
                    backoff.next()
                }
            };
            let wait = wait.max(settings.shortest_period);
            let searched = Instant::now();
            sleep(settings.shortest_period).await;
            tokio::select! {
                () = sleep_until(searched + wait) => {}
                () = self.changed.notified() => {}
                () = async {
                    self.doubted.notified().await;
                    sleep_until(searched + settings.check_period).await;
                } => {}
            }
        }
    }

    /// Something may have changed: what is known is searched for anew.
    pub(super) fn refresh(&self) {
        self.changed.notify_one();
    }

    fn publish(&self, mut found: Vec<Instance>) {
        let gone = lock(&self.gone);
        found.retain(|instance| instance.nf_instance_id.is_none_or(|id| !gone.contains(&id)));
        let (nf, instances) = (self.criteria.nf_type.name(), found.len());
        let before = self.instances.borrow().len();
        if before != instances {
            tracing::info!(nf, instances, before, "instances discovered at the NRF");
        }
        self.instances.send_replace(found.into());
    }

    fn remove(&self, nf_instance_id: Uuid) {
        let mut gone = lock(&self.gone);
        if gone.len() < MOST_GONE {
            gone.insert(nf_instance_id);
        }
        let removed = self.instances.send_if_modified(|instances| {
            let is_other = |instance: &Instance| instance.nf_instance_id != Some(nf_instance_id);
            let left: Arc<[Instance]> = instances
                .iter()
                .filter(|one| is_other(one))
                .cloned()
                .collect();
            let removed = left.len() != instances.len();
            *instances = left;
            removed
        });
        if removed {
            let nf = self.criteria.nf_type.name();
            tracing::info!(nf, %nf_instance_id, "an instance has gone, says the NRF");
        }
    }
}
