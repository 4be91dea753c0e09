//! The published versions of the API, side by side.
//!
//! Data only: [`V0_1_0`] says everything, each later version what it does in another way. The rest
//! of [`super`] reads these rules and knows no version by name. The next version is a constant
//! here, a place in [`VERSIONS`], and a document under `deploy/openapi`.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::Operation::{self, MatchIdentifier, RetrieveIdentifier, RetrievePpid, RetrieveType};
use super::error::ErrorCode;
use crate::lookup::SeveralIdentifiers;

/// Every version, oldest first.
static VERSIONS: [Rules; 4] = [V0_1_0, V0_2, V0_3, V0_4ALPHA1];

/// The one that must never break.
const V0_1_0: Rules = Rules {
    name: "v0.1.0",
    document: include_str!("../../deploy/openapi/v0.1.0.yaml"),
    operations: &[RetrieveIdentifier, RetrieveType],
    body: BodyForm::Device,
    unknown_members: UnknownMembers::Ignored,
    phone_number: PhoneNumberForm::SignOptional,
    public_ports: 1024..=65535,
    correlator: CorrelatorForm::Uuid,
    several: Several::Configurable(SeveralIdentifiers::First),
    longest_name: None,
    codes: Codes {
        content_type: ErrorCode::InvalidArgument,
        unsupported: ErrorCode::NotFound,
        not_found: ErrorCode::NotFound,
        not_applicable: ErrorCode::NotFound,
        mismatch: ErrorCode::InvalidArgument,
        quota: ErrorCode::TooManyRequests,
    },
};

const V0_2: Rules = Rules {
    name: "v0.2",
    document: include_str!("../../deploy/openapi/v0.2.yaml"),
    body: BodyForm::OptionalDevice,
    phone_number: PhoneNumberForm::E164,
    correlator: CorrelatorForm::LettersDigitsHyphens,
    several: Several::Configurable(SeveralIdentifiers::MustAgree),
    codes: Codes {
        content_type: ErrorCode::UnsupportedMediaType,
        unsupported: ErrorCode::UnsupportedIdentifier,
        not_found: ErrorCode::IdentifierNotFound,
        not_applicable: ErrorCode::ServiceNotApplicable,
        mismatch: ErrorCode::IdentifierMismatch,
        quota: ErrorCode::QuotaExceeded,
    },
    ..V0_1_0
};

const V0_3: Rules = Rules {
    name: "v0.3",
    document: include_str!("../../deploy/openapi/v0.3.yaml"),
    operations: &[RetrieveIdentifier, RetrieveType, RetrievePpid],
    public_ports: 0..=65535,
    correlator: CorrelatorForm::Wide,
    several: Several::FirstSupported,
    ..V0_2
};

const V0_4ALPHA1: Rules = Rules {
    name: "v0.4alpha1",
    document: include_str!("../../deploy/openapi/v0.4alpha1.yaml"),
    operations: &[
        RetrieveIdentifier,
        RetrieveType,
        RetrievePpid,
        MatchIdentifier,
    ],
    unknown_members: UnknownMembers::Refused,
    public_ports: 1..=65535,
    longest_name: Some(32),
    ..V0_3
};

/// What a version does.
#[derive(Debug)]
pub(super) struct Rules {
    /// As it stands in paths and labels.
    pub(super) name: &'static str,
    /// Its OpenAPI document, in words of our own.
    pub(super) document: &'static str,
    /// What can be asked.
    pub(super) operations: &'static [Operation],
    /// Where the body names the device, and what a token that names one means.
    pub(super) body: BodyForm,
    /// Members that the version does not define, at any depth.
    pub(super) unknown_members: UnknownMembers,
    /// How `phoneNumber` is written.
    pub(super) phone_number: PhoneNumberForm,
    /// What `publicPort` may be.
    pub(super) public_ports: RangeInclusive<u16>,
    /// How a correlator is written.
    pub(super) correlator: CorrelatorForm,
    /// What several identifiers in one request mean.
    pub(super) several: Several,
    /// The most characters of `model` and `manufacturer`.
    pub(super) longest_name: Option<usize>,
    /// What refusals are called.
    pub(super) codes: Codes,
}

/// Where a request names the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyForm {
    /// The body is the device. A token that names one as well must name the same.
    Device,
    /// The body has the device as a member, which a token that names one makes needless.
    OptionalDevice,
}

/// What members are worth that a version does not define.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnknownMembers {
    Ignored,
    Refused,
}

/// How a phone number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PhoneNumberForm {
    /// `^\+?[0-9]{5,15}$`
    SignOptional,
    /// `^\+[1-9][0-9]{4,14}$`
    E164,
}

/// How a correlator is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CorrelatorForm {
    /// The 36-character form of RFC 9562; an empty one is none.
    Uuid,
    /// `^[a-zA-Z0-9-]{0,55}$`
    LettersDigitsHyphens,
    /// `^[a-zA-Z0-9-_:;.\/<>{}]{0,256}$`
    Wide,
}

/// What several identifiers in one request mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Several {
    /// This, unless the operator says otherwise.
    Configurable(SeveralIdentifiers),
    /// The first of a supported kind is used, whatever the operator says; the answer names it.
    FirstSupported,
}

/// What refusals are called that differ between versions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codes {
    /// The body is something else than JSON.
    pub(super) content_type: ErrorCode,
    /// No identifier of a kind that is supported here.
    pub(super) unsupported: ErrorCode,
    /// No such subscription, or no device.
    pub(super) not_found: ErrorCode,
    /// The device has not what is asked for.
    pub(super) not_applicable: ErrorCode,
    /// The identifiers name different devices.
    pub(super) mismatch: ErrorCode,
    /// A limit that is not one of requests a second.
    pub(super) quota: ErrorCode,
}

/// A published version of the API.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(&'static Rules);

impl Version {
    /// Every version, oldest first.
    pub fn all() -> impl Iterator<Item = Self> {
        VERSIONS.iter().map(Self)
    }

    /// The version of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|version| version.as_str() == name)
    }

    /// As it stands in paths and labels.
    pub fn as_str(self) -> &'static str {
        self.0.name
    }

    /// Its OpenAPI document.
    pub fn document(self) -> &'static str {
        self.0.document
    }

    /// What can be asked.
    pub fn operations(self) -> &'static [Operation] {
        self.0.operations
    }

    pub(super) fn rules(self) -> &'static Rules {
        self.0
    }
}

/// There is one set of rules for each version.
impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Version {}

/// A name that no version has.
#[derive(Debug, thiserror::Error)]
#[error("is no version; there are {}", Version::all().map(Version::as_str).collect::<Vec<_>>().join(", "))]
pub struct UnknownVersion;

impl TryFrom<String> for Version {
    type Error = UnknownVersion;

    fn try_from(name: String) -> Result<Self, UnknownVersion> {
        Self::named(&name).ok_or(UnknownVersion)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_found_by_its_name_alone() {
        for version in Version::all() {
            assert_eq!(Version::named(version.as_str()), Some(version));
        }
        assert_eq!(Version::named("v0.1"), None);
        assert_ne!(Version::named("v0.2"), Version::named("v0.3"));
        let unknown = Version::try_from("v7".to_owned()).unwrap_err();
        assert!(
            unknown
                .to_string()
                .contains("v0.1.0, v0.2, v0.3, v0.4alpha1")
        );
    }
}
