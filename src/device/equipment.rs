//! Which device: the equipment identifiers of TS 23.003 clause 6.

use std::fmt;

use crate::digits::decimal;
use crate::subscription::{Revealed, masked};

/// Type Allocation Code: the first 8 digits of an IMEI. Names a model, nobody's device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Tac(u32);

impl Tac {
    /// Reads exactly 8 digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 8 {
            return None;
        }
        u32::try_from(decimal(text)?).ok().map(Self)
    }

    /// The 8 digits as ASCII.
    pub fn ascii(self) -> [u8; 8] {
        ascii(u64::from(self.0))
    }
}

impl fmt::Display for Tac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_ascii(f, &self.ascii())
    }
}

/// The last `N` decimal digits of a value. Answers hold little else, so they are written without
/// the machinery of `fmt`.
fn ascii<const N: usize>(mut value: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        // A remainder below ten fits.
        *digit += u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
    digits
}

fn write_ascii(f: &mut fmt::Formatter<'_>, digits: &[u8]) -> fmt::Result {
    f.write_str(std::str::from_utf8(digits).map_err(|_| fmt::Error)?)
}

/// TAC and serial number: the 14 digits that name one device. Below 10^14.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Body(u64);

impl Body {
    fn tac(self) -> Tac {
        // A body has 14 digits, so its first 8 fit.
        Tac(u32::try_from(self.0 / 1_000_000).unwrap_or(u32::MAX))
    }
}

/// An IMEI: TAC, serial number, and a check digit that is always computed.
///
/// A UE sends a spare 0 in its place (TS 23.003 6.2.1), so what came is never copied.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Imei(Body);

impl Imei {
    /// The Type Allocation Code.
    pub fn tac(self) -> Tac {
        self.0.tac()
    }

    /// All 15 digits, the last one by the Luhn formula (TS 23.003 annex B).
    pub fn reveal(&self) -> Revealed<'_, Self> {
        Revealed(self)
    }

    /// The same as ASCII, for an answer that is written at once.
    pub fn reveal_ascii(&self) -> [u8; 15] {
        ascii(self.0.0 * 10 + check_digit(self.0))
    }
}

impl fmt::Display for Revealed<'_, Imei> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_ascii(f, &self.0.reveal_ascii())
    }
}

/// Luhn over 14 digits: every second one, counted from the right and starting with the last, is
/// doubled and its digits are summed.
fn check_digit(body: Body) -> u64 {
    let mut rest = body.0;
    let mut sum = 0;
    for position in 0..14 {
        let digit = rest % 10;
        rest /= 10;
        sum += match digit * 2 {
            _ if position % 2 == 1 => digit,
            doubled if doubled > 9 => doubled - 9,
            doubled => doubled,
        };
    }
    (10 - sum % 10) % 10
}

/// An IMEISV: TAC, serial number and a two-digit software version (TS 23.003 6.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Imeisv(u64);

impl Imeisv {
    /// The IMEI of the same device.
    pub fn imei(self) -> Imei {
        Imei(Body(self.0 / 100))
    }

    /// All 16 digits.
    pub fn reveal(&self) -> Revealed<'_, Self> {
        Revealed(self)
    }

    /// The same as ASCII, for an answer that is written at once.
    pub fn reveal_ascii(&self) -> [u8; 16] {
        ascii(self.0)
    }
}

impl fmt::Display for Revealed<'_, Imeisv> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_ascii(f, &self.0.reveal_ascii())
    }
}

/// A PEI that breaks the format its own prefix promises: a fault of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the PEI breaks its own format")]
pub struct InvalidPei;

/// A Permanent Equipment Identifier as the core stores it (TS 29.571, `Pei`), in 8 bytes or two.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pei {
    /// `imei-` and 15 digits: no IMEISV follows from it.
    Imei(Imei),
    /// `imeisv-` and 16 digits: the IMEI follows from it.
    Imeisv(Imeisv),
    /// A MAC address, an EUI-64 or another kind of equipment: it has no IMEI.
    NoImei,
}

impl Pei {
    /// Reads a PEI. Kinds that nobody knows yet are valid and have no IMEI.
    pub fn parse(text: &str) -> Result<Self, InvalidPei> {
        if let Some(digits) = text.strip_prefix("imei-") {
            let (body, spare) = digits.split_at_checked(14).ok_or(InvalidPei)?;
            if spare.len() != 1 || decimal(spare).is_none() {
                return Err(InvalidPei);
            }
            return decimal(body)
                .map(|body| Self::Imei(Imei(Body(body))))
                .ok_or(InvalidPei);
        }
        if let Some(digits) = text.strip_prefix("imeisv-") {
            let value = if digits.len() == 16 {
                decimal(digits)
            } else {
                None
            };
            return value
                .map(|value| Self::Imeisv(Imeisv(value)))
                .ok_or(InvalidPei);
        }
        let well_formed = match (text.strip_prefix("mac-"), text.strip_prefix("eui-")) {
            (Some(mac), _) => octets(mac.strip_suffix("-untrusted").unwrap_or(mac), 6),
            (_, Some(eui)) => octets(eui, 8),
            (None, None) => !text.is_empty(),
        };
        if well_formed {
            Ok(Self::NoImei)
        } else {
            Err(InvalidPei)
        }
    }

    /// The IMEI, where the equipment has one.
    pub fn imei(self) -> Option<Imei> {
        match self {
            Self::Imei(imei) => Some(imei),
            Self::Imeisv(imeisv) => Some(imeisv.imei()),
            Self::NoImei => None,
        }
    }

    /// The IMEISV, where the core knows it.
    pub fn imeisv(self) -> Option<Imeisv> {
        match self {
            Self::Imeisv(imeisv) => Some(imeisv),
            Self::Imei(_) | Self::NoImei => None,
        }
    }
}

/// Whether `text` is `count` pairs of hexadecimal digits with hyphens between.
fn octets(text: &str, count: usize) -> bool {
    let mut seen = 0;
    text.split('-').all(|pair| {
        seen += 1;
        pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit())
    }) && seen == count
}

masked!(Imei, Imeisv, Pei);

#[cfg(test)]
mod tests {
    use super::*;

    fn imei(pei: &str) -> String {
        Pei::parse(pei)
            .unwrap()
            .imei()
            .unwrap()
            .reveal()
            .to_string()
    }

    #[test]
    fn the_check_digit_is_computed_never_copied() {
        for (pei, expected) in [
            ("imeisv-4901542032375180", "490154203237518"),
            ("imei-356938035643800", "356938035643809"),
            ("imei-356938035643809", "356938035643809"),
            ("imei-000000000000000", "000000000000000"),
            ("imei-999999999999990", "999999999999994"),
        ] {
            assert_eq!(imei(pei), expected, "{pei}");
        }
    }

    #[test]
    fn an_imeisv_gives_its_imei_but_not_the_other_way_round() {
        let pei = Pei::parse("imeisv-0490154203237518").unwrap();
        assert_eq!(
            pei.imeisv().unwrap().reveal().to_string(),
            "0490154203237518"
        );
        assert_eq!(pei.imei().unwrap().tac().to_string(), "04901542");
        assert_eq!(Pei::parse("imei-490154203237518").unwrap().imeisv(), None);
    }

    #[test]
    fn equipment_without_an_imei_is_valid() {
        for pei in [
            "mac-00-00-5E-00-53-00",
            "mac-00-00-5E-00-53-00-untrusted",
            "eui-00-00-5E-FF-FE-00-53-00",
            "something-new",
        ] {
            assert_eq!(Pei::parse(pei).unwrap(), Pei::NoImei, "{pei}");
        }
    }

    #[test]
    fn a_pei_that_breaks_its_format_is_an_error() {
        for pei in [
            "",
            "imei-",
            "imei-12345678901234",
            "imei-1234567890123456",
            "imei-12345678901234x",
            "imei-1234567890123é",
            "imeisv-123456789012345",
            "imeisv-12345678901234567",
            "imeisv-12345678901234 6",
            "mac-00-00-5E-00-53",
            "mac-",
            "eui-00-00-5E-00-53-00",
        ] {
            assert_eq!(Pei::parse(pei), Err(InvalidPei), "{pei}");
        }
    }

    #[test]
    fn a_device_is_masked() {
        let pei = Pei::parse("imeisv-4901542032375180").unwrap();
        let printed = format!("{pei} {pei:?} {:?} {:?}", pei.imei(), pei.imeisv());
        assert!(!printed.contains("4901"), "{printed}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_pei_or_an_error(text in ".{0,40}") {
            let _ = Pei::parse(&text);
        }

        #[test]
        fn every_imei_passes_the_luhn_check(body in 0_u64..100_000_000_000_000) {
            let text = imei(&format!("imei-{body:014}0"));
            let sum: u32 = text.bytes().rev().enumerate().map(|(i, b)| {
                let digit = u32::from(b - b'0');
                match (i % 2, digit * 2) { (0, _) => digit, (_, d) if d > 9 => d - 9, (_, d) => d }
            }).sum();
            proptest::prop_assert_eq!(sum % 10, 0);
            proptest::prop_assert_eq!(text.len(), 15);
        }
    }
}
