//! What the bridge says of its answers, and what CAMARA published: every answer is held to both.
//!
//! Ours is `deploy/openapi`; the published definitions are not part of this repository and are
//! checked against where they lie beside it. They win over their examples: nothing of those is
//! used, and lengths that only their prose tells are checked beside.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use jsonschema::{Draft, Validator};
use pei_bridge::api::Version;
use serde_json::{Value, json};

/// Where a published definition lies.
pub fn published_file(version: &str) -> PathBuf {
    let published = match version {
        "v0.1.0" => "0.1.0",
        "v0.2" => "0.2.0",
        "v0.3" => "0.3.0",
        "v0.4alpha1" => "0.4.0-alpha.1",
        other => panic!("{other} was not published"),
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!(
        "../shared/specs/camara/device-identifier-v{published}.yaml"
    ))
}

/// The answers of one version, by operation and status.
pub struct Definition(HashMap<(String, u16), Validator>);

impl Definition {
    /// Reads every response of every operation.
    pub fn read(text: &str) -> Self {
        let document: Value = serde_saphyr::from_str(text).unwrap();
        let mut answers = HashMap::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let responses = item["post"]["responses"].as_object().unwrap();
            for (status, response) in responses {
                let place = match response["$ref"].as_str() {
                    Some(reference) => reference.to_owned(),
                    None => format!(
                        "#/paths/{}/post/responses/{status}",
                        path.replace('/', "~1")
                    ),
                };
                let key = (path[1..].to_owned(), status.parse().unwrap());
                answers.insert(key, validator(&document, &place));
            }
        }
        Self(answers)
    }

    pub fn answer(&self, operation: &str, status: u16) -> Option<&Validator> {
        self.0.get(&(operation.to_owned(), status))
    }

    pub fn statuses(&self, operation: &str) -> Vec<u16> {
        let of_operation = self.0.keys().filter(|(it, _)| it == operation);
        of_operation.map(|(_, status)| *status).collect()
    }
}

fn validator(document: &Value, response: &str) -> Validator {
    let reference = format!("{response}/content/application~1json/schema");
    // Draft 4 ignores what stands beside a `$ref`, so the reference gets a place of its own.
    let schema = json!({
        "allOf": [{ "$ref": reference }],
        "components": document["components"],
        "paths": document["paths"],
    });
    let options = jsonschema::options().with_draft(Draft::Draft4);
    options
        .should_validate_formats(true)
        .build(&schema)
        .unwrap()
}

/// Ours and, where it is at hand, the published one.
struct Definitions {
    ours: Definition,
    published: Option<Definition>,
}

fn definitions(version: &str) -> &'static Definitions {
    static ALL: OnceLock<HashMap<&'static str, Definitions>> = OnceLock::new();
    let load = || {
        let of = |version: Version| Definitions {
            ours: Definition::read(version.document()),
            published: std::fs::read_to_string(published_file(version.as_str()))
                .ok()
                .map(|text| Definition::read(&text)),
        };
        Version::all()
            .map(|version| (version.as_str(), of(version)))
            .collect()
    };
    &ALL.get_or_init(load)[version]
}

/// The definition of ours.
pub fn ours(version: &str) -> &'static Definition {
    &definitions(version).ours
}

/// The published definition, where it is at hand.
pub fn published(version: &str) -> Option<&'static Definition> {
    definitions(version).published.as_ref()
}

/// Checks the body of an answer. Every status is one of ours; CAMARA publishes not all of them.
pub fn check(version: &str, operation: &str, status: u16, body: &Value) {
    let ours = ours(version).answer(operation, status);
    let ours = ours.unwrap_or_else(|| panic!("{version} {operation}: {status} is not documented"));
    let published = published(version).and_then(|it| it.answer(operation, status));
    for (whose, validator) in [("ours", Some(ours)), ("CAMARA", published)] {
        let Some(validator) = validator else {
            continue;
        };
        let faults: Vec<String> = validator
            .iter_errors(body)
            .map(|it| it.to_string())
            .collect();
        assert!(
            faults.is_empty(),
            "{whose}, {version} {operation} {status}: {faults:?} in {body}"
        );
    }
}
