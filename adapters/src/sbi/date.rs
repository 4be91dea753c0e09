//! HTTP dates (RFC 9110 5.6.7). Thousands of messages bear the same second, so each thread keeps
//! the last one it wrote and the last one it read.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use jiff::Timestamp;

/// `Sun, 06 Nov 1994 08:49:37.000 GMT`
type SenderTimestamp = [u8; 33];
/// `Sun, 06 Nov 1994 08:49:37 GMT`
type Date = [u8; 29];

thread_local! {
    /// A second since 1970 as a sender timestamp, its milliseconds zero.
    static WRITTEN: Cell<Option<(u64, SenderTimestamp)>> = const { Cell::new(None) };
    static READ: Cell<Option<(Date, Timestamp)>> = const { Cell::new(None) };
}

/// An HTTP date with milliseconds (TS 29.500 5.2.3.3.2).
pub(super) fn sender_timestamp(now: SystemTime) -> Option<HeaderValue> {
    let since_1970 = now.duration_since(UNIX_EPOCH).ok()?;
    let mut text = match WRITTEN.get() {
        Some((second, text)) if second == since_1970.as_secs() => text,
        _ => {
            let text = httpdate::fmt_http_date(now).replace(" GMT", ".000 GMT");
            let text = text.into_bytes().try_into().ok()?;
            WRITTEN.set(Some((since_1970.as_secs(), text)));
            text
        }
    };
    let [.., hundreds, tens, ones, _, _, _, _] = &mut text;
    let digit = |value: u32| u8::try_from(value % 10).map_or(b'0', |digit| b'0' + digit);
    let milliseconds = since_1970.subsec_millis();
    *hundreds = digit(milliseconds / 100);
    *tens = digit(milliseconds / 10);
    *ones = digit(milliseconds);
    HeaderValue::from_bytes(&text).ok()
}

/// The time that a `date` header tells, in any of the forms that it may have.
pub(super) fn timestamp(date: &HeaderValue) -> Option<Timestamp> {
    if let Some((text, timestamp)) = READ.get()
        && text == date.as_bytes()
    {
        return Some(timestamp);
    }
    let timestamp = httpdate::parse_http_date(date.to_str().ok()?).ok()?;
    let timestamp = timestamp.try_into().ok()?;
    // The two obsolete forms have other lengths.
    if let Ok(text) = date.as_bytes().try_into() {
        READ.set(Some((text, timestamp)));
    }
    Some(timestamp)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_sender_timestamp_follows_its_grammar() {
        for (milliseconds, text) in [
            (784_111_777_042, "Sun, 06 Nov 1994 08:49:37.042 GMT"),
            (784_111_777_987, "Sun, 06 Nov 1994 08:49:37.987 GMT"),
            (784_111_778_000, "Sun, 06 Nov 1994 08:49:38.000 GMT"),
            (784_111_777_500, "Sun, 06 Nov 1994 08:49:37.500 GMT"),
        ] {
            let time = UNIX_EPOCH + Duration::from_millis(milliseconds);
            assert_eq!(sender_timestamp(time).unwrap(), text);
        }
    }

    #[test]
    fn dates_are_read_in_every_form_again_and_again() {
        for (text, second) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sun, 06 Nov 1994 08:49:38 GMT", Some(784_111_778)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Sun, 06 Nov 1994 08:49:60 GMT", None),
            ("", None),
        ] {
            let read = timestamp(&HeaderValue::from_static(text));
            assert_eq!(read.map(Timestamp::as_second), second, "{text}");
        }
    }
}
