//! Against a small real issuer on loopback.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::*;
use crate::auth::testing::{IssuerServer, TempFile, auth, encode, issuer, metrics, request};
use crate::auth::{AuthSetupError, Authenticator, Judge, KeptToken, unix_now};
use crate::config::{AuthMode, ClientTls, Issuer, SecretSource};

const PATH: &str = "/introspect";

fn asked(server: &IssuerServer, name: &str) -> Issuer {
    let mut issuer = issuer(name);
    issuer.introspection_endpoint = Some(server.url(PATH));
    issuer.client_id = Some("bridge 1".to_owned());
    issuer
}

/// The secret is read at start and its file not needed after that.
fn authenticator(mut issuers: Vec<Issuer>) -> Authenticator {
    let secret = TempFile::new("s3cret: with/odd +signs\n");
    for issuer in &mut issuers {
        issuer.client_secret = Some(SecretSource::File(secret.0.clone()));
    }
    let mut auth = auth(issuers);
    auth.mode = AuthMode::Introspection;
    Authenticator::new(&auth, HashSet::new(), metrics()).unwrap()
}

async fn ask(authenticator: &Authenticator, token: &str) -> Result<String, AuthError> {
    ask_within(authenticator, token, Duration::from_secs(5)).await
}

async fn ask_within(
    authenticator: &Authenticator,
    token: &str,
    patience: Duration,
) -> Result<String, AuthError> {
    let deadline = Instant::now() + patience;
    let parts = request(&[("authorization", &format!("Bearer {token}"))]);
    let caller = authenticator
        .caller(&parts, &KeptToken::default(), deadline)
        .await?;
    Ok(caller.consumer.as_str().to_owned())
}

fn active() -> Value {
    json!({"active": true, "client_id": "shop", "exp": unix_now() + 60, "aud": "device-identifier",
        "scope": "device-identifier:retrieve-type", "token_type": "Bearer"})
}

const SILENT: AuthError = AuthError::Unavailable(Missing::Introspection);

#[tokio::test]
async fn the_issuer_is_asked_once_and_knows_who_we_are() {
    let server = IssuerServer::start().await;
    server.answer(PATH, 200, &active());
    let bridge = authenticator(vec![asked(&server, "https://one.example")]);
    let many = (0..20).map(|_| ask(&bridge, "opaque+/token=="));
    for outcome in futures_util::future::join_all(many).await {
        assert_eq!(outcome.as_deref(), Ok("shop"));
    }
    assert_eq!(ask(&bridge, "opaque+/token==").await.as_deref(), Ok("shop"));
    let questions = server.questions(PATH);
    assert_eq!(questions.len(), 1);
    assert_eq!(
        questions[0].body,
        "token=opaque%2B%2Ftoken%3D%3D&token_type_hint=access_token"
    );
    let identity = "bridge%201:s3cret%3A%20with%2Fodd%20%2Bsigns";
    assert_eq!(
        questions[0].headers["authorization"],
        format!("Basic {}", STANDARD.encode(identity))
    );
    assert_eq!(
        questions[0].headers["content-type"],
        "application/x-www-form-urlencoded"
    );
}

#[tokio::test]
async fn what_the_answer_says_is_held_to_the_rules() {
    let server = IssuerServer::start().await;
    let bridge = authenticator(vec![asked(&server, "https://one.example")]);
    let now = unix_now();
    for (number, (name, value, outcome)) in [
        ("active", json!(false), Err(Reason::Inactive.into())),
        ("active", json!("true"), Err(SILENT)),
        ("active", json!(null), Err(SILENT)),
        ("aud", json!("device-identifier"), Ok("shop")),
        ("aud", json!(["other"]), Err(Reason::Audience.into())),
        ("aud", json!(null), Err(Reason::Audience.into())),
        ("iss", json!("https://one.example"), Ok("shop")),
        (
            "iss",
            json!("https://two.example"),
            Err(Reason::Issuer.into()),
        ),
        ("exp", json!(null), Ok("shop")),
        ("exp", json!(now - 60), Err(Reason::Expired.into())),
        ("nbf", json!(now + 60), Err(Reason::NotYetValid.into())),
        ("client_id", json!(null), Err(Reason::Consumer.into())),
        ("phone_number", json!("+34600000002"), Ok("shop")),
        (
            "phone_number",
            json!("34600000002"),
            Err(Reason::Device.into()),
        ),
        (
            "cnf",
            json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
            Err(Reason::Binding.into()),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut answer = active();
        answer[name] = value.clone();
        server.answer(PATH, 200, &answer);
        let outcome: Result<&str, AuthError> = outcome;
        let found = ask(&bridge, &format!("token-{number}")).await;
        assert_eq!(found.as_deref().map_err(|e| *e), outcome, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_refusal_is_remembered_for_a_while_and_silence_is_not() {
    let server = IssuerServer::start().await;
    let bridge = authenticator(vec![asked(&server, "https://one.example")]);
    server.answer(PATH, 200, &json!({"active": false}));
    for _ in 0..3 {
        assert_eq!(ask(&bridge, "a").await, Err(Reason::Inactive.into()));
    }
    assert_eq!(server.questions(PATH).len(), 1);
    for (status, answer) in [
        (500, json!({})),
        (401, json!({"error": "invalid_client"})),
        (302, json!({})),
        (200, json!({})),
        (200, json!([true])),
        (200, json!("<html>")),
    ] {
        server.answer(PATH, status, &answer);
        assert_eq!(ask(&bridge, "b").await, Err(SILENT), "{status} {answer}");
    }
    server.answer(PATH, 200, &active());
    assert_eq!(ask(&bridge, "b").await.as_deref(), Ok("shop"));
}

#[tokio::test]
async fn issuers_are_asked_in_order_and_all_must_be_heard_to_refuse() {
    let (one, two) = (IssuerServer::start().await, IssuerServer::start().await);
    let bridge = authenticator(vec![
        asked(&one, "https://one.example"),
        asked(&two, "https://two.example"),
    ]);
    one.answer(PATH, 200, &json!({"active": false}));
    two.answer(PATH, 200, &active());
    assert_eq!(ask(&bridge, "a").await.as_deref(), Ok("shop"));
    one.answer(PATH, 500, &json!({}));
    assert_eq!(ask(&bridge, "b").await.as_deref(), Ok("shop"));
    two.answer(PATH, 200, &json!({"active": false}));
    assert_eq!(ask(&bridge, "c").await, Err(SILENT));
    one.answer(PATH, 200, &json!({"active": false}));
    assert_eq!(ask(&bridge, "c").await, Err(Reason::Inactive.into()));
    one.answer(PATH, 200, &active());
    assert_eq!(ask(&bridge, "d").await.as_deref(), Ok("shop"));
    assert_eq!(two.questions(PATH).len(), 4, "not asked about d");
}

/// A token is a secret between its issuer and its consumer: where it says whose it is, nobody else
/// gets to see it.
#[tokio::test]
async fn a_token_that_names_its_issuer_is_shown_to_no_other() {
    let (one, two) = (IssuerServer::start().await, IssuerServer::start().await);
    let bridge = authenticator(vec![
        asked(&one, "https://one.example"),
        asked(&two, "https://two.example"),
    ]);
    let naming = |claims: Value| format!("{}.{}.c2ln", encode("{}"), encode(claims.to_string()));
    let by_two = naming(json!({"iss": "https://two.example", "jti": 1}));
    let by_two_again = naming(json!({"iss": "https://two.example", "jti": 2}));
    one.answer(PATH, 200, &active());
    two.answer(PATH, 200, &active());
    assert_eq!(ask(&bridge, &by_two).await.as_deref(), Ok("shop"));
    two.answer(PATH, 200, &json!({"active": false}));
    let refused = ask(&bridge, &by_two_again).await;
    assert_eq!(refused, Err(Reason::Inactive.into()));
    two.answer(PATH, 500, &json!({}));
    assert_eq!(ask(&bridge, &format!("{by_two}x")).await, Err(SILENT));
    assert_eq!(one.questions(PATH).len(), 0);
    // What names nobody of ours is anybody's.
    for claims in [
        json!({"iss": "https://three.example"}),
        json!({}),
        json!({"iss": ["https://two.example"]}),
    ] {
        let token = naming(claims);
        assert_eq!(ask(&bridge, &token).await.as_deref(), Ok("shop"), "{token}");
    }
    assert_eq!(one.questions(PATH).len(), 3);
}

/// An issuer that takes connections and says nothing, for as long as the listener is held.
async fn mute(name: &str) -> (Issuer, tokio::net::TcpListener) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut issuer = issuer(name);
    let url = format!("http://{}/", listener.local_addr().unwrap());
    issuer.introspection_endpoint = Some(IssuerUrl::parse(&url).unwrap());
    issuer.client_id = Some("bridge".to_owned());
    (issuer, listener)
}

/// Wherever it stands, and however many tokens wait for it.
#[tokio::test]
async fn an_issuer_that_hangs_keeps_nobody_from_the_others() {
    let server = IssuerServer::start().await;
    server.answer(PATH, 200, &active());
    let (hanging, _held) = mute("https://two.example").await;
    let bridge = authenticator(vec![
        hanging,
        asked(&server, "https://one.example"),
        mute("https://three.example").await.0,
    ]);
    let tokens: Vec<String> = (0..3 * MAX_QUESTIONS).map(|n| format!("t{n}")).collect();
    let many = tokens.iter().map(|token| ask(&bridge, token));
    for outcome in futures_util::future::join_all(many).await {
        assert_eq!(outcome.as_deref(), Ok("shop"));
    }
}

#[tokio::test]
async fn an_issuer_that_hangs_may_be_the_one_that_knows() {
    let server = IssuerServer::start().await;
    server.answer(PATH, 200, &json!({"active": false}));
    let (hanging, held) = mute("https://two.example").await;
    let bridge = authenticator(vec![hanging, asked(&server, "https://one.example")]);
    let hanging_up = async {
        tokio::time::sleep(2 * HEAD_START).await;
        drop(held);
    };
    let (outcome, ()) = tokio::join!(ask(&bridge, "a"), hanging_up);
    assert_eq!(outcome, Err(SILENT));
    assert_eq!(server.questions(PATH).len(), 1, "it was asked beside");
}

/// Each who waits holds a place among the requests in flight: one is enough to see whether it is well
/// again.
#[tokio::test]
async fn an_issuer_that_went_on_hanging_keeps_only_one_waiting() {
    let server = IssuerServer::start().await;
    server.answer(PATH, 200, &json!({"active": false}));
    let (hanging, _held) = mute("https://two.example").await;
    let bridge = authenticator(vec![hanging, asked(&server, "https://one.example")]);
    let patience = Duration::from_millis(1500);
    let first = ask_within(&bridge, "first", patience).await;
    assert_eq!(first, Err(AuthError::DeadlinePassed));
    let tokens: Vec<String> = (0..50).map(|n| format!("t{n}")).collect();
    let later = tokens.iter().map(|t| ask_within(&bridge, t, 2 * patience));
    let outcomes = futures_util::future::join_all(later).await;
    let waited = |it: &&Result<_, _>| **it == Err(AuthError::DeadlinePassed);
    assert_eq!(outcomes.iter().filter(waited).count(), 1);
    let silent = |it: &&Result<_, _>| **it == Err(SILENT);
    assert_eq!(outcomes.iter().filter(silent).count(), 49);
}

/// By all who ask, and at once.
#[tokio::test]
async fn an_issuer_that_is_well_again_is_heard() {
    let server = IssuerServer::start().await;
    let bridge = authenticator(vec![asked(&server, "https://one.example")]);
    assert_eq!(ask(&bridge, "a").await, Err(SILENT));
    server.answer(PATH, 200, &active());
    let many = ["a", "b", "c"].map(|token| ask(&bridge, token));
    for outcome in futures_util::future::join_all(many).await {
        assert_eq!(outcome.as_deref(), Ok("shop"));
    }
}

/// Whatever is invented costs a question each, and no more memory than is said.
#[tokio::test]
async fn a_flood_of_tokens_leaves_memory_bounded() {
    let server = IssuerServer::start().await;
    server.answer(PATH, 200, &json!({"active": false}));
    let bridge = authenticator(vec![asked(&server, "https://one.example")]);
    let Judge::Issuer(introspection) = &bridge.judge else {
        panic!("an issuer is asked");
    };
    let invented: Vec<String> = (0..REFUSAL_ENTRIES + 2000)
        .map(|number| format!("invented-{number}"))
        .collect();
    for some in invented.chunks(500) {
        let many = some.iter().map(|token| ask(&bridge, token));
        for outcome in futures_util::future::join_all(many).await {
            assert_eq!(outcome, Err(Reason::Inactive.into()));
        }
    }
    introspection.refused.run_pending_tasks();
    assert!(introspection.refused.entry_count() <= REFUSAL_ENTRIES);
    assert_eq!(introspection.flights.under_way(), 0);
    assert_eq!(bridge.known.entries(), 0);
}

/// Those who wait for an issuer that hangs do not all hold a connection to it.
#[tokio::test]
async fn only_so_many_questions_are_under_way() {
    let (hanging, listener) = mute("https://one.example").await;
    let bridge = Arc::new(authenticator(vec![hanging]));
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..4 * MAX_QUESTIONS {
        let bridge = bridge.clone();
        asking.spawn(async move { ask(&bridge, &format!("invented-{number}")).await });
    }
    let mut held = Vec::new();
    let patience = Duration::from_millis(500);
    while let Ok(accepted) = tokio::time::timeout(patience, listener.accept()).await {
        held.push(accepted.unwrap());
    }
    assert_eq!(held.len(), MAX_QUESTIONS);
}

#[tokio::test]
async fn the_endpoint_can_come_from_the_metadata() {
    let server = IssuerServer::start().await;
    let name = server.text_url("/oidc");
    let mut issuer = issuer(&name);
    issuer.client_id = Some("bridge".to_owned());
    let metadata = "/oidc/.well-known/openid-configuration";
    let endpoint = server.text_url(PATH);
    let about = json!({"issuer": name, "introspection_endpoint": endpoint});
    server.answer(metadata, 200, &about);
    server.answer(PATH, 200, &active());
    let bridge = authenticator(vec![issuer.clone()]);
    assert_eq!(ask(&bridge, "a").await.as_deref(), Ok("shop"));

    let about = json!({"issuer": "https://other.example", "introspection_endpoint": endpoint});
    server.answer(metadata, 200, &about);
    assert_eq!(ask(&authenticator(vec![issuer]), "a").await, Err(SILENT));
}

#[tokio::test]
async fn the_deadline_of_the_request_holds() {
    let (hanging, _held) = mute("https://one.example").await;
    let bridge = authenticator(vec![hanging]);
    let parts = request(&[("authorization", "Bearer a")]);
    let deadline = Instant::now() + Duration::from_millis(50);
    let outcome = bridge.caller(&parts, &KeptToken::default(), deadline).await;
    assert_eq!(outcome.err(), Some(AuthError::DeadlinePassed));
}

#[tokio::test]
async fn nobody_is_asked_without_saying_who_we_are() {
    let server = IssuerServer::start().await;
    for (id, secret) in [(true, false), (false, true), (false, false)] {
        let mut issuer = asked(&server, "https://one.example");
        issuer.client_id = issuer.client_id.filter(|_| id);
        issuer.client_secret = secret.then(|| SecretSource::Env("PATH".to_owned()));
        let mut auth = auth(vec![issuer]);
        auth.mode = AuthMode::Introspection;
        auth.tls = ClientTls::default();
        let outcome = Authenticator::new(&auth, HashSet::new(), metrics());
        assert!(matches!(outcome, Err(AuthSetupError::Identity { .. })));
    }
}
