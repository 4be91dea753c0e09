//! The device that a three-legged token names.

use std::net::{IpAddr, SocketAddr};

use device::address::{parse_ipv4, parse_ipv6};
use device::{Nai, PhoneNumber};

use super::caller::Subject;
use super::members::Members;
use super::reason::Reason;

/// A number as an RFC 3966 URI.
const TEL: &str = "tel:";
/// An address and a port, as CAMARA writes login hints.
const IPPORT: &str = "ipport:";

/// The first claim of `names` that names a device, and the device. One that is there and cannot be
/// read makes the token one that is not understood: nobody can say whom it was given for.
pub(super) fn read<'n>(
    claims: &Members<'_>,
    names: &'n [String],
) -> Result<Option<(&'n str, Subject)>, Reason> {
    for name in names {
        let Some(value) = claims.text(name)? else {
            continue;
        };
        // The subject of a two-legged token is the consumer, of another a user: no device.
        if name == "sub" && behind(&value, TEL).is_none() {
            continue;
        }
        let subject = parse(name, &value).ok_or(Reason::Device)?;
        return Ok(Some((name, subject)));
    }
    Ok(None)
}

/// Whether a text is written like the name of a device or a subscription.
pub(super) fn names_device(text: &str) -> bool {
    let schemes = [TEL, IPPORT, "imsi-", "msisdn-", "imei-", "imeisv-"];
    let number = text.strip_prefix('+').map(PhoneNumber::from_digits);
    schemes.iter().any(|scheme| behind(text, scheme).is_some())
        || number.is_some_and(|number| number.is_ok())
}

/// Whether the subject of a token may be somebody: digits, as numbers, IMSIs, ICCIDs and the ids of
/// users are written, a network access identifier or mail address, an address of the network. Fewer
/// digits are no number ([`PhoneNumber`] has five).
pub(super) fn may_name_somebody(text: &str) -> bool {
    const FEWEST_DIGITS: usize = 5;
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let between = |byte: u8| byte.is_ascii_digit() || b"+-. ()".contains(&byte);
    let is_number = digits >= FEWEST_DIGITS && text.bytes().all(between);
    let is_address = text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
    is_number || is_address || text.contains('@')
}

/// What follows a scheme, however that is written (RFC 3986 3.1).
fn behind<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn parse(claim: &str, value: &str) -> Option<Subject> {
    match claim {
        "phone_number" => phone_number(value),
        "sub" => phone_number(behind(value, TEL)?),
        "ipport" => address(value),
        _ => any_form(value),
    }
}

/// The value of an operator's own claim says itself what it is.
fn any_form(value: &str) -> Option<Subject> {
    if let Some(number) = behind(value, TEL) {
        phone_number(number)
    } else if let Some(value) = behind(value, IPPORT) {
        address(value)
    } else if value.starts_with('+') {
        phone_number(value)
    } else {
        let nai = Nai::parse(value).ok()?;
        Some(Subject::NetworkAccessIdentifier(nai))
    }
}

/// E.164 with its plus, as `OpenID` Connect recommends for `phone_number`.
fn phone_number(text: &str) -> Option<Subject> {
    let digits = text.strip_prefix('+')?;
    if digits.starts_with('0') {
        return None;
    }
    PhoneNumber::from_digits(digits)
        .ok()
        .map(Subject::PhoneNumber)
}

/// `a.b.c.d:port`, `[v6]:port`, `[v6]`, or a bare IPv6 address. A bare IPv4 address is not enough:
/// many devices share one.
fn address(text: &str) -> Option<Subject> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        if !port.is_empty() {
            parse_port(port.strip_prefix(':')?)?;
        }
        return parse_ipv6(address).map(Subject::Ipv6);
    }
    if let Some(address) = parse_ipv6(text) {
        return Some(Subject::Ipv6(address));
    }
    let (address, port) = text.split_once(':')?;
    Some(Subject::Ipv4 {
        address: parse_ipv4(address)?,
        port: parse_port(port)?,
    })
}

fn parse_port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn number(digits: &str) -> Subject {
        Subject::PhoneNumber(PhoneNumber::from_digits(digits).unwrap())
    }

    fn ipv4(address: &str, port: u16) -> Subject {
        let address = address.parse().unwrap();
        Subject::Ipv4 { address, port }
    }

    fn ipv6(address: &str) -> Subject {
        Subject::Ipv6(address.parse().unwrap())
    }

    fn subject(claims: &Value) -> Result<Option<Subject>, Reason> {
        let names = ["phone_number", "sub", "ipport", "device"].map(str::to_owned);
        let json = claims.to_string();
        let found = read(&Members::parse(json.as_bytes())?, &names)?;
        Ok(found.map(|(_, subject)| subject))
    }

    #[test]
    fn the_first_claim_that_names_a_device_counts() {
        let nai = || Subject::NetworkAccessIdentifier(Nai::parse("a@b.example").unwrap());
        for (claims, expected) in [
            (json!({}), None),
            (json!({"sub": "shop"}), None),
            (json!({"sub": "ipport:84.125.93.10:59765"}), None),
            (json!({"phone_number": null, "sub": "shop"}), None),
            (
                json!({"phone_number": "+34600000002", "sub": "tel:+34600000003"}),
                Some(number("34600000002")),
            ),
            (
                json!({"sub": "tel:+34600000003", "ipport": "1.2.3.4:5"}),
                Some(number("34600000003")),
            ),
            (
                json!({"sub": "TEL:+34600000003"}),
                Some(number("34600000003")),
            ),
            (
                json!({"sub": "ipport:x", "ipport": "84.125.93.10:59765"}),
                Some(ipv4("84.125.93.10", 59765)),
            ),
            (
                json!({"ipport": "[2001:db8::1]:443"}),
                Some(ipv6("2001:db8::1")),
            ),
            (
                json!({"ipport": "[2001:db8::1]"}),
                Some(ipv6("2001:db8::1")),
            ),
            (json!({"ipport": "2001:db8::1"}), Some(ipv6("2001:db8::1"))),
            (
                json!({"device": "tel:+34600000002"}),
                Some(number("34600000002")),
            ),
            (
                json!({"device": "+34600000002"}),
                Some(number("34600000002")),
            ),
            (
                json!({"device": "ipport:1.2.3.4:5"}),
                Some(ipv4("1.2.3.4", 5)),
            ),
            (json!({"device": "a@b.example"}), Some(nai())),
        ] {
            assert_eq!(subject(&claims), Ok(expected), "{claims}");
        }
    }

    #[test]
    fn a_claim_that_is_there_must_be_readable() {
        for (claim, values) in [
            (
                "phone_number",
                &[
                    "",
                    "34600000002",
                    "+",
                    "+1234",
                    "+034600000",
                    "tel:+34600000002",
                    "+34 600000002",
                ][..],
            ),
            (
                "sub",
                &["tel:", "tel:34600000002", "tel:+34600000002;ext=1"],
            ),
            (
                "ipport",
                &[
                    "",
                    "1.2.3.4",
                    "1.2.3.4:",
                    "1.2.3.4:0",
                    "1.2.3.4:65536",
                    "1.2.3.4:+5",
                    "01.2.3.4:5",
                    "[1.2.3.4]:5",
                    "[2001:db8::1",
                    "[2001:db8::1]5",
                    "[2001:db8::1]:x",
                    "::ffff:1.2.3.4",
                    "fe80::1%eth0",
                    "ipport:1.2.3.4:5",
                ],
            ),
            (
                "device",
                &["", "34600000002", "a@", "ipport:1.2.3.4", "tel:x", "+x"],
            ),
        ] {
            for value in values {
                let claims = json!({ claim: value });
                assert_eq!(subject(&claims), Err(Reason::Device), "{claims}");
            }
            let claims = json!({ claim: 34_600_000_002_u64 });
            assert_eq!(subject(&claims), Err(Reason::Malformed), "{claims}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,40}") {
            for claim in ["phone_number", "sub", "ipport", "device"] {
                let _ = parse(claim, &text);
            }
        }
    }
}
