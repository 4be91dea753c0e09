//! Sessions: one subscription for any UE at each SMF, into its part of the table.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use adapters::sbi::Error;
use adapters::smf::{
    SessionChange, SessionEvent as Told, SessionNotification, SessionSubscription, Smf, Snssai,
    UeAddresses,
};
use adapters::subscription::Subscribing;
use device::UeId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::correlation::{Correlation, Receiver};
use super::metrics::{Event, FeedMetrics, FeedName, Loss};
use super::upkeep::{End, LEAVING_TIMEOUT, Pauses, Upkeep, Watched};
use crate::config::IpDomainRule;
use crate::sessions::event::{Addresses, Change, SessionEvent, SessionIpv4};
use crate::sessions::{Applied, Part, SessionTable, SmfId};

const FEED: FeedName = FeedName::Sessions;

/// A report that comes in notifications does not say where it ends: silence of this length does.
const REPORT_SILENCE: Duration = Duration::from_secs(1);

/// The feed of one SMF.
pub(super) struct SessionFeed {
    pub(super) smf: Smf,
    pub(super) id: SmfId,
    pub(super) table: Arc<SessionTable>,
    pub(super) domains: Arc<IpDomains>,
    pub(super) report_time: Duration,
}

/// Where the notifications of one subscription at one SMF go.
pub(super) struct Sessions {
    part: Part,
    table: Arc<SessionTable>,
    domains: Arc<IpDomains>,
    metrics: Arc<FeedMetrics>,
    /// Counts what was heard.
    heard: AtomicU64,
    /// Whether sessions begin by SUPIs.
    begin_by_supi: AtomicBool,
    /// Whether sessions begin by public names alone.
    begin_by_gpsi: AtomicBool,
    /// Cancelled when something was told that is lost to us.
    gap: CancellationToken,
}

/// Rules for what an SMF does not tell: the address space of an address.
pub(super) struct IpDomains(pub(super) Vec<IpDomainRule>);

impl SessionFeed {
    /// Subscribes again and again, until we leave or the SMF does.
    pub(super) async fn keep(self, upkeep: Arc<Upkeep>, leave: CancellationToken) {
        self.keep_subscribed(&upkeep, &leave).await;
        self.table.remove_smf(self.id);
    }

    async fn keep_subscribed(&self, upkeep: &Arc<Upkeep>, leave: &CancellationToken) {
        let mut pauses = Pauses::new();
        while !leave.is_cancelled() {
            let part = self.table.begin(self.id);
            let begun = Instant::now();
            match self.subscribed(part, upkeep, leave).await {
                Ok(End::Stopped) => return,
                Ok(End::Lost(loss)) => {
                    upkeep.metrics.lost(FEED, loss);
                    pauses.lost(loss, begun.elapsed());
                    let reason = loss.label();
                    tracing::warn!(reason, "a feed of sessions is lost: its SMF is asked anew");
                }
                Err(error) => {
                    upkeep.metrics.failed(FEED);
                    pauses.failed();
                    let reason = error.label();
                    tracing::warn!(reason, "an SMF cannot be subscribed to");
                }
            }
            self.table.distrust(part);
            if !pauses.wait(leave).await {
                return;
            }
        }
    }

    /// One subscription from its beginning to its end.
    async fn subscribed(
        &self,
        part: Part,
        upkeep: &Arc<Upkeep>,
        leave: &CancellationToken,
    ) -> Result<End, Error> {
        let sessions = Arc::new(Sessions {
            part,
            table: self.table.clone(),
            domains: self.domains.clone(),
            metrics: upkeep.metrics.clone(),
            heard: AtomicU64::new(0),
            begin_by_supi: AtomicBool::new(false),
            begin_by_gpsi: AtomicBool::new(false),
            gap: CancellationToken::new(),
        });
        let receiver = Receiver::Sessions(sessions.clone());
        let correlation: Correlation = upkeep.registry.give(receiver);
        let callback = upkeep.callback(FEED, correlation.name());
        let wanted = |expires| Subscribing {
            correlation_id: correlation.name(),
            callback: &callback,
            expires,
        };
        let made = self
            .smf
            .subscribe(&wanted(upkeep.expires()), Upkeep::deadline())
            .await?;
        upkeep.metrics.begun(FEED);
        let subscription = made.subscription;
        let (smf, subscription) = (&self.smf, &subscription);
        let watching = upkeep.watch(subscription.expires, &*sessions, leave, |look| {
            let wanted = wanted(look.expires);
            async move {
                if look.is_due {
                    smf.renew(subscription, &wanted, look.deadline).await
                } else {
                    smf.look(subscription, look.deadline).await
                }
            }
        });
        let reporting = async {
            match made.report {
                Some(report) => sessions.apply_all(&report),
                None => sessions.report_ended(self.report_time).await,
            }
            self.table.complete(part);
            tracing::info!("a feed of sessions is live");
            std::future::pending::<()>().await;
        };
        let end = tokio::select! {
            end = watching => end,
            () = reporting => End::Stopped,
        };
        self.table.distrust(part);
        upkeep.metrics.ended(FEED);
        if end != End::Lost(Loss::Unknown) {
            self.unsubscribe(subscription).await;
        }
        Ok(end)
    }

    async fn unsubscribe(&self, subscription: &SessionSubscription) {
        let deadline = Instant::now() + LEAVING_TIMEOUT;
        // One that cannot be ended ends by itself.
        let _ = self.smf.unsubscribe(subscription, deadline).await;
    }
}

impl Watched for Sessions {
    fn gap(&self) -> &CancellationToken {
        &self.gap
    }

    fn doubt(&self) {
        self.table.doubt(self.part);
    }

    fn trust(&self) {
        self.table.trust(self.part);
    }
}

impl Sessions {
    /// Takes a notification under this name.
    pub(super) fn receive(&self, name: &str, body: &[u8]) -> Result<(), Error> {
        self.heard.fetch_add(1, Ordering::Relaxed);
        let notification = SessionNotification::from_json(body).and_then(|read| {
            if read.correlation_id == name {
                Ok(read)
            } else {
                Err(Error::BadAnswer)
            }
        })?;
        self.apply_all(&notification.events);
        Ok(())
    }

    /// Something was told that is lost to us.
    pub(super) fn miss(&self) {
        self.metrics.event(FEED, Event::Unusable);
        self.distrust();
    }

    /// Something may have been told that is lost to us.
    pub(super) fn distrust(&self) {
        // Once is enough, and the table is locked for it.
        if !self.gap.is_cancelled() {
            self.table.distrust(self.part);
            self.gap.cancel();
        }
    }

    fn apply_all(&self, events: &[Told]) {
        for told in events {
            self.apply(told);
        }
    }

    fn apply(&self, told: &Told) {
        let Some((subscription, pdu_session_id)) = self.session_of(told) else {
            // Of a session that begins for nobody, nobody is answered; one that ends or moves for
            // nobody whom we know would be answered for ever.
            match told.change {
                SessionChange::Established(_) => self.metrics.event(FEED, Event::Unusable),
                SessionChange::Released(_) | SessionChange::AddressChanged { .. } => self.miss(),
            }
            return;
        };
        let event = SessionEvent {
            subscription,
            pdu_session_id,
            time: told.time.as_microsecond(),
            change: self.domains.change(told),
        };
        let applied = self.table.apply(self.part, &event);
        self.metrics.event(FEED, applied.into());
        if applied == Applied::Muddled {
            self.distrust();
        }
    }

    /// Whose session it is, and which of theirs. Where the SMF names nobody, or somebody by one kind
    /// of name though sessions begin by the other, it is the session that has the address which it
    /// had. One of the name that is told may be there as well, and be another one.
    fn session_of(&self, told: &Told) -> Option<(UeId, u8)> {
        // An SMF that does not tell sessions apart has one of each subscription.
        let pdu_session_id = told.pdu_session_id.unwrap_or(0);
        let named = told.ue_id.clone().map(|ue_id| (ue_id, pdu_session_id));
        let had = match &told.change {
            SessionChange::Established(_) => {
                match &told.ue_id {
                    Some(UeId::Supi(_)) => self.begin_by_supi.store(true, Ordering::Relaxed),
                    Some(UeId::Gpsi(_)) => self.begin_by_gpsi.store(true, Ordering::Relaxed),
                    None => {}
                }
                return named;
            }
            SessionChange::Released(had) => had,
            SessionChange::AddressChanged { removed, .. } => removed,
        };
        let begin_by_gpsi = self.begin_by_gpsi.load(Ordering::Relaxed);
        match &told.ue_id {
            Some(UeId::Supi(_)) if begin_by_gpsi => self.session_that_had(told, had).or(named),
            Some(UeId::Supi(_)) => named,
            Some(UeId::Gpsi(_)) if begin_by_gpsi && !self.begin_by_supi.load(Ordering::Relaxed) => {
                named
            }
            Some(UeId::Gpsi(_)) | None => self.session_that_had(told, had),
        }
    }

    fn session_that_had(&self, told: &Told, had: &UeAddresses) -> Option<(UeId, u8)> {
        let had = self.domains.addresses(told, had);
        let (subscription, pdu_session_id) = self.table.session_with(self.part, &had)?;
        let same = told
            .pdu_session_id
            .is_none_or(|told| told == pdu_session_id);
        same.then_some((subscription, pdu_session_id))
    }

    /// Waits until a report that comes in notifications is over: when nothing was heard for a
    /// while, or after the longest time.
    async fn report_ended(&self, at_most: Duration) {
        let silence = async {
            let mut heard = None;
            loop {
                let now = self.heard.load(Ordering::Relaxed);
                if heard == Some(now) {
                    return;
                }
                heard = Some(now);
                tokio::time::sleep(REPORT_SILENCE).await;
            }
        };
        // Over either way.
        let _ = tokio::time::timeout(at_most, silence).await;
    }
}

impl IpDomains {
    /// What was told as the table takes it.
    fn change(&self, told: &Told) -> Change {
        match &told.change {
            SessionChange::Established(now) => Change::Established(self.addresses(told, now)),
            SessionChange::Released(_) => Change::Released,
            SessionChange::AddressChanged { added, removed } => Change::Moved {
                added: self.addresses(told, added),
                removed: self.addresses(told, removed),
            },
        }
    }

    fn addresses(&self, told: &Told, addresses: &UeAddresses) -> Addresses {
        Addresses {
            ipv4: addresses.ipv4.map(|address| SessionIpv4 {
                address,
                ip_domain: self.of(told, address).map(Into::into),
            }),
            ipv6: addresses.ipv6.clone(),
        }
    }

    /// The IP domain of a session's address by the first rule that fits.
    fn of(&self, told: &Told, address: Ipv4Addr) -> Option<&str> {
        let snssai = told.snssai.as_ref();
        let fits = |rule: &&IpDomainRule| {
            let dnn = rule.dnn.as_ref().is_none_or(|dnn| {
                told.dnn
                    .as_ref()
                    .is_some_and(|told| told.eq_ignore_ascii_case(dnn))
            });
            let sst = |snssai: &Snssai| rule.sst.is_none_or(|sst| sst == snssai.sst);
            let sd = |snssai: &Snssai| {
                rule.sd.as_ref().is_none_or(|sd| {
                    let told = snssai.sd.as_ref();
                    told.is_some_and(|told| told.eq_ignore_ascii_case(sd))
                })
            };
            let slice = rule.sst.is_none() && rule.sd.is_none()
                || snssai.is_some_and(|snssai| sst(snssai) && sd(snssai));
            let prefix = rule.prefix.is_none_or(|prefix| prefix.contains(&address));
            dnn && slice && prefix
        };
        let rule = self.0.iter().find(fits);
        rule.map(|rule| rule.ip_domain.as_str())
    }
}
