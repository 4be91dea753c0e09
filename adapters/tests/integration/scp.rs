//! Through an SCP: whose fault and whose overload an answer tells, and where it sends us.

use std::sync::Mutex;

use adapters::sbi::{
    ApiRoot, Client, Delegation, Error, Instance, Metrics, NfType, Route, Scp, Settings,
};
use adapters::udm::{AmfRegistration, Udm};
use adapters::upf::Upf;
use device::Supi;
use prometheus::{Registry, TextEncoder};

use crate::core::{Asked, Core, Reply, eventually, metrics, quick, ready, soon};

const NONE: Result<AmfRegistration, Error> = Ok(AmfRegistration::Unspecified);
const TARGET: &str = "3gpp-sbi-target-apiroot";

/// A UDM behind SCPs that choose among its instances.
fn delegated(scps: &[&Core], metrics: Metrics) -> Udm {
    let settings = quick();
    let scp = scp(scps, &settings, &metrics);
    let route = Route::Delegated(scp, Delegation::default());
    udm(Vec::new(), route, &settings, metrics)
}

/// A UDM whose instances we choose, behind SCPs.
fn chosen(scps: &[&Core], instances: Vec<Instance>, metrics: Metrics) -> Udm {
    let settings = quick();
    let scp = scp(scps, &settings, &metrics);
    udm(instances, Route::Proxy(scp), &settings, metrics)
}

fn scp(scps: &[&Core], settings: &Settings, metrics: &Metrics) -> Scp {
    let roots = scps.iter().map(|scp| scp.root()).collect();
    Scp::new(roots, settings, metrics)
}

fn udm(instances: Vec<Instance>, route: Route, settings: &Settings, metrics: Metrics) -> Udm {
    Udm::new(Client::with(
        NfType::Udm,
        instances,
        route,
        None,
        settings,
        metrics,
    ))
}

async fn ask(udm: &Udm) -> Result<AmfRegistration, Error> {
    let ue = Supi::parse("imsi-001010000000001").unwrap().into();
    udm.amf_3gpp_access_registration(&ue, soon()).await
}

fn ejected(registry: &Registry, nf: &str) -> bool {
    let text = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    let line = format!("pei_bridge_core_ejections_total{{nf=\"{nf}\"}} ");
    let count = text.lines().find_map(|text| text.strip_prefix(&*line));
    count.is_some_and(|count| count != "0")
}

fn oci(reply: Reply, scope: &str) -> Reply {
    let oci = format!(
        "Timestamp: \"2020-02-05T08:05:30Z\"; Period-of-Validity: 600s; \
         Overload-Reduction-Metric: 100%; {scope}"
    );
    reply.with("3gpp-sbi-oci", &oci)
}

#[tokio::test]
async fn an_scp_is_spared_for_its_own_overload_and_not_for_a_producers() {
    for (scope, spared) in [
        ("NF-Instance: 54804518-4191-46b3-955c-ac631f953ed8", false),
        ("NF-Set: set1.udmset", false),
        ("SCP-FQDN: scp.example", true),
    ] {
        let scp = Core::start(move |_, _| oci(Reply::status(404), scope)).await;
        let udm = delegated(&[&scp], metrics().1);
        assert_eq!(ask(&udm).await, NONE);
        let second = ask(&udm).await;
        assert_eq!(
            matches!(second, Err(Error::Overloaded { .. })),
            spared,
            "{scope}"
        );
    }
}

#[tokio::test]
async fn a_producer_is_spared_for_its_own_overload_and_not_for_an_scps() {
    let first: ApiRoot = "http://192.0.2.1".parse().unwrap();
    let second: ApiRoot = "http://192.0.2.2".parse().unwrap();
    let id = "54804518-4191-46b3-955c-ac631f953ed8";
    for (scope, spared) in [
        (format!("NF-Instance: {id}"), true),
        ("SCP-FQDN: other-scp.example".to_owned(), false),
    ] {
        let (root, told) = (first.to_string(), scope.clone());
        let scps = [
            Core::start(move |asked: &Asked, _| {
                let reply = Reply::status(404);
                if asked.headers[TARGET] == *root {
                    oci(reply, &told)
                } else {
                    reply
                }
            })
            .await,
            Core::start(|_, _| Reply::status(404)).await,
        ];
        // The second SCP takes over where the first one is spared.
        let first = Instance {
            nf_instance_id: id.parse().ok(),
            ..first.clone().into()
        };
        let (registry, metrics) = metrics();
        let udm = chosen(
            &[&scps[0], &scps[1]],
            vec![first, second.clone().into()],
            metrics,
        );
        eventually("both are connected", || ready_scps(&registry) == 2).await;
        for _ in 0..30 {
            assert_eq!(ask(&udm).await, NONE);
        }
        let asked: Vec<_> = scps.iter().flat_map(Core::asked).collect();
        let of_second = second.to_string();
        let at_second = asked
            .iter()
            .filter(|asked| asked.headers[TARGET] == *of_second);
        assert_eq!(at_second.count() > 20, spared, "{scope}");
    }
}

/// The connections to SCPs that take requests; nothing else is connected to.
fn ready_scps(registry: &Registry) -> usize {
    let text = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    let line = r#"pei_bridge_core_connections{nf="SCP",state="ready"} "#;
    let count = text.lines().find_map(|text| text.strip_prefix(line));
    count.unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_an_scp_passes_on_is_no_fault_of_its_own() {
    for (server, is_ejected) in [
        (None, false),
        (Some("UDM-54804518-4191-46b3-955c-ac631f953ed8"), false),
        (Some("SCP-scp.example"), true),
    ] {
        let failing = Core::start(move |_, _| {
            let reply = Reply::status(500);
            match server {
                Some(server) => reply.with("server", server),
                None => reply,
            }
        })
        .await;
        let (registry, metrics) = metrics();
        let udm = delegated(&[&failing], metrics);
        for _ in 0..8 {
            assert_eq!(ask(&udm).await, Err(Error::BadAnswer));
        }
        assert_eq!(ejected(&registry, "SCP"), is_ejected, "{server:?}");
        assert!(!ejected(&registry, "UDM"));
    }
}

#[tokio::test]
async fn an_instance_behind_an_scp_is_ejected_for_its_own_faults_only() {
    for (server, nf) in [(None, "UDM"), (Some("SCP-scp.example"), "SCP")] {
        let failing = Core::start(move |_, _| {
            let reply = Reply::status(500);
            match server {
                Some(server) => reply.with("server", server),
                None => reply,
            }
        })
        .await;
        let (registry, metrics) = metrics();
        let root: ApiRoot = "http://192.0.2.1".parse().unwrap();
        let udm = chosen(&[&failing], vec![root.into()], metrics);
        for _ in 0..8 {
            assert_eq!(ask(&udm).await, Err(Error::BadAnswer));
        }
        for other in ["UDM", "SCP"] {
            assert_eq!(
                ejected(&registry, other),
                other == nf,
                "{other} of {server:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_scp_that_is_busy_itself_leaves_the_request_to_another() {
    let busy = Core::start(|_, _| Reply::status(503).with("server", "SCP-scp.example")).await;
    let free = Core::start(|_, _| Reply::status(404)).await;
    let (registry, metrics) = metrics();
    // The only instance: it is not the one that refused.
    let root: ApiRoot = "http://192.0.2.1".parse().unwrap();
    let udm = chosen(&[&busy, &free], vec![root.into()], metrics);
    eventually("both are connected", || ready_scps(&registry) == 2).await;
    for _ in 0..5 {
        assert_eq!(ask(&udm).await, NONE);
    }
    assert_eq!(free.asked().len(), 5);
    assert!(busy.asked().len() < 5);
}

#[tokio::test]
async fn a_redirection_by_an_scp_that_chooses_is_followed_through_it() {
    for status in [307, 308] {
        let scp = Core::start(move |asked: &Asked, _| {
            if asked.headers.contains_key(TARGET) {
                return Reply::status(404);
            }
            let location = format!("http://udm-2.example:81/pre{}", asked.path);
            Reply::status(status).with("location", &location)
        })
        .await;
        let udm = delegated(&[&scp], metrics().1);
        assert_eq!(ask(&udm).await, NONE);
        let asked = scp.asked();
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[1].headers[TARGET], "http://udm-2.example:81/pre");
        assert_eq!(asked[1].path, asked[0].path);
    }
}

#[tokio::test]
async fn a_redirection_to_an_scp_leaves_the_choice_to_it_and_a_circle_ends() {
    let address = crate::core::vacant().await;
    let builder = h2::server::Builder::new();
    let scp = Core::start_at(address, builder, move |asked, _| {
        let location = format!("http://{address}{}", asked.path);
        Reply::status(307).with("location", &location)
    })
    .await;
    let (registry, metrics) = metrics();
    let udm = delegated(&[&scp], metrics);
    eventually("it is connected", || ready_scps(&registry) == 1).await;
    assert_eq!(ask(&udm).await, Err(Error::Refused { status: 307 }));
    let asked = scp.asked();
    assert_eq!(asked.len(), 3);
    assert!(
        asked
            .iter()
            .all(|asked| !asked.headers.contains_key(TARGET))
    );
}

#[tokio::test]
async fn what_is_said_of_an_scp_is_not_about_who_is_asked_directly() {
    let core = Core::start(|_, _| oci(Reply::status(404), "SCP-FQDN: scp.example")).await;
    let (registry, metrics) = metrics();
    let udm = Udm::new(Client::new(
        NfType::Udm,
        vec![core.root()],
        &quick(),
        metrics,
    ));
    eventually("it is connected", || ready(&registry) == 1).await;
    for _ in 0..3 {
        assert_eq!(ask(&udm).await, NONE);
    }
}

#[tokio::test]
async fn an_scp_that_chooses_is_told_whose_address_it_is() {
    for (answer, found) in [
        (
            Reply::json(200, r#"{"supi":"imsi-001010000000001"}"#),
            Ok(true),
        ),
        (
            Reply::json(400, r#"{"status":400,"cause":"NF_DISCOVERY_FAILURE"}"#),
            Ok(false),
        ),
        (
            Reply::json(400, r#"{"status":400,"cause":"INVALID_QUERY_PARAM"}"#),
            Err(Error::Refused { status: 400 }),
        ),
    ] {
        let answer = Mutex::new(Some(answer));
        let scp = Core::start(move |_, _| answer.lock().unwrap().take().unwrap()).await;
        let (_, metrics) = metrics();
        let settings = quick();
        let proxies = Scp::new(vec![scp.root()], &settings, &metrics);
        let route = Route::Delegated(proxies, Delegation::default());
        let client = Client::with(NfType::Upf, Vec::new(), route, None, &settings, metrics);
        let upf = Upf::found_by_proxy(&client);
        let info = upf.ue_ip_info([198, 51, 100, 1].into(), 1024, soon()).await;
        assert_eq!(info.map(|info| info.is_some()), found);
        let headers = &scp.asked()[0].headers;
        assert_eq!(
            headers["3gpp-sbi-discovery-upf-n6-ip"],
            r#"{"ipv4Addr":"198.51.100.1"}"#
        );
    }
}
