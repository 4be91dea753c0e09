//! Notifications with tokens of the NRF.

use std::path::PathBuf;

use http::Method;
use pei_bridge::config::Config;
use serde_json::{Value, json};
use simcore::{Options, Simcore};

use super::support::{
    EQUIPMENT, FIRST, OTHER_IMEISV, OTHER_PEI, control, feed, notification, outcomes, path_of,
    post, report, settings, until_live,
};
use crate::support::control::Control;
use crate::support::process::file;
use crate::support::{Bridge, Rig, config};

const SCOPE: &str = "nef-callback";

async fn core() -> (Simcore, Control) {
    let core = Simcore::start(Options::default()).await.unwrap();
    let control = Control(core.control_addr());
    (core, control)
}

/// The keys of a core's NRF.
async fn keys(of: Control) -> String {
    let keys = control(of, Method::GET, "/sim/nrf/jwks", &Value::Null).await;
    keys.to_string()
}

/// A bridge that asks for tokens by the keys in this file.
async fn checking(keys: PathBuf, change: impl FnOnce(&mut Config)) -> Rig {
    let (core, of_core) = core().await;
    checking_at(core, of_core, keys, change).await
}

async fn checking_at(
    core: Simcore,
    of_core: Control,
    keys: PathBuf,
    change: impl FnOnce(&mut Config),
) -> Rig {
    let mut config = config(&[core.core_addr()]);
    feed(&mut config, EQUIPMENT);
    config.callback.nrf_keys_file = Some(keys);
    change(&mut config);
    let rig = Rig {
        bridge: Bridge::start(&config),
        control: of_core,
        core,
    };
    until_live(&rig.bridge, EQUIPMENT).await;
    rig
}

/// The first subscriber's device, as long as nobody told of another one.
async fn before(rig: &Rig) {
    let body = json!({"phoneNumber": "123456789"});
    rig.ask(&body).await.is_imei("490154203237518");
}

/// Whether a notification with this token is taken.
async fn is_taken(rig: &Rig, audience: &str, scope: &str) -> bool {
    // What is refused may have told something: the feed begins anew.
    until_live(&rig.bridge, EQUIPMENT).await;
    let (taken, refused) = (
        outcomes(rig, "taken").await,
        outcomes(rig, "unauthorized").await,
    );
    let shown = json!({"notificationToken": {"audience": audience, "scope": scope}});
    settings(rig.control, &shown).await;
    rig.control.swap_device(FIRST, OTHER_PEI).await;
    let is_taken = outcomes(rig, "taken").await > taken + 0.5;
    assert_ne!(
        is_taken,
        outcomes(rig, "unauthorized").await > refused + 0.5
    );
    rig.control
        .swap_device(FIRST, "imeisv-4901542032375180")
        .await;
    is_taken
}

#[tokio::test]
async fn a_notification_without_a_token_of_the_nrf_is_refused() {
    let (core, of_core) = core().await;
    let rig = checking_at(core, of_core, file(".json", &keys(of_core).await), |_| {}).await;
    let path = path_of(&rig, "equipment").await;
    before(&rig).await;
    assert_eq!(post(&rig, &notification(&path, &report())).await, 401);
    for token in [
        "a.b.c".to_owned(),
        of_core.token("client_id=x&scope=y").await,
    ] {
        until_live(&rig.bridge, EQUIPMENT).await;
        let path = path_of(&rig, "equipment").await;
        let ask = notification(&path, &report()).bearer(&token);
        assert_eq!(post(&rig, &ask).await, 401);
    }
    before(&rig).await;
    // A name that nobody gave is looked at first.
    let wrong = notification("/callback/equipment/0-0", &report());
    assert_eq!(post(&rig, &wrong).await, 404);
}

/// Who we are by type is what our profile and our questions say.
#[tokio::test]
async fn a_token_is_for_us_by_type_or_instance() {
    let id = "6d9f4a1e-3c52-4c0b-9c6f-1f1f7e0c2a11";
    for (nf_type, requester, audience, taken) in [
        ("NEF", "NEF", "AMF", false),
        ("NEF", "NEF", "NEF", true),
        ("AF", "AF", "NEF", false),
        ("AF", "AF", "AF", true),
        ("NEF", "AF", "AF", true),
        ("NEF", "NEF", id, true),
        ("NEF", "NEF", "6d9f4a1e-3c52-4c0b-9c6f-1f1f7e0c2a12", false),
    ] {
        let (core, of_core) = core().await;
        let keys = file(".json", &keys(of_core).await);
        let rig = checking_at(core, of_core, keys, |config| {
            config.core.nf_instance_id = Some(id.parse().unwrap());
            nf_type.clone_into(&mut config.core.registration.nf_type);
            requester.clone_into(&mut config.core.discovery.requester_nf_type);
        })
        .await;
        assert_eq!(is_taken(&rig, audience, SCOPE).await, taken, "{audience}");
    }
}

#[tokio::test]
async fn a_scope_is_asked_for_where_it_is_configured() {
    let (core, of_core) = core().await;
    let keys = file(".json", &keys(of_core).await);
    let rig = checking_at(core, of_core, keys, |config| {
        config.callback.nrf_token_scope = Some(SCOPE.to_owned());
    })
    .await;
    for (scope, taken) in [
        ("nnef-other", false),
        (&format!("nnef-other {SCOPE}"), true),
        (&format!("{SCOPE}-more"), false),
        (SCOPE, true),
    ] {
        assert_eq!(is_taken(&rig, "NEF", scope).await, taken, "{scope}");
    }
}

#[tokio::test]
async fn new_keys_of_the_nrf_are_known_when_they_are_needed() {
    let (_other_core, of_other) = core().await;
    let path = file(".json", &keys(of_other).await);
    let rig = checking(path.clone(), |_| {}).await;
    assert!(!is_taken(&rig, "NEF", SCOPE).await);
    std::fs::write(&path, keys(rig.control).await).unwrap();
    assert!(is_taken(&rig, "NEF", SCOPE).await);
    // A file that cannot be used changes nothing.
    std::fs::write(&path, "{").unwrap();
    assert!(is_taken(&rig, "NEF", SCOPE).await);
    let body = json!({"phoneNumber": "123456789"});
    rig.control.swap_device(FIRST, OTHER_PEI).await;
    assert_eq!(rig.ask(&body).await.json()["imeisv"], OTHER_IMEISV);
}
