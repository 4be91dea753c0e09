//! Proof of possession (RFC 9449): a token that is bound to a key is worth nothing without a proof,
//! over TLS in both protocols.

use pei_bridge::config::{Config, ConsentMode, DpopMode};
use serde_json::json;

use super::keys::{SigningKey, claims, issuer_with};
use super::support::guarded;
use crate::support::Rig;
use crate::support::client::{Ask, Connection, RETRIEVE_IDENTIFIER};
use crate::tls::authority::{Authority, Folder};
use crate::tls::support::{H2, HTTP1, Offer, server_tls};

/// As consumers know it, which is not where it listens.
const PUBLIC: &str = "https://api.operator.example";

fn url() -> String {
    format!("{PUBLIC}{RETRIEVE_IDENTIFIER}")
}

fn bound(config: &mut Config, issuer: &SigningKey) {
    config.auth.issuers = vec![issuer_with(&[issuer])];
    config.auth.dpop.mode = DpopMode::Optional;
    config.auth.dpop.public_url = Some(PUBLIC.to_owned().try_into().unwrap());
    config.consent.mode = ConsentMode::None;
}

/// A token of this consumer that is bound to a key.
fn token(issuer: &SigningKey, consumer: &str, holder: &SigningKey) -> String {
    let mut claims = claims();
    claims["client_id"] = json!(consumer);
    claims["cnf"] = json!({ "jkt": holder.thumbprint() });
    issuer.sign(&claims)
}

fn with(token: &str, proof: String) -> Ask {
    Ask::any()
        .header("authorization", format!("DPoP {token}"))
        .header("dpop", proof)
}

#[tokio::test]
async fn a_bound_token_is_good_with_its_proof_alone() {
    let (issuer, holder, thief) = (
        SigningKey::ecdsa(),
        SigningKey::ecdsa(),
        SigningKey::ecdsa(),
    );
    let (authority, folder) = (Authority::new("Consumers' trust"), Folder::new());
    let rig = guarded(|config| {
        bound(config, &issuer);
        config.api.tls = Some(server_tls(&folder, &authority.issue()));
    })
    .await;
    let token = token(&issuer, "shop", &holder);
    for alpn in [HTTP1, H2] {
        let offer = Offer {
            alpn: &[alpn],
            ..Offer::new(&authority)
        };
        let stream = offer.connect(rig.bridge.api).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn));
        let mut connection = Connection::tls(stream, rig.bridge.api).await.unwrap();
        for _ in 0..3 {
            let ask = with(&token, holder.proof(&token, &url()));
            connection.send(&ask).await.is_imei("490154203237518");
            let replayed = connection.send(&ask).await;
            replayed.is_error(401, "UNAUTHENTICATED");
        }
        let elsewhere = format!("https://evil.example{RETRIEVE_IDENTIFIER}");
        let here = format!("https://{}{RETRIEVE_IDENTIFIER}", rig.bridge.api);
        let proof = |url: &str| with(&token, holder.proof(&token, url));
        for bad in [
            Ask::any().bearer(&token),
            Ask::any().header("authorization", format!("DPoP {token}")),
            with(&token, thief.proof(&token, &url())),
            with(&token, holder.proof("another token", &url())),
            proof(&elsewhere),
            proof(&here),
            proof(&url().replace("https", "http")),
            proof(&url()).header("dpop", holder.proof(&token, &url())),
            Ask::device_type(&json!({"phoneNumber": "123456789"}))
                .header("authorization", format!("DPoP {token}"))
                .header("dpop", holder.proof(&token, &url())),
        ] {
            let answer = connection.send(&bad).await;
            answer.is_error(401, "UNAUTHENTICATED");
        }
    }
}

/// Whoever steals a proof that was made for another server names that server here.
#[tokio::test]
async fn what_a_request_says_of_its_target_counts_for_nothing() {
    let (issuer, holder) = (SigningKey::ecdsa(), SigningKey::ecdsa());
    let rig = guarded(|config| bound(config, &issuer)).await;
    let token = token(&issuer, "shop", &holder);
    let elsewhere = format!("http://evil.example{RETRIEVE_IDENTIFIER}");
    let stolen = with(&token, holder.proof(&token, &elsewhere)).header("host", "evil.example");
    let mut connection = Connection::http1(rig.bridge.api).await;
    let answer = connection.send(&stolen).await;
    answer.is_error(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn one_consumer_cannot_use_up_the_memory_of_proofs() {
    let issuer = SigningKey::ecdsa();
    let rig = guarded(|config| {
        bound(config, &issuer);
        config.auth.dpop.replay_entries = 8;
    })
    .await;
    let status = async |rig: &Rig, consumer: &str| {
        // With a key for each request: it is the consumer that counts.
        let holder = SigningKey::ecdsa();
        let token = token(&issuer, consumer, &holder);
        let ask = with(&token, holder.proof(&token, &url()));
        rig.bridge.send(&ask).await.status
    };
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(status(&rig, "greedy").await);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 503, 503]);
    assert_eq!(status(&rig, "modest").await, 200);
}
