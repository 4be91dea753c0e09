//! Writing an answer.

use bytes::Bytes;
use device::{Imei, Imeisv, Tac};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::Full;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::{Serialize, Serializer};

use super::error::{ApiError, ErrorCode};
use super::route::Operation;
use crate::lookup::Answer;
use crate::lookup::consent::Disclosure;
use crate::tac::DeviceType;

/// RFC 3339 in UTC with three digits of milliseconds.
static RFC_3339: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// Enough for every member with names of usual length.
const USUAL_LENGTH: usize = 256;

/// The members of an answer; those that are absent are not known, not asked for, or not to be seen.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Members<'a> {
    last_checked: LastChecked,
    #[serde(skip_serializing_if = "Option::is_none")]
    imeisv: Option<Shown<Imeisv>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    imei: Option<Shown<Imei>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tac: Option<Shown<Tac>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manufacturer: Option<&'a str>,
}

impl<'a> Members<'a> {
    /// What the operation tells of a device, as far as it may be seen.
    pub(super) fn new(
        operation: Operation,
        device: &'a Answer,
        device_type: Option<DeviceType<'a>>,
    ) -> Self {
        let Disclosure {
            identifier,
            device_type: type_seen,
        } = device.disclosure;
        let identifier = identifier && operation == Operation::RetrieveIdentifier;
        let device_type = device_type.filter(|_| type_seen);
        Self {
            last_checked: LastChecked(device.last_checked),
            imeisv: device.imeisv.filter(|_| identifier).map(Shown),
            imei: identifier.then_some(Shown(device.imei)),
            tac: type_seen.then(|| Shown(device.imei.tac())),
            model: device_type.and_then(|found| found.model),
            manufacturer: device_type.and_then(|found| found.manufacturer),
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
        ];
        there
            .into_iter()
            .filter_map(|(name, there)| there.then_some(name))
            .collect()
    }

    /// The response, but for the correlator.
    pub(super) fn into_response(self) -> Result<Response<Full<Bytes>>, ApiError> {
        let mut body = Vec::with_capacity(USUAL_LENGTH);
        serde_json::to_writer(&mut body, &self).map_err(|_| ApiError::new(ErrorCode::Internal))?;
        let mut response = Response::new(Full::from(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // A device is personal data: no cache between us and the consumer may keep it.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

/// A value that is written in full.
struct Shown<T>(T);

impl Serialize for Shown<Imei> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0.reveal())
    }
}

impl Serialize for Shown<Imeisv> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0.reveal())
    }
}

impl Serialize for Shown<Tac> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

/// Milliseconds since the epoch.
struct LastChecked(i64);

impl Serialize for LastChecked {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let time = Timestamp::from_millisecond(self.0).map_err(serde::ser::Error::custom)?;
        to.serialize_str(&RFC_3339.timestamp_to_string(&time))
    }
}
