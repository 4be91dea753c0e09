//! `[core]` and its sections: the functions of the core, and how they are found and treated.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use adapters::nrf::{NfSetId, PlmnId, Snssai};
use adapters::sbi::ApiRoot;
use serde::{Deserialize, Serialize};

use super::{ClientTls, values};

/// `[core]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Core {
    /// apiRoots of the UDM instances; none: they are discovered at the NRF.
    #[serde(with = "values::texts")]
    pub udm: Vec<ApiRoot>,
    /// apiRoots of the BSF instances; none, and none discovered: addresses cannot be resolved to
    /// subscriptions there.
    #[serde(with = "values::texts")]
    pub bsf: Vec<ApiRoot>,
    /// apiRoots of the UPF instances; none, and none discovered: only configured NAT pools are
    /// translated.
    #[serde(with = "values::texts")]
    pub upf: Vec<ApiRoot>,
    /// apiRoots of the SMF instances, each of which is subscribed to where `feeds.sessions` says so.
    #[serde(with = "values::texts")]
    pub smf: Vec<ApiRoot>,
    /// apiRoots of the NRF instances; none: nothing is discovered.
    #[serde(with = "values::texts")]
    pub nrf: Vec<ApiRoot>,
    /// apiRoots of the SCP instances; none: the functions are asked directly.
    #[serde(with = "values::texts")]
    pub scp: Vec<ApiRoot>,
    /// Whether the SCP finds the instances as well.
    pub scp_discovers: bool,
    /// How a phone number or network access identifier becomes a SUPI.
    pub gpsi_to_supi: GpsiToSupi,
    /// The table for `gpsi_to_supi = "file"`: CSV with the header `gpsi,supi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpsi_to_supi_file: Option<PathBuf>,
    /// Which time `lastChecked` carries.
    pub last_checked: LastChecked,
    /// What a purged registration is worth.
    pub purged: Purged,
    /// HTTP/2 connections to each instance.
    pub connections_per_endpoint: usize,
    /// From SYN to the end of the HTTP/2 handshake.
    #[serde(with = "values::duration")]
    pub connect_timeout: Duration,
    /// Between two PINGs on a connection.
    #[serde(with = "values::duration")]
    pub keep_alive_interval: Duration,
    /// From PING to PONG.
    #[serde(with = "values::duration")]
    pub keep_alive_timeout: Duration,
    /// How often one question may be asked at most, the first time included.
    pub max_attempts: u32,
    /// Calls under way at once to the instances of one function; one more is refused at once.
    pub max_calls_in_flight: usize,
    /// A question that takes longer than this share of those before it is asked of a second
    /// instance as well; 0: never.
    pub hedge_quantile: f64,
    /// Whether requests about a subscription name it in `3gpp-Sbi-Correlation-Info` as well.
    pub correlation_info: bool,
    /// Who we are to the core (`user-agent: NEF-…`); made at random where absent.
    pub nf_instance_id: Option<uuid::Uuid>,
    /// For apiRoots with `https`.
    pub tls: ClientTls,
    /// When an instance that answers badly is left alone.
    pub outlier: Outlier,
    /// What the NRF is told of us.
    pub registration: Registration,
    /// What the NRF is asked for.
    pub discovery: Discovery,
    /// Access tokens of the NRF.
    pub tokens: Tokens,
}

/// Two survive the loss of one without a pause and still multiplex well.
const DEFAULT_CONNECTIONS_PER_ENDPOINT: usize = 2;
/// Half of the default request timeout, so that another instance can still be asked.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Finds a silently dead peer in seconds, costs a frame.
const DEFAULT_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Far above any round trip inside a core.
const DEFAULT_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// The first one and two more.
const DEFAULT_MAX_ATTEMPTS: u32 = 3;
/// Far more than a core in health has under way; a core in trouble is not made to queue.
const DEFAULT_MAX_CALLS_IN_FLIGHT: usize = 4096;

impl Default for Core {
    fn default() -> Self {
        Self {
            udm: Vec::new(),
            bsf: Vec::new(),
            upf: Vec::new(),
            smf: Vec::new(),
            nrf: Vec::new(),
            scp: Vec::new(),
            scp_discovers: false,
            gpsi_to_supi: GpsiToSupi::Direct,
            gpsi_to_supi_file: None,
            last_checked: LastChecked::Registration,
            purged: Purged::NotFound,
            connections_per_endpoint: DEFAULT_CONNECTIONS_PER_ENDPOINT,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            keep_alive_interval: DEFAULT_KEEP_ALIVE_INTERVAL,
            keep_alive_timeout: DEFAULT_KEEP_ALIVE_TIMEOUT,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            max_calls_in_flight: DEFAULT_MAX_CALLS_IN_FLIGHT,
            hedge_quantile: 0.0,
            correlation_info: true,
            nf_instance_id: None,
            tls: ClientTls::default(),
            outlier: Outlier::default(),
            registration: Registration::default(),
            discovery: Discovery::default(),
            tokens: Tokens::default(),
        }
    }
}

/// `core.gpsi_to_supi`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GpsiToSupi {
    /// The UDM takes GPSIs for `Nudm_UECM`.
    Direct,
    /// `Nudm_SDM` translates first; for a UDM that takes only SUPIs for `Nudm_UECM`.
    Translation,
    /// A table of the operator's, for a UDM that takes only SUPIs and translates none.
    File,
}

impl GpsiToSupi {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Translation => "translation",
            Self::File => "file",
        }
    }
}

/// `core.last_checked`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LastChecked {
    /// The newer of `registrationTime` and `lastSynchronizationTime`, else the response's `date`.
    Registration,
    /// The response's `date` wherever there is one.
    Date,
}

/// `core.purged`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purged {
    /// A device that the core has purged is not there.
    NotFound,
    /// The last known device, with its own `lastChecked`.
    LastKnown,
}

/// `[core.outlier]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outlier {
    /// Bad answers in a row that eject an instance; 0: none is ejected.
    pub consecutive_failures: u32,
    /// For how long the first time, doubled each time that it is found unwell again.
    #[serde(with = "values::duration")]
    pub eject_for: Duration,
    /// For how long at most.
    #[serde(with = "values::duration")]
    pub eject_max: Duration,
    /// An answer that takes longer is a bad one; 0 s: none is.
    #[serde(with = "values::duration")]
    pub slow: Duration,
}

impl Default for Outlier {
    fn default() -> Self {
        let adapters::sbi::OutlierSettings {
            consecutive_failures,
            eject_for,
            eject_max,
            slow,
        } = adapters::sbi::OutlierSettings::default();
        Self {
            consecutive_failures,
            eject_for,
            eject_max,
            slow,
        }
    }
}

/// What we are to the core: it exposes its capabilities through us (TS 23.501 6.2.5).
const DEFAULT_NF_TYPE: &str = "NEF";

/// `[core.registration]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Whether we register at the NRF, where there is one.
    pub enabled: bool,
    /// As what.
    pub nf_type: String,
    /// Our name in the core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fqdn: Option<String>,
    /// Our addresses in the core.
    pub ipv4_addresses: Vec<Ipv4Addr>,
    /// Our addresses in the core.
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// The networks that we belong to.
    #[serde(with = "values::texts")]
    pub plmns: Vec<PlmnId>,
    /// The slices that we serve.
    #[serde(with = "values::texts")]
    pub snssais: Vec<Snssai>,
    /// Where we are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    /// The NF sets that we belong to.
    pub nf_sets: Vec<String>,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            enabled: true,
            nf_type: DEFAULT_NF_TYPE.to_owned(),
            fqdn: None,
            ipv4_addresses: Vec::new(),
            ipv6_addresses: Vec::new(),
            plmns: Vec::new(),
            snssais: Vec::new(),
            locality: None,
            nf_sets: Vec::new(),
        }
    }
}

/// A function that can be discovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Discovered {
    /// Registrations, translations, consent.
    Udm,
    /// Sessions by address.
    Bsf,
    /// Translations of addresses.
    Upf,
}

/// A core that changes tells so by itself; this is for one that does not.
const DEFAULT_LONGEST_PERIOD: Duration = Duration::from_hours(1);

/// `[core.discovery]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Discovery {
    /// Which functions are discovered that have no apiRoots above.
    pub functions: Vec<Discovered>,
    /// As what we ask: NRFs show instances only to the types that their profiles allow.
    pub requester_nf_type: String,
    /// Only instances that serve this data network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dnn: Option<String>,
    /// Only instances that serve these slices.
    #[serde(with = "values::texts")]
    pub snssais: Vec<Snssai>,
    /// Only instances of these networks.
    #[serde(with = "values::texts")]
    pub plmns: Vec<PlmnId>,
    /// Instances here come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_locality: Option<String>,
    /// Only instances of these NF sets, each of which is of one function.
    #[serde(with = "values::texts")]
    pub nf_sets: Vec<NfSetId>,
    /// Whether the NRF is asked which UPF has the public address.
    pub upf_by_address: bool,
    /// A result is asked for again after so long, however long it says that it holds.
    #[serde(with = "values::duration")]
    pub longest_period: Duration,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            functions: vec![Discovered::Udm, Discovered::Bsf, Discovered::Upf],
            requester_nf_type: DEFAULT_NF_TYPE.to_owned(),
            dnn: None,
            snssais: Vec::new(),
            plmns: Vec::new(),
            preferred_locality: None,
            nf_sets: Vec::new(),
            upf_by_address: true,
            longest_period: DEFAULT_LONGEST_PERIOD,
        }
    }
}

/// `[core.tokens]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    /// Whether a token of the NRF goes with each request.
    pub enabled: bool,
}

impl Core {
    /// Whether this function is found by the NRF, for it has no apiRoots of its own.
    pub fn discovers(&self, function: Discovered) -> bool {
        let configured = match function {
            Discovered::Udm => &self.udm,
            Discovered::Bsf => &self.bsf,
            Discovered::Upf => &self.upf,
        };
        let somebody_finds_it = !self.nrf.is_empty() || self.scp_discovers;
        configured.is_empty() && somebody_finds_it && self.discovery.functions.contains(&function)
    }

    /// Whether there is such a function, as far as the configuration says.
    pub fn has(&self, function: Discovered) -> bool {
        let configured = match function {
            Discovered::Udm => &self.udm,
            Discovered::Bsf => &self.bsf,
            Discovered::Upf => &self.upf,
        };
        !configured.is_empty() || self.discovers(function)
    }
}
