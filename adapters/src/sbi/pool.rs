//! The instances of a network function as they are known now: they come and go while requests are
//! under way.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use device::UeId;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::endpoint::{Endpoint, Lease, Shared};
use super::instance::{Fit, Instance, Subject};
use super::selection::{Choice, History};
use super::{ApiRoot, Error, ServiceName};

/// Instances beyond so many are not taken up one by one: it is as many as a search can name.
const MOST_INCLUDED: usize = 256;

/// An instance with its connections.
#[derive(Debug)]
pub(crate) struct Member {
    pub(super) instance: Instance,
    pub(super) endpoint: Arc<Endpoint>,
}

impl Member {
    /// Whether it serves the same SUPIs and groups as the other one, and no GPSIs that only one of
    /// them may serve.
    fn is_alike(&self, other: &Self) -> bool {
        let (own, others) = (&self.instance.serves, &other.instance.serves);
        let same_gpsis = || {
            let are_read = own.gpsis.is_whole() && others.gpsis.is_whole();
            are_read || own.gpsis == others.gpsis
        };
        Arc::ptr_eq(own, others)
            || (own.supis == others.supis && own.groups == others.groups && same_gpsis())
    }

    /// Whether it may be sent this request, once it can be reached; `fit` is how well it has to
    /// fit.
    pub(super) fn may_answer(&self, wish: &Wish<'_>, fit: Option<Fit>, history: &History) -> bool {
        let instance = &self.instance;
        instance.services.contains(wish.service)
            && wish.subject.allows(&instance.root)
            && fit.is_none_or(|fit| instance.serves.fit(wish.subject) == fit)
            && !history.is_refused(self.endpoint.number())
    }
}

/// Who gave an answer.
#[derive(Debug, Clone)]
pub(crate) enum Producer {
    /// An instance that we chose.
    Chosen(Arc<Member>),
    /// One that a proxy chose and named.
    Named(Uuid),
    /// One that a proxy chose: all behind it are the same to us.
    Behind(Arc<Member>),
}

/// By what a producer is known again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProducerId {
    /// By its NF instance identifier.
    Instance(Uuid),
    /// By where it is, or its proxy.
    Root(ApiRoot),
}

impl Producer {
    /// By what it is known again.
    pub(crate) fn id(&self) -> ProducerId {
        match self {
            Self::Named(id) => ProducerId::Instance(*id),
            Self::Chosen(member) | Self::Behind(member) => {
                let instance = &member.instance;
                let root = || ProducerId::Root(instance.root.clone());
                instance
                    .nf_instance_id
                    .map_or_else(root, ProducerId::Instance)
            }
        }
    }

    /// Whether it is the one that is known by this.
    pub(crate) fn is(&self, id: &ProducerId) -> bool {
        match (self, id) {
            (Self::Named(own), ProducerId::Instance(id)) => own == id,
            (Self::Chosen(member) | Self::Behind(member), ProducerId::Instance(id)) => {
                member.instance.nf_instance_id == Some(*id)
            }
            (Self::Chosen(member) | Self::Behind(member), ProducerId::Root(root)) => {
                member.instance.nf_instance_id.is_none() && member.instance.root == *root
            }
            (Self::Named(_), ProducerId::Root(_)) => false,
        }
    }

    /// Where it is, if we are the ones who choose it.
    pub(crate) fn root(&self) -> Option<&ApiRoot> {
        match self {
            Self::Chosen(member) => Some(&member.instance.root),
            Self::Named(_) | Self::Behind(_) => None,
        }
    }
}

/// A snapshot of the instances.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pub(super) members: Box<[Arc<Member>]>,
    /// No instance says whom it serves.
    all_open: bool,
    /// Instances serve different groups of subscriptions.
    several_groups: bool,
    /// Instances serve different SUPIs.
    several_parts: bool,
}

/// What decides which instance is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) service: ServiceName,
    pub(super) subject: Subject<'a>,
    /// The instance that is asked before others.
    pub(super) preferred: Option<&'a ApiRoot>,
    /// May be sent to an instance that is perhaps not well yet.
    pub(super) may_probe: bool,
}

impl<'a> Wish<'a> {
    /// To know who could be asked.
    pub(super) fn about(service: ServiceName, subject: Subject<'a>) -> Self {
        Self {
            service,
            subject,
            preferred: None,
            may_probe: false,
        }
    }
}

impl Pool {
    fn new(members: Vec<Arc<Member>>) -> Self {
        let serves = || members.iter().map(|member| &member.instance.serves);
        let mut grouped = serves().map(|serves| &serves.groups);
        let mut grouped = grouped.by_ref().filter(|groups| !groups.is_empty());
        let first = grouped.next();
        let several_groups = grouped.any(|groups| Some(groups) != first);
        let mut parts = members.iter();
        let first = parts.next();
        let several_parts = first.is_some_and(|first| parts.any(|other| !other.is_alike(first)));
        Self {
            all_open: !several_groups && serves().all(|serves| serves.is_open()),
            several_groups,
            several_parts,
            members: members.into(),
        }
    }

    /// Where the subject is served, as far as the instances tell.
    pub(super) fn served(&self, wish: &Wish<'_>) -> Served {
        match self.best_fit(wish) {
            Some(Fit::Other) => Served::Elsewhere,
            Some(Fit::Grouped) if self.several_groups => Served::InOneGroup,
            Some(fit) if self.is_in_one_part(wish, fit) => Served::InOnePart,
            None | Some(Fit::Stated | Fit::Open | Fit::Grouped) => Served::Anywhere,
        }
    }

    /// How well an instance has to fit to be asked: as well as the best that there is, reachable or
    /// not. Another one would say that it knows nothing, and be wrong.
    pub(super) fn best_fit(&self, wish: &Wish<'_>) -> Option<Fit> {
        if self.all_open {
            return None;
        }
        let fits = self.members.iter().filter_map(|member| {
            let instance = &member.instance;
            let offers = instance.services.contains(wish.service);
            offers.then(|| instance.serves.fit(wish.subject))
        });
        fits.min()
    }

    /// Whether those that may be asked serve different SUPIs, and do not tell which of them this
    /// is: because it is known by a public name, or because not all is read that they say.
    fn is_in_one_part(&self, wish: &Wish<'_>, fit: Fit) -> bool {
        let is_open = match wish.subject.ue() {
            Some(UeId::Gpsi(_)) => true,
            Some(UeId::Supi(_)) => fit == Fit::Grouped,
            None => false,
        };
        is_open && self.several_parts && self.parts(wish).len() > 1
    }

    /// Those that fit the subject best, by what they serve; of each part all instances, of which one
    /// at least offers the service.
    pub(super) fn parts(&self, wish: &Wish<'_>) -> Vec<Vec<&Arc<Member>>> {
        let fit = self.best_fit(wish);
        let mut parts: Vec<Vec<&Arc<Member>>> = Vec::new();
        for member in &self.members {
            let instance = &member.instance;
            let fits = fit.is_none_or(|fit| instance.serves.fit(wish.subject) == fit);
            if !fits || !wish.subject.allows(&instance.root) {
                continue;
            }
            let is_of = |part: &&mut Vec<&Arc<Member>>| part.iter().any(|one| member.is_alike(one));
            match parts.iter_mut().find(is_of) {
                Some(part) => part.push(member),
                None => parts.push(vec![member]),
            }
        }
        let offers = |one: &&Arc<Member>| one.instance.services.contains(wish.service);
        parts.retain(|part| part.iter().any(offers));
        parts
    }

    /// The instance at an apiRoot.
    pub(super) fn at(&self, root: &ApiRoot) -> Option<&Arc<Member>> {
        self.members
            .iter()
            .find(|member| member.instance.root == *root)
    }
}

/// Where a subject is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// At any of those that fit it best.
    Anywhere,
    /// At the instances of one group, and they do not tell which.
    InOneGroup,
    /// At those that serve its SUPI, and they do not tell whether they do.
    InOnePart,
    /// At none of them, they say.
    Elsewhere,
}

/// How instances are connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// By connections of our own.
    Connections,
    /// Through an SCP: they are only chosen among.
    Proxy,
}

/// Keeps the pool of one network function.
#[derive(Debug)]
pub(super) struct Roster {
    pool: ArcSwap<Pool>,
    reach: Reach,
    /// The tasks that keep the connections, aborted when it is dropped. Held while the pool is
    /// being changed.
    tasks: Mutex<JoinSet<()>>,
}

impl Roster {
    pub(super) fn new(instances: Vec<Instance>, reach: Reach, shared: &Arc<Shared>) -> Self {
        let roster = Self {
            pool: ArcSwap::default(),
            reach,
            tasks: Mutex::default(),
        };
        roster.replace(instances, shared);
        roster
    }

    pub(super) fn pool(&self) -> arc_swap::Guard<Arc<Pool>> {
        self.pool.load()
    }

    /// From now on these are the instances. Connections to those that stay are kept, with all that
    /// is known of them; those that are gone get no new requests, and end the ones they have.
    pub(super) fn replace(&self, instances: Vec<Instance>, shared: &Arc<Shared>) {
        self.change(|_| Some(instances), shared);
    }

    /// These are instances as well, as far as there is room for them.
    pub(super) fn include(&self, found: &[Instance], shared: &Arc<Shared>) {
        let with_found = |pool: &Pool| {
            let has_room = pool.members.len() < MOST_INCLUDED;
            let is_new = |instance: &&Instance| pool.at(&instance.root).is_none();
            let mut new = found.iter().filter(is_new).peekable();
            new.peek().filter(|_| has_room)?;
            let known = pool.members.iter().map(|member| &member.instance);
            Some(known.chain(new).take(MOST_INCLUDED).cloned().collect())
        };
        // Nearly always they are known, and then nobody waits for anybody.
        if with_found(&self.pool()).is_some() {
            self.change(with_found, shared);
        }
    }

    /// Makes the instances those that `change` makes of the pool, if any; one at a time, so that
    /// none brings back what another one took away.
    fn change(&self, change: impl FnOnce(&Pool) -> Option<Vec<Instance>>, shared: &Arc<Shared>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        let before = self.pool.load_full();
        let Some(instances) = change(&before) else {
            return;
        };
        let mut members: Vec<Arc<Member>> = Vec::with_capacity(instances.len());
        for instance in instances {
            if members
                .iter()
                .any(|known| known.instance.root == instance.root)
            {
                continue;
            }
            let kept = before.at(&instance.root).map(|known| &known.endpoint);
            let endpoint = kept.cloned().unwrap_or_else(|| {
                let root = instance.root.clone();
                let endpoint = Arc::new(match self.reach {
                    Reach::Connections => Endpoint::new(root, &shared.settings),
                    Reach::Proxy => Endpoint::proxied(root),
                });
                Endpoint::keep_open(&endpoint, shared, &mut tasks);
                endpoint
            });
            members.push(Arc::new(Member { instance, endpoint }));
        }
        let pool = Arc::new(Pool::new(members));
        self.pool.store(Arc::clone(&pool));
        for member in &before.members {
            if pool.at(&member.instance.root).is_none() {
                member.endpoint.retire();
            }
        }
        drop(tasks);
        // Who waits for one that is gone looks again.
        shared.attempted.notify_waiters();
    }

    /// A connection to send on, to the instance that is chosen. Where there is none, the next
    /// attempt to connect to each instance decides: the first that succeeds is used, and when all
    /// have failed nothing is reachable.
    ///
    /// Only attempts that begin after this call count as failed, so that the first request after a
    /// core is back is answered.
    pub(super) async fn lease(
        &self,
        wish: &Wish<'_>,
        history: &mut History,
        shared: &Shared,
    ) -> Result<Lease, Error> {
        if let Some(lease) = self.lease_now(wish, history, shared)? {
            return Ok(lease);
        }
        let awaited: Vec<(Arc<Member>, u64)> = {
            let pool = self.pool();
            let fit = pool.best_fit(wish);
            let members = pool.members.iter();
            members
                .filter(|member| member.may_answer(wish, fit, history))
                .map(|member| (Arc::clone(member), member.endpoint.begun()))
                .collect()
        };
        for (member, _) in &awaited {
            member.endpoint.want();
        }
        loop {
            let mut attempted = pin!(shared.attempted.notified());
            // From here on no outcome is missed.
            attempted.as_mut().enable();
            if let Some(lease) = self.lease_now(wish, history, shared)? {
                return Ok(lease);
            }
            let failed = |(member, begun): &(Arc<Member>, u64)| {
                member.endpoint.is_retired() || member.endpoint.failed_since(*begun)
            };
            if awaited.iter().all(failed) {
                return Err(Error::Unreachable);
            }
            attempted.await;
        }
    }

    /// Whether an instance can be asked that this request was not refused by.
    pub(super) fn has_another(
        &self,
        wish: &Wish<'_>,
        history: &mut History,
        shared: &Shared,
    ) -> bool {
        matches!(self.pool().choose(wish, history, shared), Choice::Ask(..))
    }

    fn lease_now(
        &self,
        wish: &Wish<'_>,
        history: &mut History,
        shared: &Shared,
    ) -> Result<Option<Lease>, Error> {
        // An endpoint that lost its last connection in between is not chosen again.
        loop {
            match self.pool().choose(wish, history, shared) {
                Choice::Ask(member, is_probe) => {
                    if let Some(lease) = Lease::take(member, is_probe) {
                        return Ok(Some(lease));
                    }
                }
                Choice::Withheld(reduction) => {
                    shared.metrics.withheld_for_overload.inc();
                    return Err(Error::Overloaded {
                        retry_after: Some(reduction.seconds),
                    });
                }
                Choice::None => return Ok(None),
            }
        }
    }
}
