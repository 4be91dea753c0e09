//! Instances: one subscription at the NRF for each function that is discovered, so that one that is
//! suspended or gone is asked no more, and a new one soon is.

use std::sync::Arc;

use adapters::nrf::{Discovery, Notifications, StatusSettings, Subscriptions};
use adapters::sbi::Client;
use tokio::sync::watch;
use tokio::time::Instant;

use super::correlation::Receiver;
use super::metrics::{FeedName, Loss};
use super::upkeep::{LEAVING_TIMEOUT, Upkeep};

const FEED: FeedName = FeedName::Instances;

/// The NRF, and what it is to tell of.
pub struct Instances {
    /// How the NRF is asked.
    pub nrf: Client,
    /// Keeps the instances that it tells of.
    pub discovery: Discovery,
    /// How often we were registered; 0: not yet.
    pub registered: watch::Receiver<u64>,
}

impl Instances {
    /// Keeps the subscriptions until we leave.
    pub(super) async fn keep(mut self, upkeep: Arc<Upkeep>) {
        // Some NRFs take subscriptions only from whom they know.
        let known = self.registered.wait_for(|&times| times > 0);
        let known = upkeep.stop.run_until_cancelled(known).await;
        if known.is_none_or(|known| known.is_err()) {
            return;
        }
        let notifications = Notifications::new(&self.discovery);
        let correlation = upkeep.registry.give(Receiver::Instances(notifications));
        let settings = StatusSettings {
            notification_uri: upkeep.callback(FEED, correlation.name()),
        };
        let subscriptions =
            Subscriptions::start(&self.nrf, &self.discovery, settings, &self.registered);
        count(subscriptions.live(), &upkeep).await;
        let deadline = Instant::now() + LEAVING_TIMEOUT;
        subscriptions.end(deadline).await;
    }
}

/// Brings their number into the metrics until we leave.
async fn count(mut live: watch::Receiver<usize>, upkeep: &Upkeep) {
    let mut before = 0;
    loop {
        let now = *live.borrow_and_update();
        for _ in before..now {
            upkeep.metrics.begun(FEED);
        }
        for _ in now..before {
            upkeep.metrics.ended(FEED);
            upkeep.metrics.lost(FEED, Loss::Unknown);
        }
        before = now;
        let changed = upkeep.stop.run_until_cancelled(live.changed()).await;
        if changed.is_none_or(|changed| changed.is_err()) {
            break;
        }
    }
    upkeep.stop.cancelled().await;
    for _ in 0..before {
        upkeep.metrics.ended(FEED);
    }
}
