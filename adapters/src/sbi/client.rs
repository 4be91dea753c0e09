//! One network function: what is sent to it, and what is sent again.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::{HeaderValue, Request, StatusCode};
use tokio::time::Instant;

use super::connection::STREAM_WINDOW;
use super::endpoint::{Lease, Shared, is_failure};
use super::hedging::Hedging;
use super::metrics::Metrics;
use super::overload::Whose;
use super::pool::{Producer, Reach, Roster, Served, Wish};
use super::proxy::{Route, Scp};
use super::request::{Question, Sender, Underway};
use super::response::Answer;
use super::retry_budget::RetryBudget;
use super::selection::History;
use super::tokens::Tokens;
use super::{
    ApiRoot, Content, Error, Instance, NfType, Resource, ServiceName, Settings, Steps, Subject,
    proxy, steps,
};

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

/// What became of one attempt that has no answer.
enum Failure {
    /// The peer did nothing with it: it may be asked again.
    Untouched,
    /// The connection was lost before the answer began. Only what may be done twice is asked again
    /// (RFC 9110 9.2.2).
    Lost,
    /// The error of the call.
    Final(Error),
}

/// What follows an attempt.
enum Next {
    /// Nothing.
    Done(Result<Answer, Error>),
    /// It may be sent again; this is the outcome if it is not.
    Again(Result<Answer, Error>),
    /// An instance says which other one is to be asked.
    Elsewhere(Box<Resource>, Answer),
    /// The token was not accepted.
    WithNewToken(Answer),
}

impl Client {
    /// Starts to connect to every endpoint. Must be called within a Tokio runtime.
    pub fn new(nf: NfType, endpoints: Vec<ApiRoot>, settings: &Settings, metrics: Metrics) -> Self {
        let instances = endpoints.into_iter().map(Instance::from).collect();
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

    /// Whether an instance is at any of these apiRoots.
    pub(crate) fn is_at_any(&self, roots: &[ApiRoot]) -> bool {
        let pool = self.inner.roster.pool();
        roots.iter().any(|root| pool.at(root).is_some())
    }

    /// Where the subject is served, as far as the instances tell.
    pub(crate) fn served(&self, service: ServiceName, subject: Subject<'_>) -> Served {
        let wish = Wish {
            service,
            subject,
            preferred: None,
            may_probe: false,
        };
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

/// Redirections that are followed for one request (TS 29.500 6.10.9): more are a loop.
const MOST_REDIRECTIONS: u32 = 2;

impl Inner {
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Sends the request from one instance to the next, for as long as that is allowed.
    pub(super) async fn walk(
        &self,
        question: &Question<'_>,
        deadline: Instant,
        history: &mut History,
    ) -> Result<Answer, Error> {
        let mut sent = 0;
        let mut moved: Option<Box<Resource>> = None;
        let mut redirections = 0;
        let mut token_renewed = false;
        loop {
            let resource = moved.as_deref().or(question.resource);
            let token = match &self.tokens {
                Some(tokens) if question.service.wants_token() => {
                    Some(tokens.of(question.service, deadline).await?)
                }
                _ => None,
            };
            let mut attempt = self.attempt(question, resource, history).await?;
            sent += 1;
            if let Some(steps) = question.observed.steps {
                steps.sent(self.describe(&attempt, resource));
            }
            let authorization = token.as_ref().map(|token| token.header());
            let answered = self
                .send(question, resource, &mut attempt, authorization, deadline)
                .await;
            match self.next(answered, question, &attempt, history) {
                Next::Done(answer) => return answer,
                Next::Again(otherwise) => {
                    if !self.may_retry(sent) {
                        return otherwise;
                    }
                }
                Next::Elsewhere(resource, answer) => {
                    redirections += 1;
                    if redirections > MOST_REDIRECTIONS {
                        return Ok(answer);
                    }
                    moved = Some(resource);
                }
                Next::WithNewToken(answer) => match (&self.tokens, &token) {
                    (Some(tokens), Some(token)) if !token_renewed => {
                        token_renewed = true;
                        let replaced = tokens.replace(question.service, token, deadline).await;
                        if replaced.is_err() {
                            return Ok(answer);
                        }
                    }
                    _ => return Ok(answer),
                },
            }
        }
    }

    /// Chooses whom to send it to, once somebody is there.
    async fn attempt(
        &self,
        question: &Question<'_>,
        resource: Option<&Resource>,
        history: &mut History,
    ) -> Result<Attempt<'_>, Error> {
        let wish = question.wish(resource);
        let (lease, target) = match &self.route {
            Route::Direct => (self.roster.lease(&wish, history, &self.shared).await?, None),
            Route::Proxy(scp) => {
                // A resource is at who made it, which the proxy is told as it was told to us.
                let target = match resource.and_then(Resource::root) {
                    Some(_) => None,
                    None => Some(self.roster.lease(&wish, history, &self.shared).await?),
                };
                (scp.lease(&wish, history).await?, target)
            }
            Route::Delegated(scp, _) => (scp.lease(&wish, history).await?, None),
        };
        history.at(lease.member.endpoint.number());
        Ok(Attempt {
            lease,
            target,
            shared: &self.shared,
            proxy: self.route.proxy().map(Scp::shared),
            begun: Instant::now(),
            is_settled: false,
        })
    }

    async fn send(
        &self,
        question: &Question<'_>,
        resource: Option<&Resource>,
        attempt: &mut Attempt<'_>,
        authorization: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let path = resource.map_or(question.path, Resource::path);
        let root = &attempt.lease.member.instance.root;
        let uri = root.uri(path).ok_or(Failure::Final(Error::BadAnswer))?;
        let underway = Underway {
            uri,
            remaining: deadline.saturating_duration_since(attempt.begun),
            introduces: attempt.lease.is_first,
            authorization,
            routing: self.route.headers(question, resource, attempt.target()),
        };
        let head = self.sender.head(question, underway);
        let body = question.content.map(Content::body);
        let sender = attempt.lease.sender.take().ok_or(Failure::Untouched)?;
        let mut answer = exchange(sender, head, body, self.limit()).await?;
        attempt.settle(&answer);
        if let Some(steps) = question.observed.steps {
            let delegated = matches!(self.route, Route::Delegated(..));
            let chosen = delegated.then(|| proxy::chosen(answer.headers()));
            steps.answered(answer.status().as_u16(), chosen);
        }
        if question.observed.tells_producer {
            answer.given_by(attempt.giver(&answer));
        }
        if answer.status() == StatusCode::CREATED {
            let known = resource.and_then(Resource::root).or(attempt.target());
            let asked = known.unwrap_or(&attempt.lease.member.instance.root);
            answer.locate(asked, &self.route);
        }
        Ok(answer)
    }

    /// Whom an attempt is at, for whoever wires the bridge to the core.
    fn describe(&self, attempt: &Attempt<'_>, resource: Option<&Resource>) -> steps::Attempt {
        let asked = &attempt.lease.member.instance;
        let instance = attempt
            .target
            .as_ref()
            .map(|target| &target.member.instance);
        let instance = instance.unwrap_or(asked);
        let root = resource.and_then(Resource::root).unwrap_or(&instance.root);
        steps::Attempt {
            root: root.clone(),
            nf_instance_id: instance.nf_instance_id,
            found: match (&self.route, instance.nf_instance_id) {
                (Route::Delegated(..), _) => steps::Found::ChosenByProxy,
                (_, Some(_)) => steps::Found::Discovered,
                (_, None) => steps::Found::Configured,
            },
            via: self.route.proxy().map(|_| asked.root.clone()),
            status: None,
        }
    }

    /// What follows this outcome.
    fn next(
        &self,
        answered: Result<Answer, Failure>,
        question: &Question<'_>,
        attempt: &Attempt<'_>,
        history: &mut History,
    ) -> Next {
        let answer = match answered {
            Ok(answer) => answer,
            Err(Failure::Lost) if !question.method.is_idempotent() => {
                return Next::Done(Err(Error::Unreachable));
            }
            Err(Failure::Lost | Failure::Untouched) => {
                history.lose(attempt.lease.member.endpoint.number());
                return Next::Again(Err(Error::Unreachable));
            }
            Err(Failure::Final(error)) => {
                attempt.fail();
                return Next::Done(Err(error));
            }
        };
        match answer.status() {
            StatusCode::SERVICE_UNAVAILABLE => {
                history.refuse(attempt.rest(&answer));
                if self.is_another_at_hand(question, history) {
                    Next::Again(Ok(answer))
                } else {
                    Next::Done(Ok(answer))
                }
            }
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                match self.redirection(question, &answer) {
                    Some(resource) => Next::Elsewhere(Box::new(resource), answer),
                    None => Next::Done(Ok(answer)),
                }
            }
            StatusCode::UNAUTHORIZED => Next::WithNewToken(answer),
            _ => Next::Done(Ok(answer)),
        }
    }

    /// Where the answer sends us, if that is to one of the instances: a core's own address space is
    /// what configuration and NRF name, and nobody else is told whom we ask about. A proxy that
    /// chooses is told where to go on (TS 29.500 6.10.9), and goes nowhere else than before.
    fn redirection(&self, question: &Question<'_>, answer: &Answer) -> Option<Resource> {
        if let Route::Delegated(scp, _) = &self.route {
            return answer.redirection_by(scp, question.path);
        }
        let pool = self.roster.pool();
        pool.members
            .iter()
            .find_map(|member| answer.redirection(&member.instance.root))
    }

    fn is_another_at_hand(&self, question: &Question<'_>, history: &mut History) -> bool {
        let wish = Wish {
            may_probe: false,
            ..question.wish(None)
        };
        match &self.route {
            Route::Direct => self.roster.has_another(&wish, history, &self.shared),
            Route::Proxy(scp) => {
                self.roster.has_another(&wish, history, &self.shared)
                    && scp.has_another(&wish, history)
            }
            Route::Delegated(scp, _) => scp.has_another(&wish, history),
        }
    }

    /// The largest body that is read. A stream's window has to hold one byte more, or a peer would
    /// wait for an update of it that never comes.
    fn limit(&self) -> usize {
        self.shared
            .settings
            .max_response_bytes
            .min(STREAM_WINDOW as usize - 1)
    }

    pub(super) fn may_retry(&self, sent: u32) -> bool {
        if sent >= self.shared.settings.max_attempts {
            return false;
        }
        let allowed = self.budget.withdraw();
        let metrics = &self.shared.metrics;
        if allowed {
            &metrics.retries_sent
        } else {
            &metrics.retries_denied
        }
        .inc();
        allowed
    }
}

/// One request on its way to one instance.
struct Attempt<'a> {
    lease: Lease,
    /// The instance that was chosen behind a proxy.
    target: Option<Lease>,
    shared: &'a Shared,
    /// What the proxies share, where it goes through one.
    proxy: Option<&'a Shared>,
    begun: Instant,
    is_settled: bool,
}

impl Attempt<'_> {
    /// Who answers it, as far as that is known: a proxy may have chosen.
    fn producer(&self) -> Option<&Lease> {
        match (&self.target, self.proxy) {
            (Some(target), _) => Some(target),
            (None, None) => Some(&self.lease),
            (None, Some(_)) => None,
        }
    }

    /// Who gave the answer, by the nearest name that is known.
    fn giver(&self, answer: &Answer) -> Producer {
        match self.producer() {
            Some(producer) => Producer::Chosen(Arc::clone(&producer.member)),
            None => match proxy::chosen(answer.headers()) {
                (_, Some(id)) => Producer::Named(id),
                (_, None) => Producer::Behind(Arc::clone(&self.lease.member)),
            },
        }
    }

    /// Whether the answer is that of the proxy itself.
    fn is_of_proxy(&self, answer: &Answer) -> bool {
        self.proxy.is_some() && proxy::is_of_proxy(answer.headers())
    }

    /// Where the instance is that was chosen behind a proxy.
    fn target(&self) -> Option<&ApiRoot> {
        self.target
            .as_ref()
            .map(|target| &target.member.instance.root)
    }

    fn settle(&mut self, answer: &Answer) {
        self.is_settled = true;
        let took = self.begun.elapsed();
        let (status, headers) = (answer.status(), answer.headers());
        if let Some(shared) = self.proxy {
            let Lease {
                member, is_probe, ..
            } = &self.lease;
            member.endpoint.press(headers, Whose::Proxy, shared);
            // What a proxy passes on is no fault of its own.
            if is_failure(status) && self.is_of_proxy(answer) {
                return member.endpoint.fail(*is_probe, shared);
            }
            member.endpoint.pass();
        }
        if let Some(Lease {
            member, is_probe, ..
        }) = self.producer()
        {
            let whose = Whose::Producer(member.instance.nf_instance_id);
            member.endpoint.press(headers, whose, self.shared);
            member.endpoint.judge(status, took, *is_probe, self.shared);
        }
    }

    /// There is no answer that could be used, from whomever: of a proxy that chooses, nobody else
    /// is known.
    fn fail(&self) {
        let (lease, shared) = match self.producer() {
            Some(producer) => (producer, self.shared),
            None => (&self.lease, self.proxy.unwrap_or(self.shared)),
        };
        lease.member.endpoint.fail(lease.is_probe, shared);
    }

    /// Lets whoever answered 503 rest, and says who is not to be asked again: the proxy where it
    /// chose who that was, for another one may choose another.
    fn rest(&self, answer: &Answer) -> usize {
        let seconds = answer.retry_after();
        let proxy = &self.lease.member.endpoint;
        match (self.proxy, self.producer()) {
            (Some(shared), _) if self.is_of_proxy(answer) => {
                proxy.rest(shared, seconds);
                proxy.number()
            }
            (_, Some(producer)) => {
                producer.member.endpoint.rest(self.shared, seconds);
                producer.member.endpoint.number()
            }
            (_, None) => proxy.number(),
        }
    }
}

impl Drop for Attempt<'_> {
    /// Whoever stops waiting after a long time was not answered well.
    fn drop(&mut self) {
        let slow = self.shared.settings.outlier.slow;
        if !self.is_settled && !slow.is_zero() && self.begun.elapsed() > slow {
            self.fail();
        }
    }
}

/// Sends the request and reads the answer. Dropping the future cancels the stream.
async fn exchange(
    mut sender: SendRequest<Bytes>,
    head: Request<()>,
    body: Option<Bytes>,
    most: usize,
) -> Result<Answer, Failure> {
    poll_fn(|cx| sender.poll_ready(cx))
        .await
        .map_err(|_| Failure::Untouched)?;
    let (response, mut stream) = sender
        .send_request(head, body.is_none())
        .map_err(|_| Failure::Untouched)?;
    if let Some(body) = body {
        // h2 sends it as the windows allow; what becomes of it is told with the answer, which a
        // peer may give before it has read everything.
        let _ = stream.send_data(body, true);
    }
    let head = response.await.map_err(|error| classify(&error))?;
    Answer::read(head, most).await.map_err(Failure::Final)
}

/// What an error before the head of the answer allows: a reset was meant for this request, and only
/// `REFUSED_STREAM` says that nothing was done with it (RFC 9113 8.7); so does GOAWAY below this
/// stream. Everything else ended the connection: a close, a broken protocol.
fn classify(error: &h2::Error) -> Failure {
    let refused = error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
    if refused || (error.is_remote() && error.is_go_away()) {
        Failure::Untouched
    } else if error.is_reset() {
        Failure::Final(Error::BadAnswer)
    } else {
        Failure::Lost
    }
}
