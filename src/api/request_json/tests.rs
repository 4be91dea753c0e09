use device::Ipv4Query;

use super::*;
use crate::api::ErrorCode;

fn version(name: &str) -> Version {
    Version::named(name).unwrap()
}

fn read(name: &str, body: &str) -> Result<Request, ApiError> {
    parse(
        version(name),
        Operation::RetrieveIdentifier,
        body.as_bytes(),
    )
}

fn device(name: &str, body: &str) -> Result<DeviceQuery, ApiError> {
    read(name, body).map(|request| request.device.unwrap())
}

/// The same device as the body of each version has it.
fn in_each_version(device: &str) -> Vec<(&'static str, String)> {
    let body = |version: Version| match version.rules().body {
        BodyForm::Device => device.to_owned(),
        BodyForm::OptionalDevice => format!(r#"{{"device": {device}}}"#),
    };
    Version::all()
        .map(|version| (version.as_str(), body(version)))
        .collect()
}

#[test]
fn every_kind_of_identifier_is_read() {
    for (version, body) in in_each_version(
        r#" {"phoneNumber": "+123456789", "networkAccessIdentifier": "a@b",
            "ipv6Address": "2001:db8::1",
            "ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59765}} "#,
    ) {
        let query = device(version, &body).unwrap();
        assert_eq!(query.identifiers(), 4);
        assert_eq!(
            query.phone_number.unwrap().reveal().to_string(),
            "123456789"
        );
        assert_eq!(query.network_access_identifier.unwrap().reveal(), "a@b");
        assert_eq!(query.ipv6_address.unwrap().to_string(), "2001:db8::1");
        assert!(matches!(
            query.ipv4_address.unwrap(),
            Ipv4Query::Port {
                port: 59765,
                private: None,
                ..
            }
        ));
    }
}

#[test]
fn a_wrong_member_is_named() {
    for (wrong, message) in [
        (r#"{"phoneNumber": "12 34"}"#, "Invalid format: phoneNumber"),
        (
            r#"{"phoneNumber": 123456789}"#,
            "Invalid format: phoneNumber",
        ),
        (r#"{"phoneNumber": null}"#, "Invalid format: phoneNumber"),
        (
            r#"{"phoneNumber": "++123456789"}"#,
            "Invalid format: phoneNumber",
        ),
        (
            r#"{"phoneNumber": "+123456789\n"}"#,
            "Invalid format: phoneNumber",
        ),
        (
            r#"{"networkAccessIdentifier": "ab"}"#,
            "Invalid format: networkAccessIdentifier",
        ),
        (
            r#"{"ipv6Address": "::ffff:1.2.3.4"}"#,
            "Invalid format: ipv6Address",
        ),
        (r#"{"ipv6Address": ["::1"]}"#, "Invalid format: ipv6Address"),
        (
            r#"{"ipv4Address": "1.2.3.4"}"#,
            "Invalid format: ipv4Address",
        ),
        (
            r#"{"ipv4Address": {}}"#,
            "Invalid format: ipv4Address.publicAddress",
        ),
        (
            r#"{"ipv4Address": {"publicAddress": "1.2.3.4", "publicPort": "5"}}"#,
            "Invalid format: ipv4Address.publicPort",
        ),
        (
            r#"{"ipv4Address": {"publicAddress": "1.2.3.4", "publicPort": 5000.0}}"#,
            "Invalid format: ipv4Address.publicPort",
        ),
        (
            r#"{"ipv4Address": {"publicAddress": "1.2.3.4", "privateAddress": "1"}}"#,
            "Invalid format: ipv4Address.privateAddress",
        ),
        (
            r#"{"ipv4Address": {"publicAddress": "1.2.3.4"}}"#,
            "ipv4Address needs publicPort or privateAddress beside publicAddress",
        ),
    ] {
        for (version, body) in in_each_version(wrong) {
            let refused = device(version, &body).expect_err(&body);
            assert_eq!(refused, ApiError::invalid(message), "{version} {body}");
        }
    }
}

#[test]
fn phone_numbers_are_written_as_the_version_says() {
    for (number, since_v0_1_0, since_v0_2) in [
        ("+123456789", true, true),
        ("123456789", true, false),
        ("+023456789", true, false),
        ("+12345", true, true),
        ("+1234", false, false),
        ("+123456789012345", true, true),
        ("+1234567890123456", false, false),
    ] {
        for (version, body) in in_each_version(&format!(r#"{{"phoneNumber": "{number}"}}"#)) {
            let expected = if version == "v0.1.0" {
                since_v0_1_0
            } else {
                since_v0_2
            };
            assert_eq!(device(version, &body).is_ok(), expected, "{version} {body}");
        }
    }
}

#[test]
fn ports_are_in_the_range_of_the_version_however_large_they_are() {
    for (port, versions) in [
        ("-1", &[][..]),
        ("-0", &["v0.3"]),
        ("0", &["v0.3"]),
        ("1", &["v0.3", "v0.4alpha1"]),
        ("1023", &["v0.3", "v0.4alpha1"]),
        ("1024", &["v0.1.0", "v0.2", "v0.3", "v0.4alpha1"]),
        ("65535", &["v0.1.0", "v0.2", "v0.3", "v0.4alpha1"]),
        ("65536", &[]),
        ("99999999999999999999999999999999999999999", &[]),
    ] {
        let address = format!(r#"{{"publicAddress": "1.2.3.4", "publicPort": {port}}}"#);
        for (version, body) in in_each_version(&format!(r#"{{"ipv4Address": {address}}}"#)) {
            let code = device(version, &body).err().map(|error| error.code);
            let expected = (!versions.contains(&version)).then_some(ErrorCode::OutOfRange);
            assert_eq!(code, expected, "{version} {port}");
        }
    }
}

#[test]
fn members_that_a_version_does_not_define_are_ignored_or_refused() {
    for unknown in [
        r#"{"phoneNumber": "+123456789", "unknown": [{"a": 1.5e3}, null]}"#,
        r#"{"phoneNumber": "+123456789", "PhoneNumber": "x"}"#,
        r#"{"ipv4Address": {"publicAddress": "1.2.3.4", "publicPort": 5000, "x": 1}}"#,
    ] {
        for (version, body) in in_each_version(unknown) {
            let strict = version == "v0.4alpha1";
            assert_eq!(device(version, &body).is_err(), strict, "{version} {body}");
        }
    }
    let beside = r#"{"device": {"phoneNumber": "+123456789"}, "providedIdentifier": "1"}"#;
    for version in ["v0.2", "v0.3", "v0.4alpha1"] {
        assert_eq!(read(version, beside).is_err(), version == "v0.4alpha1");
    }
}

#[test]
fn only_later_versions_can_do_without_a_device() {
    assert!(read("v0.1.0", "{}").is_err());
    assert!(read("v0.1.0", r#"{"device": {"phoneNumber": "+123456789"}}"#).is_err());
    for version in ["v0.2", "v0.3", "v0.4alpha1"] {
        assert!(read(version, "{}").unwrap().device.is_none());
        for body in [
            "",
            "null",
            "[]",
            r#"{"device": {}}"#,
            r#"{"device": null}"#,
            r#"{"device": "+123456789"}"#,
            r#"{"device": [{"phoneNumber": "+123456789"}]}"#,
            r#"{"device": {"unknown": 1}}"#,
        ] {
            let refused = read(version, body).expect_err(body);
            assert_eq!(refused.code, ErrorCode::InvalidArgument, "{version} {body}");
        }
    }
}

#[test]
fn what_is_to_be_matched_is_read_beside_the_device() {
    let read = |body: &str| {
        let version = version("v0.4alpha1");
        parse(version, Operation::MatchIdentifier, body.as_bytes())
    };
    let both = r#""providedIdentifierType": "TAC", "providedIdentifier": "49015420""#;
    let request = read(&format!("{{{both}}}")).unwrap();
    let tac = ProvidedIdentifier::Tac(*b"49015420");
    assert!(request.device.is_none());
    assert!(matches!(request.asked, Asked::Match(provided) if provided == tac));
    let device = r#""device": {"phoneNumber": "+123456789"}"#;
    assert!(
        read(&format!("{{{device}, {both}}}"))
            .unwrap()
            .device
            .is_some()
    );
    for body in [
        "{}".to_owned(),
        format!("{{{device}}}"),
        format!("{{{both}, \"x\": 1}}"),
        format!("{{{both}, \"device\": {{}}}}"),
        format!("{{{both}, {both}}}"),
        both.replace("TAC", "IMEI"),
        r#"{"providedIdentifierType": "TAC", "providedIdentifier": 49015420}"#.to_owned(),
        r#"{"providedIdentifierType": "TAC"}"#.to_owned(),
        r#"{"providedIdentifier": "49015420"}"#.to_owned(),
    ] {
        assert!(read(&body).is_err(), "{body}");
    }
}

#[test]
fn what_is_no_object_is_refused() {
    let deep = format!(
        r#"{{"phoneNumber": "+123456789", "x": {}1}}"#,
        "[".repeat(8000)
    );
    for wrong in [
        "null",
        "[]",
        "\"x\"",
        "{",
        "{\"phoneNumber\": \"+123456789\"",
        "{\"phoneNumber\": \"+123456789\"} {}",
        "{\"phoneNumber\": \"+123456789\", \"phoneNumber\": \"+123456789\"}",
        "{\"phoneNumber\": \"+123456789\", \"x\": 1, \"x\": 2}",
        "{\"phoneNumber\": \"+123456789\", \"x\": {\"a\": 1, \"\\u0061\": 2}}",
        deep.as_str(),
    ] {
        for (version, body) in in_each_version(wrong) {
            let refused = read(version, &body).expect_err(&body);
            assert_eq!(
                refused.code,
                ErrorCode::InvalidArgument,
                "{version} {body:.60}"
            );
        }
    }
    let bytes = b"{\"phoneNumber\": \"+12345\xff6789\"}";
    assert!(parse(version("v0.1.0"), Operation::RetrieveType, bytes).is_err());
}

fn every_reader(body: &[u8]) {
    for version in Version::all() {
        for operation in version.operations() {
            let _ = parse(version, *operation, body);
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_request_or_an_error(body: Vec<u8>) {
        every_reader(&body);
    }

    #[test]
    fn a_cut_body_is_an_error(cut in 0_usize..90) {
        let body = br#"{"device":{"ipv4Address":{"publicAddress":"84.125.93.10","publicPort":59765}}}"#;
        let body = &body[..cut.min(body.len() - 1)];
        let refused = parse(version("v0.2"), Operation::RetrieveType, body).is_err();
        proptest::prop_assert!(refused);
    }

    #[test]
    fn any_member_values_are_a_request_or_an_error(
        phone in ".{0,20}", nai in ".{0,20}", six in ".{0,20}", port: i64,
    ) {
        let device = serde_json::json!({
            "phoneNumber": phone, "networkAccessIdentifier": nai, "ipv6Address": six,
            "ipv4Address": {"publicAddress": "1.2.3.4", "publicPort": port},
        });
        every_reader(device.to_string().as_bytes());
        every_reader(serde_json::json!({"device": device}).to_string().as_bytes());
    }
}
