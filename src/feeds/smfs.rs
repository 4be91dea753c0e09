//! Which SMFs there are: each is subscribed to from when it comes until it goes.

use std::sync::Arc;
use std::time::Duration;

use adapters::sbi::{Instance, NfType};
use adapters::smf::Smf;
use hashbrown::HashMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clients::TellerClients;
use super::sessions::{IpDomains, SessionFeed};
use super::upkeep::Upkeep;
use crate::sessions::SessionTable;

/// The SMFs as they come and go, and where their sessions belong.
pub(super) struct Smfs {
    pub(super) instances: watch::Receiver<Arc<[Instance]>>,
    pub(super) clients: TellerClients,
    pub(super) table: Arc<SessionTable>,
    pub(super) domains: Arc<IpDomains>,
    pub(super) report_time: Duration,
}

impl Smfs {
    /// Keeps a feed of each, until we leave.
    pub(super) async fn follow(mut self, upkeep: Arc<Upkeep>) {
        let feeds = TaskTracker::new();
        let mut kept: HashMap<String, CancellationToken> = HashMap::new();
        loop {
            let now = self.instances.borrow_and_update().clone();
            kept.retain(|root, leave| {
                let stays = now.iter().any(|one| one.root.to_string() == *root);
                if !stays {
                    leave.cancel();
                }
                stays
            });
            for instance in now.iter() {
                let leave = upkeep.stop.child_token();
                let root = instance.root.to_string();
                if kept.contains_key(&root) {
                    continue;
                }
                let Some(id) = self.table.add_smf() else {
                    break;
                };
                let client = self.clients.of(NfType::Smf, vec![instance.clone()]);
                let feed = SessionFeed {
                    smf: Smf::new(&client),
                    id,
                    table: self.table.clone(),
                    domains: self.domains.clone(),
                    report_time: self.report_time,
                };
                feeds.spawn(feed.keep(upkeep.clone(), leave.clone()));
                kept.insert(root, leave);
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
