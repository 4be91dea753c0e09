//! The published definition of the API. Every answer of every test is held to it where it is at
//! hand ([`crate::support::answer`]); here it is said whether it was, and that it can fail.

use std::io::Write as _;

use serde_json::json;

use crate::support::schemas;

/// Past the capture of the test harness, which shows nothing of a test that passes.
fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "pei-bridge, CAMARA definition: {what}");
}

#[test]
fn the_schemas_can_refuse() {
    let Some(schemas) = schemas::all() else {
        tell("NOT CHECKED: device-identifier-v0.1.0.yaml is not at ../shared/specs/camara");
        return;
    };
    tell("every answer is checked against device-identifier-v0.1.0.yaml");
    let good = json!({"lastChecked": "2024-02-20T10:41:38.657Z", "imei": "490154203237518",
        "imeisv": "4901542032375180", "tac": "49015420", "model": "3110", "manufacturer": "Nokia"});
    let identifier = &schemas["200RetrieveIdentifier"];
    let device_type = &schemas["200RetrieveType"];
    assert!(identifier.is_valid(&good) && device_type.is_valid(&good));
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
    for (schema, name) in [
        (identifier, "imei"),
        (identifier, "lastChecked"),
        (device_type, "tac"),
    ] {
        let mut bad = good.clone();
        bad.as_object_mut().unwrap().remove(name);
        assert!(!schema.is_valid(&bad), "{bad}");
    }
    let error = &schemas["400BadRequest"];
    assert!(error.is_valid(&json!({"status": 400, "code": "INVALID_ARGUMENT", "message": "x"})));
    assert!(!error.is_valid(&json!({"status": "400", "code": "INVALID_ARGUMENT", "message": "x"})));
}
