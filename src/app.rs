//! From a configuration to a running bridge: build (fail early), then run until told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adapters::bsf::Bsf;
use adapters::sbi::{self, ApiRoot, InvalidApiRoot, NfType};
use adapters::smf::Smf;
use adapters::udm::Udm;
use adapters::udm::events::UdmEvents;
use adapters::upf::Upf;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::api::{Api, Parts};
use crate::audit::{Audit, AuditError};
use crate::auth::{AuthSetupError, Authenticator};
use crate::config::{self, Config};
use crate::feeds::{Feeds, Tellers};
use crate::limits::Limiter;
use crate::lookup::{CoreFunctions, Lookup};
use crate::server::ApiServer;
use crate::server::admin::{AdminServer, State};
use crate::server::callback::{
    CallbackMetrics, CallbackServer, Callbacks, NrfTokens, UnusableKeys,
};
use crate::tac::{TacError, TacTable};
use crate::telemetry::metrics::Metrics;
use crate::tls::{HTTP2, ListenerTls, TlsError};

/// Sessions that an SMF reports with its answer to a subscription: some thousands.
const MAX_REPORT_BYTES: usize = 1024 * 1024;

/// A bridge whose listeners are bound.
pub struct App {
    api: ApiServer,
    admin: AdminServer,
    feeding: Option<Feeding>,
    stop: CancellationToken,
    drain_timeout: Duration,
}

/// What the core tells unasked, and the listener for it.
struct Feeding {
    server: CallbackServer,
    callbacks: Callbacks,
    feeds: Feeds,
    /// What the core is told of the listener.
    uri: ApiRoot,
}

/// Why a bridge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The TAC table cannot be loaded.
    #[error(transparent)]
    Tac(#[from] TacError),
    /// Certificates, keys or authorities cannot be used.
    #[error("{key}: {source}")]
    Tls {
        /// The section that names them.
        key: &'static str,
        /// Why not.
        source: TlsError,
    },
    /// An address cannot be listened on.
    #[error("{key} = {address}: {source}")]
    Bind {
        /// The key that sets it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Nobody could be authenticated.
    #[error(transparent)]
    Auth(#[from] AuthSetupError),
    /// Decisions cannot be recorded.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The address of the callback listener cannot be told to the core.
    #[error("callback.uri: {0}")]
    CallbackUri(#[from] InvalidApiRoot),
    /// The NRF's keys cannot be used.
    #[error("callback.nrf_keys_file: {0}")]
    NrfKeys(#[from] UnusableKeys),
    /// The metrics contradict each other: a bug of ours.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl App {
    /// Loads the table of device types that the configuration names, and builds.
    pub fn build(config: &Config) -> Result<Self, StartError> {
        let tac_table = match &config.tac.file {
            Some(file) => TacTable::from_file(file)?,
            None => TacTable::default(),
        };
        Self::build_with(config, tac_table)
    }

    /// Builds with a table at hand. Must be called inside of a runtime: connections to the core
    /// are opened at once.
    pub fn build_with(config: &Config, tac_table: TacTable) -> Result<Self, StartError> {
        let metrics = Metrics::new()?;
        let tls = config.api.tls.as_ref().map(ListenerTls::load).transpose();
        let tls = tls.map_err(|source| StartError::Tls {
            key: "api.tls",
            source,
        })?;
        let stop = CancellationToken::new();
        let CoreClients {
            functions,
            udm: udm_client,
            tellers,
        } = core_functions(config, &metrics).map_err(|source| StartError::Tls {
            key: "core.tls",
            source,
        })?;
        let nf_instance_id = tellers.nf_instance_id;
        let (lookup, changes) = Lookup::new(functions, config, &metrics.lookup);
        let (feeds, inbox) = Feeds::new(changes, tellers, &config.feeds, metrics.feeds.clone());
        let record_sessions = feeds.record_sizes();
        let feeding = match config.callback.listen {
            Some(listen) => {
                let callbacks = Callbacks {
                    inbox,
                    tokens: nrf_tokens(&config.callback, nf_instance_id)?,
                    metrics: CallbackMetrics::register(&metrics.registry)?,
                };
                let server = callback_server(&config.callback, listen, &metrics)?;
                let uri = callback_uri(&config.callback, &server)?;
                Some(Feeding {
                    server,
                    callbacks,
                    feeds,
                    uri,
                })
            }
            None => None,
        };
        let parts = Parts {
            authenticator: Authenticator::new(&config.auth, metrics.auth.clone())?,
            limiter: Limiter::new(&config.limits, metrics.limits.clone()),
            lookup,
            tac_table,
            audit: Audit::open(&config.audit, metrics.audit.clone())?,
            metrics: metrics.api.clone(),
        };
        let api = Api::new(config, parts);
        let api =
            ApiServer::bind(&config.api, tls, api, metrics.server.clone()).map_err(|source| {
                StartError::Bind {
                    key: "api.listen",
                    address: config.api.listen,
                    source,
                }
            })?;
        let record_caches = api.record_sizes();
        let state = State {
            registry: metrics.registry.clone(),
            refresh: Box::new(move || {
                record_caches();
                record_sessions();
            }),
            core_answered: Box::new(move || udm_client.has_answered()),
            draining: stop.clone(),
        };
        let admin =
            AdminServer::bind(config.admin.listen, state).map_err(|source| StartError::Bind {
                key: "admin.listen",
                address: config.admin.listen,
                source,
            })?;
        Ok(Self {
            api,
            admin,
            feeding,
            stop,
            drain_timeout: config.api.drain_timeout,
        })
    }

    /// Where API consumers are answered.
    pub fn api_address(&self) -> SocketAddr {
        self.api.address()
    }

    /// Where the operator looks.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Where the core's notifications are taken, if anywhere.
    pub fn callback_address(&self) -> Option<SocketAddr> {
        let feeding = self.feeding.as_ref();
        feeding.map(|feeding| feeding.server.address())
    }

    /// Cancelling it makes [`Self::run`] drain and return.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Serves until the stop token is cancelled, then drains.
    pub async fn run(self) {
        tracing::info!(
            api = %self.api.address(),
            admin = %self.admin.address(),
            version = env!("CARGO_PKG_VERSION"),
            "serving"
        );
        let admin = tokio::spawn(self.admin.run());
        let feeding = self.feeding.map(|feeding| feeding.start(&self.stop));
        if !self.api.run(self.stop).await {
            tracing::warn!("the drain time passed with requests in flight");
        }
        if let Some(feeding) = feeding
            && tokio::time::timeout(self.drain_timeout, feeding)
                .await
                .is_err()
        {
            tracing::warn!("the drain time passed with subscriptions at the core");
        }
        admin.abort();
        tracing::info!("stopped");
    }
}

impl Feeding {
    /// Listens first, so that no notification finds nobody.
    fn start(self, stop: &CancellationToken) -> JoinHandle<()> {
        let Self {
            server,
            callbacks,
            feeds,
            uri,
        } = self;
        tracing::info!(address = %server.address(), "the core's notifications are expected");
        let callbacks = Arc::new(callbacks);
        let stop = stop.clone();
        tokio::spawn(async move {
            let listening = stop.child_token();
            let serving = tokio::spawn(server.run(callbacks, listening.clone()));
            feeds.run(&uri, stop).await;
            listening.cancel();
            // One that panicked has said so in the log.
            let _ = serving.await;
        })
    }
}

fn nrf_tokens(
    config: &config::Callback,
    nf_instance_id: Uuid,
) -> Result<Option<NrfTokens>, UnusableKeys> {
    let file = config.nrf_keys_file.as_deref();
    file.map(|file| NrfTokens::load(file, nf_instance_id))
        .transpose()
}

fn callback_server(
    config: &config::Callback,
    listen: SocketAddr,
    metrics: &Metrics,
) -> Result<CallbackServer, StartError> {
    let tls = config.tls.as_ref().map(ListenerTls::load).transpose();
    let tls = tls.map_err(|source| StartError::Tls {
        key: "callback.tls",
        source,
    })?;
    let server_metrics = metrics.server.clone();
    CallbackServer::bind(listen, tls, config.max_connections, server_metrics).map_err(|source| {
        StartError::Bind {
            key: "callback.listen",
            address: listen,
            source,
        }
    })
}

/// What the core is told: what is configured, else where we listen.
fn callback_uri(
    config: &config::Callback,
    server: &CallbackServer,
) -> Result<ApiRoot, InvalidApiRoot> {
    if let Some(uri) = &config.uri {
        return Ok(uri.clone());
    }
    let scheme = if server.is_tls() { "https" } else { "http" };
    format!("{scheme}://{}", server.address()).parse()
}

/// Clients of the core.
struct CoreClients {
    functions: CoreFunctions,
    /// The one whose readiness is ours.
    udm: sbi::Client,
    tellers: Tellers,
}

/// Clients for the configured functions.
fn core_functions(config: &Config, metrics: &Metrics) -> Result<CoreClients, TlsError> {
    let Config { core, feeds, .. } = config;
    let roots = core.udm.iter().chain(&core.bsf).chain(&core.upf);
    let mut roots = roots.chain(&core.smf);
    // A bridge that speaks in clear to its core needs no trust store.
    let tls = roots
        .any(ApiRoot::is_https)
        .then(|| crate::tls::client_config(&core.tls, &[HTTP2]))
        .transpose()?;
    let settings = sbi::Settings {
        connections_per_endpoint: core.connections_per_endpoint,
        connect_timeout: core.connect_timeout,
        keep_alive_interval: core.keep_alive_interval,
        keep_alive_timeout: core.keep_alive_timeout,
        max_attempts: core.max_attempts,
        nf_instance_id: core.nf_instance_id.unwrap_or_else(Uuid::new_v4),
        tls,
        ..sbi::Settings::default()
    };
    let client = |nf: NfType, roots: &[ApiRoot]| {
        sbi::Client::new(nf, roots.to_vec(), &settings, metrics.core.clone())
    };
    let udm = client(NfType::Udm, &core.udm);
    let bsf = (!core.bsf.is_empty()).then(|| Bsf::new(&client(NfType::Bsf, &core.bsf)));
    let upf = (!core.upf.is_empty()).then(|| Upf::new(&client(NfType::Upf, &core.upf)));
    let report_settings = sbi::Settings {
        max_response_bytes: MAX_REPORT_BYTES,
        ..settings.clone()
    };
    let smfs = core.smf.iter().map(|root| {
        let roots = vec![root.clone()];
        let client = sbi::Client::new(NfType::Smf, roots, &report_settings, metrics.core.clone());
        Smf::new(&client)
    });
    Ok(CoreClients {
        functions: CoreFunctions {
            udm: Udm::new(udm.clone()),
            bsf,
            upf,
        },
        tellers: Tellers {
            smfs: if feeds.sessions {
                smfs.collect()
            } else {
                Vec::new()
            },
            udm: UdmEvents::new(&udm),
            nf_instance_id: settings.nf_instance_id,
        },
        udm,
    })
}
