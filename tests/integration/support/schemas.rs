//! The schemas of the CAMARA definition, where it lies beside the repository.
//!
//! It is not part of this repository. The definition wins over its examples: nothing of them is
//! used, and lengths that only the prose tells are checked beside.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

const FILE: &str = "../shared/specs/camara/device-identifier-v0.1.0.yaml";

const RESPONSES: [&str; 3] = ["200RetrieveIdentifier", "200RetrieveType", "400BadRequest"];

/// The validators of the responses by their names, or nothing where the definition is missing.
pub fn all() -> Option<&'static HashMap<&'static str, Validator>> {
    static ALL: OnceLock<Option<HashMap<&'static str, Validator>>> = OnceLock::new();
    ALL.get_or_init(load).as_ref()
}

fn load() -> Option<HashMap<&'static str, Validator>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let text = std::fs::read_to_string(file).ok()?;
    let definition: Value = serde_saphyr::from_str(&text).unwrap();
    let validators = RESPONSES.map(|name| {
        let reference = format!("#/components/responses/{name}/content/application~1json/schema");
        // Draft 4 ignores what stands beside a `$ref`, so the reference gets a place of its own.
        let schema = json!({
            "allOf": [{ "$ref": reference }],
            "components": definition["components"],
        });
        let validator = jsonschema::options()
            .with_draft(Draft::Draft4)
            .should_validate_formats(true)
            .build(&schema);
        (name, validator.unwrap())
    });
    Some(HashMap::from(validators))
}

/// Checks a body against the schema of a response, where it is known.
pub fn check(response: &str, body: &Value) {
    let Some(validators) = all() else {
        return;
    };
    let faults: Vec<String> = validators[response]
        .iter_errors(body)
        .map(|fault| fault.to_string())
        .collect();
    assert!(faults.is_empty(), "{response}: {faults:?} in {body}");
}
