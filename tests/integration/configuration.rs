//! One configuration, refused where it is not fully understood, with the key and the line.

use std::collections::BTreeMap;
use std::time::Duration;

use pei_bridge::config::{AuthMode, Config, Layers};

use crate::support::process::file;

/// A configuration that says what must be said, with lines of its own.
fn with(lines: &str) -> String {
    format!("[core]\nudm = [\"http://127.0.0.1:7777\"]\n{lines}\n")
}

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect::<BTreeMap<_, _>>();
    // The file is about something else than tokens, unless it says so.
    let mut base = Config::default();
    base.auth.mode = AuthMode::None;
    let layers = Layers {
        base,
        file: Some(file(".toml", text)),
        environment,
    };
    layers.load().map_err(|error| error.to_string())
}

#[test]
fn a_refusal_names_the_key_and_the_line() {
    for (lines, named) in [
        ("[api]\nlistn = \"127.0.0.1:1\"", "listn"),
        ("[apis]\n", "apis"),
        ("unknown = 1", "unknown"),
        ("[api]\nmax_connections = \"many\"", "max_connections"),
        ("[api]\nmax_connections = -1", "max_connections"),
        ("[api]\nmax_connections = 0", "max_connections"),
        ("[api]\nworker_threads = 1025", "worker_threads"),
        ("[api]\nmax_requests_waiting = 0", "max_requests_waiting"),
        ("[api]\nmax_requests_waiting = 8192", "max_requests_waiting"),
        ("[api]\nlisten = \"localhost\"", "listen"),
        ("[api]\nrequest_timeout = 2", "request_timeout"),
        ("[api]\nrequest_timeout = \"soon\"", "request_timeout"),
        ("[api]\nrequest_timeout = \"2\"", "request_timeout"),
        ("[api]\nrequest_timeout = \"-2s\"", "request_timeout"),
        ("[api]\nrequest_timeout = \"0s\"", "request_timeout"),
        (
            "[api]\nrequest_timeout = \"18446744073709551615s\"",
            "request_timeout",
        ),
        (
            "connections_per_endpoint = 9223372036854775807",
            "connections_per_endpoint",
        ),
        (
            "[telemetry.otlp]\nqueue_entries = 9223372036854775807",
            "queue_entries",
        ),
        ("[api]\nversions = [\"v7\"]", "versions"),
        ("[api]\nversions = []", "versions"),
        (
            "[api]\nsupported_identifiers = [\"imei\"]",
            "supported_identifiers",
        ),
        ("[api]\nsupported_identifiers = []", "supported_identifiers"),
        (
            "[api]\nmultiple_identifiers = \"last\"",
            "multiple_identifiers",
        ),
        ("[limits]\nconsumer_entries = 0", "consumer_entries"),
        ("[auth]\nmode = \"nobody\"", "mode"),
        ("bsf = [\"ftp://127.0.0.1\"]", "bsf"),
        ("nrf = [\"http://127.0.0.1:7777\"]", "core.nrf"),
        ("scp_discovers = true", "core.scp_discovers"),
        ("max_calls_in_flight = 0", "core.max_calls_in_flight"),
        ("hedge_quantile = 1.0", "core.hedge_quantile"),
        ("[core.tokens]\nenabled = true", "core.tokens.enabled"),
        (
            "[core.outlier]\neject_for = \"0s\"",
            "core.outlier.eject_for",
        ),
        ("[core.registration]\nplmns = [\"00101\"]", "plmns"),
        (
            "[core.registration]\nnf_type = \"nef\"",
            "core.registration.nf_type",
        ),
        ("[core.discovery]\nsnssais = [\"1-a\"]", "snssais"),
        ("[core.discovery]\nfunctions = [\"amf\"]", "functions"),
        ("[core.discovery]\nnf_sets = [\"set1\"]", "nf_sets"),
        (
            "[core.discovery]\nnf_sets = [\"set1.udmset.5gc.mnc001.mcc001\", \
             \"set2.udmset.5gc.mnc001.mcc001\"]",
            "core.discovery.nf_sets",
        ),
        ("bsf = [\"127.0.0.1:7777\"]", "bsf"),
        ("bsf = \"http://127.0.0.1:7777\"", "bsf"),
        ("[cache]\nequipment = \"a minute\"", "equipment"),
        ("[cache]\nequipment_entries = 0", "equipment_entries"),
        ("[cache]\nsubscription_entries = 0", "subscription_entries"),
        ("[cache]\nconsent_entries = 0", "consent_entries"),
        ("[log]\nlevel = \"pei_bridge=louder\"", "level"),
        ("[log]\nformat = \"xml\"", "format"),
        (
            "[[nat.pools]]\npublic_prefix = \"203.0.113.0/33\"",
            "public_prefix",
        ),
        (
            "[[nat.pools]]\npublic_prefix = \"203.0.113.0/24\"\nfirst_port = 1024\n\
             ports_per_subscriber = 0\nprivate_prefix = \"10.0.0.0/8\"",
            "ports_per_subscriber",
        ),
        (
            "[api]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"",
            "duplicate key",
        ),
        ("[api", ""),
        ("= 1", ""),
    ] {
        let refusal = load(&with(lines), &[]).expect_err(lines);
        assert!(refusal.contains("line "), "{lines}: {refusal}");
        assert!(refusal.contains(named), "{lines}: {refusal}");
        // The mistake stands in the third line or below.
        let (_, number) = refusal.split_once("line ").unwrap();
        let number: u32 = number
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!((3..=7).contains(&number), "{lines}: {refusal}");
    }
}

#[test]
fn nobody_is_asked_who_he_is_on_loopback_alone() {
    for address in [
        "0.0.0.0:8080",
        "192.0.2.1:8080",
        "[::]:8080",
        "[2001:db8::1]:8080",
    ] {
        let lines = format!("[auth]\nmode = \"none\"\n[api]\nlisten = \"{address}\"");
        let refusal = load(&with(&lines), &[]).unwrap_err();
        assert!(refusal.contains("auth.mode"), "{refusal}");
        assert!(refusal.contains("line 4"), "{refusal}");
    }
    for address in ["127.0.0.1:8080", "127.1.2.3:8080", "[::1]:8080"] {
        let lines = format!("[auth]\nmode = \"none\"\n[api]\nlisten = \"{address}\"");
        assert!(load(&with(&lines), &[]).is_ok(), "{address}");
    }
}

/// What a request says of its own target is its sender's word.
#[test]
fn proofs_need_to_be_told_what_they_are_made_for() {
    let lines = |more: &str| {
        format!(
            "[auth]\nmode = \"jwt\"\n[[auth.issuers]]\nissuer = \"https://issuer.example\"\n\
             audience = \"a\"\n[auth.dpop]\n{more}"
        )
    };
    for mode in ["optional", "required"] {
        let alone = lines(&format!("mode = \"{mode}\""));
        let refusal = load(&with(&alone), &[]).unwrap_err();
        assert!(refusal.contains("auth.dpop.public_url"), "{refusal}");
        let whole = format!("{alone}\npublic_url = \"https://api.example.com\"");
        assert!(load(&with(&whole), &[]).is_ok(), "{mode}");
    }
    assert!(load(&with(&lines("mode = \"off\"")), &[]).is_ok());
}

#[test]
fn the_environment_lies_over_the_file() {
    let text = with("[api]\nrequest_timeout = \"5s\"\nmax_connections = 7");
    let config = load(
        &text,
        &[
            ("PEI_BRIDGE__API__LISTEN", "127.0.0.1:1234"),
            ("PEI_BRIDGE__API__REQUEST_TIMEOUT", "150ms"),
            ("PEI_BRIDGE__API__MAX_REQUESTS_IN_FLIGHT", "9"),
            ("PEI_BRIDGE__API__VERSIONS", "[\"v0.1.0\"]"),
            ("PEI_BRIDGE__CACHE__NONE_FOUND", "0s"),
            (
                "PEI_BRIDGE__CORE__BSF",
                "[\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]",
            ),
            ("PEI_BRIDGE__LOG__LEVEL", "debug"),
        ],
    )
    .unwrap();
    assert_eq!(config.api.listen, "127.0.0.1:1234".parse().unwrap());
    assert_eq!(config.api.request_timeout, Duration::from_millis(150));
    assert_eq!(
        (
            config.api.max_connections,
            config.api.max_requests_in_flight
        ),
        (7, 9)
    );
    assert_eq!(config.cache.none_found, Duration::ZERO);
    assert_eq!((config.core.udm.len(), config.core.bsf.len()), (1, 2));
    assert_eq!(config.log.level, "debug");
    for (variable, value) in [
        ("PEI_BRIDGE__API__LISTN", "127.0.0.1:1234"),
        ("PEI_BRIDGE__APIS__LISTEN", "127.0.0.1:1234"),
        ("PEI_BRIDGE__API__LISTEN", "here"),
        ("PEI_BRIDGE__API__MAX_CONNECTIONS", "many"),
        ("PEI_BRIDGE__API", "1"),
        ("PEI_BRIDGE__API__REQUEST_TIMEOUT", "2"),
    ] {
        let refusal = load(&text, &[(variable, value)]).expect_err(variable);
        assert!(refusal.contains(variable), "{refusal}");
        assert!(
            !refusal.contains("here") && !refusal.contains("many"),
            "a value is shown: {refusal}"
        );
    }
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let config = load(&with(""), &[]).unwrap();
    assert_eq!(config.api.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.admin.listen, "127.0.0.1:9090".parse().unwrap());
    assert_eq!(config.api.request_timeout, Duration::from_secs(2));
    assert_eq!(config.api.max_connections, 4096);
    assert_eq!(config.cache.equipment, Duration::from_mins(1));
    assert_eq!(config.cache.session, Duration::ZERO);
    assert_eq!(config.cache.none_found, Duration::from_secs(5));
    assert_eq!(config.cache.equipment_entries, 1_000_000);
    assert_eq!(config.log.level, "info");
}

#[test]
fn what_is_printed_reads_back_to_the_same() {
    let text = with(
        "bsf = [\"http://127.0.0.1:1/a/prefix\"]\npurged = \"last_known\"\n\
         last_checked = \"date\"\ngpsi_to_supi = \"translation\"\n\
         [api]\nrequest_timeout = \"1m 30s 150ms\"\nmultiple_identifiers = \"reject\"\n\
         supported_identifiers = [\"ipv6Address\"]\n\
         [cache]\nsession = \"0s\"\nequipment = \"999ms\"\n\
         [[nat.pools]]\npublic_prefix = \"203.0.113.0/24\"\nfirst_port = 1024\n\
         ports_per_subscriber = 1000\nprivate_prefix = \"10.64.0.0/12\"\nip_domain = \"nat-b\"\n\
         [tac]\nfile = \"a b/\\\"tac\\\".csv\"\n[log]\nlevel = \"info,adapters=debug\"\nformat = \"text\"",
    );
    for text in [with(""), text] {
        let config = load(&text, &[]).unwrap();
        let printed = config.to_toml().unwrap();
        assert_eq!(load(&printed, &[]).unwrap(), config, "{printed}");
    }
}

#[test]
fn no_issuer_speaks_for_the_consumers_of_another() {
    let issuers = |one: &str, other: &str| {
        let issuer = |name: &str, prefix: &str| {
            format!(
                "[[auth.issuers]]\nissuer = \"https://{name}.example\"\naudience = \"a\"\n\
                 consumer_prefix = \"{prefix}\"\n"
            )
        };
        let issuers = issuer("one", one) + &issuer("other", other);
        load(&with(&format!("[auth]\nmode = \"jwt\"\n{issuers}")), &[])
    };
    for (one, other) in [("", ""), ("", "b:"), ("a", "ab"), ("a:", "a:")] {
        let refusal = issuers(one, other).unwrap_err();
        assert!(refusal.contains("consumer_prefix"), "{refusal}");
    }
    assert!(issuers("a:", "b:").is_ok());
}

#[test]
fn a_consumer_is_in_one_class() {
    let classes = |one: &str, other: &str| {
        load(
            &with(&format!(
                "[limits.classes.gold]\nconsumers = {one}\n\
                 [limits.classes.silver]\nconsumers = {other}"
            )),
            &[],
        )
    };
    let refusal = classes(r#"["a", "shop"]"#, r#"["shop", "b"]"#).unwrap_err();
    for said in ["limits.classes", "gold", "silver", "number 2", "line"] {
        assert!(refusal.contains(said), "{said}: {refusal}");
    }
    assert!(!refusal.contains("shop"), "a value is shown: {refusal}");
    assert!(classes(r#"["a", "a"]"#, r#"["A", "b"]"#).is_ok());
}

#[test]
fn feeds_are_refused_without_what_they_stand_on() {
    const LISTEN: &str = "[callback]\nlisten = \"127.0.0.1:8443\"\n";
    const SMF: &str = "smf = [\"http://127.0.0.1:7777\"]\n";
    for (lines, named) in [
        ("[feeds]\nequipment = true".to_owned(), "callback.listen"),
        (format!("{LISTEN}[feeds]\nsessions = true"), "core.smf"),
        (
            format!("{SMF}{LISTEN}[feeds]\nsessions = true\n[cache]\nsession = \"1s\""),
            "cache.session",
        ),
        (
            format!("{LISTEN}[feeds]\nconsent = true\nexpiry = \"1s\""),
            "feeds.expiry",
        ),
        (
            format!("{LISTEN}[feeds]\nconsent = true\ncheck_interval = \"0s\""),
            "feeds.check_interval",
        ),
        (
            format!(
                "{LISTEN}[callback.tls]\ncertificate_file = \"a\"\nkey_file = \"b\"\n\
                 client_certificates = \"required\""
            ),
            "callback.tls.client_ca_file",
        ),
        (
            "[callback]\nlisten = \"192.0.2.1:8443\"".to_owned(),
            "callback.allow_plain_http",
        ),
        (
            "[callback]\nlisten = \"0.0.0.0:8443\"\nallow_plain_http = true".to_owned(),
            "callback.uri",
        ),
        (format!("{LISTEN}uri = \"10.0.0.1:8443\""), "uri"),
    ] {
        let refusal = load(&with(&lines), &[]).expect_err(&lines);
        assert!(refusal.contains(named), "{lines}: {refusal}");
    }
    let whole = format!("{SMF}{LISTEN}[feeds]\nsessions = true\nequipment = true\nconsent = true");
    assert!(load(&with(&whole), &[]).is_ok());
}
