//! Requests that change something at the core: a method, a resource, and what is to be there.

use std::fmt;

use bytes::Bytes;
use device::UeId;
use http::header::{HeaderName, LOCATION};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;

use super::request::{Observed, Question, encode};
use super::{ApiRoot, Error, Path, ServiceName, Subject};

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

    fn form(fields: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (name, value) in fields {
            if !text.is_empty() {
                text.push('&');
            }
            text.push_str(name);
            text.push('=');
            text.extend(encode(value));
        }
        Self {
            kind: "application/x-www-form-urlencoded",
            body: text.into(),
        }
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
    /// What it is bound to, for a proxy to find that again.
    binding: Option<HeaderValue>,
    /// The instance that made it, by the name that a proxy gave it.
    producer: Option<HeaderValue>,
}

impl Resource {
    /// A resource whose name is known without having been told.
    pub(crate) fn at(path: Path) -> Result<Self, Error> {
        Ok(Self {
            path: path.build()?,
            root: None,
            binding: None,
            producer: None,
        })
    }

    /// The same, where this instance knows it: it is asked before others.
    pub(crate) fn known_at(self, root: &ApiRoot) -> Self {
        Self {
            root: Some(root.clone()),
            ..self
        }
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
            binding: None,
            producer: None,
        })
    }

    /// The resource that `location` names, if that is at `root`.
    pub(super) fn within(location: &HeaderValue, root: &ApiRoot) -> Option<Self> {
        let (scheme, rest) = location.to_str().ok()?.split_once("://")?;
        let slash = rest.find('/')?;
        let there: ApiRoot = format!("{scheme}://{}", rest.get(..slash)?).parse().ok()?;
        let path = root.below(rest.get(slash..)?)?;
        there.is_same_host(root).then_some(())?;
        Some(Self {
            path: path.parse().ok()?,
            root: Some(root.clone()),
            binding: None,
            producer: None,
        })
    }

    /// What was asked for at `path`, at the apiRoot that `location` names.
    pub(super) fn moved(location: &HeaderValue, path: &PathAndQuery) -> Option<Self> {
        let (scheme, rest) = location.to_str().ok()?.split_once("://")?;
        let (host, there) = rest.split_at_checked(rest.find('/')?)?;
        let prefix = there.strip_suffix(path.as_str()).unwrap_or_default();
        let root: ApiRoot = format!("{scheme}://{host}{prefix}").parse().ok()?;
        Some(Self {
            path: root.below(there)?.parse().ok()?,
            root: Some(root),
            binding: None,
            producer: None,
        })
    }

    /// The same, whoever answers.
    pub(super) fn of_anybody(self) -> Self {
        Self { root: None, ..self }
    }

    /// The resource as a proxy's answer names it: the host in its `location` is the one to name to
    /// the proxy later on, with what it is bound to.
    pub(super) fn proxied(headers: &HeaderMap, asked: Option<&ApiRoot>) -> Option<Self> {
        let location = headers.get(LOCATION)?;
        let there = || {
            let (scheme, rest) = location.to_str().ok()?.split_once("://")?;
            let host = rest.split_once('/').map_or(rest, |(host, _)| host);
            format!("{scheme}://{host}").parse::<ApiRoot>().ok()
        };
        let named = there();
        let same =
            asked.filter(|asked| named.as_ref().is_none_or(|named| asked.is_same_host(named)));
        let root = same.cloned().or(named);
        let mut resource = match &root {
            Some(root) => Self::resolve(location, root)?,
            None => Self {
                path: location.to_str().ok()?.parse().ok()?,
                root: None,
                binding: None,
                producer: None,
            },
        };
        resource.binding = headers.get(&BINDING).and_then(routing_binding);
        resource.producer = headers.get(&PRODUCER_ID).and_then(producer);
        Some(resource)
    }

    pub(super) fn path(&self) -> &PathAndQuery {
        &self.path
    }

    pub(super) fn root(&self) -> Option<&ApiRoot> {
        self.root.as_ref()
    }

    pub(super) fn binding(&self) -> Option<&HeaderValue> {
        self.binding.as_ref()
    }

    pub(super) fn producer(&self) -> Option<&HeaderValue> {
        self.producer.as_ref()
    }
}

static BINDING: HeaderName = HeaderName::from_static("3gpp-sbi-binding");
static PRODUCER_ID: HeaderName = HeaderName::from_static("3gpp-sbi-producer-id");

/// The parameters that a binding and a routing binding have in common (TS 29.500 5.2.3.2.5).
const ROUTING_PARAMETERS: [&str; 8] = [
    "bl",
    "nfinst",
    "nfset",
    "nfservinst",
    "nfserviceset",
    "servname",
    "backupamfinst",
    "backupnf",
];

/// The `3gpp-Sbi-Routing-Binding` of the first element of a `3gpp-Sbi-Binding`.
fn routing_binding(binding: &HeaderValue) -> Option<HeaderValue> {
    let element = binding.to_str().ok()?.split(',').next()?;
    let kept: Vec<_> = element
        .split(';')
        .map(str::trim)
        .filter(|parameter| {
            let name = parameter.split_once('=').map(|(name, _)| name);
            name.is_some_and(|name| ROUTING_PARAMETERS.contains(&name))
        })
        .collect();
    let kept = kept.join("; ");
    // The header cannot be empty.
    (!kept.is_empty()).then(|| kept.parse().ok()).flatten()
}

/// The instance in a `3gpp-Sbi-Producer-Id`.
fn producer(id: &HeaderValue) -> Option<HeaderValue> {
    let mut parameters = id.to_str().ok()?.split(';').map(str::trim);
    let instance = parameters.find_map(|parameter| parameter.strip_prefix("nfinst="))?;
    instance.parse().ok()
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
    /// Whom it is about, where that decides who is asked.
    ue: Option<UeId>,
}

impl Change {
    /// Makes a resource in the collection at `path`.
    pub(crate) fn post(path: Path, value: &impl Serialize) -> Result<Self, Error> {
        Self::new(Method::POST, Resource::at(path)?, "application/json", value)
    }

    /// Sends a form to `path`.
    pub(crate) fn form(path: Path, fields: &[(&str, &str)]) -> Result<Self, Error> {
        Ok(Self {
            method: Method::POST,
            resource: Resource::at(path)?,
            content: Some(Content::form(fields)),
            ue: None,
        })
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

    /// Changes nothing: asks whether the resource is there.
    pub(crate) fn look(resource: &Resource) -> Self {
        Self {
            method: Method::GET,
            resource: resource.clone(),
            content: None,
            ue: None,
        }
    }

    /// Removes the resource.
    pub(crate) fn delete(resource: &Resource) -> Self {
        Self {
            method: Method::DELETE,
            resource: resource.clone(),
            content: None,
            ue: None,
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
            ue: None,
        })
    }

    /// The same, asked of who serves this subscription.
    pub(crate) fn about(self, ue: UeId) -> Self {
        Self {
            ue: Some(ue),
            ..self
        }
    }

    pub(super) fn question(&self, service: ServiceName) -> Question<'_> {
        Question {
            service,
            subject: self.ue.as_ref().map_or(Subject::Anybody, Subject::Ue),
            method: self.method.clone(),
            path: &self.resource.path,
            content: self.content.as_ref(),
            resource: Some(&self.resource),
            observed: Observed::default(),
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
    fn a_redirection_leads_to_a_known_root_or_nowhere() {
        for (location, path) in [
            (
                "http://udm-2:80/pre/nudm-uecm/v1/x",
                Some("/nudm-uecm/v1/x"),
            ),
            (
                "http://udm-2/pre/nudm-uecm/v1/x?a=b",
                Some("/nudm-uecm/v1/x?a=b"),
            ),
            ("https://udm-2/pre/nudm-uecm/v1/x", None),
            ("http://udm-2:81/pre/nudm-uecm/v1/x", None),
            ("http://udm-2.evil.example/pre/nudm-uecm/v1/x", None),
            ("http://user@udm-2/pre/nudm-uecm/v1/x", None),
            ("http://udm-2/other/nudm-uecm/v1/x", None),
            ("/pre/nudm-uecm/v1/x", None),
        ] {
            let known = "http://udm-2/pre".parse().unwrap();
            let resource = Resource::within(&HeaderValue::from_static(location), &known);
            assert_eq!(
                resource
                    .map(|resource| resource.path.to_string())
                    .as_deref(),
                path
            );
        }
    }

    #[test]
    fn what_has_moved_is_below_another_root() {
        for (location, root, path) in [
            ("http://udm-2/a/b?c=d", "http://udm-2", "/a/b?c=d"),
            (
                "https://udm-2:81/pre/a/b?c=d",
                "https://udm-2:81/pre",
                "/a/b?c=d",
            ),
            ("http://udm-2/other", "http://udm-2", "/other"),
        ] {
            let asked = PathAndQuery::from_static("/a/b?c=d");
            let moved = Resource::moved(&HeaderValue::from_static(location), &asked).unwrap();
            assert_eq!(moved.root, Some(root.parse().unwrap()), "{location}");
            assert_eq!(moved.path, path);
        }
        for location in [
            "",
            "/a/b?c=d",
            "http://udm-2",
            "ftp://udm-2/a",
            "http://a@b/c",
        ] {
            let asked = PathAndQuery::from_static("/a/b?c=d");
            let moved = Resource::moved(&HeaderValue::from_static(location), &asked);
            assert!(moved.is_none(), "{location}");
        }
    }

    #[test]
    fn what_a_proxy_says_of_a_resource_is_kept_for_it() {
        let mut headers = HeaderMap::new();
        let id = "54804518-4191-46b3-955c-ac631f953ed8";
        for (name, value) in [
            (
                "location",
                "http://smf-1:80/nsmf-event-exposure/v1/subscriptions/7".to_owned(),
            ),
            (
                "3gpp-sbi-binding",
                format!(
                    "bl=nf-set; nfset=set1.smfset.5gc; nfinst={id}; recoverytime=\"x\"; scope=other-service, bl=nf-instance"
                ),
            ),
            ("3gpp-sbi-producer-id", format!("nfinst={id}; nfset=a")),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let resource = Resource::proxied(&headers, None).unwrap();
        assert_eq!(resource.path, "/nsmf-event-exposure/v1/subscriptions/7");
        assert_eq!(resource.root, Some("http://smf-1:80".parse().unwrap()));
        assert_eq!(
            resource.binding.unwrap(),
            format!("bl=nf-set; nfset=set1.smfset.5gc; nfinst={id}").as_str()
        );
        assert_eq!(resource.producer.unwrap(), id);
        headers.insert(
            "location",
            HeaderValue::from_static("/nsmf-event-exposure/v1/x"),
        );
        let resource = Resource::proxied(&headers, None).unwrap();
        assert_eq!(resource.root, None);
        assert_eq!(resource.path, "/nsmf-event-exposure/v1/x");
    }
}
