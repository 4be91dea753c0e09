//! Whose session is this address, told by the SMFs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use pei_bridge::lookup::nat::NatPool;
use serde_json::{Value, json};
use simcore::{Dialect, NfType, Options, Simcore};

use super::support::{
    FIRST, LONG, SESSIONS, control, fed, fed_by, feed, forget_subscriptions, live, losses,
    notifications, settings, until_live,
};
use crate::support::client::{Ask, Connection};
use crate::support::control::{Control, GET_3GPP, GET_BINDINGS, UE_IP_INFO};
use crate::support::{Bridge, Rig, config, eventually};

const SUBSCRIBE: &str = "CreateIndividualSubcription";

fn ipv6() -> Value {
    json!({"ipv6Address": "2001:db8:85a3:8d3:1:2:3:4"})
}

fn behind_nat() -> Value {
    json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765}})
}

fn public() -> Value {
    json!({"ipv4Address": {"publicAddress": "198.51.100.7", "publicPort": 4000}})
}

/// Two subscribers of our own, who take turns with one address.
async fn two_who_take_turns(rig: &Rig) -> [(&'static str, &'static str); 2] {
    let two = [
        ("imsi-001010000000041", "3569380312345101"),
        ("imsi-001010000000042", "3529920912345602"),
    ];
    for (supi, imeisv) in two {
        rig.control
            .put(&json!({
                "supi": supi,
                "gpsis": [format!("msisdn-346000000{}", &supi[18..])],
                "amf3gpp": {"pei": format!("imeisv-{imeisv}"),
                            "registrationTime": "2026-01-15T08:00:00.000Z"},
            }))
            .await;
    }
    two
}

fn turn(supi: &str) -> Value {
    json!({"supi": supi, "pduSessionId": 1, "ipv4Addr": "198.51.100.60",
           "ipv6Prefix": "2001:db8:60::/56"})
}

#[tokio::test]
async fn an_address_that_the_smf_told_is_asked_of_nobody() {
    let rig = fed(SESSIONS, |_| {}).await;
    rig.control.reset().await;
    for body in [ipv6(), public()] {
        assert_eq!(rig.ask(&body).await.status, 200, "{body}");
    }
    assert_eq!(rig.control.count(UE_IP_INFO).await, 0);
    // The translation is asked of the UPF, what it translates to is known.
    rig.ask(&behind_nat()).await.is_imei("490154203237518");
    assert_eq!(rig.control.count(UE_IP_INFO).await, 1);
    assert_eq!(rig.control.count(GET_BINDINGS).await, 0);
    let hits = rig
        .bridge
        .metric("pei_bridge_session_table_requests_total", &["hit"])
        .await;
    assert!(hits > 2.5, "{hits}");
}

/// Neither pool nor table asks anybody: who waits for the core takes nothing from them.
#[tokio::test]
async fn an_address_that_takes_no_question_is_answered_while_others_wait() {
    let options = Options {
        subscribers: 10,
        ..Options::default()
    };
    let rig = fed_by(options, SESSIONS, |config| {
        config.nat.pools = vec![NatPool {
            public_prefix: "203.0.113.0/24".parse().unwrap(),
            first_port: 1024,
            ports_per_subscriber: 1000,
            private_prefix: "10.64.0.0/12".parse().unwrap(),
            ip_domain: Some("nat-b".to_owned()),
        }];
        config.nat.private_ip_domain = Some("nat-a".to_owned());
        config.api.max_requests_waiting = Some(1);
        config.cache.equipment = LONG;
    })
    .await;
    let addresses = [
        json!({"ipv4Address": {"publicAddress": "203.0.113.0", "publicPort": 2024}}),
        json!({"ipv4Address": {"publicAddress": "203.0.113.0", "privateAddress": "10.64.0.1"}}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "privateAddress": "10.45.0.1"}}),
        ipv6(),
    ];
    for address in &addresses {
        assert_eq!(rig.ask(address).await.status, 200, "{address}");
    }
    rig.control.fault(GET_3GPP, &json!({"mode": "hang"})).await;
    let mut connection = Connection::http2(rig.bridge.api).await;
    let ask = Ask::identifier(&json!({"phoneNumber": "+34600000003"}));
    let waiting = tokio::spawn(async move { connection.send(&ask).await.status });
    eventually("somebody waits", async || {
        let waits = rig.bridge.metric("pei_bridge_requests_waiting", &[]).await;
        (waits > 0.5).then_some(())
    })
    .await;
    for address in &addresses {
        assert_eq!(rig.ask(address).await.status, 200, "{address}");
    }
    let question = json!({"phoneNumber": "+34600000004"});
    assert_eq!(rig.ask(&question).await.status, 503);
    waiting.abort();
}

#[tokio::test]
async fn a_report_that_comes_in_notifications_is_heard_to_its_end() {
    let options = Options {
        subscribers: 300,
        ..Options::default()
    };
    let rig = fed_by(options, SESSIONS, |_| {}).await;
    settings(
        rig.control,
        &json!({"reportInAnswer": 0, "reportBatch": 50}),
    )
    .await;
    forget_subscriptions(rig.control).await;
    eventually("the loss shows", async || {
        (losses(&rig.bridge, "sessions").await > 0.5).then_some(())
    })
    .await;
    until_live(&rig.bridge, SESSIONS).await;
    rig.control.reset().await;
    for last in [0, 150, 299] {
        let address = format!("2001:db8:4000:{last:x}::1");
        let answer = rig.ask(&json!({"ipv6Address": address})).await;
        assert_eq!(answer.json()["tac"], "35000000");
    }
    assert_eq!(rig.control.count(GET_BINDINGS).await, 0);
}

#[tokio::test]
async fn until_the_smf_reports_the_bsf_is_asked() {
    let rig = Rig::with(Options::default(), |config| feed(config, SESSIONS)).await;
    // Whatever was told before is forgotten.
    rig.control.fault(SUBSCRIBE, &json!({"status": 500})).await;
    forget_subscriptions(rig.control).await;
    eventually("the feed is down", async || {
        (live(&rig.bridge, "sessions").await < 0.5).then_some(())
    })
    .await;
    rig.control.reset().await;
    for body in [ipv6(), behind_nat(), public()] {
        assert_eq!(rig.ask(&body).await.status, 200, "{body}");
    }
    assert!(rig.control.count(GET_BINDINGS).await >= 3);
    rig.control.clear_faults().await;
    until_live(&rig.bridge, SESSIONS).await;
    rig.control.reset().await;
    rig.ask(&ipv6()).await.is_imei("490154203237518");
    assert_eq!(rig.control.count(GET_BINDINGS).await, 0);
}

/// Asks for one address all the time while it moves from one subscriber to the other and back.
async fn chase(rig: &Rig, body: Value, askers: usize) {
    let two = two_who_take_turns(rig).await;
    let stop = Arc::new(AtomicBool::new(false));
    // Whose turn it is for sure, and the number of moves that have begun.
    let owner = Arc::new(AtomicUsize::new(usize::MAX));
    let begun = Arc::new(AtomicUsize::new(0));
    let ask_all_the_time = |mut connection: Connection| {
        let (stop, owner, begun) = (stop.clone(), owner.clone(), begun.clone());
        let ask = Ask::identifier(&body);
        async move {
            let mut judged = 0;
            while !stop.load(Ordering::SeqCst) {
                let moves = begun.load(Ordering::SeqCst);
                let sure = owner.load(Ordering::SeqCst);
                let answer = connection.send(&ask).await;
                // While it moves both are right: the count is odd.
                if moves % 2 == 1 || begun.load(Ordering::SeqCst) != moves {
                    continue;
                }
                judged += 1;
                match two.get(sure) {
                    Some((_, imeisv)) => assert_eq!(answer.json()["imeisv"], *imeisv),
                    None => answer.is_error(404, "NOT_FOUND"),
                }
            }
            judged
        }
    };
    let mut asking = Vec::new();
    for _ in 0..askers {
        let connection = Connection::http2(rig.bridge.api).await;
        asking.push(tokio::spawn(ask_all_the_time(connection)));
    }
    for round in 0..40 {
        let (supi, _) = two[round % 2];
        begun.fetch_add(1, Ordering::SeqCst);
        rig.control.start_session(&turn(supi)).await;
        owner.store(round % 2, Ordering::SeqCst);
        begun.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        begun.fetch_add(1, Ordering::SeqCst);
        rig.control.release_session(&format!("{supi}:1")).await;
        owner.store(usize::MAX, Ordering::SeqCst);
        begun.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::SeqCst);
    for asking in asking {
        assert!(asking.await.unwrap() > 0, "nothing was judged");
    }
}

fn by_ipv4() -> Value {
    json!({"ipv4Address": {"publicAddress": "198.51.100.60", "publicPort": 4000}})
}

fn by_ipv6() -> Value {
    json!({"ipv6Address": "2001:db8:60:7::1"})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_moves_is_never_answered_with_the_other_ones_device() {
    for body in [by_ipv4(), by_ipv6()] {
        let rig = fed(SESSIONS, |_| {}).await;
        chase(&rig, body, 4).await;
    }
}

/// One asks at a time: those who ask at once share the answer to the one who asked first, which may
/// be as old as his question.
#[tokio::test(flavor = "multi_thread")]
async fn nor_is_it_without_a_feed() {
    for body in [by_ipv4(), by_ipv6()] {
        chase(&Rig::start().await, body, 1).await;
    }
}

/// The word of the end is still on its way when the other one has the address at another SMF.
#[tokio::test]
async fn an_address_whose_release_is_late_is_asked_of_the_bsf() {
    let core = Simcore::start(Options {
        instances: vec![(NfType::Smf, 2)],
        ..Options::default()
    });
    let core = core.await.unwrap();
    let mut config = config(&[core.core_addr()]);
    feed(&mut config, SESSIONS);
    let smfs = core
        .instances()
        .iter()
        .filter(|one| one.nf_type == NfType::Smf);
    let roots = smfs.clone().map(|smf| format!("http://{}", smf.address));
    config.core.smf = roots.map(|root| root.parse().unwrap()).collect();
    let rig = Rig {
        bridge: Bridge::start(&config),
        control: Control(core.control_addr()),
        core,
    };
    eventually("both SMFs are live", async || {
        let trusted = rig
            .bridge
            .metric("pei_bridge_session_table_smfs", &["state=\"trusted\""])
            .await;
        (trusted > 1.5).then_some(())
    })
    .await;
    // The number of a SUPI tells its SMF: here they have one each.
    let two = two_who_take_turns(&rig).await;
    rig.control.start_session(&turn(two[0].0)).await;
    for body in [by_ipv4(), by_ipv6()] {
        assert_eq!(rig.ask(&body).await.json()["imeisv"], two[0].1);
    }
    let smfs = rig
        .core
        .instances()
        .iter()
        .filter(|one| one.nf_type == NfType::Smf);
    let ids: Vec<_> = smfs.map(|smf| smf.id.clone()).collect();
    let of_the_first = format!("/sim/instances/{}/notifications", ids[1]);
    let mode = |mode: &str| json!({ "mode": mode });
    control(rig.control, Method::PUT, &of_the_first, &mode("withhold")).await;
    rig.control
        .release_session(&format!("{}:1", two[0].0))
        .await;
    rig.control.start_session(&turn(two[1].0)).await;
    rig.control.reset().await;
    for body in [by_ipv4(), by_ipv6()] {
        assert_eq!(rig.ask(&body).await.json()["imeisv"], two[1].1);
    }
    assert_eq!(rig.control.count(GET_BINDINGS).await, 2);
    control(rig.control, Method::PUT, &of_the_first, &mode("deliver")).await;
    eventually("the table knows", async || {
        rig.control.reset().await;
        for body in [by_ipv4(), by_ipv6()] {
            assert_eq!(rig.ask(&body).await.json()["imeisv"], two[1].1);
        }
        (rig.control.count(GET_BINDINGS).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lost_subscription_is_noticed_and_made_again() {
    let rig = fed(SESSIONS, |_| {}).await;
    let two = two_who_take_turns(&rig).await;
    rig.control.start_session(&turn(two[0].0)).await;
    let answer = rig.ask(&by_ipv6()).await;
    assert_eq!(answer.json()["imeisv"], two[0].1);
    notifications(rig.control, "lose").await;
    rig.control
        .release_session(&format!("{}:1", two[0].0))
        .await;
    rig.control.start_session(&turn(two[1].0)).await;
    // Nobody told us, and nobody can know, until the loss of the subscription shows.
    notifications(rig.control, "deliver").await;
    forget_subscriptions(rig.control).await;
    eventually("the loss shows", async || {
        (losses(&rig.bridge, "sessions").await > 0.5).then_some(())
    })
    .await;
    // From here on the BSF is asked, or a new report was heard.
    let answer = rig.ask(&by_ipv6()).await;
    assert_eq!(answer.json()["imeisv"], two[1].1);
    until_live(&rig.bridge, SESSIONS).await;
    rig.control.reset().await;
    let answer = rig.ask(&by_ipv6()).await;
    assert_eq!(answer.json()["imeisv"], two[1].1);
    assert_eq!(rig.control.count(GET_BINDINGS).await, 0);
}

#[tokio::test]
async fn a_core_without_the_service_is_asked_as_before() {
    let rig = Rig::with(
        Options {
            dialect: Dialect::Open5gs,
            ..Options::default()
        },
        |config| feed(config, SESSIONS),
    )
    .await;
    eventually("the refusal shows", async || {
        let failures = rig
            .bridge
            .metric("pei_bridge_feed_subscribe_failures_total", &["sessions"])
            .await;
        (failures > 0.5).then_some(())
    })
    .await;
    assert!(live(&rig.bridge, "sessions").await < 0.5);
}

#[tokio::test]
async fn an_address_of_a_session_that_moves_is_followed() {
    let rig = fed(SESSIONS, |_| {}).await;
    let path = format!("/sim/sessions/{FIRST}:1/ip-change");
    let moved = json!({"ipv6Prefix": "2001:db8:77::/64"});
    control(rig.control, Method::POST, &path, &moved).await;
    rig.control.reset().await;
    rig.ask(&json!({"ipv6Address": "2001:db8:77::1"}))
        .await
        .is_imei("490154203237518");
    assert_eq!(rig.control.count(GET_BINDINGS).await, 0);
    rig.ask(&ipv6()).await.is_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn smfs_that_the_nrf_knows_are_subscribed_to_until_they_go() {
    let core = Simcore::start(Options {
        instances: vec![(NfType::Smf, 2)],
        ..Options::default()
    });
    let core = core.await.unwrap();
    let mut config = config(&[core.core_addr()]);
    feed(&mut config, SESSIONS);
    config.core.smf.clear();
    config.core.nrf.clone_from(&config.core.udm);
    config.core.registration.enabled = false;
    config.core.discovery.longest_period = Duration::from_secs(1);
    let rig = Rig {
        bridge: Bridge::start(&config),
        control: Control(core.control_addr()),
        core,
    };
    let are_trusted = async |smfs: f64| {
        eventually("the SMFs are as they should be", async || {
            let trusted = rig
                .bridge
                .metric("pei_bridge_session_table_smfs", &["state=\"trusted\""])
                .await;
            ((trusted - smfs).abs() < 0.5).then_some(())
        })
        .await;
    };
    are_trusted(2.0).await;
    let mut smfs = rig
        .core
        .instances()
        .iter()
        .filter(|one| one.nf_type == NfType::Smf);
    let one = format!("/sim/instances/{}", smfs.next().unwrap().id);
    let suspended = json!({"nfStatus": "SUSPENDED"});
    control(rig.control, Method::PATCH, &one, &suspended).await;
    are_trusted(1.0).await;
    control(
        rig.control,
        Method::PATCH,
        &one,
        &json!({"nfStatus": "REGISTERED"}),
    )
    .await;
    are_trusted(2.0).await;
}
