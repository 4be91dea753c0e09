//! Each named subscriber by each identifier, in both operations.

use serde_json::{Value, json};
use simcore::Options;

use crate::support::Rig;
use crate::support::control::{GET_3GPP, GET_NON_3GPP};

/// What `retrieve-identifier` answers; a member that is `null` here is not there.
fn device(checked: &str, imei: &str, imeisv: Option<&str>, kind: Option<(&str, &str)>) -> Value {
    let mut members = json!({"lastChecked": checked, "imei": imei, "tac": &imei[..8]});
    if let Some(imeisv) = imeisv {
        members["imeisv"] = imeisv.into();
    }
    if let Some((manufacturer, model)) = kind {
        members["manufacturer"] = manufacturer.into();
        members["model"] = model.into();
    }
    members
}

/// What `retrieve-type` answers for the same device.
fn type_of(device: &Value) -> Value {
    let mut members = device.clone();
    members.as_object_mut().unwrap().remove("imei");
    members.as_object_mut().unwrap().remove("imeisv");
    members
}

async fn both_operations(rig: &Rig, body: &Value, expected: &Value) {
    rig.ask(body).await.is(expected);
    rig.ask_type(body).await.is(&type_of(expected));
}

const NOKIA: (&str, &str) = ("Nokia", "3110");
const PHONE: (&str, &str) = ("Example Devices", "Phone One");
const WATCH: (&str, &str) = ("Example Devices", "Watch One");

#[tokio::test]
async fn the_first_subscriber_is_found_by_every_identifier() {
    let rig = Rig::start().await;
    let expected = device(
        "2024-02-20T10:41:38.657Z",
        "490154203237518",
        Some("4901542032375180"),
        Some(NOKIA),
    );
    for body in [
        json!({"phoneNumber": "123456789"}),
        json!({"phoneNumber": "+123456789"}),
        json!({"networkAccessIdentifier": "123456789@domain.com"}),
        json!({"networkAccessIdentifier": "123456789@example.com"}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59765}}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59000}}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59999}}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "privateAddress": "10.45.0.1"}}),
        json!({"ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59765,
            "privateAddress": "10.45.0.1"}}),
        json!({"ipv6Address": "2001:db8:85a3:8d3:1319:8a2e:370:7344"}),
        json!({"ipv6Address": "2001:DB8:85A3:08D3:0:0:0:0"}),
        json!({"ipv6Address": "2001:db8:85a3:8d3:ffff:ffff:ffff:ffff"}),
    ] {
        both_operations(&rig, &body, &expected).await;
    }
}

#[tokio::test]
async fn every_named_subscriber_has_its_device() {
    let rig = Rig::start().await;
    for (body, expected) in [
        // The spare digit of the PEI is not the check digit, and no IMEISV follows from an IMEI.
        (
            json!({"phoneNumber": "+34600000002"}),
            device(
                "2026-01-15T08:00:02.000Z",
                "356938035643809",
                None,
                Some(PHONE),
            ),
        ),
        // A shared plan: the number given is looked up as it is.
        (
            json!({"phoneNumber": "34600000003"}),
            device(
                "2026-01-15T08:00:03.000Z",
                "356938035643820",
                Some("3569380356438201"),
                Some(PHONE),
            ),
        ),
        (
            json!({"phoneNumber": "+34600000103"}),
            device(
                "2026-01-15T08:00:04.000Z",
                "352992091234563",
                Some("3529920912345602"),
                Some(WATCH),
            ),
        ),
        // Registered over non-3GPP access only.
        (
            json!({"phoneNumber": "+34600000008"}),
            device(
                "2026-01-15T08:00:08.000Z",
                "356938031234585",
                Some("3569380312345804"),
                Some(PHONE),
            ),
        ),
        // A sensor with neither MSISDN nor a row in the TAC table.
        (
            json!({"networkAccessIdentifier": "sensor-17@iot.example.com"}),
            device(
                "2026-01-15T08:00:10.000Z",
                "860123041234560",
                Some("8601230412345606"),
                None,
            ),
        ),
    ] {
        let expected = with_check_digit(expected);
        both_operations(&rig, &body, &expected).await;
    }
}

/// The table above names devices by 14 digits and whatever stands in the 15th place; what is
/// expected there is computed here, by another way than the bridge's (TS 23.003 annex B).
fn with_check_digit(mut device: Value) -> Value {
    let fourteen = device["imei"].as_str().unwrap()[..14].to_owned();
    let sum: u32 = fourteen
        .chars()
        .enumerate()
        .map(|(index, digit)| {
            let digit = digit.to_digit(10).unwrap();
            if index % 2 == 0 {
                digit
            } else {
                (digit * 2) / 10 + (digit * 2) % 10
            }
        })
        .sum();
    device["imei"] = format!("{fourteen}{}", (10 - sum % 10) % 10).into();
    device
}

#[tokio::test]
async fn a_delegated_prefix_leads_to_its_device() {
    let rig = Rig::start().await;
    for address in [
        "2001:db8:aa00::",
        "2001:db8:aa00:1::17",
        "2001:db8:aa00:ff:ffff:ffff:ffff:ffff",
    ] {
        let answer = rig.ask(&json!({ "ipv6Address": address })).await;
        assert_eq!(
            answer.json()["imeisv"],
            "8601230412345606",
            "{address}: {}",
            answer.json()
        );
    }
    let beyond = json!({"ipv6Address": "2001:db8:aa00:100::1"});
    rig.ask(&beyond).await.is_error(404, "NOT_FOUND");
}

/// No device is there to be named, for one reason or another: 404, and the core is asked no more
/// than core.md says.
#[tokio::test]
async fn a_subscriber_without_a_device_is_not_found() {
    let rig = Rig::start().await;
    for (number, why, asked_non_3gpp) in [
        ("34600000005", "a residential gateway has a MAC address", 0),
        ("34600000007", "never registered", 1),
        ("34600000009", "purged", 1),
        ("34600000011", "the PEI is not reported", 0),
        ("34999999999", "unknown", 0),
    ] {
        rig.control.reset().await;
        let body = json!({ "phoneNumber": number });
        rig.ask(&body).await.is_error(404, "NOT_FOUND");
        rig.ask_type(&body).await.is_error(404, "NOT_FOUND");
        assert_eq!(rig.control.count(GET_3GPP).await, 1, "{why}");
        assert_eq!(
            rig.control.count(GET_NON_3GPP).await,
            asked_non_3gpp,
            "{why}"
        );
        assert_eq!(rig.control.total().await, 1 + asked_non_3gpp, "{why}");
    }
}

#[tokio::test]
async fn a_purged_device_is_answered_where_the_operator_says_so() {
    let rig = Rig::configured(|config| {
        config.core.purged = pei_bridge::config::Purged::LastKnown;
    })
    .await;
    let answer = rig.ask(&json!({"phoneNumber": "34600000009"})).await;
    answer.is_imei(
        with_check_digit(json!({"imei": "35693803123459"}))["imei"]
            .as_str()
            .unwrap(),
    );
    assert_eq!(answer.json()["lastChecked"], "2026-01-15T08:00:09.000Z");
    // A registration over non-3GPP access still wins over one that is history.
    rig.control
        .put(&json!({
            "supi": "imsi-001010000000020", "gpsis": ["msisdn-34600000020"],
            "amf3gpp": {"pei": "imeisv-3569380312345905", "purgeFlag": true},
            "amfNon3gpp": {"pei": "imeisv-3529920912345602",
                "registrationTime": "2026-01-15T08:00:20.000Z"},
        }))
        .await;
    let answer = rig.ask(&json!({"phoneNumber": "34600000020"})).await;
    assert_eq!(answer.json()["imeisv"], "3529920912345602");
}

#[tokio::test]
async fn kinds_of_equipment_without_an_imei_are_not_found() {
    let rig = Rig::start().await;
    for (index, pei) in [
        "mac-00-00-5E-00-53-01",
        "mac-00-00-5E-00-53-01-untrusted",
        "eui-00-00-5E-00-53-01-02-03",
        "a-kind-of-the-future",
    ]
    .into_iter()
    .enumerate()
    {
        let number = format!("3460000030{index}");
        rig.control.register(&number, &json!({ "pei": pei })).await;
        let answer = rig.ask(&json!({ "phoneNumber": number })).await;
        answer.is_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn synthetic_subscribers_are_found_by_number_and_address() {
    let options = Options {
        subscribers: 100_000,
        ..Options::default()
    };
    let rig = Rig::with(options, |_| {}).await;
    for (number, checked) in [
        (0_u32, "2026-01-01T00:00:00.000Z"),
        (63, "2026-01-01T00:01:03.000Z"),
        (64, "2026-01-01T00:01:04.000Z"),
        (99_999, "2026-01-02T03:46:39.000Z"),
    ] {
        let imeisv = format!("35000000{number:06}00");
        let imei = format!("35000000{number:06}");
        let kind = ("Example Devices", "Load Phone");
        let expected = with_check_digit(device(checked, &imei, Some(&imeisv), Some(kind)));
        let public = std::net::Ipv4Addr::from_bits(0xCB00_7100 + number / 64);
        let port = 1024 + (number % 64) * 1000;
        let six = (0x2001_0db8_4000_0000_u128 + u128::from(number)) << 64 | 0x17;
        for body in [
            json!({"phoneNumber": format!("+3467{number:08}")}),
            json!({"ipv4Address": {"publicAddress": public, "publicPort": port}}),
            json!({"ipv4Address": {"publicAddress": public, "publicPort": port + 999}}),
            json!({"ipv6Address": std::net::Ipv6Addr::from_bits(six)}),
        ] {
            rig.ask(&body).await.is(&expected);
        }
    }
    for body in [
        json!({"phoneNumber": "+346700100000"}),
        json!({"ipv6Address": "2001:db8:4001:86a0::1"}),
    ] {
        rig.ask(&body).await.is_error(404, "NOT_FOUND");
    }
}
