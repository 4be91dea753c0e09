//! The whole room against small real issuers on loopback.

mod keys;

use std::collections::HashSet;

use serde_json::{Value, json};

use super::testing::{IssuerServer, SigningKey, auth, issuer, metrics, request};
use super::*;
use crate::config::{Algorithm, Auth, AuthMode, DpopMode, Issuer, IssuerUrl};

fn published(server: &IssuerServer, name: &str) -> Issuer {
    let mut issuer = issuer(name);
    issuer.jwks_uri = Some(server.url("/jwks"));
    issuer
}

fn quick(issuers: Vec<Issuer>) -> Auth {
    let mut auth = auth(issuers);
    auth.keys_refresh_min = Duration::from_millis(200);
    auth
}

fn start(auth: &Auth) -> Authenticator {
    Authenticator::new(auth, HashSet::new(), metrics()).unwrap()
}

fn claims(name: &str) -> Value {
    json!({"iss": name, "aud": "device-identifier", "client_id": "shop",
        "exp": unix_now() + 60, "iat": unix_now(), "jti": uuid::Uuid::new_v4().to_string(),
        "scope": "device-identifier:retrieve-type"})
}

fn token(key: &SigningKey) -> String {
    key.sign(&json!({}), &claims(NAME))
}

const NAME: &str = "https://issuer.example";

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

async fn ask(authenticator: &Authenticator, token: &str) -> Result<Arc<Caller>, AuthError> {
    let parts = request(&[("authorization", &format!("Bearer {token}"))]);
    authenticator
        .caller(&parts, &KeptToken::default(), soon())
        .await
}

async fn refusal(authenticator: &Authenticator, token: &str) -> Option<AuthError> {
    ask(authenticator, token).await.err()
}

const UNKNOWN: Option<AuthError> = Some(AuthError::Unauthenticated(Reason::UnknownKey));
const NO_KEYS: Option<AuthError> = Some(AuthError::Unavailable(Missing::Keys));

#[tokio::test]
async fn headers_make_or_break_it() {
    let key = SigningKey::new(Algorithm::ES256);
    let server = IssuerServer::start().await;
    server.publish(&[&key]);
    let bridge = start(&auth(vec![published(&server, NAME)]));
    let token = token(&key);
    let bearer = format!("Bearer {token}");
    let padded = format!("Bearer {token}{}", "A".repeat(64 * 1024));
    for (headers, reason) in [
        (&[("authorization", bearer.as_str())][..], None),
        (&[], Some(Reason::Missing)),
        (
            &[("authorization", &bearer), ("authorization", &bearer)],
            Some(Reason::Several),
        ),
        (
            &[("authorization", &format!("DPoP {token}"))],
            Some(Reason::Scheme),
        ),
        (
            &[("authorization", &format!("Basic {token}"))],
            Some(Reason::Scheme),
        ),
        (&[("authorization", &token)], Some(Reason::Malformed)),
        (&[("authorization", &padded)], Some(Reason::TooLong)),
    ] {
        let outcome = bridge
            .caller(&request(headers), &KeptToken::default(), soon())
            .await;
        assert_eq!(outcome.err(), reason.map(AuthError::from));
    }
    let mut in_query = request(&[]);
    in_query.uri = format!("http://127.0.0.1/p?access_token={token}")
        .parse()
        .unwrap();
    let outcome = bridge
        .caller(&in_query, &KeptToken::default(), soon())
        .await;
    assert_eq!(outcome.err(), Some(Reason::Missing.into()));
}

#[tokio::test]
async fn a_remembered_token_ends_when_it_ends() {
    let key = SigningKey::new(Algorithm::ES256);
    let server = IssuerServer::start().await;
    server.publish(&[&key]);
    let mut auth = auth(vec![published(&server, NAME)]);
    auth.leeway = Duration::ZERO;
    let bridge = start(&auth);
    let mut brief = claims(NAME);
    brief["exp"] = json!(unix_now() + 2);
    let brief = key.sign(&json!({}), &brief);
    assert_eq!(refusal(&bridge, &brief).await, None);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(refusal(&bridge, &brief).await, Some(Reason::Expired.into()));
}

#[tokio::test]
async fn a_bound_token_needs_its_proof_every_time() {
    let key = SigningKey::new(Algorithm::ES256);
    let holder = SigningKey::new(Algorithm::ES256);
    let server = IssuerServer::start().await;
    server.publish(&[&key]);
    let mut auth = auth(vec![published(&server, NAME)]);
    auth.dpop.mode = DpopMode::Optional;
    auth.dpop.public_url = Some("http://127.0.0.1".to_owned().try_into().unwrap());
    let bridge = start(&auth);
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(holder.jwk()).unwrap();
    let thumbprint = jwk
        .thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256)
        .unwrap();
    let mut bound = claims(NAME);
    bound["cnf"] = json!({ "jkt": thumbprint });
    let bound = key.sign(&json!({}), &bound);
    let authorization = format!("DPoP {bound}");
    for _ in 0..3 {
        let mut claims = json!({
            "jti": uuid::Uuid::new_v4().to_string(), "htm": "POST", "iat": unix_now(),
            "htu": "http://127.0.0.1/device-identifier/v0.1.0/retrieve-type",
        });
        let digest = credentials::sha256(bound.as_bytes());
        claims["ath"] = json!(testing::encode(digest));
        let header = json!({"typ": "dpop+jwt", "kid": null, "jwk": holder.jwk()});
        let proof = holder.sign(&header, &claims);
        let parts = request(&[("authorization", &authorization), ("dpop", &proof)]);
        let caller = bridge
            .caller(&parts, &KeptToken::default(), soon())
            .await
            .unwrap();
        assert_eq!(caller.consumer.as_str(), "shop");
        let again = bridge.caller(&parts, &KeptToken::default(), soon()).await;
        assert_eq!(again.err(), Some(Reason::ProofReplayed.into()));
    }
    assert_eq!(refusal(&bridge, &bound).await, Some(Reason::Binding.into()));
    assert_eq!(refusal(&bridge, &token(&key)).await, None, "one not bound");
    assert_eq!(
        bridge.challenge(None),
        "Bearer, DPoP algs=\"RS256 PS256 ES256 ES384 EdDSA\""
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let refused = |change: fn(&mut Auth)| {
        let mut auth = auth(vec![issuer(NAME)]);
        change(&mut auth);
        Authenticator::new(&auth, HashSet::new(), metrics())
            .err()
            .unwrap()
            .to_string()
    };
    let twice = refused(|auth| auth.issuers.push(issuer(NAME)));
    assert!(twice.contains("twice"), "{twice}");
    let plain = refused(|auth| auth.issuers = vec![issuer("http://issuer.example")]);
    assert!(plain.contains("https"), "{plain}");
    let no_url = refused(|auth| auth.issuers = vec![issuer("operator")]);
    assert!(no_url.contains("jwks_uri"), "{no_url}");
    let trust = refused(|auth| auth.tls.ca_file = Some("/nowhere".into()));
    assert!(trust.contains("auth.tls"), "{trust}");
}

#[tokio::test]
async fn with_mode_none_everybody_is_anonymous() {
    let auth = Auth {
        mode: AuthMode::None,
        ..Auth::default()
    };
    let caller = start(&auth)
        .caller(&request(&[]), &KeptToken::default(), soon())
        .await
        .unwrap();
    assert_eq!(caller.consumer.as_str(), "anonymous");
    assert!(
        caller
            .scopes
            .allows("device-identifier:retrieve-identifier")
    );
}

/// A token of the simulated core's endpoint, which takes what makes it good or bad in the form.
async fn simulated(core: &simcore::Simcore, form: &str) -> String {
    let url = format!("http://{}/oidc/token", core.control_addr());
    let url = IssuerUrl::parse(&url).unwrap();
    let form = format!("grant_type=client_credentials&client_id=shop&{form}");
    let answer = setup::client(&Auth::default())
        .unwrap()
        .post_form(&url, None, form)
        .await;
    let answer: Value = serde_json::from_slice(&answer.unwrap()).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tokens_of_the_simulated_core_are_what_they_were_asked_to_be() {
    let core = simcore::Simcore::start(simcore::Options::default())
        .await
        .unwrap();
    let name = format!("http://{}/oidc", core.control_addr());
    let bridge = start(&auth(vec![issuer(&name)]));
    let scope = "device-identifier:retrieve-identifier";
    for alg in ["RS256", "ES256"] {
        let token = simulated(&core, &format!("alg={alg}&scope={scope}")).await;
        let caller = ask(&bridge, &token).await.unwrap();
        assert_eq!(caller.consumer.as_str(), "shop");
        assert!(caller.scopes.allows(scope));
        assert_eq!(caller.subject, None);
    }
    for (hint, subject) in [
        ("tel:%2B34600000002", "PhoneNumber(***)"),
        ("ipport:84.125.93.10:59765", "Ipv4(***)"),
    ] {
        let token = simulated(&core, &format!("login_hint={hint}")).await;
        let caller = ask(&bridge, &token).await.unwrap();
        assert_eq!(format!("{:?}", caller.subject.as_ref().unwrap()), subject);
        assert!(!caller.scopes.allows(scope));
    }
    for (form, reason) in [
        ("expires_in=-60", Reason::Expired),
        ("not_before=600", Reason::NotYetValid),
        ("issuer=https://other.example", Reason::Issuer),
        ("audience=other", Reason::Audience),
        ("key=unknown", Reason::UnknownKey),
    ] {
        let token = simulated(&core, form).await;
        assert_eq!(
            refusal(&bridge, &token).await,
            Some(reason.into()),
            "{form}"
        );
    }
}
