//! Path, method and headers of a request, and the order in which a request is judged.

use http::Method;
use serde_json::json;

use crate::support::Rig;
use crate::support::answer::is_uuid;
use crate::support::client::{Ask, Connection, RETRIEVE_IDENTIFIER};
use crate::support::control::GET_3GPP;

const UUID: &str = "b4333c46-49c0-4f62-80d7-f0ef930f1c46";

#[tokio::test]
async fn the_content_type_must_be_json() {
    let rig = Rig::start().await;
    for (content_type, status) in [
        ("application/json", 200),
        ("Application/JSON", 200),
        ("application/json; charset=utf-8", 200),
        ("application/json;charset=UTF-8", 200),
        ("text/plain", 400),
        ("application/jsonx", 400),
        ("application/x-www-form-urlencoded", 400),
        ("application/merge-patch+json", 400),
        ("text/html; application/json", 400),
        ("", 400),
    ] {
        let ask = Ask::any().without("content-type");
        let ask = ask.header("content-type", content_type);
        let answer = rig.bridge.send(&ask).await;
        assert_eq!(answer.status, status, "{content_type:?}");
        if status == 400 {
            answer.is_error(400, "INVALID_ARGUMENT");
        }
    }
    let untyped = Ask::any().without("content-type");
    rig.bridge
        .send(&untyped)
        .await
        .is_error(400, "INVALID_ARGUMENT");
}

#[tokio::test]
async fn accept_is_respected() {
    let rig = Rig::start().await;
    for (accept, status) in [
        ("application/json", 200),
        ("*/*", 200),
        ("application/*", 200),
        ("APPLICATION/JSON", 200),
        (
            "text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8",
            200,
        ),
        ("text/html;q=1, application/json;q=0.001", 200),
        ("application/json;q=0, */*;q=0", 406),
        ("application/json;q=0.0, application/*", 406),
        ("*/*, application/json;q=0", 406),
        ("application/*;q=0, */*", 406),
        ("*/*;q=0, application/json", 200),
        ("text/html", 406),
        ("application/problem+json", 406),
        ("application/xml, text/*;q=0.5", 406),
    ] {
        let answer = rig.bridge.send(&Ask::any().header("accept", accept)).await;
        assert_eq!(answer.status, status, "{accept}");
        if status == 406 {
            answer.is_error(406, "NOT_ACCEPTABLE");
        }
    }
    // Several lines are one list.
    let ask = Ask::any()
        .header("accept", "text/html")
        .header("accept", "*/*;q=0.1");
    assert_eq!(rig.bridge.send(&ask).await.status, 200);
}

#[tokio::test]
async fn the_correlator_is_a_uuid() {
    let rig = Rig::start().await;
    for (correlator, valid) in [
        (UUID, true),
        ("B4333C46-49C0-4F62-80D7-F0EF930F1C46", true),
        ("00000000-0000-0000-0000-000000000000", true),
        ("", false),
        ("request-17", false),
        ("b4333c4649c04f6280d7f0ef930f1c46", false),
        ("{b4333c46-49c0-4f62-80d7-f0ef930f1c46}", false),
        ("urn:uuid:b4333c46-49c0-4f62-80d7-f0ef930f1c46", false),
        ("b4333c46-49c0-4f62-80d7-f0ef930f1c46, x", false),
    ] {
        let ask = Ask::any().header("x-correlator", correlator);
        for mut connection in [
            Connection::http1(rig.bridge.api).await,
            Connection::http2(rig.bridge.api).await,
        ] {
            let answer = connection.send(&ask).await;
            let echoed = answer.header("x-correlator").unwrap();
            assert_eq!(
                answer.status,
                if valid { 200 } else { 400 },
                "{correlator:?}"
            );
            assert_eq!(echoed == correlator, valid, "{correlator:?}");
            assert!(is_uuid(echoed), "{correlator:?}");
        }
    }
    let twice = Ask::any()
        .header("x-correlator", UUID)
        .header("x-correlator", UUID);
    let answer = rig.bridge.send(&twice).await;
    answer.is_error(400, "INVALID_ARGUMENT");
    assert_ne!(
        answer.header("x-correlator"),
        Some(UUID),
        "an invalid one is not echoed"
    );
    let fresh =
        |answer: &crate::support::answer::Answer| answer.header("x-correlator").unwrap().to_owned();
    let (one, other) = (
        rig.bridge.send(&Ask::any()).await,
        rig.bridge.send(&Ask::any()).await,
    );
    assert_ne!(fresh(&one), fresh(&other), "each answer has its own");
}

#[tokio::test]
async fn only_the_documented_paths_and_post_lead_somewhere() {
    let rig = Rig::start().await;
    for path in [
        "/",
        "/device-identifier",
        "/device-identifier/v0.1.0",
        "/device-identifier/v0.1.0/",
        "/device-identifier/v0.1.0/retrieve-identifier/",
        "/device-identifier/v0.1.0/retrieve-ppid",
        "/device-identifier/v9/retrieve-identifier",
        "/device-identifier/v0.1/retrieve-identifier",
        "//device-identifier/v0.1.0/retrieve-type",
        "/healthz",
        "/metrics",
        "/device-identifier/v0.1.0/RETRIEVE-TYPE",
        "/device-identifier/v0.1.0/../v0.1.0/retrieve-type",
        "/device-identifier/v0.1.0/retrieve%2Dtype/x",
    ] {
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let answer = rig.bridge.send(&Ask::any().path(path).method(method)).await;
            answer.is_error(404, "NOT_FOUND");
        }
        // The widest pattern of all versions is taken here.
        let ask = Ask::any()
            .path(path)
            .header("x-correlator", "a-b_c:d;e./<f>{g}");
        let answer = rig.bridge.send(&ask).await;
        assert_eq!(answer.header("x-correlator"), Some("a-b_c:d;e./<f>{g}"));
    }
    for method in [
        "GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW",
    ] {
        let ask = Ask::any().method(method.parse().unwrap());
        for mut connection in [
            Connection::http1(rig.bridge.api).await,
            Connection::http2(rig.bridge.api).await,
        ] {
            let answer = connection.send(&ask).await;
            assert_eq!(answer.status, 405, "{method}");
            if method != "HEAD" {
                answer.is_error(405, "METHOD_NOT_ALLOWED");
            }
        }
    }
    assert_eq!(rig.control.total().await, 0);
    // A query is no part of the resource's name and none is defined: it is ignored.
    let ask = Ask::any().path(&format!("{RETRIEVE_IDENTIFIER}?x=1"));
    assert_eq!(rig.bridge.send(&ask).await.status, 200);
}

/// Every pair of two faults: the earlier check wins. Path, method, correlator, accept, content
/// type, body, identifiers, core.
#[tokio::test]
async fn the_first_of_two_faults_is_answered() {
    type Fault = (fn(Ask) -> Ask, u16, &'static str, &'static str);
    let faults: [Fault; 8] = [
        (
            |ask| ask.path("/device-identifier/v0.1.0/x"),
            404,
            "NOT_FOUND",
            "No such resource",
        ),
        (
            |ask| ask.method(Method::PUT),
            405,
            "METHOD_NOT_ALLOWED",
            "POST",
        ),
        (
            |ask| ask.header("x-correlator", "no uuid"),
            400,
            "INVALID_ARGUMENT",
            "X-Correlator",
        ),
        (
            |ask| ask.header("accept", "text/html"),
            406,
            "NOT_ACCEPTABLE",
            "application/json",
        ),
        (
            |ask| {
                ask.without("content-type")
                    .header("content-type", "text/plain")
            },
            400,
            "INVALID_ARGUMENT",
            "content type",
        ),
        (|ask| ask.body("{"), 400, "INVALID_ARGUMENT", "JSON"),
        (
            |ask| {
                if ask.body.len() < 2 {
                    return ask;
                }
                ask.body(r#"{"phoneNumber": "x"}"#)
            },
            400,
            "INVALID_ARGUMENT",
            "phoneNumber",
        ),
        // The core answers nothing but errors here.
        (|ask| ask, 502, "BAD_GATEWAY", ""),
    ];
    let rig = Rig::start().await;
    rig.control.fault(GET_3GPP, &json!({"status": 500})).await;
    for (first, (earlier, status, code, message)) in faults.iter().enumerate() {
        for (later, ..) in &faults[first..] {
            let ask = earlier(later(Ask::any()));
            let answer = rig.bridge.send(&ask).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (*status, *code),
                "{ask:?}"
            );
            assert!(
                answer.message().contains(message),
                "{ask:?}: {}",
                answer.message()
            );
        }
    }
}
