//! Identifiers as the core's JSON carries them: absent, or of the right form.

use device::{Gpsi, Supi};

use crate::sbi::{Error, Text};

/// A `Supi` of TS 29.571 that may be missing.
pub(crate) fn supi(text: Option<Text<'_>>) -> Result<Option<Supi>, Error> {
    text.map(|text| Supi::parse(&text))
        .transpose()
        .map_err(|_| Error::BadAnswer)
}

/// A `Gpsi` of TS 29.571 that may be missing.
pub(crate) fn gpsi(text: Option<Text<'_>>) -> Result<Option<Gpsi>, Error> {
    text.map(|text| Gpsi::parse(&text))
        .transpose()
        .map_err(|_| Error::BadAnswer)
}
