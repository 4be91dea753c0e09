//! Our own place in the NRF: registration, heart-beat, and the end of both (TS 29.510 5.2.2.2 to
//! 5.2.2.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::network::{PlmnId, Snssai};
use super::{Backoff, PATIENCE};
use crate::sbi::{
    Answer, ApiRoot, Change, Client, Error, Operation, Path, Producer, Resource, ServiceName,
};

/// The interval of an NRF that states none.
const USUAL_HEART_BEAT: Duration = Duration::from_secs(10);
/// An NRF that wants to hear of us more often than this does not.
const SHORTEST_HEART_BEAT: Duration = Duration::from_millis(500);
/// However seldom an NRF wants to hear of us: without a heart-beat nobody notices that it has
/// forgotten us.
const LONGEST_HEART_BEAT: Duration = Duration::from_mins(10);
/// Some NRFs forget who is late by one beat: so much of the interval passes between two.
const BEAT_AT: f64 = 0.8;

/// What we say of ourselves (TS 29.510 6.1.6.2.2); at least one of name and addresses has to be
/// there.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NfProfile {
    /// Who we are.
    pub nf_instance_id: Uuid,
    /// What we are.
    pub nf_type: String,
    /// The networks that we belong to.
    #[serde(rename = "plmnList", skip_serializing_if = "Vec::is_empty")]
    pub plmns: Vec<PlmnId>,
    /// The slices that we serve.
    #[serde(rename = "sNssais", skip_serializing_if = "Vec::is_empty")]
    pub snssais: Vec<Snssai>,
    /// Our name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fqdn: Option<String>,
    /// Our addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ipv4_addresses: Vec<Ipv4Addr>,
    /// Our addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// Where we are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    /// The sets that we belong to.
    #[serde(rename = "nfSetIdList", skip_serializing_if = "Vec::is_empty")]
    pub nf_sets: Vec<String>,
    /// Where we are told what we subscribed to.
    #[serde(skip)]
    pub callback: Option<ApiRoot>,
}

/// No service of TS 29.510 6.1.6.3.11 is a listener for notifications alone, and whoever claimed
/// one of them would be asked for it. The list is open: this name is ours.
const CALLBACK_SERVICE: &str = "pei-bridge-callback";
/// Who notifies us, and has to find nobody else there.
const TELLERS: [&str; 3] = ["NRF", "SMF", "UDM"];

/// The callback listener as a service of ours (TS 29.510 6.1.6.2.3); `None` where the core could
/// not find it by what its name says.
fn callback_service(root: &ApiRoot) -> Option<Value> {
    let port = root.port();
    let (fqdn, endpoint) = match root.host().parse() {
        Ok(IpAddr::V4(address)) => (None, json!({"ipv4Address": address, "port": port})),
        Ok(IpAddr::V6(address)) => (None, json!({"ipv6Address": address, "port": port})),
        // An FQDN has more than one label (TS 29.571 5.2.2).
        Err(_) if root.host().contains('.') => (Some(root.host()), json!({"port": port})),
        Err(_) => return None,
    };
    let prefix = Some(root.prefix()).filter(|prefix| !prefix.is_empty());
    let mut service = json!({
        "serviceInstanceId": CALLBACK_SERVICE,
        "serviceName": CALLBACK_SERVICE,
        "versions": [{"apiVersionInUri": "v1", "apiFullVersion": "1.0.0"}],
        "scheme": if root.is_https() { "https" } else { "http" },
        "nfServiceStatus": "REGISTERED",
        "allowedNfTypes": TELLERS,
        "ipEndPoints": [endpoint],
    });
    let members = service.as_object_mut()?;
    members.extend(fqdn.map(|fqdn| ("fqdn".to_owned(), json!(fqdn))));
    members.extend(prefix.map(|prefix| ("apiPrefix".to_owned(), json!(prefix))));
    Some(service)
}

/// A registration that is kept up by a task of its own until it is ended or dropped.
#[derive(Debug)]
pub struct Registration {
    nrf: Arc<Management>,
    task: JoinHandle<()>,
    /// How often we were registered, or found known by another NRF than before.
    generation: watch::Receiver<u64>,
}

#[derive(Debug)]
struct Management {
    register: Operation,
    update: Operation,
    deregister: Operation,
    profile: NfProfile,
    /// The NRFs that took us in, each once, the last one first: they may not know of each other.
    known_at: Mutex<Vec<ApiRoot>>,
}

/// What became of a heart-beat.
enum Beat {
    Heard(Kept),
    /// The NRF does not know us.
    Forgotten,
}

/// An NRF knows us.
struct Kept {
    by: Option<ApiRoot>,
    /// How often it wants to hear of us, where it says so.
    interval: Option<Duration>,
}

impl Kept {
    fn by_whom_answers(answer: &Answer) -> Self {
        Self {
            by: answer.producer().and_then(Producer::root).cloned(),
            interval: interval(answer),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegisteredJson {
    heart_beat_timer: Option<u64>,
}

impl Registration {
    /// Begins to register at the NRF behind `client`. Must be called within a Tokio runtime.
    pub fn start(client: &Client, profile: NfProfile) -> Self {
        let operation = |name| Operation::new(client, ServiceName::NnrfNfm, name);
        let nrf = Arc::new(Management {
            register: operation("RegisterNFInstance").telling_producer(),
            update: operation("UpdateNFInstance").telling_producer(),
            deregister: operation("DeregisterNFInstance"),
            profile,
            known_at: Mutex::default(),
        });
        let (sender, generation) = watch::channel(0);
        let task = tokio::spawn({
            let nrf = Arc::clone(&nrf);
            async move { nrf.keep(&sender).await }
        });
        Self {
            nrf,
            task,
            generation,
        }
    }

    /// Another number whenever another NRF keeps us, or the same one has forgotten us: what we asked
    /// of the former one is not to be relied on any more.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }

    /// Tells every NRF that knows us that we go.
    pub async fn end(self, deadline: Instant) {
        self.task.abort();
        for root in self.nrf.known_at() {
            match self.nrf.deregister(&root, deadline).await {
                Ok(()) => tracing::info!(nf = "NRF", nrf = %root, "deregistered"),
                Err(error) => {
                    tracing::warn!(nf = "NRF", nrf = %root, %error, "could not deregister");
                }
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Management {
    /// Registers, beats, and registers again, for ever.
    async fn keep(&self, generation: &watch::Sender<u64>) {
        let mut backoff = Backoff::new();
        loop {
            match self.register().await {
                Ok(kept) => {
                    backoff = Backoff::new();
                    generation.send_modify(|generation| *generation += 1);
                    let interval = kept.interval.unwrap_or(USUAL_HEART_BEAT);
                    tracing::info!(nf = "NRF", ?interval, "registered");
                    self.beat_until_forgotten(kept, generation).await;
                    tracing::warn!(nf = "NRF", "the NRF has forgotten us: registering again");
                }
                Err(error) => {
                    tracing::warn!(nf = "NRF", %error, "could not register");
                    sleep(backoff.next()).await;
                }
            }
        }
    }

    async fn beat_until_forgotten(&self, mut kept: Kept, generation: &watch::Sender<u64>) {
        let mut backoff = Backoff::new();
        let mut interval = kept.interval.unwrap_or(USUAL_HEART_BEAT);
        let mut wait = interval.mul_f64(BEAT_AT);
        loop {
            sleep(wait).await;
            wait = match self.beat().await {
                Ok(Beat::Heard(now)) => {
                    backoff = Backoff::new();
                    interval = now.interval.unwrap_or(interval);
                    if now.by != kept.by {
                        tracing::info!(nf = "NRF", "another NRF keeps us");
                        generation.send_modify(|generation| *generation += 1);
                    }
                    kept = now;
                    interval.mul_f64(BEAT_AT)
                }
                // Some NRFs refuse the heart-beat of a stranger with another status than 404; and
                // registering again is a heart-beat as well.
                Ok(Beat::Forgotten) | Err(Error::Refused { .. }) => return,
                Err(error) => {
                    tracing::debug!(nf = "NRF", %error, "heart-beat not heard");
                    // Soon again: it may not be late yet.
                    backoff.next().min(interval)
                }
            };
        }
    }

    fn resource(&self) -> Result<Resource, Error> {
        let path = Path::new("/nnrf-nfm/v1/nf-instances/").literal(self.profile.nf_instance_id);
        Resource::at(path)
    }

    async fn register(&self) -> Result<Kept, Error> {
        let mut profile = json!(self.profile);
        if let Some(members) = profile.as_object_mut() {
            members.insert("nfStatus".to_owned(), json!("REGISTERED"));
            let service = self.profile.callback.as_ref().and_then(callback_service);
            let services = service.map(|service| ("nfServices".to_owned(), json!([service])));
            members.extend(services);
        }
        let change = Change::put(&self.resource()?, &profile)?;
        let read = |answer: &Answer| match answer.status() {
            StatusCode::OK | StatusCode::CREATED => Ok(Kept::by_whom_answers(answer)),
            _ => Err(answer.failure()),
        };
        let deadline = Instant::now() + PATIENCE;
        let kept = self.register.change(&change, deadline, read).await?;
        self.note(kept.by.as_ref());
        Ok(kept)
    }

    async fn beat(&self) -> Result<Beat, Error> {
        let patch = [json!({"op": "replace", "path": "/nfStatus", "value": "REGISTERED"})];
        let change = Change::json_patch(&self.resource()?, &patch)?;
        let read = |answer: &Answer| match answer.status() {
            StatusCode::OK | StatusCode::NO_CONTENT => {
                Ok(Beat::Heard(Kept::by_whom_answers(answer)))
            }
            StatusCode::NOT_FOUND => Ok(Beat::Forgotten),
            _ => Err(answer.failure()),
        };
        let deadline = Instant::now() + PATIENCE;
        self.update.change(&change, deadline, read).await
    }

    /// This NRF took us in.
    fn note(&self, root: Option<&ApiRoot>) {
        let mut known_at = self.known_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = root {
            known_at.retain(|known| known != root);
            known_at.insert(0, root.clone());
        }
    }

    fn known_at(&self) -> Vec<ApiRoot> {
        let known_at = self.known_at.lock();
        known_at.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn deregister(&self, root: &ApiRoot, deadline: Instant) -> Result<(), Error> {
        let change = Change::delete(&self.resource()?.known_at(root));
        let read = |answer: &Answer| match answer.status() {
            // Whoever forgot us needs no farewell.
            StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(()),
            _ => Err(answer.failure()),
        };
        self.deregister.change(&change, deadline, read).await
    }
}

/// How often the NRF wants to hear of us, where its answer says so.
fn interval(answer: &Answer) -> Option<Duration> {
    let json: RegisteredJson = answer.json().ok()?;
    let interval = Duration::from_secs(json.heart_beat_timer?);
    Some(interval.clamp(SHORTEST_HEART_BEAT, LONGEST_HEART_BEAT))
}
