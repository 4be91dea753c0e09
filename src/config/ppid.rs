//! What PPIDs are made with: `[ppid]`.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::values::{self, SecretSource};

/// `[ppid]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ppid {
    /// How long after a change the PPID by the secret before is given as well; 0 s: not at all.
    #[serde(with = "values::duration")]
    pub overlap: Duration,
    /// The secrets, each from its time on; none: `retrieve-ppid` is served on loopback alone.
    pub secrets: Vec<PpidSecret>,
}

/// `[[ppid.secrets]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PpidSecret {
    /// What the audit and the log call it.
    pub id: String,
    /// At least 32 bytes.
    pub secret: SecretSource,
    /// From when it counts; absent: from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
}
