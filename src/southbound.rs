//! From `[core]` to the functions that a lookup asks: which are configured, which are discovered,
//! whether a proxy stands between, and what the NRF knows of us.

use std::sync::Arc;

use adapters::bsf::Bsf;
use adapters::nrf::{self, Criteria, N6Directory, SubscriberDirectory};
use adapters::sbi::{self, ApiRoot, Client, Instance, NfType, Route, Scp, ServiceName, Steps};
use adapters::udm::Udm;
use adapters::udm::events::UdmEvents;
use adapters::upf::Upf;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::{self, Config, ConsentMode, Discovered, GpsiToSupi};
use crate::feeds::{Instances, TellerClients, Tellers};
use crate::lookup::CoreFunctions;
use crate::lookup::provisioned::{Provisioned, ProvisionedError};
use crate::tls::{HTTP2, TlsError};

/// The longest answer of an NRF, in bytes: the profiles of all instances of a function.
const MAX_PROFILES_BYTES: usize = 1024 * 1024;
/// Sessions that an SMF reports with its answer to a subscription: some tens of thousands.
const MAX_REPORT_BYTES: usize = 16 * 1024 * 1024;

/// The functions of the core, as they are reached.
pub(crate) struct Southbound {
    /// What a lookup asks.
    pub(crate) functions: CoreFunctions,
    /// Whose readiness is ours.
    pub(crate) udm: Client,
    /// Clients whose instances the NRF is asked for.
    pub(crate) discovered: Vec<Client>,
    /// What tells unasked.
    pub(crate) tellers: Tellers,
    /// What we are to the NRF.
    pub(crate) membership: Membership,
}

/// What ties us to the NRF for as long as we run.
#[derive(Default)]
pub(crate) struct Membership {
    registration: Option<nrf::Registration>,
    /// Its tasks keep the instances up to date.
    _discovery: Option<nrf::Discovery>,
}

impl Membership {
    /// Tells the NRF that we go.
    pub(crate) async fn end(self, deadline: Instant) {
        if let Some(registration) = self.registration {
            registration.end(deadline).await;
        }
    }
}

/// Why the functions of the core cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum SouthboundError {
    /// Certificates, keys or authorities cannot be used.
    #[error("core.tls: {0}")]
    Tls(#[from] TlsError),
    /// The operator's table from GPSI to SUPI cannot be used.
    #[error(transparent)]
    Provisioned(#[from] ProvisionedError),
}

impl Southbound {
    /// Begins to connect, to register and to discover, and tells `steps` what becomes of each call.
    /// Must be called within a Tokio runtime.
    pub(crate) fn start(
        config: &Config,
        drivers: Vec<Handle>,
        metrics: &sbi::Metrics,
        steps: Option<Steps>,
    ) -> Result<Self, SouthboundError> {
        let Config { core, feeds, .. } = config;
        let settings = sbi::Settings {
            steps: steps.clone(),
            ..settings(core, drivers)?
        };
        let table = core.gpsi_to_supi_file.as_deref();
        let table = table.filter(|_| core.gpsi_to_supi == GpsiToSupi::File);
        let provisioned = table
            .map(|file| Provisioned::open(file, steps.clone()))
            .transpose()?;
        // Asked by tasks in the background, the last time when the worker threads have ended.
        let of_nrf = sbi::Settings {
            drivers: Vec::new(),
            max_response_bytes: MAX_PROFILES_BYTES,
            ..settings.clone()
        };
        let nrf = (!core.nrf.is_empty())
            .then(|| Client::in_order(NfType::Nrf, core.nrf.clone(), &of_nrf, metrics.clone()));
        let plan = Plan {
            core,
            tokens: nrf.as_ref().filter(|_| core.tokens.enabled).map(|nrf| {
                let requester = &core.discovery.requester_nf_type;
                sbi::Tokens::new(nrf, settings.nf_instance_id, requester)
            }),
            discovery: nrf
                .as_ref()
                .map(|nrf| nrf::Discovery::new(nrf, discovery(core))),
            scp: (!core.scp.is_empty()).then(|| Scp::new(core.scp.clone(), &settings, metrics)),
            settings: &settings,
            metrics,
        };
        // Whoever looks at the steps of one lookup sees the tokens that this one takes.
        if steps.is_none()
            && let Some(tokens) = &plan.tokens
        {
            for service in consumed(config) {
                tokens.keep(service);
            }
        }
        let udm = plan.client(Discovered::Udm, &core.udm);
        let bsf = core.has(Discovered::Bsf);
        let bsf = bsf.then(|| plan.client(Discovered::Bsf, &core.bsf));
        let upf = core.has(Discovered::Upf);
        let upf = upf.then(|| plan.client(Discovered::Upf, &core.upf));
        let clients = [
            (Discovered::Udm, Some(&udm)),
            (Discovered::Bsf, bsf.as_ref()),
            (Discovered::Upf, upf.as_ref()),
        ];
        let discovered = clients
            .into_iter()
            .filter(|(function, _)| core.discovers(*function))
            .filter_map(|(_, client)| client.cloned())
            .collect();
        let bsf = bsf.as_ref().map(Bsf::new);
        let upf = upf.as_ref().map(|client| plan.upf(client, nrf.as_ref()));
        let asked_udm = plan.udm(&udm, nrf.as_ref());
        // Subscriptions are kept by tasks in the background, which end when the workers have.
        let of_feeds = sbi::Settings {
            max_response_bytes: MAX_REPORT_BYTES,
            ..of_nrf
        };
        let telling = Plan {
            settings: &of_feeds,
            tokens: plan.tokens.clone(),
            discovery: plan.discovery.clone(),
            // With connections of its own, for the same reason.
            scp: (plan.scp.is_some() && feeds.any())
                .then(|| Scp::new(core.scp.clone(), &of_feeds, metrics)),
            ..plan
        };
        let registers = core.registration.enabled;
        let registration = nrf
            .as_ref()
            .filter(|_| registers)
            .map(|nrf| nrf::Registration::start(nrf, profile(config, settings.nf_instance_id)));
        let instances = nrf.zip(telling.discovery.clone()).map(|(nrf, discovery)| {
            let registered = registration.as_ref().map(nrf::Registration::generation);
            Instances {
                nrf,
                discovery,
                // Nobody registers: nothing is to be waited for.
                registered: registered.unwrap_or_else(|| watch::channel(1).1),
            }
        });
        let tellers = telling.tellers(feeds, &udm, instances);
        Ok(Self {
            functions: CoreFunctions {
                udm: asked_udm,
                bsf,
                upf,
                provisioned,
                steps,
            },
            udm,
            discovered,
            tellers,
            membership: Membership {
                registration,
                _discovery: plan.discovery,
            },
        })
    }
}

/// What all clients are made from.
struct Plan<'a> {
    core: &'a config::Core,
    settings: &'a sbi::Settings,
    metrics: &'a sbi::Metrics,
    tokens: Option<sbi::Tokens>,
    discovery: Option<nrf::Discovery>,
    scp: Option<Scp>,
}

impl Plan<'_> {
    /// A client of these instances, or of those that are discovered.
    fn client(&self, function: Discovered, roots: &[ApiRoot]) -> Client {
        let criteria = self.criteria(function);
        let is_discovered = self.core.discovers(function);
        let delegates = self.core.scp_discovers && is_discovered;
        let route = match self.scp.clone() {
            None => Route::Direct,
            Some(scp) if delegates => Route::Delegated(scp, criteria.delegation()),
            Some(scp) => Route::Proxy(scp),
        };
        let client = Client::with(
            criteria.nf_type,
            roots.iter().cloned().map(Instance::from).collect(),
            route,
            self.tokens.clone(),
            self.settings,
            self.metrics.clone(),
        );
        if let Some(discovery) = &self.discovery
            && is_discovered
            && !delegates
        {
            discovery.follow(criteria, client.clone());
        }
        client
    }

    fn upf(&self, client: &Client, nrf: Option<&Client>) -> Upf {
        let by_address = self.core.discovery.upf_by_address;
        if by_address && self.core.scp_discovers && self.core.discovers(Discovered::Upf) {
            return Upf::found_by_proxy(client);
        }
        match nrf {
            Some(nrf) if by_address && self.searches(Discovered::Upf) => {
                let criteria = self.criteria(Discovered::Upf);
                let settings = discovery(self.core);
                let directory = N6Directory::new(nrf, client, criteria, &settings);
                Upf::with_directory(client, directory)
            }
            _ => Upf::new(client),
        }
    }

    fn udm(&self, client: &Client, nrf: Option<&Client>) -> Udm {
        match nrf {
            Some(nrf) if self.searches(Discovered::Udm) => {
                let criteria = self.criteria(Discovered::Udm);
                let settings = discovery(self.core);
                let directory = SubscriberDirectory::new(nrf, client, criteria, &settings);
                Udm::with_directory(client.clone(), directory)
            }
            _ => Udm::new(client.clone()),
        }
    }

    /// Whether we search for the instances ourselves.
    fn searches(&self, function: Discovered) -> bool {
        self.core.discovers(function) && !self.core.scp_discovers
    }

    /// Who tells, as far as anybody is to.
    fn tellers(
        &self,
        feeds: &config::Feeds,
        udm: &Client,
        instances: Option<Instances>,
    ) -> Tellers {
        let smfs = self.tells(feeds.sessions, &self.core.smf, || {
            self.criteria_of(NfType::Smf, vec![ServiceName::NsmfEventExposure])
        });
        let udms = self.tells(feeds.equipment, &self.core.udm, || {
            self.criteria(Discovered::Udm)
        });
        let clients = TellerClients {
            route: self.scp.clone().map_or(Route::Direct, Route::Proxy),
            tokens: self.tokens.clone(),
            settings: self.settings.clone(),
            metrics: self.metrics.clone(),
        };
        let told_by_udm = if feeds.consent {
            self.client(Discovered::Udm, &self.core.udm)
        } else {
            udm.clone()
        };
        Tellers {
            instances,
            smfs,
            udms,
            clients,
            udm: UdmEvents::new(&told_by_udm),
            nf_instance_id: self.settings.nf_instance_id,
        }
    }

    /// All instances that tell, where any is to: those at these apiRoots, or those that are
    /// discovered.
    fn tells(
        &self,
        is_wanted: bool,
        roots: &[ApiRoot],
        criteria: impl FnOnce() -> Criteria,
    ) -> watch::Receiver<Arc<[Instance]>> {
        match &self.discovery {
            Some(discovery) if is_wanted && roots.is_empty() => discovery.watch(criteria()),
            _ => watch::channel(roots.iter().cloned().map(Instance::from).collect()).1,
        }
    }

    fn criteria(&self, function: Discovered) -> Criteria {
        let (nf_type, services) = match function {
            Discovered::Udm => (
                NfType::Udm,
                vec![
                    ServiceName::NudmUecm,
                    ServiceName::NudmSdm,
                    ServiceName::NudmEe,
                ],
            ),
            Discovered::Bsf => (NfType::Bsf, vec![ServiceName::NbsfManagement]),
            Discovered::Upf => (NfType::Upf, vec![ServiceName::NupfGueip]),
        };
        self.criteria_of(nf_type, services)
    }

    fn criteria_of(&self, nf_type: NfType, services: Vec<ServiceName>) -> Criteria {
        let discovery = &self.core.discovery;
        let mut nf_sets = discovery.nf_sets.iter();
        Criteria {
            nf_type,
            services,
            requester_nf_type: discovery.requester_nf_type.clone(),
            requester_nf_instance_id: self.settings.nf_instance_id,
            dnn: discovery.dnn.clone(),
            snssais: discovery.snssais.clone(),
            plmns: discovery.plmns.clone(),
            preferred_locality: discovery.preferred_locality.clone(),
            nf_set: nf_sets.find(|set| set.nf_type() == nf_type).cloned(),
        }
    }
}

/// The services that are asked, as far as the configuration tells: their tokens are there before
/// the first request is, so that an NRF that goes in between takes nothing away.
fn consumed(config: &Config) -> Vec<ServiceName> {
    let Config {
        core,
        feeds,
        consent,
        ..
    } = config;
    let translates = core.gpsi_to_supi == GpsiToSupi::Translation || feeds.equipment;
    let asks_consent = consent.mode == ConsentMode::Core || feeds.consent;
    let services = [
        (ServiceName::NudmUecm, true),
        (ServiceName::NudmSdm, translates || asks_consent),
        (ServiceName::NudmEe, feeds.equipment),
        (ServiceName::NbsfManagement, core.has(Discovered::Bsf)),
        (ServiceName::NupfGueip, core.has(Discovered::Upf)),
        (ServiceName::NsmfEventExposure, feeds.sessions),
    ];
    let consumed = services.into_iter().filter(|(_, is_asked)| *is_asked);
    consumed.map(|(service, _)| service).collect()
}

fn discovery(core: &config::Core) -> nrf::DiscoverySettings {
    nrf::DiscoverySettings {
        longest_period: core.discovery.longest_period,
        ..nrf::DiscoverySettings::default()
    }
}

fn settings(core: &config::Core, drivers: Vec<Handle>) -> Result<sbi::Settings, TlsError> {
    let configured = [
        &core.udm, &core.bsf, &core.upf, &core.smf, &core.nrf, &core.scp,
    ];
    let mut roots = configured.into_iter().flatten();
    // A bridge that speaks in clear to its core needs no trust store; but an NRF in clear may name
    // instances that speak TLS, and who says whom to trust expects that.
    let may_find = !core.nrf.is_empty() && core.tls.ca_file.is_some();
    let tls = (roots.any(ApiRoot::is_https) || may_find)
        .then(|| crate::tls::client_config(&core.tls, &[HTTP2]))
        .transpose()?;
    let outlier = &core.outlier;
    Ok(sbi::Settings {
        connections_per_endpoint: core.connections_per_endpoint,
        drivers,
        connect_timeout: core.connect_timeout,
        keep_alive_interval: core.keep_alive_interval,
        keep_alive_timeout: core.keep_alive_timeout,
        max_attempts: core.max_attempts,
        max_in_flight: core.max_calls_in_flight,
        hedge_quantile: (core.hedge_quantile > 0.0).then_some(core.hedge_quantile),
        outlier: sbi::OutlierSettings {
            consecutive_failures: outlier.consecutive_failures,
            eject_for: outlier.eject_for,
            eject_max: outlier.eject_max,
            slow: outlier.slow,
        },
        nf_type: core.discovery.requester_nf_type.clone(),
        correlation_info: core.correlation_info,
        nf_instance_id: core.nf_instance_id.unwrap_or_else(Uuid::new_v4),
        tls,
        ..sbi::Settings::default()
    })
}

fn profile(config: &Config, nf_instance_id: Uuid) -> nrf::NfProfile {
    let registration = config.core.registration.clone();
    nrf::NfProfile {
        nf_instance_id,
        nf_type: registration.nf_type,
        plmns: registration.plmns,
        snssais: registration.snssais,
        fqdn: registration.fqdn,
        ipv4_addresses: registration.ipv4_addresses,
        ipv6_addresses: registration.ipv6_addresses,
        locality: registration.locality,
        nf_sets: registration.nf_sets,
        callback: callback(&config.callback),
    }
}

/// Where the core finds the callback listener, if that is known before it listens.
fn callback(callback: &config::Callback) -> Option<ApiRoot> {
    let listen = callback.listen?;
    if let Some(uri) = &callback.uri {
        return Some(uri.clone());
    }
    let is_certain = listen.port() != 0 && !listen.ip().is_unspecified();
    let scheme = if callback.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let root = format!("{scheme}://{listen}").parse().ok();
    root.filter(|_| is_certain)
}
