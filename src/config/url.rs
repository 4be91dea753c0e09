//! Where issuers are asked, where we are reached, where consumers read more: URLs that are checked
//! where they are read.

use std::fmt;

use std::net::IpAddr;

use http::Uri;
use http::uri::{Authority, Scheme};
use serde::{Deserialize, Serialize};

/// Where an issuer is asked: `https`, or plain `http` on a loopback host. Keys that came in clear
/// over a network would be anybody's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct IssuerUrl(Uri);

/// Why a text is no URL for its purpose. Does not repeat it: it may carry a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not an absolute URL of `http` or `https`, or one with a user or a password in it.
    #[error("must be an absolute URL (https://host/path) without user and password")]
    NoUrl,
    /// Plain HTTP over a network.
    #[error("must be https: plain http is for loopback hosts only")]
    Plain,
    /// More than scheme, host and port.
    #[error("must be scheme, host and port only (https://api.example.com)")]
    NotOrigin,
}

impl IssuerUrl {
    /// Reads an absolute URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::NoUrl)?;
        let authority = uri.authority().ok_or(UrlError::NoUrl)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(UrlError::NoUrl);
        }
        match uri.scheme_str() {
            Some("https") => Ok(Self(uri)),
            Some("http") if is_loopback(authority.host()) => Ok(Self(uri)),
            Some("http") => Err(UrlError::Plain),
            _ => Err(UrlError::NoUrl),
        }
    }

    /// The URL as a request names it.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether TLS is spoken there.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }
}

/// Where spans are sent: `http` or `https`. They hold nothing personal and no secret.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct CollectorUrl(Uri);

impl CollectorUrl {
    /// Reads an absolute URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::NoUrl)?;
        let authority = uri.authority().ok_or(UrlError::NoUrl)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(UrlError::NoUrl);
        }
        match uri.scheme_str() {
            Some("http" | "https") => Ok(Self(uri)),
            _ => Err(UrlError::NoUrl),
        }
    }

    /// The URL as a request names it.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether TLS is spoken there.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }
}

impl TryFrom<String> for CollectorUrl {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        Self::parse(&text)
    }
}

impl From<CollectorUrl> for String {
    fn from(url: CollectorUrl) -> Self {
        url.0.to_string()
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

impl TryFrom<String> for IssuerUrl {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        Self::parse(&text)
    }
}

impl From<IssuerUrl> for String {
    fn from(url: IssuerUrl) -> Self {
        url.0.to_string()
    }
}

/// Scheme and authority by which consumers reach us (`https://api.example.com`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host, and port where it is not the scheme's own.
    pub authority: Authority,
}

impl TryFrom<String> for PublicUrl {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        let parts = text
            .parse::<Uri>()
            .map_err(|_| UrlError::NoUrl)?
            .into_parts();
        let path = parts.path_and_query.as_ref();
        if path.is_some_and(|path| path.as_str() != "/") {
            return Err(UrlError::NotOrigin);
        }
        match (parts.scheme, parts.authority) {
            (Some(scheme), Some(authority))
                if [Scheme::HTTP, Scheme::HTTPS].contains(&scheme)
                    && !authority.host().is_empty()
                    && !authority.as_str().contains('@') =>
            {
                Ok(Self { scheme, authority })
            }
            _ => Err(UrlError::NoUrl),
        }
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        format!("{}://{}", url.scheme, url.authority)
    }
}

/// A page for people who write consumers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkUrl(Uri);

impl TryFrom<String> for LinkUrl {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::NoUrl)?;
        let authority = uri.authority().map_or("", Authority::as_str);
        let web = [Some("http"), Some("https")].contains(&uri.scheme_str());
        // An angle bracket would end the link where it stands in a header (RFC 8288 3).
        if web && !authority.is_empty() && !authority.contains('@') && !text.contains(['<', '>']) {
            Ok(Self(uri))
        } else {
            Err(UrlError::NoUrl)
        }
    }
}

impl From<LinkUrl> for String {
    fn from(url: LinkUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for LinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_hosts() {
        for text in [
            "https://issuer.example.com/jwks",
            "https://192.0.2.1",
            "http://127.0.0.1:7778/oidc/jwks",
            "http://localhost/jwks",
            "http://[::1]:8080/jwks",
        ] {
            assert!(IssuerUrl::parse(text).is_ok(), "{text}");
        }
        for text in [
            "http://issuer.example.com/jwks",
            "http://192.0.2.1/",
            "http://localhost.example.com/",
            "http://[2001:db8::1]/",
        ] {
            assert_eq!(IssuerUrl::parse(text), Err(UrlError::Plain), "{text}");
        }
        for text in [
            "",
            "/jwks",
            "issuer.example.com",
            "ftp://issuer.example.com/",
            "file:///etc/passwd",
            "https://user:word@issuer.example.com/",
        ] {
            assert_eq!(IssuerUrl::parse(text), Err(UrlError::NoUrl), "{text}");
        }
    }

    #[test]
    fn a_public_url_has_no_path() {
        let read = |text: &str| PublicUrl::try_from(text.to_owned());
        assert!(read("https://api.example.com").is_ok());
        assert!(read("https://api.example.com:8443/").is_ok());
        assert_eq!(read("https://api.example.com/v1"), Err(UrlError::NotOrigin));
        for text in ["api.example.com", "ftp://api.example.com", "https://a@b"] {
            assert_eq!(read(text), Err(UrlError::NoUrl), "{text}");
        }
    }

    #[test]
    fn a_link_leads_to_a_page() {
        let read = |text: &str| LinkUrl::try_from(text.to_owned());
        let url = "https://developer.example.com/device-identifier/v0.1.0?a=b";
        assert_eq!(read(url).unwrap().to_string(), url);
        for text in [
            "",
            "/docs",
            "mailto:a@b",
            "https://a@b/c",
            "https://a/?<b>",
            "https://a/ b",
        ] {
            assert_eq!(read(text), Err(UrlError::NoUrl), "{text}");
        }
    }
}
