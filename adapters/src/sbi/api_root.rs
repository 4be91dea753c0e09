//! Where an instance of a network function is asked (TS 29.501 4.4.1).

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use rustls::pki_types::ServerName;

/// The default port of the `http` scheme (RFC 9110 4.2.1).
const HTTP_PORT: u16 = 80;
/// The default port of the `https` scheme (RFC 9110 4.2.2).
const HTTPS_PORT: u16 = 443;

/// An apiRoot: `http(s)://host:port/optional/prefix`. Every path of its services begins there.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiRoot {
    /// Whom the peer's certificate has to name; `None` where it is asked in clear.
    tls_name: Option<ServerName<'static>>,
    authority: Authority,
    host: Box<str>,
    port: u16,
    /// Without a slash at its end; empty where there is none.
    prefix: Box<str>,
}

/// Why a text is no apiRoot that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidApiRoot {
    /// Not a URI with a scheme and a host.
    #[error("an apiRoot has the form http(s)://host:port/optional/prefix")]
    Form,
    /// Another scheme than `http` and `https`.
    #[error("the scheme of an apiRoot must be http or https")]
    Scheme,
    /// A host that no certificate can name.
    #[error("the host of an https apiRoot must be a DNS name or an address")]
    Host,
    /// User information, a query or a fragment, which an apiRoot cannot have.
    #[error("an apiRoot has neither user information, nor query, nor fragment")]
    Excess,
}

impl FromStr for ApiRoot {
    type Err = InvalidApiRoot;

    fn from_str(text: &str) -> Result<Self, InvalidApiRoot> {
        // `Uri` drops a fragment silently.
        if text.contains('#') {
            return Err(InvalidApiRoot::Excess);
        }
        let uri: Uri = text.parse().map_err(|_| InvalidApiRoot::Form)?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(InvalidApiRoot::Form);
        };
        let (secure, default_port) = if scheme == Scheme::HTTP {
            (false, HTTP_PORT)
        } else if scheme == Scheme::HTTPS {
            (true, HTTPS_PORT)
        } else {
            return Err(InvalidApiRoot::Scheme);
        };
        let path = parts
            .path_and_query
            .unwrap_or(PathAndQuery::from_static("/"));
        if path.query().is_some() || authority.as_str().contains('@') {
            return Err(InvalidApiRoot::Excess);
        }
        // A port that is no number is not noticed by `Authority`.
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => default_port,
            Some(_) => authority
                .port_u16()
                .filter(|&port| port != 0)
                .ok_or(InvalidApiRoot::Form)?,
            None => return Err(InvalidApiRoot::Form),
        };
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() {
            return Err(InvalidApiRoot::Form);
        }
        let tls_name = secure
            .then(|| ServerName::try_from(host.to_owned()))
            .transpose()
            .map_err(|_| InvalidApiRoot::Host)?;
        Ok(Self {
            tls_name,
            host: host.into(),
            port,
            prefix: path.path().trim_end_matches('/').into(),
            authority,
        })
    }
}

impl ApiRoot {
    /// Whom the peer's certificate has to name (RFC 9110 4.3.4); `None` for `http`.
    pub(super) fn tls_name(&self) -> Option<&ServerName<'static>> {
        self.tls_name.as_ref()
    }

    /// Whether it is asked over TLS, so that [`Settings::tls`](super::Settings) is needed.
    pub fn is_https(&self) -> bool {
        self.tls_name.is_some()
    }

    fn scheme(&self) -> Scheme {
        if self.is_https() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        }
    }

    /// The host name or address to connect to, an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port to connect to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What precedes every path, with its slash; empty where there is nothing.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Host and port as the peer is to be named, in requests and in our log.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Whether both are on the same host and port, by the same scheme.
    pub(super) fn is_same_host(&self, other: &Self) -> bool {
        self.is_https() == other.is_https()
            && self.port == other.port
            && self.host.eq_ignore_ascii_case(&other.host)
    }

    /// What of `path` follows our prefix, where it begins with it.
    pub(super) fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&*self.prefix)
            .filter(|rest| rest.starts_with('/'))
    }

    /// The URI of `path` (from the service name on) below this root; `None` only when prefix and
    /// path together are longer than a URI can be.
    pub(super) fn uri(&self, path: &PathAndQuery) -> Option<Uri> {
        let path = if self.prefix.is_empty() {
            path.clone()
        } else {
            PathAndQuery::try_from([&self.prefix, path.as_str()].concat()).ok()?
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).ok()
    }
}

impl fmt::Display for ApiRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority, self.prefix)
    }
}

impl fmt::Debug for ApiRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiRoot({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_and_prefix_are_read() {
        for (text, host, port, printed) in [
            (
                "http://127.0.0.1:7777",
                "127.0.0.1",
                7777,
                "http://127.0.0.1:7777",
            ),
            (
                "http://udm.example/",
                "udm.example",
                80,
                "http://udm.example",
            ),
            (
                "http://[::1]:8080/a/b/",
                "::1",
                8080,
                "http://[::1]:8080/a/b",
            ),
            (
                "https://udm.example",
                "udm.example",
                443,
                "https://udm.example",
            ),
            ("https://[::1]:8443", "::1", 8443, "https://[::1]:8443"),
        ] {
            let root: ApiRoot = text.parse().unwrap();
            assert_eq!((root.host(), root.port()), (host, port), "{text}");
            assert_eq!(root.to_string(), printed);
        }
    }

    #[test]
    fn the_prefix_is_kept_in_front_of_the_path() {
        let path = PathAndQuery::from_static("/nudm-sdm/v2/x?y=z");
        for (text, uri) in [
            ("https://a", "https://a/nudm-sdm/v2/x?y=z"),
            ("http://a:1", "http://a:1/nudm-sdm/v2/x?y=z"),
            ("http://a:1/p/q", "http://a:1/p/q/nudm-sdm/v2/x?y=z"),
        ] {
            let root: ApiRoot = text.parse().unwrap();
            assert_eq!(root.uri(&path).unwrap().to_string(), uri);
        }
    }

    #[test]
    fn what_is_no_api_root_is_refused() {
        use InvalidApiRoot::{Excess, Form, Host, Scheme};
        for (text, error) in [
            ("", Form),
            ("127.0.0.1:7777", Form),
            ("/nudm", Form),
            ("http://", Form),
            ("http://:80", Form),
            ("http://host:0", Form),
            ("http://host:65536", Form),
            ("http://host:", Form),
            ("ftp://host", Scheme),
            ("https://ho~st", Host),
            ("http://user@host", Excess),
            ("http://host/?x", Excess),
            ("http://host/#x", Excess),
        ] {
            assert_eq!(text.parse::<ApiRoot>(), Err(error), "{text}");
        }
    }
}
