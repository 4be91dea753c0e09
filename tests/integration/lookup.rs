//! `pei-bridge lookup`: what the engineer is told who wires the bridge to a core.

use std::path::Path;

use serde_json::json;
use simcore::{Dialect, NfType};

use crate::network::Network;
use crate::support::control::GET_3GPP;
use crate::support::process::{Ended, file, run};
use crate::support::{PATIENCE, Rig, eventually};

const NUMBER: &str = "+123456789";

/// What nobody may read who did not ask for it.
const PERSONAL: [&str; 8] = [
    "123456789",
    "490154203237518",
    "4901542032375180",
    "001010000000001",
    "84.125.93.10",
    "59765",
    "10.45.0.1",
    "2001:db8:85a3",
];

fn settings(core: &str) -> String {
    format!(
        "[auth]\nmode = \"none\"\n[consent]\nmode = \"none\"\n[api]\nrequest_timeout = \"20s\"\nbody_read_timeout = \"1s\"\n[tac]\nfile = \"{}\"\n[core]\n{core}\n",
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures/data/tac.csv")
            .display()
    )
}

async fn lookup(settings: &str, arguments: &[&str]) -> Ended {
    let config = file(".toml", settings);
    let mut all = vec!["lookup", "--config", config.to_str().unwrap()];
    all.extend(arguments);
    run(&all).await
}

fn says(ended: &Ended, all: &[&str]) {
    for words in all {
        assert!(ended.stdout.contains(words), "{words}: {ended:?}");
    }
}

fn tells_nothing_personal(ended: &Ended) {
    for personal in PERSONAL {
        for output in [&ended.stdout, &ended.stderr] {
            assert!(!output.contains(personal), "{personal}: {output}");
        }
    }
}

fn with_consent(settings: &str) -> String {
    settings.replace("mode = \"none\"\n[api]", "mode = \"core\"\n[api]")
}

async fn rig() -> (Rig, String) {
    let rig = Rig::start().await;
    let root = format!("[\"http://{}\"]", rig.core.core_addr());
    let core = format!("udm = {root}\nbsf = {root}\nupf = {root}");
    (rig, core)
}

#[tokio::test]
async fn a_phone_number_leads_to_its_device_step_by_step() {
    let (rig, core) = rig().await;
    let at = format!("to http://{} (configured): 200", rig.core.core_addr());
    let ended = lookup(&settings(&core), &["--phone-number", NUMBER]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    says(
        &ended,
        &[
            "question      phoneNumber ***",
            "direct (core.gpsi_to_supi)",
            "1. UDM Get3GppRegistration",
            "GET /nudm-uecm/v1/msisdn-***/registrations/amf-3gpp-access",
            &at,
            " ms",
            "read pei imeisv-***",
            "read purgeFlag false",
            "read registrationTime 2024-02-20T10:41:38.657Z",
            "imei          ***",
            "Nokia",
            "3110",
            "lastChecked   2024-02-20T10:41:38.657Z",
        ],
    );
    tells_nothing_personal(&ended);
    let revealed = lookup(&settings(&core), &["--phone-number", NUMBER, "--reveal"]).await;
    assert_eq!(revealed.code, Some(0), "{revealed:?}");
    says(
        &revealed,
        &[
            "phoneNumber 123456789",
            "GET /nudm-uecm/v1/msisdn-123456789/registrations/amf-3gpp-access",
            "read pei imeisv-4901542032375180",
            "imei          490154203237518",
            "imeisv        4901542032375180",
        ],
    );
    assert_eq!(rig.control.count(GET_3GPP).await, 2);
}

#[tokio::test]
async fn every_way_from_gpsi_to_supi_is_told() {
    let (_rig, core) = rig().await;
    let translated = settings(&format!("{core}\ngpsi_to_supi = \"translation\""));
    let ended = lookup(&translated, &["--phone-number", NUMBER]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    says(
        &ended,
        &[
            "translation (core.gpsi_to_supi)",
            "1. UDM GetSupiOrGpsi",
            "read supi imsi-***",
            "2. UDM Get3GppRegistration",
            "GET /nudm-uecm/v1/imsi-***/registrations",
        ],
    );
    tells_nothing_personal(&ended);
    let table = file(".csv", "gpsi,supi\nmsisdn-123456789,imsi-001010000000001\n");
    let from_file = settings(&format!(
        "{core}\ngpsi_to_supi = \"file\"\ngpsi_to_supi_file = \"{}\"",
        table.display()
    ));
    let ended = lookup(&from_file, &["--phone-number", NUMBER]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    says(
        &ended,
        &[
            "file (core.gpsi_to_supi)",
            "1. core.gpsi_to_supi_file",
            "read supi imsi-***",
            "2. UDM Get3GppRegistration",
        ],
    );
    tells_nothing_personal(&ended);
    let ended = lookup(&from_file, &["--phone-number", "34600000002"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    says(
        &ended,
        &[
            "read supi not in the file",
            "at step 1, core.gpsi_to_supi_file: no such subscription",
        ],
    );
}

#[tokio::test]
async fn addresses_and_consent_are_steps_as_well() {
    let (_rig, core) = rig().await;
    let settings = with_consent(&settings(&core));
    let ipv4 = ["--ipv4-address", "84.125.93.10", "--public-port", "59765"];
    let ended = lookup(&settings, &ipv4).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    says(
        &ended,
        &[
            "UPF SearchUeIpInfo",
            "?ue-ipv4-address=***&port-number=***",
            "read privateIpv4Address ***",
            "read ipDomain nat-a",
            "BSF GetPCFBindings",
            "pcfBindings?ipv4Addr=***&ipDomain=nat-a",
            "UDM GetUcData",
            "read consent CONSENT_GIVEN",
            "subscription  imsi-***",
        ],
    );
    tells_nothing_personal(&ended);
    let ended = lookup(&settings, &["--phone-number", "+34600000006"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    says(&ended, &["at step 2, UDM GetUcData: no consent"]);
}

#[tokio::test]
async fn every_kind_of_identifier_leads_to_its_device() {
    let (_rig, core) = rig().await;
    let settings = with_consent(&settings(&core));
    let ipv4 = ["--ipv4-address", "84.125.93.10"];
    for (arguments, question, steps) in [
        (
            vec!["--network-access-identifier", "123456789@domain.com"],
            "networkAccessIdentifier ***",
            ["direct (core.gpsi_to_supi)", "/nudm-sdm/v2/extid-***/id-"],
        ),
        (
            [&ipv4[..], &["--private-address", "10.45.0.1"]].concat(),
            "ipv4Address ***",
            ["pcfBindings?ipv4Addr=***", "read ipv4Addr ***"],
        ),
        (
            [
                &ipv4[..],
                &["--public-port", "59765", "--private-address", "10.45.0.1"],
            ]
            .concat(),
            "ipv4Address ***",
            ["port-number=***", "pcfBindings?ipv4Addr=***&ipDomain=nat-a"],
        ),
        (
            vec!["--ipv6-address", "2001:db8:85a3:8d3:1:2:3:4"],
            "ipv6Address ***",
            ["pcfBindings?ipv6Prefix=***%2F128", "read ipv6Prefix ***"],
        ),
    ] {
        let ended = lookup(&settings, &arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        let question = format!("question      {question}");
        says(&ended, &[&question, "imei          ***"]);
        says(&ended, &steps);
        tells_nothing_personal(&ended);
        let revealed = lookup(&settings, &[&arguments[..], &["--reveal"]].concat()).await;
        assert_eq!(revealed.code, Some(0), "{arguments:?}: {revealed:?}");
        says(&revealed, &["imei          490154203237518"]);
        says(&revealed, &arguments[1..2]);
        says(&revealed, &arguments[arguments.len() - 1..]);
    }
}

#[tokio::test]
async fn what_fails_is_1_and_names_its_step() {
    let (rig, core) = rig().await;
    let unknown = lookup(&settings(&core), &["--phone-number", "+999999999999"]).await;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    says(
        &unknown,
        &[
            "read subscription unknown",
            "failed        at step 1, UDM Get3GppRegistration: no such subscription",
        ],
    );
    rig.control
        .fault(
            GET_3GPP,
            &json!({"status": 403, "cause": "ACCESS_NOT_ALLOWED"}),
        )
        .await;
    let refused = lookup(&settings(&core), &["--phone-number", NUMBER]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    says(
        &refused,
        &[
            "(configured): 403",
            "cause ACCESS_NOT_ALLOWED",
            "status 403",
        ],
    );
    tells_nothing_personal(&refused);
    let nobody = settings("udm = [\"http://127.0.0.1:1\"]\nconnect_timeout = \"100ms\"");
    let nobody = lookup(&nobody, &["--phone-number", NUMBER]).await;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    says(
        &nobody,
        &["sent to nobody", "at step 1, UDM Get3GppRegistration"],
    );
}

#[tokio::test]
async fn bad_usage_is_2_and_repeats_no_identifier() {
    let (_rig, core) = rig().await;
    for arguments in [
        vec![],
        vec!["--phone-number", "+34 600 000 002"],
        vec!["--phone-number", "x123456789"],
        vec!["--network-access-identifier", "123456789"],
        vec!["--ipv4-address", "84.125.93.10"],
        vec!["--ipv4-address", "84.125.93.10", "--public-port", "597650"],
        vec!["--public-port", "59765"],
        vec!["--ipv6-address", "2001:db8:85a3:8d3::/64"],
        vec![
            "--phone-number",
            NUMBER,
            "--ipv6-address",
            "2001:db8:85a3::1",
        ],
    ] {
        let ended = lookup(&settings(&core), &arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
        tells_nothing_personal(&ended);
    }
    let ended = lookup("[cor]\n", &["--phone-number", NUMBER]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
}

const EVERYBODY: [(NfType, u16); 5] = [
    (NfType::Nrf, 1),
    (NfType::Scp, 1),
    (NfType::Udm, 1),
    (NfType::Bsf, 1),
    (NfType::Upf, 1),
];

fn root(network: &Network, nf_type: NfType) -> String {
    format!("[\"http://{}\"]", network.one(nf_type).address)
}

/// Told how each instance was found; and the bridge that serves stays the one that is registered.
#[tokio::test]
async fn instances_are_told_with_how_they_were_found() {
    let network = Network::start(&EVERYBODY, |_| {}).await;
    let (udm, nrf) = (network.one(NfType::Udm), root(&network, NfType::Nrf));
    let scp = root(&network, NfType::Scp);
    let registration = "[core.registration]\nipv4_addresses = [\"127.0.0.1\"]\n";
    for (core, found, proxied) in [
        (
            format!("nrf = {nrf}\n{registration}"),
            "discovered at the NRF",
            false,
        ),
        (
            format!("nrf = {nrf}\nscp = {scp}\n{registration}"),
            "discovered at the NRF",
            true,
        ),
        (
            format!("scp = {scp}\nscp_discovers = true"),
            "chosen by the SCP",
            true,
        ),
    ] {
        let ended = lookup(&settings(&core), &["--phone-number", NUMBER]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let to = format!(
            "to http://{} (nfInstanceId {}, {found})",
            udm.address, udm.id
        );
        says(&ended, &[&to]);
        assert_eq!(
            ended.stdout.contains("through the SCP"),
            proxied,
            "{ended:?}"
        );
        let searched = ended.stdout.contains("NRF SearchNFInstances");
        assert_eq!(searched, found == "discovered at the NRF", "{ended:?}");
        tells_nothing_personal(&ended);
    }
    assert_eq!(network.control.count("RegisterNFInstance").await, 0);
    assert_eq!(network.control.count("DeregisterNFInstance").await, 0);
}

/// The NRF names nobody to our type: said in words, within the time of one request.
#[tokio::test]
async fn an_nrf_that_names_nobody_is_told() {
    let network = Network::start(&EVERYBODY, |options| options.dialect = Dialect::Open5gs).await;
    let core = format!(
        "nrf = {}\n[core.registration]\nenabled = false\n",
        root(&network, NfType::Nrf)
    );
    let settings = settings(&core).replace("\"20s\"", "\"2s\"");
    let begun = std::time::Instant::now();
    let ended = lookup(&settings, &["--phone-number", NUMBER]).await;
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    says(
        &ended,
        &[
            "read nfInstances 0",
            "sent to nobody",
            "may our NF type see it?",
        ],
    );
    assert!(ended.stderr.contains("allowedNfTypes"), "{ended:?}");
}

/// What is asked of the NRF beside the lookup is not what the lookup fails of.
#[tokio::test]
async fn a_search_that_failed_is_not_blamed_for_a_missing_consent() {
    let network = Network::start(&EVERYBODY, |_| {}).await;
    let control = network.control;
    let fault = json!({"status": 500});
    control.fault("SearchNFInstances", &fault).await;
    let core = format!("nrf = {}\n", root(&network, NfType::Nrf));
    let core = format!("{core}[core.registration]\nenabled = false\n");
    let settings = with_consent(&settings(&core));
    let healed = async {
        eventually("searches fail", async || {
            (control.count("SearchNFInstances").await >= 3).then_some(())
        })
        .await;
        control.clear_faults().await;
    };
    let arguments = ["--phone-number", "+34600000006"];
    let (ended, ()) = tokio::join!(lookup(&settings, &arguments), healed);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    says(&ended, &["(configured): 500", "UDM GetUcData: no consent"]);
}

#[tokio::test]
async fn a_token_that_is_not_given_is_named() {
    let network = Network::start(&EVERYBODY, |options| {
        options.settings.require_tokens = true;
    })
    .await;
    let fault = json!({"status": 400});
    network.control.fault("AccessTokenRequest", &fault).await;
    let core = format!(
        "nrf = {}\n[core.registration]\nenabled = false\n[core.tokens]\nenabled = true\n",
        root(&network, NfType::Nrf)
    );
    let ended = lookup(&settings(&core), &["--phone-number", NUMBER]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    says(
        &ended,
        &[
            "UDM Get3GppRegistration",
            "sent to nobody: no access token was there",
            ", NRF AccessTokenRequest: core:",
        ],
    );
    assert!(!ended.stdout.contains("no instance was there"), "{ended:?}");
}
