//! Writing an answer.

use bytes::Bytes;
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
static LAST_CHECKED: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// Enough for every member with names of usual length.
const USUAL_LENGTH: usize = 256;

/// The members of an answer; those that are absent are not known or not asked for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    #[serde(serialize_with = "last_checked")]
    last_checked: i64,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "displayed")]
    imeisv: Option<device::subscription::Revealed<'a, device::Imeisv>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "displayed")]
    imei: Option<device::subscription::Revealed<'a, device::Imei>>,
    #[serde(serialize_with = "displayed")]
    tac: Option<device::Tac>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manufacturer: Option<&'a str>,
}

/// The response to an operation, but for the correlator.
pub(super) fn write(
    operation: Operation,
    device: &Answer,
    device_type: Option<DeviceType<'_>>,
) -> Result<Response<Full<Bytes>>, ApiError> {
    let (imeisv, imei) = match operation {
        Operation::RetrieveIdentifier => (
            device.imeisv.as_ref().map(device::Imeisv::reveal),
            Some(device.imei.reveal()),
        ),
        Operation::RetrieveType => (None, None),
    };
    let members = Members {
        last_checked: device.last_checked,
        imeisv,
        imei,
        tac: Some(device.imei.tac()),
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

fn last_checked<S: Serializer>(milliseconds: &i64, to: S) -> Result<S::Ok, S::Error> {
    let time = Timestamp::from_millisecond(*milliseconds).map_err(serde::ser::Error::custom)?;
    to.serialize_str(&LAST_CHECKED.timestamp_to_string(&time))
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the member")]
fn displayed<T: std::fmt::Display, S: Serializer>(
    value: &Option<T>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}
