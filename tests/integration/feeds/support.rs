//! A bridge that is told of everything, and what the core says of its subscriptions.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use pei_bridge::config::{Config, IpDomainRule};
use serde_json::{Value, json};
use simcore::Options;

use crate::support::client::{self, Ask, Connection};
use crate::support::control::Control;
use crate::support::{Bridge, Rig, eventually};

pub const FIRST: &str = "imsi-001010000000001";
/// A device that nobody has before a test gives it to somebody.
pub const OTHER_PEI: &str = "imeisv-3569380312345101";
pub const OTHER_IMEISV: &str = "3569380312345101";
/// Far longer than any test.
pub const LONG: Duration = Duration::from_hours(1);

/// Which feeds a test is about.
#[derive(Clone, Copy, Default)]
pub struct Wanted {
    pub sessions: bool,
    pub equipment: bool,
    pub consent: bool,
}

pub const SESSIONS: Wanted = Wanted {
    sessions: true,
    equipment: false,
    consent: false,
};
pub const EQUIPMENT: Wanted = Wanted {
    sessions: false,
    equipment: true,
    consent: false,
};
pub const CONSENT: Wanted = Wanted {
    sessions: false,
    equipment: false,
    consent: true,
};

/// Switches feeds on. Looks at subscriptions are frequent, so that a test need not wait long.
pub fn feed(config: &mut Config, wanted: Wanted) {
    config.callback.listen = Some("127.0.0.1:0".parse().unwrap());
    config.core.smf.clone_from(&config.core.udm);
    config.feeds.sessions = wanted.sessions;
    config.feeds.equipment = wanted.equipment;
    config.feeds.consent = wanted.consent;
    config.feeds.check_interval = Duration::from_millis(200);
    config.feeds.equipment_lifetime = LONG;
    config.feeds.consent_lifetime = LONG;
    config.feeds.ip_domains = [("nat-a", "10.45.0.0/16"), ("nat-b", "10.64.0.0/10")]
        .map(|(ip_domain, prefix)| IpDomainRule {
            ip_domain: ip_domain.to_owned(),
            dnn: Some("internet".to_owned()),
            sst: Some(1),
            sd: None,
            prefix: Some(prefix.parse().unwrap()),
        })
        .into();
}

/// A bridge that is fed, once it is.
pub async fn fed(wanted: Wanted, change: impl FnOnce(&mut Config)) -> Rig {
    fed_by(Options::default(), wanted, change).await
}

pub async fn fed_by(options: Options, wanted: Wanted, change: impl FnOnce(&mut Config)) -> Rig {
    let rig = Rig::with(options, |config| {
        feed(config, wanted);
        change(config);
    })
    .await;
    until_live(&rig.bridge, wanted).await;
    rig
}

/// Waits until every feed that is not for single subscribers is live.
pub async fn until_live(bridge: &Bridge, wanted: Wanted) {
    eventually("the feeds are live", async || {
        let trusted = bridge
            .metric("pei_bridge_session_table_smfs", &["state=\"trusted\""])
            .await;
        let equipment = live(bridge, "equipment").await;
        let sessions = !wanted.sessions || trusted > 0.5;
        (sessions && (!wanted.equipment || equipment > 0.5)).then_some(())
    })
    .await;
}

/// Subscriptions of a feed that are live.
pub async fn live(bridge: &Bridge, feed: &str) -> f64 {
    let label = format!("feed=\"{feed}\"");
    bridge
        .metric("pei_bridge_feed_subscriptions", &[&label])
        .await
}

/// Subscriptions of a feed that were lost.
pub async fn losses(bridge: &Bridge, feed: &str) -> f64 {
    let label = format!("feed=\"{feed}\"");
    bridge
        .metric("pei_bridge_feed_losses_total", &[&label])
        .await
}

pub async fn control(control: Control, method: Method, path: &str, body: &Value) -> Value {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let (status, text) = client::exchange(control.0, method.clone(), path, &body).await;
    assert!((200..300).contains(&status), "{method} {path}: {text}");
    serde_json::from_str(&text).unwrap_or_default()
}

/// What the core knows of subscriptions.
pub async fn subscriptions(of: Control) -> Vec<Value> {
    let all = control(of, Method::GET, "/sim/subscriptions", &Value::Null).await;
    all.as_array().unwrap().clone()
}

/// The core forgets all subscriptions without a word.
pub async fn forget_subscriptions(of: Control) {
    control(of, Method::DELETE, "/sim/subscriptions", &Value::Null).await;
}

/// What becomes of notifications: `deliver`, `withhold` or `lose`.
pub async fn notifications(of: Control, mode: &str) {
    let body = json!({ "mode": mode });
    control(of, Method::PUT, "/sim/notifications", &body).await;
}

pub async fn settings(of: Control, change: &Value) {
    control(of, Method::PATCH, "/sim/settings", change).await;
}

/// Where the bridge expects notifications.
pub fn callback(rig: &Rig) -> SocketAddr {
    rig.bridge.callback.unwrap()
}

/// What the core was told to post to.
pub async fn path_of(rig: &Rig, feed: &str) -> String {
    let marker = format!("/callback/{feed}/");
    let all = subscriptions(rig.control).await;
    let mut uris = all.iter().map(|one| one["callback"].as_str().unwrap());
    let uri = uris.find(|uri| uri.contains(&marker)).unwrap();
    uri[uri.find("/callback/").unwrap()..].to_owned()
}

/// The status that the callback listener gives.
pub async fn post(rig: &Rig, ask: &Ask) -> u16 {
    let mut connection = Connection::http2(callback(rig)).await;
    connection.try_send(ask).await.unwrap().status
}

/// A notification as the core posts it.
pub fn notification(path: &str, body: &Value) -> Ask {
    Ask::identifier(body).path(path)
}

/// That the first subscriber uses another device.
pub fn report() -> Value {
    json!([{
        "referenceId": 1, "eventType": "CHANGE_OF_SUPI_PEI_ASSOCIATION",
        "timeStamp": "2026-06-15T08:00:00Z", "gpsi": "msisdn-123456789",
        "report": {"newPei": OTHER_PEI},
    }])
}

/// Notifications that had this outcome.
pub async fn outcomes(rig: &Rig, outcome: &str) -> f64 {
    let label = format!("outcome=\"{outcome}\"");
    rig.bridge
        .metric("pei_bridge_callback_requests_total", &[&label])
        .await
}
