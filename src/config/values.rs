//! How single values are written in the file: durations, apiRoots, kinds.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A kind of identifier that a consumer may give for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum IdentifierKind {
    /// An MSISDN.
    PhoneNumber,
    /// `user@domain`.
    NetworkAccessIdentifier,
    /// Any address inside the device's prefix.
    Ipv6Address,
    /// Public address with port, or with private address.
    Ipv4Address,
}

impl IdentifierKind {
    /// Every kind, in the order in which a request's identifiers are tried.
    pub const ALL: [Self; 4] = [
        Self::PhoneNumber,
        Self::NetworkAccessIdentifier,
        Self::Ipv6Address,
        Self::Ipv4Address,
    ];
}

/// What several identifiers in one request mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MultipleIdentifiers {
    /// What the version says.
    Default,
    /// The first that belongs to a known subscription.
    First,
    /// All must name the same subscription.
    Reject,
}

/// Where a secret is; the secret itself is never part of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// In a file; white space at its end does not count.
    File(PathBuf),
    /// In a variable of the environment, by its name.
    Env(String),
}

/// Durations as `"150ms"`, `"2s"`, `"1m 30s"`.
pub(super) mod duration {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    /// A hundred years: no clock runs over when it is added to now.
    const LONGEST: Duration = Duration::from_hours(24 * 36_525);

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text)
            .map_err(|_| D::Error::custom("a duration is a number and a unit, such as \"150ms\""))
            .and_then(|duration| {
                (duration <= LONGEST)
                    .then_some(duration)
                    .ok_or_else(|| D::Error::custom("a duration is at most a hundred years"))
            })
    }
}

/// Values that are read from their text and written as it.
pub(super) mod texts {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        values: &[T],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(ToString::to_string))
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let texts = Vec::<String>::deserialize(from)?;
        let values = texts
            .iter()
            .map(|text| text.parse().map_err(D::Error::custom));
        values.collect()
    }
}

/// An apiRoot as a string, where there is one.
pub(super) mod optional_api_root {
    use adapters::sbi::ApiRoot;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(
        value: &Option<ApiRoot>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(root) => to.collect_str(root),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<ApiRoot>, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(Some).map_err(D::Error::custom)
    }
}
