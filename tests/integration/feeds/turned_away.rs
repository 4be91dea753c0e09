//! What the core would have told where there was no place for its connection.
//!
//! Whoever is turned away is turned away unheard, so that nobody knows whether it was the core.

use std::time::Duration;

use serde_json::{Value, json};

use super::consent;
use super::support::{
    EQUIPMENT, FIRST, OTHER_IMEISV, OTHER_PEI, SESSIONS, Wanted, callback, fed, live, losses,
    notification, path_of, subscriptions, until_live,
};
use crate::support::client::Connection;
use crate::support::raw::Raw;
use crate::support::{Rig, eventually};

/// Places of the listener.
const PLACES: usize = 2;

/// Takes all of them, with connections that have just brought something: these make way for nobody.
async fn occupy(rig: &Rig, feed: &str, nothing: impl Fn(&str) -> Value) -> Vec<Connection> {
    let path = path_of(rig, feed).await;
    let name = path.rsplit('/').next().unwrap();
    let ask = notification(&path, &nothing(name));
    let mut held = Vec::new();
    for _ in 0..PLACES {
        let mut connection = Connection::http2(callback(rig)).await;
        assert_eq!(connection.try_send(&ask).await.unwrap().status, 204);
        held.push(connection);
    }
    held
}

fn no_sessions(name: &str) -> Value {
    json!({"notifId": name, "eventNotifs": []})
}

fn nothing(_name: &str) -> Value {
    json!([])
}

#[tokio::test]
async fn an_end_that_could_not_be_told_is_asked_of_the_bsf() {
    let rig = fed(SESSIONS, |config| config.callback.max_connections = PLACES).await;
    let body = json!({"ipv6Address": "2001:db8:85a3:8d3:1:2:3:4"});
    rig.ask(&body).await.is_imei("490154203237518");
    let held = occupy(&rig, "sessions", no_sessions).await;
    rig.control.release_session(&format!("{FIRST}:1")).await;
    rig.ask(&body).await.is_error(404, "NOT_FOUND");
    drop(held);
    until_live(&rig.bridge, SESSIONS).await;
}

#[tokio::test]
async fn a_swap_that_could_not_be_told_shows_after_the_short_lifetime() {
    let rig = fed(EQUIPMENT, |config| {
        config.callback.max_connections = PLACES;
        config.cache.equipment = Duration::from_millis(100);
    })
    .await;
    let body = json!({"phoneNumber": "123456789"});
    rig.ask(&body).await.is_imei("490154203237518");
    let _held = occupy(&rig, "equipment", nothing).await;
    rig.control.swap_device(FIRST, OTHER_PEI).await;
    eventually("the other device shows", async || {
        let answer = rig.ask(&body).await;
        (answer.json()["imeisv"] == OTHER_IMEISV).then_some(())
    })
    .await;
}

/// The subscriptions hold: once their short time is over, what is asked for is believed for long.
#[tokio::test]
async fn a_refusal_that_could_not_be_told_shows_after_the_short_lifetime() {
    let rig = consent::covered_with(Duration::from_millis(100), |config| {
        config.callback.max_connections = PLACES;
    })
    .await;
    let held = occupy(&rig, "consent", nothing).await;
    rig.control.consent(FIRST, &consent::refused()).await;
    eventually("the refusal shows", async || {
        let answer = rig.ask(&consent::body()).await;
        (answer.status == 403).then_some(())
    })
    .await;
    assert!(losses(&rig.bridge, "consent").await > 0.5);
    drop(held);
    eventually("the feed is relied on again", async || {
        let labels = ["feed=\"consent\"", "state=\"trusted\""];
        let trusted = rig.bridge.metric("pei_bridge_feed_state", &labels).await;
        (trusted > 0.5).then_some(())
    })
    .await;
    assert_eq!(subscriptions(rig.control).await.len(), 1);
    rig.control.consent(FIRST, &consent::given()).await;
    rig.ask(&consent::body()).await.is_imei("490154203237518");
    assert!(live(&rig.bridge, "consent").await > 0.5);
}

/// Whoever reaches the listener can take the feeds away, and no more: the core is not asked for
/// everything again and again.
#[tokio::test]
async fn a_flood_makes_nobody_subscribe_again_and_again() {
    let both = Wanted {
        equipment: true,
        ..SESSIONS
    };
    let rig = fed(both, |config| config.callback.max_connections = PLACES).await;
    let _held = occupy(&rig, "sessions", no_sessions).await;
    for _ in 0..200 {
        let mut turned_away = Raw::connect(callback(&rig)).await;
        turned_away.until_end().await;
    }
    for feed in ["sessions", "equipment"] {
        let lost = losses(&rig.bridge, feed).await;
        assert!((0.5..12.0).contains(&lost), "{feed}: {lost}");
    }
    rig.ask(&json!({"phoneNumber": "123456789"}))
        .await
        .is_imei("490154203237518");
}
