//! Equipment: one subscription for any UE at a UDM, or at several that keep it together.

use std::sync::Arc;

use adapters::sbi::Error;
use adapters::subscription::Subscribing;
use adapters::udm::events::{EquipmentReport, UdmEvents};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::correlation::Receiver;
use super::inbox::Unreceived;
use super::metrics::{Event, FeedMetrics, FeedName, Loss};
use super::unison::{Turn, Voice};
use super::upkeep::{End, LEAVING_TIMEOUT, Pauses, Upkeep};
use crate::lookup::changes::EquipmentChanges;

const FEED: FeedName = FeedName::Equipment;

/// The feed of one set of UDMs.
pub(super) struct EquipmentFeed {
    pub(super) udm: UdmEvents,
    pub(super) changes: Arc<EquipmentChanges>,
    /// Its part in whether the whole is live.
    pub(super) voice: Arc<Voice>,
    /// Cancelled when we leave, or they do.
    pub(super) leave: CancellationToken,
}

/// Where the notifications of one subscription go.
pub(super) struct Reported {
    changes: Arc<EquipmentChanges>,
    metrics: Arc<FeedMetrics>,
    turn: Arc<Turn>,
}

impl EquipmentFeed {
    /// Subscribes again and again, until we leave or the UDMs do.
    pub(super) async fn keep(self, upkeep: Arc<Upkeep>) {
        let mut pauses = Pauses::new();
        while !self.leave.is_cancelled() {
            let begun = Instant::now();
            match self.subscribed(&upkeep).await {
                Ok(End::Stopped) => return,
                Ok(End::Lost(loss)) => {
                    upkeep.metrics.lost(FEED, loss);
                    pauses.lost(loss, begun.elapsed());
                    let reason = loss.label();
                    tracing::warn!(
                        reason,
                        "the feed of equipment is lost: short lifetimes hold"
                    );
                }
                Err(error) => {
                    upkeep.metrics.failed(FEED);
                    pauses.failed();
                    let reason = error.label();
                    tracing::warn!(
                        reason,
                        "a UDM cannot be subscribed to for equipment: short lifetimes hold"
                    );
                }
            }
            if !pauses.wait(&self.leave).await {
                return;
            }
        }
    }

    /// One subscription from its beginning to its end.
    async fn subscribed(&self, upkeep: &Arc<Upkeep>) -> Result<End, Error> {
        let turn = self.voice.turn();
        let receiver = Receiver::Equipment(Arc::new(Reported {
            changes: self.changes.clone(),
            metrics: upkeep.metrics.clone(),
            turn: turn.clone(),
        }));
        let correlation = upkeep.registry.give(receiver);
        let wanted = Subscribing {
            correlation_id: correlation.name(),
            callback: &upkeep.callback(FEED, correlation.name()),
            expires: upkeep.expires(),
        };
        let udm = &self.udm;
        let subscription = udm.subscribe_equipment(&wanted, Upkeep::deadline()).await?;
        turn.begin();
        upkeep.metrics.begun(FEED);
        let end = upkeep
            // There is no other way to look.
            .watch(subscription.expires, &*turn, &self.leave, |look| {
                udm.renew_equipment(&subscription, look.expires, look.deadline)
            })
            .await;
        turn.end();
        upkeep.metrics.ended(FEED);
        if end != End::Lost(Loss::Unknown) {
            let deadline = Instant::now() + LEAVING_TIMEOUT;
            // One that cannot be ended ends by itself.
            let _ = udm.unsubscribe_equipment(&subscription, deadline).await;
        }
        Ok(end)
    }
}

impl Reported {
    /// Something was told that is lost to us.
    pub(super) fn miss(&self) {
        self.metrics.event(FEED, Event::Unusable);
        self.distrust();
    }

    /// Something may have been told that is lost to us.
    pub(super) fn distrust(&self) {
        self.turn.miss();
    }

    /// Takes a notification. When it returns `Ok`, no other device is remembered of anybody in it.
    pub(super) async fn receive(&self, body: &[u8]) -> Result<(), Unreceived> {
        let reports = EquipmentReport::all_from_json(body).map_err(|_| Unreceived::Malformed)?;
        let deadline = Upkeep::deadline();
        for report in reports {
            // Nobody knows whose device it is: it may be anybody's.
            let gpsi = report.gpsi.as_ref().ok_or(Unreceived::Malformed)?;
            let EquipmentReport { pei, time, .. } = report;
            self.changes
                .reported(gpsi, pei, time, deadline)
                .await
                .map_err(|_| Unreceived::Failed)?;
            self.metrics.event(FEED, Event::Applied);
        }
        Ok(())
    }
}
