//! JSON objects, member by member.
//!
//! Members are first taken as raw JSON, so that each can be judged by its literal form: a port
//! must be an integer literal, `null` is no value, and a name that stands twice is an error.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The text of a JSON string.
pub(super) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get())
        .ok()
        .map(|text| text.0)
}

/// A JSON string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of an object.
#[derive(Clone, Copy)]
pub(super) struct Members<'a, const N: usize> {
    /// The values of `N` known ones, in the order of their names.
    pub(super) known: [Option<&'a RawValue>; N],
    /// Whether there are others.
    pub(super) others: bool,
}

/// Reads an object whose names are all unique, at every depth.
pub(super) fn members<'a, const N: usize>(
    text: &'a str,
    names: &'static [&'static str; N],
) -> Option<Members<'a, N>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(MembersVisitor(names)).ok()?;
    deserializer.end().ok()?;
    Some(members)
}

struct MembersVisitor<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for MembersVisitor<N> {
    type Value = Members<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut known = [None; N];
        let mut unknown = HashSet::new();
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            let slot = self.0.iter().position(|known| *known == name);
            let twice = if let Some(slot) = slot.and_then(|index| known.get_mut(index)) {
                slot.replace(map.next_value::<&RawValue>()?).is_some()
            } else {
                map.next_value::<Unique>()?;
                !unknown.insert(name)
            };
            if twice {
                return Err(de::Error::custom("a name stands twice"));
            }
        }
        let others = !unknown.is_empty();
        Ok(Members { known, others })
    }
}

/// Any JSON value in which no object names a member twice; its depth is bounded by `serde_json`.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unique, A::Error> {
        while seq.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut names = HashSet::new();
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            map.next_value::<Unique>()?;
            if !names.insert(name) {
                return Err(de::Error::custom("a name stands twice"));
            }
        }
        Ok(Unique)
    }
}
