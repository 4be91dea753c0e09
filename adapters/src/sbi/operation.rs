//! One operation of a network function: the walk of a call from its path to its typed outcome,
//! timed, counted, and told to whoever wants to see it.

use std::pin::pin;
use std::sync::Arc;

use http::Method;
use tokio::time::{Instant, timeout_at};
use trace::{Kind, Span, Value};

use super::allowance::Allowance;
use super::metrics::OperationMetrics;
use super::request::{Observed, Path, Question};
use super::response::{Answer, loggable};
use super::steps::{CallSteps, Shown};
use super::{Change, Client, Error, Facts, ServiceName, Subject};

/// An operation, named as its OpenAPI file names it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    client: Client,
    service: ServiceName,
    name: &'static str,
    tells_producer: bool,
    metrics: Arc<OperationMetrics>,
    log_allowance: Arc<Allowance>,
}

impl Operation {
    pub(crate) fn new(client: &Client, service: ServiceName, name: &'static str) -> Self {
        let metrics = client.metrics().operation(client.nf(), name);
        Self {
            client: client.clone(),
            service,
            name,
            tells_producer: false,
            metrics: Arc::new(metrics),
            log_allowance: Arc::new(Allowance::per_second(LINES_PER_SECOND)),
        }
    }

    /// The same operation, with answers that say who gave them.
    pub(crate) fn telling_producer(&self) -> Self {
        Self {
            tells_producer: true,
            ..self.clone()
        }
    }

    /// The service that it is part of.
    pub(crate) fn service(&self) -> ServiceName {
        self.service
    }

    /// Asks an instance that serves `subject` for `path` and reads the answer, whatever its status,
    /// with `read`.
    ///
    /// Before `deadline` or never: this is the one timer of the call, and dropping the future
    /// cancels it in the core as well.
    pub(crate) async fn get<T: Facts>(
        &self,
        path: Path,
        subject: Subject<'_>,
        deadline: Instant,
        read: impl FnOnce(&Answer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let steps = self.steps(Method::GET, || path.shown());
        let path = path.build()?;
        let question = Question::get(self.service, subject, &path);
        let result = self.ask(question, steps.as_deref(), deadline, read).await;
        if let Some(steps) = steps {
            steps.end(result.as_ref().map(Facts::facts).map_err(|error| *error));
        }
        result
    }

    /// Changes something at the core and reads the answer, whatever its status, with `read`;
    /// otherwise as [`Self::get`].
    pub(crate) async fn change<T>(
        &self,
        change: &Change,
        deadline: Instant,
        read: impl FnOnce(&Answer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let question = change.question(self.service);
        let steps = self.steps(question.method.clone(), || {
            Shown::below_service(question.path.as_str())
        });
        let result = self.ask(question, steps.as_deref(), deadline, read).await;
        if let Some(steps) = steps {
            steps.end(result.as_ref().map(|_| Vec::new()).map_err(|error| *error));
        }
        result
    }

    async fn ask<T>(
        &self,
        mut question: Question<'_>,
        steps: Option<&CallSteps>,
        deadline: Instant,
        read: impl FnOnce(&Answer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let call = Call::begin(&self.metrics);
        let mut span = trace::child(self.name, Kind::Client);
        question.observed = Observed {
            steps,
            trace: span.as_ref().map(Span::context),
            tells_producer: self.tells_producer,
        };
        let mut status = None;
        let result = {
            // Pinned where it is made: moving it would copy some kilobytes.
            let answered = pin!(async {
                let answer = self.client.ask(&question, deadline).await?;
                status = Some(answer.status().as_u16());
                read(&answer).inspect_err(|error| self.report(*error, &answer, steps))
            });
            timeout_at(deadline, answered)
                .await
                .unwrap_or(Err(Error::DeadlinePassed))
        };
        if let Some(span) = &mut span {
            self.describe(span, status, result.as_ref().err());
        }
        call.end(&result);
        result
    }

    /// Boxed: usually nobody looks.
    fn steps(&self, method: Method, path: impl FnOnce() -> Shown) -> Option<Box<CallSteps>> {
        let steps = self.client.steps()?;
        let nf = self.client.nf().name();
        let steps = CallSteps::begin(steps, nf, self.name, method, path());
        Some(Box::new(steps))
    }

    /// Says in the trace what became of the call.
    fn describe(&self, span: &mut Span, status: Option<u16>, error: Option<&Error>) {
        span.set("pei_bridge.nf", Value::Word(self.client.nf().name()));
        span.set("pei_bridge.service", Value::Word(self.service.name()));
        if let Some(status) = status {
            span.set("http.response.status_code", Value::Number(status.into()));
        }
        if let Some(error) = error {
            span.set("error.type", Value::Word(error.label()));
            span.fail();
        }
    }

    /// Tells the operator what the consumer is not told. The path is personal and stays out.
    fn report(&self, error: Error, answer: &Answer, steps: Option<&CallSteps>) {
        let (nf, operation) = (self.client.nf().name(), self.name);
        let status = answer.status().as_u16();
        let outcome = error.label();
        if let Some(steps) = steps
            && let Some(cause) = answer.cause()
        {
            steps.refused(loggable(&cause).unwrap_or("(not shown)"));
        }
        if !matches!(error, Error::Refused { .. }) {
            tracing::debug!(nf, operation, status, outcome, "no usable answer");
        } else if self.log_allowance.take() {
            let cause = answer.cause();
            let cause = cause
                .as_deref()
                .map(|cause| loggable(cause).unwrap_or("(not shown)"));
            tracing::error!(
                nf,
                operation,
                status,
                cause,
                "the core refused a request: check how the bridge is wired to it"
            );
        }
    }
}

/// A wrong wiring fails every request; the metrics count them all, a few lines a second suffice.
const LINES_PER_SECOND: u32 = 10;

/// A call that is counted when it ends, one way or another.
struct Call<'a> {
    metrics: &'a OperationMetrics,
    begun: Instant,
    ended: bool,
}

impl<'a> Call<'a> {
    fn begin(metrics: &'a OperationMetrics) -> Self {
        Self {
            metrics,
            begun: Instant::now(),
            ended: false,
        }
    }

    fn end<T>(mut self, result: &Result<T, Error>) {
        self.ended = true;
        self.metrics
            .duration
            .observe(self.begun.elapsed().as_secs_f64());
        self.metrics.outcome(result).inc();
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.metrics.abandoned.inc();
        }
    }
}
