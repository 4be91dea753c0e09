//! How connections are opened, lost and replaced, and what that means for a request.

use std::collections::HashSet;
use std::time::Duration;

use adapters::sbi::{Client, Error, NfType, Settings};
use adapters::udm::{AmfRegistration, Udm};
use device::{Supi, UeId};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::core::{Core, Reply, client, eventually, metrics, quick, ready, soon};
use crate::peer::{PING, Peer, SETTINGS, WINDOW_UPDATE};

fn ue() -> UeId {
    Supi::parse("imsi-001010000000001").unwrap().into()
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn udm(listener: &TcpListener, settings: &Settings) -> Udm {
    let root = format!("http://{}", listener.local_addr().unwrap());
    Udm::new(client(NfType::Udm, vec![root.parse().unwrap()], settings))
}

/// A call in the background.
fn call(udm: &Udm) -> tokio::task::JoinHandle<Result<AmfRegistration, Error>> {
    let udm = udm.clone();
    tokio::spawn(async move { udm.amf_3gpp_access_registration(&ue(), soon()).await })
}

fn registered(result: &Result<AmfRegistration, Error>) -> bool {
    matches!(result, Ok(AmfRegistration::Registered(_)))
}

#[tokio::test]
async fn the_windows_are_wide_from_the_start() {
    let listener = listen().await;
    let _udm = udm(&listener, &quick());
    let mut peer = Peer::accept(&listener).await;
    let settings = peer.frame().await.unwrap();
    assert_eq!((settings.kind, settings.flags), (SETTINGS, 0));
    let value = |id: u16| {
        settings
            .payload
            .chunks(6)
            .find(|entry| entry[..2] == id.to_be_bytes())
            .map(|entry| u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]))
    };
    assert_eq!(value(2), Some(0), "ENABLE_PUSH");
    assert_eq!(value(4), Some(1024 * 1024), "INITIAL_WINDOW_SIZE");
    assert!(value(6).is_some(), "MAX_HEADER_LIST_SIZE");
    let update = loop {
        let frame = peer.frame().await.unwrap();
        if frame.kind == WINDOW_UPDATE {
            break frame;
        }
        assert_ne!(frame.kind, PING, "the window comes first");
    };
    assert_eq!(update.stream, 0);
    assert_eq!(
        update.payload,
        (16 * 1024 * 1024 - 65_535_u32).to_be_bytes()
    );
}

#[tokio::test]
async fn more_bodies_than_the_window_holds_pass_through_one_connection() {
    let core =
        Core::start(|_, _| Reply::json(200, format!("{{\"x\":\"{}\"}}", "x".repeat(200_000))))
            .await;
    let udm = Udm::new(client(NfType::Udm, vec![core.root()], &quick()));
    for _ in 0..100 {
        assert!(registered(
            &udm.amf_3gpp_access_registration(&ue(), soon()).await
        ));
    }
}

#[tokio::test]
async fn a_dead_core_is_unreachable_at_once_and_answers_when_it_is_back() {
    let gone = Core::start(|_, _| Reply::status(404)).await;
    let (root, address) = (gone.root(), gone.address);
    drop(gone);
    let settings = Settings {
        connections_per_endpoint: 2,
        ..Settings::default()
    };
    let udm = Udm::new(client(NfType::Udm, vec![root], &settings));
    assert!(!udm.client().has_answered());
    for _ in 0..30 {
        let begun = Instant::now();
        let result = udm.amf_3gpp_access_registration(&ue(), soon()).await;
        assert_eq!(result, Err(Error::Unreachable));
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
    let back = h2::server::Builder::new();
    let _core = Core::start_at(address, back, |_, _| Reply::status(404)).await;
    let result = udm.amf_3gpp_access_registration(&ue(), soon()).await;
    assert_eq!(result, Ok(AmfRegistration::Unspecified));
    assert!(udm.client().has_answered());
}

#[tokio::test]
async fn a_core_that_restarts_is_asked_anew() {
    let mut core = Core::start(|_, _| Reply::status(404)).await;
    let udm = Udm::new(client(NfType::Udm, vec![core.root()], &Settings::default()));
    for _ in 0..5 {
        let result = udm.amf_3gpp_access_registration(&ue(), soon()).await;
        assert_eq!(result, Ok(AmfRegistration::Unspecified));
        let address = core.address;
        drop(core);
        eventually("the port is free", || {
            std::net::TcpListener::bind(address).is_ok()
        })
        .await;
        core = Core::start_at(address, h2::server::Builder::new(), |_, _| {
            Reply::status(404)
        })
        .await;
    }
}

#[tokio::test]
async fn a_peer_that_never_speaks_is_unreachable_before_the_deadline() {
    let listener = listen().await;
    let settings = Settings {
        connect_timeout: Duration::from_millis(30),
        ..quick()
    };
    let udm = udm(&listener, &settings);
    let result = udm.amf_3gpp_access_registration(&ue(), soon()).await;
    assert_eq!(result, Err(Error::Unreachable));
    assert!(!udm.client().has_answered());
}

#[tokio::test]
async fn no_endpoint_at_all_is_unreachable() {
    let udm = Udm::new(client(NfType::Udm, Vec::new(), &quick()));
    let result = udm.amf_3gpp_access_registration(&ue(), soon()).await;
    assert_eq!(result, Err(Error::Unreachable));
}

#[tokio::test]
async fn a_close_without_goaway_is_asked_again() {
    let listener = listen().await;
    let udm = udm(&listener, &quick());
    let call = call(&udm);
    let mut first = Peer::accept(&listener).await;
    assert_eq!(first.request().await, Some(1));
    drop(first);
    let mut second = Peer::accept(&listener).await;
    let stream = second.request().await.unwrap();
    second.answer(stream, b"{}").await;
    assert!(registered(&call.await.unwrap()));
}

#[tokio::test]
async fn connections_that_are_lost_to_the_end_are_unreachable() {
    let listener = listen().await;
    let udm = udm(
        &listener,
        &Settings {
            max_attempts: 3,
            ..quick()
        },
    );
    let call = call(&udm);
    for _ in 0..3 {
        let mut peer = Peer::accept(&listener).await;
        assert!(peer.request().await.is_some());
    }
    assert_eq!(call.await.unwrap(), Err(Error::Unreachable));
}

#[tokio::test]
async fn after_goaway_open_streams_finish_and_the_others_are_asked_anew() {
    let listener = listen().await;
    let udm = udm(&listener, &quick());
    let (one, other) = (call(&udm), call(&udm));
    let mut first = Peer::accept(&listener).await;
    assert_eq!(first.request().await, Some(1));
    assert_eq!(first.request().await, Some(3));
    first.go_away(1).await;
    // The replacement is opened although the first connection still has a stream.
    let mut second = Peer::accept(&listener).await;
    let stream = second.request().await.unwrap();
    let third = call(&udm);
    let next = second.request().await.unwrap();
    first.answer(1, b"{}").await;
    second.answer(stream, b"{}").await;
    second.answer(next, b"{}").await;
    for call in [one, other, third] {
        assert!(registered(&call.await.unwrap()));
    }
    // Drained, the first connection is closed by us.
    while first.frame().await.is_some() {}
}

#[tokio::test]
async fn goaway_without_open_streams_only_replaces_the_connection() {
    let listener = listen().await;
    let udm = udm(&listener, &quick());
    let mut first = Peer::accept(&listener).await;
    first.first_ping().await;
    first.go_away(0).await;
    let mut second = Peer::accept(&listener).await;
    second.first_ping().await;
    let call = call(&udm);
    let stream = second.request().await.unwrap();
    second.answer(stream, b"{}").await;
    assert!(registered(&call.await.unwrap()));
}

#[tokio::test]
async fn an_unanswered_ping_ends_the_connection() {
    let listener = listen().await;
    let settings = Settings {
        keep_alive_interval: Duration::from_millis(20),
        keep_alive_timeout: Duration::from_millis(20),
        ..quick()
    };
    let udm = udm(&listener, &settings);
    let call = call(&udm);
    let mut silent = Peer::accept(&listener).await;
    silent.first_ping().await;
    // Still open and still sending, but no PONG comes.
    let mut second = Peer::accept(&listener).await;
    let stream = second.request().await.unwrap();
    second.answer(stream, b"{}").await;
    assert!(registered(&call.await.unwrap()));
    while silent.frame().await.is_some() {}
}

#[tokio::test]
async fn the_last_client_closes_its_connections() {
    let listener = listen().await;
    let udm = udm(&listener, &quick());
    let mut peer = Peer::accept(&listener).await;
    peer.first_ping().await;
    let client = udm.client().clone();
    drop(udm);
    eventually("a clone keeps the connection", || client.has_answered()).await;
    drop(client);
    while peer.frame().await.is_some() {}
}

#[tokio::test]
async fn a_connection_carries_all_until_it_is_half_full_and_the_next_one_stands_by() {
    let listener = listen().await;
    let settings = Settings {
        connections_per_endpoint: 3,
        ..Settings::default()
    };
    let root = format!("http://{}", listener.local_addr().unwrap());
    let (registry, metrics) = metrics();
    let client = Client::new(NfType::Udm, vec![root.parse().unwrap()], &settings, metrics);
    let udm = Udm::new(client);
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = Peer::accept_allowing(&listener, 4).await;
        peer.first_ping().await;
        peers.push(peer);
    }
    // Only connections that are established are given requests.
    eventually("all take requests", || ready(&registry) == 3).await;
    let mut calls = Vec::new();
    let mut asked = Vec::new();
    for _ in 0..9 {
        calls.push(call(&udm));
        let [a, b, c] = &mut peers[..] else {
            unreachable!("three were accepted");
        };
        asked.push(tokio::select! {
            stream = a.request() => (0, stream.unwrap()),
            stream = b.request() => (1, stream.unwrap()),
            stream = c.request() => (2, stream.unwrap()),
        });
    }
    // More than half of four are three.
    let connections: Vec<_> = asked.iter().map(|(peer, _)| *peer).collect();
    let turns: Vec<_> = connections.chunks(3).collect();
    assert!(
        turns.iter().all(|turn| *turn == [turn[0]; 3]),
        "{connections:?}"
    );
    let distinct: HashSet<_> = connections.iter().collect();
    assert_eq!(distinct.len(), 3, "{connections:?}");
    for (peer, stream) in asked {
        peers[peer].answer(stream, b"{}").await;
    }
    for call in calls {
        assert!(registered(&call.await.unwrap()));
    }
}

/// A thread of its own, as each worker of the bridge is.
fn thread() -> Runtime {
    let mut thread = tokio::runtime::Builder::new_multi_thread();
    thread.worker_threads(1).enable_all().build().unwrap()
}

#[tokio::test]
async fn a_request_takes_the_connection_of_its_own_thread_while_that_has_room() {
    let listener = listen().await;
    let threads = [thread(), thread()];
    let settings = Settings {
        connections_per_endpoint: 1,
        drivers: threads.iter().map(|it| it.handle().clone()).collect(),
        ..Settings::default()
    };
    let root = format!("http://{}", listener.local_addr().unwrap());
    let (registry, metrics) = metrics();
    let client = Client::new(NfType::Udm, vec![root.parse().unwrap()], &settings, metrics);
    let udm = Udm::new(client);
    let mut peers = Vec::new();
    for _ in 0..2 {
        let mut peer = Peer::accept_allowing(&listener, 2).await;
        peer.first_ping().await;
        peers.push(peer);
    }
    eventually("both take requests", || ready(&registry) == 2).await;
    let ask = |thread: &Runtime| {
        let udm = udm.clone();
        thread.spawn(async move { udm.amf_3gpp_access_registration(&ue(), soon()).await })
    };
    let mut calls = vec![ask(&threads[0])];
    let [one, other] = &mut peers[..] else {
        unreachable!("two were accepted");
    };
    let (own, first) = tokio::select! {
        stream = one.request() => (0, stream.unwrap()),
        stream = other.request() => (1, stream.unwrap()),
    };
    calls.push(ask(&threads[0]));
    let second = peers[own].request().await.unwrap();
    // The peer allows no third one.
    calls.push(ask(&threads[0]));
    let third = peers[1 - own].request().await.unwrap();
    calls.push(ask(&threads[1]));
    let fourth = peers[1 - own].request().await.unwrap();
    for (peer, stream) in [
        (own, first),
        (own, second),
        (1 - own, third),
        (1 - own, fourth),
    ] {
        peers[peer].answer(stream, b"{}").await;
    }
    for call in calls {
        assert!(registered(&call.await.unwrap()));
    }
    for thread in threads {
        thread.shutdown_background();
    }
}
