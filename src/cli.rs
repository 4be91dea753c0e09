//! The command line. Exit codes: 0 fine, 1 runtime failure, 2 bad usage or bad configuration.

mod lookup;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::{self, App};
use crate::config::{Config, Layers, Log, LogFormat};
use crate::demo::{self, DemoError};
use crate::telemetry::logs;
use lookup::LookupArguments;

/// Bad usage or bad configuration.
const EXIT_USAGE: u8 = 2;

/// Answers the CAMARA Device Identifier API from a 5G core.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Serve(ConfigFile),
    /// Validate a configuration, look at the files that it names, and print the effective one.
    Check(ConfigFile),
    /// Ask the core about one device and tell every step of it.
    Lookup(Box<LookupArguments>),
    /// Run the service with a simulated core in the same process.
    Demo(DemoArguments),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// The flags of `demo`.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// Ask the demo's own questions, print the answers, and end.
    #[arg(long)]
    pub once: bool,
    /// The listener for API consumers [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    pub api_listen: Option<SocketAddr>,
    /// The listener for health and metrics [default: 127.0.0.1:9090].
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// The simulated core.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7777")]
    pub core_listen: SocketAddr,
    /// The control listener of the simulated core.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7778")]
    pub control_listen: SocketAddr,
    /// Synthetic subscribers beside the named ones.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub subscribers: u64,
    /// Settings of the bridge, laid over the demo's own.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Log level [default: warn].
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
}

/// Runs a command to its end.
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Check(ConfigFile { config }) => check(&config),
        Command::Serve(ConfigFile { config }) => match Layers::from_file(&config).load() {
            Ok(config) => serve(&config),
            Err(error) => refuse(&error),
        },
        Command::Lookup(arguments) => with_runtime(lookup::run(&arguments)),
        Command::Demo(arguments) => demo(&arguments),
    }
}

fn check(file: &Path) -> ExitCode {
    let config = match Layers::from_file(file).load() {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    // Rows of tables that a start would skip are told there.
    if let Err(error) = logs::install(&log_for_a_person()) {
        return refuse(&error);
    }
    for doubt in config.doubts() {
        let _ = writeln!(std::io::stderr(), "pei-bridge: {doubt}");
    }
    let unusable = app::unusable_files(&config);
    for error in &unusable {
        refuse(error);
    }
    match config.to_toml() {
        Ok(text) => match written(write!(std::io::stdout(), "{text}")) {
            ExitCode::SUCCESS if !unusable.is_empty() => ExitCode::from(EXIT_USAGE),
            code => code,
        },
        Err(error) => fail(&error),
    }
}

/// The log of a command that ends by itself: what is amiss, whatever `[log]` says of the service.
fn log_for_a_person() -> Log {
    Log {
        level: "warn".to_owned(),
        format: LogFormat::Text,
    }
}

fn serve(config: &Config) -> ExitCode {
    if let Err(error) = logs::install(&config.log) {
        return refuse(&error);
    }
    with_runtime(async {
        let app = match App::build(config) {
            Ok(app) => app,
            Err(error) => return fail(&error),
        };
        match cancel_on_signal(app.stop_token()) {
            Ok(()) => app.run().await,
            Err(error) => return fail(&error),
        }
        ExitCode::SUCCESS
    })
}

fn demo(arguments: &DemoArguments) -> ExitCode {
    with_runtime(async {
        let stop = CancellationToken::new();
        if let Err(error) = cancel_on_signal(stop.clone()) {
            return fail(&error);
        }
        match demo::run(arguments, stop).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(DemoError::Config(error)) => refuse(&error),
            Err(error) => fail(&error),
        }
    })
}

fn with_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => fail(&error),
    }
}

/// SIGTERM and SIGINT end the process in order; a second one is not needed, the drain is bounded.
fn cancel_on_signal(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

fn refuse(error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "pei-bridge: {error}");
    ExitCode::from(EXIT_USAGE)
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "pei-bridge: {error}");
    ExitCode::FAILURE
}

fn written(result: std::io::Result<()>) -> ExitCode {
    result.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}
