//! Nothing personal is written anywhere, whatever the level of the log says.

use std::net::SocketAddr;

use http::Method;
use serde_json::{Value, json};

use crate::support::client::{self, Ask, Connection};
use crate::support::control::{GET_3GPP, GET_BINDINGS, UE_IP_INFO};
use crate::support::process::{Service, file};
use crate::support::{Rig, eventually};

/// What leads to a subscriber or a device in this test, in each form that may be written.
const SECRETS: [&str; 21] = [
    "123456789",
    "34600000002",
    "34600000007",
    "34999999999",
    "346000000",
    "001010000000001",
    "001010000000002",
    "imsi-",
    "msisdn-",
    "extid-",
    "49015420",
    "356938035643",
    "35693803",
    "domain.com",
    "iot.example",
    "sensor-17",
    "84.125.93.10",
    "10.45.0.1",
    "198.51.100.7",
    "2001:db8",
    "2001%3A",
];

fn bodies() -> Vec<Value> {
    vec![
        json!({"phoneNumber": "+123456789"}),
        json!({"phoneNumber": "34600000002"}),
        json!({"phoneNumber": "34600000007"}),
        json!({"phoneNumber": "34999999999"}),
        json!({"phoneNumber": "34600000002x"}),
        json!({"networkAccessIdentifier": "123456789@domain.com"}),
        json!({"networkAccessIdentifier": "sensor-17@iot.example.com"}),
        json!({"networkAccessIdentifier": "sensor-17@iot@example.com"}),
        json!({"ipv6Address": "2001:db8:85a3:8d3:1319:8a2e:370:7344"}),
        json!({"ipv6Address": "2001:db8::/64"}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765}}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "privateAddress": "10.45.0.1"}}),
        json!({"ipv4Address": {"publicAddress": "198.51.100.7", "publicPort": 4000}}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": "59765"}}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 597_650}}),
        json!({"phoneNumber": "123456789", "networkAccessIdentifier": "sensor-17@iot.example.com"}),
    ]
}

/// Ways to be refused that repeat an identifier where it does not belong.
fn asks(body: &Value) -> [Ask; 7] {
    let ask = Ask::identifier(body);
    let untyped = ask.clone().without("content-type");
    [
        ask.clone(),
        Ask::device_type(body),
        ask.clone().path("/device-identifier/v0.1.0/123456789"),
        ask.clone().method(Method::PUT),
        ask.clone().header("x-correlator", "34600000002"),
        ask.header("accept", "x/123456789"),
        untyped.header("content-type", "a/123456789"),
    ]
}

/// Sends them and gives what the consumer is told in errors.
async fn told_of(connection: &mut Connection, asks: impl IntoIterator<Item = Ask>) -> String {
    let mut told = String::new();
    for ask in asks {
        let answer = connection.send(&ask).await;
        if answer.status != 200 {
            told.push_str(&String::from_utf8_lossy(&answer.body));
        }
    }
    told
}

async fn everything_told(rig: &Rig, to: SocketAddr) -> String {
    let mut http1 = Connection::http1(to).await;
    let mut http2 = Connection::http2(to).await;
    let plain = || bodies().into_iter().map(|body| Ask::identifier(&body));
    let mut told = String::new();
    for connection in [&mut http1, &mut http2] {
        told += &told_of(connection, bodies().iter().flat_map(asks)).await;
    }
    for fault in [
        json!({"status": 400, "cause": "imsi-001010000000001"}),
        json!({"status": 403, "cause": "MSISDN_34600000002"}),
        json!({"status": 404, "cause": "123456789@domain.com"}),
        json!({"status": 500}),
        json!({"status": 503}),
        json!({"mode": "garbage"}),
        json!({"mode": "truncate"}),
        json!({"mode": "reset"}),
        json!({"mode": "goaway"}),
    ] {
        for operation in [GET_3GPP, GET_BINDINGS, UE_IP_INFO] {
            rig.control.fault(operation, &fault).await;
        }
        told += &told_of(&mut http1, plain()).await;
        rig.control.clear_faults().await;
    }
    for pei in ["imei-35693803564380", "imeisv-49015420x", "mac-"] {
        rig.control.swap_device("imsi-001010000000001", pei).await;
        told += &told_of(&mut http2, plain()).await;
    }
    told
}

async fn nothing_personal_is_written(format: &str) {
    let rig = Rig::start().await;
    let core = rig.core.core_addr();
    let text = format!(
        "[api]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [auth]\nmode = \"none\"\n[consent]\nmode = \"none\"\n\
         [core]\nudm = [\"http://{core}\"]\nbsf = [\"http://{core}\"]\nupf = [\"http://{core}\"]\n\
         [cache]\nequipment = \"0s\"\nnone_found = \"0s\"\n\
         [log]\nlevel = \"trace,h2=trace,hyper=trace,adapters=trace\"\nformat = \"{format}\"\n"
    );
    let config = file(".toml", &text);
    let service = Service::start(&["serve", "--config", config.to_str().unwrap()]);
    let line = service.until_says("serving").await;
    let [api, admin] = ["api", "admin"].map(|listener| listener_address(&line, listener));
    eventually("it is ready", async || {
        (client::get(admin, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    let told = everything_told(&rig, api).await;
    let metrics = client::metrics_without_fractions(admin).await;
    let ended = service.terminate().await;
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("answered"),
        "the log is at its lowest level"
    );
    for (place, text) in [
        ("an error", &told),
        ("the metrics", &metrics),
        ("standard error", &ended.stderr),
        ("standard output", &ended.stdout),
    ] {
        for secret in SECRETS {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{place} tells {secret}: {line:?}");
        }
    }
}

/// From `api=ADDRESS` or `"api":"ADDRESS"`.
fn listener_address(line: &str, listener: &str) -> SocketAddr {
    let (_, rest) = line
        .split_once(&format!("{listener}="))
        .or_else(|| line.split_once(&format!("\"{listener}\":\"")))
        .unwrap();
    let end = rest.find(|c: char| c == '"' || c.is_whitespace()).unwrap();
    rest[..end].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_personal_is_written_as_text() {
    nothing_personal_is_written("text").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_personal_is_written_as_json() {
    nothing_personal_is_written("json").await;
}
