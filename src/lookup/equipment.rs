//! Which device does this subscription use, and since when does the core know it?

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use adapters::sbi;
use adapters::udm::{AmfRegistration, Registration, Udm};
use device::{Pei, UeId};
use moka::sync::Cache;
use tokio::time::Instant;

use super::LookupError;
use super::flights::Flights;
use crate::config::{self, Config, GpsiToSupi, LastChecked, Purged};
use crate::telemetry::metrics::{CacheName, CacheOutcome, LookupMetrics};

/// What the core said of a subscription's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Equipment {
    /// Which device.
    pub pei: Pei,
    /// When the core last knew it, in milliseconds since the epoch; never later than the receipt.
    pub last_checked: i64,
}

/// The answer to one question to the core, as all who wait for it share it.
type Fetched = Result<Equipment, LookupError>;

/// Equipment by subscription, from memory or from the UDM.
pub struct EquipmentLookup {
    source: Source,
    lifetime: Duration,
    none_found_lifetime: Duration,
    request_timeout: Duration,
    /// A lifetime kept in the value costs the cache no timer for each entry.
    known: Cache<UeId, Kept<Equipment>>,
    none_found: Cache<UeId, Kept<Miss>>,
    flights: Flights<UeId, Fetched>,
    metrics: Arc<LookupMetrics>,
}

/// A value and the moment from which it is not believed any more.
///
/// The moment is kept in milliseconds since [`STARTED`]: half of what an [`Instant`] takes, and so
/// the entry of a cache is 16 bytes smaller.
#[derive(Clone, Copy)]
pub(super) struct Kept<V> {
    value: V,
    until: u64,
}

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

impl<V> Kept<V> {
    /// Believes the value until then.
    pub(super) fn until(until: Instant, value: V) -> Self {
        let until = until.saturating_duration_since(*STARTED).as_millis();
        Self {
            value,
            until: u64::try_from(until).unwrap_or(u64::MAX),
        }
    }

    /// The value, while it is believed.
    pub(super) fn live(self) -> Option<V> {
        let until = Duration::from_millis(self.until);
        (STARTED.elapsed() < until).then_some(self.value)
    }
}

/// What "nothing there" was.
#[derive(Clone, Copy)]
enum Miss {
    UnknownSubscription,
    NoDevice,
}

impl From<Miss> for LookupError {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::UnknownSubscription => Self::UnknownSubscription,
            Miss::NoDevice => Self::NoDevice,
        }
    }
}

impl EquipmentLookup {
    /// Asks this UDM and remembers what the configuration allows.
    pub fn new(udm: Udm, config: &Config, metrics: Arc<LookupMetrics>) -> Self {
        let config::Cache {
            equipment,
            none_found,
            ..
        } = config.cache;
        Self {
            source: Source {
                udm,
                gpsi_to_supi: config.core.gpsi_to_supi,
                last_checked: config.core.last_checked,
                purged: config.core.purged,
                metrics: metrics.clone(),
            },
            lifetime: equipment,
            none_found_lifetime: none_found,
            request_timeout: config.api.request_timeout,
            known: Cache::new(config.cache.equipment_entries),
            none_found: Cache::new(config.cache.none_found_entries),
            flights: Flights::default(),
            metrics,
        }
    }

    /// The equipment of a subscription.
    pub async fn of(&self, ue_id: &UeId, deadline: Instant) -> Fetched {
        if let Some(equipment) = self.known.get(ue_id).and_then(Kept::live) {
            self.metrics.cache(CacheName::Equipment, CacheOutcome::Hit);
            return Ok(equipment);
        }
        if let Some(miss) = self.none_found.get(ue_id).and_then(Kept::live) {
            self.metrics.cache(CacheName::NoneFound, CacheOutcome::Hit);
            return Err(miss.into());
        }
        self.metrics.cache(CacheName::Equipment, CacheOutcome::Miss);
        loop {
            match self.flights.join(ue_id, || self.fetch(ue_id.clone())).await {
                // The flight was older than this request, which still has time of its own.
                Err(LookupError::Core(sbi::Error::DeadlinePassed)) if Instant::now() < deadline => {
                }
                answer => return answer,
            }
        }
    }

    /// Asks the core, and remembers the answer before anybody gets it.
    fn fetch(&self, ue_id: UeId) -> impl Future<Output = Fetched> + Send + use<> {
        let source = self.source.clone();
        let (known, none_found) = (self.known.clone(), self.none_found.clone());
        let (lifetime, none_found_lifetime) = (self.lifetime, self.none_found_lifetime);
        let deadline = Instant::now() + self.request_timeout;
        async move {
            let answer = source.ask(&ue_id, deadline).await;
            let now = Instant::now();
            match &answer {
                Ok(Finding::Equipment { equipment, max_age }) => {
                    let lifetime = max_age.map_or(lifetime, |max_age| max_age.min(lifetime));
                    if !lifetime.is_zero() {
                        none_found.invalidate(&ue_id);
                        known.insert(ue_id, Kept::until(now + lifetime, *equipment));
                    }
                }
                Ok(Finding::Miss(miss)) if !none_found_lifetime.is_zero() => {
                    none_found.insert(ue_id, Kept::until(now + none_found_lifetime, *miss));
                }
                Ok(Finding::Miss(_)) | Err(_) => {}
            }
            match answer? {
                Finding::Equipment { equipment, .. } => Ok(equipment),
                Finding::Miss(miss) => Err(miss.into()),
            }
        }
    }

    /// Brings the sizes of the caches into the metrics.
    pub fn record_sizes(&self) {
        // The caches count what they have settled, and settle on use: a quiet bridge would lag.
        self.known.run_pending_tasks();
        self.none_found.run_pending_tasks();
        self.metrics
            .cache_size(CacheName::Equipment, self.known.entry_count());
        self.metrics
            .cache_size(CacheName::NoneFound, self.none_found.entry_count());
    }
}

/// What the core says, before it is remembered.
enum Finding {
    Equipment {
        equipment: Equipment,
        max_age: Option<Duration>,
    },
    Miss(Miss),
}

/// The UDM and the rules for reading it.
#[derive(Clone)]
struct Source {
    udm: Udm,
    gpsi_to_supi: GpsiToSupi,
    last_checked: LastChecked,
    purged: Purged,
    metrics: Arc<LookupMetrics>,
}

impl Source {
    async fn ask(&self, ue_id: &UeId, deadline: Instant) -> Result<Finding, sbi::Error> {
        match (self.gpsi_to_supi, ue_id) {
            (GpsiToSupi::Translation, UeId::Gpsi(_)) => {
                match self.udm.id_translation(ue_id, deadline).await? {
                    Some(translation) => {
                        self.registered_device(&UeId::Supi(translation.supi), deadline)
                            .await
                    }
                    None => Ok(Finding::Miss(Miss::UnknownSubscription)),
                }
            }
            _ => self.registered_device(ue_id, deadline).await,
        }
    }

    /// 3GPP access first; where nothing is registered there, non-3GPP access.
    async fn registered_device(
        &self,
        ue_id: &UeId,
        deadline: Instant,
    ) -> Result<Finding, sbi::Error> {
        let over_3gpp = self
            .udm
            .amf_3gpp_access_registration(ue_id, deadline)
            .await?;
        let (last_known, subscription_known) = match over_3gpp {
            AmfRegistration::Registered(registration) if !registration.purged => {
                return Ok(self.finding(&registration));
            }
            AmfRegistration::Registered(registration) => (Some(registration), true),
            AmfRegistration::NotRegistered => (None, true),
            AmfRegistration::Unspecified => (None, false),
            AmfRegistration::UnknownSubscriber => {
                return Ok(Finding::Miss(Miss::UnknownSubscription));
            }
        };
        match self
            .udm
            .amf_non_3gpp_access_registration(ue_id, deadline)
            .await?
        {
            AmfRegistration::Registered(registration) if !registration.purged => {
                Ok(self.finding(&registration))
            }
            over_non_3gpp => Ok(match (last_known, self.purged, over_non_3gpp) {
                (Some(registration), Purged::LastKnown, _)
                | (None, Purged::LastKnown, AmfRegistration::Registered(registration)) => {
                    self.finding(&registration)
                }
                (_, _, AmfRegistration::Registered(_) | AmfRegistration::NotRegistered) => {
                    Finding::Miss(Miss::NoDevice)
                }
                _ if subscription_known => Finding::Miss(Miss::NoDevice),
                _ => Finding::Miss(Miss::UnknownSubscription),
            }),
        }
    }

    /// A registration that does not tell its equipment is none to answer with.
    fn finding(&self, registration: &Registration) -> Finding {
        let Some(pei) = registration.pei else {
            return Finding::Miss(Miss::NoDevice);
        };
        let last_checked = self.last_checked(registration);
        let equipment = Equipment { pei, last_checked };
        Finding::Equipment {
            equipment,
            max_age: registration.max_age,
        }
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
