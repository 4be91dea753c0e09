//! Who: the identifiers of a subscription (TS 23.003).

use std::fmt;
use std::num::NonZeroU64;

use crate::digits::Digits;

/// A text that is not the identifier it was taken for. Says nothing of the text, which is personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid identifier of its kind")]
pub struct InvalidIdentifier;

/// Implements masked `Debug` and `Display` for personal types.
macro_rules! masked {
    ($($type:ty),+) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($type), "("))?;
                f.write_str(crate::MASK)?;
                f.write_str(")")
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(crate::MASK)
            }
        }
    )+};
}
pub(crate) use masked;

/// The whole value of a personal identifier, on its way to where it is allowed to be seen.
pub struct Revealed<'a, T>(pub(crate) &'a T);

/// An MSISDN: 5 to 15 digits in international format (TS 23.003 3.3), without the `+`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PhoneNumber(Digits);

impl PhoneNumber {
    /// Reads the digits of an MSISDN; no sign, no separators.
    pub fn from_digits(text: &str) -> Result<Self, InvalidIdentifier> {
        Digits::parse(text, 5).map(Self).ok_or(InvalidIdentifier)
    }

    /// The digits in full.
    pub fn reveal(&self) -> Revealed<'_, Self> {
        Revealed(self)
    }

    /// The number in one word: equal words are equal numbers.
    pub fn packed(self) -> u64 {
        self.0.packed()
    }
}

impl fmt::Display for Revealed<'_, PhoneNumber> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.write(f)
    }
}

/// An IMSI: 5 to 15 digits (TS 29.571, `Supi`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Imsi(Digits);

impl Imsi {
    /// Reads the digits of an IMSI.
    pub fn from_digits(text: &str) -> Result<Self, InvalidIdentifier> {
        Digits::parse(text, 5).map(Self).ok_or(InvalidIdentifier)
    }

    /// The IMSI in one word: equal words are equal IMSIs.
    pub fn packed(self) -> u64 {
        self.0.packed()
    }
}

/// A network access identifier, which in the core is an External Identifier (TS 23.003 19.7.2):
/// exactly one `@` with something on both sides, at most 253 characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Nai(Box<str>);

/// The most characters a network access identifier may have (RFC 7542 2.3).
pub const MAX_NAI_LENGTH: usize = 253;

impl Nai {
    /// Reads `local@domain`. Control characters and white space are no part of either.
    pub fn parse(text: &str) -> Result<Self, InvalidIdentifier> {
        let (local, domain) = text.split_once('@').ok_or(InvalidIdentifier)?;
        let well_formed = !local.is_empty()
            && !domain.is_empty()
            && !domain.contains('@')
            && text.chars().count() <= MAX_NAI_LENGTH
            && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err(InvalidIdentifier)
        }
    }

    /// The identifier in full.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A Subscription Permanent Identifier (TS 23.501 5.9.2).
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Supi {
    /// `imsi-…`
    Imsi(Imsi),
    /// `nai-…`, `gci-…` or `gli-…`, kept whole with its prefix.
    Other(Box<str>),
}

/// The longest SUPI taken from a core: an NAI with its prefix.
const MAX_SUPI_LENGTH: usize = MAX_NAI_LENGTH + 4;

impl Supi {
    /// Reads a SUPI as TS 29.571 writes it, prefix included.
    pub fn parse(text: &str) -> Result<Self, InvalidIdentifier> {
        if let Some(digits) = text.strip_prefix("imsi-") {
            return Imsi::from_digits(digits).map(Self::Imsi);
        }
        let (_, rest) = ["nai-", "gci-", "gli-"]
            .iter()
            .find_map(|prefix| Some((prefix, text.strip_prefix(prefix)?)))
            .ok_or(InvalidIdentifier)?;
        let well_formed = !rest.is_empty()
            && text.len() <= MAX_SUPI_LENGTH
            && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if well_formed {
            Ok(Self::Other(text.into()))
        } else {
            Err(InvalidIdentifier)
        }
    }

    /// The SUPI in full, prefix included.
    pub fn reveal(&self) -> Revealed<'_, Self> {
        Revealed(self)
    }
}

impl fmt::Display for Revealed<'_, Supi> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Supi::Imsi(imsi) => {
                f.write_str("imsi-")?;
                imsi.0.write(f)
            }
            Supi::Other(text) => f.write_str(text),
        }
    }
}

/// A Generic Public Subscription Identifier (TS 23.501 5.9.8).
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Gpsi {
    /// `msisdn-…`
    Msisdn(PhoneNumber),
    /// `extid-…@…`
    ExternalId(Nai),
}

impl Gpsi {
    /// Reads a GPSI as TS 29.571 writes it, prefix included.
    pub fn parse(text: &str) -> Result<Self, InvalidIdentifier> {
        if let Some(digits) = text.strip_prefix("msisdn-") {
            return PhoneNumber::from_digits(digits).map(Self::Msisdn);
        }
        let nai = text.strip_prefix("extid-").ok_or(InvalidIdentifier)?;
        Nai::parse(nai).map(Self::ExternalId)
    }

    /// The GPSI in full, prefix included.
    pub fn reveal(&self) -> Revealed<'_, Self> {
        Revealed(self)
    }
}

impl fmt::Display for Revealed<'_, Gpsi> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Gpsi::Msisdn(number) => write!(f, "msisdn-{}", number.reveal()),
            Gpsi::ExternalId(nai) => write!(f, "extid-{}", nai.reveal()),
        }
    }
}

/// What a core function can be asked about: a SUPI or a GPSI (TS 29.503, `ueId`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum UeId {
    /// By permanent identifier.
    Supi(Supi),
    /// By public identifier.
    Gpsi(Gpsi),
}

impl UeId {
    /// The identifier in full, prefix included.
    pub fn reveal(&self) -> Revealed<'_, Self> {
        Revealed(self)
    }
}

impl UeId {
    /// Adds to `text` what `reveal` shows.
    pub fn reveal_into(&self, text: &mut String) {
        match self {
            Self::Supi(Supi::Imsi(imsi)) => {
                text.push_str("imsi-");
                imsi.0.push_to(text);
            }
            Self::Supi(Supi::Other(other)) => text.push_str(other),
            Self::Gpsi(Gpsi::Msisdn(number)) => {
                text.push_str("msisdn-");
                number.0.push_to(text);
            }
            Self::Gpsi(Gpsi::ExternalId(nai)) => {
                text.push_str("extid-");
                text.push_str(nai.reveal());
            }
        }
    }
}

/// A [`UeId`] that is all digits, in one word, be it optional or not: for tables of millions.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PackedUeId(NonZeroU64);

/// Beyond what [`Digits`] uses: 15 digits and their number take 54 bits.
const MSISDN: u64 = 1 << 63;

impl UeId {
    /// The identifier in one word, where it is an IMSI or an MSISDN.
    pub fn packed(&self) -> Option<PackedUeId> {
        match self {
            Self::Supi(Supi::Imsi(imsi)) => NonZeroU64::new(imsi.packed()),
            Self::Gpsi(Gpsi::Msisdn(number)) => NonZeroU64::new(number.packed() | MSISDN),
            Self::Supi(Supi::Other(_)) | Self::Gpsi(Gpsi::ExternalId(_)) => None,
        }
        .map(PackedUeId)
    }
}

impl From<PackedUeId> for UeId {
    fn from(PackedUeId(word): PackedUeId) -> Self {
        let digits = Digits::from_packed(word.get() & !MSISDN);
        if word.get() & MSISDN == 0 {
            Self::Supi(Supi::Imsi(Imsi(digits)))
        } else {
            Self::Gpsi(Gpsi::Msisdn(PhoneNumber(digits)))
        }
    }
}

impl fmt::Display for Revealed<'_, UeId> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            UeId::Supi(supi) => supi.reveal().fmt(f),
            UeId::Gpsi(gpsi) => gpsi.reveal().fmt(f),
        }
    }
}

impl From<Supi> for UeId {
    fn from(supi: Supi) -> Self {
        Self::Supi(supi)
    }
}

impl From<Gpsi> for UeId {
    fn from(gpsi: Gpsi) -> Self {
        Self::Gpsi(gpsi)
    }
}

masked!(PhoneNumber, Imsi, Nai, Supi, Gpsi, UeId, PackedUeId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_keep_leading_zeros() {
        for text in [
            "00123",
            "001010000000001",
            "34600000002",
            "999999999999999",
            "00000",
        ] {
            assert_eq!(
                PhoneNumber::from_digits(text).unwrap().reveal().to_string(),
                text
            );
        }
        assert_ne!(
            PhoneNumber::from_digits("00123"),
            PhoneNumber::from_digits("000123")
        );
    }

    #[test]
    fn what_is_no_identifier_is_refused() {
        for text in [
            "",
            "1234",
            "1234567890123456",
            "12 345",
            "+12345",
            "１２３４５",
            "12a45",
        ] {
            assert!(PhoneNumber::from_digits(text).is_err(), "{text}");
        }
        for text in ["", "@", "a@", "@b", "a@b@c", "ab", "a b@c", "a@b\n"] {
            assert!(Nai::parse(text).is_err(), "{text}");
        }
        assert!(Nai::parse(&format!("a@{}", "b".repeat(251))).is_ok());
        assert!(Nai::parse(&format!("a@{}", "b".repeat(252))).is_err());
        for text in [
            "imsi-",
            "imsi-1234",
            "imsi-12345x",
            "12345",
            "nai-",
            "suci-0-1-2",
        ] {
            assert!(Supi::parse(text).is_err(), "{text}");
        }
        for text in ["msisdn-", "msisdn-+3460", "extid-x", "34600000002"] {
            assert!(Gpsi::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_prefix_tells_the_kind_and_survives() {
        for text in ["imsi-001010000000001", "nai-user@realm.example"] {
            let supi = Supi::parse(text).unwrap();
            assert_eq!(supi.reveal().to_string(), text);
            assert_eq!(revealed(&supi.into()), text);
        }
        for text in ["msisdn-00600000002", "extid-sensor-17@iot.example.com"] {
            let gpsi = Gpsi::parse(text).unwrap();
            assert_eq!(gpsi.reveal().to_string(), text);
            assert_eq!(revealed(&gpsi.into()), text);
        }
    }

    #[test]
    fn what_is_all_digits_fits_a_word_and_comes_out_of_it() {
        for text in ["imsi-001010000000001", "imsi-99999", "imsi-999999999999999"] {
            let ue = UeId::from(Supi::parse(text).unwrap());
            assert_eq!(UeId::from(ue.packed().unwrap()), ue, "{text}");
        }
        for text in ["msisdn-00123", "msisdn-999999999999999"] {
            let ue = UeId::from(Gpsi::parse(text).unwrap());
            assert_eq!(UeId::from(ue.packed().unwrap()), ue, "{text}");
        }
        let imsi = UeId::from(Supi::parse("imsi-34600000002").unwrap());
        let msisdn = UeId::from(Gpsi::parse("msisdn-34600000002").unwrap());
        assert_ne!(imsi.packed(), msisdn.packed());
        for other in [
            UeId::from(Supi::parse("nai-user@realm.example").unwrap()),
            UeId::from(Gpsi::parse("extid-a@b").unwrap()),
        ] {
            assert_eq!(other.packed(), None);
        }
    }

    fn revealed(ue: &UeId) -> String {
        let mut text = String::new();
        ue.reveal_into(&mut text);
        text
    }

    #[test]
    fn personal_values_are_masked() {
        let supi = Supi::parse("imsi-001010000000001").unwrap();
        let gpsi = Gpsi::parse("msisdn-34600000002").unwrap();
        let printed = format!(
            "{supi} {supi:?} {gpsi} {gpsi:?} {:?} {:?}",
            UeId::from(supi.clone()),
            gpsi
        );
        assert!(
            !printed.contains("0101") && !printed.contains("3460"),
            "{printed}"
        );
    }
}
