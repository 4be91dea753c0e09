//! The spine: identifiers → subscription → consent → equipment → answer.
//!
//! The one place that knows both sides: what a consumer may ask with, and what the core can be
//! asked. It knows neither HTTP nor JSON of either side. Read in this order: [`question`], this file,
//! [`session`] (whose session is this address), [`subscription`] (public to permanent identifier, by
//! the core or by the operator's table, [`provisioned`]),
//! [`consent`] (may it be disclosed), [`equipment`] (which device); below them all
//! [`remembered`], which asks the core once and keeps the answer for as long as it may,
//! [`waiting`], which bounds how many requests wait meanwhile, and [`feed`], by which answers may be
//! kept for longer. What the core tells unasked comes in through [`changes`].

pub mod changes;
pub mod consent;
mod domains;
pub mod equipment;
pub mod feed;
pub mod nat;
pub mod provisioned;
mod question;
mod remembered;
pub mod session;
pub mod subscription;
mod waiting;

use std::pin::pin;
use std::sync::Arc;

use adapters::bsf::Bsf;
use adapters::sbi::{self, Steps};
use adapters::udm::Udm;
use adapters::upf::Upf;
use device::{Supi, UeId};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use question::{DeviceQuery, NamedBy, Question, SeveralIdentifiers, Wanted};

use crate::auth::Caller;
use crate::config::{Config, IdentifierKind};
use crate::sessions::SessionTable;
use crate::telemetry::metrics::LookupMetrics;
use changes::{Changes, ConsentChanges, EquipmentChanges};
use consent::{Authority, ConsentFeed, ConsentLookup, Disclosure};
use equipment::{Equipment, EquipmentLookup};
use feed::Feed;
use provisioned::Provisioned;
use question::{Identifier, identifiers};
use session::SessionLookup;
use subscription::SubscriptionLookup;
use waiting::{Asker, Waiting};

/// Subscriptions whose consent was asked about and that wait to be subscribed to; more of them are
/// asked about again.
const CONSENTS_WISHED_FOR: usize = 1024;

/// How often one request asks for consent and device where the subscriber's consent is told to be
/// another one each time: a refusal and a consent again is more than people do meanwhile.
const MOST_ROUNDS: usize = 4;

/// Why there is no device to answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// None of the identifiers is of a kind that this deployment supports.
    #[error("no identifier of a supported kind")]
    Unsupported,
    /// The identifiers name different subscriptions.
    #[error("the identifiers name different subscriptions")]
    Mismatch,
    /// The token names a device, and it is not the one that is asked for.
    #[error("not the subscription of the token")]
    NotOfToken,
    /// The consent that is needed is not there.
    #[error("no consent")]
    ConsentMissing,
    /// The core did not say whether there is consent.
    #[error("consent unknown: {0}")]
    ConsentUnknown(sbi::Error),
    /// No identifier belongs to a subscription that the core knows.
    #[error("no such subscription")]
    UnknownSubscription,
    /// The subscription is known; no device is registered for it.
    #[error("no device registered")]
    NoDevice,
    /// The device has no IMEI.
    #[error("the device has no IMEI")]
    NoImei,
    /// The core did not say.
    #[error("core: {0}")]
    Core(#[from] sbi::Error),
}

impl LookupError {
    /// A fixed word for each, for the audit.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unsupported => "IDENTIFIER_NOT_SUPPORTED",
            Self::Mismatch => "IDENTIFIERS_DIFFER",
            Self::NotOfToken => "NOT_OF_TOKEN",
            Self::ConsentMissing => "CONSENT_MISSING",
            Self::ConsentUnknown(_) => "CONSENT_UNKNOWN",
            Self::UnknownSubscription => "UNKNOWN_SUBSCRIPTION",
            Self::NoDevice => "NO_DEVICE",
            Self::NoImei => "NO_IMEI",
            Self::Core(error) => error.label(),
        }
    }

    /// Whether the core failed, and nothing was said of anybody.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Core(_) | Self::ConsentUnknown(_))
    }

    /// Whether the core gives no usable answer, though there was time for one.
    fn is_outage(self) -> bool {
        match self {
            Self::Core(error) => match error {
                sbi::Error::Unreachable | sbi::Error::Overloaded { .. } | sbi::Error::BadAnswer => {
                    true
                }
                sbi::Error::DeadlinePassed | sbi::Error::Refused { .. } => false,
            },
            _ => false,
        }
    }

    /// Whether the core said that there is nothing, which may be remembered.
    fn is_none_found(self) -> bool {
        matches!(self, Self::UnknownSubscription | Self::NoDevice)
    }
}

/// A device in use, as much of it as the consumer may see, and when the core last knew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Which device; it has an IMEI.
    pub imei: device::Imei,
    /// With its software version, where the core knows it.
    pub imeisv: Option<device::Imeisv>,
    /// Milliseconds since the epoch, by the core's clock.
    pub last_checked: i64,
    /// What of it may be told.
    pub disclosure: Disclosure,
    /// Which identifier led to it, where one alone did.
    pub led_by: Option<IdentifierKind>,
}

/// How far a lookup came, for the audit. Outlives a lookup that is not waited for to its end.
#[derive(Debug, Default)]
pub struct Progress {
    /// The subscription that is asked about, once it is known.
    pub subscription: Option<UeId>,
    /// The identifiers of several that the core does not know, so that the next was tried. Whatever
    /// the answer is, it tells that nobody has them.
    pub passed_over: Vec<IdentifierKind>,
    /// Whether the consumer needs no consent by its own right.
    pub exempt: bool,
}

/// Asks the core, and remembers what it may.
pub struct Lookup {
    supported: Vec<IdentifierKind>,
    session: SessionLookup,
    subscription: Arc<SubscriptionLookup>,
    consent: Arc<ConsentLookup>,
    equipment: Arc<EquipmentLookup>,
    waiting: Waiting,
    metrics: Arc<LookupMetrics>,
}

/// One lookup on its way: who asks for what, and until when.
struct Walk<'a> {
    lookup: &'a Lookup,
    caller: &'a Caller,
    several: SeveralIdentifiers,
    wanted: Wanted,
    authority: Authority,
    deadline: Instant,
    progress: &'a mut Progress,
}

/// The functions of the core that a lookup asks.
pub struct CoreFunctions {
    /// Registrations and translations.
    pub udm: Udm,
    /// Sessions by address; absent where the deployment has none.
    pub bsf: Option<Bsf>,
    /// Translations of public addresses; absent where the deployment has none.
    pub upf: Option<Upf>,
    /// The operator's own table from GPSI to SUPI; absent where the UDM is asked.
    pub provisioned: Option<Provisioned>,
    /// Where it is told what became of each step; absent: nobody wants to see it.
    pub steps: Option<Steps>,
}

impl Lookup {
    /// A lookup over these functions, with the caches and rules of the configuration, and where
    /// what the core tells unasked comes in.
    pub fn new(
        core: CoreFunctions,
        config: &Config,
        metrics: &Arc<LookupMetrics>,
    ) -> (Self, Changes) {
        let CoreFunctions {
            udm,
            bsf,
            upf,
            provisioned,
            steps,
        } = core;
        let feeds = &config.feeds;
        let sessions = feeds
            .sessions
            .then(|| Arc::new(SessionTable::new(feeds.session_entries)));
        let feed = feeds
            .equipment
            .then(|| Arc::new(Feed::new(config.cache.equipment)));
        let (wanted, asked_about) = mpsc::channel(CONSENTS_WISHED_FOR);
        let consent_feed = feeds
            .consent
            .then(|| Arc::new(Feed::new(config.cache.consent)));
        let fed_consent = consent_feed
            .clone()
            .map(|feed| ConsentFeed { feed, wanted });
        let waiting = Waiting::new(config.api.requests_waiting());
        let (all, metrics) = (metrics, || metrics.clone());
        let subscription = SubscriptionLookup::new(
            udm.clone(),
            provisioned,
            config,
            &waiting,
            metrics(),
            feed.clone(),
        );
        let subscription = Arc::new(subscription);
        let consent = ConsentLookup::new(udm.clone(), config, &waiting, metrics(), fed_consent);
        let session = SessionLookup::new(
            bsf,
            upf,
            sessions.clone(),
            steps,
            config,
            &waiting,
            metrics(),
        );
        let lookup = Self {
            supported: config.api.supported_identifiers.clone(),
            session,
            consent: Arc::new(consent),
            equipment: Arc::new(EquipmentLookup::new(
                udm,
                subscription.clone(),
                config,
                &waiting,
                metrics(),
                feed.clone(),
            )),
            subscription,
            waiting,
            metrics: all.clone(),
        };
        let changes = Changes {
            sessions,
            equipment: feed.map(|feed| EquipmentChanges {
                feed,
                subscription: lookup.subscription.clone(),
                equipment: lookup.equipment.clone(),
            }),
            consent: consent_feed.map(|feed| ConsentChanges {
                feed,
                consent: lookup.consent.clone(),
                asked_about,
            }),
        };
        (lookup, changes)
    }

    /// Which device uses the subscription that the query names, as far as this caller may know?
    pub async fn device(
        &self,
        question: &Question,
        wanted: Wanted,
        caller: &Caller,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<Answer, LookupError> {
        let authority = self.consent.authority(caller);
        progress.exempt = authority == Authority::Exempt;
        let (asked_with, several, is_another) = match question.named_by {
            NamedBy::Request(several) => {
                let supported = self.supported_identifiers(&question.query);
                let other = caller.subject.as_ref().is_some_and(|subject| {
                    let own = identifiers(&subject.into());
                    let is_own = |asked: &Identifier| own.iter().flatten().any(|it| it == asked);
                    !supported.iter().flatten().all(is_own)
                });
                (supported, several, other)
            }
            // Who issues tokens knows what can be resolved here, and names one device.
            NamedBy::Token => {
                let all = identifiers(&question.query);
                (all, SeveralIdentifiers::FirstSupported, false)
            }
        };
        let mut walk = Walk {
            lookup: self,
            caller,
            several,
            wanted,
            authority,
            deadline,
            progress,
        };
        match walk.answer(&asked_with).await {
            // Nor may such a consumer learn which other subscriptions exist.
            Err(LookupError::UnknownSubscription | LookupError::Mismatch) if is_another => {
                Err(LookupError::NotOfToken)
            }
            answer => answer,
        }
    }

    /// Brings the sizes of the caches into the metrics; called when they are read.
    pub fn record_sizes(&self) {
        self.session.record_size();
        self.subscription.record_size();
        self.consent.record_size();
        self.equipment.record_size();
        self.waiting.record(&self.metrics);
    }

    /// The identifiers of supported kinds, in the order in which they are tried.
    fn supported_identifiers(&self, query: &DeviceQuery) -> [Option<Identifier>; 4] {
        identifiers(query)
            .map(|identifier| identifier.filter(|identifier| self.supports(identifier.kind())))
    }

    fn supports(&self, kind: IdentifierKind) -> bool {
        self.supported.contains(&kind)
    }

    /// The subscription that an identifier names, by whichever identifier the core gives first.
    async fn subscription_of(
        &self,
        identifier: &Identifier,
        several: SeveralIdentifiers,
        deadline: Instant,
    ) -> Result<UeId, LookupError> {
        match (identifier, several) {
            (Identifier::Gpsi(gpsi), _) => Ok(UeId::Gpsi(gpsi.clone())),
            (Identifier::Ipv6(address), _) => self.session.by_ipv6(*address, deadline).await,
            (
                Identifier::Ipv4(query),
                SeveralIdentifiers::First | SeveralIdentifiers::FirstSupported,
            ) => self.session.by_ipv4(*query, deadline).await,
            // A single IPv4 identifier can contradict itself, by port and private address.
            (Identifier::Ipv4(query), SeveralIdentifiers::MustAgree) => {
                self.session.by_ipv4_agreeing(*query, deadline).await
            }
        }
    }

    /// The permanent identifier of a subscription that a request is about.
    async fn supi(&self, subscription: &UeId, deadline: Instant) -> Result<Supi, LookupError> {
        let supi = self
            .subscription
            .supi(subscription, Asker::Request, deadline);
        supi.await
    }

    /// The permanent identifier behind any identifier; `None` where the core knows no subscription.
    async fn supi_of(
        &self,
        identifier: &Identifier,
        deadline: Instant,
    ) -> Result<Option<Supi>, LookupError> {
        let several = SeveralIdentifiers::MustAgree;
        let supi = match self.subscription_of(identifier, several, deadline).await {
            Ok(ue_id) => self.supi(&ue_id, deadline).await,
            Err(error) => Err(error),
        };
        match supi {
            Ok(supi) => Ok(Some(supi)),
            Err(LookupError::UnknownSubscription) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Walk<'_> {
    async fn answer(&mut self, identifiers: &[Option<Identifier>]) -> Result<Answer, LookupError> {
        let mut given = identifiers.iter().flatten();
        match (given.next(), given.next(), self.several) {
            (None, ..) => Err(LookupError::Unsupported),
            _ if self.authority == Authority::Refused => Err(LookupError::ConsentMissing),
            (Some(only), None, _) | (Some(only), _, SeveralIdentifiers::FirstSupported) => {
                self.by_identifier(only).await
            }
            // Boxed: the rare ways must not make the common one large.
            (_, _, SeveralIdentifiers::First) => Box::pin(self.by_first(identifiers)).await,
            (_, _, SeveralIdentifiers::MustAgree) => {
                let subscription = Box::pin(self.agreed(identifiers)).await?;
                self.permitted_device(subscription, None).await
            }
        }
    }

    /// What the core does not know falls through to the next; what it knows is the answer, even
    /// when no device is registered for it.
    async fn by_first(
        &mut self,
        identifiers: &[Option<Identifier>],
    ) -> Result<Answer, LookupError> {
        for identifier in identifiers.iter().flatten() {
            match self.by_identifier(identifier).await {
                Err(LookupError::UnknownSubscription) if self.gives_way(identifier) => {
                    // Whoever it was, it is not whom the next one means.
                    self.progress.subscription = None;
                    self.progress.passed_over.push(identifier.kind());
                }
                decided => return decided,
            }
        }
        Err(LookupError::UnknownSubscription)
    }

    /// Whether the next one is tried where nobody has this one. Beside a token that names a device a
    /// name must be that device's: an answer about the device all the same would tell that nobody has
    /// the name. Addresses are nobody's now and then.
    fn gives_way(&self, identifier: &Identifier) -> bool {
        self.caller.subject.is_none() || !matches!(identifier, Identifier::Gpsi(_))
    }

    async fn by_identifier(&mut self, identifier: &Identifier) -> Result<Answer, LookupError> {
        let lookup = self.lookup;
        let subscription = {
            // Pinned where it is made: moving it would copy some kilobytes.
            let found = pin!(lookup.subscription_of(identifier, self.several, self.deadline));
            trace::stage("subscription", found).await?
        };
        self.permitted_device(subscription, Some(identifier)).await
    }

    /// The one subscription that all identifiers name. One that the core does not know beside one
    /// that it knows is a mismatch.
    async fn agreed(&mut self, identifiers: &[Option<Identifier>]) -> Result<UeId, LookupError> {
        let mut known: Option<Supi> = None;
        let mut unknown = false;
        for identifier in identifiers.iter().flatten() {
            let supi = match self.lookup.supi_of(identifier, self.deadline).await {
                // One that contradicts itself.
                Err(LookupError::Mismatch) => return Err(self.mismatch()),
                supi => supi?,
            };
            if known.is_some() && supi.is_some() && known != supi {
                return Err(self.mismatch());
            }
            unknown |= supi.is_none();
            known = known.or(supi);
            self.progress.subscription = known.clone().map(UeId::Supi);
        }
        match known {
            None => Err(LookupError::UnknownSubscription),
            Some(_) if unknown => Err(self.mismatch()),
            Some(supi) => Ok(UeId::Supi(supi)),
        }
    }

    /// No single subscription is meant: what was asked with counts against the limits, each
    /// combination anew, or one known name would be the cover for guesses at any other.
    fn mismatch(&mut self) -> LookupError {
        self.progress.subscription = None;
        LookupError::Mismatch
    }

    /// The device of a subscription, once token and subscriber allow it; before that, the core is
    /// not asked for the device at all.
    async fn permitted_device(
        &mut self,
        subscription: UeId,
        identifier: Option<&Identifier>,
    ) -> Result<Answer, LookupError> {
        let subscription = self.progress.subscription.insert(subscription);
        let public_name = matches!(subscription, UeId::Gpsi(_));
        self.lookup
            .check_token(self.caller, subscription, identifier, self.deadline)
            .await?;
        let (lookup, wanted, deadline) = (self.lookup, self.wanted, self.deadline);
        let (disclosure, equipment) = match self.authority {
            Authority::Refused => return Err(LookupError::ConsentMissing),
            Authority::Core => {
                let supi = lookup.supi(subscription, deadline).await?;
                // One name from here on, whichever identifier was asked with.
                *subscription = UeId::Supi(supi.clone());
                // Pinned where it is made: moving it would copy some kilobytes.
                let found = pin!(lookup.consented(&supi, public_name, wanted, deadline));
                found.await?
            }
            Authority::Nobody | Authority::Exempt => {
                if lookup.equipment.by_supi_alone() && matches!(subscription, UeId::Gpsi(_)) {
                    let supi = lookup.supi(subscription, deadline);
                    *subscription = UeId::Supi(supi.await?);
                }
                let found = pin!(lookup.equipment_of(subscription, public_name, deadline));
                (Disclosure::of(wanted), found.await?)
            }
        };
        let imei = equipment.pei.imei().ok_or(LookupError::NoImei)?;
        let imeisv = equipment.pei.imeisv();
        let last_checked = equipment.last_checked;
        Ok(Answer {
            imei,
            imeisv,
            last_checked,
            disclosure,
            led_by: identifier.map(Identifier::kind),
        })
    }
}

impl Lookup {
    /// What the subscriber lets anybody see, and the device: both as the core last told, of itself or
    /// asked.
    async fn consented(
        &self,
        supi: &Supi,
        has_public_name: bool,
        wanted: Wanted,
        deadline: Instant,
    ) -> Result<(Disclosure, Equipment), LookupError> {
        let subscription = UeId::Supi(supi.clone());
        let watch = self.consent.watch(supi);
        for _ in 0..MOST_ROUNDS {
            let words = watch.words();
            let disclosure = {
                let given = pin!(self.consent.of(supi, wanted, deadline));
                trace::stage("consent", given).await?
            };
            let equipment = {
                let found = pin!(self.equipment_of(&subscription, has_public_name, deadline));
                found.await?
            };
            // A refusal may have been told while the core was asked for the device; and, while it is
            // asked for consent once more, another device.
            if watch.words() == words {
                return Ok((disclosure, equipment));
            }
        }
        // Nobody is disclosed whose word is another one each time; it will settle.
        let changing = sbi::Error::Overloaded {
            retry_after: Some(1),
        };
        Err(LookupError::ConsentUnknown(changing))
    }

    async fn equipment_of(
        &self,
        subscription: &UeId,
        has_public_name: bool,
        deadline: Instant,
    ) -> Result<Equipment, LookupError> {
        let found = pin!(self.equipment.of(subscription, has_public_name, deadline));
        trace::stage("equipment", found).await
    }

    /// A token that names a device is good for its subscription alone. One that cannot be shown to
    /// be the same is another one. What was found out of the subscription on the way is its name from
    /// then on.
    async fn check_token(
        &self,
        caller: &Caller,
        subscription: &mut UeId,
        identifier: Option<&Identifier>,
        deadline: Instant,
    ) -> Result<(), LookupError> {
        let subject = caller.subject.as_ref().map(DeviceQuery::from);
        let subject = subject.and_then(|query| identifiers(&query).into_iter().flatten().next());
        let Some(subject) = subject else {
            return Ok(());
        };
        if identifier == Some(&subject) {
            return Ok(());
        }
        // Boxed: the rare way must not make the common one large.
        let token = Box::pin(self.supi_of(&subject, deadline)).await?;
        let asked = Box::pin(self.supi(subscription, deadline)).await?;
        let is_of_token = token.as_ref() == Some(&asked);
        *subscription = UeId::Supi(asked);
        is_of_token.then_some(()).ok_or(LookupError::NotOfToken)
    }
}
