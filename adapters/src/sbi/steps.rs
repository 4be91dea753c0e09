//! What became of each call, step by step, for the engineer who wires the bridge to a core.
//!
//! Nothing is told unless [`Settings::steps`](super::Settings) says to whom. This is the one place
//! from which a whole identifier can come back out of this crate, and only as a [`Shown`], which
//! prints masked unless it is asked to reveal.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use device::MASK;
use tokio::time::Instant;
use uuid::Uuid;

use super::{ApiRoot, Error};

/// Far more than one lookup takes; what is beyond is not told.
const MOST_STEPS: usize = 1000;

/// Steps in the order in which they ended. Cheap to clone: all clones tell the same.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    done: Arc<Mutex<Vec<Step>>>,
}

/// One of them.
#[derive(Debug, Clone)]
pub enum Step {
    /// A call to the core.
    Call(Call),
    /// Something that was found without one.
    Note {
        /// The setting that it was found by.
        source: &'static str,
        /// What was found.
        facts: Vec<Fact>,
    },
}

/// A call to the core.
#[derive(Debug, Clone)]
pub struct Call {
    /// The kind of function.
    pub nf: &'static str,
    /// The operation, named as its `OpenAPI` file names it.
    pub operation: &'static str,
    /// GET, POST and so on.
    pub method: http::Method,
    /// From the service name on.
    pub path: Shown,
    /// Whom it was sent to, in turn; nobody where no instance was there, or no access token.
    pub attempts: Vec<Attempt>,
    /// Whether it ended for want of an access token.
    pub lacked_token: bool,
    /// The cause in the problem details of an answer that was none to use, if it looks like one.
    pub cause: Option<String>,
    /// What was read, or why nothing.
    pub outcome: Result<Vec<Fact>, Error>,
    /// From the call to its outcome.
    pub took: Duration,
}

/// A request as it was sent to one instance.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Where the instance is.
    pub root: ApiRoot,
    /// What the NRF, or the SCP, calls it.
    pub nf_instance_id: Option<Uuid>,
    /// Who named it.
    pub found: Found,
    /// The proxy that the request went through.
    pub via: Option<ApiRoot>,
    /// The status of its answer; absent where none came.
    pub status: Option<u16>,
}

/// How an instance was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The configuration names it.
    Configured,
    /// The NRF named it.
    Discovered,
    /// The SCP chose it.
    ChosenByProxy,
}

/// Something that was read.
#[derive(Debug, Clone)]
pub struct Fact {
    /// As the `OpenAPI` file names it.
    pub name: &'static str,
    /// What it says.
    pub value: Shown,
}

impl Fact {
    /// Nothing personal.
    pub fn plain(name: &'static str, value: impl fmt::Display) -> Self {
        Self {
            name,
            value: Shown::plain(value),
        }
    }

    /// Masked unless revealed; what comes before the first hyphen says of what kind it is.
    pub fn personal(name: &'static str, value: impl fmt::Display) -> Self {
        Self {
            name,
            value: Shown::personal(value),
        }
    }
}

/// A text that may be personal: prints masked.
#[derive(Clone)]
pub struct Shown {
    masked: String,
    /// Where that is another one.
    whole: Option<String>,
}

impl Shown {
    pub(super) fn of(masked: String, whole: String) -> Self {
        let whole = (masked != whole).then_some(whole);
        Self { masked, whole }
    }

    fn plain(value: impl fmt::Display) -> Self {
        Self {
            masked: value.to_string(),
            whole: None,
        }
    }

    fn personal(value: impl fmt::Display) -> Self {
        let whole = value.to_string();
        let masked = match whole.split_once('-') {
            Some((kind, _)) if kind.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                format!("{kind}-{MASK}")
            }
            _ => MASK.to_owned(),
        };
        Self::of(masked, whole)
    }

    /// A path of which only the service and what stands next to it may be seen.
    pub(super) fn below_service(path: &str) -> Self {
        let ends = path.match_indices('/').nth(2).map(|(end, _)| end);
        let masked = match ends.and_then(|end| path.get(..end)) {
            Some(service) => format!("{service}/{MASK}"),
            None => path.to_owned(),
        };
        Self::of(masked, path.to_owned())
    }

    /// The whole of it.
    pub fn reveal(&self) -> &str {
        self.whole.as_deref().unwrap_or(&self.masked)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Steps {
    /// The steps so far.
    pub fn done(&self) -> Vec<Step> {
        self.lock().clone()
    }

    /// Something was found without a call.
    pub fn note(&self, source: &'static str, facts: Vec<Fact>) {
        self.add(Step::Note { source, facts });
    }

    fn add(&self, step: Step) {
        let mut done = self.lock();
        if done.len() < MOST_STEPS {
            done.push(step);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Step>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way.
pub(super) struct CallSteps {
    steps: Steps,
    nf: &'static str,
    operation: &'static str,
    method: http::Method,
    path: Shown,
    begun: Instant,
    attempts: Mutex<Vec<Attempt>>,
    awaits_token: AtomicBool,
    cause: Mutex<Option<String>>,
}

impl CallSteps {
    pub(super) fn begin(
        steps: &Steps,
        nf: &'static str,
        operation: &'static str,
        method: http::Method,
        path: Shown,
    ) -> Self {
        Self {
            steps: steps.clone(),
            nf,
            operation,
            method,
            path,
            begun: Instant::now(),
            attempts: Mutex::default(),
            awaits_token: AtomicBool::new(false),
            cause: Mutex::default(),
        }
    }

    /// It waits for an access token, or has one.
    pub(super) fn awaits_token(&self, awaits: bool) {
        self.awaits_token.store(awaits, Ordering::Relaxed);
    }

    /// It is about to be sent.
    pub(super) fn sent(&self, attempt: Attempt) {
        self.attempts().push(attempt);
    }

    /// The last one was answered, perhaps by somebody whom a proxy chose.
    pub(super) fn answered(&self, status: u16, chosen: Option<(Option<ApiRoot>, Option<Uuid>)>) {
        if let Some(attempt) = self.attempts().last_mut() {
            attempt.status = Some(status);
            if let Some((root, nf_instance_id)) = chosen {
                attempt.nf_instance_id = nf_instance_id;
                attempt.root = root.unwrap_or_else(|| attempt.root.clone());
            }
        }
    }

    /// What the problem details say.
    pub(super) fn refused(&self, cause: &str) {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause.to_owned());
    }

    /// It has an outcome.
    pub(super) fn end(self, outcome: Result<Vec<Fact>, Error>) {
        let unpoisoned = PoisonError::into_inner;
        let call = Call {
            nf: self.nf,
            operation: self.operation,
            method: self.method,
            path: self.path,
            attempts: self.attempts.into_inner().unwrap_or_else(unpoisoned),
            lacked_token: self.awaits_token.into_inner(),
            cause: self
                .cause
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            outcome,
            took: self.begun.elapsed(),
        };
        self.steps.add(Step::Call(call));
    }

    fn attempts(&self) -> MutexGuard<'_, Vec<Attempt>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was read of an answer, to be told.
pub(crate) trait Facts {
    /// Each of it, in the order of the `OpenAPI` file.
    fn facts(&self) -> Vec<Fact>;
}

impl<T: Facts> Facts for Option<T> {
    fn facts(&self) -> Vec<Fact> {
        match self {
            Some(read) => read.facts(),
            None => vec![Fact::plain("found", "nothing")],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_personal_prints_masked() {
        for (whole, masked) in [
            ("imsi-001010000000001", "imsi-***"),
            ("imeisv-4901542032375180", "imeisv-***"),
            ("10.45.0.1", "***"),
            ("2001:db8::1", "***"),
            ("A-1", "***"),
        ] {
            let fact = Fact::personal("x", whole);
            assert_eq!(fact.value.to_string(), masked);
            assert_eq!(format!("{:?}", fact.value), masked);
            assert_eq!(fact.value.reveal(), whole);
        }
        for (path, masked) in [
            ("/oauth2/token", "/oauth2/token"),
            ("/nudm-sdm/v2/imsi-1/x", "/nudm-sdm/v2/***"),
        ] {
            assert_eq!(Shown::below_service(path).to_string(), masked);
        }
    }
}
