//! JSON objects of strangers, read with care: no member twice, each value only when it is asked for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::reason::Reason;

/// The members of an object. A member that stands twice means one thing to one reader and another
/// to the next (RFC 7519 4 lets us refuse it), and so makes the whole unreadable.
pub(super) struct Members<'a>(HashMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, Reason> {
        serde_json::from_slice(json).map_err(|_| Reason::Malformed)
    }

    /// A member as `T`. `null` counts as absent: introspecting issuers write it for "none".
    pub(super) fn get<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, Reason> {
        self.0.get(name).map_or(Ok(None), |raw| {
            serde_json::from_str(raw.get()).map_err(|_| Reason::Malformed)
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A string.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Reason> {
        Ok(self.get::<Text<'a>>(name)?.map(|text| text.0))
    }

    /// A string, or an array of strings.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Reason> {
        Ok(self.get(name)?.map(|texts| match texts {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        }))
    }

    /// A `NumericDate` (RFC 7519 2), rounded towards the past or the future. Dates beyond what an
    /// integer holds are its ends.
    pub(super) fn date(&self, name: &str, round: fn(f64) -> f64) -> Result<Option<i64>, Reason> {
        let Some(number) = self.get::<serde_json::Number>(name)? else {
            return Ok(None);
        };
        if let Some(seconds) = number.as_i64() {
            return Ok(Some(seconds));
        }
        let seconds = number.as_f64().ok_or(Reason::Malformed)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "`as` saturates, which is what is wanted"
        )]
        Ok(Some(round(seconds) as i64))
    }
}

#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = HashMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut members = HashMap::new();
                while let Some((name, value)) = object.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member stands twice"));
                    }
                }
                Ok(members)
            }
        }

        from.deserialize_map(ObjectVisitor).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_when_asked_for() {
        let members =
            Members::parse(br#"{"a": "x\ny", "n": null, "l": ["b", "c"], "o": {"deep": 1}}"#)
                .ok()
                .unwrap();
        assert_eq!(members.text("a").unwrap().as_deref(), Some("x\ny"));
        assert_eq!(members.text("n").unwrap(), None);
        assert_eq!(members.text("absent").unwrap(), None);
        assert_eq!(members.text("l"), Err(Reason::Malformed));
        assert_eq!(members.texts("l").unwrap().unwrap(), ["b", "c"]);
        assert_eq!(members.texts("a").unwrap().unwrap(), ["x\ny"]);
        assert_eq!(members.texts("o"), Err(Reason::Malformed));
        assert!(members.has("o") && members.has("n") && !members.has("deep"));
    }

    #[test]
    fn what_is_no_object_or_says_a_thing_twice_is_refused() {
        for json in [
            "",
            "[]",
            "1",
            "{",
            "{}x",
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            "{\"a\": \u{0}}",
        ] {
            assert!(Members::parse(json.as_bytes()).is_err(), "{json}");
        }
        assert!(Members::parse(b"{\"a\": \"\xff\"}").is_err());
    }

    #[test]
    fn dates_do_not_overflow() {
        for (json, date) in [
            ("1700000000", Some(1_700_000_000)),
            ("1700000000.5", Some(1_700_000_000)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("18446744073709551615", Some(i64::MAX)),
            ("1e300", Some(i64::MAX)),
            ("-1e300", Some(i64::MIN)),
            ("\"1700000000\"", None),
            ("1e400", None),
            ("true", None),
        ] {
            let json = format!("{{\"exp\": {json}}}");
            let members = Members::parse(json.as_bytes()).ok().unwrap();
            assert_eq!(
                members.date("exp", f64::floor),
                date.map_or(Err(Reason::Malformed), |date| Ok(Some(date))),
                "{json}"
            );
        }
    }
}
