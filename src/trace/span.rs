//! What is told of a request: a span for it, for each stage of its walk and for each call to the
//! core.
//!
//! The span that work is part of is a variable of the task that does it, set by [`Traced`] while it
//! polls. A request that nobody traces has none, and then nothing here does anything. What several
//! requests wait for at once belongs to the one that asks.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::SystemTime;

use http::HeaderMap;
use pin_project_lite::pin_project;
use tokio::sync::mpsc;

use crate::TraceContext;

tokio::task_local! {
    /// Where the work of this task belongs.
    static CURRENT: Arc<Place>;
}

/// Where work belongs.
#[derive(Debug)]
struct Place {
    context: TraceContext,
    /// Absent: the trace is passed on and not recorded here.
    sink: Option<Sink>,
}

#[derive(Debug, Clone)]
struct Sink {
    finished: mpsc::Sender<FinishedSpan>,
    /// Spans that found no room.
    lost: Arc<AtomicU64>,
}

/// Which side of an exchange a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A stage of our own.
    Internal,
    /// A request of a consumer.
    Server,
    /// A request to the core.
    Client,
}

/// What an attribute can say. Nothing personal fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// One of our own words.
    Word(&'static str),
    /// A status, a count.
    Number(u32),
}

/// A span that ended.
#[derive(Debug, Clone)]
pub struct FinishedSpan {
    /// The trace that it is part of.
    pub trace_id: u128,
    /// Its own name.
    pub span_id: u64,
    /// The span that it is part of; absent for the first one of a trace.
    pub parent_id: Option<u64>,
    /// What it is.
    pub name: &'static str,
    /// Which side of an exchange.
    pub kind: Kind,
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What else is known.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether what it did failed.
    pub failed: bool,
}

/// Decides which requests are traced, and where their spans go.
#[derive(Debug, Clone, Default)]
pub struct Tracer {
    sink: Option<Sink>,
    ratio: f64,
}

impl Tracer {
    /// Spans go to `finished`, those of requests whose consumer wants it and of a share of all
    /// others. A queue that is full loses them, and they are counted.
    pub fn recording(
        finished: mpsc::Sender<FinishedSpan>,
        lost: Arc<AtomicU64>,
        ratio: f64,
    ) -> Self {
        Self {
            sink: Some(Sink { finished, lost }),
            ratio,
        }
    }

    /// The span of a request; `None` where it is neither recorded nor part of a trace.
    pub fn begin(&self, name: &'static str, headers: &HeaderMap) -> Option<Span> {
        let theirs = match TraceContext::from_headers(headers) {
            Some(context) => Some(context),
            None if self.sink.is_some() && fastrand::f64() < self.ratio => None,
            None => return None,
        };
        let sampled = theirs.as_ref().is_none_or(|context| context.sampled);
        let sink = self.sink.clone().filter(|_| sampled);
        let (trace_id, parent_id, state) = match theirs {
            Some(theirs) => (theirs.trace_id, Some(theirs.parent_id), theirs.state),
            None => (fastrand::u128(1..), None, None),
        };
        let context = TraceContext {
            trace_id,
            parent_id: fastrand::u64(1..),
            sampled,
            state,
        };
        Some(Span::new(name, Kind::Server, context, parent_id, sink))
    }
}

/// A span that is under way. It ends when it is dropped.
#[derive(Debug)]
pub struct Span {
    /// Where what belongs to it belongs.
    place: Arc<Place>,
    /// Absent where it is not recorded.
    record: Option<Box<Record>>,
}

#[derive(Debug)]
struct Record {
    parent_id: Option<u64>,
    name: &'static str,
    kind: Kind,
    began: SystemTime,
    attributes: Vec<(&'static str, Value)>,
    failed: bool,
}

impl Span {
    fn new(
        name: &'static str,
        kind: Kind,
        context: TraceContext,
        parent_id: Option<u64>,
        sink: Option<Sink>,
    ) -> Self {
        let record = sink.is_some().then(|| {
            Box::new(Record {
                parent_id,
                name,
                kind,
                began: SystemTime::now(),
                attributes: Vec::new(),
                failed: false,
            })
        });
        Self {
            place: Arc::new(Place { context, sink }),
            record,
        }
    }

    /// What a request that it sends says of the trace.
    pub fn context(&self) -> &TraceContext {
        &self.place.context
    }

    /// Says something of it.
    pub fn set(&mut self, name: &'static str, value: Value) {
        if let Some(record) = &mut self.record {
            record.attributes.push((name, value));
        }
    }

    /// What it does has failed.
    pub fn fail(&mut self) {
        if let Some(record) = &mut self.record {
            record.failed = true;
        }
    }

    /// Work that belongs to it.
    pub fn around<F: Future>(&self, work: F) -> Traced<F> {
        Traced {
            place: Some(Arc::clone(&self.place)),
            span: None,
            work,
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let (Some(record), Some(sink)) = (self.record.take(), &self.place.sink) else {
            return;
        };
        let context = &self.place.context;
        let finished = FinishedSpan {
            trace_id: context.trace_id,
            span_id: context.parent_id,
            parent_id: record.parent_id,
            name: record.name,
            kind: record.kind,
            began: record.began,
            ended: SystemTime::now(),
            attributes: record.attributes,
            failed: record.failed,
        };
        // A collector that is too slow loses spans; requests wait for nobody.
        if sink.finished.try_send(finished).is_err() {
            sink.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A span below the one that this task works for; `None` where it works for none.
pub fn child(name: &'static str, kind: Kind) -> Option<Span> {
    CURRENT
        .try_with(|place| {
            let context = TraceContext {
                parent_id: fastrand::u64(1..),
                ..place.context.clone()
            };
            let parent_id = Some(place.context.parent_id);
            Span::new(name, kind, context, parent_id, place.sink.clone())
        })
        .ok()
}

/// A step of the walk of a request that has nothing below it, until it is dropped; `None` where the
/// request is not recorded.
pub fn step(name: &'static str) -> Option<Span> {
    match CURRENT.try_with(|place| place.sink.is_some()) {
        Ok(true) => child(name, Kind::Internal),
        Ok(false) | Err(_) => None,
    }
}

/// A stage of the walk of a request, with a span of its own where the request is recorded.
pub fn stage<F: Future>(name: &'static str, work: F) -> Traced<F> {
    let span = step(name);
    Traced {
        place: span.as_ref().map(|span| Arc::clone(&span.place)),
        span,
        work,
    }
}

pin_project! {
    /// Work that belongs to a span, or to none.
    #[derive(Debug)]
    pub struct Traced<F> {
        place: Option<Arc<Place>>,
        span: Option<Span>,
        #[pin]
        work: F,
    }
}

impl<F: Future> Future for Traced<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(place) = this.place else {
            return this.work.poll(context);
        };
        let polled = CURRENT.sync_scope(Arc::clone(place), || this.work.poll(context));
        if polled.is_ready() {
            *this.span = None;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::TRACEPARENT;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(parent: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(&TRACEPARENT, parent.parse().unwrap());
        headers
    }

    #[tokio::test]
    async fn stages_and_calls_are_children_of_the_request() {
        let (finished, mut spans) = mpsc::channel(10);
        let tracer = Tracer::recording(finished, Arc::default(), 0.0);
        assert!(tracer.begin("request", &HeaderMap::new()).is_none());
        let mut request = tracer.begin("request", &headers(PARENT)).unwrap();
        request.set("http.response.status_code", Value::Number(200));
        let work = stage("auth", async {
            assert!(child("x", Kind::Client).is_none());
        });
        work.await;
        let walk = async {
            stage("lookup", async {
                let mut call = child("GetUcData", Kind::Client).unwrap();
                call.fail();
                tokio::task::yield_now().await;
                drop(call);
            })
            .await;
        };
        request.around(walk).await;
        let request_id = request.context().parent_id;
        drop(request);
        let mut got = Vec::new();
        while let Ok(span) = spans.try_recv() {
            got.push(span);
        }
        let [call, lookup, request] = &got[..] else {
            panic!("{got:?}");
        };
        assert_eq!(
            (call.name, call.kind, call.failed),
            ("GetUcData", Kind::Client, true)
        );
        assert_eq!(call.parent_id, Some(lookup.span_id));
        assert_eq!(lookup.parent_id, Some(request_id));
        assert_eq!(request.span_id, request_id);
        assert_eq!(request.parent_id, Some(0x00f0_67aa_0ba9_02b7));
        assert_eq!(request.attributes.len(), 1);
        assert!(got.iter().all(|span| span.trace_id == request.trace_id));
    }

    #[tokio::test]
    async fn a_trace_is_passed_on_where_nothing_is_recorded() {
        let (finished, mut spans) = mpsc::channel(10);
        for (tracer, parent) in [
            (Tracer::default(), PARENT.to_owned()),
            (
                Tracer::recording(finished, Arc::default(), 1.0),
                PARENT.replace("-01", "-00"),
            ),
        ] {
            let request = tracer.begin("request", &headers(&parent)).unwrap();
            let sent = request.around(async {
                let call = stage("lookup", async { child("Get", Kind::Client) });
                call.await.unwrap().context().traceparent()
            });
            let sent = sent.await.to_str().unwrap().to_owned();
            let parts = |text: &str| text.split('-').map(str::to_owned).collect::<Vec<_>>();
            let (sent, parent) = (parts(&sent), parts(&parent));
            assert_eq!(sent[1], parent[1], "the same trace");
            assert_ne!(sent[2], parent[2], "another parent");
            assert_eq!(sent[3], parent[3], "nobody else records it either");
        }
        assert!(spans.try_recv().is_err());
    }

    #[test]
    fn every_request_can_be_recorded() {
        let (finished, _spans) = mpsc::channel(1);
        let tracer = Tracer::recording(finished, Arc::default(), 1.0);
        let first = tracer.begin("request", &HeaderMap::new()).unwrap();
        let second = tracer.begin("request", &HeaderMap::new()).unwrap();
        assert!(first.context().sampled);
        assert_ne!(first.context().trace_id, second.context().trace_id);
    }
}
