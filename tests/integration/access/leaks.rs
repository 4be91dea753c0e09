//! Ten thousand mixed requests to every version and operation, with everything switched on and the
//! log at its lowest level: nothing personal and no secret is written anywhere.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;

use base64::Engine as _;
use serde_json::{Value, json};

use super::keys::{Publisher, SigningKey, now};
use super::support::{AUDIENCE, Settings, guarded, serve};
use crate::support::Rig;
use crate::support::client::{self, Ask, Connection};
use crate::support::control::{GET_3GPP, GET_BINDINGS, GET_UC_DATA, TRANSLATE, UE_IP_INFO};
use crate::support::process::file;
use crate::versions::support::{VERSIONS, ask, body, token, token_for, token_of};

const REQUESTS: usize = 10_000;
/// A part of a token that is this long gives it away.
const TELLING: usize = 16;
/// Any part that is telling holds one of these whole.
const PIECE: usize = TELLING / 2;
const KEY: &str = "the-key-of-the-pseudonyms-0123456789abcdef";
const PPID_SECRET: &str = "the-secret-of-the-names-0123456789abcdef";

/// What leads to a subscriber or a device here, in each form that may be written.
const PERSONAL: [&str; 23] = [
    "123456789",
    "34600000002",
    "34600000006",
    "34999999999",
    "346000000",
    "00101000000",
    "imsi-",
    "msisdn-",
    "extid-",
    "49015420",
    "356938035643",
    "35693803",
    "99000086247",
    "domain.com",
    "iot.example",
    "sensor-17",
    "84.125.93.10",
    "10.45.0.1",
    "198.51.100.7",
    "2001:db8",
    "2001%3A",
    "tel:",
    "ipport:",
];

/// So many that they meet every operation and every token: no divisor in common with theirs.
fn devices() -> [Option<Value>; 19] {
    let address = |port: u32| json!({"publicAddress": "84.125.93.10", "publicPort": port});
    [
        json!({"phoneNumber": "+123456789"}),
        json!({"phoneNumber": "34600000002"}),
        json!({"phoneNumber": "+34600000002"}),
        json!({"phoneNumber": "+34600000006"}),
        json!({"phoneNumber": "+34999999999"}),
        json!({"phoneNumber": "34600000002x"}),
        json!({"networkAccessIdentifier": "123456789@domain.com"}),
        json!({"networkAccessIdentifier": "sensor-17@iot.example.com"}),
        json!({"networkAccessIdentifier": "sensor-17@iot@example.com"}),
        json!({"ipv6Address": "2001:db8:85a3:8d3:1319:8a2e:370:7344"}),
        json!({"ipv6Address": "2001:db8::/64"}),
        json!({"ipv4Address": address(59_765)}),
        json!({"ipv4Address": address(597_650)}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "privateAddress": "10.45.0.1"}}),
        json!({"ipv4Address": {"publicAddress": "198.51.100.7", "publicPort": 4000}}),
        // Where the answer names the identifier that was used.
        json!({"phoneNumber": "+123456789", "networkAccessIdentifier": "123456789@domain.com"}),
        json!({"phoneNumber": "+123456789", "networkAccessIdentifier": "sensor-17@iot.example.com"}),
        json!({"phoneNumber": "+34600000002", "other": "imsi-001010000000001"}),
        Value::Null,
    ]
    .map(|device| (!device.is_null()).then_some(device))
}

/// What a consumer takes the device for: right, wrong, and of the wrong form.
const PROVIDED: [(&str, &str); 7] = [
    ("IMEI", "490154203237518"),
    ("IMEI", "356938035643800"),
    ("IMEI", "990000862471854"),
    ("IMEISV", "4901542032375180"),
    ("IMEISV", "3569380356438001"),
    ("TAC", "35693803"),
    ("IMEI", "4901542032375x"),
];

/// Good ones, three-legged ones, and bad ones of each kind.
async fn tokens(rig: &Rig) -> Vec<String> {
    let mut tokens = vec![token_of(rig, "shop").await, token_of(rig, "police").await];
    for hint in [
        "tel:+123456789",
        "ipport:84.125.93.10:59765",
        "tel:+34999999999",
    ] {
        tokens.push(token_for(rig, hint).await);
    }
    for form in [
        "expires_in=-60",
        "not_before=600",
        "issuer=http://other",
        "audience=other",
        "key=unknown",
        "alg=ES256",
        "login_hint=tel:34600000002",
    ] {
        tokens.push(token(rig, &format!("client_id=shop&{form}")).await);
    }
    tokens.push(rig.control.token("client_id=shop&scope=openid").await);
    tokens.push(tokens[0].chars().rev().collect());
    tokens
}

/// What consumers were told.
#[derive(Default)]
struct Told {
    /// Whatever is not the answer about a device itself.
    beside: BTreeSet<String>,
    /// The names of devices, which nobody else may learn.
    ppids: BTreeSet<String>,
    /// Every version and operation that was answered.
    answered: BTreeSet<(&'static str, &'static str)>,
}

/// Requests of one consumer after the other.
async fn asked(mut connection: Connection, asks: Vec<Ask>) -> Told {
    let mut told = Told::default();
    for ask in asks {
        let answer = connection.send(&ask).await;
        let mut headers = answer.headers.clone();
        for name in ["date", "x-correlator"] {
            headers.remove(name);
        }
        let mut beside = format!("{headers:?}");
        if answer.status == 200 {
            told.answered.extend(ask.target());
            let body = answer.json();
            told.ppids
                .extend(body["ppid"].as_str().map(ToOwned::to_owned));
        } else {
            beside += &String::from_utf8_lossy(&answer.body);
        }
        told.beside.insert(beside);
    }
    told
}

/// The mixture; `round` shifts what is combined with what.
fn mixture(tokens: &[String], round: usize, count: usize) -> Vec<Ask> {
    let devices = devices();
    let targets = || {
        VERSIONS
            .iter()
            .flat_map(|(version, operations)| operations.iter().map(move |it| (*version, *it)))
    };
    let one = |index: usize| {
        let number = round * count + index;
        let (version, operation) = targets().cycle().nth(number % targets().count()).unwrap();
        let device = devices[number % devices.len()].as_ref();
        let mut body = body(version, operation, device);
        if operation == "match-identifier" {
            let (kind, value) = PROVIDED[number / 11 % PROVIDED.len()];
            body["providedIdentifierType"] = json!(kind);
            body["providedIdentifier"] = json!(value);
        }
        let ask = Ask::of(version, operation, &body);
        let token = &tokens[number % tokens.len()];
        match number % 41 {
            0 => ask,
            1 => ask.bearer(token).bearer(token),
            2 => ask.header("authorization", format!("Basic {token}")),
            3 => {
                let path = format!("{}?access_token={token}", ask.path);
                ask.path(&path)
            }
            // A correlator in no version.
            4 => ask.bearer(token).header("x-correlator", "+34600000002"),
            5 => ask.bearer(token).header("accept", "x/123456789"),
            6 => ask
                .path(&format!("/device-identifier/{version}/123456789"))
                .bearer(token),
            7 => ask.bearer(token).header("cookie", token.clone()),
            8 => ask
                .path(&format!("/device-identifier/123456789/{operation}"))
                .bearer(token),
            _ => ask.bearer(token),
        }
    };
    (0..count).map(one).collect()
}

/// Where one of the pieces stands in a text. Only runs of the alphabet of tokens can hold one.
fn token_in(text: &str, pieces: &HashSet<&[u8]>) -> Option<String> {
    let of_tokens = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let runs: HashSet<&str> = text
        .split(|c| !of_tokens(c))
        .filter(|run| run.len() >= TELLING)
        .collect();
    let tells = |run: &&&str| {
        run.as_bytes()
            .windows(PIECE)
            .any(|piece| pieces.contains(piece))
    };
    runs.iter().find(tells).map(|run| (*run).to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_leave_nothing_personal_behind() {
    let rig = guarded(|_| {}).await;
    let audit_file = file(".audit", "");
    let key_file = file(".key", KEY);
    let more = format!(
        "[consent]\nexempt_consumers = [\"police\"]\n\
         [cache]\nequipment = \"5ms\"\nconsent = \"5ms\"\nnone_found = \"5ms\"\n\
         [limits.classes.slow]\nconsumers = [\"shop\"]\nrequests_per_second = 500\n\
         distinct_subscribers_per_hour = 8\nmismatches_per_hour = 2\n\
         [[ppid.secrets]]\nid = \"only\"\nsecret = {{ file = \"{}\" }}\n",
        file(".secret", PPID_SECRET).display()
    );
    let audit = format!(
        "sink = \"file\"\nfile = \"{}\"\npseudonym_key = {{ file = \"{}\" }}\n\
         unauthenticated_per_second = 0",
        audit_file.display(),
        key_file.display()
    );
    let settings = Settings {
        api: "request_timeout = \"1s\"",
        audit: &audit,
        log: "level = \"trace,h2=trace,hyper=trace,adapters=trace,rustls=trace\"",
        more: &more,
        issuers: None,
    };
    let served = serve(&rig, &settings).await;
    let tokens = tokens(&rig).await;
    let faults = [
        json!({"status": 403, "cause": "MSISDN_34600000002"}),
        json!({"status": 404, "cause": "imsi-001010000000001"}),
        json!({"status": 503, "retryAfter": 1}),
        json!({"mode": "garbage"}),
        json!({"mode": "truncate"}),
        json!({"mode": "reset"}),
        json!({"mode": "goaway"}),
    ];
    let rounds = 10;
    let workers = 4;
    let each = REQUESTS / rounds / workers;
    let mut told = Told::default();
    for round in 0..rounds {
        rig.control.clear_faults().await;
        // The first rounds go well.
        if let Some(fault) = round.checked_sub(rounds - faults.len()) {
            for operation in [GET_3GPP, GET_BINDINGS, GET_UC_DATA, TRANSLATE, UE_IP_INFO] {
                let mut fault = faults[fault].clone();
                fault["probability"] = json!(0.5);
                rig.control.fault(operation, &fault).await;
            }
        }
        let mut asking = Vec::new();
        for worker in 0..workers {
            let connection = match worker % 2 {
                0 => Connection::http1(served.api).await,
                _ => Connection::http2(served.api).await,
            };
            let asks = mixture(&tokens, round * workers + worker, each);
            asking.push(tokio::spawn(asked(connection, asks)));
        }
        for task in asking {
            let one = task.await.unwrap();
            told.beside.extend(one.beside);
            told.ppids.extend(one.ppids);
            told.answered.extend(one.answered);
        }
    }
    let metrics = client::metrics_without_fractions(served.admin).await;
    let ended = served.service.terminate().await;
    assert_eq!(ended.code, Some(0));
    let audit = std::fs::read_to_string(&audit_file).unwrap();
    assert!(
        audit.lines().count() > REQUESTS * 9 / 10,
        "it was all recorded"
    );
    assert!(
        ended.stderr.contains("answered"),
        "the log is at its lowest level"
    );
    let operations = VERSIONS.iter().map(|(_, operations)| operations.len());
    assert_eq!(told.answered.len(), operations.sum::<usize>());
    assert!(told.ppids.len() > 1, "{:?}", told.ppids);
    let pieces: HashSet<&[u8]> = tokens
        .iter()
        .flat_map(|token| token.as_bytes().chunks_exact(PIECE))
        .collect();
    let beside = told.beside.into_iter().collect::<Vec<_>>().join("\n");
    let places = [
        ("an error or a head", &beside),
        ("the metrics", &metrics),
        ("the audit", &audit),
        ("standard error", &ended.stderr),
        ("standard output", &ended.stdout),
    ];
    for (place, text) in places {
        check(place, text);
        let token = token_in(text, &pieces);
        assert!(token.is_none(), "{place} tells a token: {token:?}");
        for ppid in &told.ppids {
            assert!(!text.contains(ppid), "{place} tells the name of a device");
        }
    }
}

/// Whatever is personal or secret, however little of it.
fn check(place: &str, text: &str) {
    let secrets = [KEY, "the-key-of", PPID_SECRET, "the-secret-of", "Bearer ey"];
    for secret in PERSONAL.iter().chain(&secrets) {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{place} tells {secret}: {line:?}");
    }
}

/// Proofs of possession, opaque tokens, and who we are to the issuer that explains them.
#[tokio::test(flavor = "multi_thread")]
async fn proofs_and_our_own_secret_are_told_nowhere() {
    let secret = "the-secret-of-the-bridge-0123456789";
    let (public, holder) = ("https://api.operator.example", SigningKey::ecdsa());
    let issuer = Publisher::start(&json!({
        "active": true, "client_id": "shop", "aud": AUDIENCE, "exp": now() + 3600,
        "scope": "device-identifier:retrieve-identifier device-identifier:retrieve-type \
            device-identifier:retrieve-ppid device-identifier:match-identifier",
        "cnf": {"jkt": holder.thumbprint()},
    }))
    .await;
    let issuers = format!(
        "[[auth.issuers]]\nissuer = \"https://issuer.example\"\naudience = \"{AUDIENCE}\"\n\
         introspection_endpoint = \"http://{}/introspect\"\nclient_id = \"bridge\"\n\
         client_secret = {{ file = \"{}\" }}\n",
        issuer.address,
        file(".secret", secret).display()
    );
    let more = format!(
        "[auth]\nmode = \"introspection\"\n[auth.dpop]\nmode = \"optional\"\n\
         public_url = \"{public}\"\n"
    );
    let rig = guarded(|_| {}).await;
    let audit_file = file(".audit", "");
    let audit = format!("sink = \"file\"\nfile = \"{}\"", audit_file.display());
    let settings = Settings {
        audit: &audit,
        log: "level = \"trace,h2=trace,hyper=trace,adapters=trace,rustls=trace\"",
        more: &more,
        issuers: Some(&issuers),
        ..Settings::default()
    };
    let served = serve(&rig, &settings).await;
    let (mut texts, mut told, mut statuses) = (Vec::new(), String::new(), BTreeSet::new());
    let targets = VERSIONS
        .iter()
        .flat_map(|(version, operations)| operations.iter().map(move |it| (*version, *it)));
    let four_times = targets.flat_map(|target| [target; 4]).enumerate();
    let device = json!({"phoneNumber": "+123456789"});
    for (number, (version, operation)) in four_times {
        let ask = ask(version, operation, &device);
        let token: String = format!("opaque{}", uuid::Uuid::new_v4().simple());
        let url = match number % 4 {
            0 => "https://evil.example/".to_owned(),
            _ => format!("{public}{}", ask.path),
        };
        let proof = holder.proof(&token, &url);
        let ask = ask
            .header("authorization", format!("DPoP {token}"))
            .header("dpop", proof.clone());
        let mut connection = match number % 2 {
            0 => Connection::http1(served.api).await,
            _ => Connection::http2(served.api).await,
        };
        // The second time it is a replay.
        for _ in 0..2 {
            let answer = connection.send(&ask).await;
            statuses.insert(answer.status);
            writeln!(told, "{:?}", answer.headers).unwrap();
            if answer.status != 200 {
                told += &String::from_utf8_lossy(&answer.body);
            }
        }
        texts.extend([token, proof]);
    }
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [200, 401]);
    assert!(issuer.looks() > 0, "the issuer was asked");
    let metrics = client::metrics_without_fractions(served.admin).await;
    let ended = served.service.terminate().await;
    let audit = std::fs::read_to_string(&audit_file).unwrap();
    assert!(audit.contains("disclosed") && ended.stderr.contains("answered"));
    let identity = base64::prelude::BASE64_STANDARD.encode(format!("bridge:{secret}"));
    texts.push(identity);
    let pieces: HashSet<&[u8]> = texts
        .iter()
        .flat_map(|text| text.as_bytes().chunks_exact(PIECE))
        .collect();
    for (place, text) in [
        ("an error", &told),
        ("the metrics", &metrics),
        ("the audit", &audit),
        ("standard error", &ended.stderr),
        ("standard output", &ended.stdout),
    ] {
        let found = token_in(text, &pieces);
        assert!(found.is_none(), "{place} tells a secret: {found:?}");
        assert!(!text.contains(secret), "{place} tells our own secret");
    }
}
