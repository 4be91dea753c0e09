//! One typed configuration, validated whole before anything starts.
//!
//! Pure data: nothing here opens a socket or a file of the service. Every default is a named
//! constant with its reason; every key has its line in `deploy/pei-bridge.toml`.
//! [`load`] lays file and environment over each other and says where a mistake stands.

mod access;
mod core;
mod doubts;
mod feeds;
mod limits;
mod load;
mod ppid;
mod telemetry;
mod tls;
mod url;
mod validate;
mod values;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use access::{
    Algorithm, Audit, AuditFailure, AuditSink, Auth, AuthMode, Consent, ConsentMode, Dpop,
    DpopMode, Issuer,
};
pub use core::{
    Core, Discovered, Discovery, GpsiToSupi, LastChecked, Outlier, Purged, Registration, Tokens,
};
pub use feeds::{Callback, Feeds, IpDomainRule};
pub use limits::{Allowance, Limits, LimitsClass};
pub use load::{ConfigError, Layers};
pub use ppid::{Ppid, PpidSecret};
pub use telemetry::{Otlp, Telemetry};
pub use tls::{ClientCertificates, ClientTls, ServerTls};
pub use url::{CollectorUrl, IssuerUrl, LinkUrl, PublicUrl, UrlError};
pub use values::{IdentifierKind, MultipleIdentifiers, SecretSource};

use crate::api::Version;
use crate::lookup::nat::NatPool;

/// Everything that can be set. See `deploy/pei-bridge.toml` for the meaning of each key.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The listener that API consumers use.
    pub api: Api,
    /// The listener for health, readiness and metrics.
    pub admin: Admin,
    /// Who may ask.
    pub auth: Auth,
    /// What subscribers allow.
    pub consent: Consent,
    /// How much each consumer may ask.
    pub limits: Limits,
    /// Names of devices that only one consumer knows them by.
    pub ppid: Ppid,
    /// The record of every decision.
    pub audit: Audit,
    /// The functions of the core.
    pub core: Core,
    /// The listener for what the core tells unasked.
    pub callback: Callback,
    /// What the core is to tell unasked.
    pub feeds: Feeds,
    /// Deterministic NATs that need no question.
    pub nat: Nat,
    /// What is kept, and how long.
    pub cache: Cache,
    /// The table of device types.
    pub tac: Tac,
    /// What is logged.
    pub log: Log,
    /// Who is told what requests go through.
    pub telemetry: Telemetry,
}

/// `[api]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Address and port.
    pub listen: SocketAddr,
    /// From the first byte of a request's headers read to its answer ready.
    #[serde(with = "values::duration")]
    pub request_timeout: Duration,
    /// The CAMARA versions served.
    pub versions: Vec<Version>,
    /// Those of them that will go.
    pub deprecated: Vec<DeprecatedVersion>,
    /// The kinds of identifier that this deployment can resolve.
    pub supported_identifiers: Vec<IdentifierKind>,
    /// What several identifiers in one request mean.
    pub multiple_identifiers: MultipleIdentifiers,
    /// Threads that serve connections; 0: one for every two processors.
    pub worker_threads: usize,
    /// Connections held at once; one more is answered 503 and closed.
    pub max_connections: usize,
    /// Requests worked on at once; one more is answered 503.
    pub max_requests_in_flight: usize,
    /// Those of them that may wait for the core; absent: three quarters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests_waiting: Option<usize>,
    /// From the first byte of a header section to its last.
    #[serde(with = "values::duration")]
    pub header_read_timeout: Duration,
    /// From the headers to the last byte of the body.
    #[serde(with = "values::duration")]
    pub body_read_timeout: Duration,
    /// How long a connection without a request is kept.
    #[serde(with = "values::duration")]
    pub idle_timeout: Duration,
    /// How long requests in flight may take to end after SIGTERM.
    #[serde(with = "values::duration")]
    pub drain_timeout: Duration,
    /// Whether tokens and devices may travel in clear on a listener that is not loopback.
    pub allow_plain_http: bool,
    /// TLS on this listener; absent: plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
}

/// Loopback: who exposes it does so on purpose.
const DEFAULT_API_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
/// As above.
const DEFAULT_ADMIN_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);
/// What an interactive consumer waits for; cores answer within tens of milliseconds.
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Well below the 65,536 descriptors that the systemd unit allows.
const DEFAULT_MAX_CONNECTIONS: usize = 4096;
/// At 2 s each, more than any deployment answers from the core; a bound, not a target.
const DEFAULT_MAX_REQUESTS_IN_FLIGHT: usize = 8192;
/// A header section fits one packet; a client on a bad radio link gets five seconds.
const DEFAULT_HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// A body has at most 16 KiB; below the request timeout, so that the core gets its part of it.
const DEFAULT_BODY_READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Above the usual 60 s of load balancers, so that they and not we close idle connections.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Above the request timeout, below the 30 s that Kubernetes waits.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: DEFAULT_API_LISTEN,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            versions: Version::all().collect(),
            deprecated: Vec::new(),
            supported_identifiers: IdentifierKind::ALL.to_vec(),
            multiple_identifiers: MultipleIdentifiers::Default,
            worker_threads: 0,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            max_requests_in_flight: DEFAULT_MAX_REQUESTS_IN_FLIGHT,
            max_requests_waiting: None,
            header_read_timeout: DEFAULT_HEADER_READ_TIMEOUT,
            body_read_timeout: DEFAULT_BODY_READ_TIMEOUT,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            allow_plain_http: false,
            tls: None,
        }
    }
}

impl Api {
    /// How many requests may wait for the core at once. What is left of all is for those that memory
    /// answers, each of which takes its place for a moment: a quarter is plenty.
    pub fn requests_waiting(&self) -> usize {
        let usual = (self.max_requests_in_flight - self.max_requests_in_flight / 4).max(1);
        let below_all = self.max_requests_in_flight.saturating_sub(1).max(1);
        self.max_requests_waiting.unwrap_or(usual.min(below_all))
    }
}

/// `[[api.deprecated]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeprecatedVersion {
    /// Which.
    pub version: Version,
    /// Since when (RFC 9745).
    pub since: Timestamp,
    /// Until when it is served (RFC 8594).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sunset: Option<Timestamp>,
    /// Where consumers read more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkUrl>,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address and port.
    pub listen: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: DEFAULT_ADMIN_LISTEN,
        }
    }
}

/// `[nat]`
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nat {
    /// The IP domain (TS 29.521, `ipDomain`) of private addresses that neither pool nor UPF places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_ip_domain: Option<String>,
    /// Deterministic NAT pools (RFC 7422).
    pub pools: Vec<NatPool>,
}

/// `[cache]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// How long a device is believed to be the subscription's; 0 s: not at all.
    #[serde(with = "values::duration")]
    pub equipment: Duration,
    /// How long after that it is told all the same, with its own time, while the core gives no
    /// answer; 0 s: not at all.
    #[serde(with = "values::duration")]
    pub equipment_past_lifetime: Duration,
    /// How long an address is believed to be the subscription's; 0 s: not at all.
    #[serde(with = "values::duration")]
    pub session: Duration,
    /// How long a subscriber's consent, or its absence, is believed; 0 s: not at all.
    #[serde(with = "values::duration")]
    pub consent: Duration,
    /// How long "nothing there" is believed; 0 s: not at all.
    #[serde(with = "values::duration")]
    pub none_found: Duration,
    /// Devices remembered at most; about 250 bytes each.
    pub equipment_entries: u64,
    /// Translations of public identifiers remembered at most; about 250 bytes each.
    pub subscription_entries: u64,
    /// Consents remembered at most, one for each subscriber and purpose; about 250 bytes each.
    pub consent_entries: u64,
    /// Addresses remembered at most, when sessions are kept.
    pub session_entries: u64,
    /// Misses remembered at most.
    pub none_found_entries: u64,
}

/// An upper bound of how long a swapped SIM goes unnoticed.
const DEFAULT_EQUIPMENT: Duration = Duration::from_mins(1);
/// An upper bound of how long a withdrawn consent goes unnoticed.
const DEFAULT_CONSENT: Duration = Duration::from_mins(1);
/// Long enough to blunt a consumer that asks in a loop.
const DEFAULT_NONE_FOUND: Duration = Duration::from_secs(5);
/// A million subscribers in about a quarter of a gigabyte, for each memory that is kept of them.
const DEFAULT_SUBSCRIBER_ENTRIES: u64 = 1_000_000;
/// Sessions are not kept unless the operator says so; then as many as misses.
const DEFAULT_OTHER_ENTRIES: u64 = 100_000;

impl Default for Cache {
    fn default() -> Self {
        Self {
            equipment: DEFAULT_EQUIPMENT,
            equipment_past_lifetime: Duration::ZERO,
            consent: DEFAULT_CONSENT,
            session: Duration::ZERO,
            none_found: DEFAULT_NONE_FOUND,
            equipment_entries: DEFAULT_SUBSCRIBER_ENTRIES,
            subscription_entries: DEFAULT_SUBSCRIBER_ENTRIES,
            consent_entries: DEFAULT_SUBSCRIBER_ENTRIES,
            session_entries: DEFAULT_OTHER_ENTRIES,
            none_found_entries: DEFAULT_OTHER_ENTRIES,
        }
    }
}

/// `[tac]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tac {
    /// CSV with the header `tac,manufacturer,model`; none: answers carry the TAC alone.
    pub file: Option<PathBuf>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or directives for each part (`info,adapters=debug`).
    pub level: String,
    /// Text for people, JSON for collectors.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Json,
        }
    }
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for a person.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Every consumer that the operator names, in whichever section.
    pub fn listed_consumers(&self) -> HashSet<String> {
        let classes = self.limits.classes.values();
        let in_classes = classes.flat_map(|class| &class.consumers);
        let listed = in_classes.chain(&self.consent.exempt_consumers);
        listed.cloned().collect()
    }

    /// The effective configuration as TOML, the way `check` prints it.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}
