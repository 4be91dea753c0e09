//! `x-correlator`: echoed when it is well-formed, made where none came.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::error::ApiError;
use super::route::{Route, Version};

/// The header, in and out.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-correlator");

/// The longest that any version takes.
const MAX_LENGTH: usize = 256;

/// The correlator of one request.
#[derive(Debug)]
pub(super) enum Correlator {
    /// Given, and of the form that the version asks for.
    Given(HeaderValue),
    /// Not given.
    Absent,
    /// Given, and not of that form: not echoed.
    Invalid,
}

impl Correlator {
    /// Reads the header by the rules of the version; an unknown path takes the widest form.
    pub(super) fn of(headers: &HeaderMap, route: Option<&Route>) -> Self {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else {
            return Self::Absent;
        };
        let well_formed = match route.map(|route| route.version) {
            Some(Version::V0_1_0) => is_uuid(value.as_bytes()),
            None => is_widest(value.as_bytes()),
        };
        if well_formed && values.next().is_none() {
            Self::Given(value.clone())
        } else {
            Self::Invalid
        }
    }

    /// 400 for a correlator of another form.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        match self {
            Self::Given(_) | Self::Absent => Ok(()),
            Self::Invalid => Err(ApiError::invalid("Invalid format: X-Correlator")),
        }
    }

    /// What the answer carries: the one that was given, or a fresh one.
    pub(super) fn echo(&self) -> HeaderValue {
        match self {
            Self::Given(value) => value.clone(),
            Self::Absent | Self::Invalid => {
                let mut text = uuid::Uuid::encode_buffer();
                let fresh = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
                // A UUID is visible ASCII; the empty value is unreachable.
                HeaderValue::from_str(fresh).unwrap_or_else(|_| HeaderValue::from_static(""))
            }
        }
    }
}

/// The 36-character form of RFC 9562; the crate takes others too.
fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse_ascii(text).is_ok()
}

fn is_widest(text: &[u8]) -> bool {
    text.len() <= MAX_LENGTH
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_:;./<>{}".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Operation;

    #[test]
    fn v0_1_0_takes_a_uuid_and_nothing_else() {
        let route = Route {
            version: Version::V0_1_0,
            operation: Operation::RetrieveType,
        };
        let valid = |text: &'static str| {
            let headers = HeaderMap::from_iter([(HEADER, HeaderValue::from_static(text))]);
            Correlator::of(&headers, Some(&route)).check().is_ok()
        };
        assert!(valid("b4333c46-49c0-4f62-80d7-f0ef930f1c46"));
        assert!(valid("B4333C46-49C0-4F62-80D7-F0EF930F1C46"));
        for text in [
            "",
            "b4333c4649c04f6280d7f0ef930f1c46",
            "{b4333c46-49c0-4f62-80d7-f0ef930f1c46}",
            "b4333c46-49c0-4f62-80d7-f0ef930f1c4g",
            "request-17",
        ] {
            assert!(!valid(text), "{text}");
        }
    }

    #[test]
    fn two_correlators_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(HEADER, HeaderValue::from_static("a"));
        headers.append(HEADER, HeaderValue::from_static("b"));
        assert!(Correlator::of(&headers, None).check().is_err());
    }
}
