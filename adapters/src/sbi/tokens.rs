//! Access tokens of the NRF for each service (TS 33.501 13.4.1, `Nnrf_AccessToken`).
//!
//! One task for each service that is asked renews its token when half of its life is over, so that
//! an NRF that is away for the other half costs nothing; a token that was given is used until it
//! ends, whatever becomes of its renewal. However many wait for one, the NRF is asked once, and not
//! again for a while after it gave none.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use http::StatusCode;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::{Answer, Change, Client, Error, Operation, Path, ServiceName};

/// Renewed when this share of its life is over, and up to a tenth more, so that neither the tokens
/// of one bridge nor all bridges ask at once.
const RENEW_AT: f64 = 0.5;
const RENEWAL_SPREAD: f64 = 0.1;
/// The lifetime of a token that states none (RFC 6749 5.1 leaves it to us).
const UNSTATED_LIFETIME: Duration = Duration::from_mins(5);
/// A shorter lifetime is not believed: each request would ask for a token of its own.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(1);
/// A longer lifetime is not believed: the tokens of an NRF live for minutes to hours.
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);
/// Before the NRF is asked again that gave no token, doubled up to the bound.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Refused so often, a token is not to be had, as for a service that nobody in this core offers; an
/// NRF that only did not know us yet knows us by then. Whoever needs one all the same asks for it.
const MOST_REFUSALS: u32 = 8;
const AFTER_REFUSALS: Duration = Duration::from_mins(1);
/// The longest pause that an NRF gets that asks for one.
const LONGEST_GRANTED_PAUSE: Duration = Duration::from_mins(1);
/// Between two tokens that are asked for because a producer refused one: whoever refuses them all
/// is not to be mended by asking.
const BETWEEN_REPLACEMENTS: Duration = Duration::from_secs(1);
/// For a token that no request waits for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A token, as it is sent. Never shown.
pub(super) struct Token {
    header: HeaderValue,
    renew_at: Instant,
    ends_at: Instant,
}

impl Token {
    pub(super) fn header(&self) -> &HeaderValue {
        &self.header
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// The tokens of one consumer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokens {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    slots: [Arc<Slot>; ServiceName::COUNT],
    source: Arc<Source>,
    /// Where tokens are renewed.
    runtime: Handle,
    /// The tasks that renew them, aborted when the last clone is dropped.
    renewals: std::sync::Mutex<JoinSet<()>>,
}

/// Who gives tokens, and to whom.
#[derive(Debug)]
struct Source {
    access_token_request: Operation,
    nf_instance_id: String,
    requester_nf_type: String,
}

/// The token for one service.
#[derive(Debug, Default)]
struct Slot {
    token: ArcSwapOption<Token>,
    /// Held by the one who asks; the others wait for what it brings.
    asking: Mutex<Asking>,
    is_renewed: AtomicBool,
}

/// What came of asking so far.
#[derive(Debug, Default)]
struct Asking {
    /// Until when the NRF is not asked again, and why.
    pause: Option<(Instant, Error)>,
    /// How long the last pause was.
    length: Duration,
    /// When a token was last asked for because a producer refused one.
    replaced_at: Option<Instant>,
}

impl Tokens {
    /// Tokens of the NRF behind `client`, for the instance of this identifier and type. Must be
    /// called within a Tokio runtime.
    pub fn new(client: &Client, nf_instance_id: Uuid, requester_nf_type: &str) -> Self {
        let service = ServiceName::NnrfOauth2;
        Self {
            inner: Arc::new(Inner {
                slots: Default::default(),
                source: Arc::new(Source {
                    access_token_request: Operation::new(client, service, "AccessTokenRequest"),
                    nf_instance_id: nf_instance_id.to_string(),
                    requester_nf_type: requester_nf_type.to_owned(),
                }),
                runtime: Handle::current(),
                renewals: std::sync::Mutex::default(),
            }),
        }
    }

    /// Asks for a token for the service now, and for the next one before it ends, for as long as
    /// these tokens live.
    pub fn keep(&self, service: ServiceName) {
        let Some(slot) = self.inner.slots.get(service as usize) else {
            return;
        };
        if slot.is_renewed.swap(true, Ordering::Relaxed) {
            return;
        }
        let (source, slot) = (Arc::clone(&self.inner.source), Arc::clone(slot));
        let renewal = async move { source.keep(&slot, service).await };
        let renewals = self.inner.renewals.lock();
        let mut renewals = renewals.unwrap_or_else(PoisonError::into_inner);
        renewals.spawn_on(renewal, &self.inner.runtime);
    }

    /// A token that is good for the service.
    pub(super) async fn of(
        &self,
        service: ServiceName,
        deadline: Instant,
    ) -> Result<Arc<Token>, Error> {
        let slot = self.slot(service)?;
        // A producer whose clock is ahead refuses one that ends, which is then replaced.
        let is_good = |token: &Arc<Token>| Instant::now() < token.ends_at;
        if let Some(token) = slot.token_that(is_good) {
            return Ok(token);
        }
        let mut asking = slot.asking.lock().await;
        let source = &self.inner.source;
        let token = source
            .bring(slot, &mut asking, service, deadline, is_good)
            .await?;
        self.keep(service);
        Ok(token)
    }

    /// Another token than this one, which a producer did not accept. It stays where there is none.
    pub(super) async fn replace(
        &self,
        service: ServiceName,
        refused: &Arc<Token>,
        deadline: Instant,
    ) -> Result<(), Error> {
        let slot = self.slot(service)?;
        let is_other = |token: &Arc<Token>| !Arc::ptr_eq(token, refused);
        let mut asking = slot.asking.lock().await;
        if slot.token_that(is_other).is_some() {
            return Ok(());
        }
        let is_soon = |at: Instant| at.elapsed() < BETWEEN_REPLACEMENTS;
        if asking.replaced_at.is_some_and(is_soon) {
            return Err(Error::Unreachable);
        }
        asking.replaced_at = Some(Instant::now());
        let source = &self.inner.source;
        source
            .bring(slot, &mut asking, service, deadline, is_other)
            .await?;
        Ok(())
    }

    fn slot(&self, service: ServiceName) -> Result<&Slot, Error> {
        let slot = self.inner.slots.get(service as usize);
        slot.map(|slot| &**slot).ok_or(Error::BadAnswer)
    }
}

impl Slot {
    fn token_that(&self, is: impl Fn(&Arc<Token>) -> bool) -> Option<Arc<Token>> {
        let token = self.token.load();
        token.as_ref().filter(|token| is(token)).cloned()
    }
}

impl Asking {
    /// Why the NRF is not to be asked now.
    fn paused(&self) -> Option<Error> {
        let (until, error) = self.pause?;
        (Instant::now() < until).then_some(error)
    }

    /// It gave none.
    fn fail(&mut self, error: Error) {
        self.length = (self.length * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        let wanted = match error {
            Error::Overloaded { retry_after } => u64::from(retry_after.unwrap_or(0)),
            _ => 0,
        };
        let wanted = Duration::from_secs(wanted).min(LONGEST_GRANTED_PAUSE);
        let jittered = self.length.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.pause = Some((Instant::now() + jittered.max(wanted), error));
    }

    fn succeed(&mut self) {
        self.pause = None;
        self.length = Duration::ZERO;
    }
}

impl Source {
    /// Renews the token of a slot, for ever.
    async fn keep(&self, slot: &Slot, service: ServiceName) {
        let is_fresh = |token: &Arc<Token>| Instant::now() < token.renew_at;
        let mut failures: u32 = 0;
        loop {
            if let Some(token) = slot.token_that(is_fresh) {
                sleep_until(token.renew_at).await;
            }
            let mut asking = slot.asking.lock().await;
            let deadline = Instant::now() + PATIENCE;
            let brought = self
                .bring(slot, &mut asking, service, deadline, is_fresh)
                .await;
            let pause = asking.pause;
            drop(asking);
            let service = service.name();
            match brought {
                Ok(_) if failures > 0 => {
                    failures = 0;
                    tracing::info!(nf = "NRF", service, "access tokens are given again");
                }
                Ok(_) => {}
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(nf = "NRF", service, %error, "no new access token");
                    }
                    failures = failures.saturating_add(1);
                    let is_final = matches!(error, Error::Refused { .. });
                    match pause {
                        _ if is_final && failures > MOST_REFUSALS => sleep(AFTER_REFUSALS).await,
                        Some((until, _)) => sleep_until(until).await,
                        None => sleep(FIRST_PAUSE).await,
                    }
                }
            }
        }
    }

    /// A token that is `enough`: the one that somebody else brought meanwhile, or a new one.
    async fn bring(
        &self,
        slot: &Slot,
        asking: &mut Asking,
        service: ServiceName,
        deadline: Instant,
        enough: impl Fn(&Arc<Token>) -> bool,
    ) -> Result<Arc<Token>, Error> {
        if let Some(token) = slot.token_that(enough) {
            return Ok(token);
        }
        if let Some(error) = asking.paused() {
            return Err(error);
        }
        match self.ask(service, deadline).await {
            Ok(token) => {
                asking.succeed();
                let token = Arc::new(token);
                slot.token.store(Some(Arc::clone(&token)));
                Ok(token)
            }
            Err(error) => {
                asking.fail(error);
                Err(error)
            }
        }
    }

    async fn ask(&self, service: ServiceName, deadline: Instant) -> Result<Token, Error> {
        let asked_at = Instant::now();
        let change = Change::form(
            Path::new("/oauth2/token"),
            &[
                ("grant_type", "client_credentials"),
                ("nfInstanceId", &self.nf_instance_id),
                ("nfType", &self.requester_nf_type),
                ("targetNfType", service.producer().name()),
                ("scope", service.name()),
            ],
        )?;
        let read = |answer: &Answer| match answer.status() {
            StatusCode::OK => Token::read(&answer.json()?, asked_at),
            _ => Err(answer.failure()),
        };
        // Boxed: a request for a token is a request like the one that waits for it.
        Box::pin(self.access_token_request.change(&change, deadline, read)).await
    }
}

#[derive(Deserialize)]
struct AccessTokenRsp<'a> {
    #[serde(borrow)]
    access_token: Cow<'a, str>,
    #[serde(borrow)]
    token_type: Cow<'a, str>,
    expires_in: Option<u64>,
}

impl Token {
    fn read(json: &AccessTokenRsp<'_>, asked_at: Instant) -> Result<Self, Error> {
        if !json.token_type.eq_ignore_ascii_case("bearer") {
            return Err(Error::BadAnswer);
        }
        let mut header = HeaderValue::try_from(format!("Bearer {}", json.access_token))
            .map_err(|_| Error::BadAnswer)?;
        header.set_sensitive(true);
        let lifetime = json
            .expires_in
            .map_or(UNSTATED_LIFETIME, Duration::from_secs)
            .clamp(SHORTEST_LIFETIME, LONGEST_LIFETIME);
        let renew_at = RENEW_AT + fastrand::f64() * RENEWAL_SPREAD;
        Ok(Self {
            header,
            renew_at: asked_at + lifetime.mul_f64(renew_at),
            ends_at: asked_at + lifetime,
        })
    }
}
