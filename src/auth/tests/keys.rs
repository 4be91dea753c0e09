//! Keys that come, change and go while requests are answered.

use serde_json::{Value, json};

use super::*;
use crate::auth::testing::TempFile;

/// New tokens of a key are judged so before long, whatever the load of the machine.
async fn eventually(bridge: &Authenticator, key: &SigningKey, expected: Option<AuthError>) {
    let end = soon();
    while refusal(bridge, &token(key)).await != expected {
        assert!(Instant::now() < end, "still not {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn keys_rotate_without_a_restart_and_outlive_their_issuer() {
    let (old, new) = (
        SigningKey::new(Algorithm::ES256),
        SigningKey::new(Algorithm::RS256),
    );
    let server = IssuerServer::start().await;
    server.publish(&[&old]);
    let bridge = start(&quick(vec![published(&server, NAME)]));
    assert_eq!(refusal(&bridge, &token(&old)).await, None);
    assert_eq!(refusal(&bridge, &token(&new)).await, UNKNOWN);
    tokio::time::sleep(Duration::from_millis(250)).await;
    server.publish(&[&old, &new]);
    assert_eq!(refusal(&bridge, &token(&new)).await, None, "a new key");
    assert_eq!(refusal(&bridge, &token(&old)).await, None, "the old key");
    let remembered = token(&old);
    assert_eq!(refusal(&bridge, &remembered).await, None);

    tokio::time::sleep(Duration::from_millis(250)).await;
    for (status, answer) in [
        (500, json!({})),
        (200, json!({"keys": [1]})),
        (200, json!(1)),
    ] {
        server.answer("/jwks", status, &answer);
        // It may be the issuer's newest key: nobody can say.
        let stranger = SigningKey::new(Algorithm::ES256);
        assert_eq!(refusal(&bridge, &token(&stranger)).await, NO_KEYS);
        assert_eq!(refusal(&bridge, &token(&new)).await, None, "{answer}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    drop(server);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(refusal(&bridge, &token(&old)).await, None, "issuer down");
    assert_eq!(refusal(&bridge, &token(&new)).await, None, "issuer down");
    assert_eq!(refusal(&bridge, &remembered).await, None);
    let stranger = SigningKey::new(Algorithm::ES256);
    assert_eq!(refusal(&bridge, &token(&stranger)).await, NO_KEYS);
}

/// Ten minutes by the clock that everything here waits by, each second with a token that was never
/// seen before. The schedule is the default one.
#[tokio::test]
async fn an_issuer_that_is_down_for_ten_minutes_costs_no_request() {
    const OUTAGE: Duration = Duration::from_mins(10);
    let (key, new) = (
        SigningKey::new(Algorithm::ES256),
        SigningKey::new(Algorithm::ES256),
    );
    let server = IssuerServer::start().await;
    server.publish(&[&key]);
    let metrics = metrics();
    let auth = auth(vec![published(&server, NAME)]);
    let bridge = Authenticator::new(&auth, HashSet::new(), metrics.clone()).unwrap();
    assert_eq!(refusal(&bridge, &token(&key)).await, None);
    let remembered = token(&key);
    let address = server.address;
    drop(server);
    tokio::time::pause();
    let began = Instant::now();
    while began.elapsed() < OUTAGE {
        assert_eq!(refusal(&bridge, &token(&key)).await, None);
        assert_eq!(refusal(&bridge, &remembered).await, None);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    tokio::time::resume();
    // It was not merely left alone: the first refresh came after five minutes, then one every ten
    // seconds.
    let failed = metrics.issuer(NAME, "keys").failures();
    assert!((20..=60).contains(&failed), "{failed} refreshes");
    let server = IssuerServer::start_at(address).await;
    server.publish(&[&key, &new]);
    let end = Instant::now() + 2 * auth.keys_refresh_min;
    while refusal(&bridge, &token(&new)).await.is_some() {
        assert!(Instant::now() < end, "its new key is not found");
        assert_eq!(refusal(&bridge, &token(&key)).await, None);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_and_its_remembered_tokens_are_not_for_long() {
    let (old, new) = (
        SigningKey::new(Algorithm::ES256),
        SigningKey::new(Algorithm::ES256),
    );
    let server = IssuerServer::start().await;
    server.publish(&[&old]);
    let mut auth = quick(vec![published(&server, NAME)]);
    auth.token_lifetime = Duration::from_millis(400);
    let bridge = start(&auth);
    let remembered = token(&old);
    assert_eq!(refusal(&bridge, &remembered).await, None);
    server.publish(&[&new]);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(refusal(&bridge, &token(&new)).await, None);
    assert_eq!(refusal(&bridge, &token(&old)).await, UNKNOWN);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(refusal(&bridge, &remembered).await, UNKNOWN);
}

/// Its word, not a failure: nobody can be let in with a key that it does not stand for any more.
#[tokio::test]
async fn an_issuer_that_withdraws_all_its_keys_has_none() {
    let key = SigningKey::new(Algorithm::ES256);
    let mut for_others = SigningKey::new(Algorithm::ES256).jwk();
    for_others["use"] = json!("enc");
    for nothing in [json!({"keys": []}), json!({"keys": [for_others]})] {
        let server = IssuerServer::start().await;
        server.publish(&[&key]);
        let mut auth = quick(vec![published(&server, NAME)]);
        auth.keys_refresh = Duration::from_millis(50);
        let bridge = start(&auth);
        assert_eq!(refusal(&bridge, &token(&key)).await, None);
        server.answer("/jwks", 200, &nothing);
        eventually(&bridge, &key, UNKNOWN).await;
        server.publish(&[&key]);
        eventually(&bridge, &key, None).await;
    }
}

#[tokio::test]
async fn invented_key_ids_do_not_make_us_ask_more_often() {
    let key = SigningKey::new(Algorithm::ES256);
    let server = IssuerServer::start().await;
    server.publish(&[&key]);
    let mut auth = auth(vec![published(&server, NAME)]);
    auth.keys_refresh_min = Duration::from_mins(10);
    let bridge = start(&auth);
    assert_eq!(refusal(&bridge, &token(&key)).await, None);
    let flood = (0..200).map(|number| {
        let token = key.sign(&json!({"kid": format!("invented-{number}")}), &claims(NAME));
        let bridge = &bridge;
        async move { refusal(bridge, &token).await }
    });
    for outcome in futures_util::future::join_all(flood).await {
        assert_eq!(outcome, UNKNOWN);
    }
    assert_eq!(server.questions("/jwks").len(), 1);
    assert_eq!(refusal(&bridge, &token(&key)).await, None);
}

#[tokio::test]
async fn nobody_is_let_in_before_keys_are_there() {
    let key = SigningKey::new(Algorithm::ES256);
    let server = IssuerServer::start().await;
    let bridge = start(&quick(vec![published(&server, NAME)]));
    assert_eq!(refusal(&bridge, &token(&key)).await, NO_KEYS);
    // What is bad in itself is bad without keys too.
    let mut foreign = claims(NAME);
    foreign["aud"] = json!("other");
    let foreign = key.sign(&json!({}), &foreign);
    assert_eq!(
        refusal(&bridge, &foreign).await,
        Some(Reason::Audience.into())
    );
    server.publish(&[&key]);
    eventually(&bridge, &key, None).await;
}

#[tokio::test]
async fn keys_come_from_metadata_that_name_the_right_issuer() {
    let key = SigningKey::new(Algorithm::EdDSA);
    let server = IssuerServer::start().await;
    let metadata = "/oidc/.well-known/openid-configuration";
    server.publish(&[&key]);
    for (named, jwks_uri, works) in [
        (server.text_url("/oidc"), server.text_url("/jwks"), true),
        (server.text_url("/other"), server.text_url("/jwks"), false),
        (server.text_url("/oidc/"), server.text_url("/jwks"), false),
        (
            server.text_url("/oidc"),
            "http://192.0.2.1/jwks".to_owned(),
            false,
        ),
        (
            server.text_url("/oidc"),
            "file:///etc/jwks".to_owned(),
            false,
        ),
    ] {
        let about = json!({"issuer": named, "jwks_uri": jwks_uri});
        server.answer(metadata, 200, &about);
        let name = server.text_url("/oidc");
        let bridge = start(&quick(vec![issuer(&name)]));
        let token = key.sign(&json!({}), &claims(&name));
        let expected = if works { None } else { NO_KEYS };
        assert_eq!(refusal(&bridge, &token).await, expected, "{about}");
    }
}

#[tokio::test]
async fn keys_come_over_tls_from_whom_we_trust() {
    let key = SigningKey::new(Algorithm::PS256);
    let (server, certificate) = IssuerServer::start_tls().await;
    server.publish(&[&key]);
    let trusted = TempFile::new(&certificate);
    let (_, another) = IssuerServer::start_tls().await;
    let other = TempFile::new(&another);
    for (file, host, expected) in [
        (&trusted, "localhost", None),
        (&trusted, "127.0.0.1", NO_KEYS),
        (&other, "localhost", NO_KEYS),
    ] {
        let mut published = issuer(NAME);
        let url = format!("https://{host}:{}/jwks", server.address.port());
        published.jwks_uri = Some(IssuerUrl::parse(&url).unwrap());
        let mut auth = quick(vec![published]);
        auth.tls.ca_file = Some(file.0.clone());
        let outcome = refusal(&start(&auth), &token(&key)).await;
        assert_eq!(outcome, expected, "{host}");
    }
}

#[tokio::test]
async fn keys_come_from_a_file_that_is_read_again() {
    let (old, new) = (
        SigningKey::new(Algorithm::ES256),
        SigningKey::new(Algorithm::ES384),
    );
    let file = TempFile::new("");
    let write = |keys: &[&SigningKey]| {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        std::fs::write(&file.0, json!({ "keys": keys }).to_string()).unwrap();
    };
    let mut from_file = issuer(NAME);
    from_file.jwks_file = Some(file.0.clone());
    let auth = quick(vec![from_file]);
    let outcome = Authenticator::new(&auth, HashSet::new(), metrics());
    assert!(matches!(outcome, Err(AuthSetupError::Keys { .. })));
    write(&[&old]);
    let bridge = start(&auth);
    assert_eq!(refusal(&bridge, &token(&old)).await, None);
    write(&[&new]);
    eventually(&bridge, &new, None).await;
    assert_eq!(refusal(&bridge, &token(&old)).await, UNKNOWN);
    drop(file);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(refusal(&bridge, &token(&new)).await, None);
}
