//! May it be disclosed? What the subscriber allows, for each purpose.
//!
//! Anything but an explicit consent is a refusal, and a core that cannot say is never a consent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use adapters::udm::{self, Udm};
use device::Supi;
use hashbrown::{HashMap, HashSet};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::feed::Feed;
use super::remembered::{Correction, Lifetimes, Remembered, Told};
use super::waiting::{Asker, Waiting};
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

impl Matter {
    fn all(supi: &Supi) -> [Self; 2] {
        [Purpose::Identifier, Purpose::Type].map(|purpose| Self {
            supi: supi.clone(),
            purpose,
        })
    }
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
    fed: Option<Fed>,
}

/// What is told of changes: for each subscription by a subscription of its own.
struct Fed {
    covered: RwLock<HashSet<Supi>>,
    /// Those that were asked about and are not covered.
    wanted: mpsc::Sender<Supi>,
    /// Whom requests on their way are about: no more of them than requests.
    watched: Mutex<HashMap<Supi, Watched>>,
}

/// What requests on their way have to know of a subscription that they are about.
#[derive(Default)]
struct Watched {
    requests: usize,
    /// What was told of its consent meanwhile.
    words: u64,
}

/// Counts what is told of one subscription's consent while a request is about it.
pub(super) struct Watch<'a> {
    /// Absent where nothing is told.
    fed: Option<&'a Fed>,
    supi: &'a Supi,
}

/// The feed of consent, and where those that were asked about are named.
pub(super) struct ConsentFeed {
    pub(super) feed: Arc<Feed>,
    pub(super) wanted: mpsc::Sender<Supi>,
}

impl ConsentLookup {
    /// Asks this UDM by the configured rules.
    pub(super) fn new(
        udm: Udm,
        config: &Config,
        waiting: &Waiting,
        metrics: Arc<LookupMetrics>,
        told_by: Option<ConsentFeed>,
    ) -> Self {
        let name = CacheName::Consent;
        let lifetimes = Lifetimes {
            known: config.cache.consent,
            entries: config.cache.consent_entries,
            none_found: config.cache.none_found,
            past_lifetime: Duration::ZERO,
            fed: told_by
                .as_ref()
                .map(|told_by| (told_by.feed.clone(), config.feeds.consent_lifetime)),
        };
        let fed = told_by.map(|told_by| Fed {
            covered: RwLock::default(),
            wanted: told_by.wanted,
            watched: Mutex::default(),
        });
        Self {
            udm,
            rules: config.consent.clone(),
            fed,
            lifetime: config.cache.consent,
            remembered: Remembered::new(name, &lifetimes, config, waiting, metrics),
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
            // What is told from now on is told to us only if it is told already.
            let covered = self.is_covered(supi);
            let value = self.udm.uc_data(supi, self.name(purpose), deadline).await?;
            let at_most = if covered {
                Duration::MAX
            } else {
                self.lifetime
            };
            Ok(Told { value, at_most })
        };
        let matter = Matter {
            supi: supi.clone(),
            purpose,
        };
        match self
            .remembered
            .get(&matter, Asker::Request, deadline, ask)
            .await
        {
            Ok(consent) => Ok(consent == udm::Consent::Given),
            Err(LookupError::Core(error)) => Err(LookupError::ConsentUnknown(error)),
            Err(error) => Err(error),
        }
    }

    /// Whether changes of this subscription's consent are told; if not, they are wished for.
    fn is_covered(&self, supi: &Supi) -> bool {
        let Some(fed) = &self.fed else {
            return false;
        };
        let covered = fed.covered.read().unwrap_or_else(PoisonError::into_inner);
        let covered = covered.contains(supi);
        if !covered {
            // A full queue means that it is wished for another time.
            let _ = fed.wanted.try_send(supi.clone());
        }
        covered
    }

    /// From now on changes of this subscription's consent are told, or not any more.
    pub(super) fn set_covered(&self, supi: &Supi, is_covered: bool) {
        if let Some(fed) = &self.fed {
            let mut covered = fed.covered.write().unwrap_or_else(PoisonError::into_inner);
            if is_covered {
                covered.insert(supi.clone());
            } else {
                covered.remove(supi);
            }
        }
        self.forget(supi);
    }

    /// Nobody's changes are told any more.
    pub(super) fn uncover_all(&self) {
        if let Some(fed) = &self.fed {
            let mut covered = fed.covered.write().unwrap_or_else(PoisonError::into_inner);
            covered.clear();
        }
    }

    /// The core told unasked that this subscription's consent is another one.
    pub(super) fn changed(&self, supi: &Supi) {
        self.forget(supi);
        if let Some(fed) = &self.fed
            && let Some(watched) = fed.watched().get_mut(supi)
        {
            watched.words += 1;
        }
    }

    fn forget(&self, supi: &Supi) {
        for matter in Matter::all(supi) {
            self.remembered.correct(&matter, |_| Correction::Forget);
        }
    }

    /// Whether anything of it is remembered.
    pub(super) fn is_remembered(&self, supi: &Supi) -> bool {
        Matter::all(supi)
            .iter()
            .any(|matter| self.remembered.holds(matter))
    }

    /// Counts from now on what is told of this subscription's consent.
    pub(super) fn watch<'a>(&'a self, supi: &'a Supi) -> Watch<'a> {
        let fed = self.fed.as_ref();
        if let Some(fed) = fed {
            fed.watched().entry(supi.clone()).or_default().requests += 1;
        }
        Watch { fed, supi }
    }

    /// Brings the size of the memory into the metrics.
    pub fn record_size(&self) {
        self.remembered.record_size();
    }
}

impl Fed {
    fn watched(&self) -> MutexGuard<'_, HashMap<Supi, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch<'_> {
    /// Another number when something was told in between.
    pub(super) fn words(&self) -> u64 {
        let watched = self.fed.map(Fed::watched);
        let watched = watched.as_ref().and_then(|it| it.get(self.supi));
        watched.map_or(0, |watched| watched.words)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let Some(fed) = self.fed else { return };
        let mut watched = fed.watched();
        if let Some(one) = watched.get_mut(self.supi) {
            one.requests -= 1;
            if one.requests == 0 {
                watched.remove(self.supi);
            }
        }
    }
}
