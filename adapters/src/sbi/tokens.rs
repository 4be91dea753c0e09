//! Access tokens of the NRF for each service (TS 33.501 13.4.1, `Nnrf_AccessToken`): kept until
//! shortly before they expire, and asked for once however many wait.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Answer, Change, Client, Error, Operation, Path, ServiceName};

/// A token is replaced so long before it expires, that no request is under way with one that does.
const MARGIN: Duration = Duration::from_secs(10);
/// The lifetime of a token that states none (RFC 6749 5.1 leaves it to us).
const UNSTATED_LIFETIME: Duration = Duration::from_mins(5);
/// A longer lifetime is not believed: the tokens of an NRF live for minutes to hours.
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);

/// A token, as it is sent. Never shown.
pub(super) struct Token {
    header: HeaderValue,
    good_until: Instant,
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
    access_token_request: Operation,
    nf_instance_id: String,
    requester_nf_type: String,
    slots: [Slot; ServiceName::COUNT],
}

#[derive(Debug, Default)]
struct Slot {
    token: ArcSwapOption<Token>,
    /// Held by the one who asks; the others wait for what it brings.
    asking: Mutex<()>,
}

impl Tokens {
    /// Tokens of the NRF behind `client`, for the instance of this identifier and type.
    pub fn new(client: &Client, nf_instance_id: Uuid, requester_nf_type: &str) -> Self {
        let service = ServiceName::NnrfOauth2;
        Self {
            inner: Arc::new(Inner {
                access_token_request: Operation::new(client, service, "AccessTokenRequest"),
                nf_instance_id: nf_instance_id.to_string(),
                requester_nf_type: requester_nf_type.to_owned(),
                slots: Default::default(),
            }),
        }
    }

    /// A token that is good for the service.
    pub(super) async fn of(
        &self,
        service: ServiceName,
        deadline: Instant,
    ) -> Result<Arc<Token>, Error> {
        let slot = self.slot(service).ok_or(Error::BadAnswer)?;
        if let Some(token) = slot.good() {
            return Ok(token);
        }
        let _asking = slot.asking.lock().await;
        // Somebody else may have brought one meanwhile.
        if let Some(token) = slot.good() {
            return Ok(token);
        }
        let token = Arc::new(self.ask(service, deadline).await?);
        slot.token.store(Some(Arc::clone(&token)));
        Ok(token)
    }

    /// A producer did not accept this one.
    pub(super) fn forget(&self, service: ServiceName, token: &Arc<Token>) {
        if let Some(slot) = self.slot(service) {
            // A newer one stays.
            slot.token.compare_and_swap(token, None);
        }
    }

    fn slot(&self, service: ServiceName) -> Option<&Slot> {
        self.inner.slots.get(service as usize)
    }

    async fn ask(&self, service: ServiceName, deadline: Instant) -> Result<Token, Error> {
        let asked_at = Instant::now();
        let change = Change::form(
            Path::new("/oauth2/token"),
            &[
                ("grant_type", "client_credentials"),
                ("nfInstanceId", &self.inner.nf_instance_id),
                ("nfType", &self.inner.requester_nf_type),
                ("targetNfType", service.producer().name()),
                ("scope", service.name()),
            ],
        )?;
        let read = |answer: &Answer| match answer.status() {
            StatusCode::OK => Token::read(&answer.json()?, asked_at),
            _ => Err(answer.failure()),
        };
        // Boxed: a request for a token is a request like the one that waits for it.
        Box::pin(
            self.inner
                .access_token_request
                .change(&change, deadline, read),
        )
        .await
    }
}

impl Slot {
    fn good(&self) -> Option<Arc<Token>> {
        let token = self.token.load();
        let token = token.as_ref()?;
        (Instant::now() < token.good_until).then(|| Arc::clone(token))
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
            .min(LONGEST_LIFETIME);
        // One that lives no longer than the margin serves for half of its life.
        let usable = lifetime.saturating_sub(MARGIN).max(lifetime / 2);
        Ok(Self {
            header,
            good_until: asked_at + usable,
        })
    }
}
