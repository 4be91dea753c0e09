//! The device as a request names it: from JSON to typed identifiers, or to the one message that
//! says which member is wrong.

use std::net::Ipv4Addr;

use device::address::{parse_ipv4, parse_ipv6};
use device::{Ipv4Query, Nai, PhoneNumber};
use serde_json::value::RawValue;

use super::error::{ApiError, ErrorCode};
use super::json::{Members, members, string};
use super::version::{PhoneNumberForm, Rules, UnknownMembers};
use crate::lookup::DeviceQuery;

/// Reads a device; `what` is said of something that is no object. Identifiers are checked one by
/// one, and at least one of them is there.
pub(super) fn read(text: &str, what: &'static str, rules: &Rules) -> Result<DeviceQuery, ApiError> {
    const NAMES: [&str; 4] = [
        "phoneNumber",
        "networkAccessIdentifier",
        "ipv6Address",
        "ipv4Address",
    ];
    let device = members(text, &NAMES).ok_or(ApiError::invalid(what))?;
    let [phone_number, nai, ipv6_address, ipv4_address] = known(device, rules)?;
    let query = DeviceQuery {
        phone_number: phone_number
            .map(|raw| read_phone_number(raw, rules.phone_number))
            .transpose()?,
        network_access_identifier: nai.map(read_nai).transpose()?,
        ipv6_address: match ipv6_address {
            Some(raw) => {
                let address = string(raw).and_then(|text| parse_ipv6(&text));
                Some(address.ok_or(ApiError::invalid("Invalid format: ipv6Address"))?)
            }
            None => None,
        },
        ipv4_address: ipv4_address.map(|raw| read_ipv4(raw, rules)).transpose()?,
    };
    if query.identifiers() == 0 {
        return Err(ApiError::invalid(
            "At least one of phoneNumber, networkAccessIdentifier, ipv6Address and ipv4Address is \
             needed",
        ));
    }
    Ok(query)
}

/// The known members of an object, by what the version makes of others.
pub(super) fn known<'a, const N: usize>(
    members: Members<'a, N>,
    rules: &Rules,
) -> Result<[Option<&'a RawValue>; N], ApiError> {
    match rules.unknown_members {
        UnknownMembers::Refused if members.others => Err(ApiError::invalid(
            "The body has a member that this version does not define",
        )),
        UnknownMembers::Refused | UnknownMembers::Ignored => Ok(members.known),
    }
}

fn read_phone_number(raw: &RawValue, form: PhoneNumberForm) -> Result<PhoneNumber, ApiError> {
    let text = string(raw);
    let digits = text.as_deref().and_then(|text| match form {
        PhoneNumberForm::SignOptional => Some(text.strip_prefix('+').unwrap_or(text)),
        PhoneNumberForm::E164 => text
            .strip_prefix('+')
            .filter(|digits| !digits.starts_with('0')),
    });
    digits
        .and_then(|digits| PhoneNumber::from_digits(digits).ok())
        .ok_or(ApiError::invalid("Invalid format: phoneNumber"))
}

fn read_nai(raw: &RawValue) -> Result<Nai, ApiError> {
    string(raw)
        .and_then(|text| Nai::parse(&text).ok())
        .ok_or(ApiError::invalid("Invalid format: networkAccessIdentifier"))
}

/// The public address and at least one of port and private address.
fn read_ipv4(raw: &RawValue, rules: &Rules) -> Result<Ipv4Query, ApiError> {
    const NAMES: [&str; 3] = ["publicAddress", "publicPort", "privateAddress"];
    let object = members(raw.get(), &NAMES);
    let object = object.ok_or(ApiError::invalid("Invalid format: ipv4Address"))?;
    let [public, port, private] = known(object, rules)?;
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
    let port = port.map(|raw| read_port(raw, rules)).transpose()?;
    match (port, private) {
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
fn read_port(raw: &RawValue, rules: &Rules) -> Result<u16, ApiError> {
    let literal = raw.get();
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ApiError::invalid("Invalid format: ipv4Address.publicPort"));
    }
    // A `-0` is a zero.
    let port = literal.parse::<i64>().ok();
    port.and_then(|port| u16::try_from(port).ok())
        .filter(|port| rules.public_ports.contains(port))
        .ok_or(ApiError::with_message(
            ErrorCode::OutOfRange,
            "Invalid value: ipv4Address.publicPort",
        ))
}
