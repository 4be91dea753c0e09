//! Equipment: one subscription for any UE at the UDM.

use std::sync::Arc;

use adapters::sbi::Error;
use adapters::subscription::Subscribing;
use adapters::udm::events::{EquipmentReport, UdmEvents};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::correlation::Receiver;
use super::inbox::Unreceived;
use super::metrics::{Event, FeedMetrics, FeedName, Loss};
use super::upkeep::{End, LEAVING_TIMEOUT, Pauses, Upkeep};
use crate::lookup::changes::EquipmentChanges;

const FEED: FeedName = FeedName::Equipment;

/// Where the notifications of one subscription go.
pub(super) struct Reported {
    changes: Arc<EquipmentChanges>,
    metrics: Arc<FeedMetrics>,
    /// Cancelled when something was told that is lost to us.
    gap: CancellationToken,
}

/// Subscribes again and again, until we leave.
pub(super) async fn keep(udm: UdmEvents, changes: Arc<EquipmentChanges>, upkeep: Arc<Upkeep>) {
    let mut pauses = Pauses::new();
    while !upkeep.stop.is_cancelled() {
        match subscribed(&udm, &changes, &upkeep, &mut pauses).await {
            Ok(End::Stopped) => return,
            Ok(End::Lost(loss)) => {
                upkeep.metrics.lost(FEED, loss);
                let reason = loss.label();
                tracing::warn!(
                    reason,
                    "the feed of equipment is lost: short lifetimes hold"
                );
            }
            Err(error) => {
                upkeep.metrics.failed(FEED);
                let reason = error.label();
                tracing::warn!(reason, "the UDM cannot be subscribed to for equipment");
            }
        }
        if !pauses.wait(&upkeep.stop).await {
            return;
        }
    }
}

/// One subscription from its beginning to its end.
async fn subscribed(
    udm: &UdmEvents,
    changes: &Arc<EquipmentChanges>,
    upkeep: &Arc<Upkeep>,
    pauses: &mut Pauses,
) -> Result<End, Error> {
    let gap = CancellationToken::new();
    let receiver = Receiver::Equipment(Arc::new(Reported {
        changes: changes.clone(),
        metrics: upkeep.metrics.clone(),
        gap: gap.clone(),
    }));
    let correlation = upkeep.registry.give(receiver);
    let wanted = Subscribing {
        correlation_id: correlation.name(),
        callback: &upkeep.callback(FEED, correlation.name()),
        expires: upkeep.expires(),
    };
    let subscription = udm.subscribe_equipment(&wanted, Upkeep::deadline()).await?;
    pauses.reset();
    changes.feed.begin();
    upkeep.metrics.begun(FEED);
    tracing::info!("the feed of equipment is live");
    let end = upkeep
        // There is no other way to look.
        .watch(subscription.expires, &gap, &upkeep.stop, |look| {
            udm.renew_equipment(&subscription, look.expires, look.deadline)
        })
        .await;
    changes.feed.end();
    upkeep.metrics.ended(FEED);
    if end != End::Lost(Loss::Unknown) {
        let deadline = Instant::now() + LEAVING_TIMEOUT;
        // One that cannot be ended ends by itself.
        let _ = udm.unsubscribe_equipment(&subscription, deadline).await;
    }
    Ok(end)
}

impl Reported {
    /// Takes a notification. When it returns `Ok`, no other device is remembered of anybody in it.
    pub(super) async fn receive(&self, body: &[u8]) -> Result<(), Unreceived> {
        let taken = self.take(body).await;
        if taken.is_err() {
            self.miss();
        }
        taken
    }

    /// Something was told that is lost to us.
    pub(super) fn miss(&self) {
        self.metrics.event(FEED, Event::Unusable);
        self.changes.feed.end();
        self.gap.cancel();
    }

    async fn take(&self, body: &[u8]) -> Result<(), Unreceived> {
        let reports = EquipmentReport::all_from_json(body).map_err(|_| Unreceived::Malformed)?;
        for report in reports {
            // Nobody knows whose device it is: it may be anybody's.
            let gpsi = report.gpsi.as_ref().ok_or(Unreceived::Malformed)?;
            let EquipmentReport { pei, time, .. } = report;
            self.changes
                .reported(gpsi, pei, time, Upkeep::deadline())
                .await
                .map_err(|_| Unreceived::Failed)?;
            self.metrics.event(FEED, Event::Applied);
        }
        Ok(())
    }
}
