//! The control listener of the simulated core (interfaces.md).

use std::net::SocketAddr;

use http::Method;
use serde_json::{Value, json};

use super::client;

pub const GET_3GPP: &str = "Get3GppRegistration";
pub const GET_NON_3GPP: &str = "GetNon3GppRegistration";
pub const TRANSLATE: &str = "GetSupiOrGpsi";
pub const GET_BINDINGS: &str = "GetPCFBindings";
pub const GET_UC_DATA: &str = "GetUcData";
pub const UE_IP_INFO: &str = "SearchUeIpInfo";

#[derive(Debug, Clone, Copy)]
pub struct Control(pub SocketAddr);

impl Control {
    async fn done(&self, method: Method, path: &str, body: &str) -> String {
        let (status, text) = client::exchange(self.0, method.clone(), path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {text}");
        text
    }

    /// Calls since the last reset, of all operations.
    pub async fn calls(&self) -> Value {
        let text = self.done(Method::GET, "/sim/calls", "").await;
        serde_json::from_str(&text).unwrap()
    }

    /// Calls of one operation since the last reset.
    pub async fn count(&self, operation: &str) -> u64 {
        self.calls().await[operation].as_u64().expect(operation)
    }

    /// Calls of every operation since the last reset.
    pub async fn total(&self) -> u64 {
        let calls = self.calls().await;
        let counts = calls.as_object().unwrap().values();
        counts.filter_map(Value::as_u64).sum()
    }

    pub async fn reset(&self) {
        self.done(Method::POST, "/sim/calls/reset", "").await;
    }

    pub async fn fault(&self, operation: &str, fault: &Value) {
        let path = format!("/sim/faults/{operation}");
        self.done(Method::PUT, &path, &fault.to_string()).await;
    }

    pub async fn clear_faults(&self) {
        self.done(Method::DELETE, "/sim/faults", "").await;
    }

    /// Lets an instance do something: `kill`, `revive`, `restart`, `suspend`, `resume`.
    pub async fn order(&self, instance: &str, order: &str) {
        let path = format!("/sim/instances/{instance}/{order}");
        self.done(Method::POST, &path, "").await;
    }

    /// Changes what an instance says of itself at the NRF.
    pub async fn profile(&self, instance: &str, change: &Value) {
        let path = format!("/sim/instances/{instance}");
        self.done(Method::PATCH, &path, &change.to_string()).await;
    }

    /// A fault of one instance alone.
    pub async fn fault_at(&self, instance: &str, operation: &str, fault: &Value) {
        let path = format!("/sim/instances/{instance}/faults/{operation}");
        self.done(Method::PUT, &path, &fault.to_string()).await;
    }

    pub async fn clear_faults_at(&self, instance: &str) {
        let path = format!("/sim/instances/{instance}/faults");
        self.done(Method::DELETE, &path, "").await;
    }

    /// What an instance says of its load in each answer.
    pub async fn headers_at(&self, instance: &str, headers: &Value) {
        let path = format!("/sim/instances/{instance}/headers");
        self.done(Method::PUT, &path, &headers.to_string()).await;
    }

    /// Calls of every operation of one instance since the last reset.
    pub async fn total_at(&self, instance: &str) -> u64 {
        let path = format!("/sim/instances/{instance}/calls");
        let text = self.done(Method::GET, &path, "").await;
        let calls: Value = serde_json::from_str(&text).unwrap();
        let counts = calls.as_object().unwrap().values();
        counts.filter_map(Value::as_u64).sum()
    }

    pub async fn reset_at(&self, instance: &str) {
        let path = format!("/sim/instances/{instance}/calls/reset");
        self.done(Method::POST, &path, "").await;
    }

    pub async fn swap_device(&self, supi: &str, pei: &str) {
        let path = format!("/sim/subscribers/{supi}/device-swap");
        let body = json!({ "pei": pei }).to_string();
        self.done(Method::POST, &path, &body).await;
    }

    /// Replaces or adds a subscriber.
    pub async fn put(&self, subscriber: &Value) {
        let path = format!("/sim/subscribers/{}", subscriber["supi"].as_str().unwrap());
        self.done(Method::PUT, &path, &subscriber.to_string()).await;
    }

    /// A subscriber of our own with this registration over 3GPP access, and this phone number.
    pub async fn register(&self, number: &str, amf3gpp: &Value) {
        let last_ten = format!("{number:0>10}");
        let last_ten = &last_ten[last_ten.len() - 10..];
        self.put(&json!({
            "supi": format!("imsi-00101{last_ten}"),
            "gpsis": [format!("msisdn-{number}")],
            "amf3gpp": amf3gpp,
        }))
        .await;
    }

    /// Changes what a subscriber consents to.
    pub async fn consent(&self, supi: &str, consent: &Value) {
        let path = format!("/sim/subscribers/{supi}/consent");
        self.done(Method::POST, &path, &consent.to_string()).await;
    }

    /// A token of the issuer beside the core, with more form parameters than its grant type.
    pub async fn token(&self, form: &str) -> String {
        let form = format!("grant_type=client_credentials&{form}");
        let text = self.done(Method::POST, "/oidc/token", &form).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn release_session(&self, pdu_session_ref: &str) {
        let path = format!("/sim/sessions/{pdu_session_ref}/release");
        self.done(Method::POST, &path, "").await;
    }

    pub async fn start_session(&self, session: &Value) {
        self.done(Method::POST, "/sim/sessions", &session.to_string())
            .await;
    }

    /// The requests that came so far, as far as they are kept (`Options::record`).
    pub async fn requests(&self) -> Vec<Value> {
        let text = self.done(Method::GET, "/sim/requests", "").await;
        serde_json::from_str(&text).unwrap()
    }

    /// The first request of this operation that is kept.
    pub async fn request(&self, operation: &str) -> Value {
        let all = self.requests().await;
        let found = all.into_iter().find(|one| one["operationId"] == operation);
        found.unwrap_or_else(|| panic!("no request of {operation}"))
    }
}
