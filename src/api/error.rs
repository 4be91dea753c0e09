//! Errors as a consumer sees them: status, code, and a message that repeats nothing it was given
//! and tells nothing of the core.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// Why a request has no answer, in the words of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// Body, header or identifier is not what the version asks for.
    InvalidArgument,
    /// A number outside of its range.
    OutOfRange,
    /// No token, or one that is not good.
    Unauthenticated,
    /// Consent or scope is missing.
    PermissionDenied,
    /// No such path; in v0.1.0 also no device for the identifiers.
    NotFound,
    /// No device for the identifiers.
    IdentifierNotFound,
    /// The path knows only POST.
    MethodNotAllowed,
    /// The consumer takes no JSON.
    NotAcceptable,
    /// The body is something else than JSON.
    UnsupportedMediaType,
    /// Neither request nor token names a device.
    MissingIdentifier,
    /// The request names a device although the token does.
    UnnecessaryIdentifier,
    /// No identifier is of a kind that this deployment supports.
    UnsupportedIdentifier,
    /// The identifiers name different devices.
    IdentifierMismatch,
    /// The device has not what is asked for.
    ServiceNotApplicable,
    /// The consumer asks too fast; in v0.1.0 also too much.
    TooManyRequests,
    /// The consumer used up what it may ask.
    QuotaExceeded,
    /// A bug of ours.
    Internal,
    /// The core answered with something wrong.
    BadGateway,
    /// The core or we cannot answer now.
    Unavailable,
    /// The request's own deadline passed.
    Timeout,
}

impl ErrorCode {
    /// Every code, for the metrics.
    pub const ALL: [Self; 20] = [
        Self::InvalidArgument,
        Self::OutOfRange,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::NotFound,
        Self::IdentifierNotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::UnsupportedMediaType,
        Self::MissingIdentifier,
        Self::UnnecessaryIdentifier,
        Self::UnsupportedIdentifier,
        Self::IdentifierMismatch,
        Self::ServiceNotApplicable,
        Self::TooManyRequests,
        Self::QuotaExceeded,
        Self::Internal,
        Self::BadGateway,
        Self::Unavailable,
        Self::Timeout,
    ];

    /// The status of the response, and of its body.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidArgument | Self::OutOfRange => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::NotFound | Self::IdentifierNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::MissingIdentifier
            | Self::UnnecessaryIdentifier
            | Self::UnsupportedIdentifier
            | Self::IdentifierMismatch
            | Self::ServiceNotApplicable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests | Self::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The code as CAMARA writes it.
    pub fn label(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::NotFound => "NOT_FOUND",
            Self::IdentifierNotFound => "IDENTIFIER_NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::NotAcceptable => "NOT_ACCEPTABLE",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::MissingIdentifier => "MISSING_IDENTIFIER",
            Self::UnnecessaryIdentifier => "UNNECESSARY_IDENTIFIER",
            Self::UnsupportedIdentifier => "UNSUPPORTED_IDENTIFIER",
            Self::IdentifierMismatch => "IDENTIFIER_MISMATCH",
            Self::ServiceNotApplicable => "SERVICE_NOT_APPLICABLE",
            Self::TooManyRequests => "TOO_MANY_REQUESTS",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::Internal => "INTERNAL",
            Self::BadGateway => "BAD_GATEWAY",
            Self::Unavailable => "UNAVAILABLE",
            Self::Timeout => "TIMEOUT",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::InvalidArgument => "The request is not valid",
            Self::OutOfRange => "A value is out of its range",
            Self::Unauthenticated => "A valid access token is needed",
            Self::PermissionDenied => "Permission to perform this action is missing",
            Self::NotFound | Self::IdentifierNotFound => {
                "No device found for the specified parameters"
            }
            Self::MethodNotAllowed => "This resource supports POST only",
            Self::NotAcceptable => "Answers are available as application/json only",
            Self::UnsupportedMediaType => "The content type must be application/json",
            Self::MissingIdentifier => "Neither the request nor the access token names a device",
            Self::UnnecessaryIdentifier => {
                "The access token names the device, so the request must not"
            }
            Self::UnsupportedIdentifier => "None of the identifiers is of a kind supported here",
            Self::IdentifierMismatch => "The identifiers name different devices",
            Self::ServiceNotApplicable => "The device has no identifier of this kind",
            Self::TooManyRequests => "A limit of this API consumer is reached",
            Self::QuotaExceeded => "A quota of this API consumer is used up",
            Self::Internal => "The request failed by a fault of this service",
            Self::BadGateway => "The network gave no usable answer",
            Self::Unavailable => "The service cannot answer at the moment",
            Self::Timeout => "The network did not answer in time",
        }
    }
}

/// One error, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// What it is.
    pub code: ErrorCode,
    message: Cow<'static, str>,
    retry_after: Option<u32>,
    close: bool,
}

impl ApiError {
    /// An error with the message of its code.
    pub fn new(code: ErrorCode) -> Self {
        Self::with_message(code, code.message())
    }

    /// An error that says more. Messages are made of literals, so none can repeat what came in.
    pub fn with_message(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
            close: false,
        }
    }

    /// 400 with the reason.
    pub fn invalid(message: &'static str) -> Self {
        Self::with_message(ErrorCode::InvalidArgument, message)
    }

    /// 503, with the seconds after which it may be tried again where they are known.
    pub fn unavailable(retry_after: Option<u32>) -> Self {
        Self {
            retry_after,
            ..Self::new(ErrorCode::Unavailable)
        }
    }

    /// 429 by one of its codes, with the seconds after which it may be tried again.
    pub fn limited(code: ErrorCode, retry_after: u32) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(code)
        }
    }

    /// The connection cannot be used again: the rest of the request is still on its way.
    pub(super) fn closing(self) -> Self {
        Self {
            close: true,
            ..self
        }
    }

    /// The response, but for the correlator.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let status = self.code.status();
        let body = format!(
            r#"{{"status":{},"code":"{}","message":"{}"}}"#,
            status.as_u16(),
            self.code.label(),
            self.message
        );
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.code == ErrorCode::MethodNotAllowed {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_can_stand_in_json_as_it_is() {
        for code in ErrorCode::ALL {
            assert!(
                code.message()
                    .chars()
                    .all(|c| c >= ' ' && c != '"' && c != '\\')
            );
        }
    }
}
