//! Whom an instance serves, of its profile: `UdmInfo` and `BsfInfo`, of which there may be several.
//!
//! What cannot be read, or is too much, narrows nothing: it stands in its list as unread, so that an
//! instance is not taken for one that serves others.

use std::hash::Hash;
use std::net::{Ipv4Addr, Ipv6Addr};

use regex_lite::RegexBuilder;
use serde::Deserialize;

use crate::sbi::{IdentityRange, Listed, Serves};

/// Longer expressions are nothing that an operator wrote.
const LONGEST_PATTERN: usize = 256;
/// A short expression can still stand for a large machine, which every request would walk through.
const LARGEST_PATTERN: usize = 16 * 1024;
/// In one profile.
pub(super) const MOST_PATTERNS: usize = 64;
/// Of one kind, in one profile.
pub(super) const MOST_RANGES: usize = 1024;

/// Of `UdmInfo` and `BsfInfo` what says whom the instance serves.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServesJson {
    group_id: Option<String>,
    #[serde(default)]
    supi_ranges: Vec<IdentityRangeJson>,
    #[serde(default)]
    gpsi_ranges: Vec<IdentityRangeJson>,
    #[serde(default)]
    ip_domain_list: Vec<String>,
    #[serde(default)]
    ipv4_address_ranges: Vec<AddressRangeJson>,
    #[serde(default)]
    ipv6_prefix_ranges: Vec<AddressRangeJson>,
}

#[derive(Deserialize, Hash)]
struct IdentityRangeJson {
    start: Option<String>,
    end: Option<String>,
    pattern: Option<String>,
}

#[derive(Deserialize, Hash)]
struct AddressRangeJson {
    start: Option<String>,
    end: Option<String>,
}

/// What all of them say together, and how much of it is not read.
pub(super) fn all_of<'a>(
    udms: impl Iterator<Item = &'a ServesJson> + Clone,
    bsfs: impl Iterator<Item = &'a ServesJson>,
) -> (Serves, usize) {
    let mut groups: Vec<_> = udms.clone().filter_map(|it| it.group_id.clone()).collect();
    groups.sort_unstable();
    groups.dedup();
    let mut serves = Serves {
        groups,
        ..Serves::default()
    };
    let (mut patterns, mut unread) = (MOST_PATTERNS, 0);
    for info in udms.chain(bsfs) {
        let mut identity = |range: &IdentityRangeJson| range.read(&mut patterns);
        unread += add(&mut serves.supis, &info.supi_ranges, &mut identity);
        unread += add(&mut serves.gpsis, &info.gpsi_ranges, &mut identity);
        unread += add(&mut serves.ip_domains, &info.ip_domain_list, |domain| {
            Some(domain.clone())
        });
        unread += add(&mut serves.ipv4, &info.ipv4_address_ranges, |range| {
            range.addresses()
        });
        unread += add(&mut serves.ipv6, &info.ipv6_prefix_ranges, |range| {
            range.prefixes()
        });
    }
    // Whoever serves the same says so in the same order.
    for identities in [&mut serves.supis, &mut serves.gpsis] {
        let ranges = &mut identities.read;
        ranges.sort_unstable_by(|a, b| a.written().cmp(&b.written()));
    }
    (serves, unread)
}

/// Adds to a list what can be read and has room there; says how much is not read.
fn add<T, U: Hash>(
    listed: &mut Listed<T>,
    more: &[U],
    mut read: impl FnMut(&U) -> Option<T>,
) -> usize {
    let mut unread = 0;
    for one in more {
        let has_room = listed.read.len() < MOST_RANGES;
        if let Some(one) = has_room.then(|| read(one)).flatten() {
            listed.read.push(one);
        } else {
            listed.add_unread(one);
            unread += 1;
        }
    }
    unread
}

impl IdentityRangeJson {
    /// The range; an expression only while there are `patterns` left.
    fn read(&self, patterns: &mut usize) -> Option<IdentityRange> {
        if let (Some(start), Some(end)) = (&self.start, &self.end) {
            return Some(IdentityRange::Numbers {
                start: start.as_str().into(),
                end: end.as_str().into(),
            });
        }
        let pattern = self.pattern.as_ref()?;
        *patterns = patterns.checked_sub(1)?;
        if pattern.len() > LONGEST_PATTERN {
            return None;
        }
        // The whole identity has to match (TS 29.510 6.1.6.2.9).
        let expression = RegexBuilder::new(&format!("^(?:{pattern})$"))
            .size_limit(LARGEST_PATTERN)
            .build();
        expression.ok().map(IdentityRange::Pattern)
    }
}

impl AddressRangeJson {
    fn addresses(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let address = |text: &Option<String>| text.as_ref()?.parse().ok();
        address(&self.start).zip(address(&self.end))
    }

    /// From the first address of the first prefix to the last one of the last.
    fn prefixes(&self) -> Option<(Ipv6Addr, Ipv6Addr)> {
        let (first, _) = prefix(self.start.as_ref()?)?;
        let (_, last) = prefix(self.end.as_ref()?)?;
        Some((first, last))
    }
}

/// The first and the last address of an IPv6 prefix. An address alone is one of its own; one that
/// ends like a /64 is the /64: rather too much than too little.
fn prefix(text: &str) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let bits = address.parse::<Ipv6Addr>().ok()?.to_bits();
    let length: u32 = match length {
        Some(length) => length.parse().ok().filter(|&length| length <= 128)?,
        None if bits.trailing_zeros() >= 64 => 64,
        None => 128,
    };
    let host = u128::MAX.checked_shr(length).unwrap_or(0);
    Some((
        Ipv6Addr::from_bits(bits & !host),
        Ipv6Addr::from_bits(bits | host),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What these infos of UDMs and of BSFs say.
    fn told(udms: Value, bsfs: Value) -> (Serves, usize) {
        let [udms, bsfs]: [Vec<ServesJson>; 2] =
            [udms, bsfs].map(|infos| serde_json::from_value(infos).unwrap());
        all_of(udms.iter(), bsfs.iter())
    }

    #[test]
    fn an_expression_that_stands_for_a_large_machine_is_not_read() {
        for (pattern, is_read) in [
            ("imsi-0010[0-9]{10}", true),
            ("imsi-(00101|00102)[0-9]{6,12}", true),
            ("(a{50}){50}", false),
            ("(", false),
            (&"a".repeat(LONGEST_PATTERN + 1), false),
        ] {
            let infos = json!([{"supiRanges": [{"pattern": pattern}]}]);
            let (serves, unread) = told(infos, json!([]));
            assert_eq!(serves.supis.read.len(), usize::from(is_read), "{pattern}");
            assert_eq!(serves.supis.is_whole(), is_read, "{pattern}");
            assert_eq!(unread, usize::from(!is_read));
        }
    }

    #[test]
    fn whom_it_serves_is_read_of_all() {
        let udms = json!([
            {"groupId": "b", "supiRanges": [{"start": "001010000000001", "end": "001010000000009"}]},
            {"groupId": "a", "gpsiRanges": [{"pattern": "^msisdn-34[0-9]+$"}]},
        ]);
        let bsfs = json!([
            {"ipDomainList": ["nat-a"],
             "ipv4AddressRanges": [{"start": "10.0.0.0", "end": "10.0.0.255"}]},
            {"ipv6PrefixRanges": [{"start": "2001:db8::/64", "end": "2001:db8:0:ff::/64"}]},
        ]);
        let (serves, unread) = told(udms, bsfs);
        assert_eq!(unread, 0);
        let counts = [serves.supis.read.len(), serves.gpsis.read.len()];
        assert_eq!(counts, [1, 1]);
        assert_eq!(serves.groups, ["a", "b"]);
        assert_eq!(serves.ip_domains, vec!["nat-a".to_owned()].into());
        let ipv4 = ([10, 0, 0, 0].into(), [10, 0, 0, 255].into());
        assert_eq!(serves.ipv4, vec![ipv4].into());
        let last: Ipv6Addr = "2001:db8:0:ff:ffff:ffff:ffff:ffff".parse().unwrap();
        let ipv6 = ("2001:db8::".parse().unwrap(), last);
        assert_eq!(serves.ipv6, vec![ipv6].into());
    }

    #[test]
    fn an_address_alone_is_a_prefix_of_its_own_or_a_64() {
        for (end, last) in [
            ("2001:db8:0:ff::7", "2001:db8:0:ff::7"),
            ("2001:db8:0:ff::", "2001:db8:0:ff:ffff:ffff:ffff:ffff"),
        ] {
            let range = json!([{"ipv6PrefixRanges": [{"start": "2001:db8::", "end": end}]}]);
            let (serves, unread) = told(json!([]), range);
            assert_eq!(unread, 0);
            let [first, last] = ["2001:db8::", last].map(|address| address.parse().unwrap());
            assert_eq!(serves.ipv6, vec![(first, last)].into());
        }
    }

    #[test]
    fn what_cannot_be_read_or_is_too_much_is_known_to_be_there() {
        let (serves, unread) = told(
            json!([{"supiRanges": [{"start": "001010000000001"}, {}],
                    "gpsiRanges": [{"pattern": "("}]}]),
            json!([{"ipDomainList": vec!["nat-a"; MOST_RANGES + 3],
                    "ipv4AddressRanges": [{"start": "10.0.0.0", "end": "10.0.0"}],
                    "ipv6PrefixRanges": [{"start": "2001:db8::/64"}]}]),
        );
        assert_eq!(unread, 2 + 1 + 3 + 1 + 1);
        let whole = [
            serves.supis.is_whole(),
            serves.gpsis.is_whole(),
            serves.ip_domains.is_whole(),
            serves.ipv4.is_whole(),
            serves.ipv6.is_whole(),
        ];
        assert_eq!(whole, [false; 5]);
        assert!(!serves.is_open());
    }

    #[test]
    fn the_order_in_which_an_instance_lists_whom_it_serves_does_not_matter() {
        let supis = |infos: Value| told(infos, json!([])).0.supis;
        let a = json!({"start": "001010000000001", "end": "001010000000009"});
        let b = json!({"pattern": "^imsi-00102[0-9]{10}$"});
        let c = json!({"start": "001010000000001", "end": "001010000000019"});
        let listed = supis(json!([{"supiRanges": [a, b, c]}]));
        let apart = [&c, &a, &b].map(|range| json!({"supiRanges": [range]}));
        assert_eq!(listed, supis(json!(apart)));
        for fewer in [json!([a, b]), json!([a, b, b]), json!([])] {
            assert_ne!(listed, supis(json!([{"supiRanges": fewer}])));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_prefix_is_read_or_refused(address in "[0-9a-f:]{0,12}", length in 0..200_u32) {
            let _ = prefix(&format!("{address}/{length}"));
        }
    }
}
