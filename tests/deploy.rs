//! What `deploy/` says must be what the bridge does: keys, defaults, metrics, versions.
//!
//! The bridge itself is asked, never a list of our own: the schema through the error for an
//! unknown key, metrics through the registry.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails loudly, its helpers too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use adapters::bsf::Bsf;
use adapters::sbi::{Client, NfType, Settings};
use adapters::udm::Udm;
use adapters::upf::Upf;
use pei_bridge::config::{Config, Layers};
use pei_bridge::telemetry::metrics::Metrics;
use serde::Deserialize as _;
use toml::{Table, Value};

const SAMPLE: &str = "deploy/pei-bridge.toml";

fn in_repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(in_repository(file)).unwrap()
}

/// As `check` and `serve` load a file, whatever the environment of the test says.
fn load(file: &Path) -> Config {
    let layers = Layers {
        file: Some(file.to_owned()),
        ..Layers::default()
    };
    layers.load().unwrap()
}

/// A key that no section has; the error for it names those that there are.
const UNKNOWN: &str = "no-such-key";

/// Every key that the bridge takes below `section`, with the keys of sections below it.
fn known_keys(section: &str) -> BTreeSet<String> {
    let headers = match section {
        "" => vec![String::new()],
        name => vec![format!("[{name}]\n"), format!("[[{name}]]\n")],
    };
    let Some(names) = headers.iter().find_map(|header| keys_offered(header)) else {
        return BTreeSet::from([section.to_owned()]);
    };
    let below = |name: &String| match section {
        "" => known_keys(name),
        section => known_keys(&format!("{section}.{name}")),
    };
    names.iter().flat_map(below).collect()
}

/// The names in "unknown field `x`, expected one of `a`, `b`"; none where `header` is no section.
fn keys_offered(header: &str) -> Option<Vec<String>> {
    let text = format!("{header}{UNKNOWN} = 0\n");
    let error = toml::from_str::<Config>(&text).unwrap_err();
    let (complaint, offer) = error.message().split_once(", expected ")?;
    complaint.starts_with("unknown field").then_some(())?;
    let names = offer.split('`').skip(1).step_by(2);
    Some(names.map(str::to_owned).collect())
}

/// Settings that look like sections and are values: names in them are the operator's, or say where
/// a secret is.
const VALUES: [&str; 4] = [
    "limits.classes",
    "auth.issuers.client_secret",
    "audit.pseudonym_key",
    "ppid.secrets.secret",
];

/// The dotted keys of all values; those of an array of tables stand for all its elements.
fn keys_of(table: &Table, prefix: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        if VALUES.contains(&key.as_str()) {
            keys.insert(key);
            continue;
        }
        let below = format!("{key}.");
        let tables: Vec<&Table> = match value {
            Value::Table(inner) => vec![inner],
            Value::Array(items) => items.iter().filter_map(Value::as_table).collect(),
            _ => Vec::new(),
        };
        if tables.is_empty() && !value.is_table() {
            keys.insert(key);
        }
        keys.extend(tables.iter().flat_map(|inner| keys_of(inner, &below)));
    }
    keys
}

/// The sample with the settings in force that are commented out: "#key", not "# prose".
fn with_optional_settings(sample: &str) -> String {
    let setting = |line: &&str| line.starts_with(|first: char| first != '#' && first != ' ');
    sample
        .lines()
        .map(|line| line.strip_prefix('#').filter(setting).unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_sample_names_every_key_and_no_other() {
    let sample = with_optional_settings(&read(SAMPLE));
    let mentioned = keys_of(&sample.parse().unwrap(), "");
    assert_eq!(mentioned, known_keys(""));
    // The examples of optional settings are valid too, one with another.
    toml::from_str::<Config>(&sample)
        .unwrap()
        .validate()
        .unwrap();
}

/// A configuration for each kind of core; what each does is tried against the simulated core.
#[test]
fn every_sample_of_a_core_is_a_configuration() {
    let directory = in_repository("deploy/cores");
    let mut names: Vec<String> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "direct.toml",
            "feeds.toml",
            "nrf.toml",
            "open5gs.toml",
            "scp.toml"
        ]
    );
    let readme = read("README.md");
    for name in names {
        load(&directory.join(&name));
        assert!(readme.contains(&format!("deploy/cores/{name}")), "{name}");
    }
}

#[test]
fn the_sample_loads_and_changes_only_what_has_no_default() {
    let mut loaded = load(&in_repository(SAMPLE));
    let defaults = Config::default();
    for (roots, default) in [
        (&mut loaded.core.udm, &defaults.core.udm),
        (&mut loaded.core.bsf, &defaults.core.bsf),
        (&mut loaded.core.upf, &defaults.core.upf),
    ] {
        assert!(!roots.is_empty() && default.is_empty());
        roots.clear();
    }
    assert_eq!(loaded.auth.issuers.len(), 1);
    loaded.auth.issuers.clear();
    assert_eq!(loaded, defaults);
    // A default stands in the file itself, not only in force because the file is silent.
    let stated = keys_of(&read(SAMPLE).parse().unwrap(), "");
    let mut effective = keys_of(&Table::try_from(&defaults).unwrap(), "");
    for of_the_operator in [
        "api.deprecated",
        "auth.issuers",
        "limits.classes",
        "nat.pools",
        "ppid.secrets",
        "feeds.ip_domains",
    ] {
        effective.remove(of_the_operator);
    }
    assert_eq!(effective.difference(&stated).collect::<Vec<_>>(), [""; 0]);
}

/// Strings at any depth of a YAML or JSON file, with the key they stand under.
fn strings(value: &serde_json::Value, key: &str, found: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::String(text) => found.push((key.to_owned(), text.clone())),
        serde_json::Value::Array(items) => {
            for item in items {
                strings(item, key, found);
            }
        }
        serde_json::Value::Object(members) => {
            for (key, value) in members {
                strings(value, key, found);
            }
        }
        _ => {}
    }
}

fn yaml(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn the_configuration_for_kubernetes_loads() {
    let map = yaml(&read("deploy/kubernetes/configmap.yaml"));
    let text = map["data"]["pei-bridge.toml"].as_str().unwrap();
    let parsed = Config::deserialize(text.parse::<Table>().unwrap()).unwrap();
    parsed.validate().unwrap();
    // The kubelet reaches the probes through the address of the pod.
    assert!(!parsed.admin.listen.ip().is_loopback());

    let deployment = yaml(&read("deploy/kubernetes/deployment.yaml"));
    let pod = &deployment["spec"]["template"]["spec"];
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace > parsed.api.drain_timeout.as_secs());
    let ports: BTreeMap<&str, u64> = pod["containers"][0]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| {
            let number = port["containerPort"].as_u64().unwrap();
            (port["name"].as_str().unwrap(), number)
        })
        .collect();
    assert_eq!(ports["admin"], u64::from(parsed.admin.listen.port()));
}

#[test]
fn the_image_is_built_with_the_pinned_toolchain() {
    let pinned: Table = read("rust-toolchain.toml").parse().unwrap();
    let channel = pinned["toolchain"]["channel"].as_str().unwrap();
    let containerfile = read("deploy/Containerfile");
    assert!(containerfile.contains(&format!("FROM docker.io/library/rust:{channel}-")));
    assert!(containerfile.contains(&format!("RUSTUP_TOOLCHAIN={channel}")));
}

#[test]
fn the_unit_stops_later_than_the_drain_ends_and_allows_every_connection() {
    let unit = read("deploy/pei-bridge.service");
    let number = |key: &str| -> u64 {
        let line = unit.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|value| value.strip_prefix('='))
            .and_then(|value| value.parse().ok())
            .unwrap()
    };
    let api = Config::default().api;
    assert!(number("TimeoutStopSec") > api.drain_timeout.as_secs());
    assert!(number("LimitNOFILE") > 2 * u64::try_from(api.max_connections).unwrap());
}

/// A dump of the memory would hold identifiers, tokens and keys.
#[test]
fn the_unit_leaves_no_core_dump() {
    let unit = read("deploy/pei-bridge.service");
    let limits: Vec<&str> = unit
        .lines()
        .filter(|line| line.starts_with("LimitCORE"))
        .collect();
    assert_eq!(limits, ["LimitCORE=0"]);
}

/// Metric families with the labels that they have and the values that those can take.
type Families = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// What `/metrics` of a bridge shows that asks a UDM, a BSF and a UPF.
fn families() -> Families {
    let metrics = Metrics::new().unwrap();
    let client = |nf| Client::new(nf, Vec::new(), &Settings::default(), metrics.core.clone());
    let _functions = (
        Udm::new(client(NfType::Udm)),
        Bsf::new(&client(NfType::Bsf)),
        Upf::new(&client(NfType::Upf)),
    );
    let mut families = Families::new();
    for family in metrics.registry.gather() {
        let labels = families.entry(family.name().to_owned()).or_default();
        for metric in family.get_metric() {
            for label in metric.get_label() {
                let values = labels.entry(label.name().to_owned()).or_default();
                values.insert(label.value().to_owned());
            }
        }
    }
    families
}

/// Says which metric, label or label value of a `PromQL` expression the bridge does not have.
fn check_expression(expression: &str, families: &Families) -> Result<usize, String> {
    let mut seen = 0;
    let mut rest = expression;
    while let Some(start) = rest.find("pei_bridge_") {
        let from_name = &rest[start..];
        let end = from_name
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(from_name.len());
        let (name, after) = from_name.split_at(end);
        let family = ["", "_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| families.get(name.strip_suffix(suffix)?));
        let labels = family.ok_or_else(|| format!("no metric {name}"))?;
        if let Some((selector, _)) = after.strip_prefix('{').and_then(|s| s.split_once('}')) {
            for matcher in selector.split(',') {
                check_matcher(matcher.trim(), labels).map_err(|what| format!("{name}: {what}"))?;
            }
        }
        seen += 1;
        rest = after;
    }
    Ok(seen)
}

fn check_matcher(matcher: &str, labels: &BTreeMap<String, BTreeSet<String>>) -> Result<(), String> {
    let end = matcher.find(['=', '!']).ok_or("a matcher without =")?;
    let (label, test) = matcher.split_at(end);
    if label == "instance" {
        // Given by Prometheus, not by us.
        return Ok(());
    }
    let values = labels.get(label).ok_or(format!("no label {label}"))?;
    let (_, value) = test.split_once('"').ok_or("a value without quotes")?;
    let value = value.trim_end_matches('"');
    // Dashboards put their own variables in; a regular expression here is a list of alternatives.
    let mut wanted = value.split('|').filter(|value| !value.contains('$'));
    match wanted.find(|value| !values.contains(*value)) {
        Some(missing) => Err(format!("{label} is never {missing}")),
        None => Ok(()),
    }
}

/// Expressions stand under `expr`, and in a dashboard under `query` and `definition` as well.
fn check_file(file: &str, parsed: &serde_json::Value) {
    let families = families();
    let mut found = Vec::new();
    strings(parsed, "", &mut found);
    let mut seen = 0;
    for (key, text) in &found {
        if ["expr", "query", "definition"].contains(&key.as_str()) {
            seen += check_expression(text, &families)
                .unwrap_or_else(|error| panic!("{file}: {error} in {text}"));
        }
    }
    assert!(seen > 5, "{file} asks for {seen} metrics");
}

#[tokio::test]
async fn alerts_ask_for_what_is_exposed() {
    let file = "deploy/prometheus/alerts.yaml";
    check_file(file, &yaml(&read(file)));
}

#[tokio::test]
async fn the_dashboard_asks_for_what_is_exposed() {
    let file = "deploy/grafana/dashboard.json";
    check_file(file, &serde_json::from_str(&read(file)).unwrap());
}

/// Whoever walks through subscribers must be seen where operators look.
#[test]
fn walks_are_seen_and_told() {
    for file in [
        "deploy/prometheus/alerts.yaml",
        "deploy/grafana/dashboard.json",
    ] {
        for metric in [
            "pei_bridge_distinct_subscribers_max",
            "pei_bridge_limited_total",
        ] {
            assert!(read(file).contains(metric), "{file} has no {metric}");
        }
    }
}

#[tokio::test]
async fn an_expression_for_something_else_is_noticed() {
    let families = families();
    for wrong in [
        "pei_bridge_unheard_total",
        "rate(pei_bridge_requests_total{colour=\"red\"}[5m])",
        "rate(pei_bridge_requests_total{code=~\"INTERNAL|ODD\"}[5m])",
    ] {
        assert!(check_expression(wrong, &families).is_err(), "{wrong}");
    }
}
