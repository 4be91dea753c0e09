//! The table beside a model of it, and beside a world in which sessions move.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use device::{Gpsi, Supi, UeId};
use ipnet::Ipv6Net;
use proptest::prelude::*;

use super::event::{Addresses, Change, SessionEvent, SessionIpv4};
use super::{Applied, Part, SessionTable, SmfId};

/// Some by number, some by a name that fits no word.
fn subscriber(index: u8) -> UeId {
    match index % 3 {
        0 => Supi::parse(&format!("imsi-00101000000{index:04}"))
            .unwrap()
            .into(),
        1 => Supi::parse(&format!("nai-{index}@realm.example"))
            .unwrap()
            .into(),
        _ => Gpsi::parse(&format!("msisdn-3460000{index:04}"))
            .unwrap()
            .into(),
    }
}

fn ipv4(last: u8, ip_domain: Option<&str>) -> SessionIpv4 {
    SessionIpv4 {
        address: Ipv4Addr::new(10, 45, 0, last),
        ip_domain: ip_domain.map(Into::into),
    }
}

fn only_ipv4(last: u8) -> Addresses {
    Addresses {
        ipv4: Some(ipv4(last, Some("nat-a"))),
        ipv6: Vec::new(),
    }
}

fn prefixes(texts: &[&str]) -> Addresses {
    Addresses {
        ipv4: None,
        ipv6: texts.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn event(index: u8, time: i64, change: Change) -> SessionEvent {
    SessionEvent {
        subscription: subscriber(index),
        pdu_session_id: 1,
        time,
        change,
    }
}

/// A table with this many SMFs whose word counts.
fn table(smfs: usize) -> (SessionTable, Vec<Part>) {
    let table = SessionTable::new(1000);
    let parts = (0..smfs).map(|_| {
        let part = table.begin(table.add_smf().unwrap());
        table.complete(part);
        part
    });
    let parts = parts.collect();
    (table, parts)
}

fn who(table: &SessionTable, last: u8) -> Option<UeId> {
    table.by_ipv4(Ipv4Addr::new(10, 45, 0, last), Some("nat-a"))
}

fn who6(table: &SessionTable, address: &str) -> Option<UeId> {
    table.by_ipv6(address.parse().unwrap())
}

#[test]
fn an_address_leads_to_its_session_until_it_ends() {
    let (table, parts) = table(1);
    for index in 0..3 {
        let established = Change::Established(only_ipv4(index + 1));
        table.apply(parts[0], &event(index, 1, established));
        assert_eq!(who(&table, index + 1), Some(subscriber(index)));
    }
    table.apply(parts[0], &event(0, 2, Change::Released));
    assert_eq!(who(&table, 1), None);
    assert_eq!(who(&table, 2), Some(subscriber(1)));
}

#[test]
fn a_session_is_found_by_what_its_smf_told_of_it_alone() {
    let (table, parts) = table(2);
    let both = Addresses {
        ipv6: prefixes(&["2001:db8:1::/64"]).ipv6,
        ..only_ipv4(1)
    };
    for (index, part, addresses) in [
        (0, parts[0], both.clone()),
        (1, parts[0], only_ipv4(2)),
        (2, parts[1], only_ipv4(3)),
    ] {
        table.apply(part, &event(index, 1, Change::Established(addresses)));
    }
    for (addresses, whose) in [
        (both, Some(0)),
        (only_ipv4(1), Some(0)),
        (prefixes(&["2001:db8:1::/64"]), Some(0)),
        (prefixes(&["2001:db8:1::/56"]), None),
        (only_ipv4(2), Some(1)),
        // Another SMF's, nobody's, and two at once.
        (only_ipv4(3), None),
        (only_ipv4(4), None),
        (Addresses::default(), None),
        (
            Addresses {
                ipv6: prefixes(&["2001:db8:1::/64"]).ipv6,
                ..only_ipv4(2)
            },
            None,
        ),
    ] {
        let found = table.session_with(parts[0], &addresses);
        assert_eq!(found, whose.map(|index| (subscriber(index), 1)));
    }
    let later = table.begin(parts[0].smf);
    assert_eq!(table.session_with(later, &only_ipv4(1)), None);
}

#[test]
fn an_address_in_another_domain_is_another_one() {
    let (table, parts) = table(1);
    for (index, domain) in [(0, Some("nat-a")), (1, Some("nat-b")), (2, None)] {
        let addresses = Addresses {
            ipv4: Some(ipv4(7, domain)),
            ipv6: Vec::new(),
        };
        table.apply(parts[0], &event(index, 1, Change::Established(addresses)));
    }
    let address = Ipv4Addr::new(10, 45, 0, 7);
    assert_eq!(table.by_ipv4(address, Some("nat-a")), Some(subscriber(0)));
    assert_eq!(table.by_ipv4(address, Some("nat-b")), Some(subscriber(1)));
    assert_eq!(table.by_ipv4(address, Some("nat-c")), None);
    // Three have it, and the question does not say which.
    assert_eq!(table.by_ipv4(address, None), None);
    for index in 1..3 {
        table.apply(parts[0], &event(index, 2, Change::Released));
    }
    assert_eq!(table.by_ipv4(address, None), Some(subscriber(0)));
}

/// Without a domain, another SMF could know another session with the same address.
#[test]
fn an_address_without_a_domain_is_answered_by_a_complete_table_alone() {
    let (table, parts) = table(2);
    table.apply(parts[0], &event(0, 1, Change::Established(only_ipv4(1))));
    let ask = || table.by_ipv4(Ipv4Addr::new(10, 45, 0, 1), None);
    assert!(ask().is_some());
    table.distrust(parts[1]);
    assert!(ask().is_none());
    assert!(who(&table, 1).is_some());
    table.remove_smf(parts[1].smf);
    assert!(ask().is_some());
}

#[test]
fn the_longest_prefix_decides() {
    let (table, parts) = table(1);
    for (index, prefix) in [
        (0, "2001:db8::/32"),
        (1, "2001:db8:aa00::/56"),
        (2, "2001:db8:aa00:7::/64"),
        (3, "2001:db8:aa00:7::1/128"),
        (4, "2001:db8:aa00:8::/61"),
    ] {
        let established = Change::Established(prefixes(&[prefix]));
        table.apply(parts[0], &event(index, 1, established));
    }
    for (address, expected) in [
        ("2001:db9::1", None),
        ("2001:db8:1::1", Some(0)),
        ("2001:db8:aa00:1::1", Some(1)),
        ("2001:db8:aa00:7::2", Some(2)),
        ("2001:db8:aa00:7::1", Some(3)),
        ("2001:db8:aa00:f::1", Some(4)),
    ] {
        assert_eq!(who6(&table, address), expected.map(subscriber), "{address}");
    }
    table.apply(parts[0], &event(2, 2, Change::Released));
    assert_eq!(who6(&table, "2001:db8:aa00:7::2"), Some(subscriber(1)));
}

#[test]
fn the_whole_address_space_is_a_prefix_too() {
    let (table, parts) = table(1);
    table.apply(
        parts[0],
        &event(0, 1, Change::Established(prefixes(&["::/0"]))),
    );
    assert_eq!(who6(&table, "2001:db8::1"), Some(subscriber(0)));
}

/// Established at another SMF before the release from the first arrives.
#[test]
fn an_address_that_two_claim_is_nobodys_until_one_lets_go() {
    for (first_time, second_time) in [(1, 2), (2, 1), (1, 1)] {
        let (table, parts) = table(2);
        let established = || Change::Established(only_ipv4(1));
        table.apply(parts[0], &event(0, first_time, established()));
        table.apply(parts[1], &event(1, second_time, established()));
        assert_eq!(who(&table, 1), None);
        table.apply(parts[0], &event(0, 9, Change::Released));
        assert_eq!(who(&table, 1), Some(subscriber(1)));
    }
}

#[test]
fn a_prefix_that_two_claim_is_nobodys_whatever_holds_it() {
    let (table, parts) = table(2);
    let claim = |prefix| Change::Established(prefixes(&[prefix]));
    table.apply(parts[0], &event(0, 1, claim("2001:db8::/32")));
    table.apply(parts[0], &event(1, 1, claim("2001:db8:1::/64")));
    table.apply(parts[1], &event(2, 1, claim("2001:db8:1::/64")));
    assert_eq!(who6(&table, "2001:db8:1::1"), None);
    table.apply(parts[0], &event(1, 2, Change::Released));
    assert_eq!(who6(&table, "2001:db8:1::1"), Some(subscriber(2)));
}

/// A subscription that moved to another SMF with its address is itself at both.
#[test]
fn two_sessions_of_one_subscription_do_not_contend() {
    for index in 0..3 {
        let (table, parts) = table(2);
        for part in &parts {
            let established = Change::Established(only_ipv4(1));
            table.apply(*part, &event(index, 1, established));
        }
        assert_eq!(who(&table, 1), Some(subscriber(index)));
        table.apply(parts[0], &event(index, 5, Change::Released));
        assert_eq!(who(&table, 1), Some(subscriber(index)));
    }
}

#[test]
fn a_word_that_was_overtaken_changes_nothing() {
    let (table, parts) = table(1);
    let part = parts[0];
    let established = |last| Change::Established(only_ipv4(last));
    table.apply(part, &event(0, 10, established(2)));
    for late in [event(0, 9, established(1)), event(0, 9, Change::Released)] {
        assert_eq!(table.apply(part, &late), Applied::Outdated);
        assert_eq!(who(&table, 1), None);
        assert_eq!(who(&table, 2), Some(subscriber(0)));
    }
    table.apply(part, &event(0, 20, Change::Released));
    // The beginning comes after the end, or at the same time: nobody knows.
    for time in [15, 20] {
        let applied = table.apply(part, &event(0, time, established(1)));
        assert_eq!(applied, Applied::Outdated);
        assert_eq!(who(&table, 1), None);
    }
    table.apply(part, &event(0, 21, established(1)));
    assert_eq!(who(&table, 1), Some(subscriber(0)));
}

#[test]
fn an_end_before_its_beginning_is_remembered() {
    let (table, parts) = table(1);
    table.apply(parts[0], &event(0, 5, Change::Released));
    table.apply(parts[0], &event(0, 4, Change::Established(only_ipv4(1))));
    assert_eq!(who(&table, 1), None);
}

#[test]
fn addresses_come_and_go_within_a_session() {
    let (table, parts) = table(1);
    let part = parts[0];
    let mut addresses = prefixes(&["2001:db8:1::/64", "2001:db8:2::/64"]);
    addresses.ipv4 = Some(ipv4(1, Some("nat-a")));
    table.apply(part, &event(0, 1, Change::Established(addresses)));
    let moved = |added, removed| Change::Moved { added, removed };
    let nothing = Addresses::default;
    table.apply(part, &event(0, 2, moved(only_ipv4(2), nothing())));
    // A session has one IPv4 address.
    assert_eq!(who(&table, 1), None);
    assert_eq!(who(&table, 2), Some(subscriber(0)));
    table.apply(
        part,
        &event(
            0,
            3,
            moved(
                prefixes(&["2001:db8:3::/64"]),
                prefixes(&["2001:db8:1::/64"]),
            ),
        ),
    );
    for (address, expected) in [
        ("2001:db8:1::1", None),
        ("2001:db8:2::1", Some(subscriber(0))),
        ("2001:db8:3::1", Some(subscriber(0))),
    ] {
        assert_eq!(who6(&table, address), expected, "{address}");
    }
    // Overtaken: what it takes away is taken away, what it brings is not.
    let late = moved(only_ipv4(3), prefixes(&["2001:db8:2::/64"]));
    assert_eq!(table.apply(part, &event(0, 2, late)), Applied::Outdated);
    assert_eq!(who(&table, 3), None);
    assert_eq!(who(&table, 2), Some(subscriber(0)));
    assert_eq!(who6(&table, "2001:db8:2::1"), None);
    table.apply(part, &event(0, 4, Change::Released));
    assert_eq!(who(&table, 2), None);
    assert_eq!(who6(&table, "2001:db8:3::1"), None);
}

#[test]
fn what_moves_again_and_again_takes_no_more_room() {
    let (table, parts) = table(1);
    for time in 0..100 {
        let added = prefixes(&[&format!("2001:db8:{time}::/64")]);
        let removed = prefixes(&[&format!("2001:db8:{}::/64", time - time.min(1))]);
        let moved = Change::Moved { added, removed };
        table.apply(parts[0], &event(0, time, moved));
        table.apply(parts[0], &event(1, time, Change::Established(only_ipv4(1))));
    }
    assert!(table.size().sessions <= 17, "{:?}", table.size());
}

#[test]
fn an_smf_counts_from_the_end_of_its_report_until_it_is_lost() {
    let (table, _) = table(0);
    let smf = table.add_smf().unwrap();
    let first = table.begin(smf);
    table.apply(first, &event(0, 1, Change::Established(only_ipv4(1))));
    assert_eq!(who(&table, 1), None);
    table.complete(first);
    assert_eq!(who(&table, 1), Some(subscriber(0)));
    table.distrust(first);
    assert_eq!(who(&table, 1), None);
    // Nothing that is still on its way from the lost one is heard.
    table.complete(first);
    let late = event(0, 2, Change::Established(only_ipv4(1)));
    assert_eq!(table.apply(first, &late), Applied::Outdated);
    assert_eq!(who(&table, 1), None);
    let second = table.begin(smf);
    table.complete(second);
    assert_eq!(who(&table, 1), None);
    assert_eq!(table.apply(first, &late), Applied::Outdated);
    // A report tells when a session began, which may be before what was heard last.
    table.apply(second, &event(0, 1, Change::Established(only_ipv4(1))));
    assert_eq!(who(&table, 1), Some(subscriber(0)));
    table.distrust(first);
    assert_eq!(who(&table, 1), Some(subscriber(0)));
}

#[test]
fn an_smf_in_doubt_does_not_count_until_it_is_trusted_again() {
    let (table, parts) = table(2);
    let (doubted, other) = (parts[0], parts[1]);
    table.apply(doubted, &event(0, 1, Change::Established(only_ipv4(1))));
    table.apply(other, &event(1, 1, Change::Established(only_ipv4(2))));
    table.doubt(doubted);
    assert_eq!(who(&table, 1), None);
    assert_eq!(who(&table, 2), Some(subscriber(1)));
    assert!(!table.size().complete);
    // It is heard all the same, and nothing of it is swept away.
    table.apply(doubted, &event(0, 2, Change::Established(only_ipv4(3))));
    while table.sweep(0).is_some() {}
    table.trust(doubted);
    assert_eq!(who(&table, 1), None);
    assert_eq!(who(&table, 3), Some(subscriber(0)));
    assert!(table.size().complete);
    // A report that ends in doubt is believed after the doubt.
    let again = table.begin(doubted.smf);
    table.apply(again, &event(0, 1, Change::Established(only_ipv4(1))));
    table.doubt(again);
    table.complete(again);
    assert_eq!(who(&table, 1), None);
    table.trust(again);
    assert_eq!(who(&table, 1), Some(subscriber(0)));
}

/// A core's clock may tell nothing finer than seconds, and tell something twice.
#[test]
fn of_two_words_of_one_time_what_is_sure_is_believed() {
    let moved = |added: &Addresses, removed: &Addresses| Change::Moved {
        added: added.clone(),
        removed: removed.clone(),
    };
    let nothing = Addresses::default();
    let one = || Change::Established(only_ipv4(1));
    let from_one_to_two = || moved(&only_ipv4(2), &only_ipv4(1));
    let from_two_to_three = || moved(&only_ipv4(3), &only_ipv4(2));
    for (told, expected) in [
        (vec![one(), one()], Some(1)),
        (vec![one(), from_one_to_two()], Some(2)),
        // The beginning is told again, or late.
        (vec![one(), from_one_to_two(), one()], Some(2)),
        (vec![from_one_to_two(), one()], Some(2)),
        (vec![one(), Change::Established(only_ipv4(2))], None),
        // The last of two moves overtakes the first.
        (vec![from_two_to_three(), from_one_to_two()], Some(3)),
        (vec![one(), from_one_to_two(), from_two_to_three()], None),
        (vec![one(), moved(&only_ipv4(2), &nothing)], None),
        (
            vec![
                moved(&nothing, &only_ipv4(1)),
                moved(&only_ipv4(1), &nothing),
            ],
            None,
        ),
    ] {
        let (table, parts) = table(1);
        for change in told {
            table.apply(parts[0], &event(0, 7, change));
        }
        for last in 1..4 {
            let expected = (expected == Some(last)).then(|| subscriber(0));
            assert_eq!(who(&table, last), expected, "{last}");
        }
        // A later word is as good as ever.
        table.apply(parts[0], &event(0, 8, one()));
        assert_eq!(who(&table, 1), Some(subscriber(0)));
    }
    // A prefix that follows within the same second is no doubt.
    let (table, parts) = table(1);
    table.apply(parts[0], &event(0, 7, one()));
    let prefix = prefixes(&["2001:db8:1::/64"]);
    table.apply(parts[0], &event(0, 7, moved(&prefix, &nothing)));
    assert_eq!(who(&table, 1), Some(subscriber(0)));
    assert_eq!(who6(&table, "2001:db8:1::1"), Some(subscriber(0)));
}

/// The neighbour has a shorter prefix, and the same IPv4 address in another domain.
#[test]
fn nobody_is_answered_in_the_place_of_an_address_in_doubt() {
    let moved = |added: &Addresses, removed: &Addresses| Change::Moved {
        added: added.clone(),
        removed: removed.clone(),
    };
    let established = |addresses: &Addresses| Change::Established(addresses.clone());
    let nothing = Addresses::default();
    let with_prefix = |last, prefix| Addresses {
        ipv6: prefixes(&[prefix]).ipv6,
        ..only_ipv4(last)
    };
    let ours = with_prefix(1, "2001:db8:1:7::/64");
    let mut twice = ours.clone();
    twice.ipv6.extend(ours.ipv6.clone());
    let others = with_prefix(2, "2001:db8:2::/64");
    let neighbours = Addresses {
        ipv4: Some(ipv4(1, Some("nat-b"))),
        ipv6: prefixes(&["2001:db8:1::/48"]).ipv6,
    };
    for (case, told) in [
        (
            "taken away late",
            vec![(10, established(&ours)), (9, moved(&nothing, &ours))],
        ),
        (
            "taken away late after it was told twice",
            vec![(10, established(&twice)), (9, moved(&nothing, &ours))],
        ),
        (
            "taken away at the same time",
            vec![(10, established(&ours)), (10, moved(&nothing, &ours))],
        ),
        (
            "brought late, to a session that moved",
            vec![(10, moved(&others, &nothing)), (9, moved(&ours, &nothing))],
        ),
        (
            "a beginning that was overtaken by a move",
            vec![(10, moved(&others, &nothing)), (9, established(&ours))],
        ),
        (
            "brought and taken at the same time",
            vec![(10, moved(&nothing, &ours)), (10, moved(&ours, &nothing))],
        ),
        (
            "a beginning at the time of the end",
            vec![(10, Change::Released), (10, established(&ours))],
        ),
        (
            "a move at the time of the end",
            vec![(10, Change::Released), (10, moved(&ours, &nothing))],
        ),
    ] {
        let (table, parts) = table(2);
        table.apply(parts[1], &event(1, 1, established(&neighbours)));
        let ask = || {
            (
                table.by_ipv4(Ipv4Addr::new(10, 45, 0, 1), None),
                who6(&table, "2001:db8:1:7::1"),
            )
        };
        let neighbour = (Some(subscriber(1)), Some(subscriber(1)));
        assert_eq!(ask(), neighbour, "{case}");
        for (time, change) in told {
            table.apply(parts[0], &event(0, time, change));
        }
        assert_eq!(ask(), (None, None), "{case}");
        // What is in doubt may be another one's: of whoever says so, one is right.
        table.apply(parts[1], &event(2, 1, established(&ours)));
        assert_eq!((who(&table, 1), ask().1), (None, None), "{case}");
        table.apply(parts[1], &event(2, 2, Change::Released));
        for (time, change, answered) in [
            (20, moved(&others, &nothing), (Some(subscriber(1)), None)),
            (21, moved(&nothing, &ours), neighbour.clone()),
            (22, established(&ours), (None, Some(subscriber(0)))),
            (21, moved(&nothing, &ours), (None, None)),
            (23, established(&others), neighbour.clone()),
            (22, moved(&ours, &nothing), (None, None)),
            (24, Change::Released, neighbour.clone()),
        ] {
            table.apply(parts[0], &event(0, time, change));
            assert_eq!(ask(), answered, "{case}, {time}");
        }
        assert!(
            table.size().complete && table.size().sessions <= 4,
            "{case}"
        );
    }
}

#[test]
fn neither_of_two_addresses_at_one_time_is_a_neighbours() {
    let (table, parts) = table(1);
    let neighbours = |last| Addresses {
        ipv4: Some(ipv4(last, Some("nat-b"))),
        ipv6: Vec::new(),
    };
    for last in 1..4 {
        let established = Change::Established(neighbours(last));
        table.apply(parts[0], &event(last, 1, established));
    }
    for last in 1..3 {
        table.apply(parts[0], &event(0, 7, Change::Established(only_ipv4(last))));
    }
    let ask = |last| table.by_ipv4(Ipv4Addr::new(10, 45, 0, last), None);
    assert_eq!([1, 2, 3].map(ask), [None, None, Some(subscriber(3))]);
}

/// What nobody knows of a session that is over must not outlast it where nobody else tells.
#[test]
fn an_address_in_doubt_is_whoevers_it_is_given_to_later() {
    let all = |ip_domain| Addresses {
        ipv4: Some(ipv4(1, ip_domain)),
        ipv6: prefixes(&["2001:db8:1::/64"]).ipv6,
    };
    let established = |ip_domain| Change::Established(all(ip_domain));
    for ip_domain in [None, Some("nat-a")] {
        let removed = Change::Moved {
            added: Addresses::default(),
            removed: all(ip_domain),
        };
        for told in [
            [Change::Released, established(ip_domain)],
            [established(ip_domain), removed],
        ] {
            let (table, parts) = table(2);
            let ask = || {
                let by_ipv4 = table.by_ipv4(Ipv4Addr::new(10, 45, 0, 1), None);
                (by_ipv4, who6(&table, "2001:db8:1::1"))
            };
            for change in told {
                table.apply(parts[0], &event(0, 10, change));
            }
            for (part, time, ip_domain, expected) in [
                // Of one time nobody knows the order, nor of two clocks, and another domain's
                // address is another one.
                (parts[0], 10, ip_domain, (None, None)),
                (parts[1], 11, ip_domain, (None, None)),
                (parts[0], 11, Some("nat-b"), (None, Some(subscriber(1)))),
                (
                    parts[0],
                    12,
                    ip_domain,
                    // Without a domain, addresses may be of several spaces.
                    (ip_domain.map(|_| subscriber(1)), Some(subscriber(1))),
                ),
            ] {
                table.apply(part, &event(1, time, established(ip_domain)));
                assert_eq!(ask(), expected, "{time} {ip_domain:?}");
                if part == parts[1] {
                    table.apply(part, &event(1, time, Change::Released));
                }
            }
        }
    }
}

/// The end is remembered, and what is in doubt beside it takes one place.
#[tokio::test(start_paused = true)]
async fn a_beginning_at_the_time_of_its_end_is_not_there_twice() {
    let (table, parts) = table(1);
    let established = |last| Change::Established(only_ipv4(last));
    table.apply(parts[0], &event(0, 10, Change::Released));
    table.apply(parts[0], &event(0, 10, established(1)));
    assert_eq!(table.size().sessions, 2);
    table.apply(parts[0], &event(0, 9, established(2)));
    table.apply(
        parts[0],
        &event(
            1,
            1,
            Change::Established(Addresses {
                ipv4: Some(ipv4(2, Some("nat-b"))),
                ipv6: Vec::new(),
            }),
        ),
    );
    let address = Ipv4Addr::new(10, 45, 0, 2);
    assert_eq!(
        table.by_ipv4(address, None),
        Some(subscriber(1)),
        "it ended"
    );
    tokio::time::advance(std::time::Duration::from_hours(1)).await;
    table.apply(parts[0], &event(1, 11, Change::Released));
    assert_eq!(
        table.size().sessions,
        2,
        "the end of one, the doubt of the other"
    );
}

/// An SMF that tells nothing in order makes the table incomplete, and no larger.
#[test]
fn addresses_in_doubt_are_bounded() {
    let (table, parts) = table(1);
    table.apply(
        parts[0],
        &event(0, 1_000, Change::Established(only_ipv4(1))),
    );
    for time in 0..100 {
        let added = prefixes(&[&format!("2001:db8:{time}::/64")]);
        let removed = Addresses::default();
        let applied = table.apply(parts[0], &event(0, time, Change::Moved { added, removed }));
        let expected = if time < 16 {
            Applied::Outdated
        } else {
            Applied::Muddled
        };
        assert_eq!(applied, expected, "{time}");
    }
    assert!(table.size().sessions <= 17, "{:?}", table.size());
    assert!(!table.size().complete);
    assert_eq!(who(&table, 1), Some(subscriber(0)));
    table.complete(table.begin(parts[0].smf));
    assert!(table.size().complete, "it told everything anew");
}

/// Within a delegated prefix, another SMF may have delegated a longer one.
#[test]
fn a_delegated_prefix_is_answered_by_a_complete_table_alone() {
    let (table, parts) = table(1);
    let held = prefixes(&["2001:db8:1::/64", "2001:db8:2::/56"]);
    table.apply(parts[0], &event(0, 1, Change::Established(held)));
    let reporting = table.begin(table.add_smf().unwrap());
    assert_eq!(who6(&table, "2001:db8:1::1"), Some(subscriber(0)));
    assert_eq!(who6(&table, "2001:db8:2:7::1"), None);
    let within = prefixes(&["2001:db8:2:7::/64"]);
    table.apply(reporting, &event(1, 1, Change::Established(within)));
    table.complete(reporting);
    assert_eq!(who6(&table, "2001:db8:2:7::1"), Some(subscriber(1)));
    assert_eq!(who6(&table, "2001:db8:2:8::1"), Some(subscriber(0)));
}

/// Ends are not kept for ever: what is older than one that is forgotten may have ended.
#[tokio::test(start_paused = true)]
async fn a_beginning_that_comes_after_its_forgotten_end_is_not_believed() {
    let (table, parts) = table(1);
    let part = parts[0];
    let established = |last| Change::Established(only_ipv4(last));
    table.apply(part, &event(0, 50, Change::Released));
    tokio::time::advance(std::time::Duration::from_hours(1)).await;
    // The next end takes the place of the old one.
    table.apply(part, &event(1, 60, Change::Released));
    assert_eq!(table.size().sessions, 1);
    for (index, time) in [(0, 49), (2, 50)] {
        let applied = table.apply(part, &event(index, time, established(index + 1)));
        assert_eq!(applied, Applied::Outdated);
        assert_eq!(who(&table, index + 1), None);
    }
    assert!(!table.size().complete, "one of them may be there");
    table.apply(part, &event(0, 51, established(1)));
    assert_eq!(who(&table, 1), Some(subscriber(0)));
    // A report tells when sessions began: of its ends, none is forgotten before it is over.
    let part = table.begin(part.smf);
    table.apply(part, &event(0, 50, Change::Released));
    tokio::time::advance(std::time::Duration::from_hours(1)).await;
    table.apply(part, &event(1, 60, Change::Released));
    table.apply(part, &event(0, 49, established(1)));
    table.apply(part, &event(2, 1, established(2)));
    table.complete(part);
    assert_eq!(who(&table, 1), None);
    assert_eq!(who(&table, 2), Some(subscriber(2)));
}

#[test]
fn what_does_not_count_is_swept_away() {
    let (table, parts) = table(2);
    for index in 0..250 {
        let part = parts[usize::from(index % 2)];
        let address = Change::Established(only_ipv4(index));
        table.apply(part, &event(index, 1, address));
    }
    table.distrust(parts[0]);
    let mut from = Some(0);
    while let Some(place) = from {
        from = table.sweep(place);
    }
    assert_eq!(table.size().sessions, 125);
    assert_eq!(who(&table, 1), Some(subscriber(1)));
    assert_eq!((table.size().trusted, table.size().distrusted), (1, 1));
}

#[test]
fn a_full_table_is_not_complete_and_says_so() {
    let table = SessionTable::new(2);
    let part = table.begin(table.add_smf().unwrap());
    table.complete(part);
    for index in 0..3 {
        let established = Change::Established(only_ipv4(index + 1));
        let applied = table.apply(part, &event(index * 3, 1, established));
        let expected = if index < 2 {
            Applied::Done
        } else {
            Applied::Full
        };
        assert_eq!(applied, expected);
    }
    assert_eq!(who(&table, 3), None);
    assert_eq!(who(&table, 1), Some(subscriber(0)));
    assert_eq!(table.by_ipv4(Ipv4Addr::new(10, 45, 0, 1), None), None);
}

/// A name that fits no word takes room of its own, and gives it back.
#[test]
fn long_names_take_the_room_of_several_sessions() {
    let table = SessionTable::new(20);
    let smf = table.add_smf().unwrap();
    let long = |index: u8| {
        let text = format!("nai-{index}@{}.example", "a".repeat(60));
        Supi::parse(&text).unwrap()
    };
    for _ in 0..3 {
        let part = table.begin(smf);
        while table.sweep(0).is_some() {}
        assert_eq!(table.size().sessions, 0);
        let applied = (0..20).map(|index| {
            let told = SessionEvent {
                subscription: long(index).into(),
                ..event(index, 1, Change::Established(only_ipv4(index)))
            };
            table.apply(part, &told)
        });
        let done = applied.filter(|applied| *applied == Applied::Done).count();
        assert!((6..=8).contains(&done), "{done}");
    }
}

#[test]
fn the_place_of_an_smf_that_is_gone_is_taken_by_another() {
    let (table, parts) = table(1);
    table.apply(parts[0], &event(0, 1, Change::Established(only_ipv4(1))));
    table.remove_smf(parts[0].smf);
    let smf = table.add_smf().unwrap();
    assert_eq!(smf, parts[0].smf);
    let part = table.begin(smf);
    table.complete(part);
    assert_eq!(who(&table, 1), None);
}

const DOMAINS: [Option<&str>; 3] = [None, Some("nat-a"), Some("nat-b")];
const PREFIXES: [&str; 7] = [
    "2001:db8::/32",
    "2001:db8::/56",
    "2001:db8::/64",
    "2001:db8:0:1::/64",
    "2001:db8::1/128",
    "2001:db8:0:1::/63",
    "2001:db8:1::/48",
];
const ADDRESSES: [&str; 6] = [
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8:0:1::1",
    "2001:db8:0:2::1",
    "2001:db8:1::1",
    "2001:db8:2::1",
];

#[derive(Debug, Clone)]
enum Step {
    Event(usize, u8, i64, ModelChange),
    Begin(usize),
    Complete(usize),
    Distrust(usize),
    Sweep,
}

#[derive(Debug, Clone)]
enum ModelChange {
    Established(Option<(u8, usize)>, Vec<usize>),
    Released,
    Moved(Option<(u8, usize)>, Vec<usize>, Option<u8>, Vec<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ipv4 = || prop::option::of((1_u8..4, 0..DOMAINS.len()));
    let prefixes = || prop::collection::vec(0..PREFIXES.len(), 0..3);
    let change = prop_oneof![
        3 => (ipv4(), prefixes()).prop_map(|(ipv4, ipv6)| ModelChange::Established(ipv4, ipv6)),
        2 => Just(ModelChange::Released),
        2 => (ipv4(), prefixes(), prop::option::of(1_u8..4), prefixes())
            .prop_map(|(a, b, c, d)| ModelChange::Moved(a, b, c, d)),
    ];
    let step = prop_oneof![
        12 => (0..2_usize, 0..5_u8, 0..20_i64, change)
            .prop_map(|(smf, who, time, change)| Step::Event(smf, who, time, change)),
        1 => (0..2_usize).prop_map(Step::Begin),
        2 => (0..2_usize).prop_map(Step::Complete),
        1 => (0..2_usize).prop_map(Step::Distrust),
        1 => Just(Step::Sweep),
    ];
    prop::collection::vec(step, 0..60)
}

/// The rules, as plainly as they can be written.
#[derive(Default)]
struct Model {
    sessions: BTreeMap<(usize, u8), ModelSession>,
    /// Counting, still reporting, and the number of the subscription.
    smfs: [(bool, bool, u32); 2],
}

#[derive(Clone, Default)]
struct ModelSession {
    time: i64,
    subscription: u32,
    released: bool,
    narrowed: bool,
    ipv4: Option<(u8, usize)>,
    ipv6: Vec<usize>,
    doubted_ipv4: Vec<(u8, usize)>,
    doubted_ipv6: Vec<usize>,
}

impl ModelSession {
    fn join(&mut self, ipv4: Option<(u8, usize)>, ipv6: &[usize]) {
        let (own, its) = (self.ipv4, ipv4);
        self.add(ipv4, ipv6);
        self.narrowed = own.is_some() && its.is_some() && own != its;
        if self.narrowed {
            self.ipv4 = None;
            self.doubted_ipv4.extend(own.into_iter().chain(its));
        }
    }

    fn add(&mut self, ipv4: Option<(u8, usize)>, ipv6: &[usize]) {
        if ipv4.is_some() {
            self.ipv4 = ipv4;
            self.doubted_ipv4.clear();
        }
        self.ipv6.extend(ipv6);
        self.doubted_ipv6.retain(|prefix| !ipv6.contains(prefix));
    }

    fn take_away(&mut self, ipv4: Option<u8>, ipv6: &[usize]) {
        let stays = |(address, _): &(u8, usize)| Some(*address) != ipv4;
        self.ipv4 = self.ipv4.filter(stays);
        self.doubted_ipv4.retain(stays);
        self.ipv6.retain(|prefix| !ipv6.contains(prefix));
        self.doubted_ipv6.retain(|prefix| !ipv6.contains(prefix));
    }

    fn doubt_removed(&mut self, ipv4: Option<u8>, ipv6: &[usize]) {
        if self.ipv4.is_some_and(|(address, _)| Some(address) == ipv4) {
            self.doubted_ipv4.extend(self.ipv4.take());
        }
        for prefix in ipv6.iter().filter(|prefix| self.ipv6.contains(prefix)) {
            self.doubted_ipv6.push(*prefix);
        }
        self.ipv6.retain(|prefix| !ipv6.contains(prefix));
    }

    fn doubt_added(&mut self, ipv4: Option<(u8, usize)>, ipv6: &[usize]) {
        self.doubted_ipv4.extend(ipv4.filter(|_| ipv4 != self.ipv4));
        let sure = &self.ipv6;
        let doubted = ipv6.iter().filter(|prefix| !sure.contains(prefix));
        self.doubted_ipv6.extend(doubted);
    }
}

impl Model {
    fn apply(&mut self, smf: usize, who: u8, time: i64, change: &ModelChange) {
        let (counts, is_reporting, number) = self.smfs[smf];
        if !counts && !is_reporting {
            return;
        }
        let known = self.sessions.get(&(smf, who)).cloned();
        let known = known.filter(|known| known.subscription == number);
        let mut after = known.clone().unwrap_or_default();
        after.subscription = number;
        let late = known.as_ref().is_some_and(|known| time < known.time);
        let at_once = known.as_ref().is_some_and(|known| time == known.time);
        match change {
            _ if late && after.released => return,
            ModelChange::Released if late => return,
            ModelChange::Established(ipv4, ipv6) | ModelChange::Moved(ipv4, ipv6, ..)
                if at_once && after.released =>
            {
                after.doubt_added(*ipv4, ipv6);
                after.narrowed = true;
            }
            ModelChange::Established(ipv4, ipv6) if late || at_once && after.narrowed => {
                after.doubt_added(*ipv4, ipv6);
            }
            ModelChange::Established(ipv4, ipv6) if at_once => after.join(*ipv4, ipv6),
            ModelChange::Established(ipv4, ipv6) => {
                after = ModelSession {
                    subscription: number,
                    ipv4: *ipv4,
                    ipv6: ipv6.clone(),
                    ..ModelSession::default()
                };
            }
            ModelChange::Released => {
                after = ModelSession {
                    subscription: number,
                    released: true,
                    ..ModelSession::default()
                };
            }
            ModelChange::Moved(ipv4, ipv6, no_ipv4, no_ipv6) => {
                let narrows = no_ipv4.is_some() || !no_ipv6.is_empty();
                if late || at_once {
                    after.doubt_removed(*no_ipv4, no_ipv6);
                    if at_once && !after.narrowed {
                        after.join(*ipv4, ipv6);
                        after.narrowed |= narrows;
                    } else {
                        after.doubt_added(*ipv4, ipv6);
                    }
                } else {
                    after.released = false;
                    after.narrowed = narrows;
                    after.take_away(*no_ipv4, no_ipv6);
                    after.add(*ipv4, ipv6);
                }
            }
        }
        after.time = known.map_or(time, |known| known.time.max(time));
        self.sessions.insert((smf, who), after);
    }

    fn counting(&self) -> impl Iterator<Item = (usize, u8, &ModelSession)> {
        let counting = self.sessions.iter().filter(|((smf, _), session)| {
            self.smfs[*smf].0 && self.smfs[*smf].2 == session.subscription
        });
        counting.map(|((smf, who), session)| (*smf, *who, session))
    }

    fn by_ipv4(&self, address: u8, domain: Option<usize>) -> Option<u8> {
        if domain.is_none() && !self.smfs.iter().all(|(counts, ..)| *counts) {
            return None;
        }
        let is_it = |own: &&(u8, usize)| own.0 == address && domain.is_none_or(|it| own.1 == it);
        let spaces = |all: &[(u8, usize)]| -> Vec<usize> {
            all.iter()
                .filter(is_it)
                .map(|(_, domain)| *domain)
                .collect()
        };
        self.only_one(
            |session| spaces(session.ipv4.as_slice()),
            |session| spaces(&session.doubted_ipv4),
        )
    }

    /// Sweeping decides when a prefix that does not count stops hiding a shorter one.
    fn by_ipv6(&self, address: Ipv6Addr) -> Option<u8> {
        let longest = |prefixes: &[usize]| {
            let prefixes = prefixes.iter().map(|index| PREFIXES[*index]);
            let nets = prefixes.map(|text| text.parse::<Ipv6Net>().unwrap());
            let holding = nets.filter(|net| net.contains(&address));
            holding.map(|net| net.prefix_len()).max()
        };
        let any = self
            .counting()
            .filter_map(|(.., session)| longest(&session.ipv6).max(longest(&session.doubted_ipv6)));
        let any = any.max()?;
        self.only_one(
            |session| Vec::from_iter((longest(&session.ipv6) == Some(any)).then_some(1)),
            |session| Vec::from_iter((longest(&session.doubted_ipv6) == Some(any)).then_some(1)),
        )
    }

    /// Who surely has it, where nobody else may. In which spaces a session has it is told by `sure`
    /// and `doubted`, the first of them no single one; who may have it stands back where it was
    /// given to another one later.
    fn only_one(
        &self,
        sure: impl Fn(&ModelSession) -> Vec<usize>,
        doubted: impl Fn(&ModelSession) -> Vec<usize>,
    ) -> Option<u8> {
        let all = |spaces: &dyn Fn(&ModelSession) -> Vec<usize>| -> Vec<_> {
            let claims = self.counting().flat_map(|(smf, who, session)| {
                let spaces = spaces(session).into_iter();
                spaces.map(move |space| (who, (smf, space), session.time))
            });
            claims.collect()
        };
        let sure = all(&sure);
        let owner = one(sure.iter().map(|(who, ..)| *who))?;
        let place = one(sure.iter().map(|(_, place, _)| *place));
        let latest = sure.iter().map(|(.., time)| *time).max()?;
        let stands_back = |(who, its, time): &(u8, (usize, usize), i64)| {
            *who == owner || place == Some(*its) && its.1 != 0 && *time < latest
        };
        all(&doubted).iter().all(stands_back).then_some(owner)
    }

    fn sweep(&mut self) {
        let smfs = self.smfs;
        self.sessions.retain(|(smf, _), session| {
            let (counts, reporting, subscription) = smfs[*smf];
            (counts || reporting) && session.subscription == subscription
        });
    }
}

fn one<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

fn addresses(own: Option<(u8, usize)>, ipv6: &[usize]) -> Addresses {
    Addresses {
        ipv4: own.map(|(last, domain)| ipv4(last, DOMAINS[domain])),
        ipv6: ipv6
            .iter()
            .map(|index| PREFIXES[*index].parse().unwrap())
            .collect(),
    }
}

fn change(change: &ModelChange) -> Change {
    match change {
        ModelChange::Established(own, ipv6) => Change::Established(addresses(*own, ipv6)),
        ModelChange::Released => Change::Released,
        ModelChange::Moved(own, ipv6, no_ipv4, no_ipv6) => Change::Moved {
            added: addresses(*own, ipv6),
            removed: addresses(no_ipv4.map(|last| (last, 0)), no_ipv6),
        },
    }
}

proptest! {
    #[test]
    fn the_table_says_what_the_model_says(steps in steps()) {
        let table = SessionTable::new(1000);
        let smfs: Vec<SmfId> = (0..2).map(|_| table.add_smf().unwrap()).collect();
        let mut parts: Vec<Part> = smfs.iter().map(|smf| table.begin(*smf)).collect();
        let mut model = Model {
            smfs: [(false, true, 1); 2],
            ..Model::default()
        };
        for step in &steps {
            match step {
                Step::Event(smf, who, time, what) => {
                    table.apply(parts[*smf], &event(*who, *time, change(what)));
                    model.apply(*smf, *who, *time, what);
                }
                Step::Begin(smf) => {
                    parts[*smf] = table.begin(smfs[*smf]);
                    let number = model.smfs[*smf].2;
                    model.smfs[*smf] = (false, true, number + 1);
                }
                Step::Complete(smf) => {
                    table.complete(parts[*smf]);
                    let (counts, reporting, number) = model.smfs[*smf];
                    model.smfs[*smf] = (counts || reporting, false, number);
                }
                Step::Distrust(smf) => {
                    table.distrust(parts[*smf]);
                    let number = model.smfs[*smf].2;
                    model.smfs[*smf] = (false, false, number);
                }
                Step::Sweep => {
                    let mut from = Some(0);
                    while let Some(place) = from {
                        from = table.sweep(place);
                    }
                    model.sweep();
                }
            }
            for last in 0..5_u8 {
                let address = Ipv4Addr::new(10, 45, 0, last);
                prop_assert_eq!(
                    table.by_ipv4(address, None),
                    model.by_ipv4(last, None).map(subscriber)
                );
                for (domain, name) in DOMAINS.iter().enumerate().skip(1) {
                    prop_assert_eq!(
                        table.by_ipv4(address, *name),
                        model.by_ipv4(last, Some(domain)).map(subscriber)
                    );
                }
            }
            for text in ADDRESSES {
                let address: Ipv6Addr = text.parse().unwrap();
                let told = table.by_ipv6(address);
                // What does not count may hide what does, and never shows.
                prop_assert!(
                    told.is_none() || told == model.by_ipv6(address).map(subscriber),
                    "{}", text
                );
            }
        }
    }

    /// Sessions move between SMFs whose clocks differ and tick slowly; words overtake each other.
    #[test]
    fn whatever_the_order_nobody_gets_the_address_of_another(
        moves in prop::collection::vec((0..3_usize, 0..6_u8, 1..4_u8, 0..2_i64), 1..40),
        skews in prop::array::uniform3(-50_i64..50),
        order in prop::collection::vec(any::<u32>(), 120),
    ) {
        let (table, parts) = table(3);
        let mut owners: BTreeMap<u8, (usize, u8)> = BTreeMap::new();
        let mut words: Vec<(Part, SessionEvent)> = Vec::new();
        let mut now = 0;
        for (smf, who, address, pause) in moves {
            now += pause;
            let told = owners.remove(&address);
            if let Some((smf, who)) = told {
                words.push((parts[smf], event(who, now + skews[smf], Change::Released)));
            }
            // A subscription has one session at an SMF here.
            let elsewhere = owners.iter().find(|(_, own)| **own == (smf, who));
            if let Some(elsewhere) = elsewhere.map(|(address, _)| *address) {
                owners.remove(&elsewhere);
                words.push((parts[smf], event(who, now + skews[smf], Change::Released)));
            }
            owners.insert(address, (smf, who));
            let established = Change::Established(only_ipv4(address));
            words.push((parts[smf], event(who, now + skews[smf], established)));
        }
        let mut words: Vec<_> = order.iter().zip(words).collect();
        words.sort_by_key(|(place, _)| **place);
        for (_, (part, word)) in &words {
            table.apply(*part, word);
        }
        for address in 1..4 {
            let told = who(&table, address);
            let owner = owners.get(&address).map(|(_, who)| subscriber(*who));
            prop_assert!(told.is_none() || told == owner, "{address}: {told:?}");
        }
    }
}
