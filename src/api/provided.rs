//! The identifier that a consumer takes a device for, and whether it is right.

use std::fmt;
use std::hash::{Hash, Hasher};

use device::{Imei, Imeisv};
use serde_json::value::RawValue;
use subtle::{Choice, ConstantTimeEq as _};

use super::error::ApiError;
use super::json::string;

/// What the consumer believes, as digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ProvidedIdentifier {
    /// 15 digits.
    Imei([u8; 15]),
    /// 16 digits.
    Imeisv([u8; 16]),
    /// 8 digits.
    Tac([u8; 8]),
}

/// The core knows the device by its IMEI alone: of an IMEISV nothing can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ImeisvUnknown;

/// The check digit that a UE sends (TS 23.003 6.2.1).
const SPARE_DIGIT: u8 = b'0';

impl ProvidedIdentifier {
    /// Reads `providedIdentifierType` and `providedIdentifier`; both must be there.
    pub(super) fn read(
        kind: Option<&RawValue>,
        value: Option<&RawValue>,
    ) -> Result<Self, ApiError> {
        let kind = kind.and_then(string);
        let value = value.and_then(string);
        let value = value.as_deref().unwrap_or_default();
        let provided = match kind.as_deref() {
            Some("IMEI") => digits(value).map(Self::Imei),
            Some("IMEISV") => digits(value).map(Self::Imeisv),
            Some("TAC") => digits(value).map(Self::Tac),
            _ => return Err(ApiError::invalid("Invalid format: providedIdentifierType")),
        };
        provided.ok_or(ApiError::invalid("Invalid format: providedIdentifier"))
    }

    /// Whether it is this device's. How long that takes does not depend on the digits: nobody may
    /// feel his way to a device digit by digit.
    pub(super) fn matches(
        &self,
        imei: Imei,
        imeisv: Option<Imeisv>,
    ) -> Result<bool, ImeisvUnknown> {
        let matches = match self {
            Self::Imei(provided) => matches_imei(provided, &imei.reveal_ascii()),
            Self::Imeisv(provided) => {
                let known = imeisv.ok_or(ImeisvUnknown)?.reveal_ascii();
                provided.ct_eq(&known)
            }
            Self::Tac(provided) => provided.ct_eq(&imei.tac().ascii()),
        };
        Ok(matches.into())
    }
}

/// On 14 digits, and on the check digit or the spare one in its place.
fn matches_imei([provided @ .., last]: &[u8; 15], [known @ .., check]: &[u8; 15]) -> Choice {
    let last = last.ct_eq(check) | last.ct_eq(&SPARE_DIGIT);
    provided.ct_eq(known) & last
}

fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: [u8; N] = text.as_bytes().try_into().ok()?;
    digits.iter().all(u8::is_ascii_digit).then_some(digits)
}

impl Hash for ProvidedIdentifier {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Imei(digits) => digits.hash(state),
            Self::Imeisv(digits) => digits.hash(state),
            Self::Tac(digits) => digits.hash(state),
        }
    }
}

/// Right or wrong, it is somebody's device.
impl fmt::Debug for ProvidedIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Imei(_) => "Imei",
            Self::Imeisv(_) => "Imeisv",
            Self::Tac(_) => "Tac",
        };
        write!(f, "{kind}({})", device::MASK)
    }
}

#[cfg(test)]
mod tests {
    use device::Pei;

    use super::*;

    fn provided(kind: &str, value: &str) -> Result<ProvidedIdentifier, ApiError> {
        let [kind, value] = [kind, value]
            .map(|text| RawValue::from_string(serde_json::Value::from(text).to_string()).unwrap());
        ProvidedIdentifier::read(Some(&kind), Some(&value))
    }

    fn matches(pei: &str, kind: &str, value: &str) -> Result<bool, ImeisvUnknown> {
        let pei = Pei::parse(pei).unwrap();
        let provided = provided(kind, value).unwrap();
        provided.matches(pei.imei().unwrap(), pei.imeisv())
    }

    #[test]
    fn an_identifier_matches_on_the_digits_that_it_has() {
        let pei = "imeisv-4901542032375180";
        for (kind, value, expected) in [
            ("IMEI", "490154203237518", true),
            ("IMEI", "490154203237510", true),
            ("IMEI", "490154203237517", false),
            ("IMEI", "490154203237528", false),
            ("IMEI", "390154203237518", false),
            ("IMEISV", "4901542032375180", true),
            ("IMEISV", "4901542032375181", false),
            ("IMEISV", "5901542032375180", false),
            ("TAC", "49015420", true),
            ("TAC", "49015421", false),
            ("TAC", "00000000", false),
        ] {
            assert_eq!(matches(pei, kind, value), Ok(expected), "{kind} {value}");
        }
    }

    #[test]
    fn of_an_imeisv_that_the_core_does_not_know_nothing_is_said() {
        let pei = "imei-356938035643800";
        assert_eq!(
            matches(pei, "IMEISV", "3569380356438001"),
            Err(ImeisvUnknown)
        );
        assert_eq!(matches(pei, "IMEI", "356938035643809"), Ok(true));
        assert_eq!(matches(pei, "IMEI", "356938035643800"), Ok(true));
        assert_eq!(matches(pei, "IMEI", "356938035643801"), Ok(false));
    }

    #[test]
    fn the_length_is_that_of_the_kind() {
        for (kind, value, wrong) in [
            ("IMEI", "4901542032375181", "providedIdentifier"),
            ("IMEI", "49015420323751", "providedIdentifier"),
            ("IMEISV", "490154203237518", "providedIdentifier"),
            ("TAC", "4901542", "providedIdentifier"),
            ("TAC", "4901542O", "providedIdentifier"),
            ("TAC", "", "providedIdentifier"),
            ("imei", "490154203237518", "providedIdentifierType"),
            ("", "490154203237518", "providedIdentifierType"),
        ] {
            let expected = match wrong {
                "providedIdentifier" => ApiError::invalid("Invalid format: providedIdentifier"),
                _ => ApiError::invalid("Invalid format: providedIdentifierType"),
            };
            assert_eq!(provided(kind, value), Err(expected), "{kind} {value}");
        }
        assert!(ProvidedIdentifier::read(None, None).is_err());
    }

    #[test]
    fn a_guess_is_masked() {
        let printed = format!("{:?}", provided("TAC", "49015420").unwrap());
        assert_eq!(printed, format!("Tac({})", device::MASK));
    }
}
