//! One network function: which instance is asked, and what is asked again.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use h2::Reason;
use http::{Request, StatusCode};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::STREAM_WINDOW;
use super::endpoint::{Endpoint, Lease, Shared};
use super::metrics::Metrics;
use super::request::{Question, Sender};
use super::response::Answer;
use super::retry_budget::RetryBudget;
use super::{ApiRoot, Content, Error, NfType, Settings};

/// The client of one network function with all its endpoints. Cheap to clone.
///
/// Its connections are opened at once, kept open, and closed when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    endpoints: Box<[Arc<Endpoint>]>,
    /// Where the next request begins to look for an endpoint.
    next: AtomicUsize,
    sender: Sender,
    budget: RetryBudget,
    metrics: Metrics,
    /// Aborts the tasks that keep the connections when it is dropped.
    _tasks: JoinSet<()>,
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

/// The endpoints that one request was sent to in vain. Allocates nothing while it is empty.
#[derive(Default)]
struct History {
    /// Answered 503: never asked again for this request.
    overloaded: Vec<usize>,
    /// Did not answer: others are preferred.
    lost: Vec<usize>,
}

impl Client {
    /// Starts to connect to every endpoint. Must be called within a Tokio runtime.
    pub fn new(nf: NfType, endpoints: Vec<ApiRoot>, settings: &Settings, metrics: Metrics) -> Self {
        let shared = Arc::new(Shared {
            nf,
            settings: settings.clone(),
            metrics: metrics.client(nf),
            attempted: Notify::new(),
            established: AtomicBool::new(false),
            started: Instant::now(),
        });
        let endpoints: Box<[_]> = endpoints
            .into_iter()
            .map(|root| Arc::new(Endpoint::new(root, settings.connections_per_endpoint)))
            .collect();
        let mut tasks = JoinSet::new();
        for endpoint in &endpoints {
            Endpoint::keep_open(endpoint, &shared, &mut tasks);
        }
        let inner = Inner {
            shared,
            endpoints,
            next: AtomicUsize::new(0),
            sender: Sender::new(settings.nf_instance_id),
            budget: RetryBudget::new(settings),
            metrics,
            _tasks: tasks,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Whether an HTTP/2 connection to any endpoint has ever been established, so that the function
    /// could be asked.
    pub fn has_answered(&self) -> bool {
        self.inner.shared.established.load(Ordering::Acquire)
    }

    pub(super) fn nf(&self) -> NfType {
        self.inner.shared.nf
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
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
        inner.budget.deposit();
        let mut history = History::default();
        let mut sent = 0;
        loop {
            let (index, endpoint, lease) = inner.lease(question, &history).await?;
            let remaining = deadline.saturating_duration_since(Instant::now());
            let uri = endpoint.root().uri(question.path).ok_or(Error::BadAnswer)?;
            sent += 1;
            let head = inner.sender.head(question, uri, remaining, lease.is_first);
            let body = question.content.map(Content::body);
            let answer = lease.exchange(head, body, inner.limit()).await;
            let otherwise = match answer {
                Ok(mut answer) => match answer.status() {
                    StatusCode::SERVICE_UNAVAILABLE => {
                        endpoint.rest(&inner.shared, answer.retry_after().unwrap_or(0));
                        history.overloaded.push(index);
                        if inner.choose(question, &history).is_none() {
                            return Ok(answer);
                        }
                        Ok(answer)
                    }
                    StatusCode::CREATED => {
                        answer.locate(endpoint.root());
                        return Ok(answer);
                    }
                    _ => return Ok(answer),
                },
                Err(Failure::Lost) if !question.method.is_idempotent() => {
                    return Err(Error::Unreachable);
                }
                Err(Failure::Lost | Failure::Untouched) => {
                    history.lost.push(index);
                    Err(Error::Unreachable)
                }
                Err(Failure::Final(error)) => return Err(error),
            };
            if !inner.may_retry(sent) {
                return otherwise;
            }
        }
    }
}

impl Inner {
    /// The largest body that is read. A stream's window has to hold one byte more, or a peer would
    /// wait for an update of it that never comes.
    fn limit(&self) -> usize {
        self.shared
            .settings
            .max_response_bytes
            .min(STREAM_WINDOW as usize - 1)
    }

    fn may_retry(&self, sent: u32) -> bool {
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

    /// The endpoint to ask next among those that can be asked now: the next one in turn that did
    /// not lose this request, is the one preferred and is not resting; else the best of what is
    /// left.
    fn choose(&self, question: &Question<'_>, history: &History) -> Option<(usize, &Endpoint)> {
        let turn = self
            .next
            .fetch_add(1, Ordering::Relaxed)
            .checked_rem(self.endpoints.len())?;
        let (before, after) = self.endpoints.split_at_checked(turn)?;
        (turn..)
            .take(after.len())
            .chain(0..)
            .zip(after.iter().chain(before).map(Arc::as_ref))
            .filter(|(index, endpoint)| endpoint.is_ready() && !history.overloaded.contains(index))
            // The first of the best ones.
            .min_by_key(|(index, endpoint)| {
                (
                    history.lost.contains(index),
                    question
                        .preferred
                        .is_some_and(|root| root != endpoint.root()),
                    endpoint.is_resting(&self.shared),
                )
            })
    }

    fn lease_now(
        &self,
        question: &Question<'_>,
        history: &History,
    ) -> Option<(usize, &Endpoint, Lease<'_>)> {
        // An endpoint that lost its last connection in between is not chosen again.
        loop {
            let (index, endpoint) = self.choose(question, history)?;
            if let Some(lease) = endpoint.lease() {
                return Some((index, endpoint, lease));
            }
        }
    }

    /// A connection to send on. Where there is none, the next attempt to connect to each endpoint
    /// decides: the first that succeeds is used, and when all have failed nothing is reachable.
    ///
    /// Only attempts that begin after this call count as failed, so that the first request after a
    /// core is back is answered.
    async fn lease(
        &self,
        question: &Question<'_>,
        history: &History,
    ) -> Result<(usize, &Endpoint, Lease<'_>), Error> {
        if let Some(leased) = self.lease_now(question, history) {
            return Ok(leased);
        }
        let begun: Vec<u64> = self
            .endpoints
            .iter()
            .map(|endpoint| endpoint.begun())
            .collect();
        for endpoint in &self.endpoints {
            endpoint.want();
        }
        loop {
            let mut attempted = pin!(self.shared.attempted.notified());
            // From here on no outcome is missed.
            attempted.as_mut().enable();
            if let Some(leased) = self.lease_now(question, history) {
                return Ok(leased);
            }
            let mut endpoints = self.endpoints.iter().zip(&begun).enumerate();
            if endpoints.all(|(index, (endpoint, &begun))| {
                history.overloaded.contains(&index) || endpoint.failed_since(begun)
            }) {
                return Err(Error::Unreachable);
            }
            attempted.await;
        }
    }
}

impl Lease<'_> {
    /// Sends the request and reads the answer. Dropping the future cancels the stream.
    async fn exchange(
        mut self,
        head: Request<()>,
        body: Option<Bytes>,
        most: usize,
    ) -> Result<Answer, Failure> {
        let sender = &mut self.sender;
        poll_fn(|cx| sender.poll_ready(cx))
            .await
            .map_err(|_| Failure::Untouched)?;
        let (response, mut stream) = sender
            .send_request(head, body.is_none())
            .map_err(|_| Failure::Untouched)?;
        if let Some(body) = body {
            // h2 sends it as the windows allow; what becomes of it is told with the answer, which
            // a peer may give before it has read everything.
            let _ = stream.send_data(body, true);
        }
        let head = response.await.map_err(|error| classify(&error))?;
        Answer::read(head, most).await.map_err(Failure::Final)
    }
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
