//! What is known of an instance of a network function before it is asked: where it is, what it
//! offers, whom it serves, and how much it can take (TS 29.510 6.1.6.2.2, 6.1.6.2.3).

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use device::UeId;
use regex_lite::Regex;
use uuid::Uuid;

use super::{ApiRoot, Services};

/// The capacity of an instance that states none: weights are relative.
const USUAL_CAPACITY: u16 = 100;

/// An instance at one apiRoot.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Where it is asked.
    pub root: ApiRoot,
    /// What the NRF calls it; `None` where it was configured.
    pub nf_instance_id: Option<Uuid>,
    /// The NF sets that it belongs to.
    pub nf_sets: Vec<String>,
    /// What it offers at this apiRoot.
    pub services: Services,
    /// Not where those are that are asked first, whatever their priority.
    pub is_elsewhere: bool,
    /// Lower ones are asked first.
    pub priority: u16,
    /// Its share among those of its priority.
    pub capacity: u16,
    /// How much of its capacity is in use, in percent.
    pub load: u8,
    /// Whom it serves, said once for all the places of one instance.
    pub serves: Arc<Serves>,
}

impl From<ApiRoot> for Instance {
    /// An instance that offers everything to everybody.
    fn from(root: ApiRoot) -> Self {
        Self {
            root,
            nf_instance_id: None,
            nf_sets: Vec::new(),
            services: Services::ALL,
            is_elsewhere: false,
            priority: 0,
            capacity: USUAL_CAPACITY,
            load: 0,
            serves: Arc::default(),
        }
    }
}

/// Whom an instance serves; what is empty leaves it open.
#[derive(Debug, Clone, Default)]
pub struct Serves {
    /// Of SUPIs; instances that list the same ones in the same order serve the same subscriptions.
    pub supis: Listed<IdentityRange>,
    /// Of GPSIs.
    pub gpsis: Listed<IdentityRange>,
    /// The groups of subscriptions that it serves; which ones are in a group only the NRF can tell.
    pub groups: Vec<String>,
    /// The address spaces of private addresses.
    pub ip_domains: Listed<String>,
    /// The first and the last one of each range.
    pub ipv4: Listed<(Ipv4Addr, Ipv4Addr)>,
    /// The first and the last address of each range of prefixes.
    pub ipv6: Listed<(Ipv6Addr, Ipv6Addr)>,
}

/// What an instance lists of one kind, as far as it is read. Whoever is in none of that may be in
/// the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// What is read.
    pub read: Vec<T>,
    /// A digest of the rest in whatever order, by which two lists are told apart; zero: there is
    /// none.
    unread: u128,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T> From<Vec<T>> for Listed<T> {
    fn from(read: Vec<T>) -> Self {
        Self { read, unread: 0 }
    }
}

impl<T> Listed<T> {
    /// This is listed as well, and is not read.
    pub fn add_unread(&mut self, what: &impl Hash) {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        self.unread += u128::from(hasher.finish()) + 1;
    }

    /// Whether it is read to its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.unread == 0
    }

    /// Whether nothing is listed.
    fn is_empty(&self) -> bool {
        self.read.is_empty() && self.is_whole()
    }

    /// How well something fits that is listed where one of them `holds` it.
    fn fit(&self, holds: impl FnMut(&T) -> bool) -> Fit {
        if self.is_empty() {
            Fit::Open
        } else if self.read.iter().any(holds) {
            Fit::Stated
        } else if self.is_whole() {
            Fit::Other
        } else {
            Fit::Grouped
        }
    }
}

/// A range of identities (TS 29.510 6.1.6.2.9, 6.1.6.2.10).
#[derive(Debug, Clone)]
pub enum IdentityRange {
    /// From the first to the last number, both of them digits of the same length.
    Numbers {
        /// The first one.
        start: Box<str>,
        /// The last one.
        end: Box<str>,
    },
    /// Those that an expression describes.
    Pattern(Regex),
}

/// As it is written: two ways to write the same are two ranges.
impl PartialEq for IdentityRange {
    fn eq(&self, other: &Self) -> bool {
        self.written() == other.written()
    }
}

impl IdentityRange {
    /// As it is written, to be compared.
    pub(crate) fn written(&self) -> (&str, Option<&str>) {
        match self {
            Self::Numbers { start, end } => (start, Some(end)),
            Self::Pattern(pattern) => (pattern.as_str(), None),
        }
    }

    /// `identity` is what follows the prefix of its kind (`imsi-`) in `whole`.
    fn holds(&self, whole: &str, identity: &str) -> bool {
        match self {
            Self::Numbers { start, end } => {
                let is_number = identity.bytes().all(|byte| byte.is_ascii_digit());
                is_number
                    && identity.len() == start.len()
                    && identity.len() == end.len()
                    && (&**start..=&**end).contains(&identity)
            }
            Self::Pattern(pattern) => pattern.is_match(whole) || pattern.is_match(identity),
        }
    }
}

/// Whom a request is about, as far as it decides who is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// Nobody in particular.
    Anybody,
    /// A subscription.
    Ue(&'a UeId),
    /// A session by its IPv4 address, in an address space.
    Ipv4(Ipv4Addr, Option<&'a str>),
    /// A session by an address in its prefix.
    Ipv6(Ipv6Addr),
    /// An address on the N6 side of whoever knows it, for a proxy that chooses.
    N6(Ipv4Addr),
    /// Something that only the instances at these apiRoots know.
    Among(&'a [ApiRoot]),
    /// A subscription that the instances at these apiRoots serve.
    UeAmong(&'a UeId, &'a [ApiRoot]),
}

impl<'a> Subject<'a> {
    /// The subscription that it is about.
    pub(super) fn ue(&self) -> Option<&'a UeId> {
        match self {
            Self::Ue(ue) | Self::UeAmong(ue, _) => Some(ue),
            Self::Anybody | Self::Ipv4(..) | Self::Ipv6(_) | Self::N6(_) | Self::Among(_) => None,
        }
    }

    /// Whether the instance at this apiRoot may know it at all.
    pub(super) fn allows(&self, root: &ApiRoot) -> bool {
        match self {
            Self::Among(roots) | Self::UeAmong(_, roots) => roots.contains(root),
            Self::Anybody | Self::Ue(_) | Self::Ipv4(..) | Self::Ipv6(_) | Self::N6(_) => true,
        }
    }
}

/// How well an instance fits a subject: the better one is the lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It says that it serves it.
    Stated,
    /// It does not say.
    Open,
    /// It serves some, and does not tell whether this is one of them: a group, SUPIs where a public
    /// name is asked for, or more than is read.
    Grouped,
    /// It serves others.
    Other,
}

impl Fit {
    /// Both have to hold, as far as they are stated.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Other, _) | (_, Self::Other) => Self::Other,
            (Self::Grouped, _) | (_, Self::Grouped) => Self::Grouped,
            (Self::Stated, _) | (_, Self::Stated) => Self::Stated,
            (Self::Open, Self::Open) => Self::Open,
        }
    }
}

impl Serves {
    /// Whether it leaves everything open but, perhaps, who is in a group.
    pub(crate) fn is_open(&self) -> bool {
        self.supis.is_empty()
            && self.gpsis.is_empty()
            && self.ip_domains.is_empty()
            && self.ipv4.is_empty()
            && self.ipv6.is_empty()
    }

    pub(super) fn fit(&self, subject: Subject<'_>) -> Fit {
        match subject {
            Subject::Anybody | Subject::N6(_) | Subject::Among(_) | Subject::UeAmong(..) => {
                Fit::Open
            }
            Subject::Ue(ue) => {
                let ranges = match ue {
                    UeId::Supi(_) => &self.supis,
                    UeId::Gpsi(_) => &self.gpsis,
                };
                if ranges.is_empty() {
                    let is_of_supis = matches!(ue, UeId::Gpsi(_)) && !self.supis.is_empty();
                    return if is_of_supis || !self.groups.is_empty() {
                        Fit::Grouped
                    } else {
                        Fit::Open
                    };
                }
                let whole = ue.reveal().to_string();
                let identity = whole.split_once('-').map_or(&*whole, |(_, rest)| rest);
                ranges.fit(|range| range.holds(&whole, identity))
            }
            Subject::Ipv4(address, ip_domain) => {
                let by_domain = ip_domain.map_or(Fit::Open, |domain| {
                    self.ip_domains.fit(|known| known == domain)
                });
                by_domain.and(self.ipv4.fit(within(&address)))
            }
            Subject::Ipv6(address) => self.ipv6.fit(within(&address)),
        }
    }
}

fn within<T: PartialOrd>(address: &T) -> impl Fn(&(T, T)) -> bool {
    move |(first, last)| (first..=last).contains(&address)
}

#[cfg(test)]
mod tests {
    use device::{Gpsi, Supi};

    use super::*;

    fn numbers(start: &str, end: &str) -> IdentityRange {
        IdentityRange::Numbers {
            start: start.into(),
            end: end.into(),
        }
    }

    #[test]
    fn a_subscription_is_served_where_a_range_holds_it() {
        let serves = Serves {
            supis: vec![
                numbers("001010000000001", "001010000000009"),
                IdentityRange::Pattern(Regex::new("^(?:imsi-00102[0-9]{10})$").unwrap()),
            ]
            .into(),
            ..Serves::default()
        };
        for (supi, fit) in [
            ("imsi-001010000000001", Fit::Stated),
            ("imsi-001010000000009", Fit::Stated),
            ("imsi-001010000000010", Fit::Other),
            ("imsi-00101000000001", Fit::Other),
            ("imsi-001020000000001", Fit::Stated),
            ("nai-a@b", Fit::Other),
        ] {
            let ue = UeId::from(Supi::parse(supi).unwrap());
            assert_eq!(serves.fit(Subject::Ue(&ue)), fit, "{supi}");
        }
        let ue = UeId::from(Gpsi::parse("msisdn-34600000002").unwrap());
        assert_eq!(serves.fit(Subject::Ue(&ue)), Fit::Grouped);
        assert!(!serves.is_open());
    }

    #[test]
    fn a_session_is_served_by_domain_and_range() {
        let serves = Serves {
            ip_domains: vec!["nat-a".to_owned()].into(),
            ipv4: vec![([10, 45, 0, 0].into(), [10, 45, 255, 255].into())].into(),
            ..Serves::default()
        };
        let inside = Ipv4Addr::new(10, 45, 0, 1);
        for (address, domain, fit) in [
            (inside, Some("nat-a"), Fit::Stated),
            (inside, Some("nat-b"), Fit::Other),
            (inside, None, Fit::Stated),
            (Ipv4Addr::new(10, 46, 0, 1), Some("nat-a"), Fit::Other),
        ] {
            assert_eq!(
                serves.fit(Subject::Ipv4(address, domain)),
                fit,
                "{domain:?}"
            );
        }
        assert_eq!(serves.fit(Subject::Ipv6(Ipv6Addr::LOCALHOST)), Fit::Open);
    }

    #[test]
    fn whoever_is_not_in_what_is_read_may_be_in_the_rest() {
        let mut serves = Serves {
            supis: vec![numbers("001010000000001", "001010000000009")].into(),
            ip_domains: vec!["nat-a".to_owned()].into(),
            ipv4: vec![([10, 45, 0, 0].into(), [10, 45, 255, 255].into())].into(),
            ..Serves::default()
        };
        serves.supis.add_unread(&"(");
        serves.ipv4.add_unread(&"10.46.0.0-");
        serves.ipv6.add_unread(&"2001:db8::");
        for (supi, fit) in [
            ("imsi-001010000000001", Fit::Stated),
            ("imsi-001010000000010", Fit::Grouped),
        ] {
            let ue = UeId::from(Supi::parse(supi).unwrap());
            assert_eq!(serves.fit(Subject::Ue(&ue)), fit, "{supi}");
        }
        let (inside, outside) = (Ipv4Addr::new(10, 45, 0, 1), Ipv4Addr::new(10, 46, 0, 1));
        for (address, domain, fit) in [
            (inside, Some("nat-a"), Fit::Stated),
            (outside, Some("nat-a"), Fit::Grouped),
            (outside, Some("nat-b"), Fit::Other),
            (outside, None, Fit::Grouped),
        ] {
            assert_eq!(
                serves.fit(Subject::Ipv4(address, domain)),
                fit,
                "{domain:?}"
            );
        }
        assert_eq!(serves.fit(Subject::Ipv6(Ipv6Addr::LOCALHOST)), Fit::Grouped);
        assert!(!serves.is_open());
    }

    #[test]
    fn lists_are_alike_whatever_the_order_of_what_is_not_read() {
        let list = |unread: &[&str]| {
            let mut listed = Listed::from(vec![1]);
            for text in unread {
                listed.add_unread(text);
            }
            listed
        };
        assert_eq!(list(&["a", "b"]), list(&["b", "a"]));
        for other in [&["a"][..], &["a", "b", "b"], &["a", "c"], &[]] {
            assert_ne!(list(&["a", "b"]), list(other));
        }
    }
}
