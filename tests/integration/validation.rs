//! Which bodies are no valid request (northbound.md), and which odd ones are.

use serde_json::{Value, json};

use crate::support::Rig;
use crate::support::client::{Ask, Connection};

async fn refuses(rig: &Rig, rows: &[(Value, &str, &str)]) {
    let mut connection = Connection::http1(rig.bridge.api).await;
    for (body, code, message) in rows {
        for ask in [Ask::identifier(body), Ask::device_type(body)] {
            let answer = connection.send(&ask).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (400, *code),
                "{body}"
            );
            assert!(
                answer.message().contains(message),
                "{body}: {}",
                answer.message()
            );
        }
    }
    assert_eq!(rig.control.total().await, 0, "the core was asked");
}

#[tokio::test]
async fn identifiers_of_a_wrong_format_are_named() {
    let rig = Rig::start().await;
    let long_nai = format!("a@{}", "b".repeat(252));
    let mut rows = Vec::new();
    for value in [
        json!("1234"),
        json!("1234567890123456"),
        json!("++123456789"),
        json!("+"),
        json!(""),
        json!("12345678a"),
        json!(" 123456789"),
        json!("123456789\n"),
        json!("123-456-789"),
        json!("١٢٣٤٥٦٧٨٩"),
        json!(123_456_789),
        json!(null),
        json!(true),
        json!(["123456789"]),
        json!({"phoneNumber": "123456789"}),
    ] {
        rows.push((
            json!({ "phoneNumber": value }),
            "INVALID_ARGUMENT",
            "Invalid format: phoneNumber",
        ));
    }
    for value in [
        json!(""),
        json!("@"),
        json!("a"),
        json!("a@"),
        json!("@b"),
        json!("a@b@c"),
        json!(long_nai),
        json!(1),
        json!(null),
        json!([]),
    ] {
        rows.push((
            json!({ "networkAccessIdentifier": value }),
            "INVALID_ARGUMENT",
            "Invalid format: networkAccessIdentifier",
        ));
    }
    for value in [
        json!(""),
        json!("2001:db8::1%eth0"),
        json!("fe80::1%1"),
        json!("2001:db8::/64"),
        json!("::ffff:84.125.93.10"),
        json!("::ffff:547d:5d0a"),
        json!("84.125.93.10"),
        json!("2001:db8:::1"),
        json!("2001:db8::12345"),
        json!("[2001:db8::1]"),
        json!("1:2:3:4:5:6:7:8:9"),
        json!(" 2001:db8::1"),
        json!(null),
        json!(1),
        json!({"address": "2001:db8::1"}),
    ] {
        rows.push((
            json!({ "ipv6Address": value }),
            "INVALID_ARGUMENT",
            "Invalid format: ipv6Address",
        ));
    }
    refuses(&rig, &rows).await;
}

#[tokio::test]
async fn an_ipv4_address_is_judged_member_by_member() {
    let rig = Rig::start().await;
    let mut rows = vec![
        (
            json!({"ipv4Address": "84.125.93.10"}),
            "INVALID_ARGUMENT",
            "ipv4Address",
        ),
        (
            json!({"ipv4Address": null}),
            "INVALID_ARGUMENT",
            "ipv4Address",
        ),
        (
            json!({"ipv4Address": {}}),
            "INVALID_ARGUMENT",
            "ipv4Address",
        ),
        (
            json!({"ipv4Address": {"publicAddress": "84.125.93.10"}}),
            "INVALID_ARGUMENT",
            "ipv4Address",
        ),
        (
            json!({"ipv4Address": {"publicPort": 59_765}}),
            "INVALID_ARGUMENT",
            "ipv4Address",
        ),
        (
            json!({"ipv4Address": {"privateAddress": "10.45.0.1"}}),
            "INVALID_ARGUMENT",
            "ipv4Address",
        ),
    ];
    for address in [
        json!("084.125.93.10"),
        json!("84.125.93"),
        json!("84.125.93.256"),
        json!("84.125.93.10/32"),
        json!("0x54.125.93.10"),
        json!("84.125.93.10 "),
        json!("2001:db8::1"),
        json!(1),
        json!(null),
    ] {
        let public = json!({"ipv4Address": {"publicAddress": address, "publicPort": 59_765}});
        let private =
            json!({"ipv4Address": {"publicAddress": "84.125.93.10", "privateAddress": address}});
        rows.push((
            public,
            "INVALID_ARGUMENT",
            "Invalid format: ipv4Address.publicAddress",
        ));
        rows.push((
            private,
            "INVALID_ARGUMENT",
            "Invalid format: ipv4Address.privateAddress",
        ));
    }
    for port in [
        json!("59765"),
        json!(59_765.5),
        json!(true),
        json!(null),
        json!([59_765]),
    ] {
        let body = json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": port}});
        rows.push((
            body,
            "INVALID_ARGUMENT",
            "Invalid format: ipv4Address.publicPort",
        ));
    }
    for port in [
        json!(0),
        json!(1023),
        json!(65_536),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
    ] {
        let body = json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": port}});
        rows.push((
            body,
            "OUT_OF_RANGE",
            "Invalid value: ipv4Address.publicPort",
        ));
    }
    refuses(&rig, &rows).await;
}

/// What `serde_json` cannot write: literals, names that stand twice, and what is no JSON.
#[tokio::test]
async fn bodies_are_judged_by_their_text() {
    let rig = Rig::start().await;
    let port = |literal: &str| {
        format!(
            r#"{{"ipv4Address": {{"publicAddress": "84.125.93.10", "publicPort": {literal}}}}}"#
        )
    };
    let deep = |open: &str, times| {
        format!(
            r#"{{"phoneNumber": "123456789", "x": {}"#,
            open.repeat(times)
        )
    };
    let mut connection = Connection::http1(rig.bridge.api).await;
    for (body, code) in [
        (port("59765.0"), "INVALID_ARGUMENT"),
        (port("5.9765e4"), "INVALID_ARGUMENT"),
        (port("059765"), "INVALID_ARGUMENT"),
        (port("+59765"), "INVALID_ARGUMENT"),
        (port(""), "INVALID_ARGUMENT"),
        (port(&"9".repeat(400)), "OUT_OF_RANGE"),
        (port(&format!("-{}", "9".repeat(400))), "OUT_OF_RANGE"),
        (port("-0"), "OUT_OF_RANGE"),
        (String::new(), "INVALID_ARGUMENT"),
        ("{}".to_owned(), "INVALID_ARGUMENT"),
        ("[]".to_owned(), "INVALID_ARGUMENT"),
        ("null".to_owned(), "INVALID_ARGUMENT"),
        ("\"123456789\"".to_owned(), "INVALID_ARGUMENT"),
        (r#"{"device": {"phoneNumber": "123456789"}}"#.to_owned(), "INVALID_ARGUMENT"),
        (r#"{"phonenumber": "123456789"}"#.to_owned(), "INVALID_ARGUMENT"),
        (r#"{"phoneNumber": "123456789""#.to_owned(), "INVALID_ARGUMENT"),
        (r#"{"phoneNumber": "123456789",}"#.to_owned(), "INVALID_ARGUMENT"),
        (r#"{"phoneNumber": "123456789"} {}"#.to_owned(), "INVALID_ARGUMENT"),
        ("{'phoneNumber': '123456789'}".to_owned(), "INVALID_ARGUMENT"),
        ("\u{feff}{\"phoneNumber\": \"123456789\"}".to_owned(), "INVALID_ARGUMENT"),
        (r#"{"phoneNumber": "123456789", "phoneNumber": "123456789"}"#.to_owned(), "INVALID_ARGUMENT"),
        (r#"{"phoneNumber": "123456789", "phone\u004eumber": "123456789"}"#.to_owned(), "INVALID_ARGUMENT"),
        (r#"{"phoneNumber": "123456789", "x": {"y": 1, "y": 2}}"#.to_owned(), "INVALID_ARGUMENT"),
        (
            r#"{"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 5000, "publicPort": 5000}}"#
                .to_owned(),
            "INVALID_ARGUMENT",
        ),
        (deep("[", 5000), "INVALID_ARGUMENT"),
        (deep("{\"x\":", 2500), "INVALID_ARGUMENT"),
        (format!("{}1{}}}", deep("[", 5000), "]".repeat(5000)), "INVALID_ARGUMENT"),
        ("[".repeat(16_000), "INVALID_ARGUMENT"),
        (format!(r#"{{"ipv4Address": {}1{}}}"#, "[".repeat(5000), "]".repeat(5000)), "INVALID_ARGUMENT"),
    ] {
        let answer = connection.send(&Ask::any().body(body.clone())).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{body:.80}");
    }
    for bytes in [
        b"\xff\xfe\x00".as_slice(),
        b"{\"phoneNumber\": \"12345\xff6789\"}",
        b"{\"phoneNumber\": \"123456789\", \"x\": \"\xc3\x28\"}",
        b"{\"phoneNumber\": \"12345\x006789\"}",
        b"\0",
    ] {
        let answer = connection.send(&Ask::any().body(bytes)).await;
        answer.is_error(400, "INVALID_ARGUMENT");
    }
    assert_eq!(rig.control.total().await, 0, "the core was asked");
}

#[tokio::test]
async fn unusual_but_valid_bodies_are_answered() {
    let rig = Rig::start().await;
    let padded = format!(
        r#"{{"phoneNumber": "123456789", "x": "{}"}}"#,
        "y".repeat(10_000)
    );
    for body in [
        "\r\n\t {\"phoneNumber\"\t:\n\"123456789\"}  \r\n",
        r#"{"phone\u004eumber": "\u00312345678\u0039"}"#,
        r#"{"phoneNumber": "123456789", "device": null, "x": [1, -0.5e-3, true, {"a": [], "b": {}}]}"#,
        r#"{"x": "\ud83d\ude00", "phoneNumber": "123456789"}"#,
        r#"{"phoneNumber": "123456789", "x": 123456789012345678901234567890}"#,
        r#"{"phoneNumber": "123456789", "": 1, "phoneNumber ": 2, "PHONENUMBER": 3}"#,
        r#"{"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59765, "x": 1}}"#,
        padded.as_str(),
    ] {
        let answer = rig.bridge.send(&Ask::any().body(body.to_owned())).await;
        assert_eq!(answer.status, 200, "{body:.80}: {}", answer.json());
        answer.is_imei("490154203237518");
    }
    // At the edges of their formats, and of nobody.
    for body in [
        json!({"phoneNumber": "00000"}),
        json!({"phoneNumber": "+999999999999999"}),
        json!({"networkAccessIdentifier": format!("a@{}", "b".repeat(251))}),
        json!({"networkAccessIdentifier": "a/b?c#d%2F..&e=f@x"}),
        json!({"networkAccessIdentifier": "ünïcode@exämple"}),
        json!({"networkAccessIdentifier": "..@.."}),
        json!({"ipv6Address": "64:ff9b::84.125.93.10"}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 1024}}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 65_535}}),
    ] {
        let answer = rig.ask(&body).await;
        assert_eq!(answer.status, 404, "{body}: {}", answer.json());
    }
}

#[tokio::test]
async fn the_body_has_its_limit() {
    let rig = Rig::start().await;
    let of_length = |length: usize| {
        let mut body = br#"{"phoneNumber": "123456789"}"#.to_vec();
        body.resize(length, b' ');
        Ask::any().body(body)
    };
    for (length, status) in [(16 * 1024, 200), (16 * 1024 + 1, 400), (1024 * 1024, 400)] {
        let mut http1 = Connection::http1(rig.bridge.api).await;
        let mut http2 = Connection::http2(rig.bridge.api).await;
        for connection in [&mut http1, &mut http2] {
            let answer = connection.send(&of_length(length)).await;
            assert_eq!(answer.status, status, "{length}");
            // The connection can be used again.
            assert_eq!(connection.send(&Ask::any()).await.status, 200, "{length}");
        }
    }
}

/// A parser may have limits (RFC 8259 9), and meets them before it knows what is ignored.
#[tokio::test]
async fn what_is_ignored_is_read_within_limits() {
    let rig = Rig::start().await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (ignored, status) in [
        ("1e300".to_owned(), 200),
        ("1e999".to_owned(), 400),
        (nested(100), 200),
        (nested(8000), 400),
    ] {
        let body = format!(r#"{{"phoneNumber": "123456789", "ignored": {ignored}}}"#);
        let answer = rig.bridge.send(&Ask::any().body(body)).await;
        assert_eq!(answer.status, status, "{}", &ignored[..5]);
    }
}
