//! Requests that change something at the core: a method, a resource, and what is to be there.

use std::fmt;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method};
use serde::Serialize;

use super::request::Question;
use super::{ApiRoot, Error, Path};

/// A body with its type.
#[derive(Clone)]
pub(crate) struct Content {
    kind: &'static str,
    body: Bytes,
}

impl Content {
    fn json(kind: &'static str, value: &impl Serialize) -> Result<Self, Error> {
        // Only a value that we made ourselves and that no JSON can say fails here.
        let body = serde_json::to_vec(value).map_err(|_| Error::BadAnswer)?;
        Ok(Self {
            kind,
            body: body.into(),
        })
    }

    pub(super) fn kind(&self) -> HeaderValue {
        HeaderValue::from_static(self.kind)
    }

    /// A handle on the bytes: each attempt sends them.
    pub(super) fn body(&self) -> Bytes {
        self.body.clone()
    }
}

/// A resource of the core: where it is asked for, and who made it.
#[derive(Clone)]
pub(crate) struct Resource {
    /// From the service name on: what precedes it is the apiRoot's.
    path: PathAndQuery,
    /// The instance that made it, which is asked before others that may know it as well.
    root: Option<ApiRoot>,
}

impl Resource {
    /// A resource whose name is known without having been told.
    pub(crate) fn at(path: Path) -> Result<Self, Error> {
        Ok(Self {
            path: path.build()?,
            root: None,
        })
    }

    /// The resource that `location` names in an answer of `root` (RFC 9110 10.2.2). Cores give a
    /// URI, or only its path. What stands for the host in it is not followed elsewhere.
    pub(super) fn resolve(location: &HeaderValue, root: &ApiRoot) -> Option<Self> {
        let text = location.to_str().ok()?;
        let path = match text.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..))?,
            None => text,
        };
        let path = root.below(path).unwrap_or(path);
        if !path.starts_with('/') {
            return None;
        }
        Some(Self {
            path: path.parse().ok()?,
            root: Some(root.clone()),
        })
    }

    /// The last segment of its path: the identifier that the core gave it.
    pub(crate) fn id(&self) -> &str {
        self.path.path().rsplit('/').next().unwrap_or_default()
    }
}

/// Its path may hold the identifier of a subscriber.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resource(***)")
    }
}

/// A request that changes something.
#[derive(Clone)]
pub(crate) struct Change {
    method: Method,
    resource: Resource,
    content: Option<Content>,
}

impl Change {
    /// Makes a resource in the collection at `path`.
    pub(crate) fn post(path: Path, value: &impl Serialize) -> Result<Self, Error> {
        Self::new(Method::POST, Resource::at(path)?, "application/json", value)
    }

    /// Replaces or makes the resource.
    pub(crate) fn put(resource: &Resource, value: &impl Serialize) -> Result<Self, Error> {
        Self::new(Method::PUT, resource.clone(), "application/json", value)
    }

    /// Changes the resource by the operations of a JSON Patch (RFC 6902).
    pub(crate) fn json_patch(resource: &Resource, patch: &impl Serialize) -> Result<Self, Error> {
        let kind = "application/json-patch+json";
        Self::new(Method::PATCH, resource.clone(), kind, patch)
    }

    /// Changes the members that a JSON Merge Patch names (RFC 7396).
    pub(crate) fn merge_patch(resource: &Resource, patch: &impl Serialize) -> Result<Self, Error> {
        let kind = "application/merge-patch+json";
        Self::new(Method::PATCH, resource.clone(), kind, patch)
    }

    /// Removes the resource.
    pub(crate) fn delete(resource: &Resource) -> Self {
        Self {
            method: Method::DELETE,
            resource: resource.clone(),
            content: None,
        }
    }

    fn new(
        method: Method,
        resource: Resource,
        kind: &'static str,
        value: &impl Serialize,
    ) -> Result<Self, Error> {
        Ok(Self {
            method,
            resource,
            content: Some(Content::json(kind, value)?),
        })
    }

    pub(super) fn question(&self) -> Question<'_> {
        Question {
            method: self.method.clone(),
            path: &self.resource.path,
            content: self.content.as_ref(),
            preferred: self.resource.root.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_resource_of_who_gave_it() {
        for (root, location, path) in [
            (
                "http://nrf:7777",
                "http://nrf:7777/nnrf-nfm/v1/subscriptions/7",
                "/nnrf-nfm/v1/subscriptions/7",
            ),
            (
                "http://nrf:7777",
                "/nnrf-nfm/v1/subscriptions/7",
                "/nnrf-nfm/v1/subscriptions/7",
            ),
            (
                "http://nrf/pre/fix",
                "http://nrf/pre/fix/nnrf-nfm/v1/x",
                "/nnrf-nfm/v1/x",
            ),
            (
                "http://nrf/pre/fix",
                "/pre/fix/nnrf-nfm/v1/x",
                "/nnrf-nfm/v1/x",
            ),
            ("http://nrf/pre", "/prefix/x", "/prefix/x"),
            // Another host is a name of the same core, not somebody to be sent to.
            ("http://nrf", "https://elsewhere.example/a/b", "/a/b"),
        ] {
            let location = HeaderValue::from_static(location);
            let resource = Resource::resolve(&location, &root.parse().unwrap()).unwrap();
            assert_eq!(resource.path, path);
        }
        for location in ["", "7", "http://nrf", "ftp:x"] {
            let location = HeaderValue::from_str(location).unwrap();
            let root = "http://nrf".parse().unwrap();
            assert!(
                Resource::resolve(&location, &root).is_none(),
                "{location:?}"
            );
        }
    }

    #[test]
    fn the_id_is_the_last_segment() {
        let resource = Resource::at(Path::new("/a/v1/subscriptions/4711")).unwrap();
        assert_eq!(resource.id(), "4711");
    }
}
