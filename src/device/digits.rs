//! Decimal digit strings packed into one word.

use std::fmt;

/// Up to 15 decimal digits together with their number, so that leading zeros survive.
///
/// Holds an MSISDN or an IMSI in 8 bytes: the value times 16, plus the length.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digits(u64);

/// The longest MSISDN (ITU-T E.164) and the longest IMSI (TS 23.003 2.2) have 15 digits.
pub const MAX_DIGITS: usize = 15;

impl Digits {
    /// Packs `text`, which must be `min` to 15 ASCII digits and nothing else.
    pub fn parse(text: &str, min: usize) -> Option<Self> {
        if !(min..=MAX_DIGITS).contains(&text.len()) {
            return None;
        }
        let value = decimal(text)?;
        let length = u64::try_from(text.len()).ok()?;
        Some(Self((value << 4) | length))
    }

    /// From a word that [`Self::packed`] gave.
    pub(crate) fn from_packed(word: u64) -> Self {
        Self(word)
    }

    /// The word itself: equal words are equal digit strings.
    pub fn packed(self) -> u64 {
        self.0
    }
}

/// The value of a text of at most 19 ASCII digits; `None` when anything else is in it.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.bytes().try_fold(0_u64, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u64::from(byte - b'0'))
    })
}

/// Shows the digits in full. Only the `reveal` calls of this crate lead here.
impl Digits {
    /// The digits as text, at the end of `space`. Every question to the core names somebody, and
    /// the number formatting of `fmt` is slow.
    fn text(self, space: &mut [u8; MAX_DIGITS]) -> &str {
        let mut value = self.0 >> 4;
        let length = usize::try_from(self.0 & 0xf).unwrap_or(0);
        for place in space.iter_mut().rev().take(length) {
            *place = b'0' + u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
        }
        let digits = space.get(MAX_DIGITS - length..).unwrap_or_default();
        str::from_utf8(digits).unwrap_or_default()
    }

    pub(crate) fn write(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; MAX_DIGITS]))
    }

    pub(crate) fn push_to(self, text: &mut String) {
        text.push_str(self.text(&mut [0; MAX_DIGITS]));
    }
}
