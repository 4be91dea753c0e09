//! From one instance to the next: whom a request is sent to, and what follows its outcome.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use tokio::time::Instant;

use super::super::endpoint::Shared;
use super::super::pool::Wish;
use super::super::proxy::{Route, Scp};
use super::super::request::{Question, Underway};
use super::super::response::Answer;
use super::super::selection::History;
use super::super::tokens::Token;
use super::super::{Content, Error, Resource, proxy, steps};
use super::Inner;
use super::attempt::Attempt;
use super::exchange::{self, Failure};

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

/// Redirections that are followed for one request (TS 29.500 6.10.9): more are a loop.
const MOST_REDIRECTIONS: u32 = 2;

impl Inner {
    pub(in super::super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Sends the request from one instance to the next, for as long as that is allowed.
    pub(in super::super) async fn walk(
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
            let token = self.token(question, deadline).await?;
            let mut attempt = self.attempt(question, resource, history).await?;
            sent += 1;
            if let Some(steps) = question.observed.steps {
                steps.sent(self.describe(&attempt, resource));
            }
            let authorization = token.as_ref().map(|token| token.header());
            let answered = self
                .send(question, resource, &mut attempt, authorization, deadline)
                .await;
            match self.next(answered, question, &mut attempt, history) {
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

    /// The token that goes with it, where one has to.
    async fn token(
        &self,
        question: &Question<'_>,
        deadline: Instant,
    ) -> Result<Option<Arc<Token>>, Error> {
        let Some(tokens) = &self.tokens else {
            return Ok(None);
        };
        if !question.service.wants_token() {
            return Ok(None);
        }
        let steps = question.observed.steps;
        let awaits = |awaits| {
            if let Some(steps) = steps {
                steps.awaits_token(awaits);
            }
        };
        awaits(true);
        let token = tokens.of(question.service, deadline).await?;
        awaits(false);
        Ok(Some(token))
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
        let asked = target.as_ref().unwrap_or(&lease);
        history.at(asked.member.endpoint.number());
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
        let mut sender = attempt.lease.sender.take().ok_or(Failure::Untouched)?;
        exchange::ready(&mut sender).await?;
        let response = {
            // Gone before the answer is waited for: what waits is small.
            let path = resource.map_or(question.path, Resource::path);
            let root = &attempt.lease.member.instance.root;
            let underway = Underway {
                uri: root.uri(path).ok_or(Failure::Final(Error::BadAnswer))?,
                remaining: deadline.saturating_duration_since(attempt.begun),
                introduces: attempt.lease.is_first,
                authorization,
                routing: self.route.headers(question, resource, attempt.target()),
            };
            let head = self.sender.head(question, underway);
            exchange::send(sender, head, question.content.map(Content::body))?
        };
        let most = self.shared.settings.largest_body();
        let mut answer = exchange::receive(response, most).await?;
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
        attempt: &mut Attempt<'_>,
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

    /// Whether somebody can be asked now who has not refused the request.
    pub(in super::super) fn is_another_at_hand(
        &self,
        question: &Question<'_>,
        history: &mut History,
    ) -> bool {
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

    pub(in super::super) fn may_retry(&self, sent: u32) -> bool {
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
