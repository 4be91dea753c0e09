//! A version as this deployment serves it: its rules, and what the operator says of it.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::version::{Several, Version};
use super::{Operation, version};
use crate::config::{self, DeprecatedVersion, MultipleIdentifiers};
use crate::lookup::SeveralIdentifiers;

/// One version that is served.
pub(super) struct Served {
    pub(super) version: Version,
    /// Those of the version that can be answered here.
    pub(super) operations: Vec<Operation>,
    /// What several identifiers in one request mean.
    pub(super) several: SeveralIdentifiers,
    deprecation: Option<Deprecation>,
}

impl Served {
    /// The version as configured. Without a secret for them, there are no PPIDs.
    pub(super) fn new(version: Version, api: &config::Api, has_ppids: bool) -> Self {
        let rules = version.rules();
        let answerable =
            |operation: &&Operation| has_ppids || **operation != Operation::RetrievePpid;
        let deprecated = api.deprecated.iter().find(|it| it.version == version);
        Self {
            version,
            operations: rules
                .operations
                .iter()
                .filter(answerable)
                .copied()
                .collect(),
            several: several(rules, api.multiple_identifiers),
            deprecation: deprecated.map(Deprecation::new),
        }
    }

    /// Adds what every answer of the version carries.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        if let Some(deprecation) = &self.deprecation {
            deprecation.mark(headers);
        }
    }

    #[cfg(test)]
    pub(super) fn by_default(version: Version) -> Self {
        Self::new(version, &config::Api::default(), true)
    }
}

fn several(rules: &version::Rules, configured: MultipleIdentifiers) -> SeveralIdentifiers {
    match (rules.several, configured) {
        (Several::FirstSupported, _) => SeveralIdentifiers::FirstSupported,
        (Several::Configurable(default), MultipleIdentifiers::Default) => default,
        (Several::Configurable(_), MultipleIdentifiers::First) => SeveralIdentifiers::First,
        (Several::Configurable(_), MultipleIdentifiers::Reject) => SeveralIdentifiers::MustAgree,
    }
}

/// What a consumer is told of a version that will go, ready to be sent.
struct Deprecation {
    /// RFC 9745 2.1: since when.
    since: HeaderValue,
    /// RFC 8594 3: until when.
    sunset: Option<HeaderValue>,
    /// Where more is said of it.
    link: Option<HeaderValue>,
}

impl Deprecation {
    /// RFC 9745; `http` does not name it.
    const HEADER: HeaderName = HeaderName::from_static("deprecation");
    /// RFC 8594.
    const SUNSET: HeaderName = HeaderName::from_static("sunset");

    fn new(config: &DeprecatedVersion) -> Self {
        // All three are visible ASCII whatever is configured; an empty one is unreachable.
        let value = |text: String| {
            HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static(""))
        };
        let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
        let sunset = config.sunset.as_ref();
        let relations = if sunset.is_some() {
            "deprecation sunset"
        } else {
            "deprecation"
        };
        Self {
            since: value(format!("@{}", config.since.as_second())),
            sunset: sunset.map(|sunset| {
                value(
                    printer
                        .timestamp_to_rfc9110_string(sunset)
                        .unwrap_or_default(),
                )
            }),
            link: config
                .link
                .as_ref()
                .map(|link| value(format!("<{link}>; rel=\"{relations}\""))),
        }
    }

    fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(Self::HEADER, self.since.clone());
        if let Some(sunset) = &self.sunset {
            headers.insert(Self::SUNSET, sunset.clone());
        }
        if let Some(link) = &self.link {
            headers.insert(header::LINK, link.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_secret_there_are_no_ppids_to_ask_for() {
        for version in Version::all() {
            let with = Served::by_default(version).operations;
            let without = Served::new(version, &config::Api::default(), false).operations;
            assert_eq!(with, version.operations());
            assert!(!without.contains(&Operation::RetrievePpid));
            let ppids = usize::from(with.contains(&Operation::RetrievePpid));
            assert_eq!(without.len() + ppids, with.len());
        }
    }
}
