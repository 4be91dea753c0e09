//! What an operator sees of tokens and issuers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use tokio::time::Instant;

use super::issuer_client::FetchError;
use super::reason::{AuthError, Missing, Reason};

/// Tokens by outcome, and what issuers were asked.
pub struct AuthMetrics {
    remembered: IntCounter,
    verified: IntCounter,
    refused: Vec<IntCounter>,
    unavailable: Vec<IntCounter>,
    deadline: IntCounter,
    entries: IntGauge,
    issuers: IntCounterVec,
}

impl AuthMetrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let tokens = IntCounterVec::new(
            Opts::new(
                "pei_bridge_tokens_total",
                "Requests by what their token was found to be",
            ),
            &["outcome"],
        )?;
        let issuers = IntCounterVec::new(
            Opts::new(
                "pei_bridge_issuer_requests_total",
                "Questions to token issuers, by what was asked and whether it was answered",
            ),
            &["issuer", "what", "outcome"],
        )?;
        let entries = IntGauge::new("pei_bridge_tokens_remembered", "Verified tokens remembered")?;
        registry.register(Box::new(tokens.clone()))?;
        registry.register(Box::new(issuers.clone()))?;
        registry.register(Box::new(entries.clone()))?;
        let outcome = |label: &str| tokens.with_label_values(&[label]);
        Ok(Self {
            remembered: outcome("remembered"),
            verified: outcome("verified"),
            refused: Reason::ALL.iter().map(|r| outcome(r.label())).collect(),
            unavailable: Missing::ALL.iter().map(|m| outcome(m.label())).collect(),
            deadline: outcome("deadline"),
            entries,
            issuers,
        })
    }

    /// A token that was verified before.
    pub(super) fn remembered(&self) {
        self.remembered.inc();
    }

    /// A token that was verified now.
    pub(super) fn verified(&self) {
        self.verified.inc();
    }

    /// A token that was not accepted.
    pub(super) fn refused(&self, error: AuthError) {
        let counter = match error {
            AuthError::Unauthenticated(reason) => {
                let place = Reason::ALL.iter().position(|known| *known == reason);
                place.and_then(|place| self.refused.get(place))
            }
            AuthError::Unavailable(missing) => {
                let place = Missing::ALL.iter().position(|known| *known == missing);
                place.and_then(|place| self.unavailable.get(place))
            }
            AuthError::DeadlinePassed => Some(&self.deadline),
        };
        if let Some(counter) = counter {
            counter.inc();
        }
    }

    /// How many are remembered.
    pub(super) fn set_entries(&self, entries: u64) {
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// Those of one issuer of the configuration, asked for `what`.
    pub(super) fn issuer(&self, issuer: &str, what: &'static str) -> IssuerMetrics {
        let outcome = |label| self.issuers.with_label_values(&[issuer, what, label]);
        IssuerMetrics(Arc::new(IssuerState {
            issuer: issuer.to_owned(),
            what,
            answered: outcome("answered"),
            failed: outcome("failed"),
            failing: AtomicBool::new(false),
            without_keys: AtomicBool::new(false),
        }))
    }
}

/// How one issuer answers. Says so in the log when it begins to fail and when that ends.
#[derive(Clone)]
pub(super) struct IssuerMetrics(Arc<IssuerState>);

struct IssuerState {
    issuer: String,
    what: &'static str,
    answered: IntCounter,
    failed: IntCounter,
    failing: AtomicBool,
    without_keys: AtomicBool,
}

impl IssuerMetrics {
    /// Counts one question that was asked.
    pub(super) fn fetched(&self, error: Option<&FetchError>) {
        let IssuerState {
            issuer,
            what,
            answered,
            failed,
            failing,
            ..
        } = &*self.0;
        let was_failing = failing.swap(error.is_some(), Ordering::Relaxed);
        if let Some(error) = error {
            failed.inc();
            if !was_failing {
                tracing::warn!(issuer, what, %error, "an issuer fails");
            }
        } else {
            answered.inc();
            if was_failing {
                tracing::info!(issuer, what, "an issuer answers again");
            }
        }
    }

    /// Whether the latest question failed.
    pub(super) fn is_failing(&self) -> bool {
        self.0.failing.load(Ordering::Relaxed)
    }

    /// Says in the log when an issuer publishes no key any more that could verify anything, and when
    /// that ends.
    pub(super) fn has_keys(&self, has_keys: bool) {
        let issuer = &self.0.issuer;
        let had_none = self.0.without_keys.swap(!has_keys, Ordering::Relaxed);
        if !has_keys && !had_none {
            tracing::warn!(
                issuer,
                "an issuer publishes no key of a configured algorithm: its tokens are refused"
            );
        } else if has_keys && had_none {
            tracing::info!(issuer, "an issuer publishes keys again");
        }
    }

    /// A question that is asked now, for somebody who may not wait for its answer.
    pub(super) fn question(&self) -> Question<'_> {
        Question {
            issuer: Some(self),
            asked: Instant::now(),
        }
    }

    /// Questions that were not answered.
    #[cfg(test)]
    pub(super) fn failures(&self) -> u64 {
        self.0.failed.get()
    }

    #[cfg(test)]
    pub(super) fn unregistered() -> Self {
        AuthMetrics::register(&Registry::new())
            .unwrap()
            .issuer("https://issuer.example", "keys")
    }
}

/// A question under way. Requests wait for none longer than their own deadline, so that an issuer
/// that swallows questions would never be seen to fail: one that is given up counts as failed, unless
/// it could not have been answered yet.
pub(super) struct Question<'a> {
    /// Absent where it has ended.
    issuer: Option<&'a IssuerMetrics>,
    asked: Instant,
}

/// What an issuer that is well takes, many times over.
const SLOW: Duration = Duration::from_secs(1);

impl Question<'_> {
    /// It was answered, or failed.
    pub(super) fn ended(mut self, error: Option<&FetchError>) {
        if let Some(issuer) = self.issuer.take() {
            issuer.fetched(error);
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let given_up = self.issuer.filter(|_| self.asked.elapsed() >= SLOW);
        if let Some(issuer) = given_up {
            issuer.fetched(Some(&FetchError::GivenUp));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_under_its_own_label() {
        let registry = Registry::new();
        let metrics = AuthMetrics::register(&registry).unwrap();
        metrics.remembered();
        metrics.verified();
        metrics.refused(AuthError::DeadlinePassed);
        for reason in Reason::ALL {
            metrics.refused((*reason).into());
        }
        for missing in Missing::ALL {
            metrics.refused(AuthError::Unavailable(*missing));
        }
        let families = registry.gather();
        let tokens = families
            .iter()
            .find(|family| family.name() == "pei_bridge_tokens_total")
            .unwrap();
        let labels = tokens.get_metric().len();
        assert_eq!(labels, 3 + Reason::ALL.len() + Missing::ALL.len());
        for metric in tokens.get_metric() {
            assert!((metric.get_counter().get_value() - 1.0).abs() < f64::EPSILON);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_is_given_up_is_a_failure_where_an_answer_was_due() {
        let metrics = IssuerMetrics::unregistered();
        let failed = || metrics.failures();
        drop(metrics.question());
        assert_eq!(failed(), 0);
        let question = metrics.question();
        tokio::time::advance(SLOW).await;
        drop(question);
        assert_eq!(failed(), 1);
        let question = metrics.question();
        tokio::time::advance(SLOW).await;
        question.ended(None);
        assert_eq!((failed(), metrics.0.answered.get()), (1, 1));
    }
}
