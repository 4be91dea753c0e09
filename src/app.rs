//! From a configuration to a running bridge: build (fail early), then run until told to stop.

mod feeding;
mod files;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use adapters::sbi::InvalidApiRoot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, Operation, Parts};
use crate::audit::{Audit, AuditError};
use crate::auth::{AuthSetupError, Authenticator};
use crate::config::Config;
use crate::limits::Limiter;
use crate::lookup::Lookup;
use crate::ppid::{PpidError, Ppids};
use crate::server::admin::{AdminServer, State};
use crate::server::callback::UnusableKeys;
use crate::server::{ApiServer, Workers};
use crate::southbound::{Membership, Southbound, SouthboundError};
use crate::tac::{TacError, TacTable};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::otlp::{self, Exporter};
use crate::tls::{ListenerTls, TlsError};
use feeding::Feeding;
pub use files::unusable_files;

/// How long the NRF may take to hear that we go.
const FAREWELL: Duration = Duration::from_secs(1);

/// A bridge whose listeners are bound.
pub struct App {
    api: ApiServer,
    admin: AdminServer,
    feeding: Option<Feeding>,
    membership: Membership,
    exporter: Option<Exporter>,
    stop: CancellationToken,
    drain_timeout: Duration,
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
    /// The functions of the core cannot be asked.
    #[error(transparent)]
    Core(#[from] SouthboundError),
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
    /// The threads cannot be started.
    #[error("threads: {0}")]
    Threads(io::Error),
    /// Nobody could be authenticated.
    #[error(transparent)]
    Auth(#[from] AuthSetupError),
    /// PPIDs cannot be made.
    #[error(transparent)]
    Ppid(#[from] PpidError),
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
        for doubt in config.doubts() {
            tracing::warn!("{doubt}");
        }
        let stop = CancellationToken::new();
        let workers = Workers::start(config.api.worker_threads).map_err(StartError::Threads)?;
        let southbound = Southbound::start(config, workers.handles(), &metrics.core, None);
        let Southbound {
            functions,
            udm,
            tellers,
            membership,
            ..
        } = southbound?;
        let tracing = otlp::tracing(&config.telemetry.otlp, &metrics.otlp);
        let (tracer, exporter) = tracing.map_err(|source| StartError::Tls {
            key: "telemetry.otlp.tls",
            source,
        })?;
        let (lookup, changes) = Lookup::new(functions, config, &metrics.lookup);
        let feeding = Feeding::build(config, changes, tellers, &metrics)?;
        let record_feeds = feeding.as_ref().map(Feeding::record_state);
        let parts = Parts {
            authenticator: Authenticator::new(
                &config.auth,
                config.listed_consumers(),
                metrics.auth.clone(),
            )?,
            limiter: Limiter::new(&config.limits, metrics.limits.clone()),
            lookup,
            tac_table,
            ppids: ppids(config)?,
            tracer,
            audit: Audit::open(&config.audit, metrics.audit.clone())?,
            metrics: metrics.api.clone(),
        };
        let api = Api::new(config, parts);
        let api = ApiServer::bind(&config.api, tls, workers, api, metrics.server.clone()).map_err(
            |source| StartError::Bind {
                key: "api.listen",
                address: config.api.listen,
                source,
            },
        )?;
        let record_caches = api.record_sizes();
        let state = State {
            registry: metrics.registry.clone(),
            versions: config.api.versions.clone(),
            refresh: Box::new(move || {
                record_caches();
                if let Some(record_feeds) = &record_feeds {
                    record_feeds();
                }
            }),
            core_answered: Box::new(move || udm.has_answered()),
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
            membership,
            exporter,
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
        feeding.map(Feeding::address)
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
        let traced = CancellationToken::new();
        let exporting = self
            .exporter
            .map(|exporter| tokio::spawn(exporter.run(traced.clone())));
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
        self.membership.end(Instant::now() + FAREWELL).await;
        traced.cancel();
        if let Some(exporting) = exporting {
            // It has a bound of its own.
            let _ = exporting.await;
        }
        admin.abort();
        tracing::info!("stopped");
    }
}

/// PPIDs by the configured secrets, or for trying by one that lasts until the next start.
fn ppids(config: &Config) -> Result<Option<Ppids>, PpidError> {
    let configured = Ppids::open(&config.ppid)?;
    if configured.is_some() || !config.serves(Operation::RetrievePpid) || !config.has_ppids() {
        return Ok(configured);
    }
    tracing::info!("no ppid.secrets: PPIDs last until the next start");
    Ok(Some(Ppids::random()?))
}
