//! Slow clients are cut off, not waited for; too many are turned away.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::client::{Ask, Connection, RETRIEVE_IDENTIFIER};
use crate::support::control::GET_3GPP;
use crate::support::raw::Raw;
use crate::support::{PATIENCE, Rig, eventually};

/// Long enough that a request over loopback is through on a loaded machine.
const SHORT: Duration = Duration::from_millis(300);

/// A connection that was not idle yet.
async fn connect(rig: &Rig, version: u8) -> Connection {
    match version {
        1 => Connection::http1(rig.bridge.api).await,
        _ => Connection::http2(rig.bridge.api).await,
    }
}

async fn timed_out(rig: &Rig) -> f64 {
    rig.bridge
        .metric("pei_bridge_connections_timed_out_total", &[])
        .await
}

#[tokio::test]
async fn a_slow_header_section_is_cut_off() {
    let rig = Rig::configured(|config| config.api.header_read_timeout = SHORT).await;
    let kept = Ask::any();
    for start in ["P", "PR", "POST ", "POST / HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let before = timed_out(&rig).await;
        let mut raw = Raw::connect(rig.bridge.api).await;
        raw.write(start).await;
        // A byte now and then does not help.
        while raw.try_write("x").await {
            tokio::time::sleep(SHORT / 4).await;
        }
        assert!(timed_out(&rig).await > before, "{start:?} is counted");
    }
    // After an answer as well.
    let mut raw = Raw::connect(rig.bridge.api).await;
    let body = kept.body.len();
    let text = format!(
        "POST {RETRIEVE_IDENTIFIER} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {body}\r\n\r\n"
    );
    raw.write(text).await;
    raw.write(&kept.body).await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    raw.write("POST ").await;
    assert!(raw.until_closed().await.is_empty());
}

/// A frame of HTTP/2 (RFC 9113 4.1) on the first stream.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
    frame.extend_from_slice(payload);
    frame
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// `:method: POST`, out of the static table.
const METHOD: u8 = 0x83;

/// However it is cut into frames, and whatever comes of it now and then.
#[tokio::test]
async fn a_slow_header_section_of_http2_is_cut_off() {
    let rig = Rig::configured(|config| config.api.header_read_timeout = SHORT).await;
    let open = [PREFACE, SETTINGS, &frame(HEADERS, 0, &[METHOD])].concat();
    let half_a_continuation = &frame(CONTINUATION, 0, &[METHOD; 200])[..30];
    let half_a_section = &frame(HEADERS, 4, &[METHOD; 200])[..30];
    for (name, start, now_and_then) in [
        ("no preface", PREFACE[..10].to_vec(), vec![]),
        ("no end of the section", open.clone(), vec![]),
        (
            "its end byte by byte",
            [&open, half_a_continuation].concat(),
            vec![METHOD],
        ),
        (
            "all of it byte by byte",
            [PREFACE, SETTINGS, half_a_section].concat(),
            vec![METHOD],
        ),
    ] {
        let before = timed_out(&rig).await;
        let mut raw = Raw::connect(rig.bridge.api).await;
        raw.write(&start).await;
        let cut_off = async {
            while !now_and_then.is_empty() && raw.try_write(&now_and_then).await {
                tokio::time::sleep(SHORT / 4).await;
            }
            raw.until_closed().await
        };
        let cut_off = tokio::time::timeout(PATIENCE, cut_off).await;
        cut_off.unwrap_or_else(|_| panic!("{name}: it is not cut off"));
        assert!(timed_out(&rig).await > before, "{name}: it is counted");
    }
    // What is said between two requests begins none.
    let mut connection = Connection::http2(rig.bridge.api).await;
    for _ in 0..2 {
        assert_eq!(connection.send(&Ask::any()).await.status, 200);
        tokio::time::sleep(SHORT * 5).await;
    }
    assert_eq!(connection.send(&Ask::any()).await.status, 200);
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let rig = Rig::configured(|config| {
        config.api.header_read_timeout = SHORT;
        config.api.idle_timeout = SHORT;
    })
    .await;
    let silent = Raw::connect(rig.bridge.api).await;
    assert!(silent.until_closed().await.is_empty());
    for version in [1, 2] {
        let mut connection = connect(&rig, version).await;
        let before = timed_out(&rig).await;
        assert_eq!(connection.send(&Ask::any()).await.status, 200);
        eventually("the idle connection is closed", async || {
            (timed_out(&rig).await > before).then_some(())
        })
        .await;
        let answer = eventually("it cannot be used", async || {
            connection.try_send(&Ask::any()).await.err()
        });
        answer.await;
    }
}

#[tokio::test]
async fn a_long_request_does_not_make_a_connection_idle() {
    let rig = Rig::configured(|config| config.api.idle_timeout = SHORT).await;
    rig.control
        .fault(GET_3GPP, &json!({"latencyMs": 1000}))
        .await;
    for version in [1, 2] {
        connect(&rig, version)
            .await
            .send(&Ask::any())
            .await
            .is_imei("490154203237518");
    }
}

#[tokio::test]
async fn a_slow_body_is_cut_off() {
    let rig = Rig::configured(|config| config.api.body_read_timeout = SHORT).await;
    let head = format!(
        "POST {RETRIEVE_IDENTIFIER} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: 1000\r\n\r\n{{"
    );
    let mut raw = Raw::connect(rig.bridge.api).await;
    raw.write(&head).await;
    let answer = raw.answer().await.unwrap();
    answer.check(&Ask::any());
    answer.is_error(400, "INVALID_ARGUMENT");
    assert!(raw.until_closed().await.is_empty());
    // The deadline of the request ends it too, where it is the shorter one.
    let rig = Rig::configured(|config| config.api.request_timeout = SHORT).await;
    let mut raw = Raw::connect(rig.bridge.api).await;
    raw.write(&head).await;
    let answer = raw.answer().await.unwrap();
    answer.check(&Ask::any());
    assert!(matches!(answer.status, 400 | 504), "{}", answer.status);
    assert!(raw.until_closed().await.is_empty());
    assert_eq!(rig.control.total().await, 0);
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_turned_away() {
    let rig = Rig::configured(|config| config.api.max_connections = 2).await;
    let mut first = Connection::http1(rig.bridge.api).await;
    let mut second = Connection::http2(rig.bridge.api).await;
    for connection in [&mut first, &mut second] {
        assert_eq!(connection.send(&Ask::any()).await.status, 200);
    }
    for _ in 0..10 {
        let mut third = Raw::connect(rig.bridge.api).await;
        // What was sent already must not cost the client its answer.
        third
            .write(format!(
                "POST / HTTP/1.1\r\nx: {}\r\n\r\n",
                "y".repeat(5000)
            ))
            .await;
        let answer = third.answer().await.expect("an answer");
        answer.check(&Ask::any());
        answer.is_error(503, "UNAVAILABLE");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.header("connection"), Some("close"));
    }
    let shed = rig
        .bridge
        .metric("pei_bridge_shed_total", &["connection"])
        .await;
    assert!((shed - 10.0).abs() < 0.1, "{shed}");
    // Those inside are served on, and a place that is free is taken.
    assert_eq!(second.send(&Ask::any()).await.status, 200);
    drop(first);
    eventually("there is room again", async || {
        let mut connection = Connection::http1(rig.bridge.api).await;
        let answer = connection.try_send(&Ask::any()).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
}

/// Those who are turned away and stay are told for as long as there are few of them.
#[tokio::test]
async fn not_everybody_is_told_why_he_is_turned_away() {
    let rig = Rig::configured(|config| config.api.max_connections = 1).await;
    let mut inside = Connection::http1(rig.bridge.api).await;
    assert_eq!(inside.send(&Ask::any()).await.status, 200);
    eventually("some are closed without a word", async || {
        let mut outside = Vec::new();
        for _ in 0..400 {
            outside.push(TcpStream::connect(rig.bridge.api).await.unwrap());
        }
        let mut told = 0;
        for stream in &mut outside {
            let mut first = [0];
            told += stream.read(&mut first).await.unwrap_or(0);
        }
        assert!(told > 0, "the first are told");
        (told < outside.len()).then_some(())
    })
    .await;
    assert_eq!(inside.send(&Ask::any()).await.status, 200);
    drop(inside);
    eventually("there is room again", async || {
        let mut connection = Connection::http1(rig.bridge.api).await;
        let answer = connection.try_send(&Ask::any()).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_shed() {
    let rig = Rig::configured(|config| {
        config.api.max_requests_in_flight = 2;
        config.api.request_timeout = PATIENCE;
        config.api.body_read_timeout = PATIENCE;
    })
    .await;
    let mut unfinished = Vec::new();
    for _ in 0..2 {
        let mut raw = Raw::connect(rig.bridge.api).await;
        let head = format!(
            "POST {RETRIEVE_IDENTIFIER} HTTP/1.1\r\nhost: x\r\ncontent-length: 30\r\n\
             content-type: application/json\r\n\r\n{{"
        );
        raw.write(head).await;
        unfinished.push(raw);
    }
    eventually("both are in work", async || {
        let in_work = rig.bridge.metric("pei_bridge_requests_in_flight", &[]);
        (in_work.await > 1.5).then_some(())
    })
    .await;
    let ask = Ask::any().header("x-correlator", "b4333c46-49c0-4f62-80d7-f0ef930f1c46");
    for mut connection in [
        Connection::http1(rig.bridge.api).await,
        Connection::http2(rig.bridge.api).await,
    ] {
        for _ in 0..2 {
            let answer = connection.send(&ask).await;
            answer.is_error(503, "UNAVAILABLE");
            assert!(answer.header("retry-after").is_some());
        }
    }
    let shed = rig
        .bridge
        .metric("pei_bridge_shed_total", &["request"])
        .await;
    assert!((shed - 4.0).abs() < 0.1, "{shed}");
    // Given up, they make room.
    drop(unfinished);
    eventually("there is room again", async || {
        (rig.bridge.send(&ask).await.status == 200).then_some(())
    })
    .await;
}

/// A client that does not read what it asked for is not waited for either.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let rig = Rig::configured(|config| config.api.idle_timeout = SHORT).await;
    let text = "GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
    let mut raw = Raw::connect(rig.bridge.api).await;
    let flood = async { while raw.try_write(&text).await {} };
    tokio::time::timeout(PATIENCE, flood)
        .await
        .expect("the connection is ended");
}

/// A header section that never ends holds nothing up, whatever its own time may be.
#[tokio::test]
async fn a_half_sent_request_does_not_hold_a_drain() {
    let long = Duration::from_hours(1);
    let http2 = [PREFACE, SETTINGS, &frame(HEADERS, 0, &[METHOD])].concat();
    for half in [b"POST / HTTP/1.1\r\nhost: x\r\n".to_vec(), http2] {
        let rig = Rig::configured(|config| {
            config.api.drain_timeout = long;
            config.api.header_read_timeout = long;
            config.api.idle_timeout = long;
        })
        .await;
        let mut raw = Raw::connect(rig.bridge.api).await;
        raw.write(half).await;
        eventually("it is being served", async || {
            let open = rig.bridge.metric("pei_bridge_connections", &[]).await;
            (open > 0.5).then_some(())
        })
        .await;
        rig.bridge.stop();
        rig.bridge.ended().await;
    }
}
