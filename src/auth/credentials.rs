//! The `authorization` header (RFC 9110 11.6.2): one scheme, one token.

use std::hash::{Hash, Hasher};

use aws_lc_rs::digest;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq as _;

use super::reason::Reason;

/// Longer than tokens with many claims, and small enough to be hashed in passing.
const MAX_TOKEN_LENGTH: usize = 16 * 1024;

/// How a token is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Whoever holds it may use it (RFC 6750).
    Bearer,
    /// With a proof of possession (RFC 9449).
    Dpop,
}

/// What a request shows. No `Debug`: it holds the token.
pub(super) struct Credentials<'a> {
    pub(super) scheme: Scheme,
    pub(super) token: &'a str,
}

impl<'a> Credentials<'a> {
    /// Reads the one `authorization` header. A token anywhere else (RFC 6750 2.2, 2.3) is none: it
    /// would be logged on its way.
    pub(super) fn of(headers: &'a HeaderMap) -> Result<Self, Reason> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Reason::Missing)?;
        if values.next().is_some() {
            return Err(Reason::Several);
        }
        // In blocks, where `to_str` looks at each byte; so does `check_form`, at a token's first time.
        let value = str::from_utf8(value.as_bytes()).map_err(|_| Reason::Malformed)?;
        let (scheme, token) = value.split_once(' ').ok_or(Reason::Malformed)?;
        let scheme = if scheme.eq_ignore_ascii_case("bearer") {
            Scheme::Bearer
        } else if scheme.eq_ignore_ascii_case("dpop") {
            Scheme::Dpop
        } else {
            return Err(Reason::Scheme);
        };
        let token = token.trim_start_matches(' ');
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(Reason::TooLong);
        }
        Ok(Self { scheme, token })
    }

    /// Whether the token is a `b64token` of RFC 6750 2.1. Of a token that is remembered that is
    /// known, and looking at every byte of it again would cost more than its digest.
    pub(super) fn check_form(&self) -> Result<(), Reason> {
        let body = self.token.trim_end_matches('=');
        let well_formed = !body.is_empty()
            && body
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
        well_formed.then_some(()).ok_or(Reason::Malformed)
    }
}

/// What a token is remembered by: whoever reads our memory finds no token.
#[derive(Clone, Copy)]
pub(super) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        Self(sha256(token.as_bytes()))
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// In constant time, so that nobody feels their way to a digest that is remembered.
impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenDigest {}

impl Hash for TokenDigest {
    /// A part of it is as good as the whole: it is a hash already.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let part = self.0.first_chunk().copied().unwrap_or_default();
        state.write_u64(u64::from_ne_bytes(part));
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn one_header_with_a_known_scheme_is_read() {
        for (value, scheme) in [
            ("Bearer abc.def-_~+/==", Scheme::Bearer),
            ("bearer abc.def-_~+/==", Scheme::Bearer),
            ("BEARER   abc.def-_~+/==", Scheme::Bearer),
            ("dpop abc.def-_~+/==", Scheme::Dpop),
        ] {
            let headers = headers(&[value]);
            let read = Credentials::of(&headers).ok().unwrap();
            assert_eq!(read.check_form(), Ok(()));
            assert_eq!((read.scheme, read.token), (scheme, "abc.def-_~+/=="));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("Bearer {}", "a".repeat(64 * 1024));
        for (values, reason) in [
            (&[][..], Reason::Missing),
            (&["Bearer a", "Bearer a"], Reason::Several),
            (&["Bearer a", ""], Reason::Several),
            (&["Basic YTpi"], Reason::Scheme),
            (&["Bearer"], Reason::Malformed),
            (&["Bearer "], Reason::Malformed),
            (&["Bearer ="], Reason::Malformed),
            (&["Bearer a b"], Reason::Malformed),
            (&["Bearer a,Bearer b"], Reason::Malformed),
            (&["Bearer a=b"], Reason::Malformed),
            (&["Bearer\ta"], Reason::Malformed),
            (&["Bearer \u{e9}"], Reason::Malformed),
            (&[""], Reason::Malformed),
            (&[&long], Reason::TooLong),
        ] {
            let headers = headers(values);
            let outcome = Credentials::of(&headers).and_then(|read| read.check_form());
            assert_eq!(outcome, Err(reason), "{values:?}");
        }
    }

    #[test]
    fn the_longest_token_is_16_kib() {
        let longest = format!("Bearer {}", "a".repeat(MAX_TOKEN_LENGTH));
        assert!(Credentials::of(&headers(&[&longest])).is_ok());
        assert!(Credentials::of(&headers(&[&(longest + "a")])).is_err());
    }

    proptest! {
        #[test]
        fn any_header_is_survived(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.insert(AUTHORIZATION, value);
            }
            let _ = Credentials::of(&headers).and_then(|read| read.check_form());
        }
    }
}
