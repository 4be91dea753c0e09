//! Which subscription does an identifier belong to, as the core's permanent identifier?
//!
//! Needed where more than the equipment is asked for: consent is kept by SUPI, and whether two
//! identifiers name one subscription shows only there.

use std::sync::Arc;

use adapters::udm::Udm;
use device::{Gpsi, Supi, UeId};
use tokio::time::Instant;

use super::LookupError;
use super::feed::Feed;
use super::provisioned::Provisioned;
use super::remembered::{Correction, Lifetimes, Remembered, Told};
use super::waiting::{Asker, Waiting};
use crate::config::Config;
use crate::telemetry::metrics::{CacheName, LookupMetrics};

/// SUPIs by GPSI, from memory or from the UDM, or from the operator's own table.
pub struct SubscriptionLookup {
    udm: Udm,
    /// Takes the place of the UDM.
    provisioned: Option<Provisioned>,
    remembered: Remembered<Gpsi, Supi>,
}

impl SubscriptionLookup {
    /// Asks this UDM and remembers what the configuration allows; or asks the operator's table,
    /// which is nearer than any memory.
    ///
    /// A report of the feed of equipment overtakes what is remembered.
    pub fn new(
        udm: Udm,
        provisioned: Option<Provisioned>,
        config: &Config,
        waiting: &Waiting,
        metrics: Arc<LookupMetrics>,
        feed: Option<Arc<Feed>>,
    ) -> Self {
        let name = CacheName::Subscription;
        let lifetimes = Lifetimes {
            known: config.cache.equipment,
            entries: config.cache.subscription_entries,
            none_found: config.cache.none_found,
            // Without its SUPI the device that may be told would not be found.
            past_lifetime: config.cache.equipment_past_lifetime,
            // No longer than without the feed: it tells of devices, and of a number that moves to
            // another SIM only where that SIM's device is a change.
            fed: feed.map(|feed| (feed, config.cache.equipment)),
        };
        Self {
            udm,
            provisioned,
            remembered: Remembered::new(name, &lifetimes, config, waiting, metrics),
        }
    }

    /// The permanent identifier of a subscription that may be named by a public one.
    pub(super) async fn supi(
        &self,
        ue_id: &UeId,
        asker: Asker,
        deadline: Instant,
    ) -> Result<Supi, LookupError> {
        let gpsi = match ue_id {
            UeId::Supi(supi) => return Ok(supi.clone()),
            UeId::Gpsi(gpsi) => gpsi,
        };
        if let Some(provisioned) = &self.provisioned {
            return provisioned
                .supi(gpsi)
                .ok_or(LookupError::UnknownSubscription);
        }
        let ask = async |deadline| {
            let translation = self.udm.id_translation(ue_id, deadline).await?;
            let translation = translation.ok_or(LookupError::UnknownSubscription)?;
            Ok(Told::of(translation.supi))
        };
        self.remembered.get(gpsi, asker, deadline, ask).await
    }

    /// The same, whatever is remembered.
    pub(super) async fn supi_anew(
        &self,
        gpsi: &Gpsi,
        deadline: Instant,
    ) -> Result<Supi, LookupError> {
        self.remembered.correct(gpsi, |_| Correction::Forget);
        let ue_id = UeId::Gpsi(gpsi.clone());
        self.supi(&ue_id, Asker::Bridge, deadline).await
    }

    /// Brings the size of the memory into the metrics.
    pub fn record_size(&self) {
        self.remembered.record_size();
    }
}
