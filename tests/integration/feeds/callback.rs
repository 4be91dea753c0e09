//! Who may tell us anything.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request};
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use super::support::{
    EQUIPMENT, OTHER_IMEISV, SESSIONS, Wanted, callback, fed, forget_subscriptions, losses,
    notification, outcomes, path_of, post, report, subscriptions, until_live,
};
use crate::support::client::Ask;
use crate::support::eventually;
use crate::support::raw::Raw;

const BOTH: Wanted = Wanted {
    equipment: true,
    ..SESSIONS
};

#[tokio::test]
async fn a_name_that_was_not_given_is_nobodys() {
    let rig = fed(BOTH, |_| {}).await;
    let right = path_of(&rig, "equipment").await;
    let name = right.rsplit('/').next().unwrap();
    let (place, secret) = name.split_once('-').unwrap();
    let flipped = if secret.starts_with('0') { "1" } else { "0" };
    let before = outcomes(&rig, "unknown").await;
    let wrong = [
        "/".to_owned(),
        "/callback/equipment/".to_owned(),
        format!("/callback/sessions/{name}"),
        format!("/callback/equipment/{place}-{flipped}{}", &secret[1..]),
        format!("/callback/equipment/{place}-"),
        format!("/callback/equipment/{place}-{secret}0"),
        format!("/callback/equipment/{secret}"),
        format!("/equipment/{name}"),
        format!("{right}/more"),
    ];
    for path in &wrong {
        assert_eq!(
            post(&rig, &notification(path, &report())).await,
            404,
            "{path}"
        );
    }
    let after = outcomes(&rig, "unknown").await;
    assert!((after - before - 9.0).abs() < 0.1, "{before} {after}");
    rig.ask(&json!({"phoneNumber": "123456789"}))
        .await
        .is_imei("490154203237518");
    // The name itself is good.
    assert_eq!(post(&rig, &notification(&right, &report())).await, 204);
    let answer = rig.ask(&json!({"phoneNumber": "123456789"})).await;
    assert_eq!(answer.json()["imeisv"], OTHER_IMEISV);
}

#[tokio::test]
async fn what_is_no_notification_is_refused() {
    let rig = fed(BOTH, |_| {}).await;
    let path = path_of(&rig, "sessions").await;
    let ask = notification(&path, &json!({}));
    assert_eq!(post(&rig, &ask.method(Method::GET)).await, 405);
    assert!(losses(&rig.bridge, "sessions").await < 0.5);
    let text = |ask: Ask| {
        ask.without("content-type")
            .header("content-type", "text/plain")
    };
    let too_large = |ask: Ask| ask.body(Bytes::from(vec![b' '; 2 << 20]));
    // What they say is lost.
    for (lost, change, status) in [
        (0.5, &text as &dyn Fn(Ask) -> Ask, 415),
        (1.5, &too_large, 413),
    ] {
        let path = path_of(&rig, "sessions").await;
        let ask = change(notification(&path, &json!({})));
        assert_eq!(post(&rig, &ask).await, status);
        eventually("the gap shows", async || {
            (losses(&rig.bridge, "sessions").await > lost).then_some(())
        })
        .await;
        until_live(&rig.bridge, SESSIONS).await;
    }
}

/// Something was told and is lost: nothing of this SMF is believed until it reported anew.
#[tokio::test]
async fn what_cannot_be_understood_is_a_gap() {
    let rig = fed(SESSIONS, |_| {}).await;
    for (round, body) in [
        json!({"notifId": "another", "eventNotifs": []}),
        json!({"eventNotifs": []}),
        json!({"notifId": "?", "eventNotifs": [{"event": "PDU_SES_REL"}]}),
    ]
    .into_iter()
    .enumerate()
    {
        let path = path_of(&rig, "sessions").await;
        assert_eq!(post(&rig, &notification(&path, &body)).await, 400);
        eventually("the gap shows", async || {
            let lost = losses(&rig.bridge, "sessions").await;
            (lost > f64::from(u8::try_from(round).unwrap()) + 0.5).then_some(())
        })
        .await;
        until_live(&rig.bridge, SESSIONS).await;
        // The name is given once.
        assert_eq!(post(&rig, &notification(&path, &body)).await, 404);
    }
}

/// The session is the one that has the address, where nobody says whose it is.
#[tokio::test]
async fn an_end_without_a_name_is_known_by_its_address() {
    let rig = fed(SESSIONS, |_| {}).await;
    let body = json!({"ipv6Address": "2001:db8:85a3:8d3:1:2:3:4"});
    rig.ask(&body).await.is_imei("490154203237518");
    // The BSF would still answer.
    rig.control
        .fault("GetPCFBindings", &json!({"status": 404}))
        .await;
    let path = path_of(&rig, "sessions").await;
    let name = path.rsplit('/').next().unwrap();
    let end = json!({"notifId": name, "eventNotifs": [{
        "event": "PDU_SES_REL", "timeStamp": jiff::Timestamp::now(),
        "ipv6Prefixes": ["2001:db8:85a3:8d3::/64"],
    }]});
    assert_eq!(post(&rig, &notification(&path, &end)).await, 204);
    rig.ask(&body).await.is_error(404, "NOT_FOUND");
    assert!(losses(&rig.bridge, "sessions").await < 0.5);
    // Of this one nobody knows which it is.
    let end = json!({"notifId": name, "eventNotifs": [{
        "event": "PDU_SES_REL", "timeStamp": jiff::Timestamp::now(), "ipv4Addr": "10.99.0.1",
    }]});
    assert_eq!(post(&rig, &notification(&path, &end)).await, 204);
    eventually("the gap shows", async || {
        (losses(&rig.bridge, "sessions").await > 0.5).then_some(())
    })
    .await;
}

/// The SMF told of the session by SUPI, and of its end by a public name alone.
#[tokio::test]
async fn an_end_by_another_name_is_known_by_its_address() {
    let rig = fed(SESSIONS, |_| {}).await;
    let body = json!({"ipv6Address": "2001:db8:85a3:8d3:1:2:3:4"});
    rig.ask(&body).await.is_imei("490154203237518");
    // The BSF would still answer.
    rig.control
        .fault("GetPCFBindings", &json!({"status": 404}))
        .await;
    let path = path_of(&rig, "sessions").await;
    let name = path.rsplit('/').next().unwrap();
    let end = |prefixes: &[&str]| {
        json!({"notifId": name, "eventNotifs": [{
            "event": "PDU_SES_REL", "timeStamp": jiff::Timestamp::now(),
            "gpsi": "msisdn-123456789", "pduSeId": 1, "ipv6Prefixes": prefixes,
        }]})
    };
    let known = end(&["2001:db8:85a3:8d3::/64"]);
    assert_eq!(post(&rig, &notification(&path, &known)).await, 204);
    rig.ask(&body).await.is_error(404, "NOT_FOUND");
    assert!(losses(&rig.bridge, "sessions").await < 0.5);
    // Of this one nobody knows which it is.
    assert_eq!(post(&rig, &notification(&path, &end(&[]))).await, 204);
    eventually("the gap shows", async || {
        (losses(&rig.bridge, "sessions").await > 0.5).then_some(())
    })
    .await;
}

/// An SMF that knows no SUPIs tells of beginnings and ends alike.
#[tokio::test]
async fn an_end_by_the_name_of_its_beginning_is_no_gap() {
    let rig = fed(SESSIONS, |_| {}).await;
    // It reports none of those that the simulated one tells by SUPI.
    for number in [1, 2, 10] {
        let session = format!("imsi-0010100000000{number:02}:1");
        rig.control.release_session(&session).await;
    }
    let before = path_of(&rig, "sessions").await;
    forget_subscriptions(rig.control).await;
    let path = eventually("another subscription", async || {
        let none = subscriptions(rig.control).await.is_empty();
        let path = if none {
            None
        } else {
            Some(path_of(&rig, "sessions").await)
        };
        path.filter(|path| *path != before)
    })
    .await;
    until_live(&rig.bridge, SESSIONS).await;
    let lost = losses(&rig.bridge, "sessions").await;
    let name = path.rsplit('/').next().unwrap();
    let told = |event: &str, gpsi: &str| {
        json!({"notifId": name, "eventNotifs": [{
            "event": event, "timeStamp": jiff::Timestamp::now(), "gpsi": gpsi, "pduSeId": 9,
            "ipv6Prefixes": if event == "PDU_SES_EST" { json!(["2001:db8:99::/64"]) } else { json!([]) },
        }]})
    };
    let body = json!({"ipv6Address": "2001:db8:99::1"});
    for (event, gpsi, status) in [
        ("PDU_SES_EST", "msisdn-34600000002", 200),
        ("PDU_SES_REL", "msisdn-34600000002", 404),
        // Told again, and of one that had begun before we were told of any.
        ("PDU_SES_REL", "msisdn-34600000002", 404),
        ("PDU_SES_REL", "msisdn-34600000003", 404),
    ] {
        assert_eq!(
            post(&rig, &notification(&path, &told(event, gpsi))).await,
            204
        );
        assert_eq!(rig.ask(&body).await.status, status, "{event} {gpsi}");
    }
    assert!(losses(&rig.bridge, "sessions").await < lost + 0.5);
}

/// An SMF may name the same subscriber by SUPI in one word and by GPSI alone in the other, also
/// where there is a session of either name.
#[tokio::test]
async fn an_end_by_gpsi_is_that_of_the_session_with_the_address() {
    let rig = fed(SESSIONS, |_| {}).await;
    rig.control
        .fault("GetPCFBindings", &json!({"status": 404}))
        .await;
    let path = path_of(&rig, "sessions").await;
    let name = path.rsplit('/').next().unwrap();
    let told = |event: &str, prefixes: &[&str]| {
        json!({"notifId": name, "eventNotifs": [{
            "event": event, "timeStamp": jiff::Timestamp::now(),
            "gpsi": "msisdn-123456789", "pduSeId": 1, "ipv6Prefixes": prefixes,
        }]})
    };
    let by_supi = json!({"ipv6Address": "2001:db8:85a3:8d3:1:2:3:4"});
    let by_gpsi = json!({"ipv6Address": "2001:db8:99::1"});
    for (event, prefix, statuses) in [
        ("PDU_SES_EST", "2001:db8:99::/64", (200, 200)),
        ("PDU_SES_REL", "2001:db8:85a3:8d3::/64", (404, 200)),
        ("PDU_SES_REL", "2001:db8:99::/64", (404, 404)),
    ] {
        let told = notification(&path, &told(event, &[prefix]));
        assert_eq!(post(&rig, &told).await, 204);
        let answered = (
            rig.ask(&by_supi).await.status,
            rig.ask(&by_gpsi).await.status,
        );
        assert_eq!(answered, statuses, "{event} {prefix}");
    }
    assert!(losses(&rig.bridge, "sessions").await < 0.5);
    // Either may have ended here.
    let told = notification(&path, &told("PDU_SES_REL", &[]));
    assert_eq!(post(&rig, &told).await, 204);
    eventually("the gap shows", async || {
        (losses(&rig.bridge, "sessions").await > 0.5).then_some(())
    })
    .await;
}

/// And the other way about.
#[tokio::test]
async fn an_end_by_supi_is_that_of_the_session_with_the_address() {
    let rig = fed(SESSIONS, |_| {}).await;
    rig.control
        .fault("GetPCFBindings", &json!({"status": 404}))
        .await;
    let path = path_of(&rig, "sessions").await;
    let name = path.rsplit('/').next().unwrap();
    let by_supi = json!({"ipv6Address": "2001:db8:85a3:8d3:1:2:3:4"});
    let by_gpsi = json!({"ipv6Address": "2001:db8:99::1"});
    for (event, kind, who, prefix, statuses) in [
        (
            "PDU_SES_EST",
            "gpsi",
            "msisdn-123456789",
            "2001:db8:99::/64",
            (200, 200),
        ),
        (
            "PDU_SES_REL",
            "supi",
            "imsi-001010000000001",
            "2001:db8:99::/64",
            (200, 404),
        ),
        (
            "PDU_SES_REL",
            "supi",
            "imsi-001010000000001",
            "2001:db8:85a3:8d3::/64",
            (404, 404),
        ),
    ] {
        let told = json!({"notifId": name, "eventNotifs": [{
            "event": event, "timeStamp": jiff::Timestamp::now(),
            kind: who, "pduSeId": 1, "ipv6Prefixes": [prefix],
        }]});
        assert_eq!(post(&rig, &notification(&path, &told)).await, 204);
        let answered = (
            rig.ask(&by_supi).await.status,
            rig.ask(&by_gpsi).await.status,
        );
        assert_eq!(answered, statuses, "{event} {prefix}");
    }
}

/// One session's addresses can be in such doubt that the SMF is asked for all of them anew.
#[tokio::test]
async fn more_doubt_than_is_kept_is_a_gap() {
    let rig = fed(SESSIONS, |_| {}).await;
    let path = path_of(&rig, "sessions").await;
    let name = path.rsplit('/').next().unwrap();
    // Each is older than the beginning, which the report told.
    let late: Vec<_> = (0..17)
        .map(|number| {
            json!({
                "event": "UE_IP_CH", "timeStamp": format!("2020-01-01T00:00:{number:02}Z"),
                "supi": "imsi-001010000000001", "pduSeId": 1,
                "adIpv6Prefix": format!("2001:db8:{number}::/64"),
            })
        })
        .collect();
    for (told, is_gap) in [(&late[..16], false), (&late[16..], true)] {
        let body = json!({"notifId": name, "eventNotifs": told});
        assert_eq!(post(&rig, &notification(&path, &body)).await, 204);
        if is_gap {
            eventually("the gap shows", async || {
                (losses(&rig.bridge, "sessions").await > 0.5).then_some(())
            })
            .await;
        } else {
            assert!(losses(&rig.bridge, "sessions").await < 0.5);
        }
    }
    until_live(&rig.bridge, SESSIONS).await;
}

/// Who says nothing takes nobody's place for long.
#[tokio::test]
async fn a_connection_without_a_preface_is_closed() {
    let rig = fed(EQUIPMENT, |config| config.callback.max_connections = 4).await;
    let mut silent = Vec::new();
    for said in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let mut connection = Raw::connect(callback(&rig)).await;
        connection.write(said).await;
        silent.push(connection);
    }
    for connection in &mut silent {
        connection.until_end().await;
    }
    let path = path_of(&rig, "equipment").await;
    assert_eq!(post(&rig, &notification(&path, &report())).await, 204);
}

/// Who answers pings and says nothing goes when another one comes.
#[tokio::test]
async fn a_connection_that_brings_nothing_makes_way() {
    let rig = fed(EQUIPMENT, |config| config.callback.max_connections = 2).await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let stream = TcpStream::connect(callback(&rig)).await.unwrap();
        let (sender, connection) =
            http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        idle.push((sender, tokio::spawn(connection)));
    }
    eventually("there is a place", async || {
        let stream = TcpStream::connect(callback(&rig)).await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .ok()?;
        let connection = tokio::spawn(connection);
        let nobodys = Request::post("http://localhost/callback/equipment/0-0")
            .body(Full::new(Bytes::new()))
            .unwrap();
        let answer = sender.send_request(nobodys).await;
        connection.abort();
        answer.ok().filter(|answer| answer.status() == 404)
    })
    .await;
    assert!(idle[0].1.is_finished() || idle[1].1.is_finished());
    until_live(&rig.bridge, EQUIPMENT).await;
}

/// Each feed has room of its own.
#[tokio::test]
async fn a_flooded_feed_keeps_no_other_one_out() {
    let rig = fed(BOTH, |_| {}).await;
    let path = path_of(&rig, "sessions").await;
    // More than are taken at once: their bodies never come.
    let mut flood = Vec::new();
    for _ in 0..2 {
        let stream = TcpStream::connect(callback(&rig)).await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        flood.push(tokio::spawn(async move {
            let _ = connection.await;
        }));
        for _ in 0..60 {
            let frames = stream::pending::<Result<Frame<Bytes>, Infallible>>();
            let request = Request::post(format!("http://localhost{path}"))
                .header("content-type", "application/json")
                .body(StreamBody::new(Box::pin(frames)))
                .unwrap();
            sender.ready().await.unwrap();
            flood.push(tokio::spawn({
                let answer = sender.send_request(request);
                async move {
                    let _ = answer.await;
                }
            }));
        }
    }
    eventually("there is no room for more", async || {
        (outcomes(&rig, "shed").await > 0.5).then_some(())
    })
    .await;
    let path = path_of(&rig, "equipment").await;
    assert_eq!(post(&rig, &notification(&path, &report())).await, 204);
    assert!(losses(&rig.bridge, "equipment").await < 0.5);
    for task in flood {
        task.abort();
    }
}
