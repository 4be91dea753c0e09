//! Consent: a subscription at the UDM for each subscriber who was asked about, as long as the
//! answer is remembered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use adapters::sbi::Error;
use adapters::subscription::{Renewal, Subscribing};
use adapters::udm::events::{UdmEvents, UdmSubscription};
use device::Supi;
use futures_util::StreamExt as _;
use hashbrown::HashMap;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::correlation::{Correlation, Receiver};
use super::metrics::{FeedName, Loss};
use super::upkeep::{LEAVING_TIMEOUT, SECOND_LOOK, SHORTEST_PAUSE, Upkeep, left};
use crate::lookup::changes::{ConsentChanges, ConsentTold};
use crate::lookup::feed::Feed;

const FEED: FeedName = FeedName::Consent;

/// After a subscription that failed, nobody is subscribed to for this long.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a question about one subscription may take: the others wait for it.
const TIMEOUT: Duration = Duration::from_secs(2);
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
    /// Whose subscription is looked at when: half way to its end.
    turns: BTreeMap<Turn, Supi>,
    /// Turns given so far.
    given: u64,
    /// The last look failed: the next one decides.
    in_doubt: bool,
}

/// When a subscription is looked at, and a number that tells it from others of that moment.
type Turn = (Instant, u64);

/// One subscription.
struct Covered {
    subscription: UdmSubscription,
    _correlation: Correlation,
    /// Nothing is told from then on, unless it is prolonged.
    end: Instant,
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
            turns: BTreeMap::new(),
            given: 0,
            in_doubt: false,
        }
    }

    /// Until we leave.
    pub(super) async fn keep(mut self) {
        let mut looks = tokio::time::interval(self.upkeep.check_interval);
        let mut not_before = Instant::now();
        let stop = self.upkeep.stop.clone();
        loop {
            let due = self.turns.first_key_value().map(|((due, _), _)| *due);
            tokio::select! {
                () = stop.cancelled() => break,
                // One that is not due: a UDM that forgot one has forgotten all.
                _ = looks.tick() => {
                    self.look_at_next(Instant::now()).await;
                    self.go_on();
                }
                () = tokio::time::sleep_until(due.unwrap_or(not_before)), if due.is_some() => {
                    self.look_at_next(Instant::now()).await;
                }
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
        let deadline = Instant::now() + TIMEOUT;
        let subscription = self
            .udm
            .subscribe_consent(&supi, self.nf_instance_id, &wanted, deadline)
            .await?;
        if self.covered.is_empty() && !self.feed.is_live() {
            self.feed.begin();
        }
        let (now, granted) = (Instant::now(), self.granted(subscription.expires));
        let covered = Covered {
            subscription,
            _correlation: correlation,
            end: now + granted,
        };
        self.covered.insert(supi.clone(), covered);
        self.told.0.set_covered(&supi, true);
        self.look_later(supi, now + granted / 2);
        self.upkeep.metrics.begun(FEED);
        Ok(())
    }

    /// Takes the feed up again where a word may have been lost and the subscriptions hold: what is
    /// asked for from now on is as new as that word. Not before the short time of what was believed
    /// until then is over, which a new life would cut: whoever makes us lose words again and again
    /// would have everything asked for anew each time.
    fn go_on(&self) {
        if !self.covered.is_empty() && !self.in_doubt && self.feed.has_settled() {
            self.feed.begin();
        }
    }

    /// For how long a subscription is granted: never longer than it is asked for.
    fn granted(&self, expires: Option<Timestamp>) -> Duration {
        left(expires).min(self.upkeep.expiry)
    }

    fn look_later(&mut self, supi: Supi, due: Instant) {
        self.given += 1;
        let due = due.max(Instant::now() + SHORTEST_PAUSE);
        self.turns.insert((due, self.given), supi);
    }

    /// Looks whether the subscription whose turn is next is there still, which prolongs it. One that
    /// is due is ended instead where nobody asks about it any more.
    async fn look_at_next(&mut self, now: Instant) {
        let Some(((due, _), supi)) = self.turns.pop_first() else {
            return;
        };
        let Some(covered) = self.covered.get_mut(&supi) else {
            return;
        };
        let deadline = now + TIMEOUT;
        if covered.end <= now {
            // We came too late: what was told since is lost.
            self.upkeep.metrics.lost(FEED, Loss::Unreachable);
            return self.uncover(&supi);
        }
        if due <= now && !self.told.0.is_remembered(&supi) {
            let subscription = covered.subscription.clone();
            self.uncover(&supi);
            // One that cannot be ended ends by itself.
            let _ = self.udm.unsubscribe_consent(&subscription, deadline).await;
            return;
        }
        let expires = self.upkeep.expires();
        let renewal = self
            .udm
            .renew_consent(&covered.subscription, expires, deadline)
            .await;
        match renewal {
            Ok(Renewal::Renewed(until)) => {
                let now = Instant::now();
                let granted = left(until).min(self.upkeep.expiry);
                covered.end = now + granted;
                self.in_doubt = false;
                self.look_later(supi, now + granted / 2);
            }
            Ok(Renewal::Unknown) => self.lose(Loss::Unknown),
            Err(_) if self.in_doubt => self.lose(Loss::Unreachable),
            Err(_) => {
                self.in_doubt = true;
                let pause = SECOND_LOOK.min(self.upkeep.check_interval);
                let before_end = covered.end.saturating_duration_since(now) / 2;
                self.look_later(supi, now + pause.min(before_end));
            }
        }
    }

    fn uncover(&mut self, supi: &Supi) {
        self.told.0.set_covered(supi, false);
        if self.covered.remove(supi).is_some() {
            self.upkeep.metrics.ended(FEED);
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
