//! Which UDMs there are: each that keeps subscriptions of its own is subscribed to for equipment
//! from when it comes until it goes.
//!
//! UDMs of one NF set keep the same subscriptions (TS 23.501 5.21.3), so that one stands for all of
//! them. Of others nobody says so: one that serves other subscribers, or keeps what it is asked for
//! to itself, would be silent about changes of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use adapters::sbi::{Client, Instance, NfType};
use adapters::udm::events::UdmEvents;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clients::TellerClients;
use super::equipment::EquipmentFeed;
use super::unison::{Unison, Voice};
use super::upkeep::Upkeep;
use crate::lookup::changes::EquipmentChanges;

/// The UDMs as they come and go, and where their words belong.
pub(super) struct Udms {
    pub(super) instances: watch::Receiver<Arc<[Instance]>>,
    pub(super) clients: TellerClients,
    pub(super) changes: Arc<EquipmentChanges>,
}

/// One set that is subscribed to.
struct Kept {
    client: Client,
    voice: Arc<Voice>,
    leave: CancellationToken,
}

impl Udms {
    /// Keeps a feed of each, until we leave.
    pub(super) async fn follow(mut self, upkeep: Arc<Upkeep>) {
        let feeds = TaskTracker::new();
        let unison = Unison::new(self.changes.feed.clone());
        let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
        loop {
            let now = sets(&self.instances.borrow_and_update().clone());
            kept.retain(|name, set| {
                let stays = now.contains_key(name);
                if !stays {
                    unison.remove(&set.voice);
                    set.leave.cancel();
                }
                stays
            });
            let mut come = Vec::new();
            for (name, instances) in now {
                if let Some(set) = kept.get(&name) {
                    set.client.replace(instances);
                    continue;
                }
                let set = Kept {
                    client: self.clients.of(NfType::Udm, instances),
                    voice: unison.add(),
                    leave: upkeep.stop.child_token(),
                };
                come.push(EquipmentFeed {
                    udm: UdmEvents::new(&set.client),
                    changes: self.changes.clone(),
                    voice: set.voice.clone(),
                    leave: set.leave.clone(),
                });
                kept.insert(name, set);
            }
            // Not before all of them are known: the first one would be taken for the only one.
            for feed in come {
                feeds.spawn(feed.keep(upkeep.clone()));
            }
            tokio::select! {
                changed = self.instances.changed() => if changed.is_err() {
                    // They are configured: no others come.
                    upkeep.stop.cancelled().await;
                    break;
                },
                () = upkeep.stop.cancelled() => break,
            }
        }
        feeds.close();
        feeds.wait().await;
    }
}

/// The instances by what keeps one subscription for all of them.
fn sets(instances: &[Instance]) -> BTreeMap<String, Vec<Instance>> {
    let mut sets: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
    for instance in instances {
        let name = match (instance.nf_sets.iter().min(), instance.nf_instance_id) {
            (Some(set), _) => set.clone(),
            // It may be at several apiRoots.
            (None, Some(id)) => id.to_string(),
            (None, None) => instance.root.to_string(),
        };
        sets.entry(name).or_default().push(instance.clone());
    }
    sets
}
