//! One answer, and what holds for every answer of every version (northbound.md).

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use super::client::Ask;
use super::schemas;

/// What a consumer may see in the head of an answer, and nothing else.
const ALLOWED_HEADERS: [&str; 12] = [
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "deprecation",
    "link",
    "retry-after",
    "sunset",
    "www-authenticate",
    "x-correlator",
];

/// Any part of a token of this length gives it away.
const TOKEN_PART: usize = 16;

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().unwrap();
        assert!(values.next().is_none(), "{name} stands twice");
        Some(value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// 200 with exactly these members.
    #[track_caller]
    pub fn is(&self, members: &Value) {
        assert_eq!((self.status, &self.json()), (200, members));
    }

    /// 200 for the device with this IMEI.
    #[track_caller]
    pub fn is_imei(&self, imei: &str) {
        assert_eq!(self.status, 200, "{}", self.json());
        assert_eq!(self.json()["imei"], imei);
    }

    #[track_caller]
    pub fn is_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code));
    }

    /// Everything that holds whatever was asked.
    pub fn check(&self, ask: &Ask) {
        self.check_head(ask);
        if ask.method == http::Method::HEAD {
            assert!(self.body.is_empty(), "an answer to HEAD has no body");
            return;
        }
        assert_eq!(self.header("content-type"), Some("application/json"));
        if self.status == 200 {
            self.check_device(ask);
        } else {
            self.check_error(ask);
        }
    }

    fn check_head(&self, ask: &Ask) {
        for name in self.headers.keys() {
            assert!(
                ALLOWED_HEADERS.contains(&name.as_str()),
                "{name} is no header for consumers"
            );
        }
        let echoed = self.header("x-correlator").expect("a correlator");
        let given = ask.correlator();
        let fresh = is_uuid(echoed);
        assert!(fresh || given == Some(echoed), "{echoed} is no correlator");
        if let Some(given) = given.filter(|given| is_uuid(given)) {
            assert_eq!(echoed, given, "a valid correlator is echoed");
        }
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("allow"), (self.status == 405).then_some("POST"));
        match self.status {
            429 => assert!(self.header("retry-after").is_some(), "429 says when"),
            503 => {}
            _ => assert!(self.header("retry-after").is_none()),
        }
        let challenge = self.header("www-authenticate");
        match challenge {
            None => assert_ne!(self.status, 401, "a 401 says what it asks for"),
            Some(challenge) => {
                let for_scope = challenge.contains("insufficient_scope");
                let expected = if for_scope { 403 } else { 401 };
                assert_eq!(self.status, expected, "{challenge}");
                assert!(challenge.contains("Bearer") || challenge.contains("DPoP"));
            }
        }
    }

    fn check_device(&self, ask: &Ask) {
        let body = self.json();
        let (version, operation) = ask.target().expect("a path that leads somewhere");
        schemas::check(version, operation, 200, &body);
        for (name, length) in [("imeisv", 16), ("imei", 15), ("tac", 8)] {
            let Some(value) = body.get(name) else {
                continue;
            };
            let digits = value.as_str().unwrap();
            assert_eq!(digits.len(), length, "{name}: {digits}");
            assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{digits}");
        }
        let time = body["lastChecked"].as_str().unwrap();
        assert_eq!(time.len(), "2024-02-20T10:41:38.657Z".len(), "{time}");
        assert!(time.ends_with('Z'), "{time}");
    }

    fn check_error(&self, ask: &Ask) {
        let body = self.json();
        if let Some((version, operation)) = ask.target() {
            schemas::check(version, operation, self.status, &body);
        }
        let names: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(names, ["code", "message", "status"], "{body}");
        assert_eq!(body["status"], self.status, "{body}");
        let message = self.message();
        assert!(!message.is_empty());
        for secret in identifiers(&ask.body) {
            assert!(!message.contains(&secret), "the message repeats {secret}");
        }
        for (_, credentials) in ask.headers.iter().filter(|(it, _)| *it == "authorization") {
            for part in credentials.as_bytes().chunks_exact(TOKEN_PART) {
                let told = self.body.windows(TOKEN_PART).any(|window| window == part);
                assert!(!told, "the body repeats the token");
            }
        }
    }
}

/// The 36-character form of RFC 9562.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The values in a body that may lead to a person, where the body can be read.
fn identifiers(body: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    collect(
        &serde_json::from_slice(body).unwrap_or_default(),
        &mut found,
    );
    found
}

fn collect(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.values().for_each(|value| collect(value, into)),
        Value::Array(items) => items.iter().for_each(|value| collect(value, into)),
        // Shorter ones stand in any text by chance.
        Value::String(text) if text.len() > 4 => into.push(text.clone()),
        Value::Number(number) if number.to_string().len() > 3 => into.push(number.to_string()),
        _ => {}
    }
}
