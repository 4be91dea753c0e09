//! Writing an answer.

use std::fmt;

use bytes::Bytes;
use device::subscription::Revealed;
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
use crate::tac::DeviceType;

/// RFC 3339 in UTC with three digits of milliseconds.
static RFC_3339: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// Enough for every member with names of usual length.
const USUAL_LENGTH: usize = 256;

/// The members of an answer; those that are absent are not known or not asked for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    last_checked: LastChecked,
    #[serde(skip_serializing_if = "Option::is_none")]
    imeisv: Option<Shown<Revealed<'a, Imeisv>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    imei: Option<Shown<Revealed<'a, Imei>>>,
    tac: Shown<Tac>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manufacturer: Option<&'a str>,
}

/// A value that is written as it is displayed.
struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
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

/// The response to an operation, but for the correlator.
pub(super) fn write(
    operation: Operation,
    device: &Answer,
    device_type: Option<DeviceType<'_>>,
) -> Result<Response<Full<Bytes>>, ApiError> {
    let (imeisv, imei) = match operation {
        Operation::RetrieveIdentifier => (
            device.imeisv.as_ref().map(|imeisv| Shown(imeisv.reveal())),
            Some(Shown(device.imei.reveal())),
        ),
        Operation::RetrieveType => (None, None),
    };
    let members = Members {
        last_checked: LastChecked(device.last_checked),
        imeisv,
        imei,
        tac: Shown(device.imei.tac()),
        model: device_type.and_then(|found| found.model),
        manufacturer: device_type.and_then(|found| found.manufacturer),
    };
    let mut body = Vec::with_capacity(USUAL_LENGTH);
    serde_json::to_writer(&mut body, &members).map_err(|_| ApiError::new(ErrorCode::Internal))?;
    let mut response = Response::new(Full::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // A device is personal data: no cache between us and the consumer may keep it.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
