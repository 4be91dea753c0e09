//! The spine: identifiers → subscription → consent → equipment → answer.
//!
//! The one place that knows both sides: what a consumer may ask with, and what the core can be
//! asked. It knows neither HTTP nor JSON of either side. Read in this order: [`question`], this file,
//! [`walk`] (one lookup from its identifiers to its answer), [`session`] (whose session is this
//! address), [`subscription`] (public to permanent identifier, by the core or by the operator's
//! table, [`provisioned`]), [`consent`] (may it be disclosed), [`equipment`] (which device); below
//! them all [`remembered`], which asks the core once and keeps the answer for as long as it may,
//! [`waiting`], which bounds how many requests wait meanwhile, and [`feed`], by which answers may be
//! kept for longer. What the core tells unasked comes in through [`changes`].

pub mod changes;
pub mod consent;
mod domains;
pub mod equipment;
mod error;
pub mod feed;
pub mod nat;
pub mod provisioned;
mod question;
mod remembered;
pub mod session;
pub mod subscription;
mod waiting;
mod walk;

use std::sync::Arc;

use adapters::bsf::Bsf;
use adapters::sbi::Steps;
use adapters::udm::Udm;
use adapters::upf::Upf;
use device::{Supi, UeId};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use error::LookupError;
pub use question::{DeviceQuery, NamedBy, Question, SeveralIdentifiers, Wanted};

use crate::auth::Caller;
use crate::config::{Config, IdentifierKind};
use crate::sessions::SessionTable;
use crate::telemetry::metrics::LookupMetrics;
use changes::{Changes, ConsentChanges, EquipmentChanges};
use consent::{Authority, ConsentFeed, ConsentLookup, Disclosure};
use equipment::EquipmentLookup;
use feed::Feed;
use provisioned::Provisioned;
use question::{Identifier, identifiers};
use session::SessionLookup;
use subscription::SubscriptionLookup;
use waiting::{Asker, Waiting};
use walk::Walk;

/// Subscriptions whose consent was asked about and that wait to be subscribed to; more of them are
/// asked about again.
const CONSENTS_WISHED_FOR: usize = 1024;

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
