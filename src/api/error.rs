//! Errors as a consumer sees them: status, code, and a message that repeats nothing it was given
//! and tells nothing of the core.

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
    /// No such path, or no device for the identifiers.
    NotFound,
    /// The path knows only POST.
    MethodNotAllowed,
    /// The consumer takes no JSON.
    NotAcceptable,
    /// The consumer met one of its limits.
    TooManyRequests,
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
    pub const ALL: [Self; 12] = [
        Self::InvalidArgument,
        Self::OutOfRange,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::TooManyRequests,
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
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
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
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::NotAcceptable => "NOT_ACCEPTABLE",
            Self::TooManyRequests => "TOO_MANY_REQUESTS",
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
            Self::NotFound => "No device found for the specified parameters",
            Self::MethodNotAllowed => "This resource supports POST only",
            Self::NotAcceptable => "Answers are available as application/json only",
            Self::TooManyRequests => "A limit of this API consumer is reached",
            Self::Internal => "The request failed by a fault of this service",
            Self::BadGateway => "The network gave no usable answer",
            Self::Unavailable => "The service cannot answer at the moment",
            Self::Timeout => "The network did not answer in time",
        }
    }
}

/// One error, ready to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiError {
    /// What it is.
    pub code: ErrorCode,
    message: &'static str,
    retry_after: Option<u32>,
    close: bool,
}

impl ApiError {
    /// An error with the message of its code.
    pub fn new(code: ErrorCode) -> Self {
        Self::with_message(code, code.message())
    }

    /// An error that says more. Messages are literals, so none can repeat what came in.
    pub fn with_message(code: ErrorCode, message: &'static str) -> Self {
        Self {
            code,
            message,
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

    /// 429, with the seconds after which it may be tried again.
    pub fn too_many_requests(retry_after: u32) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(ErrorCode::TooManyRequests)
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
