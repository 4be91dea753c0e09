//! Which device does this subscription use, and since when does the core know it?

use std::sync::Arc;
use std::time::Duration;

use adapters::udm::{AmfRegistration, Registration, Udm};
use device::{Pei, UeId};
use jiff::SignedDuration;
use tokio::time::Instant;

use super::LookupError;
use super::feed::Feed;
use super::remembered::{Correction, Lifetimes, Remembered, Told};
use super::subscription::SubscriptionLookup;
use super::waiting::{Asker, Waiting};
use crate::config::{Config, GpsiToSupi, LastChecked, Purged};
use crate::telemetry::metrics::{CacheName, LookupMetrics};

/// What the core said of a subscription's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Equipment {
    /// Which device.
    pub pei: Pei,
    /// When the core last knew it, in milliseconds since the epoch; never later than the receipt.
    pub last_checked: i64,
}

/// Equipment by subscription, from memory or from the UDM.
pub struct EquipmentLookup {
    source: Source,
    remembered: Remembered<UeId, Equipment>,
    by_supi_alone: bool,
    /// Where no feed tells of changes.
    lifetime: Duration,
}

impl EquipmentLookup {
    /// Asks this UDM and remembers what the configuration allows.
    pub fn new(
        udm: Udm,
        subscription: Arc<SubscriptionLookup>,
        config: &Config,
        waiting: &Waiting,
        metrics: Arc<LookupMetrics>,
        feed: Option<Arc<Feed>>,
    ) -> Self {
        let name = CacheName::Equipment;
        let by_supi_alone = feed.is_some()
            || match config.core.gpsi_to_supi {
                GpsiToSupi::Direct => false,
                // A device of the past is told by the name that it was asked for with: in an outage
                // nobody translates it.
                GpsiToSupi::Translation => config.cache.equipment_past_lifetime.is_zero(),
                GpsiToSupi::File => true,
            };
        let lifetimes = Lifetimes {
            known: config.cache.equipment,
            entries: config.cache.equipment_entries,
            none_found: config.cache.none_found,
            past_lifetime: config.cache.equipment_past_lifetime,
            fed: feed.map(|feed| (feed, config.feeds.equipment_lifetime)),
        };
        Self {
            source: Source {
                udm,
                subscription,
                gpsi_to_supi: config.core.gpsi_to_supi,
                last_checked: config.core.last_checked,
                purged: config.core.purged,
                metrics: metrics.clone(),
            },
            remembered: Remembered::new(name, &lifetimes, config, waiting, metrics),
            by_supi_alone,
            lifetime: config.cache.equipment,
        }
    }

    /// Whether a subscription needs one name here, the permanent one: the core tells of changes by
    /// whatever name, the operator's table may change behind a public one, and a UDM that takes no
    /// public name has to translate it in any case.
    pub(super) fn by_supi_alone(&self) -> bool {
        self.by_supi_alone
    }

    /// The core told unasked that a subscription uses this device.
    pub(super) fn reported(&self, ue_id: &UeId, told: Equipment) {
        self.remembered
            .correct(ue_id, |remembered| match remembered {
                Some(remembered) if remembered.pei == told.pei => Correction::Replace(Equipment {
                    last_checked: remembered.last_checked.max(told.last_checked),
                    ..told
                }),
                // By clocks that need not agree, this word may be the older one: let the core decide.
                Some(remembered) if remembered.last_checked >= told.last_checked => {
                    Correction::Forget
                }
                Some(_) => Correction::Replace(told),
                None if is_recent(told) => Correction::Replace(told),
                // It may have been sent again, after a later one that is remembered no more.
                None => Correction::Forget,
            });
    }

    /// The equipment of a subscription. Its changes are told by public names, so that of one whose
    /// public name is not known nobody would tell: it is not remembered for long.
    pub async fn of(
        &self,
        ue_id: &UeId,
        has_public_name: bool,
        deadline: Instant,
    ) -> Result<Equipment, LookupError> {
        let ask = async |deadline| {
            let mut told = self.source.ask(ue_id, deadline).await?;
            if !has_public_name {
                told.at_most = told.at_most.min(self.lifetime);
            }
            Ok(told)
        };
        self.remembered
            .get(ue_id, Asker::Request, deadline, ask)
            .await
    }

    /// Brings the size of the memory into the metrics.
    pub fn record_size(&self) {
        self.remembered.record_size();
    }
}

/// How old a report may be to be believed where nothing is remembered that it could be older than.
/// Where clocks differ by more, the core is asked.
const RECENT: SignedDuration = SignedDuration::from_secs(10);

fn is_recent(told: Equipment) -> bool {
    let since = jiff::Timestamp::now() - RECENT;
    told.last_checked >= since.as_millisecond()
}

/// The UDM and the rules for reading it.
struct Source {
    udm: Udm,
    /// For a UDM that takes SUPIs alone.
    subscription: Arc<SubscriptionLookup>,
    gpsi_to_supi: GpsiToSupi,
    last_checked: LastChecked,
    purged: Purged,
    metrics: Arc<LookupMetrics>,
}

impl Source {
    async fn ask(&self, ue_id: &UeId, deadline: Instant) -> Result<Told<Equipment>, LookupError> {
        let supi = match (self.gpsi_to_supi, ue_id) {
            (GpsiToSupi::Translation, UeId::Gpsi(_)) => {
                // Whoever waits for the device has a place already.
                let supi = self.subscription.supi(ue_id, Asker::Bridge, deadline);
                Some(UeId::Supi(supi.await?))
            }
            // The table was asked before: what has no SUPI there does not come here.
            (GpsiToSupi::Direct | GpsiToSupi::File, _) | (_, UeId::Supi(_)) => None,
        };
        self.registered_device(supi.as_ref().unwrap_or(ue_id), deadline)
            .await
    }

    /// 3GPP access first; where nothing is registered there, non-3GPP access.
    async fn registered_device(
        &self,
        ue_id: &UeId,
        deadline: Instant,
    ) -> Result<Told<Equipment>, LookupError> {
        let over_3gpp = self
            .udm
            .amf_3gpp_access_registration(ue_id, deadline)
            .await?;
        let (last_known, subscription_known) = match over_3gpp {
            AmfRegistration::Registered(registration) if !registration.purged => {
                return self.told(&registration);
            }
            AmfRegistration::Registered(registration) => (Some(registration), true),
            AmfRegistration::NotRegistered => (None, true),
            AmfRegistration::Unspecified => (None, false),
            AmfRegistration::UnknownSubscriber => return Err(LookupError::UnknownSubscription),
        };
        let over_non_3gpp = self.udm.amf_non_3gpp_access_registration(ue_id, deadline);
        // Boxed: the rare way must not make the common one large.
        match Box::pin(over_non_3gpp).await? {
            AmfRegistration::Registered(registration) if !registration.purged => {
                self.told(&registration)
            }
            over_non_3gpp => match (last_known, self.purged, over_non_3gpp) {
                (Some(registration), Purged::LastKnown, _)
                | (None, Purged::LastKnown, AmfRegistration::Registered(registration)) => {
                    self.told(&registration)
                }
                (_, _, AmfRegistration::Registered(_) | AmfRegistration::NotRegistered) => {
                    Err(LookupError::NoDevice)
                }
                _ if subscription_known => Err(LookupError::NoDevice),
                _ => Err(LookupError::UnknownSubscription),
            },
        }
    }

    /// A registration that does not tell its equipment is none to answer with.
    fn told(&self, registration: &Registration) -> Result<Told<Equipment>, LookupError> {
        let pei = registration.pei.ok_or(LookupError::NoDevice)?;
        let last_checked = self.last_checked(registration);
        Ok(Told {
            value: Equipment { pei, last_checked },
            at_most: registration.max_age.unwrap_or(Duration::MAX),
        })
    }

    /// The core's time; ours only where it gave none, and then counted. Never later than now.
    fn last_checked(&self, registration: &Registration) -> i64 {
        let now = jiff::Timestamp::now();
        let registered = registration
            .registration_time
            .max(registration.last_synchronization_time);
        let told = match self.last_checked {
            LastChecked::Registration => registered.or(registration.date),
            LastChecked::Date => registration.date.or(registered),
        };
        if told.is_none() {
            self.metrics.time_missing();
        }
        // `as_millisecond` cuts towards zero, which for times after 1970 is downwards.
        told.map_or(now, |time| time.min(now)).as_millisecond()
    }
}
