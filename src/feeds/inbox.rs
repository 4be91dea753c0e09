//! From a notification to whom it is for.

use std::sync::Arc;

use super::correlation::{Receiver, Registry};
use super::metrics::{Event, FeedMetrics};

pub use super::metrics::FeedName;

/// Takes the notifications of all feeds.
pub struct Inbox {
    registry: Arc<Registry>,
    metrics: Arc<FeedMetrics>,
}

/// A name that we gave, which is whom a notification is for.
pub struct Addressee {
    name: String,
    receiver: Receiver,
}

/// Why a notification was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreceived {
    /// It is not what it has to be.
    Malformed,
    /// What it takes to understand it could not be found out.
    Failed,
}

impl Inbox {
    pub(super) fn new(registry: Arc<Registry>, metrics: Arc<FeedMetrics>) -> Self {
        Self { registry, metrics }
    }

    /// Whom a notification of this feed under this name is for: nobody, unless we gave the name.
    pub fn addressee(&self, feed: FeedName, name: &str) -> Option<Addressee> {
        let receiver = self.registry.receiver(name)?;
        (receiver.feed() == feed).then(|| Addressee {
            name: name.to_owned(),
            receiver,
        })
    }

    /// A notification for this addressee was not taken: what it said is lost.
    pub fn missed(&self, addressee: &Addressee) {
        match &addressee.receiver {
            Receiver::Instances(notifications) => {
                self.metrics.event(FeedName::Instances, Event::Unusable);
                notifications.missed();
            }
            Receiver::Sessions(sessions) => sessions.miss(),
            Receiver::Equipment(reported) => reported.miss(),
            // Whatever it said, the core is asked.
            Receiver::Consent(told, supi) => told.receive(supi),
        }
    }

    /// Brings a notification to whom it is for. Once it returns `Ok`, what it says holds; otherwise
    /// it is [missed](Self::missed).
    pub async fn receive(&self, addressee: &Addressee, body: &[u8]) -> Result<(), Unreceived> {
        match &addressee.receiver {
            Receiver::Instances(notifications) => {
                let taken = notifications.accept(body);
                taken.map_err(|_| Unreceived::Malformed)?;
                self.metrics.event(FeedName::Instances, Event::Applied);
                Ok(())
            }
            Receiver::Sessions(sessions) => sessions
                .receive(&addressee.name, body)
                .map_err(|_| Unreceived::Malformed),
            Receiver::Equipment(reported) => reported.receive(body).await,
            Receiver::Consent(told, supi) => {
                told.receive(supi);
                self.metrics.event(FeedName::Consent, Event::Applied);
                Ok(())
            }
        }
    }
}

impl Receiver {
    fn feed(&self) -> FeedName {
        match self {
            Self::Instances(_) => FeedName::Instances,
            Self::Sessions(_) => FeedName::Sessions,
            Self::Equipment(_) => FeedName::Equipment,
            Self::Consent(..) => FeedName::Consent,
        }
    }
}
