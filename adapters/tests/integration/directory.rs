//! Who is responsible for an address or a subscription, where only the NRF can tell.

use std::collections::BTreeSet;

use adapters::nrf::{Criteria, DiscoverySettings, N6Directory, SubscriberDirectory};
use adapters::sbi::{
    Client, Error, IdentityRange, Instance, NfType, Serves, ServiceName, Services,
};
use adapters::udm::{AmfRegistration, Udm};
use adapters::upf::Upf;
use device::{Gpsi, Supi, UeId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::core::{Asked, Core, Reply, client, eventually, quick, soon};

const NONE: Result<AmfRegistration, Error> = Ok(AmfRegistration::Unspecified);
pub(crate) const SUBSCRIBER: &str = r#"{"supi":"imsi-001010000000001"}"#;

fn criteria(nf_type: NfType, service: ServiceName) -> Criteria {
    Criteria {
        nf_type,
        services: vec![service],
        requester_nf_type: "NEF".to_owned(),
        requester_nf_instance_id: Uuid::nil(),
        dnn: None,
        snssais: Vec::new(),
        plmns: Vec::new(),
        preferred_locality: None,
        nf_set: None,
    }
}

/// A search result with one instance at each port.
pub(crate) fn found(service: &str, ports: &[u16]) -> Reply {
    let profile = |port: &u16| {
        json!({"nfInstanceId": Uuid::from_u128(u128::from(*port)).to_string(),
               "nfStatus": "REGISTERED",
               "nfServices": [{"serviceName": service,
                               "ipEndPoints": [{"ipv4Address": "127.0.0.1", "port": port}]}]})
    };
    let profiles: Vec<Value> = ports.iter().map(profile).collect();
    let body = json!({"validityPeriod": 3600, "nfInstances": profiles});
    Reply::json(200, body.to_string())
}

pub(crate) fn nrf_at(root: adapters::sbi::ApiRoot) -> Client {
    client(NfType::Nrf, vec![root], &quick())
}

/// A client of these instances.
fn of(nf_type: NfType, instances: Vec<Instance>) -> Client {
    let client = client(nf_type, Vec::new(), &quick());
    client.replace(instances);
    client
}

fn upf(nrf: &Client, instances: Vec<Instance>) -> Upf {
    let client = of(NfType::Upf, instances);
    let criteria = criteria(NfType::Upf, ServiceName::NupfGueip);
    let settings = DiscoverySettings::default();
    Upf::with_directory(&client, N6Directory::new(nrf, &client, criteria, &settings))
}

async fn finds(upf: &Upf, last: u8) -> Result<bool, Error> {
    let found = upf.ue_ip_info([198, 51, 100, last].into(), 1024, soon());
    Ok(found.await?.is_some())
}

async fn knowing() -> Core {
    Core::start(|_, _| Reply::json(200, SUBSCRIBER)).await
}

pub(crate) async fn ignorant() -> Core {
    Core::start(|_, _| Reply::status(404)).await
}

#[tokio::test]
async fn without_the_nrf_every_known_upf_is_asked_for_an_address() {
    let dead = "http://127.0.0.1:1".parse().unwrap();
    let (knows, ignores) = (knowing().await, ignorant().await);
    let instances = vec![ignores.root().into(), knows.root().into()];
    let upf_of_both = upf(&nrf_at(dead), instances);
    for last in 0..5 {
        assert_eq!(finds(&upf_of_both, last).await, Ok(true));
    }
    // Nobody knows it only where all of them say so.
    let dead: adapters::sbi::ApiRoot = "http://127.0.0.1:1".parse().unwrap();
    let upf_of_one = upf(&nrf_at(dead.clone()), vec![ignores.root().into()]);
    assert_eq!(finds(&upf_of_one, 9).await, Ok(false));
    let one_is_gone = vec![ignores.root().into(), dead.clone().into()];
    let upf_of_one = upf(&nrf_at(dead.clone()), one_is_gone);
    assert_eq!(finds(&upf_of_one, 9).await, Err(Error::Unreachable));
    let without_upfs = upf(&nrf_at(dead), Vec::new());
    assert_eq!(finds(&without_upfs, 9).await, Err(Error::Unreachable));
}

#[tokio::test]
async fn of_several_configured_upfs_the_one_that_has_an_address_answers() {
    let (knows, ignores) = (knowing().await, ignorant().await);
    let upfs = |instances: Vec<Instance>| Upf::new(&of(NfType::Upf, instances));
    let both = upfs(vec![ignores.root().into(), knows.root().into()]);
    for _ in 0..10 {
        assert_eq!(finds(&both, 1).await, Ok(true));
    }
    assert_eq!(
        ignores.asked().len(),
        1,
        "once it is known, nobody else is asked"
    );
    assert_eq!(
        finds(&upfs(vec![ignores.root().into()]), 1).await,
        Ok(false)
    );
    let another = ignorant().await;
    let two_ignore = upfs(vec![ignores.root().into(), another.root().into()]);
    assert_eq!(finds(&two_ignore, 1).await, Ok(false));
    let dead: adapters::sbi::ApiRoot = "http://127.0.0.1:1".parse().unwrap();
    let one_is_gone = upfs(vec![ignores.root().into(), dead.into()]);
    assert_eq!(finds(&one_is_gone, 1).await, Err(Error::Unreachable));
}

#[tokio::test]
async fn an_address_that_moved_to_another_upf_is_found_there() {
    let turns = |first: u16, later: u16| {
        Core::start(move |_, n| match if n == 0 { first } else { later } {
            200 => Reply::json(200, SUBSCRIBER),
            status => Reply::status(status),
        })
    };
    let (before, after) = (turns(200, 404).await, turns(404, 200).await);
    let upf = Upf::new(&of(
        NfType::Upf,
        vec![before.root().into(), after.root().into()],
    ));
    for _ in 0..3 {
        assert_eq!(finds(&upf, 1).await, Ok(true));
    }
}

#[tokio::test]
async fn an_nrf_that_is_silent_leaves_time_to_ask_the_upfs() {
    let nrf = Core::start(|_, _| Reply::Hang).await;
    let knows = knowing().await;
    let upf = upf(&nrf_at(nrf.root()), vec![knows.root().into()]);
    assert_eq!(finds(&upf, 1).await, Ok(true));
    // And nobody waits for it a second time.
    assert_eq!(finds(&upf, 2).await, Ok(true));
    assert_eq!(nrf.asked().len(), 1);
}

#[tokio::test]
async fn an_upf_that_is_gone_is_looked_for_anew() {
    let [first, second] = [knowing().await, knowing().await];
    let ports = [first.address.port(), second.address.port()];
    let nrf = Core::start(move |_, n| found("nupf-gueip", &ports[n.min(1)..=n.min(1)])).await;
    let client = of(NfType::Upf, vec![first.root().into()]);
    let criteria = criteria(NfType::Upf, ServiceName::NupfGueip);
    let (nrf_client, settings) = (nrf_at(nrf.root()), DiscoverySettings::default());
    let directory = N6Directory::new(&nrf_client, &client, criteria, &settings);
    let upf = Upf::with_directory(&client, directory);
    for _ in 0..3 {
        assert_eq!(finds(&upf, 1).await, Ok(true));
    }
    assert_eq!((nrf.asked().len(), first.asked().len()), (1, 3));
    client.replace(Vec::new());
    // The NRF names one that no search has named before.
    assert_eq!(finds(&upf, 1).await, Ok(true));
    assert_eq!((nrf.asked().len(), second.asked().len()), (2, 1));
}

/// An instance that serves these SUPIs or groups.
pub(crate) fn serving(core: &Core, supis: Option<(&str, &str)>, group: Option<&str>) -> Instance {
    let range = |(start, end): (&str, &str)| IdentityRange::Numbers {
        start: start.into(),
        end: end.into(),
    };
    Instance {
        services: Services::NONE.with(ServiceName::NudmUecm),
        serves: Serves {
            supis: supis.map(range).into_iter().collect::<Vec<_>>().into(),
            groups: group.map(str::to_owned).into_iter().collect(),
            ..Serves::default()
        }
        .into(),
        ..core.root().into()
    }
}

pub(crate) fn udm(nrf: &Client, instances: Vec<Instance>) -> Udm {
    let client = of(NfType::Udm, instances);
    let criteria = criteria(NfType::Udm, ServiceName::NudmUecm);
    let settings = DiscoverySettings::default();
    let directory = SubscriberDirectory::new(nrf, &client, criteria, &settings);
    Udm::with_directory(client, directory)
}

pub(crate) async fn ask(udm: &Udm, ue: &UeId) -> Result<AmfRegistration, Error> {
    udm.amf_3gpp_access_registration(ue, soon()).await
}

fn supi(text: &str) -> UeId {
    Supi::parse(text).unwrap().into()
}

#[tokio::test]
async fn whose_group_nobody_tells_is_searched_for_once() {
    let groups = [ignorant().await, ignorant().await];
    let ports = [groups[0].address.port(), groups[1].address.port()];
    let of_second = |asked: &Asked| asked.path.contains("supi=imsi-001010000000002");
    let nrf = Core::start(move |asked, _| {
        let is_second = usize::from(of_second(asked));
        found("nudm-uecm", &ports[is_second..=is_second])
    })
    .await;
    let instances = vec![
        serving(&groups[0], None, Some("a")),
        serving(&groups[1], None, Some("b")),
    ];
    let udm = udm(&nrf_at(nrf.root()), instances);
    for _ in 0..5 {
        assert_eq!(ask(&udm, &supi("imsi-001010000000001")).await, NONE);
        assert_eq!(ask(&udm, &supi("imsi-001010000000002")).await, NONE);
    }
    let gpsi = Gpsi::parse("extid-a/b@example.com").unwrap().into();
    assert_eq!(ask(&udm, &gpsi).await, NONE);
    assert_eq!(groups[1].asked().len(), 5);
    assert_eq!(groups[0].asked().len(), 6);
    let searches = nrf.asked();
    assert_eq!(searches.len(), 3);
    assert!(
        searches[2]
            .path
            .ends_with("&gpsi=extid-a%2Fb%40example.com")
    );
    // The request says itself whom it is about.
    let correlation = &groups[1].asked()[0].headers["3gpp-sbi-correlation-info"];
    assert_eq!(correlation, "imsi-001010000000002");
}

#[tokio::test]
async fn nobody_is_searched_for_where_the_profiles_tell() {
    let cores = [ignorant().await, ignorant().await];
    let nrf = Core::start(|_, _| Reply::status(500)).await;
    let range = Some(("001010000000001", "001010000000009"));
    for instances in [
        vec![serving(&cores[0], None, None)],
        vec![serving(&cores[0], range, None)],
        // One group is served by all.
        vec![
            serving(&cores[0], None, Some("a")),
            serving(&cores[1], None, Some("a")),
        ],
        vec![
            serving(&cores[0], range, Some("a")),
            serving(&cores[1], None, Some("b")),
        ],
    ] {
        let udm = udm(&nrf_at(nrf.root()), instances);
        assert_eq!(ask(&udm, &supi("imsi-001010000000001")).await, NONE);
    }
    assert!(nrf.asked().is_empty());
}

#[tokio::test]
async fn one_that_no_known_range_holds_is_searched_for_and_found_elsewhere() {
    let (other, new) = (ignorant().await, ignorant().await);
    let port = new.address.port();
    let nrf = Core::start(move |_, _| found("nudm-uecm", &[port])).await;
    let range = Some(("001010000000001", "001010000000009"));
    let udm = udm(&nrf_at(nrf.root()), vec![serving(&other, range, None)]);
    for _ in 0..3 {
        assert_eq!(ask(&udm, &supi("imsi-001010000000099")).await, NONE);
    }
    assert_eq!(nrf.asked().len(), 1);
    assert_eq!((other.asked().len(), new.asked().len()), (0, 3));
}

#[tokio::test]
async fn without_the_nrf_a_group_is_not_guessed() {
    let groups = [ignorant().await, ignorant().await];
    let dead = "http://127.0.0.1:1".parse().unwrap();
    let instances = vec![
        serving(&groups[0], None, Some("a")),
        serving(&groups[1], None, Some("b")),
    ];
    let udm_of_groups = udm(&nrf_at(dead), instances);
    let ue = supi("imsi-001010000000001");
    assert_eq!(ask(&udm_of_groups, &ue).await, Err(Error::Unreachable));
    // Nobody has a subscription that is in no range: whoever is asked says so.
    let dead = "http://127.0.0.1:1".parse().unwrap();
    let range = Some(("001010000000002", "001010000000009"));
    let udm_of_range = udm(&nrf_at(dead), vec![serving(&groups[0], range, None)]);
    assert_eq!(ask(&udm_of_range, &ue).await, NONE);
}

#[tokio::test]
async fn numbers_that_are_made_up_do_not_storm_the_nrf() {
    let core = ignorant().await;
    let nrf = Core::start(|_, _| found("nudm-uecm", &[])).await;
    let range = Some(("001010000000001", "001010000000009"));
    let udm = udm(&nrf_at(nrf.root()), vec![serving(&core, range, None)]);
    let begun = tokio::time::Instant::now();
    for number in 0..1_000 {
        let ue = supi(&format!("imsi-00102{number:010}"));
        assert_eq!(ask(&udm, &ue).await, NONE);
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    let searches: BTreeSet<_> = nrf.asked().into_iter().map(|asked| asked.path).collect();
    assert!(searches.len() <= (seconds + 1) * 100, "{}", searches.len());
    eventually("each number was asked for", || core.asked().len() == 1_000).await;
}

#[tokio::test]
async fn addresses_that_are_made_up_storm_neither_the_nrf_nor_the_upfs() {
    let (nrf, knows) = (
        Core::start(|_, _| found("nupf-gueip", &[])).await,
        knowing().await,
    );
    let upf = upf(&nrf_at(nrf.root()), vec![knows.root().into()]);
    let begun = tokio::time::Instant::now();
    let mut withheld = 0;
    for last in 0..=255 {
        match finds(&upf, last).await {
            Ok(found) => assert!(!found),
            Err(error) => {
                assert_eq!(
                    error,
                    Error::Overloaded {
                        retry_after: Some(1)
                    }
                );
                withheld += 1;
            }
        }
    }
    assert_eq!(
        (nrf.asked().len(), knows.asked().len()),
        (256 - withheld, 0)
    );
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    assert!(nrf.asked().len() <= (seconds + 1) * 100, "{withheld}");
}
