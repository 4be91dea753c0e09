//! Paths: which version, which operation.

use serde::{Deserialize, Serialize};

use super::error::{ApiError, ErrorCode};
use crate::lookup::Wanted;

/// A published version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum Version {
    /// The one that must never break.
    #[serde(rename = "v0.1.0")]
    V0_1_0,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 1] = [Self::V0_1_0];

    /// As it stands in paths and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "v0.1.0",
        }
    }

    /// The operations of the version.
    pub fn operations(self) -> &'static [Operation] {
        match self {
            Self::V0_1_0 => &[Operation::RetrieveIdentifier, Operation::RetrieveType],
        }
    }
}

/// What a consumer may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Which device: IMEI and what follows from it.
    RetrieveIdentifier,
    /// Which type of device: TAC and what follows from it.
    RetrieveType,
}

impl Operation {
    /// As it stands in paths and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RetrieveIdentifier => "retrieve-identifier",
            Self::RetrieveType => "retrieve-type",
        }
    }

    /// The scope that a token needs for it.
    pub(super) fn scope(self) -> &'static str {
        match self {
            Self::RetrieveIdentifier => "device-identifier:retrieve-identifier",
            Self::RetrieveType => "device-identifier:retrieve-type",
        }
    }

    /// What it asks the core for.
    pub(super) fn wanted(self) -> Wanted {
        match self {
            Self::RetrieveIdentifier => Wanted::Identifier,
            Self::RetrieveType => Wanted::Type,
        }
    }
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) version: Version,
    pub(super) operation: Operation,
}

impl Route {
    /// Reads `/device-identifier/{version}/{operation}`.
    pub(super) fn of(path: &str, served: &[Version]) -> Result<Self, ApiError> {
        let unknown = ApiError::with_message(ErrorCode::NotFound, "No such resource");
        let mut segments = path
            .strip_prefix("/device-identifier/")
            .ok_or(unknown)?
            .split('/');
        let (Some(version), Some(operation), None) =
            (segments.next(), segments.next(), segments.next())
        else {
            return Err(unknown);
        };
        let version = served
            .iter()
            .find(|known| known.as_str() == version)
            .copied()
            .ok_or(unknown)?;
        let operation = version
            .operations()
            .iter()
            .find(|known| known.as_str() == operation);
        operation
            .map(|operation| Self {
                version,
                operation: *operation,
            })
            .ok_or(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_served_paths_lead_somewhere() {
        let of = |path| Route::of(path, &Version::ALL);
        for (path, operation) in [
            (
                "/device-identifier/v0.1.0/retrieve-identifier",
                Operation::RetrieveIdentifier,
            ),
            (
                "/device-identifier/v0.1.0/retrieve-type",
                Operation::RetrieveType,
            ),
        ] {
            assert_eq!(
                of(path),
                Ok(Route {
                    version: Version::V0_1_0,
                    operation
                }),
                "{path}"
            );
        }
        for path in [
            "/",
            "*",
            "/device-identifier",
            "/device-identifier/v0.1.0",
            "/device-identifier/v0.1.0/retrieve-identifier/",
            "/device-identifier/v0.1/retrieve-identifier",
            "/device-identifier/v9/retrieve-identifier",
            "/device-identifier/v0.1.0/retrieve-ppid",
            "/Device-Identifier/v0.1.0/retrieve-type",
            "//device-identifier/v0.1.0/retrieve-type",
        ] {
            assert_eq!(of(path).unwrap_err().code, ErrorCode::NotFound, "{path}");
        }
        assert!(Route::of("/device-identifier/v0.1.0/retrieve-type", &[]).is_err());
    }
}
