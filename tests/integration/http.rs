//! HTTP itself: both versions on one port, and what their clients may do.

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::support::client::{Ask, Connection, RETRIEVE_IDENTIFIER};
use crate::support::control::GET_3GPP;
use crate::support::raw::Raw;
use crate::support::{Rig, eventually};

const BODY: &str = r#"{"phoneNumber": "123456789"}"#;

/// A request as it stands on the wire.
fn request(headers: &str, body: &str) -> String {
    format!(
        "POST {RETRIEVE_IDENTIFIER} HTTP/1.1\r\nhost: bridge\r\n\
         content-type: application/json\r\n{headers}\r\n{body}"
    )
}

fn whole_request() -> String {
    request(&format!("content-length: {}\r\n", BODY.len()), BODY)
}

#[tokio::test]
async fn both_versions_are_spoken_on_one_port() {
    let rig = Rig::start().await;
    let mut http1 = Connection::http1(rig.bridge.api).await;
    let mut http2 = Connection::http2(rig.bridge.api).await;
    for _ in 0..3 {
        for connection in [&mut http1, &mut http2] {
            connection
                .send(&Ask::any())
                .await
                .is_imei("490154203237518");
        }
    }
    let accepted = rig
        .bridge
        .metric("pei_bridge_connections_accepted_total", &[])
        .await;
    assert!(
        (accepted - 2.0).abs() < 0.1,
        "connections are kept: {accepted}"
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let rig = Rig::start().await;
    let mut raw = Raw::connect(rig.bridge.api).await;
    let second = whole_request().replace("123456789", "999999999");
    raw.write([whole_request(), second, whole_request()].concat())
        .await;
    for status in [200, 404, 200] {
        let answer = raw.answer().await.unwrap();
        answer.check(&Ask::any());
        assert_eq!(answer.status, status);
    }
    raw.end().await;
    assert!(raw.until_closed().await.is_empty());
}

#[tokio::test]
async fn a_request_may_come_in_any_pieces() {
    let rig = Rig::start().await;
    let mut raw = Raw::connect(rig.bridge.api).await;
    for byte in whole_request().bytes() {
        raw.write([byte]).await;
    }
    raw.answer().await.unwrap().is_imei("490154203237518");
    let chunks = BODY
        .chars()
        .fold(String::new(), |so_far, c| so_far + &format!("1\r\n{c}\r\n"));
    let chunked = request(
        "transfer-encoding: chunked\r\n",
        &format!("{chunks}0\r\n\r\n"),
    );
    raw.write(chunked).await;
    raw.answer().await.unwrap().is_imei("490154203237518");
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_told_to_go_on() {
    let rig = Rig::start().await;
    let mut raw = Raw::connect(rig.bridge.api).await;
    let expecting = format!("content-length: {}\r\nexpect: 100-continue\r\n", BODY.len());
    raw.write(request(&expecting, "")).await;
    assert_eq!(raw.answer().await.unwrap().status, 100);
    raw.write(BODY).await;
    raw.answer().await.unwrap().is_imei("490154203237518");
}

#[tokio::test]
async fn connection_close_and_http_1_0_are_obeyed() {
    let rig = Rig::start().await;
    let length = BODY.len();
    for text in [
        request(
            &format!("content-length: {length}\r\nconnection: close\r\n"),
            BODY,
        ),
        whole_request().replace("HTTP/1.1", "HTTP/1.0"),
    ] {
        let mut raw = Raw::connect(rig.bridge.api).await;
        raw.write(text).await;
        raw.answer().await.unwrap().is_imei("490154203237518");
        assert!(raw.until_closed().await.is_empty());
    }
}

#[tokio::test]
async fn a_client_that_closes_its_side_still_gets_its_answer() {
    let rig = Rig::start().await;
    rig.control.fault(GET_3GPP, &json!({"latencyMs": 50})).await;
    let mut raw = Raw::connect(rig.bridge.api).await;
    raw.write(whole_request()).await;
    raw.end().await;
    raw.answer().await.unwrap().is_imei("490154203237518");
    assert!(raw.until_closed().await.is_empty());
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_refused() {
    let rig = Rig::start().await;
    let mut raw = Raw::connect(rig.bridge.api).await;
    raw.write(request("content-length: 100\r\n", BODY)).await;
    raw.end().await;
    let answer = raw.answer().await;
    // Nobody may be there to read it; where somebody is, it is this one.
    if let Some(answer) = answer {
        answer.is_error(400, "INVALID_ARGUMENT");
    }
    assert_eq!(rig.control.total().await, 0);
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let rig = Rig::start().await;
    for text in [
        "GET\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}",
        "POST / HTTP/9.9\r\n\r\n",
        "POST / HTTP/1.1\r\nno colon\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
        "PRI * HTTP/1.1\r\n\r\n",
    ] {
        let mut raw = Raw::connect(rig.bridge.api).await;
        raw.write(text).await;
        raw.end().await;
        let said = raw.until_closed().await;
        let said = String::from_utf8_lossy(&said);
        assert!(
            said.is_empty() || !said.starts_with("HTTP/1.1 2"),
            "{text:?}: {said}"
        );
    }
    rig.bridge
        .send(&Ask::any())
        .await
        .is_imei("490154203237518");
}

#[tokio::test]
async fn a_header_section_over_32_kib_is_431() {
    let rig = Rig::start().await;
    let large = "x".repeat(33 * 1024);
    let mut raw = Raw::connect(rig.bridge.api).await;
    raw.try_write(request(&format!("x-large: {large}\r\n"), ""))
        .await;
    assert_eq!(raw.answer().await.unwrap().status, 431);
    let mut http2 = Connection::http2(rig.bridge.api).await;
    let answer = http2.try_send(&Ask::any().header("x-large", &*large)).await;
    assert_eq!(answer.unwrap().status, 431);
    assert_eq!(http2.send(&Ask::any()).await.status, 200);
    // Below the limit, in one line and in many.
    let fits = Ask::any().header("x-large", "x".repeat(30 * 1024));
    assert_eq!(rig.bridge.send(&fits).await.status, 200);
    assert_eq!(http2.send(&fits).await.status, 200);
    let many = (0..2000).fold(String::new(), |so_far, index| {
        so_far + &format!("x-{index}: y\r\n")
    });
    let mut raw = Raw::connect(rig.bridge.api).await;
    raw.try_write(request(&many, "")).await;
    assert_eq!(raw.answer().await.unwrap().status, 431);
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let rig = Rig::configured(|config| config.cache.equipment = Duration::ZERO).await;
    rig.control.fault(GET_3GPP, &json!({"latencyMs": 20})).await;
    let connection = Connection::http2(rig.bridge.api).await;
    let streams = (0..600).map(|index| {
        let mut connection = connection.clone();
        tokio::spawn(async move {
            let number = ["123456789", "34600000002", "34600000003"][index % 3];
            let body = json!({ "phoneNumber": number });
            (index, connection.send(&Ask::identifier(&body)).await)
        })
    });
    for stream in streams.collect::<Vec<_>>() {
        let (index, answer) = stream.await.unwrap();
        answer.is_imei(["490154203237518", "356938035643809", "356938035643825"][index % 3]);
    }
}

#[tokio::test]
async fn a_stream_that_is_given_up_leaves_the_others_alone() {
    let rig = Rig::configured(|config| config.cache.equipment = Duration::ZERO).await;
    rig.control.fault(GET_3GPP, &json!({"mode": "hang"})).await;
    let mut connection = Connection::http2(rig.bridge.api).await;
    let mut given_up = connection.clone();
    let task = tokio::spawn(async move { given_up.send(&Ask::any()).await });
    let in_flight = async |count: f64| {
        let now = rig
            .bridge
            .metric("pei_bridge_requests_in_flight", &[])
            .await;
        ((now - count).abs() < 0.1).then_some(())
    };
    eventually("the request is in work", async || in_flight(1.0).await).await;
    task.abort();
    eventually("the request is given up", async || in_flight(0.0).await).await;
    rig.control.clear_faults().await;
    connection
        .send(&Ask::any())
        .await
        .is_imei("490154203237518");
}

#[tokio::test]
async fn head_has_the_head_of_the_answer_alone() {
    let rig = Rig::start().await;
    let mut http1 = Connection::http1(rig.bridge.api).await;
    let mut http2 = Connection::http2(rig.bridge.api).await;
    for connection in [&mut http1, &mut http2] {
        let get = connection.send(&Ask::any().method(Method::GET)).await;
        let head = connection.send(&Ask::any().method(Method::HEAD)).await;
        assert_eq!(head.status, get.status);
        assert_eq!(
            head.header("content-length"),
            get.header("content-length"),
            "RFC 9110 9.3.2"
        );
        assert_eq!(connection.send(&Ask::any()).await.status, 200);
    }
}

/// Other forms of a request target (RFC 9112 3.2), and what is no target of ours.
#[tokio::test]
async fn every_form_of_target_is_understood() {
    let rig = Rig::start().await;
    let absolute = whole_request().replace("POST /", "POST http://bridge.example/");
    for (text, status) in [
        (absolute, 200),
        ("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 404),
        (
            "CONNECT bridge:443 HTTP/1.1\r\nhost: bridge:443\r\n\r\n".to_owned(),
            404,
        ),
        ("POST /?a=b HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 404),
    ] {
        let mut raw = Raw::connect(rig.bridge.api).await;
        raw.write(&text).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, status, "{text}");
        answer.check(&Ask::any());
    }
}

/// RFC 9113 8.1.1: a stream error, which is the end of the stream and not of its neighbours.
#[tokio::test]
async fn a_malformed_stream_leaves_its_connection_alone() {
    let rig = Rig::start().await;
    let mut http2 = Connection::http2(rig.bridge.api).await;
    for length in ["3", "100"] {
        let malformed = Ask::any().header("content-length", length);
        assert!(http2.try_send(&malformed).await.is_err());
        assert_eq!(http2.send(&Ask::any()).await.status, 200);
    }
}
