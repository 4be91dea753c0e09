//! What becomes of a request to the callback listener, as its answer and its metric say it.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use prometheus::{IntCounterVec, Opts, Registry};

/// Notifications by what became of them.
pub struct CallbackMetrics {
    requests: IntCounterVec,
}

impl CallbackMetrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "pei_bridge_callback_requests_total",
                "Requests to the callback listener, by what became of them",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        for outcome in Outcome::ALL {
            requests.with_label_values(&[outcome.label()]);
        }
        Ok(Self { requests })
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.requests.with_label_values(&[outcome.label()]).inc();
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Taken,
    WrongMethod,
    UnknownPath,
    Unauthorized,
    WrongType,
    TooLarge,
    TooSlow,
    Malformed,
    Failed,
    Shed,
}

impl Outcome {
    const ALL: [Self; 10] = [
        Self::Taken,
        Self::WrongMethod,
        Self::UnknownPath,
        Self::Unauthorized,
        Self::WrongType,
        Self::TooLarge,
        Self::TooSlow,
        Self::Malformed,
        Self::Failed,
        Self::Shed,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::WrongMethod => "wrong_method",
            Self::UnknownPath => "unknown",
            Self::Unauthorized => "unauthorized",
            Self::WrongType => "wrong_type",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Malformed => "malformed",
            Self::Failed => "failed",
            Self::Shed => "shed",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Taken => StatusCode::NO_CONTENT,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::WrongType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Failed | Self::Shed => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let status = self.status();
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if self == Self::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self != Self::Taken {
            let kind = HeaderValue::from_static("application/problem+json");
            headers.insert(CONTENT_TYPE, kind);
            let problem = format!(
                r#"{{"status":{},"title":"{}"}}"#,
                status.as_u16(),
                status.canonical_reason().unwrap_or_default()
            );
            *response.body_mut() = Full::new(problem.into());
        }
        response
    }
}
