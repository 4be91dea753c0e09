//! A text within JSON.

use std::borrow::Cow;
use std::ops::Deref;

use jiff::Timestamp;
use serde::Deserialize;

use super::Error;

/// A text within JSON, which is copied only where it has escapes. Behind an `Option` or in a `Vec`
/// serde copies a `Cow` in any case.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A `DateTime` of TS 29.571 that may be missing, which is the one of RFC 3339.
pub(crate) fn time(text: Option<Text<'_>>) -> Result<Option<Timestamp>, Error> {
    text.map(|text| text.parse())
        .transpose()
        .map_err(|_| Error::BadAnswer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_copied_only_where_it_has_escapes() {
        for (json, text, is_copied) in [
            (r#"["imsi-001010000000001"]"#, "imsi-001010000000001", false),
            (
                r#"["imsi\u002d001010000000001"]"#,
                "imsi-001010000000001",
                true,
            ),
            (r#"[""]"#, "", false),
        ] {
            let read: Vec<Text<'_>> = serde_json::from_str(json).unwrap();
            let [read] = read.as_slice() else {
                panic!("{json}");
            };
            assert_eq!(&**read, text);
            assert_eq!(matches!(read.0, Cow::Owned(_)), is_copied, "{json}");
        }
    }
}
