//! What the core tells unasked, and where: `[callback]`, `[feeds]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use adapters::sbi::ApiRoot;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{ServerTls, values};

/// `[callback]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Callback {
    /// Address and port; absent: no listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// What the core is told to send notifications to; absent: `listen`.
    #[serde(
        with = "values::optional_api_root",
        skip_serializing_if = "Option::is_none"
    )]
    pub uri: Option<ApiRoot>,
    /// Connections held at once; one more is closed.
    pub max_connections: usize,
    /// The NRF's keys (a JWK Set): notifications need a token that one of them signed. Absent: the
    /// correlation id is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nrf_keys_file: Option<PathBuf>,
    /// What such a token has to be for; absent: whatever its scope is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nrf_token_scope: Option<String>,
    /// Whether the core may tell of subscribers in clear on a listener that is not loopback.
    pub allow_plain_http: bool,
    /// TLS on this listener; absent: HTTP/2 in clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
}

/// A few for each instance of the core that notifies.
const DEFAULT_MAX_CONNECTIONS: usize = 1024;

impl Default for Callback {
    fn default() -> Self {
        Self {
            listen: None,
            uri: None,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            nrf_keys_file: None,
            nrf_token_scope: None,
            allow_plain_http: false,
            tls: None,
        }
    }
}

/// `[feeds]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Feeds {
    /// Whether the SMFs are subscribed to for sessions.
    pub sessions: bool,
    /// Whether the UDM is subscribed to for changes of equipment.
    pub equipment: bool,
    /// Whether the UDM is subscribed to for the consent of those who were asked about.
    pub consent: bool,
    /// How long a subscription is asked for.
    #[serde(with = "values::duration")]
    pub expiry: Duration,
    /// Between two looks whether a subscription is still there, each of which prolongs it.
    #[serde(with = "values::duration")]
    pub check_interval: Duration,
    /// How long an immediate report may last that does not say where it ends.
    #[serde(with = "values::duration")]
    pub report_time: Duration,
    /// How long a device is believed while changes of it are told.
    #[serde(with = "values::duration")]
    pub equipment_lifetime: Duration,
    /// How long a consent, or its absence, is believed while changes of it are told.
    #[serde(with = "values::duration")]
    pub consent_lifetime: Duration,
    /// Sessions known at most; about 75 bytes each.
    pub session_entries: u32,
    /// Subscriptions to consent at most.
    pub consent_entries: usize,
    /// Which IP domain a session's IPv4 address is in, which the SMF does not tell.
    pub ip_domains: Vec<IpDomainRule>,
}

/// A session is in this IP domain if it fits all that is given; the first rule that fits counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IpDomainRule {
    /// The address space, as the BSF and the UPF call it (TS 29.521, `ipDomain`).
    pub ip_domain: String,
    /// The data network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dnn: Option<String>,
    /// The slice/service type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sst: Option<u8>,
    /// The slice differentiator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sd: Option<String>,
    /// The addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Ipv4Net>,
}

/// Survives a core that was restarted together with us; no core keeps what nobody renews.
const DEFAULT_EXPIRY: Duration = Duration::from_hours(1);
/// An upper bound of how long the silent loss of a subscription goes unnoticed: below the time for
/// which a released address rests, and far below the short lifetimes that hold without a feed. One
/// small request for each subscription.
const DEFAULT_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Ten million sessions in notifications of some hundreds.
const DEFAULT_REPORT_TIME: Duration = Duration::from_mins(5);
/// A day: what nobody told of, the core is asked for again now and then all the same.
const DEFAULT_LIFETIME: Duration = Duration::from_hours(24);
/// In about three quarters of a gigabyte, if there are as many.
const DEFAULT_SESSION_ENTRIES: u32 = 10_000_000;
/// What a UDM may be asked to keep for one consumer.
const DEFAULT_CONSENT_ENTRIES: usize = 100_000;

impl Default for Feeds {
    fn default() -> Self {
        Self {
            sessions: false,
            equipment: false,
            consent: false,
            expiry: DEFAULT_EXPIRY,
            check_interval: DEFAULT_CHECK_INTERVAL,
            report_time: DEFAULT_REPORT_TIME,
            equipment_lifetime: DEFAULT_LIFETIME,
            consent_lifetime: DEFAULT_LIFETIME,
            session_entries: DEFAULT_SESSION_ENTRIES,
            consent_entries: DEFAULT_CONSENT_ENTRIES,
            ip_domains: Vec::new(),
        }
    }
}

impl Feeds {
    /// Whether the core is to tell anything.
    pub fn any(&self) -> bool {
        self.sessions || self.equipment || self.consent
    }
}
