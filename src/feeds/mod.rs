//! What the core tells unasked: subscriptions to it, and what becomes of its notifications.
//!
//! | module | what it is |
//! |---|---|
//! | `instances` | at the NRF: which instances there are |
//! | `smfs`, `udms` | which SMFs and UDMs there are |
//! | `sessions` | at each SMF: sessions and their addresses, into the table of [`crate::sessions`] |
//! | `equipment` | at each set of UDMs: subscriptions that use other devices |
//! | `unison` | whether all of them tell, so that they can be trusted |
//! | `consent` | at the UDM: the consent of those who were asked about |
//! | `clients` | how those who tell are reached |
//! | `upkeep` | how long a subscription holds, and how its loss is noticed |
//! | `correlation` | the names that we give subscriptions, and know their notifications by |
//! | [`inbox`] | from a notification to whom it is for |
//!
//! Each feed is optional, and none is needed: what a feed does not vouch for the core is asked for.
//! Nothing that is answered depends on a subscription having been made: a feed that is not live
//! shows in metrics and in more questions to the core, nowhere else.

mod clients;
mod consent;
mod correlation;
mod equipment;
pub mod inbox;
mod instances;
mod metrics;
mod sessions;
mod smfs;
mod udms;
mod unison;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use adapters::sbi::{ApiRoot, Instance};
use adapters::udm::events::UdmEvents;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config;
use crate::lookup::changes::Changes;
use crate::sessions::SessionTable;
pub use clients::TellerClients;
use correlation::Registry;
use inbox::Inbox;
pub use instances::Instances;
pub use metrics::FeedMetrics;
use metrics::{FeedName, FeedState};
use smfs::Smfs;
use udms::Udms;
use upkeep::Upkeep;

/// The functions that tell.
pub struct Tellers {
    /// The NRF, where instances are discovered there.
    pub instances: Option<Instances>,
    /// The SMFs, as they come and go.
    pub smfs: watch::Receiver<Arc<[Instance]>>,
    /// The UDMs, as they come and go.
    pub udms: watch::Receiver<Arc<[Instance]>>,
    /// How each of either is reached.
    pub clients: TellerClients,
    /// The UDM that serves a subscriber tells of that one.
    pub udm: UdmEvents,
    /// Who we are to them.
    pub nf_instance_id: Uuid,
}

/// All feeds, not yet begun.
pub struct Feeds {
    changes: Changes,
    tellers: Tellers,
    config: config::Feeds,
    registry: Arc<Registry>,
    metrics: Arc<FeedMetrics>,
}

impl Feeds {
    /// The feeds that are configured, and where their notifications are to be brought.
    pub fn new(
        changes: Changes,
        tellers: Tellers,
        config: &config::Feeds,
        metrics: Arc<FeedMetrics>,
    ) -> (Self, Inbox) {
        let registry = Arc::new(Registry::default());
        let consent = changes.consent.as_ref();
        let consent = consent.map(|changes| changes.feed.clone());
        let inbox = Inbox::new(registry.clone(), metrics.clone(), consent);
        let feeds = Self {
            changes,
            tellers,
            config: config.clone(),
            registry,
            metrics,
        };
        (feeds, inbox)
    }

    /// Brings into the metrics what the table of sessions holds, and which feeds are relied on.
    pub fn record_state(&self) -> impl Fn() + Send + Sync + use<> {
        let (table, metrics) = (self.changes.sessions.clone(), self.metrics.clone());
        let equipment = self.changes.equipment.as_ref();
        let equipment = equipment.map(|changes| changes.feed.clone());
        let consent = self.changes.consent.as_ref();
        let consent = consent.map(|changes| changes.feed.clone());
        move || {
            let size = table.as_ref().map(|table| table.size());
            if let Some(size) = size {
                metrics.session_table(size);
            }
            for (feed, trusted) in [
                (FeedName::Sessions, size.map(|size| size.complete)),
                (
                    FeedName::Equipment,
                    equipment.as_ref().map(|it| it.is_live()),
                ),
                (FeedName::Consent, consent.as_ref().map(|it| it.is_live())),
            ] {
                metrics.state(feed, FeedState::of(trusted));
            }
        }
    }

    /// Subscribes, and keeps the subscriptions until `stop` is cancelled; then ends them.
    /// Notifications are expected below `callback`.
    pub async fn run(self, callback: &ApiRoot, stop: CancellationToken) {
        let upkeep = Arc::new(Upkeep {
            callback: callback.to_string(),
            expiry: self.config.expiry,
            check_interval: self.config.check_interval,
            registry: self.registry,
            metrics: self.metrics,
            stop: stop.clone(),
        });
        let tasks = TaskTracker::new();
        if let Some(instances) = self.tellers.instances {
            tasks.spawn(instances.keep(upkeep.clone()));
        }
        if let Some(table) = self.changes.sessions {
            let smfs = Smfs {
                instances: self.tellers.smfs,
                clients: self.tellers.clients.clone(),
                table: table.clone(),
                domains: Arc::new(sessions::IpDomains(self.config.ip_domains)),
                report_time: self.config.report_time,
            };
            tasks.spawn(smfs.follow(upkeep.clone()));
            let sweeping = sweep(table);
            tasks.spawn(stop.run_until_cancelled_owned(sweeping));
        }
        if let Some(changes) = self.changes.equipment {
            let udms = Udms {
                instances: self.tellers.udms,
                clients: self.tellers.clients,
                changes: Arc::new(changes),
            };
            tasks.spawn(udms.follow(upkeep.clone()));
        }
        if let Some(changes) = self.changes.consent {
            let covering = consent::Covering::new(
                self.tellers.udm,
                self.tellers.nf_instance_id,
                changes,
                self.config.consent_entries,
                upkeep,
            );
            tasks.spawn(covering.keep());
        }
        tasks.close();
        tasks.wait().await;
    }
}

/// Between two pieces of the table, and between two walks through it.
const SWEEP_PAUSE: Duration = Duration::from_millis(1);
const WALK_PAUSE: Duration = Duration::from_secs(10);

/// Frees for ever what does not count any more, a piece at a time.
async fn sweep(table: Arc<SessionTable>) {
    loop {
        let mut from = Some(0);
        while let Some(place) = from {
            from = table.sweep(place);
            tokio::time::sleep(SWEEP_PAUSE).await;
        }
        tokio::time::sleep(WALK_PAUSE).await;
    }
}
