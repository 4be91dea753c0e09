//! Invented consumers, tokens and subscribers by the hundred thousand cost no more memory than the
//! configuration says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use serde_json::json;
use simcore::Options;
use tokio::task::JoinSet;

use super::keys::{ISSUER, Publisher, SigningKey, claims, jwks_file};
use super::limits::within_the_hour;
use super::support::{AUDIENCE, Served, Settings, guarded, guarded_with, serve};
use crate::support::client::RETRIEVE_IDENTIFIER;
use crate::support::control::GET_UC_DATA;
use crate::support::raw::Raw;

const REQUESTS: usize = 100_000;
const CONNECTIONS: usize = 16;
/// Subscribers that exist: each is asked about once, with its consent.
const SUBSCRIBERS: usize = REQUESTS / 8;
/// Requests that are sent before the first answer is read.
const PIPELINED: usize = 50;
/// Of each memory.
const ENTRIES: usize = 500;
/// Memories that are bounded by a number of entries: tokens, consumers, what was found and what
/// was not of each of four kinds.
const MEMORIES: usize = 10;
/// More than any entry takes, its key and its place in the cache included.
const ENTRY_KIB: usize = 2;
/// Tokens remembered to be refused, whatever is configured.
const REFUSALS: usize = 10_000;
/// Subscribers of one consumer in an hour, 16 bytes each.
const SUBSCRIBERS_KIB: usize = ENTRIES * 16 / 1024;
/// For one connection: buffers of both directions.
const CONNECTION_KIB: usize = 128;
/// What the allocator keeps of what was given back.
const ALLOCATOR_KIB: usize = 8 * 1024;

fn resident_kib(served: &Served) -> usize {
    let path = format!("/proc/{}/status", served.service.id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One of many: each token is another one, of another consumer, for another subscriber; a part of
/// them is bad in one way or another.
fn request(key: &SigningKey, unknown: &SigningKey, number: usize) -> String {
    let mut claims = claims();
    claims["client_id"] = json!(format!("invented-consumer-{number}"));
    let token = match number % 10 {
        0 => unknown.sign(&claims),
        1 => format!("invented{number}"),
        _ => key.sign(&claims),
    };
    // Most ask for the same one: whoever is asked about for the first time costs the core, and that
    // most of the time.
    let body = match number % 8 {
        0 => json!({ "phoneNumber": format!("+3499{number:07}") }),
        1 => json!({ "networkAccessIdentifier": format!("{number}@invented.example") }),
        2 => json!({ "phoneNumber": format!("+3467{:08}", number / 8) }),
        _ => json!({ "phoneNumber": "123456789" }),
    };
    let body = body.to_string();
    let mut text = String::new();
    write!(
        text,
        "POST {RETRIEVE_IDENTIFIER} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    text
}

/// Sends them over some connections, and counts the answers by status.
async fn flood(
    api: SocketAddr,
    numbers: Range<usize>,
    request: impl Fn(usize) -> String + Clone + Send + 'static,
) -> BTreeMap<u16, usize> {
    let each = numbers.len() / CONNECTIONS;
    let mut flooding = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let request = request.clone();
        let first = numbers.start + connection * each;
        let share: Vec<usize> = (first..first + each).collect();
        flooding.spawn(async move {
            let mut raw = Raw::connect(api).await;
            let mut statuses = Vec::new();
            for some in share.chunks(PIPELINED) {
                let text: String = some.iter().map(|number| request(*number)).collect();
                raw.write(text).await;
                for _ in some {
                    statuses.push(raw.answer().await.expect("an answer").status);
                }
            }
            statuses
        });
    }
    let mut counts = BTreeMap::new();
    for status in flooding.join_all().await.into_iter().flatten() {
        *counts.entry(status).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_inventions_leaves_memory_bounded() {
    let options = Options {
        subscribers: SUBSCRIBERS.try_into().unwrap(),
        ..Options::default()
    };
    let rig = guarded_with(options, |_| {}).await;
    let keys = Arc::new((SigningKey::ecdsa(), SigningKey::ecdsa()));
    let issuer = format!(
        "[[auth.issuers]]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = \"{}\"\n",
        jwks_file(&[&keys.0]).display()
    );
    let more = format!(
        "[auth]\ntoken_entries = {ENTRIES}\n[consent]\nmode = \"core\"\n\
         [limits]\nrequests_per_second = 1000\nrequests_per_day = 1000000\n\
         distinct_subscribers_per_hour = {ENTRIES}\nconsumer_entries = {ENTRIES}\n\
         [cache]\nequipment = \"1h\"\nconsent = \"1h\"\nnone_found = \"1h\"\n\
         equipment_entries = {ENTRIES}\nsubscription_entries = {ENTRIES}\n\
         consent_entries = {ENTRIES}\nnone_found_entries = {ENTRIES}\n"
    );
    let settings = Settings {
        // The core has to keep up, on however loaded a machine.
        api: "request_timeout = \"1m\"",
        more: &more,
        issuers: Some(&issuer),
        audit: "sink = \"file\"\nfile = \"/dev/null\"",
        ..Settings::default()
    };
    let served = serve(&rig, &settings).await;
    let begun = resident_kib(&served);
    let counts = flood(served.api, 0..REQUESTS, move |number| {
        request(&keys.0, &keys.1, number)
    })
    .await;
    let ended = resident_kib(&served);
    let asked = rig.control.count(GET_UC_DATA).await;
    assert!(asked > 10 * u64::try_from(ENTRIES).unwrap(), "{asked}");
    let bound = ENTRIES * MEMORIES * ENTRY_KIB
        + SUBSCRIBERS_KIB
        + CONNECTIONS * CONNECTION_KIB
        + ALLOCATOR_KIB;
    assert!(
        ended < begun + bound,
        "from {begun} to {ended} KiB, beyond {bound}"
    );
    assert_eq!(counts.values().sum::<usize>(), REQUESTS);
    assert!(counts.keys().all(|status| *status < 500), "{counts:?}");
    assert!(counts.contains_key(&200) && counts.contains_key(&401));
    let ended = served.service.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Opaque tokens that nobody knows, then tokens of one consumer, each with a proof and a guess of its
/// own.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_tokens_proofs_and_guesses_is_refused_in_bounded_memory() {
    const FLOOD: usize = 16_000;
    const GUESSES: usize = 100;
    const PUBLIC: &str = "https://api.operator.example";
    within_the_hour().await;
    let holder = Arc::new(SigningKey::ecdsa());
    let issuer = Publisher::start(&json!({"active": false})).await;
    let issuers = format!(
        "[[auth.issuers]]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n\
         introspection_endpoint = \"http://{}/introspect\"\nclient_id = \"bridge\"\n\
         client_secret = {{ env = \"PATH\" }}\n",
        issuer.address
    );
    let more = format!(
        "[auth]\nmode = \"introspection\"\ntoken_entries = {ENTRIES}\n\
         [auth.dpop]\nmode = \"required\"\npublic_url = \"{PUBLIC}\"\n\
         replay_entries = {ENTRIES}\n[limits]\nmismatches_per_hour = {GUESSES}\n\
         [cache]\nequipment = \"1h\"\nconsent = \"1h\"\n"
    );
    let settings = Settings {
        api: "request_timeout = \"1m\"",
        more: &more,
        issuers: Some(&issuers),
        ..Settings::default()
    };
    let rig = guarded(|_| {}).await;
    let served = serve(&rig, &settings).await;
    let begun = resident_kib(&served);
    let path = "/device-identifier/v0.4alpha1/match-identifier";
    let thumbprint = holder.thumbprint();
    let request = move |number: usize| {
        let token = format!("invented{number}");
        let proof = holder.proof(&token, &format!("{PUBLIC}{path}"));
        let body = json!({
            "device": {"phoneNumber": "+123456789"}, "providedIdentifierType": "TAC",
            "providedIdentifier": format!("{:08}", 10_000_000 + number),
        });
        let body = body.to_string();
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             authorization: DPoP {token}\r\ndpop: {proof}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let unknown = flood(served.api, 0..FLOOD, request.clone()).await;
    assert_eq!(unknown, [(401, FLOOD)].into());
    issuer.publish(&json!({
        "active": true, "client_id": "shop", "aud": AUDIENCE,
        "scope": "device-identifier:match-identifier", "cnf": {"jkt": thumbprint},
    }));
    let known = flood(served.api, FLOOD..2 * FLOOD, request).await;
    let ended = resident_kib(&served);
    // As many guesses as may be wrong, as many proofs as one consumer may hold, and no more.
    let statuses: Vec<u16> = known.keys().copied().collect();
    assert_eq!(
        (statuses, known[&200]),
        (vec![200, 429, 503], GUESSES),
        "{known:?}"
    );
    assert_eq!(known.values().sum::<usize>(), FLOOD);
    assert!(known[&503] > known[&429], "{known:?}");
    // The refusals of tokens have a bound of their own.
    let bound =
        (ENTRIES * MEMORIES + REFUSALS) * ENTRY_KIB + CONNECTIONS * CONNECTION_KIB + ALLOCATOR_KIB;
    assert!(
        ended < begun + bound,
        "from {begun} to {ended} KiB, beyond {bound}"
    );
    let ended = served.service.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
