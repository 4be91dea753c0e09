//! What travels in headers: `traceparent` and `tracestate` (W3C Trace Context, level 1).
//!
//! A `traceparent` that breaks the format is none at all; nothing of a header that was not
//! understood is passed on.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

/// Names the trace and the request that this one is part of.
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What each system on the way wants to find again.
pub static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const TRACEPARENT_LENGTH: usize = 55;
/// Longer ones need not be passed on (section 3.3.1.5).
const MOST_TRACESTATE: usize = 512;
/// Entries of a `tracestate` (section 3.3.1.1).
const MOST_ENTRIES: usize = 32;
/// The caller may have recorded it.
const SAMPLED: u8 = 1;

/// A place in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// Names the trace; never 0.
    pub trace_id: u128,
    /// Names the span that this one is part of; never 0.
    pub parent_id: u64,
    /// Whether it is to be recorded.
    pub sampled: bool,
    /// Passed on as it came.
    pub state: Option<HeaderValue>,
}

impl TraceContext {
    /// What the headers of a request say; `None` where there is nothing that can be understood.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(&TRACEPARENT).iter();
        let (parent, None) = (parents.next()?, parents.next()) else {
            return None;
        };
        let mut context = Self::parse(parent.as_bytes())?;
        context.state = state(headers);
        Some(context)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let version = u8::try_from(hexadecimal(text.get(..2)?)?).ok()?;
        let rest = text.get(TRACEPARENT_LENGTH..);
        // Later versions may say more, behind another hyphen; 255 is no version.
        let well_formed = match (version, rest) {
            (0, Some(b"")) => true,
            (1..=0xfe, Some(rest)) => matches!(rest, [] | [b'-', ..]),
            _ => false,
        };
        let hyphens = [2, 35, 52]
            .iter()
            .all(|place| text.get(*place) == Some(&b'-'));
        if !well_formed || !hyphens {
            return None;
        }
        let trace_id = hexadecimal(text.get(3..35)?)?;
        let parent_id = u64::try_from(hexadecimal(text.get(36..52)?)?).ok()?;
        let flags = u8::try_from(hexadecimal(text.get(53..55)?)?).ok()?;
        (trace_id != 0 && parent_id != 0).then_some(Self {
            trace_id,
            parent_id,
            sampled: flags & SAMPLED != 0,
            state: None,
        })
    }

    /// The `traceparent` for a request that is sent on.
    pub fn traceparent(&self) -> HeaderValue {
        let Self {
            trace_id,
            parent_id,
            sampled,
            ..
        } = self;
        let flags = u8::from(*sampled);
        let text = format!("00-{trace_id:032x}-{parent_id:016x}-{flags:02x}");
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Lower-case digits alone (section 3.2.2.1), at most 32 of them.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// The entries of all `tracestate` headers, joined; `None` where they are none, too many, too long,
/// or no list of `key=value` (section 3.3).
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut joined = Vec::new();
    let mut entries = 0;
    for value in headers.get_all(&TRACESTATE) {
        for entry in value.as_bytes().split(|byte| *byte == b',') {
            let entry = entry.trim_ascii();
            if entry.is_empty() {
                continue;
            }
            entries += 1;
            if !is_entry(entry) || entries > MOST_ENTRIES {
                return None;
            }
            if !joined.is_empty() {
                joined.push(b',');
            }
            joined.extend_from_slice(entry);
            if joined.len() > MOST_TRACESTATE {
                return None;
            }
        }
    }
    let state = (!joined.is_empty()).then(|| HeaderValue::try_from(joined));
    state.and_then(Result::ok)
}

fn is_entry(entry: &[u8]) -> bool {
    let Some(equals) = entry.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    let (key, value) = entry.split_at(equals);
    let in_key =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(byte);
    let in_value = |byte: &u8| matches!(byte, 0x20..=0x7e) && *byte != b',';
    let value = value.get(1..).unwrap_or_default();
    (1..=256).contains(&key.len())
        && key.iter().all(in_key)
        && (1..=256).contains(&value.len())
        && value.iter().all(in_value)
        && !value.contains(&b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(parents: &[&str], states: &[&str]) -> Option<TraceContext> {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(&TRACEPARENT, parent.parse().unwrap());
        }
        for state in states {
            headers.append(&TRACESTATE, state.parse().unwrap());
        }
        TraceContext::from_headers(&headers)
    }

    #[test]
    fn a_traceparent_is_read_and_written() {
        let context = of(&[GOOD], &[]).unwrap();
        assert_eq!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(context.parent_id, 0x00f0_67aa_0ba9_02b7);
        assert!(context.sampled);
        assert_eq!(context.traceparent(), GOOD);
        let later = of(&[&GOOD.replacen("00", "cc", 1)], &[]).unwrap();
        assert_eq!(later.traceparent(), GOOD, "we speak our own version");
        assert!(
            of(
                &[&GOOD.replacen("00", "cc", 1).replace("-01", "-01-what-else")],
                &[]
            )
            .is_some()
        );
        let flags = of(&[&GOOD.replace("-01", "-fe")], &[]).unwrap();
        assert!(!flags.sampled);
    }

    #[test]
    fn what_breaks_the_format_is_none() {
        for parent in [
            "",
            "00",
            GOOD.strip_suffix('1').unwrap(),
            &format!("{GOOD}0"),
            &format!("{GOOD}-"),
            &GOOD.replacen("00", "cc", 1).replace("-01", "-01x"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.to_uppercase(),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace('-', "_"),
            &GOOD.replace("4bf9", "+bf9"),
        ] {
            assert_eq!(of(&[parent], &[]), None, "{parent}");
        }
        assert_eq!(of(&[GOOD, GOOD], &[]), None, "which of them?");
        assert_eq!(of(&[], &["a=b"]), None);
    }

    #[test]
    fn a_tracestate_is_passed_on_as_it_is_or_not_at_all() {
        let long = format!("a={}", "x".repeat(256));
        let many = vec!["a=b"; 33].join(",");
        for (states, passed_on) in [
            (vec!["rojo=00f067aa0ba902b7"], Some("rojo=00f067aa0ba902b7")),
            (
                vec!["a=1, b@c=2", ",,", "d/e=f g"],
                Some("a=1,b@c=2,d/e=f g"),
            ),
            (vec![], None),
            (vec!["nothing"], None),
            (vec!["A=1"], None),
            (vec!["a=1=2"], None),
            (vec!["a="], None),
            (vec![&long, &long], None),
            (vec![&many], None),
        ] {
            let context = of(&[GOOD], &states).unwrap();
            let state = context.state.as_ref().map(|state| state.to_str().unwrap());
            assert_eq!(state, passed_on, "{states:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_context_or_none(text in "[ -~]{0,80}") {
            if let Some(context) = of(&[&text], &[&text]) {
                proptest::prop_assert_eq!(context.trace_id == 0 || context.parent_id == 0, false);
            }
        }
    }
}
