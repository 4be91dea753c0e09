//! Being told when an instance comes, changes or goes (TS 29.510 5.2.2.5, 5.2.2.6), so that one
//! that is gone is asked no more, without waiting for a search to say so.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::discovery::{Discovery, Followed};
use super::profile::ProfileJson;
use super::search::Criteria;
use super::{Backoff, PATIENCE};
use crate::sbi::{
    Answer, Change, Client, Error, Operation, Path, Resource, ServiceName, from_json,
};

/// Renewed when this share of its time is over.
const RENEW_AT: f64 = 0.8;
/// A subscription that states no end is looked after this often.
const UNSTATED_VALIDITY: Duration = Duration::from_hours(1);
/// An end that is nearer than this is treated as so far away: it would be renewed without pause.
const SHORTEST_VALIDITY: Duration = Duration::from_secs(1);
/// What is asked for; the NRF may grant less.
const WANTED_VALIDITY: Duration = Duration::from_hours(24);

/// How to be told.
#[derive(Debug, Clone)]
pub struct StatusSettings {
    /// Where notifications are sent (`nfStatusNotificationUri`); [`Notifications::accept`] is for
    /// their bodies.
    pub notification_uri: String,
}

/// The subscriptions to what becomes of the instances that discovery follows.
#[derive(Debug)]
pub struct Subscriptions {
    nrf: Arc<Nrf>,
    current: Vec<watch::Receiver<Option<Resource>>>,
    live: watch::Receiver<usize>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Nrf {
    create: Operation,
    update: Operation,
    remove: Operation,
    settings: StatusSettings,
    /// Renewed at the latest after so long, where nobody registers who would notice that the NRF
    /// has forgotten everything.
    check_period: Option<Duration>,
}

/// Takes in what the NRF notifies. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Notifications {
    discovery: Discovery,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NotificationJson {
    event: String,
    nf_instance_uri: String,
    nf_profile: Option<Value>,
    #[serde(default)]
    profile_changes: Vec<ChangeJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangeJson {
    path: Option<String>,
    new_value: Option<Value>,
}

impl Notifications {
    /// Notifications for the instances that `discovery` follows.
    pub fn new(discovery: &Discovery) -> Self {
        Self {
            discovery: discovery.clone(),
        }
    }

    /// Takes in a `NotificationData`. An instance that is gone or suspended is asked no more from
    /// here on; whatever else has changed is searched for. An error is the answer 400.
    pub fn accept(&self, body: &[u8]) -> Result<(), Error> {
        let notification: NotificationJson = from_json(body)?;
        let id = notification.nf_instance_uri.rsplit('/').next();
        let id = id.and_then(|id| id.parse().ok()).ok_or(Error::BadAnswer)?;
        if notification.takes_away() {
            self.discovery.remove(id);
        }
        self.discovery.refresh();
        Ok(())
    }

    /// A notification was lost: whatever it said is searched for.
    pub fn missed(&self) {
        self.discovery.refresh();
    }

    /// A notification may have been lost: what is known is searched for again, soon, and not more
    /// often than subscriptions are looked at however often this is said.
    pub fn may_have_missed(&self) {
        self.discovery.doubt();
    }
}

impl NotificationJson {
    fn takes_away(&self) -> bool {
        if self.event == "NF_DEREGISTERED" {
            return true;
        }
        let profile = self.nf_profile.clone();
        let profile = profile.and_then(|json| serde_json::from_value::<ProfileJson>(json).ok());
        let suspended = profile.is_some_and(|profile| !profile.is_registered());
        suspended
            || self.profile_changes.iter().any(|change| {
                change.path.as_deref() == Some("/nfStatus")
                    && change
                        .new_value
                        .as_ref()
                        .is_some_and(|value| value != "REGISTERED")
            })
    }
}

/// A subscription as the NRF made it.
struct Made {
    resource: Resource,
    valid_for: Duration,
}

impl Subscriptions {
    /// Subscribes at the NRF behind `client` for all that `discovery` follows, and again whenever
    /// `generation` says that the NRF has forgotten; where its sender is gone, nobody will say so,
    /// and the subscriptions are looked after more often. Must be called within a Tokio runtime.
    pub fn start(
        client: &Client,
        discovery: &Discovery,
        settings: StatusSettings,
        generation: &watch::Receiver<u64>,
    ) -> Self {
        let operation = |name| Operation::new(client, ServiceName::NnrfNfm, name);
        let nrf = Arc::new(Nrf {
            create: operation("CreateSubscription"),
            update: operation("UpdateSubscription"),
            remove: operation("RemoveSubscription"),
            settings,
            check_period: generation
                .has_changed()
                .is_err()
                .then_some(discovery.settings().check_period),
        });
        let mut tasks = JoinSet::new();
        let mut current = Vec::new();
        let (living, live) = watch::channel(0);
        let living = Arc::new(living);
        let mut subscribed = Vec::new();
        for followed in discovery.followed() {
            // Whoever follows the same function is told by the same subscription.
            let target = followed.criteria.nf_type.name();
            if subscribed.contains(&target) {
                continue;
            }
            subscribed.push(target);
            let (sender, receiver) = watch::channel(None);
            current.push(receiver);
            let (nrf, generation) = (Arc::clone(&nrf), generation.clone());
            let living = Arc::clone(&living);
            tasks.spawn(async move {
                nrf.keep(&followed, &sender, &living, generation).await;
            });
        }
        Self {
            nrf,
            current,
            live,
            tasks,
        }
    }

    /// How many of them there are at the NRF, as they come and go.
    pub fn live(&self) -> watch::Receiver<usize> {
        self.live.clone()
    }

    /// Removes them.
    pub async fn end(mut self, deadline: Instant) {
        self.tasks.abort_all();
        for current in &self.current {
            let resource = current.borrow().clone();
            if let Some(resource) = resource {
                // The NRF ends by itself what is not removed here.
                let _ = self.nrf.remove(&resource, deadline).await;
            }
        }
    }
}

impl Nrf {
    /// Subscribes, renews, and subscribes again, for ever.
    async fn keep(
        &self,
        followed: &Followed,
        current: &watch::Sender<Option<Resource>>,
        live: &watch::Sender<usize>,
        mut generation: watch::Receiver<u64>,
    ) {
        let criteria = &followed.criteria;
        let mut backoff = Backoff::new();
        let mut may_have_missed = false;
        loop {
            generation.mark_unchanged();
            match self.create(criteria).await {
                Ok(made) => {
                    backoff = Backoff::new();
                    current.send_replace(Some(made.resource.clone()));
                    live.send_modify(|live| *live += 1);
                    if may_have_missed {
                        followed.refresh();
                    }
                    tokio::select! {
                        () = self.renew_until_lost(&made) => {}
                        Ok(()) = generation.changed() => {
                            // Another NRF may not tell what was asked of the former one. First, for
                            // one that begins anew may give the next one the same name.
                            let deadline = Instant::now() + PATIENCE;
                            let _ = self.remove(&made.resource, deadline).await;
                        }
                    }
                    live.send_modify(|live| *live -= 1);
                    current.send_replace(None);
                }
                Err(error) => {
                    let target = criteria.nf_type.name();
                    tracing::debug!(nf = "NRF", target, %error, "could not subscribe to its status");
                    sleep(backoff.next()).await;
                }
            }
            may_have_missed = true;
        }
    }

    async fn create(&self, criteria: &Criteria) -> Result<Made, Error> {
        let subscription = json!({
            "nfStatusNotificationUri": self.settings.notification_uri,
            "reqNfInstanceId": criteria.requester_nf_instance_id,
            "reqNfType": criteria.requester_nf_type,
            "subscrCond": {"nfType": criteria.nf_type.name()},
            "reqNotifEvents": ["NF_REGISTERED", "NF_DEREGISTERED", "NF_PROFILE_CHANGED"],
            "validityTime": wanted_end(),
        });
        let path = Path::new("/nnrf-nfm/v1/subscriptions");
        let change = Change::post(path, &subscription)?;
        let read = |answer: &Answer| match answer.status() {
            StatusCode::CREATED => Ok(Made {
                resource: answer.created().cloned().ok_or(Error::BadAnswer)?,
                valid_for: valid_for(answer),
            }),
            _ => Err(answer.failure()),
        };
        let deadline = Instant::now() + PATIENCE;
        self.create.change(&change, deadline, read).await
    }

    /// How long before a subscription that is valid for so long is renewed.
    fn renewal(&self, valid_for: Duration) -> Duration {
        let wait = valid_for.mul_f64(RENEW_AT);
        self.check_period.map_or(wait, |period| wait.min(period))
    }

    async fn renew_until_lost(&self, made: &Made) {
        let mut wait = self.renewal(made.valid_for);
        let mut ends_at = Instant::now() + made.valid_for;
        let mut backoff = Backoff::new();
        loop {
            sleep(wait).await;
            wait = match self.renew(&made.resource).await {
                Ok(Some(valid_for)) => {
                    backoff = Backoff::new();
                    ends_at = Instant::now() + valid_for;
                    self.renewal(valid_for)
                }
                Ok(None) => return,
                Err(_) if Instant::now() >= ends_at => return,
                Err(_) => backoff.next(),
            };
        }
    }

    /// For how long it is valid now; `None` where the NRF does not know it.
    async fn renew(&self, resource: &Resource) -> Result<Option<Duration>, Error> {
        let patch = [json!({"op": "replace", "path": "/validityTime", "value": wanted_end()})];
        let change = Change::json_patch(resource, &patch)?;
        let read = |answer: &Answer| match answer.status() {
            StatusCode::OK => Ok(Some(valid_for(answer))),
            // Granted as it was asked for.
            StatusCode::NO_CONTENT => Ok(Some(WANTED_VALIDITY)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(answer.failure()),
        };
        let deadline = Instant::now() + PATIENCE;
        self.update.change(&change, deadline, read).await
    }

    async fn remove(&self, resource: &Resource, deadline: Instant) -> Result<(), Error> {
        let read = |answer: &Answer| match answer.status() {
            StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(()),
            _ => Err(answer.failure()),
        };
        self.remove
            .change(&Change::delete(resource), deadline, read)
            .await
    }
}

fn wanted_end() -> String {
    let end = Timestamp::now().checked_add(WANTED_VALIDITY);
    end.unwrap_or(Timestamp::MAX).to_string()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionJson {
    validity_time: Option<Timestamp>,
}

fn valid_for(answer: &Answer) -> Duration {
    let end = answer
        .json()
        .ok()
        .and_then(|json: SubscriptionJson| json.validity_time);
    let left = end.map_or(UNSTATED_VALIDITY, |end| {
        let left = end.duration_since(Timestamp::now());
        Duration::try_from(left).unwrap_or(Duration::ZERO)
    });
    left.clamp(SHORTEST_VALIDITY, WANTED_VALIDITY)
}
