//! Consent: a subscription at the UDM for each subscriber who was asked about, as long as the
//! answer is remembered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use adapters::sbi::Error;
use adapters::subscription::{Renewal, Subscribing};
use adapters::udm::events::{UdmEvents, UdmSubscription};
use device::Supi;
use futures_util::StreamExt as _;
use hashbrown::HashMap;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::correlation::{Correlation, Receiver};
use super::metrics::{FeedName, Loss};
use super::upkeep::{LEAVING_TIMEOUT, Upkeep};
use crate::lookup::changes::{ConsentChanges, ConsentTold};
use crate::lookup::feed::Feed;

const FEED: FeedName = FeedName::Consent;

/// After a subscription that failed, nobody is subscribed to for this long.
const PAUSE: Duration = Duration::from_secs(1);
/// Subscriptions that are looked at in one check, beside those that would end.
const LOOKS: usize = 1;
/// Subscriptions that are ended at a time while we drain.
const ENDED_AT_ONCE: usize = 32;

/// Keeps subscriptions to the consent of those who were asked about.
pub(super) struct Covering {
    udm: UdmEvents,
    nf_instance_id: Uuid,
    feed: Arc<Feed>,
    asked_about: mpsc::Receiver<Supi>,
    told: Arc<Told>,
    most: usize,
    upkeep: Arc<Upkeep>,
    covered: HashMap<Supi, Covered>,
    /// Whose subscription is looked at next, the one that was longest ago first.
    turns: VecDeque<Supi>,
    /// The last look failed: the next one decides.
    in_doubt: bool,
}

/// One subscription.
struct Covered {
    subscription: UdmSubscription,
    _correlation: Correlation,
    /// When it was made or prolonged.
    since: Instant,
}

/// Where the notifications go.
pub(super) struct Told(ConsentTold);

impl Told {
    /// Whatever is told of it: the core is asked again.
    pub(super) fn receive(&self, supi: &Supi) {
        self.0.changed(supi);
    }
}

impl Covering {
    pub(super) fn new(
        udm: UdmEvents,
        nf_instance_id: Uuid,
        changes: ConsentChanges,
        most: usize,
        upkeep: Arc<Upkeep>,
    ) -> Self {
        let told = Arc::new(Told(changes.told()));
        Self {
            udm,
            nf_instance_id,
            feed: changes.feed,
            asked_about: changes.asked_about,
            told,
            most,
            upkeep,
            covered: HashMap::new(),
            turns: VecDeque::new(),
            in_doubt: false,
        }
    }

    /// Until we leave.
    pub(super) async fn keep(mut self) {
        let mut looks = tokio::time::interval(self.upkeep.check_interval);
        let mut not_before = Instant::now();
        let stop = self.upkeep.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = looks.tick() => self.look().await,
                wanted = self.asked_about.recv() => match wanted {
                    Some(supi) if Instant::now() >= not_before => {
                        if self.cover(supi).await.is_err() {
                            self.upkeep.metrics.failed(FEED);
                            not_before = Instant::now() + PAUSE;
                        }
                    }
                    // It is wished for again when it is asked about again.
                    Some(_) => {}
                    None => break,
                },
            }
        }
        self.leave().await;
    }

    async fn cover(&mut self, supi: Supi) -> Result<(), Error> {
        if self.covered.contains_key(&supi) || self.covered.len() >= self.most {
            return Ok(());
        }
        let receiver = Receiver::Consent(self.told.clone(), supi.clone());
        let correlation = self.upkeep.registry.give(receiver);
        let wanted = Subscribing {
            correlation_id: correlation.name(),
            callback: &self.upkeep.callback(FEED, correlation.name()),
            expires: self.upkeep.expires(),
        };
        let deadline = Upkeep::deadline();
        let subscription = self
            .udm
            .subscribe_consent(&supi, self.nf_instance_id, &wanted, deadline)
            .await?;
        if !self.feed.is_live() {
            self.feed.begin();
        }
        let covered = Covered {
            subscription,
            _correlation: correlation,
            since: Instant::now(),
        };
        self.covered.insert(supi.clone(), covered);
        self.told.0.set_covered(&supi, true);
        self.turns.push_back(supi);
        self.upkeep.metrics.begun(FEED);
        Ok(())
    }

    /// Looks whether subscriptions are there still: those that would end before their next turn,
    /// and one more, for a UDM that forgot one has forgotten all.
    async fn look(&mut self) {
        let mut looks = 0;
        while let Some(supi) = self.turns.front() {
            let due = self.covered.get(supi).is_some_and(|covered| {
                covered.since.elapsed() + self.upkeep.check_interval >= self.upkeep.expiry / 2
            });
            if !due && looks >= LOOKS {
                return;
            }
            looks += 1;
            let Some(supi) = self.turns.pop_front() else {
                return;
            };
            if !self.prolong(supi, due).await {
                return;
            }
        }
    }

    /// Says whether the others may be there still. One that `is_due` is ended instead where nobody
    /// asks about it any more.
    async fn prolong(&mut self, supi: Supi, is_due: bool) -> bool {
        let Some(covered) = self.covered.get_mut(&supi) else {
            return true;
        };
        let deadline = Upkeep::deadline();
        if is_due && !self.told.0.is_remembered(&supi) {
            let _ = self
                .udm
                .unsubscribe_consent(&covered.subscription, deadline)
                .await;
            self.told.0.set_covered(&supi, false);
            self.covered.remove(&supi);
            self.upkeep.metrics.ended(FEED);
            return true;
        }
        let expires = self.upkeep.expires();
        let renewal = self
            .udm
            .renew_consent(&covered.subscription, expires, deadline)
            .await;
        match renewal {
            Ok(Renewal::Renewed(_)) => {
                covered.since = Instant::now();
                self.in_doubt = false;
                self.turns.push_back(supi);
                true
            }
            Ok(Renewal::Unknown) => {
                self.lose(Loss::Unknown);
                false
            }
            Err(_) if self.in_doubt => {
                self.lose(Loss::Unreachable);
                false
            }
            Err(_) => {
                self.in_doubt = true;
                self.turns.push_front(supi);
                false
            }
        }
    }

    /// All of them.
    fn lose(&mut self, loss: Loss) {
        self.feed.end();
        self.told.0.uncover_all();
        let reason = loss.label();
        tracing::warn!(reason, "the feed of consent is lost: short lifetimes hold");
        self.upkeep.metrics.lost(FEED, loss);
        for _ in self.covered.drain() {
            self.upkeep.metrics.ended(FEED);
        }
        self.turns.clear();
        self.in_doubt = false;
    }

    async fn leave(self) {
        self.feed.end();
        let deadline = Instant::now() + LEAVING_TIMEOUT;
        let udm = &self.udm;
        let ending = futures_util::stream::iter(self.covered.values()).for_each_concurrent(
            ENDED_AT_ONCE,
            async |covered| {
                // One that cannot be ended ends by itself.
                let _ = udm
                    .unsubscribe_consent(&covered.subscription, deadline)
                    .await;
            },
        );
        let _ = tokio::time::timeout_at(deadline, ending).await;
        for _ in &self.covered {
            self.upkeep.metrics.ended(FEED);
        }
    }
}
