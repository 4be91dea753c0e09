//! What is said to an NRF, and what becomes of its answers and notifications.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use adapters::nrf::{
    Criteria, Discovery, DiscoverySettings, NfProfile, Notifications, Registration, StatusSettings,
    Subscriptions,
};
use adapters::sbi::{Client, NfType, ServiceName};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::core::{Asked, Core, Reply, client, eventually, metrics, quick, ready, soon, vacant};

const UDM_ID: &str = "54804518-4191-46b3-955c-ac631f953ed8";
const OUR_PATH: &str = "/nnrf-nfm/v1/nf-instances/00000000-0000-0000-0000-000000000000";

fn nrf(core: &Core) -> Client {
    client(NfType::Nrf, vec![core.root()], &quick())
}

fn profile() -> NfProfile {
    NfProfile {
        nf_instance_id: Uuid::nil(),
        nf_type: "NEF".to_owned(),
        plmns: vec!["001-01".parse().unwrap()],
        snssais: vec!["1".parse().unwrap()],
        fqdn: None,
        ipv4_addresses: vec![[192, 0, 2, 1].into()],
        ipv6_addresses: Vec::new(),
        locality: Some("north".to_owned()),
        nf_sets: Vec::new(),
        callback: None,
    }
}

fn criteria() -> Criteria {
    Criteria {
        nf_type: NfType::Udm,
        services: vec![ServiceName::NudmUecm],
        requester_nf_type: "NEF".to_owned(),
        requester_nf_instance_id: Uuid::nil(),
        dnn: None,
        snssais: Vec::new(),
        plmns: Vec::new(),
        preferred_locality: None,
        nf_set: None,
    }
}

fn asked_by(core: &Core, method: &str) -> Vec<Asked> {
    let asked = core.asked().into_iter();
    asked.filter(|asked| asked.method == method).collect()
}

#[tokio::test]
async fn a_registration_is_put_kept_up_and_deleted() {
    let core = Core::start(|asked, _| match asked.method.as_str() {
        "PUT" => Reply::json(201, r#"{"heartBeatTimer":1}"#).with("location", OUR_PATH),
        _ => Reply::status(204),
    })
    .await;
    let registration = Registration::start(&nrf(&core), profile());
    eventually("a heart-beat", || asked_by(&core, "PATCH").len() == 1).await;
    registration.end(soon()).await;
    let [put, patch, delete] = &core.asked()[..3] else {
        panic!("{:?}", core.asked().len())
    };
    for asked in [put, patch, delete] {
        assert_eq!(asked.path, OUR_PATH);
    }
    assert_eq!(put.headers["content-type"], "application/json");
    assert_eq!(
        put.json(),
        json!({"nfInstanceId": Uuid::nil().to_string(), "nfType": "NEF", "nfStatus": "REGISTERED",
               "plmnList": [{"mcc": "001", "mnc": "01"}], "sNssais": [{"sst": 1}],
               "ipv4Addresses": ["192.0.2.1"], "locality": "north"})
    );
    assert_eq!(patch.headers["content-type"], "application/json-patch+json");
    assert_eq!(
        patch.json(),
        json!([{"op": "replace", "path": "/nfStatus", "value": "REGISTERED"}])
    );
    assert_eq!(delete.method, "DELETE");
    assert!(!delete.headers.contains_key("content-type"));
}

#[tokio::test]
async fn the_callback_listener_is_registered_where_it_can_be_found() {
    for (callback, place) in [
        (
            "http://192.0.2.1:9000",
            Some(json!({"scheme": "http",
                "ipEndPoints": [{"ipv4Address": "192.0.2.1", "port": 9000}]})),
        ),
        (
            "https://[2001:db8::5]/pre/fix",
            Some(json!({"scheme": "https", "apiPrefix": "/pre/fix",
                "ipEndPoints": [{"ipv6Address": "2001:db8::5", "port": 443}]})),
        ),
        (
            "https://bridge.example",
            Some(json!({"scheme": "https", "fqdn": "bridge.example",
                "ipEndPoints": [{"port": 443}]})),
        ),
        ("http://bridge:9000", None),
    ] {
        let core = Core::start(|_, _| Reply::json(201, r#"{"heartBeatTimer":60}"#)).await;
        let profile = NfProfile {
            callback: Some(callback.parse().unwrap()),
            ..profile()
        };
        let _registration = Registration::start(&nrf(&core), profile);
        eventually("registered", || !core.asked().is_empty()).await;
        let mut registered = core.asked()[0].json();
        let services = registered["nfServices"].take();
        let expected = place.map(|mut place| {
            let more = json!({"serviceName": "pei-bridge-callback",
                "serviceInstanceId": "pei-bridge-callback", "nfServiceStatus": "REGISTERED",
                "versions": [{"apiVersionInUri": "v1", "apiFullVersion": "1.0.0"}],
                "allowedNfTypes": ["NRF", "SMF", "UDM"]});
            let members = place.as_object_mut().unwrap();
            members.extend(more.as_object().unwrap().clone());
            json!([place])
        });
        assert_eq!(services, json!(expected), "{callback}");
    }
}

#[tokio::test]
async fn who_is_forgotten_registers_again() {
    let core = Core::start(|asked, _| match asked.method.as_str() {
        "PUT" => Reply::json(201, r#"{"heartBeatTimer":1}"#),
        _ => Reply::status(404),
    })
    .await;
    let registration = Registration::start(&nrf(&core), profile());
    eventually("registered again", || asked_by(&core, "PUT").len() == 2).await;
    let mut generation = registration.generation();
    generation
        .wait_for(|&generation| generation == 2)
        .await
        .unwrap();
}

#[tokio::test]
async fn another_nrf_takes_over_from_one_that_is_gone() {
    let core = Core::start(|_, _| Reply::json(201, r#"{"heartBeatTimer":60}"#)).await;
    let dead = "http://127.0.0.1:1".parse().unwrap();
    let client = client(NfType::Nrf, vec![dead, core.root()], &quick());
    let registration = Registration::start(&client, profile());
    let mut generation = registration.generation();
    generation
        .wait_for(|&generation| generation == 1)
        .await
        .unwrap();
}

/// An NRF that shares nothing with others: it knows what it was told itself.
async fn nrf_on_its_own(address: SocketAddr) -> Core {
    let known = [AtomicBool::new(false), AtomicBool::new(false)];
    let answer = move |asked: &Asked, _| {
        let [registration, subscription] = &known;
        let about = if asked.path == OUR_PATH {
            registration
        } else {
            subscription
        };
        match asked.method.as_str() {
            "PUT" => {
                about.store(true, Relaxed);
                Reply::json(201, r#"{"heartBeatTimer":1}"#)
            }
            "POST" => {
                about.store(true, Relaxed);
                Reply::json(201, r#"{"subscriptionId":"7"}"#)
                    .with("location", "/nnrf-nfm/v1/subscriptions/7")
            }
            "GET" => Reply::json(200, r#"{"validityPeriod":3600,"nfInstances":[]}"#),
            _ if about.load(Relaxed) => Reply::status(204),
            _ => Reply::status(404),
        }
    };
    Core::start_at(address, h2::server::Builder::new(), answer).await
}

#[tokio::test]
async fn of_several_nrfs_the_first_that_is_there_is_told_and_each_that_knows_us_hears_that_we_go() {
    let first_address = vacant().await;
    let first = nrf_on_its_own(first_address).await;
    let second = nrf_on_its_own(vacant().await).await;
    let (registry, metrics) = metrics();
    let roots = vec![first.root(), second.root()];
    let client = Client::in_order(NfType::Nrf, roots, &quick(), metrics);
    eventually("both are connected", || ready(&registry) == 2).await;
    let registration = Registration::start(&client, profile());
    let discovery = Discovery::new(&client, often());
    let _instances = discovery.watch(criteria());
    let status = StatusSettings {
        notification_uri: "http://192.0.2.1:9000/nrf/status".to_owned(),
    };
    let mut generation = registration.generation();
    generation.wait_for(|&times| times == 1).await.unwrap();
    let subscriptions = Subscriptions::start(&client, &discovery, status, &generation);
    eventually("heart-beats", || asked_by(&first, "PATCH").len() >= 3).await;
    assert_eq!(asked_by(&first, "PUT").len(), 1, "it never forgot us");
    assert_eq!(asked_by(&first, "POST").len(), 1);
    assert_eq!(asked_by(&second, "PUT").len(), 0, "nobody asks the second");

    drop(first);
    eventually("the second takes us in", || {
        asked_by(&second, "PUT").len() == 1 && asked_by(&second, "POST").len() == 1
    })
    .await;
    let first = nrf_on_its_own(first_address).await;
    eventually("the first is told again", || {
        asked_by(&first, "PUT").len() == 1
    })
    .await;
    eventually("and subscribed to in place of the second", || {
        asked_by(&first, "POST").len() == 1
    })
    .await;
    let given_up = asked_by(&second, "DELETE");
    assert_eq!(given_up[0].path, "/nnrf-nfm/v1/subscriptions/7");
    registration.end(soon()).await;
    for nrf in [&first, &second] {
        let told = asked_by(nrf, "DELETE");
        assert!(told.iter().any(|asked| asked.path == OUR_PATH));
    }
    subscriptions.end(soon()).await;
}

#[tokio::test]
async fn an_nrf_that_refuses_the_heart_beat_of_a_stranger_takes_us_in_again() {
    for status in [400, 403] {
        let core = Core::start(move |asked, _| match asked.method.as_str() {
            "PUT" => Reply::json(201, r#"{"heartBeatTimer":1}"#),
            _ => Reply::status(status),
        })
        .await;
        let _registration = Registration::start(&nrf(&core), profile());
        eventually("registered again", || asked_by(&core, "PUT").len() >= 2).await;
    }
}

fn found(port: u16) -> String {
    json!({"validityPeriod": 1, "nfInstances": [{
        "nfInstanceId": UDM_ID, "nfType": "UDM", "nfStatus": "REGISTERED",
        "nfServices": [{"serviceInstanceId": "1", "serviceName": "nudm-uecm", "scheme": "http",
                        "nfServiceStatus": "REGISTERED",
                        "ipEndPoints": [{"ipv4Address": "127.0.0.1", "port": port}]}],
    }]})
    .to_string()
}

fn often() -> DiscoverySettings {
    DiscoverySettings {
        shortest_period: Duration::from_millis(20),
        ..DiscoverySettings::default()
    }
}

#[tokio::test]
async fn a_result_is_refreshed_and_kept_when_nothing_better_comes() {
    let core = Core::start(|_, n| match n {
        0 => Reply::json(200, found(1000)),
        1 => Reply::json(200, found(2000)),
        2 => Reply::status(503),
        3 => Reply::json(200, "garbage"),
        _ => Reply::json(200, r#"{"validityPeriod":1,"nfInstances":[]}"#),
    })
    .await;
    let discovery = Discovery::new(&nrf(&core), often());
    let mut instances = discovery.watch(criteria());
    let at = |port: u16| format!("http://127.0.0.1:{port}");
    for port in [1000, 2000] {
        instances.changed().await.unwrap();
        assert_eq!(instances.borrow_and_update()[0].root.to_string(), at(port));
    }
    eventually("all of it was answered", || core.asked().len() >= 6).await;
    assert!(!instances.has_changed().unwrap());
}

fn notification(event: &str, more: &Value) -> Vec<u8> {
    let uri = format!("http://nrf.example/nnrf-nfm/v1/nf-instances/{UDM_ID}");
    let mut notification = json!({"event": event, "nfInstanceUri": uri});
    let members = notification.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    notification.to_string().into_bytes()
}

#[tokio::test]
async fn what_is_notified_takes_an_instance_away_at_once() {
    let suspended = json!({"nfInstanceId": UDM_ID, "nfStatus": "SUSPENDED"});
    let change = json!([{"op": "REPLACE", "path": "/nfStatus", "newValue": "SUSPENDED"}]);
    let loaded = json!([{"op": "REPLACE", "path": "/load", "newValue": 7}]);
    for (event, more, goes) in [
        ("NF_DEREGISTERED", json!({}), true),
        (
            "NF_PROFILE_CHANGED",
            json!({ "nfProfile": suspended }),
            true,
        ),
        (
            "NF_PROFILE_CHANGED",
            json!({ "profileChanges": change }),
            true,
        ),
        (
            "NF_PROFILE_CHANGED",
            json!({ "profileChanges": loaded }),
            false,
        ),
        (
            "NF_REGISTERED",
            json!({ "nfProfile": {"nfStatus": "REGISTERED"} }),
            false,
        ),
    ] {
        let core = Core::start(|_, n| match n {
            0 => Reply::json(200, found(1000)),
            _ => Reply::status(503),
        })
        .await;
        let discovery = Discovery::new(&nrf(&core), often());
        let mut instances = discovery.watch(criteria());
        instances.changed().await.unwrap();
        let notifications = Notifications::new(&discovery);
        notifications.accept(&notification(event, &more)).unwrap();
        assert_eq!(
            instances.borrow_and_update().is_empty(),
            goes,
            "{event} {more}"
        );
        // And the NRF is asked how things are.
        eventually("asked again", || core.asked().len() > 1).await;
    }
}

#[tokio::test]
async fn a_search_under_way_does_not_bring_back_who_has_gone() {
    let core = Core::start(|_, n| match n {
        0 => Reply::json(200, found(1000)),
        1 => Reply::Later(
            Duration::from_millis(300),
            Box::new(Reply::json(200, found(1000))),
        ),
        _ => Reply::status(503),
    })
    .await;
    let discovery = Discovery::new(&nrf(&core), often());
    let mut instances = discovery.watch(criteria());
    instances.changed().await.unwrap();
    assert_eq!(instances.borrow_and_update().len(), 1);
    let notifications = Notifications::new(&discovery);
    notifications.missed();
    eventually("a search is under way", || core.asked().len() == 2).await;
    let gone = notification("NF_DEREGISTERED", &json!({}));
    notifications.accept(&gone).unwrap();
    eventually("the next one is over", || core.asked().len() >= 3).await;
    assert!(instances.borrow_and_update().is_empty());
}

/// Whoever reaches the listener can make us say so, as often as they like.
#[tokio::test]
async fn what_may_have_been_missed_is_searched_for_now_and_then() {
    let lasting = found(1000).replace(r#""validityPeriod":1"#, r#""validityPeriod":3600"#);
    for (check_period, searches) in [(Duration::from_hours(1), 6), (Duration::from_millis(50), 7)] {
        let reply = lasting.clone();
        let core = Core::start(move |_, _| Reply::json(200, reply.clone())).await;
        let settings = DiscoverySettings {
            check_period,
            ..often()
        };
        let discovery = Discovery::new(&nrf(&core), settings);
        let _instances = discovery.watch(criteria());
        let notifications = Notifications::new(&discovery);
        eventually("searched", || core.asked().len() == 1).await;
        for missed in 1..=5 {
            notifications.may_have_missed();
            notifications.missed();
            eventually("searched again", || core.asked().len() > missed).await;
        }
        notifications.may_have_missed();
        eventually("searched for what was missed", || {
            core.asked().len() >= searches
        })
        .await;
        if check_period > Duration::from_mins(1) {
            assert_eq!(core.asked().len(), searches);
        }
    }
}

#[tokio::test]
async fn a_notification_that_names_nobody_is_refused() {
    let core = Core::start(|_, _| Reply::json(200, found(1000))).await;
    let notifications = Notifications::new(&Discovery::new(&nrf(&core), often()));
    for body in [
        "",
        "{}",
        "[]",
        r#"{"event":"NF_DEREGISTERED","nfInstanceUri":"x/y"}"#,
    ] {
        assert!(notifications.accept(body.as_bytes()).is_err(), "{body}");
    }
}

#[tokio::test]
async fn where_nobody_registers_a_subscription_is_looked_after_more_often() {
    let core = Core::start(|asked, n| match asked.method.as_str() {
        "GET" => Reply::status(503),
        // Without an end.
        "POST" => Reply::json(201, r#"{"subscriptionId":"7"}"#)
            .with("location", "/nnrf-nfm/v1/subscriptions/7"),
        // And forgotten at the third look.
        _ if n < 5 => Reply::status(204),
        _ => Reply::status(404),
    })
    .await;
    let client = nrf(&core);
    let settings = DiscoverySettings {
        // No search comes between.
        shortest_period: Duration::from_hours(1),
        check_period: Duration::from_millis(50),
        ..often()
    };
    let discovery = Discovery::new(&client, settings);
    let _instances = discovery.watch(criteria());
    let status = StatusSettings {
        notification_uri: "http://192.0.2.1:9000/nrf/status".to_owned(),
    };
    let (_, nobody_registers) = watch::channel(1_u64);
    let subscriptions = Subscriptions::start(&client, &discovery, status, &nobody_registers);
    eventually("made again", || asked_by(&core, "POST").len() >= 2).await;
    assert!(asked_by(&core, "PATCH").len() >= 2);
    subscriptions.end(soon()).await;
}

#[tokio::test]
async fn a_subscription_whose_renewal_is_refused_is_made_again_when_it_has_ended() {
    let core = Core::start(|asked, _| match asked.method.as_str() {
        "POST" => Reply::json(
            201,
            r#"{"subscriptionId":"7","validityTime":"2020-01-01T00:00:00Z"}"#,
        )
        .with("location", "/nnrf-nfm/v1/subscriptions/7"),
        "PATCH" => Reply::status(403),
        _ => Reply::status(503),
    })
    .await;
    let client = nrf(&core);
    let discovery = Discovery::new(&client, often());
    let _instances = discovery.watch(criteria());
    let settings = StatusSettings {
        notification_uri: "http://192.0.2.1:9000/nrf/status".to_owned(),
    };
    let (_generation, forgotten) = watch::channel(1_u64);
    let _subscriptions = Subscriptions::start(&client, &discovery, settings, &forgotten);
    eventually("made again", || asked_by(&core, "POST").len() == 2).await;
}

#[tokio::test]
async fn a_subscription_is_made_renewed_and_made_again_when_it_is_lost() {
    // Half a second is left each time, which counts as one.
    let core = Core::start(|asked, _| match asked.method.as_str() {
        "GET" => Reply::status(503),
        "POST" => Reply::json(
            201,
            r#"{"subscriptionId":"7","validityTime":"2020-01-01T00:00:00Z"}"#,
        )
        .with("location", "/nnrf-nfm/v1/subscriptions/7"),
        "PATCH" => Reply::status(404),
        _ => Reply::status(204),
    })
    .await;
    let client = nrf(&core);
    let discovery = Discovery::new(&client, often());
    let _instances = discovery.watch(criteria());
    let settings = StatusSettings {
        notification_uri: "http://192.0.2.1:9000/nrf/status".to_owned(),
    };
    let (generation, forgotten) = watch::channel(1_u64);
    let subscriptions = Subscriptions::start(&client, &discovery, settings, &forgotten);
    eventually("made again", || asked_by(&core, "POST").len() == 2).await;
    let patch = &asked_by(&core, "PATCH")[0];
    assert_eq!(patch.path, "/nnrf-nfm/v1/subscriptions/7");
    assert_eq!(patch.json()[0]["path"], "/validityTime");
    let made = asked_by(&core, "POST")[0].json();
    assert_eq!(
        made["nfStatusNotificationUri"],
        "http://192.0.2.1:9000/nrf/status"
    );
    assert_eq!(made["subscrCond"], json!({"nfType": "UDM"}));
    assert_eq!(made["reqNfType"], "NEF");
    generation.send_replace(2);
    eventually("made for an NRF that forgot", || {
        asked_by(&core, "POST").len() >= 3
    })
    .await;
    subscriptions.end(soon()).await;
    let removed = asked_by(&core, "DELETE");
    assert_eq!(removed.len(), 2, "the former one, and that of the end");
    for removed in removed {
        assert_eq!(removed.path, "/nnrf-nfm/v1/subscriptions/7");
    }
}
