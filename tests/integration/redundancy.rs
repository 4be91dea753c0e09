//! Several instances of a function, instances that come and go, and a core that is not there.

use serde_json::json;
use simcore::{Options, Simcore};
use std::net::SocketAddr;
use tokio::net::TcpListener;

use crate::support::client::Ask;
use crate::support::control::{Control, GET_3GPP};
use crate::support::{Bridge, config, eventually, without_caches};

async fn core_at(address: SocketAddr) -> Simcore {
    eventually("the port is free", async || {
        let options = Options {
            core_listen: address,
            ..Options::default()
        };
        Simcore::start(options).await.ok()
    })
    .await
}

/// An address at which nobody listens.
async fn vacant() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

async fn two_cores() -> ([Simcore; 2], Bridge) {
    let cores = [
        Simcore::start(Options::default()).await.unwrap(),
        Simcore::start(Options::default()).await.unwrap(),
    ];
    let mut config = config(&[cores[0].core_addr(), cores[1].core_addr()]);
    without_caches(&mut config);
    config.api.request_timeout = crate::support::PATIENCE;
    let bridge = Bridge::start(&config);
    bridge.until_ready().await;
    (cores, bridge)
}

async fn both_are_asked(controls: [Control; 2], bridge: &Bridge) {
    eventually("both are asked", async || {
        bridge.send(&Ask::any()).await.is_imei("490154203237518");
        let counts = [
            controls[0].count(GET_3GPP).await,
            controls[1].count(GET_3GPP).await,
        ];
        (!counts.contains(&0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_of_two_instances_can_stop_and_come_back() {
    let (cores, bridge) = two_cores().await;
    let controls = [
        Control(cores[0].control_addr()),
        Control(cores[1].control_addr()),
    ];
    both_are_asked(controls, &bridge).await;
    let [first, second] = cores;
    let address = second.core_addr();
    // Said goodbye to while requests go on, and cut without a word: nothing fails.
    let goodbye = tokio::spawn(second.stop());
    while !goodbye.is_finished() {
        bridge.send(&Ask::any()).await.is_imei("490154203237518");
    }
    for _ in 0..20 {
        bridge.send(&Ask::any()).await.is_imei("490154203237518");
    }
    let second = core_at(address).await;
    let controls = [
        Control(first.control_addr()),
        Control(second.control_addr()),
    ];
    both_are_asked(controls, &bridge).await;
    drop(second);
    for _ in 0..20 {
        bridge.send(&Ask::any()).await.is_imei("490154203237518");
    }
}

#[tokio::test]
async fn an_overloaded_instance_is_passed_over() {
    let (cores, bridge) = two_cores().await;
    let [healthy, overloaded] = [
        Control(cores[0].control_addr()),
        Control(cores[1].control_addr()),
    ];
    both_are_asked([healthy, overloaded], &bridge).await;
    overloaded
        .fault(GET_3GPP, &json!({"status": 503, "retryAfter": 600}))
        .await;
    for _ in 0..20 {
        bridge.send(&Ask::any()).await.is_imei("490154203237518");
    }
    // It asked for rest, and gets it.
    overloaded.reset().await;
    for _ in 0..20 {
        bridge.send(&Ask::any()).await.is_imei("490154203237518");
    }
    assert_eq!(overloaded.count(GET_3GPP).await, 0);
    // Both overloaded: each is asked once and the last word is passed on.
    healthy
        .fault(GET_3GPP, &json!({"status": 503, "retryAfter": 7}))
        .await;
    for control in [healthy, overloaded] {
        control.reset().await;
    }
    let answer = bridge.send(&Ask::any()).await;
    answer.is_error(503, "UNAVAILABLE");
    assert!(["7", "600"].contains(&answer.header("retry-after").unwrap()));
    assert!(healthy.count(GET_3GPP).await <= 1 && overloaded.count(GET_3GPP).await <= 1);
}

/// Only what core.md lists is asked again: not on the other instance either.
#[tokio::test]
async fn errors_of_one_instance_are_final() {
    let (cores, bridge) = two_cores().await;
    let controls = [
        Control(cores[0].control_addr()),
        Control(cores[1].control_addr()),
    ];
    both_are_asked(controls, &bridge).await;
    for fault in [
        json!({"status": 500}),
        json!({"status": 502}),
        json!({"status": 504}),
        json!({"status": 400}),
        json!({"status": 429}),
        json!({"status": 404, "cause": "USER_NOT_FOUND"}),
        json!({"mode": "reset"}),
        json!({"mode": "garbage"}),
    ] {
        for control in controls {
            control.fault(GET_3GPP, &fault).await;
            control.reset().await;
        }
        assert_ne!(bridge.send(&Ask::any()).await.status, 200);
        let asked = controls[0].count(GET_3GPP).await + controls[1].count(GET_3GPP).await;
        assert_eq!(asked, 1, "{fault}");
    }
    for fault in [json!({"mode": "refuse-stream"}), json!({"mode": "goaway"})] {
        // Lost with one, answered by the other.
        controls[0].clear_faults().await;
        controls[1].fault(GET_3GPP, &fault).await;
        for _ in 0..10 {
            bridge.send(&Ask::any()).await.is_imei("490154203237518");
        }
    }
}

#[tokio::test]
async fn a_core_that_is_not_there_is_waited_for() {
    let address = vacant().await;
    let mut config = config(&[address]);
    without_caches(&mut config);
    config.api.request_timeout = crate::support::PATIENCE;
    let bridge = Bridge::start(&config);
    assert_eq!(bridge.admin("/healthz").await.0, 200);
    assert_eq!(bridge.admin("/readyz").await.0, 503);
    for _ in 0..3 {
        let answer = bridge.send(&Ask::any()).await;
        answer.is_error(503, "UNAVAILABLE");
    }
    assert_eq!(bridge.admin("/readyz").await.0, 503);
    let core = core_at(address).await;
    // The first request after it came up is answered, without waiting for readiness.
    bridge.send(&Ask::any()).await.is_imei("490154203237518");
    bridge.until_ready().await;
    // Lost later it shows in the answers, not in readiness.
    core.stop().await;
    bridge.send(&Ask::any()).await.is_error(503, "UNAVAILABLE");
    assert_eq!(bridge.admin("/readyz").await.0, 200);
    let _core = core_at(address).await;
    bridge.send(&Ask::any()).await.is_imei("490154203237518");
}

#[tokio::test]
async fn a_core_that_accepts_and_says_nothing_does_not_hold_a_request_beyond_its_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(&[listener.local_addr().unwrap()]);
    without_caches(&mut config);
    let bridge = Bridge::start(&config);
    let begun = std::time::Instant::now();
    let answer = bridge.send(&Ask::any()).await;
    assert!(matches!(answer.status, 503 | 504), "{}", answer.json());
    assert!(begun.elapsed() < crate::support::PATIENCE / 2);
    assert_eq!(bridge.admin("/readyz").await.0, 503);
}
