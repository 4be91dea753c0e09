//! The `Device` object: from bytes to typed identifiers, or to the one message that says which
//! member is wrong.
//!
//! Members are first taken as raw JSON, so that each can be judged by its literal form: a port
//! must be an integer literal, `null` is no value, and a name that stands twice is an error.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::net::Ipv4Addr;

use device::address::{parse_ipv4, parse_ipv6};
use device::{Ipv4Query, Nai, PhoneNumber};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{ApiError, ErrorCode};
use super::v0_1_0;
use crate::lookup::DeviceQuery;

/// Reads a request body. Unknown members are ignored, identifiers are checked one by one.
pub fn parse(body: &[u8]) -> Result<DeviceQuery, ApiError> {
    let text = std::str::from_utf8(body)
        .map_err(|_| ApiError::invalid("The body is not UTF-8 encoded JSON"))?;
    let device: Members<'_, 4> = members(
        text,
        &[
            "phoneNumber",
            "networkAccessIdentifier",
            "ipv6Address",
            "ipv4Address",
        ],
    )
    .ok_or(ApiError::invalid(
        "The body is not a JSON object with unique member names",
    ))?;
    let [phone_number, nai, ipv6_address, ipv4_address] = device.0;
    let query = DeviceQuery {
        phone_number: phone_number.map(read_phone_number).transpose()?,
        network_access_identifier: nai.map(read_nai).transpose()?,
        ipv6_address: match ipv6_address {
            Some(raw) => {
                let address = string(raw).and_then(|text| parse_ipv6(&text));
                Some(address.ok_or(ApiError::invalid("Invalid format: ipv6Address"))?)
            }
            None => None,
        },
        ipv4_address: ipv4_address.map(read_ipv4).transpose()?,
    };
    match query {
        DeviceQuery {
            phone_number: None,
            network_access_identifier: None,
            ipv6_address: None,
            ipv4_address: None,
        } => Err(ApiError::invalid(
            "At least one of phoneNumber, networkAccessIdentifier, ipv6Address and ipv4Address is \
             needed",
        )),
        query => Ok(query),
    }
}

/// `^\+?[0-9]{5,15}$`
fn read_phone_number(raw: &RawValue) -> Result<PhoneNumber, ApiError> {
    let text = string(raw);
    text.as_deref()
        .map(|text| text.strip_prefix('+').unwrap_or(text))
        .and_then(|digits| PhoneNumber::from_digits(digits).ok())
        .ok_or(ApiError::invalid("Invalid format: phoneNumber"))
}

fn read_nai(raw: &RawValue) -> Result<Nai, ApiError> {
    string(raw)
        .and_then(|text| Nai::parse(&text).ok())
        .ok_or(ApiError::invalid("Invalid format: networkAccessIdentifier"))
}

/// The public address and at least one of port and private address.
fn read_ipv4(raw: &RawValue) -> Result<Ipv4Query, ApiError> {
    let object: Members<'_, 3> = members(
        raw.get(),
        &["publicAddress", "publicPort", "privateAddress"],
    )
    .ok_or(ApiError::invalid("Invalid format: ipv4Address"))?;
    let [public, port, private] = object.0;
    let public = public.and_then(ipv4).ok_or(ApiError::invalid(
        "Invalid format: ipv4Address.publicAddress",
    ))?;
    let private = match private {
        Some(raw) => {
            let address = ipv4(raw);
            Some(address.ok_or(ApiError::invalid(
                "Invalid format: ipv4Address.privateAddress",
            ))?)
        }
        None => None,
    };
    match (port.map(read_port).transpose()?, private) {
        (Some(port), private) => Ok(Ipv4Query::Port {
            public,
            port,
            private,
        }),
        (None, Some(private)) => Ok(Ipv4Query::Private { public, private }),
        (None, None) => Err(ApiError::invalid(
            "ipv4Address needs publicPort or privateAddress beside publicAddress",
        )),
    }
}

fn ipv4(raw: &RawValue) -> Option<Ipv4Addr> {
    string(raw).and_then(|text| parse_ipv4(&text))
}

/// An integer literal; one outside the range is another error than something else, however large.
fn read_port(raw: &RawValue) -> Result<u16, ApiError> {
    let literal = raw.get();
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ApiError::invalid("Invalid format: ipv4Address.publicPort"));
    }
    literal
        .parse()
        .ok()
        .filter(|port| v0_1_0::PUBLIC_PORTS.contains(port))
        .ok_or(ApiError::with_message(
            ErrorCode::OutOfRange,
            "Invalid value: ipv4Address.publicPort",
        ))
}

fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get())
        .ok()
        .map(|text| text.0)
}

/// A JSON string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The values of `N` known members, in the order of their names.
struct Members<'a, const N: usize>([Option<&'a RawValue>; N]);

/// Reads an object whose names are all unique, at every depth.
fn members<'a, const N: usize>(
    text: &'a str,
    names: &'static [&'static str; N],
) -> Option<Members<'a, N>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(MembersVisitor(names)).ok()?;
    deserializer.end().ok()?;
    Some(members)
}

struct MembersVisitor<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for MembersVisitor<N> {
    type Value = Members<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut known = [None; N];
        let mut unknown = HashSet::new();
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            let slot = self.0.iter().position(|known| *known == name);
            let twice = if let Some(slot) = slot.and_then(|index| known.get_mut(index)) {
                slot.replace(map.next_value::<&RawValue>()?).is_some()
            } else {
                map.next_value::<Unique>()?;
                !unknown.insert(name)
            };
            if twice {
                return Err(de::Error::custom("a name stands twice"));
            }
        }
        Ok(Members(known))
    }
}

/// Any JSON value in which no object names a member twice; its depth is bounded by `serde_json`.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unique, A::Error> {
        while seq.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut names = HashSet::new();
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            map.next_value::<Unique>()?;
            if !names.insert(name) {
                return Err(de::Error::custom("a name stands twice"));
            }
        }
        Ok(Unique)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> ApiError {
        parse(body.as_bytes()).expect_err(body)
    }

    #[test]
    fn every_kind_of_identifier_is_read() {
        let query = parse(
            br#" {"phoneNumber": "+123456789", "networkAccessIdentifier": "a@b",
                "ipv6Address": "2001:db8::1", "unknown": [{"a": 1.5e3}, null],
                "ipv4Address": {"publicAddress": "84.125.93.10", "publicPort": 59765}} "#,
        )
        .unwrap();
        assert_eq!(
            query.phone_number.unwrap().reveal().to_string(),
            "123456789"
        );
        assert_eq!(query.network_access_identifier.unwrap().reveal(), "a@b");
        assert_eq!(query.ipv6_address.unwrap().to_string(), "2001:db8::1");
        let ipv4 = query.ipv4_address.unwrap();
        assert!(matches!(
            ipv4,
            Ipv4Query::Port {
                port: 59765,
                private: None,
                ..
            }
        ));
    }

    #[test]
    fn a_wrong_member_is_named() {
        for (body, message) in [
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
                r#"{"phoneNumber": "123456789\n"}"#,
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
            assert_eq!(refused(body), ApiError::invalid(message), "{body}");
        }
    }

    #[test]
    fn an_integer_outside_the_range_is_out_of_range_however_large() {
        for port in [
            "0",
            "1023",
            "65536",
            "-1",
            "99999999999999999999999999999999999999999",
        ] {
            let body = format!(
                r#"{{"ipv4Address": {{"publicAddress": "1.2.3.4", "publicPort": {port}}}}}"#
            );
            assert_eq!(refused(&body).code, ErrorCode::OutOfRange, "{port}");
        }
    }

    #[test]
    fn what_is_no_device_object_is_refused() {
        let deep = format!(
            r#"{{"phoneNumber": "123456789", "x": {}1}}"#,
            "[".repeat(8000)
        );
        for body in [
            "",
            "{}",
            "null",
            "[]",
            "\"x\"",
            "{",
            "{\"phoneNumber\": \"123456789\"",
            "{\"phoneNumber\": \"123456789\"} {}",
            "{\"phoneNumber\": \"123456789\", \"phoneNumber\": \"123456789\"}",
            "{\"phoneNumber\": \"123456789\", \"x\": 1, \"x\": 2}",
            "{\"phoneNumber\": \"123456789\", \"x\": {\"a\": 1, \"\\u0061\": 2}}",
            "{\"other\": 1}",
            deep.as_str(),
        ] {
            assert_eq!(refused(body).code, ErrorCode::InvalidArgument, "{body:.60}");
        }
        assert!(parse(b"{\"phoneNumber\": \"12345\xff6789\"}").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_query_or_an_error(body: Vec<u8>) {
            let _ = parse(&body);
        }

        #[test]
        fn a_cut_body_is_an_error(cut in 0_usize..70) {
            let body = br#"{"ipv4Address":{"publicAddress":"84.125.93.10","publicPort":59765}}"#;
            proptest::prop_assert_eq!(parse(&body[..cut.min(body.len() - 1)]).is_err(), true);
        }

        #[test]
        fn any_member_values_are_a_query_or_an_error(
            phone in ".{0,20}", nai in ".{0,20}", six in ".{0,20}", port: i64,
        ) {
            let body = serde_json::json!({
                "phoneNumber": phone, "networkAccessIdentifier": nai, "ipv6Address": six,
                "ipv4Address": {"publicAddress": "1.2.3.4", "publicPort": port},
            });
            let _ = parse(body.to_string().as_bytes());
        }
    }
}
