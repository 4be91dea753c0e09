//! What the core tells unasked, together with the listener for it.

use std::net::SocketAddr;
use std::sync::Arc;

use adapters::sbi::{ApiRoot, InvalidApiRoot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::StartError;
use crate::config::{self, Config};
use crate::feeds::{Feeds, Tellers};
use crate::lookup::changes::Changes;
use crate::server::callback::{Accepted, CallbackServer, Callbacks, NrfTokens};
use crate::telemetry::metrics::Metrics;
use crate::tls::ListenerTls;

/// The feeds, and the callback listener, bound.
pub(super) struct Feeding {
    server: CallbackServer,
    callbacks: Callbacks,
    feeds: Feeds,
    /// What the core is told of the listener.
    uri: ApiRoot,
}

impl Feeding {
    /// `None` where nobody is to be listened to.
    pub(super) fn build(
        config: &Config,
        changes: Changes,
        tellers: Tellers,
        metrics: &Metrics,
    ) -> Result<Option<Self>, StartError> {
        let Some(listen) = config.callback.listen else {
            return Ok(None);
        };
        let tokens = nrf_tokens(config, tellers.nf_instance_id)?;
        let (feeds, inbox) = Feeds::new(changes, tellers, &config.feeds, metrics.feeds.clone());
        let server = callback_server(&config.callback, listen, metrics)?;
        let uri = callback_uri(&config.callback, &server)?;
        let callbacks = Callbacks::new(inbox, tokens, metrics.callback.clone());
        Ok(Some(Self {
            server,
            callbacks,
            feeds,
            uri,
        }))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Brings what the feeds hold into the metrics, and how they are.
    pub(super) fn record_state(&self) -> impl Fn() + Send + Sync + use<> {
        self.feeds.record_state()
    }

    /// Runs until `stop` is cancelled and every subscription is ended. Listens first and longest, so
    /// that no notification finds nobody.
    pub(super) fn start(self, stop: &CancellationToken) -> JoinHandle<()> {
        let Self {
            server,
            callbacks,
            feeds,
            uri,
        } = self;
        tracing::info!(address = %server.address(), "the core's notifications are expected");
        let stop = stop.clone();
        tokio::spawn(async move {
            let listening = CancellationToken::new();
            let serving = tokio::spawn(server.run(Arc::new(callbacks), listening.clone()));
            feeds.run(&uri, stop).await;
            listening.cancel();
            // One that panicked has said so in the log.
            let _ = serving.await;
        })
    }
}

/// By what notifications are judged, where they need a token.
pub(super) fn nrf_tokens(
    config: &Config,
    nf_instance_id: Uuid,
) -> Result<Option<NrfTokens>, StartError> {
    let accepted = Accepted {
        // Those who notify know us by our profile or by what we said when we asked.
        nf_types: vec![
            config.core.registration.nf_type.clone(),
            config.core.discovery.requester_nf_type.clone(),
        ],
        nf_instance_id,
        scope: config.callback.nrf_token_scope.clone(),
    };
    let keys = config.callback.nrf_keys_file.as_deref();
    let tokens = keys.map(|file| NrfTokens::open(file, accepted));
    Ok(tokens.transpose()?)
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
