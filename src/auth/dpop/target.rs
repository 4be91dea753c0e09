//! The request that a proof is for (`htu`, RFC 9449 4.3, point 9).
//!
//! Compared after the normalisation of RFC 3986 6.2.2 and 6.2.3: case of scheme and host, the
//! scheme's own port, percent-encoding. Dot segments are not resolved: no path of ours has any.

use http::Uri;
use http::uri::{Authority, Scheme};

use crate::config::PublicUrl;

/// Scheme, host, port and path of a request, normalised.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    scheme: Scheme,
    host: String,
    port: u16,
    path: Vec<u8>,
}

impl Target {
    /// The target of a request for this path. Scheme and authority are the operator's word: those
    /// of the request are its sender's, who could name the place that a stolen proof was made for.
    pub(super) fn of(path: &str, public_url: &PublicUrl) -> Option<Self> {
        Self::new(&public_url.scheme, &public_url.authority, path)
    }

    /// Whether a URI names it. Query and fragment do not count.
    pub(super) fn is(&self, uri: &str) -> bool {
        let named = uri.parse::<Uri>().ok().and_then(|uri| {
            let (scheme, authority) = (uri.scheme()?, uri.authority()?);
            Self::new(scheme, authority, uri.path())
        });
        named.as_ref() == Some(self)
    }

    fn new(scheme: &Scheme, authority: &Authority, path: &str) -> Option<Self> {
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host();
        let port = match authority.as_str().get(host.len()..)?.strip_prefix(':') {
            None | Some("") if *scheme == Scheme::HTTPS => 443,
            None | Some("") if *scheme == Scheme::HTTP => 80,
            port => port?.parse().ok()?,
        };
        Some(Self {
            scheme: scheme.clone(),
            host: host.to_ascii_lowercase(),
            port,
            path: normal_path(path),
        })
    }
}

/// Decodes what need not be encoded and writes the rest in capitals (RFC 3986 6.2.2.1, 6.2.2.2).
fn normal_path(path: &str) -> Vec<u8> {
    let mut normal = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let encoded = match (byte, after) {
            (b'%', [high, low, after @ ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| {
                rest = after;
                high * 16 + low
            }),
            _ => None,
        };
        match encoded {
            Some(plain) if plain.is_ascii_alphanumeric() || b"-._~".contains(&plain) => {
                normal.push(plain);
            }
            Some(plain) => normal.extend(format!("%{plain:02X}").bytes()),
            None => normal.push(*byte),
        }
    }
    normal
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATH: &str = "/device-identifier/v0.1.0/retrieve-type";
    const URL: &str = "https://api.example.com/device-identifier/v0.1.0/retrieve-type";

    fn at(public_url: &str, path: &str) -> Target {
        let public_url = PublicUrl::try_from(public_url.to_owned()).unwrap();
        Target::of(path, &public_url).unwrap()
    }

    #[test]
    fn equal_after_normalisation_is_equal() {
        let target = at("https://api.example.com", PATH);
        for same in [
            URL,
            "HTTPS://API.Example.COM/device-identifier/v0.1.0/retrieve-type",
            "https://api.example.com:443/device-identifier/v0.1.0/retrieve-type",
            "https://api.example.com:/device-identifier/v0.1.0/retrieve-type",
            "https://api.example.com/device%2Didentifier/v0%2e1%2E0/retrieve-type",
            "https://api.example.com/device-identifier/v0.1.0/retrieve-type?a=b",
            "https://api.example.com/device-identifier/v0.1.0/retrieve-type#f",
        ] {
            assert!(target.is(same), "{same}");
        }
        for other in [
            "",
            "/device-identifier/v0.1.0/retrieve-type",
            "http://api.example.com/device-identifier/v0.1.0/retrieve-type",
            "https://api.example.com:8443/device-identifier/v0.1.0/retrieve-type",
            "https://api.example.org/device-identifier/v0.1.0/retrieve-type",
            "https://api.example.com/device-identifier/v0.1.0/retrieve-type/",
            "https://api.example.com/Device-Identifier/v0.1.0/retrieve-type",
            "https://api.example.com/device-identifier%2Fv0.1.0/retrieve-type",
            "https://user@api.example.com/device-identifier/v0.1.0/retrieve-type",
            "https://api.example.com:x/device-identifier/v0.1.0/retrieve-type",
            "https://api.example.com",
        ] {
            assert!(!target.is(other), "{other}");
        }
    }

    #[test]
    fn addresses_are_hosts() {
        let target = at("http://[::1]:8080", "/p");
        assert!(target.is("http://[::1]:8080/p"));
        assert!(!target.is("http://[::1]/p"));
        assert!(!target.is("http://[::2]:8080/p"));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,60}") {
            let target = at("https://api.example.com", PATH);
            prop_assert!(text == URL || !target.is(&text));
            let _ = normal_path(&text);
        }
    }
}
