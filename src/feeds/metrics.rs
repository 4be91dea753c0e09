//! How the feeds are, and what they bring.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::sessions::{Applied, Size};

/// A feed, as its metrics and its callback path call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedName {
    /// Instances, of one function each.
    Instances,
    /// Sessions, of one SMF each.
    Sessions,
    /// Equipment, of everybody.
    Equipment,
    /// Consent, of one subscription each.
    Consent,
}

impl FeedName {
    const ALL: [Self; 4] = [
        Self::Instances,
        Self::Sessions,
        Self::Equipment,
        Self::Consent,
    ];

    /// Those whose word is relied on.
    const TRUSTED: [Self; 3] = [Self::Sessions, Self::Equipment, Self::Consent];

    /// A fixed word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Instances => "instances",
            Self::Sessions => "sessions",
            Self::Equipment => "equipment",
            Self::Consent => "consent",
        }
    }

    /// The feed of this label.
    pub fn by_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feed| feed.label() == label)
    }
}

/// How a subscription was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The core does not know it any more.
    Unknown,
    /// The core could not be asked whether it does.
    Unreachable,
    /// A notification was lost or could not be understood.
    Gap,
}

impl Loss {
    const ALL: [Self; 3] = [Self::Unknown, Self::Unreachable, Self::Gap];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
            Self::Gap => "gap",
        }
    }
}

/// Whether the word of a feed is relied on now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FeedState {
    Off,
    Trusted,
    Distrusted,
}

impl FeedState {
    const ALL: [Self; 3] = [Self::Off, Self::Trusted, Self::Distrusted];

    /// `None`: it is not configured.
    pub(super) fn of(trusted: Option<bool>) -> Self {
        match trusted {
            None => Self::Off,
            Some(true) => Self::Trusted,
            Some(false) => Self::Distrusted,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Trusted => "trusted",
            Self::Distrusted => "distrusted",
        }
    }

    fn record(self, states: &IntGaugeVec, feed: FeedName) {
        for state in Self::ALL {
            let gauge = states.with_label_values(&[feed.label(), state.label()]);
            gauge.set(i64::from(state == self));
        }
    }
}

/// What became of one thing that was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Applied,
    Outdated,
    Full,
    Unusable,
}

impl Event {
    const ALL: [Self; 4] = [Self::Applied, Self::Outdated, Self::Full, Self::Unusable];

    fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Outdated => "outdated",
            Self::Full => "full",
            Self::Unusable => "unusable",
        }
    }
}

impl From<Applied> for Event {
    fn from(applied: Applied) -> Self {
        match applied {
            Applied::Done => Self::Applied,
            Applied::Outdated => Self::Outdated,
            Applied::Full => Self::Full,
            Applied::Muddled => Self::Unusable,
        }
    }
}

/// The health of all feeds.
pub struct FeedMetrics {
    live: [IntGauge; 4],
    losses: [[IntCounter; 3]; 4],
    failures: [IntCounter; 4],
    events: [[IntCounter; 4]; 4],
    states: IntGaugeVec,
    sessions: IntGauge,
    smfs_trusted: IntGauge,
    smfs_distrusted: IntGauge,
}

impl FeedMetrics {
    /// Registers all of them.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let live = IntGaugeVec::new(
            Opts::new(
                "pei_bridge_feed_subscriptions",
                "Subscriptions of a feed that are live",
            ),
            &["feed"],
        )?;
        let losses = IntCounterVec::new(
            Opts::new(
                "pei_bridge_feed_losses_total",
                "Subscriptions that were lost, by how",
            ),
            &["feed", "reason"],
        )?;
        let failures = IntCounterVec::new(
            Opts::new(
                "pei_bridge_feed_subscribe_failures_total",
                "Attempts to subscribe that failed",
            ),
            &["feed"],
        )?;
        let events = IntCounterVec::new(
            Opts::new(
                "pei_bridge_feed_events_total",
                "What the feeds told, by what became of it",
            ),
            &["feed", "outcome"],
        )?;
        let smfs = IntGaugeVec::new(
            Opts::new(
                "pei_bridge_session_table_smfs",
                "SMFs in the table of sessions, by whether their word counts",
            ),
            &["state"],
        )?;
        let states = IntGaugeVec::new(
            Opts::new(
                "pei_bridge_feed_state",
                "1 for what a feed is now: off, trusted (all that it is about is told), distrusted",
            ),
            &["feed", "state"],
        )?;
        let sessions = IntGauge::new(
            "pei_bridge_session_table_entries",
            "Sessions in the table that the SMFs' events keep",
        )?;
        registry.register(Box::new(live.clone()))?;
        registry.register(Box::new(losses.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        registry.register(Box::new(events.clone()))?;
        registry.register(Box::new(states.clone()))?;
        registry.register(Box::new(smfs.clone()))?;
        registry.register(Box::new(sessions.clone()))?;
        let of = FeedName::ALL.map(FeedName::label);
        for feed in FeedName::TRUSTED {
            FeedState::Off.record(&states, feed);
        }
        Ok(Self {
            states,
            live: of.map(|feed| live.with_label_values(&[feed])),
            losses: of
                .map(|feed| Loss::ALL.map(|loss| losses.with_label_values(&[feed, loss.label()]))),
            failures: of.map(|feed| failures.with_label_values(&[feed])),
            events: of.map(|feed| {
                Event::ALL.map(|event| events.with_label_values(&[feed, event.label()]))
            }),
            sessions,
            smfs_trusted: smfs.with_label_values(&["trusted"]),
            smfs_distrusted: smfs.with_label_values(&["distrusted"]),
        })
    }

    /// A subscription is live from now on.
    pub(super) fn begun(&self, feed: FeedName) {
        if let Some(live) = self.live.get(feed as usize) {
            live.inc();
        }
    }

    /// One that was live is not any more.
    pub(super) fn ended(&self, feed: FeedName) {
        if let Some(live) = self.live.get(feed as usize) {
            live.dec();
        }
    }

    pub(super) fn lost(&self, feed: FeedName, loss: Loss) {
        let losses = self.losses.get(feed as usize);
        if let Some(counter) = losses.and_then(|losses| losses.get(loss as usize)) {
            counter.inc();
        }
    }

    pub(super) fn failed(&self, feed: FeedName) {
        if let Some(counter) = self.failures.get(feed as usize) {
            counter.inc();
        }
    }

    pub(super) fn event(&self, feed: FeedName, event: Event) {
        let events = self.events.get(feed as usize);
        if let Some(counter) = events.and_then(|events| events.get(event as usize)) {
            counter.inc();
        }
    }

    pub(super) fn state(&self, feed: FeedName, state: FeedState) {
        state.record(&self.states, feed);
    }

    pub(super) fn session_table(&self, size: Size) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.sessions.set(count(size.sessions));
        self.smfs_trusted.set(count(size.trusted));
        self.smfs_distrusted.set(count(size.distrusted));
    }
}
