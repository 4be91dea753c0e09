//! The 3GPP `OpenAPI` files, where they lie beside the repository: what a request of an operation
//! may look like.
//!
//! They are not part of this repository. Where they are missing, whoever checks says so.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use jsonschema::{Draft, Registry, Validator};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// Any URI will do, as long as the files refer to each other under it.
const BASE: &str = "https://specs.test";

/// The files of the services that are consumed.
const FILES: [&str; 9] = [
    "TS29503_Nudm_UECM.yaml",
    "TS29503_Nudm_SDM.yaml",
    "TS29503_Nudm_EE.yaml",
    "TS29521_Nbsf_Management.yaml",
    "TS29564_Nupf_GetPrivateUEIPaddr.yaml",
    "TS29508_Nsmf_EventExposure.yaml",
    "TS29510_Nnrf_NFManagement.yaml",
    "TS29510_Nnrf_NFDiscovery.yaml",
    "TS29510_Nnrf_AccessToken.yaml",
];

/// Headers that any request to the core may carry, whether or not its operation names them
/// (TS 29.500 5.2.2, 5.2.3; W3C Trace Context).
const USUAL_HEADERS: [&str; 12] = [
    "accept",
    "authorization",
    "content-length",
    "content-type",
    "user-agent",
    "3gpp-sbi-correlation-info",
    "3gpp-sbi-max-rsp-time",
    "3gpp-sbi-sender-timestamp",
    "3gpp-sbi-target-apiroot",
    "3gpp-sbi-routing-binding",
    "traceparent",
    "tracestate",
];
const DISCOVERY: &str = "3gpp-sbi-discovery-";

/// The definitions, as far as they are needed.
pub struct OpenApi {
    files: BTreeMap<String, Value>,
    registry: Registry<'static>,
    /// Each is made once, for it takes long.
    validators: RefCell<BTreeMap<Place, Rc<Validator>>>,
}

/// An operation, and where it stands.
struct Operation<'a> {
    file: &'static str,
    /// With what the server prescribes before it.
    template: String,
    method: &'a str,
    item: &'a Value,
    definition: &'a Value,
}

/// Where a schema stands: file and JSON pointer.
type Place = (String, String);

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/specs/3gpp")
}

/// `OpenAPI` 3.0 has `nullable` where JSON Schema has a type `null`, and a member that is read-only
/// is required of answers alone.
fn of_requests(schema: Value) -> Value {
    match schema {
        Value::Array(items) => items.into_iter().map(of_requests).collect(),
        Value::Object(members) => {
            let mut members: Map<String, Value> = members
                .into_iter()
                .map(|(name, member)| (name, of_requests(member)))
                .collect();
            let properties = members.get("properties").cloned().unwrap_or_default();
            if let Some(Value::Array(required)) = members.get_mut("required") {
                required.retain(|name| {
                    let property = name.as_str().and_then(|name| properties.get(name));
                    property.is_none_or(|property| property["readOnly"] != true)
                });
            }
            if members.remove("nullable") == Some(Value::Bool(true)) {
                json!({ "anyOf": [{ "type": "null" }, members] })
            } else {
                Value::Object(members)
            }
        }
        other => other,
    }
}

/// A file, and all that it refers to, directly or not.
fn load(name: &str, loaded: &mut BTreeMap<String, Value>) {
    if loaded.contains_key(name) {
        return;
    }
    let text =
        std::fs::read_to_string(directory().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    // TS 29.575 has a comment that touches a string, which is not YAML.
    let text = text.replace("'#\n", "'\n");
    let document: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    loaded.insert(name.to_owned(), of_requests(document));
    for line in text.lines().filter(|line| line.contains("$ref")) {
        let quoted = line.split('\'').nth(1).or_else(|| line.split('"').nth(1));
        if let Some((file, _)) = quoted.and_then(|reference| reference.split_once('#'))
            && !file.is_empty()
        {
            load(file, loaded);
        }
    }
}

impl OpenApi {
    /// The definitions, or nothing where they are not at hand.
    pub fn find() -> Option<Self> {
        if !directory().is_dir() {
            return None;
        }
        let mut files = BTreeMap::new();
        for name in FILES {
            load(name, &mut files);
        }
        let registry = files
            .iter()
            .fold(Registry::new().draft(Draft::Draft4), |all, (name, file)| {
                all.add(format!("{BASE}/{name}"), file.clone()).unwrap()
            });
        Some(Self {
            registry: registry.prepare().unwrap(),
            files,
            validators: RefCell::default(),
        })
    }

    /// What is wrong with a request as the simulated core kept it.
    pub fn faults(&self, request: &Value) -> Vec<String> {
        let Some(id) = request["operationId"].as_str() else {
            return vec!["it belongs to no operation".to_owned()];
        };
        let operation = self.operation(id, request["path"].as_str().unwrap());
        let mut faults = Vec::new();
        if !request["method"]
            .as_str()
            .unwrap()
            .eq_ignore_ascii_case(operation.method)
        {
            faults.push(format!("{id} is {}", operation.method));
        }
        self.check_path(&operation, request, &mut faults);
        self.check_query(&operation, request, &mut faults);
        self.check_headers(&operation, request, &mut faults);
        self.check_body(&operation, request, &mut faults);
        faults
    }

    /// The operation of this name in the file of the service that a path belongs to: some names
    /// stand in several files.
    fn operation(&self, id: &str, path: &str) -> Operation<'_> {
        let belongs = |file: &&str| {
            let server = self.files[*file]["servers"][0]["url"].as_str();
            let service = server.and_then(|server| server.split('/').nth(1));
            service.is_some() && path.split('/').nth(1) == service
        };
        let (own, other): (Vec<_>, Vec<_>) = FILES.into_iter().partition(belongs);
        for file in own.into_iter().chain(other) {
            let document = &self.files[file];
            let server = document["servers"][0]["url"]
                .as_str()
                .unwrap_or("{apiRoot}");
            let prefix = server.trim_start_matches("{apiRoot}");
            for (path, item) in document["paths"].as_object().unwrap() {
                for method in ["get", "put", "post", "patch", "delete"] {
                    let definition = &item[method];
                    if definition["operationId"] == id {
                        return Operation {
                            file,
                            template: format!("{prefix}{path}"),
                            method,
                            item,
                            definition,
                        };
                    }
                }
            }
        }
        panic!("no operation {id}");
    }

    /// The parameters of an operation that stand in one place, by their names.
    fn parameters<'a>(
        &'a self,
        operation: &Operation<'a>,
        place: &str,
    ) -> BTreeMap<String, (Place, &'a Value)> {
        let mut parameters = BTreeMap::new();
        let path_of = |pointer: &str| pointer.replace('~', "~0").replace('/', "~1");
        let template = operation.template.as_str();
        let document = &self.files[operation.file];
        let paths = document["paths"].as_object().unwrap();
        let own = paths
            .keys()
            .find(|path| template.ends_with(path.as_str()))
            .unwrap();
        for (holder, at) in [
            (
                operation.item,
                format!("/paths/{}/parameters", path_of(own)),
            ),
            (
                operation.definition,
                format!("/paths/{}/{}/parameters", path_of(own), operation.method),
            ),
        ] {
            let list = holder["parameters"].as_array();
            for (index, parameter) in list.into_iter().flatten().enumerate() {
                let at = (operation.file.to_owned(), format!("{at}/{index}"));
                let (at, parameter) = self.follow(at, parameter);
                if parameter["in"] == place {
                    let name = parameter["name"].as_str().unwrap().to_owned();
                    parameters.insert(name, (at, parameter));
                }
            }
        }
        parameters
    }

    /// What a reference refers to.
    fn follow<'a>(&'a self, at: Place, value: &'a Value) -> (Place, &'a Value) {
        let Some(reference) = value["$ref"].as_str() else {
            return (at, value);
        };
        let (file, pointer) = reference.split_once('#').unwrap();
        let file = if file.is_empty() {
            at.0
        } else {
            file.to_owned()
        };
        let value = self.files[&file].pointer(pointer).unwrap();
        self.follow((file, pointer.to_owned()), value)
    }

    fn validator(&self, place: &Place) -> Rc<Validator> {
        let mut validators = self.validators.borrow_mut();
        let made = validators.get(place).cloned();
        made.unwrap_or_else(|| {
            let validator = Rc::new(self.make_validator(place));
            validators.insert(place.clone(), validator.clone());
            validator
        })
    }

    fn make_validator(&self, (file, pointer): &Place) -> Validator {
        let reference = json!({ "$ref": format!("{BASE}/{file}#{}", encode_pointer(pointer)) });
        jsonschema::options()
            .with_draft(Draft::Draft4)
            .with_registry(&self.registry)
            .should_validate_formats(true)
            .build(&reference)
            .unwrap()
    }

    fn check_value(
        &self,
        what: &str,
        (at, parameter): &(Place, &Value),
        text: &str,
        faults: &mut Vec<String>,
    ) {
        let (file, pointer) = at;
        if parameter["content"]["application/json"].is_object() {
            let place = (
                file.clone(),
                format!("{pointer}/content/application~1json/schema"),
            );
            match serde_json::from_str(text) {
                Ok(value) => self.check(what, &place, &value, faults),
                Err(error) => faults.push(format!("{what}: {error}")),
            }
            return;
        }
        let place = (file.clone(), format!("{pointer}/schema"));
        let (_, schema) = self.follow(place.clone(), &parameter["schema"]);
        let value = match schema["type"].as_str() {
            Some("array") => text.split(',').map(Value::from).collect(),
            Some("integer") => text.parse::<i64>().map_or(Value::from(text), Value::from),
            Some("boolean") => text.parse::<bool>().map_or(Value::from(text), Value::from),
            _ => Value::from(text),
        };
        self.check(what, &place, &value, faults);
    }

    fn check(&self, what: &str, place: &Place, value: &Value, faults: &mut Vec<String>) {
        let validator = self.validator(place);
        faults.extend(
            validator
                .iter_errors(value)
                .map(|fault| format!("{what}: {fault}")),
        );
    }

    fn check_path(&self, operation: &Operation<'_>, request: &Value, faults: &mut Vec<String>) {
        let path = request["path"].as_str().unwrap();
        let (wanted, given) = (operation.template.split('/'), path.split('/'));
        if wanted.clone().count() != given.clone().count() {
            faults.push(format!("{path} is no {}", operation.template));
            return;
        }
        let parameters = self.parameters(operation, "path");
        for (wanted, given) in wanted.zip(given) {
            let name = wanted
                .strip_prefix('{')
                .and_then(|name| name.strip_suffix('}'));
            let Some(name) = name else {
                if wanted != given {
                    faults.push(format!("{given} is no {wanted}"));
                }
                continue;
            };
            let value = percent_decode_str(given).decode_utf8().unwrap();
            self.check_value(name, &parameters[name], &value, faults);
        }
    }

    fn check_query(&self, operation: &Operation<'_>, request: &Value, faults: &mut Vec<String>) {
        let parameters = self.parameters(operation, "query");
        let query = request["query"].as_str().unwrap_or_default();
        let mut seen = BTreeSet::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8().unwrap();
            match parameters.get(name) {
                Some(parameter) => self.check_value(name, parameter, &value, faults),
                None => faults.push(format!("no query parameter {name}")),
            }
            if !seen.insert(name) {
                faults.push(format!("{name} stands twice"));
            }
        }
        for (name, (_, parameter)) in &parameters {
            if parameter["required"] == true && !seen.contains(name.as_str()) {
                faults.push(format!("{name} is missing"));
            }
        }
    }

    fn check_headers(&self, operation: &Operation<'_>, request: &Value, faults: &mut Vec<String>) {
        let parameters: BTreeMap<_, _> = self
            .parameters(operation, "header")
            .into_iter()
            .map(|(name, parameter)| (name.to_lowercase(), parameter))
            .collect();
        let search = self.operation("SearchNFInstances", "/nnrf-disc/v1");
        let factors = self.parameters(&search, "query");
        for (name, value) in request["headers"].as_object().unwrap() {
            let value = value.as_str().unwrap();
            if let Some(factor) = name.strip_prefix(DISCOVERY) {
                // TS 29.500 5.2.3.2.7: as in the query of a discovery.
                let value = percent_decode_str(value).decode_utf8().unwrap();
                match factors.get(factor) {
                    Some(factor) => self.check_value(name, factor, &value, faults),
                    None => faults.push(format!("no discovery factor {factor}")),
                }
            } else if let Some(parameter) = parameters.get(name) {
                self.check_value(name, parameter, value, faults);
            } else if !USUAL_HEADERS.contains(&name.as_str()) {
                faults.push(format!("no header {name}"));
            }
            faults.extend(check_form(name, value));
        }
        for (name, (_, parameter)) in &parameters {
            if parameter["required"] == true && request["headers"].get(name).is_none() {
                faults.push(format!("{name} is missing"));
            }
        }
    }

    fn check_body(&self, operation: &Operation<'_>, request: &Value, faults: &mut Vec<String>) {
        let body = request["body"].as_str().unwrap();
        let pointer = operation_pointer(operation, &self.files[operation.file]);
        let at = (operation.file.to_owned(), format!("{pointer}/requestBody"));
        let definition = &operation.definition["requestBody"];
        if definition.is_null() {
            if !body.is_empty() {
                faults.push("it has a body".to_owned());
            }
            return;
        }
        let ((file, pointer), definition) = self.follow(at, definition);
        let content = request["headers"]["content-type"]
            .as_str()
            .unwrap_or_default();
        if !definition["content"][content].is_object() {
            faults.push(format!("{content:?} is no type of its body"));
            return;
        }
        let value = if content.ends_with("json") {
            match serde_json::from_str(body) {
                Ok(value) => value,
                Err(error) => {
                    faults.push(format!("body: {error}"));
                    return;
                }
            }
        } else {
            form(body)
        };
        let content = content.replace('/', "~1");
        let place = (file, format!("{pointer}/content/{content}/schema"));
        self.check("body", &place, &value, faults);
    }
}

fn operation_pointer(operation: &Operation<'_>, document: &Value) -> String {
    let paths = document["paths"].as_object().unwrap();
    let own = paths
        .keys()
        .find(|path| operation.template.ends_with(path.as_str()))
        .unwrap();
    let own = own.replace('~', "~0").replace('/', "~1");
    format!("/paths/{own}/{}", operation.method)
}

/// A pointer as the fragment of a URI.
fn encode_pointer(pointer: &str) -> String {
    pointer.replace('{', "%7B").replace('}', "%7D")
}

fn form(body: &str) -> Value {
    let fields = body.split('&').map(|field| {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let value = percent_decode_str(value).decode_utf8().unwrap();
        (name.to_owned(), Value::from(&*value))
    });
    Value::Object(fields.collect())
}

/// What TS 29.500 says of headers that no operation names (`TS29500_CustomHeaders.abnf`).
fn check_form(name: &str, value: &str) -> Option<String> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = match name {
        "user-agent" => value.starts_with("NEF-"),
        "3gpp-sbi-correlation-info" => {
            let (kind, identifier) = value.split_once('-').unwrap_or_default();
            let allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~@".contains(&byte);
            ["imsi", "nai", "msisdn", "extid"].contains(&kind)
                && !identifier.is_empty()
                && identifier.bytes().all(allowed)
        }
        "3gpp-sbi-max-rsp-time" => digits(value) && value.len() <= 5,
        // Sun, 04 Aug 2019 08:49:37.845 GMT
        "3gpp-sbi-sender-timestamp" => {
            let (date, milliseconds) = value.split_at_checked(25).unwrap_or(("", ""));
            let milliseconds = milliseconds.strip_prefix('.').unwrap_or_default();
            let milliseconds = milliseconds.strip_suffix(" GMT").unwrap_or_default();
            let weekday = date.get(3..5) == Some(", ");
            weekday && digits(milliseconds) && milliseconds.len() == 3
        }
        "3gpp-sbi-target-apiroot" => value.starts_with("http://") || value.starts_with("https://"),
        "3gpp-sbi-routing-binding" => {
            let level = value.strip_prefix("bl=").unwrap_or_default();
            [
                "nf-instance",
                "nf-set",
                "nfservice-instance",
                "nfservice-set",
            ]
            .iter()
            .any(|known| level.starts_with(known))
        }
        "authorization" => value.starts_with("Bearer "),
        _ => true,
    };
    (!fits).then(|| format!("{name} is not of its form"))
}
