//! Where the core's words come in that nobody asked for.

use std::sync::Arc;

use device::{Gpsi, Pei, Supi, UeId};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::LookupError;
use super::consent::ConsentLookup;
use super::equipment::{Equipment, EquipmentLookup};
use super::feed::Feed;
use super::subscription::SubscriptionLookup;
use crate::sessions::SessionTable;

/// What can be told of changes, as far as it is configured.
pub struct Changes {
    /// Sessions come, move and go.
    pub sessions: Option<Arc<SessionTable>>,
    /// Subscriptions use other devices.
    pub equipment: Option<EquipmentChanges>,
    /// Subscribers consent or refuse.
    pub consent: Option<ConsentChanges>,
}

/// For who is told that subscriptions use other devices.
pub struct EquipmentChanges {
    /// Whether every change is told.
    pub feed: Arc<Feed>,
    pub(super) subscription: Arc<SubscriptionLookup>,
    pub(super) equipment: Arc<EquipmentLookup>,
}

impl EquipmentChanges {
    /// The subscription of this public name uses this device. When it returns `Ok`, nobody is
    /// answered with another one by what is remembered.
    pub async fn reported(
        &self,
        gpsi: &Gpsi,
        pei: Pei,
        time: Timestamp,
        deadline: Instant,
    ) -> Result<(), LookupError> {
        let told = Equipment {
            pei,
            last_checked: time.min(Timestamp::now()).as_millisecond(),
        };
        // Asked anew, for the name itself may have moved. One that leads to nobody is an error as
        // well: the device may be remembered of a subscription that has another name beside it.
        let supi = self.subscription.supi_anew(gpsi, deadline).await?;
        self.equipment.reported(&UeId::Supi(supi), told);
        Ok(())
    }
}

/// For who is told that subscribers consent or refuse.
pub struct ConsentChanges {
    /// Whether every change of those is told that are covered.
    pub feed: Arc<Feed>,
    /// Whose consent was asked about without being covered.
    pub asked_about: mpsc::Receiver<Supi>,
    pub(super) consent: Arc<ConsentLookup>,
}

impl ConsentChanges {
    /// For who is told, apart from who covers.
    pub fn told(&self) -> ConsentTold {
        ConsentTold(self.consent.clone())
    }
}

/// Takes what is told of consent.
#[derive(Clone)]
pub struct ConsentTold(Arc<ConsentLookup>);

impl ConsentTold {
    /// The consent of this subscription is another one.
    pub fn changed(&self, supi: &Supi) {
        self.0.changed(supi);
    }

    /// From now on every change of this subscription's consent is told, or not any more.
    pub fn set_covered(&self, supi: &Supi, is_covered: bool) {
        self.0.set_covered(supi, is_covered);
    }

    /// Whether the consent of this subscription is remembered.
    pub fn is_remembered(&self, supi: &Supi) -> bool {
        self.0.is_remembered(supi)
    }

    /// No change is told any more.
    pub fn uncover_all(&self) {
        self.0.uncover_all();
    }
}
