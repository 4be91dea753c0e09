//! The UDM: which equipment a subscription uses, what else it is called, what it consented to
//! (TS 29.503).

use std::time::Duration;

use device::{Gpsi, Pei, Supi, UeId};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::sbi::{Client, Error};

/// The UDM as a consumer of `Nudm_UECM` and `Nudm_SDM` sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Udm {
    client: Client,
}

/// What the UDM knows of a subscription's registration over one access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AmfRegistration {
    /// There is a registration (200).
    Registered(Registration),
    /// The subscription has none over this access (404 `CONTEXT_NOT_FOUND`).
    NotRegistered,
    /// There is no such subscription (404 `USER_NOT_FOUND` or `DATA_NOT_FOUND`).
    UnknownSubscriber,
    /// One of the two, and the UDM does not say which (403 or 404 without a cause).
    Unspecified,
}

/// A registration, as far as the bridge reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The equipment in use, where it was reported.
    pub pei: Option<Pei>,
    /// The subscription's permanent identifier, where the UDM tells it.
    pub supi: Option<Supi>,
    /// Whether the AMF has deleted the context since: what is here is history.
    pub purged: bool,
    /// When the AMF registered.
    pub registration_time: Option<Timestamp>,
    /// When the AMF last confirmed the registration.
    pub last_synchronization_time: Option<Timestamp>,
    /// The UDM's own time of the answer (`date`), in whole seconds.
    pub date: Option<Timestamp>,
    /// For how long the answer may be kept (`cache-control`); zero for `no-store` and `no-cache`.
    pub max_age: Option<Duration>,
}

/// The identifiers of one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The permanent identifier.
    pub supi: Supi,
    /// A public identifier, where the UDM tells one.
    pub gpsi: Option<Gpsi>,
}

/// What the subscriber consented to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Explicitly given for the purpose.
    Given,
    /// Anything else, no consent data at all among it.
    NotGiven,
}

impl Udm {
    /// The UDM behind `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client beneath, for its readiness.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The registration over 3GPP access (`Get3GppRegistration`).
    pub async fn amf_3gpp_access_registration(
        &self,
        ue: &UeId,
        deadline: Instant,
    ) -> Result<AmfRegistration, Error> {
        let _ = (ue, deadline);
        Err(Error::Unreachable)
    }

    /// The registration over non-3GPP access (`GetNon3GppRegistration`).
    pub async fn amf_non_3gpp_access_registration(
        &self,
        ue: &UeId,
        deadline: Instant,
    ) -> Result<AmfRegistration, Error> {
        let _ = (ue, deadline);
        Err(Error::Unreachable)
    }

    /// The identifiers of the subscription of `ue` (`GetSupiOrGpsi`); `None` where there is none.
    pub async fn id_translation(
        &self,
        ue: &UeId,
        deadline: Instant,
    ) -> Result<Option<Translation>, Error> {
        let _ = (ue, deadline);
        Err(Error::Unreachable)
    }

    /// The consent of `supi` to `purpose`, a `UcPurpose` such as `NW_CAP_EXPOSURE` (`GetUcData`).
    pub async fn uc_data(
        &self,
        supi: &Supi,
        purpose: &str,
        deadline: Instant,
    ) -> Result<Consent, Error> {
        let _ = (supi, purpose, deadline);
        Err(Error::Unreachable)
    }
}
