//! Bytes that nobody would send: an answer or an end of the connection that HTTP allows, never a
//! connection that is just dropped.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::Rig;
use crate::support::client::{Ask, Connection};
use crate::support::raw::Raw;

const CASES: u32 = 100;

/// Runs a property against one bridge. Cases are sent one after the other.
fn over_sockets<S: Strategy>(
    strategy: &S,
    property: &impl AsyncFn(&Rig, S::Value) -> Result<(), TestCaseError>,
) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rig = runtime.block_on(Rig::start());
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(CASES)
    };
    let mut runner = TestRunner::new(config);
    let run = runner.run(strategy, |case| runtime.block_on(property(&rig, case)));
    runtime.block_on(async move { drop(rig) });
    run.unwrap();
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "[0-9+]{0,17}".prop_map(Value::from),
        "[0-9a-f:.]{0,30}".prop_map(Value::from),
        "[a-z@]{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                prop_oneof![
                    Just("publicAddress".to_owned()),
                    Just("publicPort".to_owned()),
                    Just("privateAddress".to_owned()),
                    ".{0,5}",
                ],
                inner,
                0..4
            )
            .prop_map(|members| json!(members)),
        ]
    })
}

fn any_device() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("phoneNumber".to_owned()),
        Just("networkAccessIdentifier".to_owned()),
        Just("ipv6Address".to_owned()),
        Just("ipv4Address".to_owned()),
    ];
    prop::collection::btree_map(name, any_json(), 0..4).prop_map(|members| json!(members))
}

#[test]
fn any_bytes_as_a_body_are_refused_and_the_connection_lives() {
    over_sockets(&any::<Vec<u8>>(), &async |rig, body| {
        let mut connection = Connection::http1(rig.bridge.api).await;
        let answer = connection.send(&Ask::any().body(body)).await;
        prop_assert_eq!(answer.status, 400);
        let answer = connection.send(&Ask::any()).await;
        prop_assert_eq!(answer.status, 200);
        Ok(())
    });
}

#[test]
fn any_members_are_refused_or_looked_up() {
    over_sockets(&any_device(), &async |rig, device| {
        let mut connection = Connection::http2(rig.bridge.api).await;
        let answer = connection.send(&Ask::identifier(&device)).await;
        prop_assert!(
            matches!(answer.status, 200 | 400 | 404),
            "{}",
            answer.status
        );
        Ok(())
    });
}

#[test]
fn a_body_that_is_cut_or_bent_is_refused_or_looked_up() {
    let body =
        json!({"phoneNumber": "123456789", "networkAccessIdentifier": "123456789@domain.com",
        "ipv6Address": "2001:db8:85a3:8d3::1",
        "ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59_765}})
        .to_string();
    let length = body.len();
    over_sockets(&(0..length, 0..length, any::<u8>()), &async |rig,
                                                               (
        end,
        at,
        byte,
    )| {
        let cut = Ask::any().body(body[..end].to_owned());
        let answer = rig.bridge.send(&cut).await;
        prop_assert_eq!(answer.status, 400);
        let mut bent = body.clone().into_bytes();
        bent[at] = byte;
        let answer = rig.bridge.send(&Ask::any().body(bent)).await;
        prop_assert!(
            matches!(answer.status, 200 | 400 | 404),
            "{}",
            answer.status
        );
        Ok(())
    });
}

/// Not even HTTP: 400 or the end, and the next connection is served.
#[test]
fn any_bytes_on_a_connection_leave_the_listener_alive() {
    let start = prop_oneof![
        Just(Vec::new()),
        Just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        Just(b"POST /device-identifier/v0.1.0/retrieve-type HTTP/1.1\r\n".to_vec()),
    ];
    over_sockets(&(start, any::<Vec<u8>>()), &async |rig, (start, rest)| {
        let mut raw = Raw::connect(rig.bridge.api).await;
        raw.try_write([start, rest].concat()).await;
        raw.end().await;
        raw.until_closed().await;
        let answer = rig.bridge.send(&Ask::any()).await;
        prop_assert_eq!(answer.status, 200);
        Ok(())
    });
}
