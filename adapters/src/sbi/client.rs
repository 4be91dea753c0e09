//! One network function with all its instances, and how much may be under way to it.

mod attempt;
mod exchange;
mod walk;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use super::endpoint::Shared;
use super::hedging::Hedging;
use super::metrics::Metrics;
use super::pool::{Member, Reach, Roster, Served, Wish};
use super::proxy::{Route, Scp};
use super::request::{Question, Sender};
use super::response::Answer;
use super::retry_budget::RetryBudget;
use super::selection::History;
use super::tokens::Tokens;
use super::{ApiRoot, Error, Instance, NfType, ServiceName, Settings, Steps, Subject};

/// The client of one network function with all its instances. Cheap to clone.
///
/// Its connections are opened at once, kept open, and closed when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    shared: Arc<Shared>,
    roster: Roster,
    route: Route,
    tokens: Option<Tokens>,
    sender: Sender,
    budget: RetryBudget,
    hedging: Option<Hedging>,
    in_flight: AtomicUsize,
    metrics: Metrics,
}

impl Client {
    /// Starts to connect to every endpoint. Must be called within a Tokio runtime.
    pub fn new(nf: NfType, endpoints: Vec<ApiRoot>, settings: &Settings, metrics: Metrics) -> Self {
        let instances = endpoints.into_iter().map(Instance::from).collect();
        Self::with(nf, instances, Route::Direct, None, settings, metrics)
    }

    /// A client that asks an endpoint only while those before it cannot be asked. Must be called
    /// within a Tokio runtime.
    pub fn in_order(
        nf: NfType,
        endpoints: Vec<ApiRoot>,
        settings: &Settings,
        metrics: Metrics,
    ) -> Self {
        let instances = endpoints.into_iter().enumerate();
        let instances = instances.map(|(place, root)| Instance {
            priority: u16::try_from(place).unwrap_or(u16::MAX),
            ..root.into()
        });
        let instances = instances.collect();
        Self::with(nf, instances, Route::Direct, None, settings, metrics)
    }

    /// A client whose instances may change, that may go through a proxy and show tokens. Must be
    /// called within a Tokio runtime.
    pub fn with(
        nf: NfType,
        instances: Vec<Instance>,
        route: Route,
        tokens: Option<Tokens>,
        settings: &Settings,
        metrics: Metrics,
    ) -> Self {
        let shared = Arc::new(Shared::new(nf, settings, metrics.client(nf)));
        let reach = match route {
            Route::Direct => Reach::Connections,
            Route::Proxy(_) | Route::Delegated(..) => Reach::Proxy,
        };
        let inner = Inner {
            roster: Roster::new(instances, reach, &shared),
            shared,
            route,
            tokens,
            sender: Sender::new(settings),
            budget: RetryBudget::new(settings),
            hedging: settings.hedge_quantile.map(Hedging::new),
            in_flight: AtomicUsize::new(0),
            metrics,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// From now on these are the instances. Requests under way are answered all the same.
    pub fn replace(&self, instances: Vec<Instance>) {
        self.inner.roster.replace(instances, &self.inner.shared);
    }

    /// These are instances as well, until the next [`Self::replace`].
    pub(crate) fn include(&self, found: &[Instance]) {
        self.inner.roster.include(found, &self.inner.shared);
    }

    /// Where the instances are that offer the service.
    pub(crate) fn roots(&self, service: ServiceName) -> Vec<ApiRoot> {
        let pool = self.inner.roster.pool();
        let instances = pool.members.iter().map(|member| &member.instance);
        instances
            .filter(|instance| instance.services.contains(service))
            .map(|instance| instance.root.clone())
            .collect()
    }

    /// Where the instances are that may serve the subject, by which SUPIs they serve: of each part
    /// one at least offers the service.
    pub(crate) fn parts(&self, service: ServiceName, subject: Subject<'_>) -> Vec<Vec<ApiRoot>> {
        let pool = self.inner.roster.pool();
        let parts = pool.parts(&Wish::about(service, subject)).into_iter();
        let root = |member: &Arc<Member>| member.instance.root.clone();
        parts
            .map(|part| part.into_iter().map(root).collect())
            .collect()
    }

    /// Whether an instance at any of these apiRoots offers the service.
    pub(crate) fn is_offered_at_any(&self, service: ServiceName, roots: &[ApiRoot]) -> bool {
        let pool = self.inner.roster.pool();
        let mut members = roots.iter().filter_map(|root| pool.at(root));
        members.any(|member| member.instance.services.contains(service))
    }

    /// Whether an instance is at any of these apiRoots.
    pub(crate) fn is_at_any(&self, roots: &[ApiRoot]) -> bool {
        let pool = self.inner.roster.pool();
        roots.iter().any(|root| pool.at(root).is_some())
    }

    /// Where the subject is served, as far as the instances tell.
    pub(crate) fn served(&self, service: ServiceName, subject: Subject<'_>) -> Served {
        let wish = Wish::about(service, subject);
        self.inner.roster.pool().served(&wish)
    }

    /// Whether an HTTP/2 connection to any endpoint has ever been established, so that the function
    /// could be asked.
    pub fn has_answered(&self) -> bool {
        let shared = self.inner.route.proxy().map(Scp::shared);
        shared
            .unwrap_or(&self.inner.shared)
            .established
            .load(Ordering::Acquire)
    }

    /// Waits until an instance is known, reachable or not; at once where a proxy chooses.
    pub async fn until_known(&self) {
        let Inner { shared, roster, .. } = &*self.inner;
        if matches!(self.inner.route, Route::Delegated(..)) {
            return;
        }
        loop {
            let mut changed = pin!(shared.attempted.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            if !roster.pool().members.is_empty() {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn nf(&self) -> NfType {
        self.inner.shared.nf
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    pub(super) fn steps(&self) -> Option<&Steps> {
        self.inner.shared.settings.steps.as_ref()
    }

    /// Sends the request, again where that is allowed, and gives the last answer, whatever its
    /// status.
    ///
    /// Waits without bound: the caller drops it when `deadline` has passed, which cancels the
    /// stream.
    pub(super) async fn ask(
        &self,
        question: &Question<'_>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let inner = &*self.inner;
        let Some(_entry) = Entry::take(inner) else {
            inner.shared.metrics.withheld_when_full.inc();
            return Err(Error::Overloaded {
                retry_after: Some(1),
            });
        };
        inner.budget.deposit();
        match &inner.hedging {
            Some(hedging) if question.method == http::Method::GET => {
                // Boxed: the rare way must not make the common one large.
                Box::pin(hedging.ask(inner, question, deadline)).await
            }
            _ => {
                inner
                    .walk(question, deadline, &mut History::default())
                    .await
            }
        }
    }
}

/// A place among the calls under way.
struct Entry<'a>(&'a AtomicUsize);

impl<'a> Entry<'a> {
    fn take(inner: &'a Inner) -> Option<Self> {
        let before = inner.in_flight.fetch_add(1, Ordering::Relaxed);
        let entry = Self(&inner.in_flight);
        (before < inner.shared.settings.max_in_flight).then_some(entry)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
