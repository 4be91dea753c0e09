//! Who may tell us anything.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::support::{
    EQUIPMENT, FIRST, OTHER_IMEISV, OTHER_PEI, SESSIONS, Wanted, control, fed, feed, losses,
    settings, subscriptions, until_live,
};
use crate::support::client::{Ask, Connection};
use crate::support::process::file;
use crate::support::{Rig, eventually};

const BOTH: Wanted = Wanted {
    equipment: true,
    ..SESSIONS
};

fn callback(rig: &Rig) -> SocketAddr {
    rig.bridge.callback.unwrap()
}

/// What the core was told to post to.
async fn path_of(rig: &Rig, feed: &str) -> String {
    let marker = format!("/callback/{feed}/");
    let all = subscriptions(rig.control).await;
    let mut uris = all.iter().map(|one| one["callback"].as_str().unwrap());
    let uri = uris.find(|uri| uri.contains(&marker)).unwrap();
    uri[uri.find("/callback/").unwrap()..].to_owned()
}

async fn post(rig: &Rig, ask: &Ask) -> u16 {
    let mut connection = Connection::http2(callback(rig)).await;
    connection.try_send(ask).await.unwrap().status
}

fn notification(path: &str, body: &Value) -> Ask {
    Ask::identifier(body).path(path)
}

fn report() -> Value {
    json!([{
        "referenceId": 1, "eventType": "CHANGE_OF_SUPI_PEI_ASSOCIATION",
        "timeStamp": "2026-06-15T08:00:00Z", "gpsi": "msisdn-123456789",
        "report": {"newPei": OTHER_PEI},
    }])
}

async fn outcomes(rig: &Rig, outcome: &str) -> f64 {
    let label = format!("outcome=\"{outcome}\"");
    rig.bridge
        .metric("pei_bridge_callback_requests_total", &[&label])
        .await
}

#[tokio::test]
async fn a_name_that_was_not_given_is_nobodys() {
    let rig = fed(BOTH, |_| {}).await;
    let right = path_of(&rig, "equipment").await;
    let name = right.rsplit('/').next().unwrap();
    let (place, secret) = name.split_once('-').unwrap();
    let flipped = if secret.starts_with('0') { "1" } else { "0" };
    let before = outcomes(&rig, "unknown").await;
    let wrong = [
        "/".to_owned(),
        "/callback/equipment/".to_owned(),
        format!("/callback/sessions/{name}"),
        format!("/callback/equipment/{place}-{flipped}{}", &secret[1..]),
        format!("/callback/equipment/{place}-"),
        format!("/callback/equipment/{place}-{secret}0"),
        format!("/callback/equipment/{secret}"),
        format!("/equipment/{name}"),
        format!("{right}/more"),
    ];
    for path in &wrong {
        assert_eq!(
            post(&rig, &notification(path, &report())).await,
            404,
            "{path}"
        );
    }
    let after = outcomes(&rig, "unknown").await;
    assert!((after - before - 9.0).abs() < 0.1, "{before} {after}");
    rig.ask(&json!({"phoneNumber": "123456789"}))
        .await
        .is_imei("490154203237518");
    // The name itself is good.
    assert_eq!(post(&rig, &notification(&right, &report())).await, 204);
    let answer = rig.ask(&json!({"phoneNumber": "123456789"})).await;
    assert_eq!(answer.json()["imeisv"], OTHER_IMEISV);
}

#[tokio::test]
async fn what_is_no_notification_is_refused() {
    let rig = fed(BOTH, |_| {}).await;
    let path = path_of(&rig, "sessions").await;
    let ask = notification(&path, &json!({}));
    assert_eq!(post(&rig, &ask.clone().method(Method::GET)).await, 405);
    let text = ask
        .clone()
        .without("content-type")
        .header("content-type", "text/plain");
    assert_eq!(post(&rig, &text).await, 415);
    assert!(losses(&rig.bridge, "sessions").await < 0.5);
    let answered = post(&rig, &ask.body(Bytes::from(vec![b' '; 2 << 20]))).await;
    assert_eq!(answered, 413);
}

/// Something was told and is lost: nothing of this SMF is believed until it reported anew.
#[tokio::test]
async fn what_cannot_be_understood_is_a_gap() {
    let rig = fed(SESSIONS, |_| {}).await;
    for (round, body) in [
        json!({"notifId": "another", "eventNotifs": []}),
        json!({"eventNotifs": []}),
        json!({"notifId": "?", "eventNotifs": [{"event": "PDU_SES_REL"}]}),
    ]
    .into_iter()
    .enumerate()
    {
        let path = path_of(&rig, "sessions").await;
        assert_eq!(post(&rig, &notification(&path, &body)).await, 400);
        eventually("the gap shows", async || {
            let lost = losses(&rig.bridge, "sessions").await;
            (lost > f64::from(u8::try_from(round).unwrap()) + 0.5).then_some(())
        })
        .await;
        until_live(&rig.bridge, SESSIONS).await;
        // The name is given once.
        assert_eq!(post(&rig, &notification(&path, &body)).await, 404);
    }
}

/// The session is the one that has the address, where nobody says whose it is.
#[tokio::test]
async fn an_end_without_a_name_is_known_by_its_address() {
    let rig = fed(SESSIONS, |_| {}).await;
    let body = json!({"ipv6Address": "2001:db8:85a3:8d3:1:2:3:4"});
    rig.ask(&body).await.is_imei("490154203237518");
    // The BSF would still answer.
    rig.control
        .fault("GetPCFBindings", &json!({"status": 404}))
        .await;
    let path = path_of(&rig, "sessions").await;
    let name = path.rsplit('/').next().unwrap();
    let end = json!({"notifId": name, "eventNotifs": [{
        "event": "PDU_SES_REL", "timeStamp": jiff::Timestamp::now(),
        "ipv6Prefixes": ["2001:db8:85a3:8d3::/64"],
    }]});
    assert_eq!(post(&rig, &notification(&path, &end)).await, 204);
    rig.ask(&body).await.is_error(404, "NOT_FOUND");
    assert!(losses(&rig.bridge, "sessions").await < 0.5);
    // Of this one nobody knows which it is.
    let end = json!({"notifId": name, "eventNotifs": [{
        "event": "PDU_SES_REL", "timeStamp": jiff::Timestamp::now(), "ipv4Addr": "10.99.0.1",
    }]});
    assert_eq!(post(&rig, &notification(&path, &end)).await, 204);
    eventually("the gap shows", async || {
        (losses(&rig.bridge, "sessions").await > 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_of_the_nrf_is_asked_for_where_it_is_configured() {
    let core = simcore::Simcore::start(simcore::Options::default())
        .await
        .unwrap();
    let of_core = crate::support::control::Control(core.control_addr());
    let keys = control(of_core, Method::GET, "/sim/nrf/jwks", &Value::Null).await;
    let keys = file(".json", &keys.to_string());
    let mut config = crate::support::config(&[core.core_addr()]);
    feed(&mut config, EQUIPMENT);
    config.callback.nrf_keys_file = Some(keys);
    let rig = Rig {
        bridge: crate::support::Bridge::start(&config),
        control: of_core,
        core,
    };
    until_live(&rig.bridge, EQUIPMENT).await;
    let path = path_of(&rig, "equipment").await;
    for ask in [
        notification(&path, &report()),
        notification(&path, &report()).bearer("a.b.c"),
        notification(&path, &report()).bearer(&of_core.token("client_id=x&scope=y").await),
    ] {
        assert_eq!(post(&rig, &ask).await, 401);
    }
    assert!(outcomes(&rig, "unauthorized").await > 2.5);
    let body = json!({"phoneNumber": "123456789"});
    rig.ask(&body).await.is_imei("490154203237518");
    for (audience, taken) in [("AMF", false), ("NEF", true)] {
        // What is refused may have told something: the feed begins anew.
        until_live(&rig.bridge, EQUIPMENT).await;
        let token = json!({"notificationToken": {"audience": audience, "scope": "nef-callback"}});
        settings(rig.control, &token).await;
        rig.control.swap_device(FIRST, OTHER_PEI).await;
        let shown = rig.ask(&body).await.json()["imeisv"] == OTHER_IMEISV;
        assert_eq!(shown, taken, "{audience}");
        if !taken {
            rig.control
                .swap_device(FIRST, "imeisv-4901542032375180")
                .await;
        }
    }
}
