//! The files and secrets that a configuration names, looked at without a start.

use super::{StartError, feeding};
use crate::audit::Audit;
use crate::auth::Authenticator;
use crate::config::{Config, ServerTls};
use crate::ppid::Ppids;
use crate::southbound::Southbound;
use crate::tac::TacTable;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::otlp;
use crate::tls::ListenerTls;

/// Why a start with this configuration would be refused, as far as its files and secrets tell: each
/// of them is read as a start reads it. Of the audit's file alone it is not known until a start
/// whether it can be made in its directory.
///
/// Nobody is asked, nothing is listened on and nothing written: the tasks that a start begins are
/// given to a runtime that never runs.
pub fn unusable_files(config: &Config) -> Vec<StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return vec![StartError::Threads(error)],
    };
    let _inside = runtime.enter();
    let metrics = match Metrics::new() {
        Ok(metrics) => metrics,
        Err(error) => return vec![error.into()],
    };
    let (listed, issuers) = (config.listed_consumers(), metrics.auth.clone());
    let looks: [Result<(), StartError>; 10] = [
        device_types(config),
        certificates("api.tls", config.api.tls.as_ref()),
        Southbound::start(config, Vec::new(), &metrics.core, None)
            .map(drop)
            .map_err(StartError::from),
        callback(config),
        Authenticator::new(&config.auth, listed, issuers)
            .map(drop)
            .map_err(StartError::from),
        Ppids::open(&config.ppid)
            .map(drop)
            .map_err(StartError::from),
        Audit::check_key(&config.audit).map_err(StartError::from),
        Audit::check_file(&config.audit).map_err(StartError::from),
        otlp::tracing(&config.telemetry.otlp, &metrics.otlp)
            .map(drop)
            .map_err(|source| StartError::Tls {
                key: "telemetry.otlp.tls",
                source,
            }),
        nrf_keys(config),
    ];
    looks.into_iter().filter_map(Result::err).collect()
}

fn device_types(config: &Config) -> Result<(), StartError> {
    let table = config.tac.file.as_deref().map(TacTable::from_file);
    table.transpose().map(drop).map_err(StartError::from)
}

fn certificates(key: &'static str, tls: Option<&ServerTls>) -> Result<(), StartError> {
    let tls = tls.map(ListenerTls::load).transpose();
    tls.map(drop)
        .map_err(|source| StartError::Tls { key, source })
}

fn callback(config: &Config) -> Result<(), StartError> {
    let tls = config.callback.tls.as_ref();
    certificates(
        "callback.tls",
        tls.filter(|_| config.callback.listen.is_some()),
    )
}

fn nrf_keys(config: &Config) -> Result<(), StartError> {
    if config.callback.listen.is_none() {
        return Ok(());
    }
    let nf_instance_id = config.core.nf_instance_id.unwrap_or_default();
    feeding::nrf_tokens(config, nf_instance_id).map(drop)
}
