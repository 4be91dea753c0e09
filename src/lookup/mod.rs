//! The spine: identifiers → subscription → equipment → answer.
//!
//! The one place that knows both sides: what a consumer may ask with, and what the core can be
//! asked. It knows neither HTTP nor JSON of either side. Read in this order: this file,
//! [`session`] (whose session is this address), [`equipment`] (which device does this subscription
//! use), [`nat`] and [`flights`] beside them.

pub mod equipment;
pub mod flights;
pub mod nat;
pub mod session;

use std::net::Ipv6Addr;
use std::sync::Arc;

use adapters::bsf::Bsf;
use adapters::sbi;
use adapters::udm::Udm;
use adapters::upf::Upf;
use device::{Gpsi, Ipv4Query, Nai, PhoneNumber, Supi, UeId};
use tokio::time::Instant;

use crate::config::{Config, IdentifierKind};
use crate::telemetry::metrics::LookupMetrics;
pub use equipment::Equipment;
use equipment::EquipmentLookup;
use nat::NatPools;
use session::SessionLookup;

/// The identifiers of one request, parsed; at least one of them is there.
#[derive(Debug, Default)]
pub struct DeviceQuery {
    /// An MSISDN.
    pub phone_number: Option<PhoneNumber>,
    /// An External Identifier.
    pub network_access_identifier: Option<Nai>,
    /// Any address inside the device's prefix.
    pub ipv6_address: Option<Ipv6Addr>,
    /// What the world sees of the device, and what tells it apart.
    pub ipv4_address: Option<Ipv4Query>,
}

/// What several identifiers in one query mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeveralIdentifiers {
    /// The first that belongs to a known subscription answers.
    First,
    /// All must name the same subscription.
    MustAgree,
}

/// Why there is no device to answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// None of the identifiers is of a kind that this deployment supports.
    #[error("no identifier of a supported kind")]
    Unsupported,
    /// The identifiers name different subscriptions.
    #[error("the identifiers name different subscriptions")]
    Mismatch,
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

/// A device in use, and when the core last knew it to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Which device; it has an IMEI.
    pub imei: device::Imei,
    /// With its software version, where the core knows it.
    pub imeisv: Option<device::Imeisv>,
    /// Milliseconds since the epoch, by the core's clock.
    pub last_checked: i64,
}

/// Asks the core, and remembers what it may.
pub struct Lookup {
    udm: Udm,
    supported: Vec<IdentifierKind>,
    session: SessionLookup,
    equipment: EquipmentLookup,
}

/// The functions of the core that a lookup asks.
pub struct CoreFunctions {
    /// Registrations and translations.
    pub udm: Udm,
    /// Sessions by address; absent where the deployment has none.
    pub bsf: Option<Bsf>,
    /// Translations of public addresses; absent where the deployment has none.
    pub upf: Option<Upf>,
}

impl Lookup {
    /// A lookup over these functions, with the caches and rules of the configuration.
    pub fn new(core: CoreFunctions, config: &Config, metrics: Arc<LookupMetrics>) -> Self {
        let CoreFunctions { udm, bsf, upf } = core;
        let pools = NatPools::new(config.nat.pools.clone());
        Self {
            udm: udm.clone(),
            supported: config.api.supported_identifiers.clone(),
            session: SessionLookup::new(bsf, upf, pools, config, metrics.clone()),
            equipment: EquipmentLookup::new(udm, config, metrics),
        }
    }

    /// Which device uses the subscription that the query names?
    pub async fn device(
        &self,
        query: &DeviceQuery,
        several: SeveralIdentifiers,
        deadline: Instant,
    ) -> Result<Answer, LookupError> {
        let identifiers = self.supported_identifiers(query);
        let equipment = match (several, identifiers.as_slice()) {
            (_, []) => return Err(LookupError::Unsupported),
            (_, [only]) => self.by_identifier(only, several, deadline).await?,
            (SeveralIdentifiers::First, _) => self.by_first(&identifiers, deadline).await?,
            (SeveralIdentifiers::MustAgree, _) => {
                let subscription = self.agreed(&identifiers, deadline).await?;
                self.equipment.of(&subscription, deadline).await?
            }
        };
        let imei = equipment.pei.imei().ok_or(LookupError::NoImei)?;
        let imeisv = equipment.pei.imeisv();
        Ok(Answer {
            imei,
            imeisv,
            last_checked: equipment.last_checked,
        })
    }

    /// Brings the sizes of the caches into the metrics; called when they are read.
    pub fn record_sizes(&self) {
        self.session.record_size();
        self.equipment.record_sizes();
    }

    /// The identifiers of supported kinds, in the order in which they are tried.
    fn supported_identifiers(&self, query: &DeviceQuery) -> Vec<Identifier> {
        let phone = query
            .phone_number
            .map(|number| Identifier::Gpsi(Gpsi::Msisdn(number)));
        let nai = query.network_access_identifier.clone();
        let ordered = [
            (IdentifierKind::PhoneNumber, phone),
            (
                IdentifierKind::NetworkAccessIdentifier,
                nai.map(|nai| Identifier::Gpsi(Gpsi::ExternalId(nai))),
            ),
            (
                IdentifierKind::Ipv6Address,
                query.ipv6_address.map(Identifier::Ipv6),
            ),
            (
                IdentifierKind::Ipv4Address,
                query.ipv4_address.map(Identifier::Ipv4),
            ),
        ];
        ordered
            .into_iter()
            .filter(|(kind, _)| self.supported.contains(kind))
            .filter_map(|(_, identifier)| identifier)
            .collect()
    }

    /// What the core does not know falls through to the next; what it knows is the answer, even
    /// when no device is registered for it.
    async fn by_first(
        &self,
        identifiers: &[Identifier],
        deadline: Instant,
    ) -> Result<Equipment, LookupError> {
        for identifier in identifiers {
            let answer = self.by_identifier(identifier, SeveralIdentifiers::First, deadline);
            match answer.await {
                Err(LookupError::UnknownSubscription) => {}
                decided => return decided,
            }
        }
        Err(LookupError::UnknownSubscription)
    }

    /// A single IPv4 identifier can contradict itself, by port and private address.
    async fn by_identifier(
        &self,
        identifier: &Identifier,
        several: SeveralIdentifiers,
        deadline: Instant,
    ) -> Result<Equipment, LookupError> {
        let subscription = match (identifier, several) {
            (Identifier::Gpsi(gpsi), _) => UeId::Gpsi(gpsi.clone()),
            (Identifier::Ipv6(address), _) => self.session.by_ipv6(*address, deadline).await?,
            (Identifier::Ipv4(query), SeveralIdentifiers::First) => {
                self.session.by_ipv4(*query, deadline).await?
            }
            (Identifier::Ipv4(query), SeveralIdentifiers::MustAgree) => {
                self.session.by_ipv4_agreeing(*query, deadline).await?
            }
        };
        self.equipment.of(&subscription, deadline).await
    }

    /// The one subscription that all identifiers name. One that the core does not know beside one
    /// that it knows is a mismatch.
    async fn agreed(
        &self,
        identifiers: &[Identifier],
        deadline: Instant,
    ) -> Result<UeId, LookupError> {
        let mut known: Option<Supi> = None;
        let mut unknown = false;
        for identifier in identifiers {
            let supi = self.supi_of(identifier, deadline).await?;
            let differs = known.is_some() && supi.is_some() && known != supi;
            if differs {
                return Err(LookupError::Mismatch);
            }
            unknown |= supi.is_none();
            known = known.or(supi);
        }
        match known {
            None => Err(LookupError::UnknownSubscription),
            Some(_) if unknown => Err(LookupError::Mismatch),
            Some(supi) => Ok(UeId::Supi(supi)),
        }
    }

    /// The permanent identifier behind any identifier; `None` where the core knows no subscription.
    async fn supi_of(
        &self,
        identifier: &Identifier,
        deadline: Instant,
    ) -> Result<Option<Supi>, LookupError> {
        let subscription = match identifier {
            Identifier::Gpsi(gpsi) => Ok(UeId::Gpsi(gpsi.clone())),
            Identifier::Ipv6(address) => self.session.by_ipv6(*address, deadline).await,
            Identifier::Ipv4(query) => self.session.by_ipv4_agreeing(*query, deadline).await,
        };
        match subscription {
            Ok(UeId::Supi(supi)) => Ok(Some(supi)),
            Ok(ue_id) => {
                let translation = self.udm.id_translation(&ue_id, deadline).await?;
                Ok(translation.map(|translation| translation.supi))
            }
            Err(LookupError::UnknownSubscription) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// One identifier, by the question it leads to.
enum Identifier {
    Gpsi(Gpsi),
    Ipv6(Ipv6Addr),
    Ipv4(Ipv4Query),
}
