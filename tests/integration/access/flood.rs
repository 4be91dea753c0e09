//! Invented consumers, tokens and subscribers by the hundred thousand cost no more memory than the
//! configuration says.

use std::fmt::Write as _;

use serde_json::json;
use simcore::Options;

use super::keys::{ISSUER, SigningKey, claims, jwks_file};
use super::support::{AUDIENCE, Served, Settings, guarded_with, serve};
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

/// Sends a share of them and counts the answers by status.
async fn share(
    api: std::net::SocketAddr,
    keys: std::sync::Arc<(SigningKey, SigningKey)>,
    first: usize,
    last: usize,
) -> [usize; 6] {
    let mut raw = Raw::connect(api).await;
    let mut hundreds = [0; 6];
    let numbers: Vec<usize> = (first..last).collect();
    for some in numbers.chunks(PIPELINED) {
        let text: String = some
            .iter()
            .map(|number| request(&keys.0, &keys.1, *number))
            .collect();
        raw.write(text).await;
        for _ in some {
            let answer = raw.answer().await.expect("an answer");
            hundreds[usize::from(answer.status / 100)] += 1;
        }
    }
    hundreds
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_inventions_leaves_memory_bounded() {
    let options = Options {
        subscribers: SUBSCRIBERS.try_into().unwrap(),
        ..Options::default()
    };
    let rig = guarded_with(options, |_| {}).await;
    let keys = std::sync::Arc::new((SigningKey::ecdsa(), SigningKey::ecdsa()));
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
    let each = REQUESTS / CONNECTIONS;
    let shares = (0..CONNECTIONS).map(|index| {
        tokio::spawn(share(
            served.api,
            keys.clone(),
            index * each,
            (index + 1) * each,
        ))
    });
    let mut hundreds = [0; 6];
    for task in shares.collect::<Vec<_>>() {
        for (sum, count) in hundreds.iter_mut().zip(task.await.unwrap()) {
            *sum += count;
        }
    }
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
    assert_eq!(hundreds.iter().sum::<usize>(), each * CONNECTIONS);
    assert_eq!(hundreds[5], 0, "{hundreds:?}");
    assert!(hundreds[2] > 0 && hundreds[4] > 0, "{hundreds:?}");
    let ended = served.service.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
