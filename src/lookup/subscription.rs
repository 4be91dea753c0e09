//! Which subscription does an identifier belong to, as the core's permanent identifier?
//!
//! Needed where more than the equipment is asked for: consent is kept by SUPI, and whether two
//! identifiers name one subscription shows only there.

use std::sync::Arc;
use std::time::Duration;

use adapters::udm::Udm;
use device::{Gpsi, Supi, UeId};
use tokio::time::Instant;

use super::LookupError;
use super::remembered::{Lifetimes, Remembered, Told};
use crate::config::Config;
use crate::telemetry::metrics::{CacheName, LookupMetrics};

/// SUPIs by GPSI, from memory or from the UDM.
pub struct SubscriptionLookup {
    udm: Udm,
    lifetime: Duration,
    remembered: Remembered<Gpsi, Supi>,
}

impl SubscriptionLookup {
    /// Asks this UDM and remembers what the configuration allows.
    pub fn new(udm: Udm, config: &Config, metrics: Arc<LookupMetrics>) -> Self {
        let lifetimes = Lifetimes {
            known: config.cache.equipment,
            entries: config.cache.subscription_entries,
            none_found: config.cache.none_found,
        };
        Self {
            udm,
            lifetime: config.cache.equipment,
            remembered: Remembered::new(CacheName::Subscription, &lifetimes, config, metrics),
        }
    }

    /// The permanent identifier of a subscription that may be named by a public one.
    pub async fn supi(&self, ue_id: &UeId, deadline: Instant) -> Result<Supi, LookupError> {
        let gpsi = match ue_id {
            UeId::Supi(supi) => return Ok(supi.clone()),
            UeId::Gpsi(gpsi) => gpsi,
        };
        let ask = async |deadline| {
            let translation = self.udm.id_translation(ue_id, deadline).await?;
            let translation = translation.ok_or(LookupError::UnknownSubscription)?;
            Ok(Told {
                value: translation.supi,
                lifetime: self.lifetime,
            })
        };
        self.remembered.get(gpsi, deadline, ask).await
    }

    /// Brings the size of the memory into the metrics.
    pub fn record_size(&self) {
        self.remembered.record_size();
    }
}
