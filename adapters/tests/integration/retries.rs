//! What is asked again, where, and how often; and what a deadline ends.

use std::time::Duration;

use adapters::sbi::{Client, Error, NfType, Settings};
use adapters::udm::{AmfRegistration, Udm};
use device::{Supi, UeId};
use h2::Reason;
use tokio::time::Instant;

use crate::core::{Core, Reply, client, eventually, metrics, quick, ready, soon};
use crate::peer::Peer;

fn ue() -> UeId {
    Supi::parse("imsi-001010000000001").unwrap().into()
}

const NONE: Result<AmfRegistration, Error> = Ok(AmfRegistration::Unspecified);

/// A client whose connections to all of these cores are up, so that turns are predictable.
async fn udm(cores: &[&Core], settings: &Settings) -> Udm {
    let (registry, metrics) = metrics();
    let roots = cores.iter().map(|core| core.root()).collect();
    let udm = Udm::new(Client::new(NfType::Udm, roots, settings, metrics));
    eventually("all are connected", || ready(&registry) == cores.len()).await;
    udm
}

#[tokio::test]
async fn a_refused_stream_is_asked_again_as_often_as_allowed() {
    for (refusals, expected, requests) in
        [(1, NONE, 2), (2, NONE, 3), (3, Err(Error::Unreachable), 3)]
    {
        let core = Core::start(move |_, n| {
            if n < refusals {
                Reply::Reset(Reason::REFUSED_STREAM)
            } else {
                Reply::status(404)
            }
        })
        .await;
        let udm = udm(&[&core], &quick()).await;
        assert_eq!(
            udm.amf_3gpp_access_registration(&ue(), soon()).await,
            expected
        );
        assert_eq!(core.asked().len(), requests);
    }
}

#[tokio::test]
async fn without_a_budget_nothing_is_asked_again() {
    let core = Core::start(|_, _| Reply::Reset(Reason::REFUSED_STREAM)).await;
    let settings = Settings {
        retry_ratio: 0.0,
        retry_floor_per_second: 0,
        ..quick()
    };
    let udm = udm(&[&core], &settings).await;
    let result = udm.amf_3gpp_access_registration(&ue(), soon()).await;
    assert_eq!(result, Err(Error::Unreachable));
    assert_eq!(core.asked().len(), 1);
}

#[tokio::test]
async fn another_instance_is_asked_after_a_503_and_preferred_for_a_while() {
    let busy = Core::start(|_, _| Reply::status(503).with("retry-after", "30")).await;
    let idle = Core::start(|_, _| Reply::status(404)).await;
    let udm = udm(&[&busy, &idle], &quick()).await;
    for _ in 0..10 {
        assert_eq!(udm.amf_3gpp_access_registration(&ue(), soon()).await, NONE);
    }
    assert_eq!(busy.asked().len(), 1);
    assert_eq!(idle.asked().len(), 10);
}

#[tokio::test]
async fn when_every_instance_is_busy_each_is_asked_once() {
    let cores = [
        Core::start(|_, _| Reply::status(503).with("retry-after", "5")).await,
        Core::start(|_, _| Reply::status(503).with("retry-after", "5")).await,
    ];
    let settings = Settings {
        max_attempts: 5,
        ..quick()
    };
    let udm = udm(&[&cores[0], &cores[1]], &settings).await;
    let overloaded = Err(Error::Overloaded {
        retry_after: Some(5),
    });
    assert_eq!(
        udm.amf_3gpp_access_registration(&ue(), soon()).await,
        overloaded
    );
    assert!(cores.iter().all(|core| core.asked().len() == 1));
}

#[tokio::test]
async fn a_busy_instance_is_not_waited_for_when_the_other_is_lost() {
    let busy = Core::start(|_, _| Reply::status(503)).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dying = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let settings = Settings {
        max_attempts: 5,
        ..quick()
    };
    let (registry, metrics) = metrics();
    let udm = Udm::new(Client::new(
        NfType::Udm,
        vec![busy.root(), dying],
        &settings,
        metrics,
    ));
    let mut peer = Peer::accept(&listener).await;
    peer.first_ping().await;
    eventually("both are connected", || ready(&registry) == 2).await;
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let udm = udm.clone();
            tokio::spawn(async move { udm.amf_3gpp_access_registration(&ue(), soon()).await })
        })
        .collect();
    // Whoever comes here finds that nothing listens any more.
    assert!(peer.request().await.is_some());
    drop((peer, listener));
    for call in calls {
        let result = call.await.unwrap();
        let unavailable = matches!(result, Err(Error::Unreachable | Error::Overloaded { .. }));
        assert!(unavailable, "{result:?}");
    }
}

#[tokio::test]
async fn requests_take_turns_among_the_healthy_endpoints() {
    let cores = [
        Core::start(|_, _| Reply::status(404)).await,
        Core::start(|_, _| Reply::status(404)).await,
    ];
    let dead = "http://127.0.0.1:1".parse().unwrap();
    let roots = vec![cores[0].root(), dead, cores[1].root()];
    let udm = Udm::new(client(NfType::Udm, roots, &quick()));
    while cores.iter().any(|core| core.asked().len() < 10) {
        assert_eq!(udm.amf_3gpp_access_registration(&ue(), soon()).await, NONE);
    }
    // The dead one's turns fall to the one behind it, and nobody else's do.
    let [first, last] = cores.map(|core| core.asked().len());
    assert!(first + last < 60, "{first} {last}");
}

#[tokio::test]
async fn a_deadline_ends_the_call_and_cancels_the_stream() {
    let core = Core::start(|_, _| Reply::Hang).await;
    let udm = udm(&[&core], &quick()).await;
    let deadline = Instant::now() + Duration::from_millis(50);
    let result = udm.amf_3gpp_access_registration(&ue(), deadline).await;
    assert_eq!(result, Err(Error::DeadlinePassed));
    eventually("the stream is cancelled", || {
        core.resets() == [Reason::CANCEL]
    })
    .await;
    assert_eq!(core.asked().len(), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_the_stream() {
    let core = Core::start(|_, _| Reply::Hang).await;
    let udm = udm(&[&core], &quick()).await;
    let caller = udm.clone();
    let call = tokio::spawn(async move {
        let _ = caller.amf_3gpp_access_registration(&ue(), soon()).await;
    });
    eventually("the request has arrived", || core.asked().len() == 1).await;
    call.abort();
    eventually("the stream is cancelled", || !core.resets().is_empty()).await;
}

#[tokio::test]
async fn streams_beyond_the_peers_limit_wait_for_their_turn() {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1);
    let address = "127.0.0.1:0".parse().unwrap();
    let core = Core::start_at(address, builder, |_, _| Reply::status(404)).await;
    let udm = udm(&[&core], &quick()).await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let udm = udm.clone();
            tokio::spawn(async move { udm.amf_3gpp_access_registration(&ue(), soon()).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), NONE);
    }
    assert_eq!(core.asked().len(), 20);
    assert_eq!(core.most_streams(), 1);
}

#[tokio::test]
async fn waiting_for_a_turn_ends_with_the_deadline() {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1);
    let address = "127.0.0.1:0".parse().unwrap();
    let core = Core::start_at(address, builder, |_, n| {
        if n == 0 {
            Reply::Hang
        } else {
            Reply::status(404)
        }
    })
    .await;
    let udm = udm(&[&core], &quick()).await;
    let first = udm.clone();
    let hanging = tokio::spawn(async move {
        let _ = first.amf_3gpp_access_registration(&ue(), soon()).await;
    });
    eventually("the stream is taken", || core.asked().len() == 1).await;
    let deadline = Instant::now() + Duration::from_millis(50);
    let result = udm.amf_3gpp_access_registration(&ue(), deadline).await;
    assert_eq!(result, Err(Error::DeadlinePassed));
    hanging.abort();
    assert_eq!(udm.amf_3gpp_access_registration(&ue(), soon()).await, NONE);
}
