//! Ten thousand mixed requests to every version and operation, with everything switched on and the
//! log at its lowest level: nothing personal and no secret is written anywhere.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;

use base64::Engine as _;
use serde_json::{Value, json};
use simcore::{NfType, Options};

use super::keys::{Publisher, SigningKey, now};
use super::mixture::{mixture, tokens};
use super::support::{AUDIENCE, Served, Settings, guarded, guarded_with, serve};
use crate::feeds::support::subscriptions;
use crate::support::client::{self, Ask, Connection};
use crate::support::control::{GET_3GPP, GET_BINDINGS, GET_UC_DATA, TRANSLATE, UE_IP_INFO};
use crate::support::process::file;
use crate::support::{Rig, eventually};
use crate::versions::support::{VERSIONS, ask};

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

impl Told {
    fn add(&mut self, other: Self) {
        self.beside.extend(other.beside);
        self.ppids.extend(other.ppids);
        self.answered.extend(other.answered);
    }
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

/// How a bridge is wired up that is scanned.
#[derive(Default)]
struct Wiring {
    /// How it finds the core; absent: by its address.
    core: Option<String>,
    /// More sections of its configuration.
    more: &'static str,
    /// What fails beside the questions about devices.
    failing: &'static [&'static str],
}

/// What fails in the last rounds, each in one of them. Nothing that a core says may be repeated.
fn faults() -> [Value; 7] {
    [
        json!({"status": 403, "cause": "MSISDN_34600000002"}),
        json!({"status": 404, "cause": "imsi-001010000000001"}),
        json!({"status": 503, "retryAfter": 1}),
        json!({"mode": "garbage"}),
        json!({"mode": "truncate"}),
        json!({"mode": "reset"}),
        json!({"mode": "goaway"}),
    ]
}

const ROUNDS: usize = 10;
const WORKERS: usize = 4;

/// Asks ten thousand times, while what is asked for changes in each round, and scans all that was
/// written. Gives the metrics.
async fn scan(rig: &Rig, wiring: &Wiring, change: impl AsyncFn(usize, &Served)) -> String {
    let audit_file = file(".audit", "");
    let more = format!(
        "[consent]\nexempt_consumers = [\"police\"]\n\
         [cache]\nequipment = \"5ms\"\nconsent = \"5ms\"\nnone_found = \"5ms\"\n\
         [limits.classes.slow]\nconsumers = [\"shop\"]\nrequests_per_second = 500\n\
         distinct_subscribers_per_hour = 8\nmismatches_per_hour = 2\n\
         [[ppid.secrets]]\nid = \"only\"\nsecret = {{ file = \"{}\" }}\n{}",
        file(".secret", PPID_SECRET).display(),
        wiring.more
    );
    let audit = format!(
        "sink = \"file\"\nfile = \"{}\"\npseudonym_key = {{ file = \"{}\" }}\n\
         unauthenticated_per_second = 0",
        audit_file.display(),
        file(".key", KEY).display()
    );
    let settings = Settings {
        api: "request_timeout = \"1s\"",
        audit: &audit,
        log: "level = \"trace,h2=trace,hyper=trace,adapters=trace,rustls=trace\"",
        more: &more,
        issuers: None,
        core: wiring.core.as_deref(),
    };
    let served = serve(rig, &settings).await;
    let tokens = tokens(rig).await;
    let mut told = Told::default();
    for round in 0..ROUNDS {
        rig.control.clear_faults().await;
        change(round, &served).await;
        // The first rounds go well.
        if let Some(fault) = round.checked_sub(ROUNDS - faults().len()) {
            fail(rig, &faults()[fault], wiring.failing).await;
        }
        told.add(asked_by_all(&served, &tokens, round).await);
    }
    rig.control.clear_faults().await;
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
    let beside = told.beside.into_iter().collect::<Vec<_>>().join("\n");
    let places = [
        ("an error or a head", &beside),
        ("the metrics", &metrics),
        ("the audit", &audit),
        ("standard error", &ended.stderr),
        ("standard output", &ended.stdout),
    ];
    is_silent(&places, &tokens, &told.ppids);
    metrics
}

/// Half of all answers of the core are wrong in this way.
async fn fail(rig: &Rig, fault: &Value, more: &[&str]) {
    let mut fault = fault.clone();
    fault["probability"] = json!(0.5);
    let asked = [GET_3GPP, GET_BINDINGS, GET_UC_DATA, TRANSLATE, UE_IP_INFO];
    for operation in asked.iter().chain(more) {
        rig.control.fault(operation, &fault).await;
    }
}

/// One round of requests, over connections of both protocols.
async fn asked_by_all(served: &Served, tokens: &[String], round: usize) -> Told {
    let each = REQUESTS / ROUNDS / WORKERS;
    let mut asking = Vec::new();
    for worker in 0..WORKERS {
        let connection = match worker % 2 {
            0 => Connection::http1(served.api).await,
            _ => Connection::http2(served.api).await,
        };
        let asks = mixture(tokens, round * WORKERS + worker, each);
        asking.push(tokio::spawn(asked(connection, asks)));
    }
    let mut told = Told::default();
    for task in asking {
        told.add(task.await.unwrap());
    }
    told
}

/// No place tells anything personal, a secret, a token or the name of a device.
fn is_silent(places: &[(&str, &String)], tokens: &[String], ppids: &BTreeSet<String>) {
    let pieces: HashSet<&[u8]> = tokens
        .iter()
        .flat_map(|token| token.as_bytes().chunks_exact(PIECE))
        .collect();
    for (place, text) in places {
        check(place, text);
        let token = token_in(text, &pieces);
        assert!(token.is_none(), "{place} tells a token: {token:?}");
        for ppid in ppids {
            assert!(!text.contains(ppid), "{place} tells the name of a device");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_leave_nothing_personal_behind() {
    let rig = guarded(|_| {}).await;
    scan(&rig, &Wiring::default(), async |_, _| {}).await;
}

/// A core whose functions are found at its NRF, and that tells of everything that changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_is_discovered_and_tells_of_changes_leaves_nothing_behind_either() {
    let options = Options {
        instances: vec![
            (NfType::Nrf, 1),
            (NfType::Udm, 2),
            (NfType::Bsf, 1),
            (NfType::Upf, 1),
            (NfType::Smf, 2),
        ],
        ..Options::default()
    };
    let rig = guarded_with(options, |_| {}).await;
    let instances = rig.core.instances().iter();
    let nrf = instances.clone().find(|one| one.nf_type == NfType::Nrf);
    let udm = instances.clone().find(|one| one.nf_type == NfType::Udm);
    let wiring = Wiring {
        core: Some(format!(
            "nrf = [\"http://{}\"]\n[core.registration]\nipv4_addresses = [\"127.0.0.1\"]\n\
             [core.tokens]\nenabled = true\n[core.discovery]\nlongest_period = \"500ms\"",
            nrf.unwrap().address
        )),
        more: "[callback]\nlisten = \"127.0.0.1:0\"\n[feeds]\nsessions = true\nequipment = true\n\
               consent = true\ncheck_interval = \"200ms\"\n[[feeds.ip_domains]]\n\
               ip_domain = \"nat-a\"\nprefix = \"10.45.0.0/16\"\n",
        failing: &[
            "SearchNFInstances",
            "CreateEeSubscription",
            "CreateIndividualSubcription",
            "Subscribe",
            "Modify",
            "AccessTokenRequest",
            "UpdateNFInstance",
        ],
    };
    let metrics = scan(&rig, &wiring, async |round, served: &Served| {
        if round == 0 {
            until_told(served).await;
        }
        let restart = if round % 3 == 2 { udm } else { None };
        change_everything(&rig, round, restart.map(|udm| udm.id.as_str())).await;
        // A forged one breaks a feed: there is something to be told before.
        if round > 4 {
            forge(&rig).await;
        }
    })
    .await;
    // All of it had something to say.
    for told in [
        "pei_bridge_feed_events_total{feed=\"equipment\",outcome=\"applied\"}",
        "pei_bridge_feed_events_total{feed=\"sessions\",outcome=\"applied\"}",
        "pei_bridge_feed_events_total{feed=\"consent\",outcome=\"applied\"}",
        "pei_bridge_feed_events_total{feed=\"equipment\",outcome=\"unusable\"}",
        "pei_bridge_session_table_requests_total{outcome=\"hit\"}",
        "pei_bridge_callback_requests_total{outcome=\"unknown\"}",
        "pei_bridge_callback_requests_total{outcome=\"malformed\"}",
    ] {
        let count = metrics.lines().find_map(|line| line.strip_prefix(told));
        assert_ne!(count.map(str::trim), Some("0"), "{told}");
        assert!(count.is_some(), "{told}");
    }
    assert!(rig.control.count("SearchNFInstances").await > 0);
}

/// Waits until the feeds are believed.
async fn until_told(served: &Served) {
    let trusted = "pei_bridge_session_table_smfs{state=\"trusted\"} 2";
    let live = "pei_bridge_feed_subscriptions{feed=\"equipment\"}";
    eventually("the feeds are live", async || {
        let (_, metrics) = client::get(served.admin, "/metrics").await;
        let equipment = metrics.lines().find_map(|line| line.strip_prefix(live));
        let is_live = equipment.is_some_and(|count| count.trim() != "0");
        (is_live && metrics.contains(trusted)).then_some(())
    })
    .await;
}

/// Devices, consents and sessions change, and an instance may go and come.
async fn change_everything(rig: &Rig, round: usize, restart: Option<&str>) {
    const FIRST: &str = "imsi-001010000000001";
    let control = rig.control;
    let pei = [
        "imeisv-4901542032375180",
        "imei-356938035643800",
        "imei-35693803564380",
    ];
    control.swap_device(FIRST, pei[round % pei.len()]).await;
    let consent = ["CONSENT_NOT_GIVEN", "CONSENT_GIVEN"][round % 2];
    control
        .consent("imsi-001010000000002", &json!({"NW_CAP_EXPOSURE": consent}))
        .await;
    let session = json!({"supi": "imsi-001010000000002", "pduSessionId": 7,
        "dnn": "internet", "snssai": {"sst": 1}, "ipv4Addr": "10.45.0.77", "ipDomain": "nat-a",
        "ipv6Prefix": "2001:db8:77::/64"});
    control.start_session(&session).await;
    control.release_session("imsi-001010000000002:7").await;
    if let Some(instance) = restart {
        control.order(instance, "restart").await;
    }
}

/// Somebody who knows the names of the subscriptions, or does not, sends notifications.
async fn forge(rig: &Rig) {
    let forged = [
        json!([{"referenceId": 1, "eventType": "CHANGE_OF_SUPI_PEI_ASSOCIATION",
            "gpsi": "msisdn-34600000002", "report": {"newPei": "imei-356938035643800"}}]),
        json!({"notifId": "34600000002", "eventNotifs": [{"event": "PDU_SES_EST",
            "supi": "imsi-001010000000001", "adIpv4Addr": "10.45.0.1"}]}),
        json!("imsi-001010000000001"),
    ];
    for told in subscriptions(rig.control).await {
        let uri: http::Uri = told["callback"].as_str().unwrap().parse().unwrap();
        let address = uri.authority().unwrap().as_str().parse().unwrap();
        let mut connection = Connection::http2(address).await;
        for path in [
            uri.path(),
            "/callback/equipment/34600000002",
            "/imsi-001010000000001",
        ] {
            for body in &forged {
                let ask = Ask::identifier(body).path(path);
                let _ = connection.try_send(&ask).await;
            }
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
