//! `accept` (RFC 9110 12.5.1): does the consumer take `application/json`?

use http::{HeaderMap, header};

use super::error::{ApiError, ErrorCode};

/// How closely a media range names `application/json`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    Any,
    AnyApplication,
    Exact,
}

/// 406 where the header excludes JSON. No header, or an empty one, excludes nothing.
pub(super) fn check(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut given = false;
    let mut closest: Option<(Closeness, bool)> = None;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.as_bytes().split(|byte| *byte == b',') {
            let range = range.trim_ascii();
            given |= !range.is_empty();
            let Some((closeness, accepted)) = read(range) else {
                continue;
            };
            // The closest range decides; of two alike, the one that accepts.
            match &mut closest {
                Some((best, best_accepted)) if *best == closeness => *best_accepted |= accepted,
                Some((best, _)) if *best > closeness => {}
                _ => closest = Some((closeness, accepted)),
            }
        }
    }
    if !given || closest.is_some_and(|(_, accepted)| accepted) {
        Ok(())
    } else {
        Err(ApiError::new(ErrorCode::NotAcceptable))
    }
}

/// One media range: how closely it names JSON, and whether its weight is above zero.
fn read(range: &[u8]) -> Option<(Closeness, bool)> {
    let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let closeness = match parts.next()? {
        b"*/*" => Closeness::Any,
        kind if kind.eq_ignore_ascii_case(b"application/*") => Closeness::AnyApplication,
        kind if kind.eq_ignore_ascii_case(b"application/json") => Closeness::Exact,
        _ => return None,
    };
    let weight = parts.find_map(|part| {
        part.strip_prefix(b"q=")
            .or_else(|| part.strip_prefix(b"Q="))
    });
    let accepted = match weight {
        Some(weight) => thousandths(weight)? > 0,
        None => true,
    };
    Some((closeness, accepted))
}

/// A weight (RFC 9110 12.4.2): from 0 to 1, with three digits after the point at most.
fn thousandths(weight: &[u8]) -> Option<u32> {
    let (whole, fraction) = match weight {
        [whole] => (*whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return None,
    };
    let digit = |byte: u8| char::from(byte).to_digit(10);
    let padded = fraction.iter().copied().chain([b'0'; 3]).take(3);
    let whole = digit(whole)?;
    let all = padded
        .map(digit)
        .try_fold(whole, |all, one| Some(all * 10 + one?))?;
    (all <= 1000).then_some(all)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn wildcards_and_weights_are_respected() {
        for (accept, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("*/*", true),
            ("application/*;q=0.1", true),
            ("text/html, application/json;q=0.5", true),
            ("", true),
            ("text/html", false),
            ("application/xml, text/*", false),
            ("application/json;q=0", false),
            ("application/json;q=0.000, */*", false),
            ("application/json, */*;q=0", true),
            ("*/*;q=0", false),
            ("json", false),
            ("application/json;q=0.001", true),
            ("application/json;q=1.000", true),
            ("application/json;q=0.", false),
            ("application/json;q=1.", true),
            // What is no weight says nothing.
            ("application/json;q=1.001", false),
            ("application/json;q=0.0001", false),
            ("application/json;q=1e-3", false),
            ("application/json;q=inf", false),
            ("application/json;q=-0.5", false),
            ("application/json;q=", false),
        ] {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(check(&headers).is_ok(), expected, "{accept}");
        }
        assert!(check(&HeaderMap::new()).is_ok());
    }
}
