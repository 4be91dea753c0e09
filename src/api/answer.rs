//! Writing an answer.

use std::net::Ipv4Addr;

use bytes::Bytes;
use device::{Imei, Imeisv, Ipv4Query, Nai, PhoneNumber, Tac};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::Full;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::error::{ApiError, ErrorCode};
use super::object::Object;
use crate::config::IdentifierKind;
use crate::lookup::consent::Disclosure;
use crate::lookup::{Answer, DeviceQuery};
use crate::ppid::Ppid;
use crate::tac::DeviceType;

/// RFC 3339 in UTC with three digits of milliseconds.
static RFC_3339: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// Enough for every member with names of usual length.
const USUAL_LENGTH: usize = 256;

/// The members of an answer; those that are absent are not known, not asked for, or not to be seen.
#[derive(Default)]
pub(super) struct Members<'a> {
    device: Option<Named<'a>>,
    /// Milliseconds since the epoch.
    last_checked: i64,
    imeisv: Option<Imeisv>,
    imei: Option<Imei>,
    tac: Option<Tac>,
    model: Option<&'a str>,
    manufacturer: Option<&'a str>,
    ppid: Option<Ppid>,
    previous_ppid: Option<Ppid>,
    matches: Option<bool>,
}

impl<'a> Members<'a> {
    /// What every answer about a device has.
    fn of(device: &Answer) -> Self {
        Self {
            last_checked: device.last_checked,
            ..Self::default()
        }
    }

    /// Which device it is, or of which type, as far as it may be seen.
    pub(super) fn described(
        device: &Answer,
        device_type: Option<DeviceType<'a>>,
        longest_name: Option<usize>,
    ) -> Self {
        let Disclosure {
            identifier,
            device_type: type_seen,
        } = device.disclosure;
        let device_type = device_type.filter(|_| type_seen);
        let name = |name: &'a str| longest_name.map_or(name, |longest| cut(name, longest));
        Self {
            imeisv: device.imeisv.filter(|_| identifier),
            imei: identifier.then_some(device.imei),
            tac: type_seen.then(|| device.imei.tac()),
            model: device_type.and_then(|found| found.model).map(name),
            manufacturer: device_type.and_then(|found| found.manufacturer).map(name),
            ..Self::of(device)
        }
    }

    /// By which name the consumer knows it.
    pub(super) fn ppid(device: &Answer, current: Ppid, previous: Option<Ppid>) -> Self {
        Self {
            ppid: Some(current),
            previous_ppid: previous,
            ..Self::of(device)
        }
    }

    /// Whether it is the one that the consumer takes it for.
    pub(super) fn matches(device: &Answer, matches: bool) -> Self {
        Self {
            matches: Some(matches),
            ..Self::of(device)
        }
    }

    /// Whether the consumer took it for another one.
    pub(super) fn is_mismatch(&self) -> bool {
        self.matches == Some(false)
    }

    /// Names the identifier that was used, where the request has several.
    pub(super) fn naming(self, device: &Answer, query: &'a DeviceQuery) -> Self {
        let named = device.led_by.filter(|_| query.identifiers() > 1);
        Self {
            device: named.map(|kind| Named { kind, query }),
            ..self
        }
    }

    /// The names of the members that tell of the device.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let there = [
            ("imeisv", self.imeisv.is_some()),
            ("imei", self.imei.is_some()),
            ("tac", self.tac.is_some()),
            ("model", self.model.is_some()),
            ("manufacturer", self.manufacturer.is_some()),
            ("ppid", self.ppid.is_some()),
            ("previousPpid", self.previous_ppid.is_some()),
            ("match", self.matches.is_some()),
        ];
        there
            .into_iter()
            .filter_map(|(name, there)| there.then_some(name))
            .collect()
    }

    /// The response, but for the correlator.
    pub(super) fn into_response(self) -> Result<Response<Full<Bytes>>, ApiError> {
        let body = self.to_json().ok_or(ApiError::new(ErrorCode::Internal))?;
        let mut response = Response::new(Full::from(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // A device is personal data: no cache between us and the consumer may keep it.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    /// `None` for a time that no calendar has.
    fn to_json(&self) -> Option<Vec<u8>> {
        let mut object = Object::with_capacity(USUAL_LENGTH);
        if let Some(device) = &self.device {
            object.value("device", device).ok()?;
        }
        let time = Timestamp::from_millisecond(self.last_checked).ok()?;
        let time = RFC_3339.timestamp_to_string(&time);
        object.plain("lastChecked", time.as_bytes());
        if let Some(imeisv) = self.imeisv {
            object.plain("imeisv", &imeisv.reveal_ascii());
        }
        if let Some(imei) = self.imei {
            object.plain("imei", &imei.reveal_ascii());
        }
        if let Some(tac) = self.tac {
            object.plain("tac", &tac.ascii());
        }
        if let Some(model) = self.model {
            object.value("model", &model).ok()?;
        }
        if let Some(manufacturer) = self.manufacturer {
            object.value("manufacturer", &manufacturer).ok()?;
        }
        if let Some(ppid) = &self.ppid {
            object.plain("ppid", ppid.ascii());
        }
        if let Some(previous) = &self.previous_ppid {
            object.plain("previousPpid", previous.ascii());
        }
        if let Some(matches) = self.matches {
            object.value("match", &matches).ok()?;
        }
        Some(object.finish())
    }
}

/// As much of a name as a version has room for.
fn cut(name: &str, longest: usize) -> &str {
    let end = name.char_indices().nth(longest).map(|(end, _)| end);
    end.and_then(|end| name.get(..end)).unwrap_or(name)
}

/// The one identifier of a query that was used.
struct Named<'a> {
    kind: IdentifierKind,
    query: &'a DeviceQuery,
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut device = to.serialize_struct("device", 1)?;
        let Self { kind, query } = self;
        match kind {
            IdentifierKind::PhoneNumber => {
                let number = query.phone_number.as_ref().map(PhoneNumber::reveal);
                let number = number.map(|number| format!("+{number}"));
                device.serialize_field("phoneNumber", &number)?;
            }
            IdentifierKind::NetworkAccessIdentifier => {
                let nai = query.network_access_identifier.as_ref().map(Nai::reveal);
                device.serialize_field("networkAccessIdentifier", &nai)?;
            }
            IdentifierKind::Ipv6Address => {
                device.serialize_field("ipv6Address", &query.ipv6_address)?;
            }
            IdentifierKind::Ipv4Address => {
                let address = query.ipv4_address.map(UsedIpv4Address::of);
                device.serialize_field("ipv4Address", &address)?;
            }
        }
        device.end()
    }
}

/// What was used of an IPv4 address: a private address beside a port was not.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UsedIpv4Address {
    public_address: Ipv4Addr,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_address: Option<Ipv4Addr>,
}

impl UsedIpv4Address {
    fn of(query: Ipv4Query) -> Self {
        let (public_port, private_address) = match query {
            Ipv4Query::Port { port, .. } => (Some(port), None),
            Ipv4Query::Private { private, .. } => (None, Some(private)),
        };
        Self {
            public_address: query.public(),
            public_port,
            private_address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_between_characters() {
        for (name, longest, expected) in [
            ("Phone One", 32, "Phone One"),
            ("Phone One", 5, "Phone"),
            ("Phone One", 9, "Phone One"),
            ("Téléphone", 3, "Tél"),
            ("電話機", 2, "電話"),
        ] {
            assert_eq!(cut(name, longest), expected);
        }
    }
}
