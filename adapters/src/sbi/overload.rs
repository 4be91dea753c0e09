//! What an instance says of its load and of its overload: `3gpp-Sbi-Lci` and `3gpp-Sbi-Oci`
//! (TS 29.500 6.3, 6.4).

use std::cmp;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use uuid::Uuid;

static LCI: HeaderName = HeaderName::from_static("3gpp-sbi-lci");
static OCI: HeaderName = HeaderName::from_static("3gpp-sbi-oci");

/// What is longer than this is obeyed for so long and no longer, in seconds: an instance that
/// stays overloaded says so again.
const LONGEST_REDUCTION: u64 = 600;

/// How far ahead of ours a peer's clock is believed. A word from further on keeps earlier ones out
/// for so long and no longer: once its clock is right again, they must not be older for hours.
const MOST_AHEAD: Duration = Duration::from_mins(1);

/// Load and overload of one instance, as it last told them.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// In percent and one more; 0: it said nothing.
    load: AtomicU64,
    /// Milliseconds of the client's time until which requests are reduced, and by how many percent
    /// in the lowest byte; 0: they are not.
    reduction: AtomicU64,
    /// The word that is obeyed, where it tells its time. Held while the reduction is changed.
    said: Mutex<Option<Word>>,
}

/// When an instance said what.
#[derive(Debug, Clone, Copy)]
struct Word {
    /// By its own clock.
    said_at: Timestamp,
    percent: u8,
    /// By ours.
    heard_at: Timestamp,
}

impl Word {
    /// Whether it takes the place of the one that is obeyed. Answers overtake each other, and each
    /// repeats what was said: only a newer word counts (TS 29.500 6.4.3.4.2), or another one of the
    /// same time.
    fn is_news_after(&self, before: &Self) -> bool {
        match self.said_at.cmp(&before.said_at) {
            cmp::Ordering::Greater => true,
            cmp::Ordering::Equal => self.percent != before.percent,
            cmp::Ordering::Less => {
                let until = before.heard_at.saturating_add(MOST_AHEAD);
                let until = until.unwrap_or(Timestamp::MAX);
                before.said_at > until && self.said_at.min(self.heard_at) > until
            }
        }
    }
}

/// Whose load and overload is read of an answer (TS 29.500 6.3.3.4.4, 6.4.3.4.5). What is said of
/// consumers and of border proxies is nobody's that we choose.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose {
    /// That of the producer that answered, by its identifier where that is known.
    Producer(Option<Uuid>),
    /// That of the SCP which the answer came through.
    Proxy,
}

impl Whose {
    /// Whether an element of a header is about them. What says of nobody is about who answered.
    fn is_meant_by(self, element: &str) -> bool {
        let says = |name| parameter(element, name);
        if says("SCP-FQDN").is_some() {
            return matches!(self, Self::Proxy);
        }
        let others = [
            "SEPP-FQDN",
            "NFC-Instance",
            "NFC-Set",
            "NFC-Service-Instance",
            "NFC-Service-Set",
            "Callback-Uri",
        ];
        let Self::Producer(id) = self else {
            return false;
        };
        // An instance whose identifier we do not know speaks for itself.
        let named = says("NF-Instance").or_else(|| says("NF-Inst"));
        let is_other = |(named, id): (&str, Uuid)| named.parse() != Ok(id);
        !named.zip(id).is_some_and(is_other) && others.iter().all(|name| says(name).is_none())
    }
}

/// What a reduction means for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reduction {
    /// The share of requests that the instance is not to get, in percent.
    pub(super) percent: u8,
    /// Whole seconds until it ends.
    pub(super) seconds: u32,
}

impl Pressure {
    /// Takes in what an answer says, where it says anything. `now` tells the client's time.
    pub(super) fn read(&self, headers: &HeaderMap, whose: Whose, now: impl FnOnce() -> u64) {
        if headers.contains_key(&LCI)
            && let Some(load) = load(headers, whose)
        {
            self.load.store(u64::from(load) + 1, Ordering::Relaxed);
        }
        if !headers.contains_key(&OCI) {
            return;
        }
        let Some(overload) = overload(headers, whose) else {
            return;
        };
        self.obey(&overload, Timestamp::now(), now);
    }

    fn obey(&self, overload: &Overload, heard_at: Timestamp, now: impl FnOnce() -> u64) {
        let percent = overload.percent;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        // One without a time always counts.
        if let Some(said_at) = overload.said_at {
            let word = Word {
                said_at,
                percent,
                heard_at,
            };
            if said.is_some_and(|before| !word.is_news_after(&before)) {
                return;
            }
            *said = Some(word);
        }
        let packed = match percent {
            0 => 0,
            percent => (now() + overload.seconds * 1000) << 8 | u64::from(percent),
        };
        self.reduction.store(packed, Ordering::Relaxed);
    }

    /// In percent, where it was told.
    pub(super) fn load(&self) -> Option<u8> {
        let load = self.load.load(Ordering::Relaxed).checked_sub(1)?;
        u8::try_from(load).ok()
    }

    /// The reduction that is to be obeyed now. The time is only looked at where there is one.
    pub(super) fn reduction(&self, now: impl FnOnce() -> u64) -> Option<Reduction> {
        let packed = self.reduction.load(Ordering::Relaxed);
        if packed == 0 {
            return None;
        }
        let left = (packed >> 8).saturating_sub(now());
        if left == 0 {
            // Another thread may just have stored a new one, which is then not taken back.
            let _ =
                self.reduction
                    .compare_exchange(packed, 0, Ordering::Relaxed, Ordering::Relaxed);
            return None;
        }
        Some(Reduction {
            percent: packed.to_le_bytes()[0],
            seconds: u32::try_from(left.div_ceil(1000)).unwrap_or(u32::MAX),
        })
    }
}

/// The percentage after `name` in one element of a header.
fn percentage(element: &str, name: &str) -> Option<u8> {
    let text = parameter(element, name)?.strip_suffix('%')?;
    text.parse().ok().filter(|&percent| percent <= 100)
}

fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.split(';').find_map(|part| {
        let (key, value) = part.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The elements of a header that are about them.
fn elements_of<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    whose: Whose,
) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines
        .flat_map(elements)
        .filter(move |element| whose.is_meant_by(element))
}

fn load(headers: &HeaderMap, whose: Whose) -> Option<u8> {
    // Several scopes of one instance: the most loaded one tells.
    elements_of(headers, &LCI, whose)
        .filter_map(|element| percentage(element, "Load-Metric"))
        .max()
}

struct Overload {
    percent: u8,
    seconds: u64,
    said_at: Option<Timestamp>,
}

fn overload(headers: &HeaderMap, whose: Whose) -> Option<Overload> {
    elements_of(headers, &OCI, whose)
        // What is said of slices and data networks is not about requests of ours.
        .filter(|element| parameter(element, "DNN").is_none())
        .filter_map(|element| {
            let period = parameter(element, "Period-of-Validity")?.strip_suffix('s')?;
            let said_at = parameter(element, "Timestamp");
            Some(Overload {
                percent: percentage(element, "Overload-Reduction-Metric")?,
                seconds: period.parse::<u64>().ok()?.min(LONGEST_REDUCTION),
                said_at: said_at.and_then(|text| time(text.trim_matches('"'))),
            })
        })
        .max_by_key(|overload| overload.percent)
}

/// A time as the grammar of the header has it (RFC 5322 3.3), or as JSON does.
fn time(text: &str) -> Option<Timestamp> {
    let mail = || rfc2822::DateTimeParser::new().parse_timestamp(text);
    text.parse().or_else(|_| mail()).ok()
}

/// The elements of a list, whose dates in quotes hold commas of their own.
fn elements(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use jiff::ToSpan as _;

    use super::*;

    fn told(name: &HeaderName, value: &str) -> Pressure {
        told_of(Whose::Producer(None), name, value)
    }

    fn told_of(whose: Whose, name: &HeaderName, value: &str) -> Pressure {
        let mut headers = HeaderMap::new();
        headers.insert(name.clone(), HeaderValue::from_str(value).unwrap());
        let pressure = Pressure::default();
        pressure.read(&headers, whose, || 1_000);
        pressure
    }

    #[test]
    fn each_scope_is_about_one_of_them_or_neither() {
        let id = "54804518-4191-46b3-955c-ac631f953ed8";
        let (unknown, proxy) = (Whose::Producer(None), Whose::Proxy);
        let known = Whose::Producer(id.parse().ok());
        let other = Whose::Producer(Some(Uuid::nil()));
        for (scope, about) in [
            (format!("NF-Instance: {id}"), [true, true, false, false]),
            (
                format!("nf-instance: {}", id.to_uppercase()),
                [true, true, false, false],
            ),
            (
                format!("NF-Service-Instance: a; NF-Inst: {id}"),
                [true, true, false, false],
            ),
            ("NF-Set: set1.udmset".to_owned(), [true, true, true, false]),
            ("NF-Service-Set: a".to_owned(), [true, true, true, false]),
            (String::new(), [true, true, true, false]),
            (
                "SCP-FQDN: scp.example".to_owned(),
                [false, false, false, true],
            ),
            ("SEPP-FQDN: sepp.example".to_owned(), [false; 4]),
            (format!("NFC-Instance: {id}"), [false; 4]),
            (
                format!("NFC-Service-Instance: a; NF-Inst: {id}"),
                [false; 4],
            ),
            ("Callback-Uri: \"http://a/b\"".to_owned(), [false; 4]),
        ] {
            let lci = format!("Timestamp: \"2020-02-05T08:05:30Z\"; Load-Metric: 25%; {scope}");
            let oci = format!(
                "Timestamp: \"2020-02-05T08:05:30Z\"; Period-of-Validity: 75s; \
                 Overload-Reduction-Metric: 50%; {scope}"
            );
            for (whose, about) in [unknown, known, other, proxy].into_iter().zip(about) {
                let load = told_of(whose, &LCI, &lci).load();
                assert_eq!(load.is_some(), about, "{scope} of {whose:?}");
                let reduction = told_of(whose, &OCI, &oci).reduction(|| 1_000);
                assert_eq!(reduction.is_some(), about, "{scope} of {whose:?}");
            }
        }
    }

    #[test]
    fn every_line_of_a_header_is_read() {
        let mut headers = HeaderMap::new();
        for scope in ["SCP-FQDN: scp.example", "NF-Set: a"] {
            let value = format!("Timestamp: \"2020-02-05T08:05:30Z\"; Load-Metric: 25%; {scope}");
            headers.append(LCI.clone(), value.parse().unwrap());
        }
        for whose in [Whose::Producer(None), Whose::Proxy] {
            let pressure = Pressure::default();
            pressure.read(&headers, whose, || 1_000);
            assert_eq!(pressure.load(), Some(25));
        }
    }

    fn oci(time: &str, period: u32, percent: u32) -> String {
        format!(
            "Timestamp: \"{time}\"; Period-of-Validity: {period}s; \
             Overload-Reduction-Metric: {percent}%; \
             NF-Instance: 54804518-4191-46b3-955c-ac631f953ed8"
        )
    }

    #[test]
    fn the_load_is_the_highest_that_is_told() {
        for (value, load) in [
            (
                "Timestamp: \"2020-02-05T08:05:30Z\"; Load-Metric: 25%; \
                 NF-Instance: 54804518-4191-46b3-955c-ac631f953ed8",
                Some(25),
            ),
            (
                "Timestamp: \"Tue, 04 Feb 2020 08:49:37 GMT\"; Load-Metric: 5%; NF-Set: a, \
                 Timestamp: \"Tue, 04 Feb 2020 08:49:37 GMT\"; Load-Metric: 55%; NF-Set: b",
                Some(55),
            ),
            ("Load-Metric: 101%", None),
            ("Load-Metric: 7", None),
            ("", None),
        ] {
            assert_eq!(told(&LCI, value).load(), load, "{value}");
        }
    }

    #[test]
    fn a_reduction_lasts_as_long_as_it_says() {
        let pressure = told(&OCI, &oci("2020-02-05T08:05:30Z", 75, 50));
        let reduction = |now| pressure.reduction(|| now);
        let half = |seconds| {
            Some(Reduction {
                percent: 50,
                seconds,
            })
        };
        assert_eq!(reduction(1_000), half(75));
        assert_eq!(reduction(75_500), half(1));
        assert_eq!(reduction(76_000), None);
        assert_eq!(reduction(1_000), None);
    }

    #[test]
    fn only_a_newer_word_counts() {
        let pressure = told(&OCI, &oci("2020-02-05T08:05:30Z", 75, 50));
        let tell = |time: &str, percent| {
            let mut headers = HeaderMap::new();
            let value = oci(time, 75, percent);
            headers.insert(OCI.clone(), HeaderValue::from_str(&value).unwrap());
            pressure.read(&headers, Whose::Producer(None), || 1_000);
            pressure
                .reduction(|| 1_000)
                .map(|reduction| reduction.percent)
        };
        assert_eq!(tell("2020-02-05T08:05:29Z", 10), Some(50));
        assert_eq!(tell("Wed, 05 Feb 2020 08:05:29 GMT", 10), Some(50));
        assert_eq!(tell("2020-02-05T08:05:31Z", 20), Some(20));
        assert_eq!(tell("Wed, 05 Feb 2020 08:05:32 GMT", 30), Some(30));
        assert_eq!(tell("Wed, 05 Feb 2020 08:05:31 GMT", 40), Some(30));
        assert_eq!(tell("Wed, 05 Feb 2020 08:05:32 GMT", 40), Some(40));
        assert_eq!(tell("2020-02-05T08:05:33Z", 0), None);
    }

    #[test]
    fn a_word_that_is_repeated_lasts_no_longer() {
        for time in [
            "2020-02-05T08:05:30Z",
            "Wed, 05 Feb 2020 08:05:30 +0000",
            // By a clock that is ahead of ours.
            "2999-01-01T00:00:00Z",
        ] {
            let pressure = Pressure::default();
            let mut headers = HeaderMap::new();
            let value = oci(time, 75, 50);
            headers.insert(OCI.clone(), HeaderValue::from_str(&value).unwrap());
            let overload = overload(&headers, Whose::Producer(None)).unwrap();
            for (heard_at, now) in [(AT, 1_000), (AT + 59.seconds(), 60_000)] {
                pressure.obey(&overload, heard_at, || now);
            }
            assert!(pressure.reduction(|| 75_999).is_some(), "{time}");
            assert!(pressure.reduction(|| 76_000).is_none(), "{time}");
        }
    }

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn a_word_from_the_future_does_not_outlive_its_clock() {
        let word = |(said_at, percent), heard_at: i64| Word {
            said_at: AT + i64::from(said_at).seconds(),
            percent,
            heard_at: AT + heard_at.seconds(),
        };
        for (before, after, heard_at, is_news) in [
            ((3600, 50), (3600, 50), 0, false),
            ((3600, 50), (3600, 50), 3_000, false),
            ((3600, 50), (3600, 40), 0, true),
            ((3600, 50), (3601, 50), 0, true),
            // Overtaken.
            ((3601, 50), (3600, 50), 1, false),
            // Its clock is right again, or less wrong.
            ((3600, 50), (50, 10), 50, false),
            ((3600, 50), (61, 10), 61, true),
            ((3600, 50), (600, 10), 61, true),
            // That one is old by any clock.
            ((3600, 50), (0, 10), 61, false),
            // A clock that is believed is never set back.
            ((60, 50), (59, 10), 61, false),
        ] {
            let told = word(after, heard_at).is_news_after(&word(before, 0));
            assert_eq!(told, is_news, "{before:?} {after:?} {heard_at}");
        }
    }

    #[test]
    fn what_cannot_be_read_reduces_nothing() {
        for value in [
            "",
            "Overload-Reduction-Metric: 50%",
            "Period-of-Validity: 10s; Overload-Reduction-Metric: 150%",
            "Period-of-Validity: s; Overload-Reduction-Metric: 50%",
            "Timestamp: \"2020-02-05T08:05:30Z\"; Period-of-Validity: 75s; \
             Overload-Reduction-Metric: 50%; NF-Instance: a; S-NSSAI: b; DNN: internet",
        ] {
            assert_eq!(told(&OCI, value).reduction(|| 1_000), None, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(value in "[ -~]{0,120}") {
            let _ = told(&OCI, &value).reduction(|| 0);
            let _ = told(&LCI, &value).load();
        }
    }
}
