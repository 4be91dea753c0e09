//! The profile of an instance, as the NRF tells it: where each of its services is, and whom it
//! serves (TS 29.510 6.2.6.2.3, 6.2.6.2.4). Members that are not read may have any form.

mod serves;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::sbi::{ApiRoot, Error, Instance, Serves, ServiceName, Services, from_json};
use serves::ServesJson;

/// Of one service: it may state many addresses of the same process.
const MOST_ENDPOINTS: usize = 4;
/// Of one search: more instances of one function than a core has.
const MOST_INSTANCES: usize = 256;
/// Of one profile: far more places than one instance is at.
const MOST_OF_PROFILE: usize = 32;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SearchResultJson {
    /// Whatever it is: a result whose period cannot be read is a result all the same.
    validity_period: Option<Value>,
    #[serde(default)]
    nf_instances: Vec<Value>,
}

/// What a search found.
pub(super) struct SearchResult {
    pub(super) instances: Vec<Instance>,
    /// In seconds.
    pub(super) validity_period: Option<u64>,
    /// The profiles that were there, whether or not we can use them.
    pub(super) profiles: usize,
    pub(super) unread: Unread,
}

impl SearchResult {
    /// For how long it holds, at most for the longest.
    pub(super) fn period(&self, longest: Duration) -> Duration {
        self.validity_period
            .map_or(longest, |seconds| Duration::from_secs(seconds).min(longest))
    }
}

impl SearchResultJson {
    /// What was found; instances that are not at the preferred locality come second, whatever the
    /// NRF made of their priorities.
    pub(super) fn found(self, preferred_locality: Option<&str>) -> SearchResult {
        let profiles = self.nf_instances.len();
        let mut instances = Vec::new();
        let mut unread = Unread::default();
        for profile in self.nf_instances {
            if instances.len() >= MOST_INSTANCES {
                break;
            }
            // One profile that cannot be read takes nothing from the others.
            match serde_json::from_value::<ProfileJson>(profile) {
                Ok(profile) => {
                    instances.extend(profile.instances(preferred_locality, &mut unread));
                }
                Err(_) => unread.profiles += 1,
            }
        }
        instances.truncate(MOST_INSTANCES);
        SearchResult {
            instances,
            validity_period: self.validity_period.as_ref().and_then(Value::as_u64),
            profiles,
            unread,
        }
    }
}

/// How much of one result could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Unread {
    profiles: usize,
    /// Ranges and IP domains, whether they cannot be understood or are too many.
    ranges: usize,
}

impl Unread {
    /// Says so in the log, where there is anything, of the profiles of this type.
    pub(super) fn report(self, nf: &'static str) {
        let Self { profiles, ranges } = self;
        if profiles + ranges > 0 {
            tracing::warn!(
                nf,
                profiles,
                ranges,
                "profiles, or ranges in them, cannot be read or are too many"
            );
        }
    }
}

/// Reads a `SearchResult` of TS 29.510. For any bytes: the instances, or [`Error::BadAnswer`].
pub fn instances_from_json(body: &[u8]) -> Result<Vec<Instance>, Error> {
    let json: SearchResultJson = from_json(body)?;
    Ok(json.found(None).instances)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProfileJson {
    nf_instance_id: Option<String>,
    nf_status: Option<String>,
    fqdn: Option<String>,
    #[serde(default)]
    ipv4_addresses: Vec<Ipv4Addr>,
    #[serde(default)]
    ipv6_addresses: Vec<Ipv6Addr>,
    priority: Option<u16>,
    capacity: Option<u16>,
    load: Option<u8>,
    locality: Option<String>,
    #[serde(default)]
    nf_set_id_list: Vec<String>,
    #[serde(default)]
    nf_services: Vec<ServiceJson>,
    #[serde(default)]
    nf_service_list: HashMap<String, ServiceJson>,
    udm_info: Option<ServesJson>,
    #[serde(default)]
    udm_info_list: BTreeMap<String, ServesJson>,
    bsf_info: Option<ServesJson>,
    #[serde(default)]
    bsf_info_list: BTreeMap<String, ServesJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceJson {
    service_name: String,
    scheme: Option<String>,
    nf_service_status: Option<String>,
    fqdn: Option<String>,
    #[serde(default)]
    ip_end_points: Vec<IpEndPointJson>,
    api_prefix: Option<String>,
    priority: Option<u16>,
    capacity: Option<u16>,
    load: Option<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IpEndPointJson {
    ipv4_address: Option<Ipv4Addr>,
    ipv6_address: Option<Ipv6Addr>,
    port: Option<u16>,
}

fn is_registered(status: Option<&str>) -> bool {
    status.is_none_or(|status| status == "REGISTERED")
}

impl ProfileJson {
    pub(super) fn nf_instance_id(&self) -> Option<Uuid> {
        self.nf_instance_id.as_deref()?.parse().ok()
    }

    /// Whether it may be asked; one that is suspended or undiscoverable may not.
    pub(super) fn is_registered(&self) -> bool {
        is_registered(self.nf_status.as_deref())
    }

    /// The instance, once for each apiRoot at which one or more of its services are.
    fn instances(self, preferred_locality: Option<&str>, unread: &mut Unread) -> Vec<Instance> {
        if !self.is_registered() {
            return Vec::new();
        }
        let is_elsewhere =
            preferred_locality.is_some() && self.locality.as_deref() != preferred_locality;
        let serves = Arc::new(self.serves(unread));
        let mut instances: Vec<Instance> = Vec::new();
        for service in self.nf_services.iter().chain(self.nf_service_list.values()) {
            let Some(name) = ServiceName::by_name(&service.service_name) else {
                continue;
            };
            if !is_registered(service.nf_service_status.as_deref()) {
                continue;
            }
            for root in self.roots(service).into_iter().take(MOST_ENDPOINTS) {
                if let Some(known) = instances.iter_mut().find(|known| known.root == root) {
                    known.services = known.services.with(name);
                    continue;
                }
                if instances.len() >= MOST_OF_PROFILE {
                    break;
                }
                let plain = Instance::from(root);
                instances.push(Instance {
                    nf_instance_id: self.nf_instance_id(),
                    nf_sets: self.nf_set_id_list.clone(),
                    services: Services::NONE.with(name),
                    is_elsewhere,
                    // What is said of the service is nearer than what is said of the whole.
                    priority: service.priority.or(self.priority).unwrap_or(plain.priority),
                    capacity: service.capacity.or(self.capacity).unwrap_or(plain.capacity),
                    load: service.load.or(self.load).unwrap_or(plain.load),
                    serves: Arc::clone(&serves),
                    ..plain
                });
            }
        }
        instances
    }

    /// Where a service is: at its own addresses or name, else at those of the instance. A
    /// certificate is made out to a name, so with TLS names come first (TS 29.500 5.2.2.2).
    fn roots(&self, service: &ServiceJson) -> Vec<ApiRoot> {
        let scheme = match service.scheme.as_deref() {
            Some("https") => "https",
            _ => "http",
        };
        let port = service.ip_end_points.iter().find_map(|point| point.port);
        let by_address = service.ip_end_points.iter().filter_map(|point| {
            let ipv4 = point.ipv4_address.map(|address| address.to_string());
            let host = ipv4.or(point.ipv6_address.map(|address| format!("[{address}]")))?;
            Some((host, point.port))
        });
        let by_address: Vec<_> = by_address.collect();
        let by_name = |name: &Option<String>| name.clone().map(|name| vec![(name, port)]);
        let of_service = by_name(&service.fqdn);
        let of_instance = by_name(&self.fqdn);
        let ipv4 = self.ipv4_addresses.iter().map(Ipv4Addr::to_string);
        let ipv6 = self
            .ipv6_addresses
            .iter()
            .map(|address| format!("[{address}]"));
        let last = || ipv4.chain(ipv6).map(|host| (host, port)).collect();
        let hosts = if scheme == "https" {
            of_service
                .or(of_instance)
                .or((!by_address.is_empty()).then_some(by_address))
                .unwrap_or_else(last)
        } else if !by_address.is_empty() {
            by_address
        } else if let Some(of_service) = of_service {
            of_service
        } else {
            let addresses: Vec<_> = last();
            if addresses.is_empty() {
                of_instance.unwrap_or_default()
            } else {
                addresses
            }
        };
        let prefix = service.api_prefix.as_deref().unwrap_or_default();
        let prefix = prefix.trim_matches('/');
        let root = |(host, port): (String, Option<u16>)| {
            let mut root = format!("{scheme}://{host}");
            if let Some(port) = port {
                let _ = write!(root, ":{port}");
            }
            if !prefix.is_empty() {
                let _ = write!(root, "/{prefix}");
            }
            root.parse().ok()
        };
        hosts.into_iter().filter_map(root).collect()
    }

    fn serves(&self, unread: &mut Unread) -> Serves {
        let udms = self.udm_info.iter().chain(self.udm_info_list.values());
        let bsfs = self.bsf_info.iter().chain(self.bsf_info_list.values());
        let (serves, ranges) = serves::all_of(udms, bsfs);
        unread.ranges += ranges;
        serves
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn roots(profile: &Value) -> Vec<String> {
        let profile: ProfileJson = serde_json::from_value(profile.clone()).unwrap();
        let instances = profile.instances(None, &mut Unread::default());
        instances.iter().map(|one| one.root.to_string()).collect()
    }

    #[test]
    fn a_service_is_where_the_nearest_address_says() {
        let address = json!([{"ipv4Address": "127.0.0.20", "port": 7777}]);
        for (service, expected) in [
            (
                json!({"scheme": "http", "ipEndPoints": address, "fqdn": "a.example"}),
                "http://127.0.0.20:7777",
            ),
            (
                json!({"scheme": "https", "ipEndPoints": address, "fqdn": "a.example"}),
                "https://a.example:7777",
            ),
            (
                json!({"scheme": "https", "ipEndPoints": address}),
                "https://udm.example:7777",
            ),
            (
                json!({"scheme": "http", "fqdn": "a.example"}),
                "http://a.example",
            ),
            (json!({"scheme": "http"}), "http://192.0.2.1"),
            (
                json!({"scheme": "http", "ipEndPoints": [{"port": 81}]}),
                "http://192.0.2.1:81",
            ),
            (
                json!({"ipEndPoints": [{"ipv6Address": "2001:db8::1"}], "apiPrefix": "/a/b"}),
                "http://[2001:db8::1]/a/b",
            ),
        ] {
            let mut service = service;
            service["serviceName"] = json!("nudm-uecm");
            let profile = json!({
                "nfInstanceId": "54804518-4191-46b3-955c-ac631f953ed8", "nfStatus": "REGISTERED",
                "fqdn": "udm.example", "ipv4Addresses": ["192.0.2.1"], "nfServices": [service],
            });
            assert_eq!(roots(&profile), [expected], "{service}");
        }
    }

    #[test]
    fn services_at_one_place_are_one_instance_in_list_and_map() {
        let at = |name: &str, port: u16, status: &str| {
            json!({"serviceName": name, "nfServiceStatus": status, "priority": 7,
                   "ipEndPoints": [{"ipv4Address": "127.0.0.1", "port": port}]})
        };
        let profile = json!({
            "nfInstanceId": "54804518-4191-46b3-955c-ac631f953ed8", "priority": 3, "capacity": 50, "load": 9,
            "nfServices": [at("nudm-uecm", 1, "REGISTERED"), at("nudm-xyz", 2, "REGISTERED")],
            "nfServiceList": {"1": at("nudm-sdm", 1, "REGISTERED"), "2": at("nudm-ee", 3, "SUSPENDED")},
        });
        let profile: ProfileJson = serde_json::from_value(profile).unwrap();
        let instances = profile.instances(None, &mut Unread::default());
        let [only] = &*instances else {
            panic!("{instances:?}")
        };
        assert_eq!((only.priority, only.capacity, only.load), (7, 50, 9));
        assert!(only.services.contains(ServiceName::NudmUecm));
        assert!(only.services.contains(ServiceName::NudmSdm));
        assert!(!only.services.contains(ServiceName::NudmEe));
    }

    #[test]
    fn only_a_registered_instance_is_one() {
        for (status, count) in [("REGISTERED", 1), ("SUSPENDED", 0), ("UNDISCOVERABLE", 0)] {
            let profile = json!({"nfStatus": status, "ipv4Addresses": ["192.0.2.1"],
                                 "nfServices": [{"serviceName": "nudm-sdm"}]});
            assert_eq!(roots(&profile).len(), count, "{status}");
        }
    }

    #[test]
    fn one_bad_profile_spoils_no_other() {
        let good =
            json!({"ipv4Addresses": ["192.0.2.1"], "nfServices": [{"serviceName": "nudm-sdm"}]});
        let body = json!({"nfInstances": [{"nfServices": 7}, good]}).to_string();
        assert_eq!(instances_from_json(body.as_bytes()).unwrap().len(), 1);
        assert!(instances_from_json(b"[]").is_err());
    }

    #[test]
    fn any_period_is_a_period_or_none() {
        for (period, seconds) in [
            (json!(30), Some(30)),
            (json!(u64::MAX), Some(u64::MAX)),
            (json!(-1), None),
            (json!(1.5), None),
            (json!("30"), None),
            (json!(null), None),
        ] {
            let json = json!({"validityPeriod": period, "nfInstances": []});
            let result = serde_json::from_value::<SearchResultJson>(json).unwrap();
            let result = result.found(None);
            assert_eq!(result.validity_period, seconds, "{period}");
            assert!(result.period(Duration::from_mins(1)) <= Duration::from_mins(1));
        }
    }

    #[test]
    fn an_instance_is_elsewhere_that_does_not_say_that_it_is_near() {
        let service = json!([{"serviceName": "nudm-sdm"}]);
        let profile = |locality: Value, host: &str| json!({"locality": locality, "fqdn": host, "nfServices": service});
        let profiles = json!({"nfInstances": [
            profile(json!("north"), "a.example"),
            profile(json!("North"), "b.example"),
            profile(Value::Null, "c.example"),
        ]});
        for (preferred, elsewhere) in [
            (Some("north"), [false, true, true]),
            (None, [false, false, false]),
        ] {
            let json: SearchResultJson = serde_json::from_value(profiles.clone()).unwrap();
            let found = json.found(preferred).instances;
            let found: Vec<_> = found.iter().map(|one| one.is_elsewhere).collect();
            assert_eq!(found, elsewhere, "{preferred:?}");
        }
    }

    /// An NRF, or whoever is taken for one, that says as much as one answer can hold.
    #[test]
    fn a_result_out_of_all_proportion_is_held_within_bounds() {
        let at = |number: usize| {
            json!({"serviceName": "nudm-sdm",
                   "ipEndPoints": (0..8).map(|port| json!({"ipv4Address": "127.0.0.1",
                        "port": 1 + number * 8 + port})).collect::<Vec<_>>()})
        };
        let many = |value: Value| vec![value; 3_000];
        let profile = json!({
            "nfServices": (0..1_000).map(at).collect::<Vec<_>>(),
            "udmInfo": {"supiRanges": many(json!({"start": "1", "end": "2"})),
                        "gpsiRanges": many(json!({"pattern": "a"}))},
            "bsfInfo": {"ipDomainList": many(json!("a")),
                        "ipv4AddressRanges": many(json!({"start": "10.0.0.0", "end": "10.0.0.1"})),
                        "ipv6PrefixRanges": many(json!({"start": "::/64", "end": "::/64"}))},
        });
        let body = json!({"nfInstances": [profile]}).to_string();
        let instances = instances_from_json(body.as_bytes()).unwrap();
        assert_eq!(instances.len(), MOST_OF_PROFILE);
        let serves = &instances[0].serves;
        assert!(instances.iter().all(|one| Arc::ptr_eq(&one.serves, serves)));
        let lengths = [
            serves.supis.read.len(),
            serves.ip_domains.read.len(),
            serves.ipv4.read.len(),
            serves.ipv6.read.len(),
        ];
        assert_eq!(lengths, [serves::MOST_RANGES; 4]);
        assert_eq!(serves.gpsis.read.len(), serves::MOST_PATTERNS);
        let profile =
            json!({"ipv4Addresses": ["192.0.2.1"], "nfServices": [{"serviceName": "nudm-sdm"}]});
        let body = json!({"nfInstances": vec![profile; 1_000]}).to_string();
        let instances = instances_from_json(body.as_bytes()).unwrap();
        assert_eq!(instances.len(), MOST_INSTANCES);
    }

    #[test]
    fn whom_it_serves_is_read_from_either_place() {
        let info = |first: &str| json!({"supiRanges": [{"start": first, "end": "9"}, {}]});
        let profile = json!({
            "udmInfo": info("1"), "udmInfoList": {"1": info("2")},
            "bsfInfo": {"ipDomainList": ["nat-a"]}, "bsfInfoList": {"1": {"ipDomainList": ["nat-b"]}},
        });
        let profile: ProfileJson = serde_json::from_value(profile).unwrap();
        let mut unread = Unread::default();
        let serves = profile.serves(&mut unread);
        assert_eq!(unread.ranges, 2);
        assert_eq!(
            (serves.supis.read.len(), serves.ip_domains.read.len()),
            (2, 2)
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_instances_or_an_error(body: Vec<u8>) {
            let _ = instances_from_json(&body);
        }
    }
}
