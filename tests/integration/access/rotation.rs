//! Keys come and go, and so do issuers: no restart, no request lost.

use std::time::Duration;

use pei_bridge::config::Config;
use serde_json::{Value, json};

use super::keys::{Publisher, SigningKey, claims, jwks};
use super::support::guarded;
use crate::support::client::Ask;
use crate::support::{Rig, eventually};

const OFTEN: Duration = Duration::from_millis(50);
const NEVER: Duration = Duration::from_hours(1);

fn published(config: &mut Config, by: &Publisher, refresh: Duration, refresh_min: Duration) {
    config.auth.issuers = vec![by.issuer()];
    config.auth.keys_refresh = refresh;
    config.auth.keys_refresh_min = refresh_min;
}

/// With a token that was never shown before.
async fn status(rig: &Rig, key: &SigningKey) -> u16 {
    let answer = rig
        .bridge
        .send(&Ask::any().bearer(&key.sign(&claims())))
        .await;
    answer.status
}

async fn until(what: &str, rig: &Rig, key: &SigningKey, expected: u16) {
    eventually(what, async || {
        (status(rig, key).await == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_new_key_is_found_and_an_old_one_stays_good() {
    let (old, new) = (SigningKey::rsa(), SigningKey::ecdsa());
    let publisher = Publisher::start(&jwks(&[&old])).await;
    let rig = guarded(|config| published(config, &publisher, NEVER, OFTEN)).await;
    until("the keys are there", &rig, &old, 200).await;
    assert_eq!(status(&rig, &new).await, 401);
    publisher.publish(&jwks(&[&old, &new]));
    until("the new key is found", &rig, &new, 200).await;
    assert_eq!(status(&rig, &old).await, 200);
}

#[tokio::test]
async fn a_key_that_is_withdrawn_is_refused() {
    let (old, new) = (SigningKey::ecdsa(), SigningKey::ecdsa());
    let publisher = Publisher::start(&jwks(&[&old, &new])).await;
    let rig = guarded(|config| published(config, &publisher, OFTEN, OFTEN)).await;
    until("the keys are there", &rig, &old, 200).await;
    publisher.publish(&jwks(&[&new]));
    until("the old key is gone", &rig, &old, 401).await;
    assert_eq!(status(&rig, &new).await, 200);
}

/// An issuer that is down, or talks nonsense, takes nothing away from what is known of it.
#[tokio::test]
async fn an_issuer_that_is_down_costs_no_request() {
    let key = SigningKey::ecdsa();
    let publisher = Publisher::start(&jwks(&[&key])).await;
    let rig = guarded(|config| published(config, &publisher, OFTEN, OFTEN)).await;
    until("the keys are there", &rig, &key, 200).await;
    let unknown = SigningKey::ecdsa();
    let nonsense = [
        json!("nonsense"),
        json!({}),
        json!({"keys": "none"}),
        json!([]),
    ];
    for page in nonsense.map(Some).into_iter().chain([None]) {
        match &page {
            Some(page) => publisher.publish(page),
            None => publisher.shut(),
        }
        // Until it has tried and failed more than once.
        let before = publisher.looks();
        eventually("it tries again", async || {
            assert_eq!(status(&rig, &key).await, 200, "{page:?}");
            (publisher.looks() >= before + 3).then_some(())
        })
        .await;
        // Its newest key, for all that anybody can tell.
        assert_eq!(status(&rig, &unknown).await, 503, "{page:?}");
        assert_eq!(status(&rig, &key).await, 200, "{page:?}");
    }
    publisher.publish(&jwks(&[&key, &unknown]));
    until("it is back", &rig, &unknown, 200).await;
}

#[tokio::test]
async fn without_keys_nobody_is_judged() {
    let key = SigningKey::ecdsa();
    let publisher = Publisher::start(&Value::Null).await;
    publisher.shut();
    let rig = guarded(|config| published(config, &publisher, OFTEN, OFTEN)).await;
    let answer = rig
        .bridge
        .send(&Ask::any().bearer(&key.sign(&claims())))
        .await;
    answer.is_error(503, "UNAVAILABLE");
    // What is wrong by itself needs no key to be refused.
    let answer = rig.bridge.send(&Ask::any()).await;
    answer.is_error(401, "UNAUTHENTICATED");
    publisher.publish(&jwks(&[&key]));
    until("the issuer is there", &rig, &key, 200).await;
}

/// Invented key ids cannot be used to make us flood the issuer.
#[tokio::test]
async fn invented_keys_do_not_make_us_ask() {
    let key = SigningKey::ecdsa();
    let publisher = Publisher::start(&jwks(&[&key])).await;
    let rig = guarded(|config| published(config, &publisher, NEVER, NEVER)).await;
    until("the keys are there", &rig, &key, 200).await;
    let before = publisher.looks();
    for _ in 0..100 {
        assert_eq!(status(&rig, &SigningKey::ecdsa()).await, 401);
    }
    assert!(publisher.looks() <= before + 1, "{}", publisher.looks());
}
