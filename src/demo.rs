//! The bridge and a simulated core in one process, talking real HTTP/2 over loopback.
//!
//! For testers: one command, no configuration. What it asks and what it expects stands in
//! [`questions`], how in [`asking`]; the core is `simcore`, under `fixtures/`.

mod asking;
mod questions;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use adapters::sbi::ApiRoot;
use ipnet::Ipv4Net;
use simcore::{Options, Simcore};
use tokio_util::sync::CancellationToken;

use crate::app::{App, StartError};
use crate::cli::DemoArguments;
use crate::config::{Config, ConfigError, IpDomainRule, Issuer, IssuerUrl, Layers, LogFormat};
use crate::tac::TacTable;
use crate::telemetry::logs;
use asking::{Tokens, Unexpected};
use questions::Question;

/// Short, so that a tester sees a change in the core at once.
const LIFETIME: Duration = Duration::from_secs(2);
/// Far beyond what a handshake over loopback takes on a loaded machine.
const CORE_WAIT: Duration = Duration::from_secs(10);

/// Why a demo ends early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The simulated core cannot start.
    #[error("simulated core: {0}")]
    Core(#[from] simcore::StartError),
    /// The bridge cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The settings laid over the demo's own are not understood.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The embedded table of device types cannot be read.
    #[error("TAC table: {0}")]
    Tac(String),
    /// An answer was not the expected one.
    #[error(transparent)]
    Unexpected(#[from] Unexpected),
    /// Nothing can be printed.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

/// Runs until `stop` is cancelled, or with `--once` until every question is answered.
pub async fn run(arguments: &DemoArguments, stop: CancellationToken) -> Result<(), DemoError> {
    if !arguments.control_listen.ip().is_loopback() {
        let reason = "gives everybody tokens, and so is for a loopback address only";
        return Err(invalid("--control-listen", &reason).into());
    }
    let core = Simcore::start(Options {
        core_listen: arguments.core_listen,
        control_listen: arguments.control_listen,
        subscribers: arguments.subscribers,
        ..Options::default()
    })
    .await?;
    let config = configure(arguments, core.core_addr(), core.control_addr())?;
    logs::install(&config.log).map_err(|error| invalid("log.level", &error))?;
    let app = if config.tac.file.is_some() {
        App::build(&config)?
    } else {
        let table = TacTable::read(simcore::TAC_CSV.as_bytes(), 0).map_err(DemoError::Tac)?;
        App::build_with(&config, table)?
    };
    let (api, admin) = (app.api_address(), app.admin_address());
    let questions = questions::of(&config);
    let app_stop = app.stop_token();
    let running = tokio::spawn(app.run());
    asking::wait_until_ready(admin, CORE_WAIT).await?;
    let tokens = Tokens::fetch(core.control_addr()).await?;
    let outcome = if arguments.once {
        asking::ask_all(&questions, api, &tokens).await
    } else {
        print_invitation(&questions, (api, admin), &core, &tokens)?;
        stop.cancelled().await;
        Ok(())
    };
    app_stop.cancel();
    // A bridge that panicked has said so in the log.
    let _ = running.await;
    core.stop().await;
    outcome
}

/// The demo's own settings, with file, environment and flags over them.
fn configure(
    arguments: &DemoArguments,
    core: SocketAddr,
    control: SocketAddr,
) -> Result<Config, ConfigError> {
    let mut base = Config::default();
    base.auth.issuers = vec![issuer(control)?];
    base.cache.consent = LIFETIME;
    base.cache.equipment = LIFETIME;
    base.cache.none_found = LIFETIME;
    base.log.format = LogFormat::Text;
    "warn".clone_into(&mut base.log.level);
    let root = format!("http://{core}").parse::<ApiRoot>();
    let root = root.map_err(|error| invalid("core.udm", &error))?;
    base.core.udm = vec![root.clone()];
    base.core.bsf = vec![root.clone()];
    base.core.upf = vec![root.clone()];
    base.core.smf = vec![root];
    feed(&mut base)?;
    let mut config = Layers::over(base, arguments.config.clone()).load()?;
    if let Some(listen) = arguments.api_listen {
        config.api.listen = listen;
    }
    if let Some(listen) = arguments.admin_listen {
        config.admin.listen = listen;
    }
    if let Some(level) = &arguments.log {
        config.log.level.clone_from(level);
    }
    config.validate()?;
    Ok(config)
}

/// Told of everything, the bridge need not ask again, and a change shows at once all the same.
fn feed(base: &mut Config) -> Result<(), ConfigError> {
    base.callback.listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    base.feeds.sessions = true;
    base.feeds.equipment = true;
    base.feeds.consent = true;
    // The address spaces of the fixtures.
    for (ip_domain, prefix) in [("nat-a", "10.45.0.0/16"), ("nat-b", "10.64.0.0/10")] {
        let prefix = prefix.parse::<Ipv4Net>();
        base.feeds.ip_domains.push(IpDomainRule {
            ip_domain: ip_domain.to_owned(),
            dnn: None,
            sst: None,
            sd: None,
            prefix: Some(prefix.map_err(|error| invalid("feeds.ip_domains", &error))?),
        });
    }
    Ok(())
}

/// The issuer beside the simulated core.
fn issuer(control: SocketAddr) -> Result<Issuer, ConfigError> {
    let issuer = format!("http://{control}/oidc");
    let jwks_uri = IssuerUrl::parse(&format!("{issuer}/jwks"));
    let jwks_uri = jwks_uri.map_err(|error| invalid("auth.issuers", &error))?;
    let known = Issuer::new(issuer, "device-identifier".to_owned());
    Ok(Issuer {
        jwks_uri: Some(jwks_uri),
        ..known
    })
}

fn invalid(key: &'static str, reason: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::Invalid {
        key,
        reason: reason.to_string(),
    }
}

/// What to paste next.
fn print_invitation(
    questions: &[&Question],
    (api, admin): (SocketAddr, SocketAddr),
    core: &Simcore,
    tokens: &Tokens,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "pei-bridge is ready; ask it:\n")?;
    for question in questions {
        writeln!(out, "{}\n", question.curl(api, tokens))?;
    }
    writeln!(out, "metrics:        curl http://{admin}/metrics")?;
    writeln!(out, "definitions:    curl http://{admin}/openapi/v0.3.yaml")?;
    writeln!(out, "simulated core: http://{} (HTTP/2)", core.core_addr())?;
    writeln!(
        out,
        "calls to it:    curl http://{}/sim/calls",
        core.control_addr()
    )?;
    writeln!(
        out,
        "another device: curl -X POST http://{}/sim/subscribers/imsi-001010000000001/device-swap \
         -d '{{\"pei\": \"imeisv-3569380312345101\"}}'",
        core.control_addr()
    )?;
    writeln!(out, "\nCtrl-C ends it.")?;
    out.flush()
}
