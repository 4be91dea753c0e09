//! From a notification to whom it is for.

use std::sync::Arc;

use super::correlation::{Receiver, Registry};
use super::metrics::{Event, FeedMetrics, Loss};
use crate::lookup::feed::Feed;

pub use super::metrics::FeedName;

/// Takes the notifications of all feeds.
pub struct Inbox {
    registry: Arc<Registry>,
    metrics: Arc<FeedMetrics>,
    /// Absent where nobody is to tell of consent.
    consent: Option<Arc<Feed>>,
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
    pub(super) fn new(
        registry: Arc<Registry>,
        metrics: Arc<FeedMetrics>,
        consent: Option<Arc<Feed>>,
    ) -> Self {
        Self {
            registry,
            metrics,
            consent,
        }
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

    /// Somebody was turned away before a word was heard of him. It may have been the core, with a
    /// word for whichever feed, and no certificate or token that we would have asked for says that
    /// it was not: nothing that was told is relied on, until it was told or asked for anew.
    ///
    /// Costs next to nothing the second time: who floods the listener takes the feeds away, and
    /// neither makes us subscribe anew more often than any gap does, nor search at the NRF again and
    /// again, nor empties a memory.
    pub fn turned_away(&self) {
        for receiver in self.registry.receivers_about_all() {
            match receiver {
                Receiver::Instances(notifications) => notifications.may_have_missed(),
                Receiver::Sessions(sessions) => sessions.distrust(),
                Receiver::Equipment(reported) => reported.distrust(),
                // There would be one for each subscriber.
                Receiver::Consent(..) => {}
            }
        }
        if self.consent.as_ref().is_some_and(|feed| feed.end()) {
            self.metrics.lost(FeedName::Consent, Loss::Gap);
            tracing::warn!("a connection was turned away: short lifetimes of consent hold");
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
