//! The definitions of the API: ours, which are served, and the published ones. Every answer of every
//! test is held to them ([`crate::support::answer`]); here it is said whether the published ones
//! were at hand, that the definitions can refuse, and that ours say what the bridge does.

use std::io::Write as _;

use pei_bridge::api::Version;
use serde_json::{Value, json};

use crate::support::schemas::{self, Definition};
use crate::support::{Bridge, Rig, config};

/// Past the capture of the test harness, which shows nothing of a test that passes.
fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "pei-bridge, CAMARA definition: {what}");
}

/// Of the operations that describe a device, good answers and bad ones.
fn can_refuse(definition: &Definition) {
    let good = json!({"lastChecked": "2024-02-20T10:41:38.657Z", "imei": "490154203237518",
        "imeisv": "4901542032375180", "tac": "49015420", "model": "3110", "manufacturer": "Nokia"});
    let mut type_alone = good.clone();
    for name in ["imei", "imeisv"] {
        type_alone.as_object_mut().unwrap().remove(name);
    }
    let identifier = definition.answer("retrieve-identifier", 200).unwrap();
    let device_type = definition.answer("retrieve-type", 200).unwrap();
    assert!(identifier.is_valid(&good) && device_type.is_valid(&type_alone));
    for (name, wrong) in [
        ("lastChecked", json!("yesterday")),
        ("lastChecked", json!(1_708_425_698)),
        ("imei", json!(490_154_203_237_518_u64)),
        ("imeisv", json!(null)),
        ("tac", json!(null)),
        ("model", json!(3110)),
    ] {
        let mut bad = good.clone();
        bad[name] = wrong;
        assert!(!identifier.is_valid(&bad), "{bad}");
    }
    for (schema, body, name) in [
        (identifier, &good, "imei"),
        (identifier, &good, "lastChecked"),
        (device_type, &type_alone, "tac"),
    ] {
        let mut bad = body.clone();
        bad.as_object_mut().unwrap().remove(name);
        assert!(!schema.is_valid(&bad), "{bad}");
    }
    let error = definition.answer("retrieve-type", 400).unwrap();
    assert!(error.is_valid(&json!({"status": 400, "code": "INVALID_ARGUMENT", "message": "x"})));
    assert!(!error.is_valid(&json!({"status": "400", "code": "INVALID_ARGUMENT", "message": "x"})));
}

#[test]
fn the_definitions_can_refuse() {
    for version in Version::all().map(Version::as_str) {
        can_refuse(schemas::ours(version));
        match schemas::published(version) {
            Some(published) => {
                tell(&format!("every answer of {version} is checked against it"));
                can_refuse(published);
            }
            None => tell(&format!(
                "NOT CHECKED: that of {version} is not at ../shared/specs/camara"
            )),
        }
    }
}

/// Ours knows every operation and status that CAMARA publishes, and no operation beside.
#[test]
fn ours_documents_what_is_published() {
    for version in Version::all() {
        let name = version.as_str();
        let document: Value = serde_saphyr::from_str(version.document()).unwrap();
        let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
        let mut operations: Vec<_> = version
            .operations()
            .iter()
            .map(|operation| format!("/{}", operation.as_str()))
            .collect();
        operations.sort();
        assert_eq!(paths, operations.iter().collect::<Vec<_>>(), "{name}");
        let Some(published) = schemas::published(name) else {
            continue;
        };
        for operation in version.operations() {
            let operation = operation.as_str();
            let ours = schemas::ours(name).statuses(operation);
            for status in published.statuses(operation) {
                assert!(ours.contains(&status), "{name} {operation} {status}");
            }
        }
    }
}

/// Not a word of the published prose is ours.
#[test]
fn ours_is_in_words_of_our_own() {
    for version in Version::all().map(Version::as_str) {
        let ours: Value = definition(Version::named(version).unwrap().document());
        let Ok(published) = std::fs::read_to_string(schemas::published_file(version)) else {
            continue;
        };
        let published = definition(&published);
        let (mut our_prose, mut their_prose) = (Vec::new(), Vec::new());
        prose(&ours, &mut our_prose);
        prose(&published, &mut their_prose);
        for text in our_prose {
            assert!(!their_prose.contains(&text), "{version}: {text}");
        }
    }
}

fn definition(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Descriptions and summaries of more than a few words.
fn prose<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str() {
                    Some(text) if ["description", "summary"].contains(&name.as_str()) => {
                        if text.split_whitespace().count() > 3 {
                            found.push(text.trim());
                        }
                    }
                    _ => prose(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| prose(item, found)),
        _ => {}
    }
}

/// Every reference of a document leads somewhere.
#[test]
fn every_reference_is_there() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    for version in Version::all() {
        let document = definition(version.document());
        assert_eq!(document["openapi"], "3.0.3");
        let server = document["servers"][0]["url"].as_str().unwrap();
        assert!(server.ends_with(&format!("/device-identifier/{}", version.as_str())));
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 40);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}

#[tokio::test]
async fn the_documents_of_the_served_versions_are_on_the_admin_listener() {
    let rig = Rig::start().await;
    for version in Version::all() {
        let path = format!("/openapi/{}.yaml", version.as_str());
        let (status, text) = rig.bridge.admin(&path).await;
        assert_eq!((status, text.as_str()), (200, version.document()), "{path}");
    }
    for path in [
        "/openapi",
        "/openapi/",
        "/openapi/v9.yaml",
        "/openapi/v0.2",
        "/openapi/v0.2.yaml/",
        "/openapi/../v0.2.yaml",
    ] {
        assert_eq!(rig.bridge.admin(path).await.0, 404, "{path}");
    }
    let mut config = config(&[rig.core.core_addr()]);
    config.api.versions = vec![Version::named("v0.2").unwrap()];
    let one = Bridge::start(&config);
    assert_eq!(one.admin("/openapi/v0.2.yaml").await.0, 200);
    assert_eq!(one.admin("/openapi/v0.3.yaml").await.0, 404);
}
