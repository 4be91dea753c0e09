//! May it be disclosed? What the subscriber allows, for each purpose.
//!
//! Anything but an explicit consent is a refusal, and a core that cannot say is never a consent.

use std::sync::Arc;
use std::time::Duration;

use adapters::udm::{self, Udm};
use device::Supi;
use tokio::time::Instant;

use super::remembered::{Lifetimes, Remembered, Told};
use super::{LookupError, Wanted};
use crate::auth::{Caller, Subject};
use crate::config::{self, Config, ConsentMode};
use crate::telemetry::metrics::{CacheName, LookupMetrics};

/// What a consumer may see of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disclosure {
    /// IMEI and IMEISV.
    pub identifier: bool,
    /// TAC, make and model.
    pub device_type: bool,
}

impl Disclosure {
    /// Everything.
    pub const ALL: Self = Self {
        identifier: true,
        device_type: true,
    };

    /// What answers the question where nobody has to be asked.
    pub(super) fn of(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Identifier => Self::ALL,
            Wanted::IdentifierAlone => Self {
                identifier: true,
                device_type: false,
            },
            Wanted::Type => Self {
                identifier: false,
                device_type: true,
            },
        }
    }
}

/// Who must be asked before this consumer sees anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// Nobody: no consent is needed here, or the token carries it.
    Nobody,
    /// Nobody: this consumer has a lawful purpose that needs no consent.
    Exempt,
    /// The core, for the subscriber.
    Core,
    /// It is refused already: the token would have to carry the consent and does not.
    Refused,
}

/// A subscription and the purpose that it consents to or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Matter {
    supi: Supi,
    purpose: Purpose,
}

/// What is consented to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Purpose {
    Identifier,
    Type,
}

/// Consent by subscription and purpose, from memory or from the UDM.
pub struct ConsentLookup {
    udm: Udm,
    rules: config::Consent,
    lifetime: Duration,
    remembered: Remembered<Matter, udm::Consent>,
}

impl ConsentLookup {
    /// Asks this UDM by the configured rules.
    pub fn new(udm: Udm, config: &Config, metrics: Arc<LookupMetrics>) -> Self {
        let lifetimes = Lifetimes {
            known: config.cache.consent,
            entries: config.cache.consent_entries,
            none_found: config.cache.none_found,
        };
        Self {
            udm,
            rules: config.consent.clone(),
            lifetime: config.cache.consent,
            remembered: Remembered::new(CacheName::Consent, &lifetimes, config, metrics),
        }
    }

    /// Who must be asked for this consumer.
    pub fn authority(&self, caller: &Caller) -> Authority {
        let subject = caller.subject.as_ref();
        let consented = subject.is_some_and(Subject::names_subscriber);
        match self.rules.mode {
            ConsentMode::None => Authority::Nobody,
            _ if self.is_exempt(caller) => Authority::Exempt,
            ConsentMode::Token if consented => Authority::Nobody,
            ConsentMode::Token => Authority::Refused,
            ConsentMode::Core if consented && self.rules.trust_three_legged => Authority::Nobody,
            ConsentMode::Core => Authority::Core,
        }
    }

    fn is_exempt(&self, caller: &Caller) -> bool {
        self.rules
            .exempt_consumers
            .iter()
            .any(|id| id == caller.consumer.as_str())
    }

    /// What the subscriber lets anybody see of what is wanted.
    pub async fn of(
        &self,
        supi: &Supi,
        wanted: Wanted,
        deadline: Instant,
    ) -> Result<Disclosure, LookupError> {
        let purpose = match wanted {
            Wanted::Identifier | Wanted::IdentifierAlone => Purpose::Identifier,
            Wanted::Type => Purpose::Type,
        };
        if !self.given(supi, purpose, deadline).await? {
            return Err(LookupError::ConsentMissing);
        }
        let one_for_both = self.name(Purpose::Identifier) == self.name(Purpose::Type);
        let device_type = match wanted {
            Wanted::Type => true,
            Wanted::IdentifierAlone => false,
            Wanted::Identifier if one_for_both => true,
            Wanted::Identifier => self.given(supi, Purpose::Type, deadline).await?,
        };
        Ok(Disclosure {
            identifier: purpose == Purpose::Identifier,
            device_type,
        })
    }

    fn name(&self, purpose: Purpose) -> &str {
        let own = match purpose {
            Purpose::Identifier => &self.rules.identifier_purpose,
            Purpose::Type => &self.rules.type_purpose,
        };
        own.as_ref().unwrap_or(&self.rules.purpose)
    }

    async fn given(
        &self,
        supi: &Supi,
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<bool, LookupError> {
        let ask = async |deadline| {
            let value = self.udm.uc_data(supi, self.name(purpose), deadline).await?;
            Ok(Told {
                value,
                lifetime: self.lifetime,
            })
        };
        let matter = Matter {
            supi: supi.clone(),
            purpose,
        };
        match self.remembered.get(&matter, deadline, ask).await {
            Ok(consent) => Ok(consent == udm::Consent::Given),
            Err(LookupError::Core(error)) => Err(LookupError::ConsentUnknown(error)),
            Err(error) => Err(error),
        }
    }

    /// Brings the size of the memory into the metrics.
    pub fn record_size(&self) {
        self.remembered.record_size();
    }
}
