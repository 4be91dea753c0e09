//! Certificates, keys and trust: `[api.tls]`, `[core.tls]`, `[auth.tls]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// TLS 1.2 and 1.3 on a listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// Certificate chain (PEM), our own first. Read again when it changes.
    pub certificate_file: PathBuf,
    /// Private key (PEM).
    pub key_file: PathBuf,
    /// Whether clients must show a certificate.
    #[serde(default)]
    pub client_certificates: ClientCertificates,
    /// The authorities that client certificates are checked against (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
}

/// `api.tls.client_certificates`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Not asked for.
    #[default]
    Off,
    /// Asked for, and checked where one is shown.
    Optional,
    /// A client without one is turned away.
    Required,
}

/// TLS towards a peer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    /// The authorities that the peer's certificate is checked against (PEM); absent: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate chain (PEM), for a peer that asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}
