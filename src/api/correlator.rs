//! `x-correlator`: echoed when it is well-formed, made where none came.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::error::ApiError;
use super::version::CorrelatorForm;

/// The header, in and out.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-correlator");

/// The longest of [`CorrelatorForm::LettersDigitsHyphens`].
const MAX_SIMPLE_LENGTH: usize = 55;
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
    /// Reads the header by the form that the version asks for.
    pub(super) fn of(headers: &HeaderMap, form: CorrelatorForm) -> Self {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else {
            return Self::Absent;
        };
        let text = value.as_bytes();
        let well_formed = match form {
            CorrelatorForm::Uuid => is_uuid(text),
            CorrelatorForm::LettersDigitsHyphens => is_simple(text),
            CorrelatorForm::Wide => is_wide(text),
        };
        if !well_formed || values.next().is_some() {
            Self::Invalid
        } else if text.is_empty() {
            Self::Absent
        } else {
            Self::Given(value.clone())
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

fn is_simple(text: &[u8]) -> bool {
    text.len() <= MAX_SIMPLE_LENGTH
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

fn is_wide(text: &[u8]) -> bool {
    text.len() <= MAX_LENGTH
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_:;./<>{}".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, form: CorrelatorForm) -> Correlator {
        let value = HeaderValue::from_str(text).unwrap();
        Correlator::of(&HeaderMap::from_iter([(HEADER, value)]), form)
    }

    #[test]
    fn each_form_takes_its_own() {
        use CorrelatorForm::{LettersDigitsHyphens, Uuid, Wide};
        let (long, longer) = ("a".repeat(55), "a".repeat(256));
        let (too_long, too_much) = (long.clone() + "a", longer.clone() + "a");
        for (text, forms) in [
            (
                "b4333c46-49c0-4f62-80d7-f0ef930f1c46",
                &[Uuid, LettersDigitsHyphens, Wide][..],
            ),
            (
                "B4333C46-49C0-4F62-80D7-F0EF930F1C46",
                &[Uuid, LettersDigitsHyphens, Wide],
            ),
            (
                "b4333c4649c04f6280d7f0ef930f1c46",
                &[LettersDigitsHyphens, Wide],
            ),
            (
                "b4333c46-49c0-4f62-80d7-f0ef930f1c4g",
                &[LettersDigitsHyphens, Wide],
            ),
            ("request-17", &[LettersDigitsHyphens, Wide]),
            (&long, &[LettersDigitsHyphens, Wide]),
            (&too_long, &[Wide]),
            (&longer, &[Wide]),
            (&too_much, &[]),
            ("a_b:c;d./<e>{f}", &[Wide]),
            ("{b4333c46-49c0-4f62-80d7-f0ef930f1c46}", &[Wide]),
            ("a b", &[]),
            ("a,b", &[]),
        ] {
            for form in [Uuid, LettersDigitsHyphens, Wide] {
                let given = matches!(read(text, form), Correlator::Given(_));
                assert_eq!(given, forms.contains(&form), "{text} {form:?}");
            }
        }
    }

    #[test]
    fn an_empty_one_is_invalid_as_a_uuid_and_none_elsewhere() {
        assert!(read("", CorrelatorForm::Uuid).check().is_err());
        for form in [CorrelatorForm::LettersDigitsHyphens, CorrelatorForm::Wide] {
            assert!(matches!(read("", form), Correlator::Absent), "{form:?}");
        }
    }

    #[test]
    fn two_correlators_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(HEADER, HeaderValue::from_static("a"));
        headers.append(HEADER, HeaderValue::from_static("b"));
        let two = Correlator::of(&headers, CorrelatorForm::Wide);
        assert!(two.check().is_err());
    }
}
