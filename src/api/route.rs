//! Paths: which version, which operation.

use super::Operation;
use super::error::{ApiError, ErrorCode};
use super::served::Served;
use super::version::{CorrelatorForm, Rules};

/// What a path names.
#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    pub(super) served: &'a Served,
    pub(super) operation: Operation,
}

impl<'a> Route<'a> {
    /// Reads `/device-identifier/{version}/{operation}`. Nothing is negotiated: a version that is
    /// not served is told which ones are.
    pub(super) fn of(path: &str, served: &'a [Served]) -> Result<Self, ApiError> {
        let unknown = || ApiError::with_message(ErrorCode::NotFound, "No such resource");
        let below = path.strip_prefix("/device-identifier/");
        let below = below.ok_or_else(unknown)?;
        let (version, operation) = match below.split_once('/') {
            Some((version, operation)) => (version, Some(operation)),
            None => (below, None),
        };
        let found = served.iter().find(|it| it.version.as_str() == version);
        let served = found.ok_or_else(|| no_such_version(served))?;
        let mut operations = served.operations.iter();
        let operation = operations.find(|it| Some(it.as_str()) == operation);
        operation
            .map(|operation| Self {
                served,
                operation: *operation,
            })
            .ok_or_else(unknown)
    }

    /// The rules of the version.
    pub(super) fn rules(self) -> &'static Rules {
        self.served.version.rules()
    }
}

/// The form of the correlator on the way to a route; an unknown path takes the widest.
pub(super) fn correlator_form(route: Result<&Route<'_>, &ApiError>) -> CorrelatorForm {
    route.map_or(CorrelatorForm::Wide, |route| route.rules().correlator)
}

fn no_such_version(served: &[Served]) -> ApiError {
    let names: Vec<_> = served.iter().map(|it| it.version.as_str()).collect();
    let message = format!("No such version of the API; served: {}", names.join(", "));
    ApiError::with_message(ErrorCode::NotFound, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Version;

    fn served() -> Vec<Served> {
        Version::all().map(Served::by_default).collect()
    }

    #[test]
    fn only_the_served_paths_lead_somewhere() {
        let served = served();
        for version in Version::all() {
            for operation in version.operations() {
                let path = format!(
                    "/device-identifier/{}/{}",
                    version.as_str(),
                    operation.as_str()
                );
                let route = Route::of(&path, &served).ok().unwrap();
                assert_eq!(
                    (route.served.version, route.operation),
                    (version, *operation)
                );
                assert!(Route::of(&path, &[]).is_err(), "{path}");
            }
        }
        for path in [
            "/",
            "*",
            "/device-identifier",
            "/device-identifier/v0.1.0",
            "/device-identifier/v0.1.0/retrieve-identifier/",
            "/device-identifier/v0.1.0/retrieve-ppid",
            "/device-identifier/v0.3/match-identifier",
            "/Device-Identifier/v0.1.0/retrieve-type",
            "//device-identifier/v0.1.0/retrieve-type",
        ] {
            let refused = Route::of(path, &served).err().unwrap();
            let unknown = ApiError::with_message(ErrorCode::NotFound, "No such resource");
            assert_eq!(refused, unknown, "{path}");
        }
    }

    #[test]
    fn an_unknown_version_is_told_the_served_ones() {
        let served: Vec<_> = served().into_iter().skip(1).collect();
        for version in ["v0.1.0", "v0.1", "v9", "V0.2", ""] {
            let path = format!("/device-identifier/{version}/retrieve-type");
            let refused = Route::of(&path, &served).err().unwrap();
            let message = "No such version of the API; served: v0.2, v0.3, v0.4alpha1";
            let expected = ApiError::with_message(ErrorCode::NotFound, message);
            assert_eq!(refused, expected, "{path}");
        }
    }
}
