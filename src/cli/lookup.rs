//! `lookup`: one question to the real core, each step of it told to the engineer who wires it up.
//!
//! The walk is that of a request ([`crate::lookup`]); what is printed is what the core's functions
//! recorded on the way ([`Steps`]). Nothing is registered, subscribed to or remembered. Identifiers
//! are printed with `--reveal` alone, and not even then in a message of an error.

mod report;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use adapters::sbi::{Client, Steps};
use clap::{ArgGroup, Args};
use device::address::{parse_ipv4, parse_ipv6};
use device::{Ipv4Query, Nai, PhoneNumber};
use tokio::time::{Instant, timeout};

use super::{fail, log_for_a_person, refuse};
use crate::auth::Caller;
use crate::config::{Config, ConsentMode, Feeds, Layers};
use crate::lookup::{
    Answer, DeviceQuery, Lookup, LookupError, NamedBy, Progress, Question, SeveralIdentifiers,
    Wanted,
};
use crate::southbound::{Membership, Southbound};
use crate::tac::TacTable;
use crate::telemetry::logs;
use crate::telemetry::metrics::Metrics;
use report::{Outcome, Report};

/// The flags of `lookup`. Identifiers are read by ourselves: an error of clap would repeat them.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("identifier").required(true).args([
    "phone_number", "network_access_identifier", "ipv4_address", "ipv6_address",
])))]
pub(super) struct LookupArguments {
    /// The configuration (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Whose device: by phone number.
    #[arg(long, value_name = "NUMBER")]
    phone_number: Option<String>,
    /// By network access identifier.
    #[arg(long, value_name = "LOCAL@DOMAIN")]
    network_access_identifier: Option<String>,
    /// By the public address; with the port, the private address, or both.
    #[arg(long, value_name = "ADDRESS")]
    ipv4_address: Option<String>,
    /// The port that the world sees.
    #[arg(long, value_name = "PORT", requires = "ipv4_address")]
    public_port: Option<String>,
    /// The address that the device itself has.
    #[arg(long, value_name = "ADDRESS", requires = "ipv4_address")]
    private_address: Option<String>,
    /// By any address in the prefix of the device.
    #[arg(long, value_name = "ADDRESS")]
    ipv6_address: Option<String>,
    /// Print identifiers in full.
    #[arg(long)]
    reveal: bool,
}

/// A flag whose value is not what it says.
#[derive(Debug, thiserror::Error)]
#[error("{flag}: {reason}")]
struct BadFlag {
    flag: &'static str,
    reason: &'static str,
}

impl LookupArguments {
    fn query(&self) -> Result<DeviceQuery, BadFlag> {
        Ok(DeviceQuery {
            phone_number: read(self.phone_number.as_deref(), "--phone-number", |text| {
                PhoneNumber::from_digits(text.strip_prefix('+').unwrap_or(text)).ok()
            })?,
            network_access_identifier: read(
                self.network_access_identifier.as_deref(),
                "--network-access-identifier",
                |text| Nai::parse(text).ok(),
            )?,
            ipv6_address: read(self.ipv6_address.as_deref(), "--ipv6-address", parse_ipv6)?,
            ipv4_address: self.ipv4_query()?,
        })
    }

    fn ipv4_query(&self) -> Result<Option<Ipv4Query>, BadFlag> {
        let address = |text: Option<&str>, flag| read(text, flag, parse_ipv4);
        let public = address(self.ipv4_address.as_deref(), "--ipv4-address")?;
        let private = address(self.private_address.as_deref(), "--private-address")?;
        let port = read(self.public_port.as_deref(), "--public-port", |text| {
            text.parse().ok()
        })?;
        match (public, port, private) {
            (None, ..) => Ok(None),
            (Some(public), Some(port), private) => Ok(Some(Ipv4Query::Port {
                public,
                port,
                private,
            })),
            (Some(public), None, Some(private)) => Ok(Some(Ipv4Query::Private { public, private })),
            (Some(_), None, None) => Err(BadFlag {
                flag: "--ipv4-address",
                reason: "needs --public-port or --private-address beside it",
            }),
        }
    }
}

fn read<T>(
    text: Option<&str>,
    flag: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, BadFlag> {
    text.map(|text| {
        parse(text).ok_or(BadFlag {
            flag,
            reason: "is not of the form that it has to have",
        })
    })
    .transpose()
}

/// Runs the command to its end. Must be called within a Tokio runtime.
pub(super) async fn run(arguments: &LookupArguments) -> ExitCode {
    let question = match arguments.query() {
        Ok(query) => Question {
            query,
            named_by: NamedBy::Request(SeveralIdentifiers::First),
        },
        Err(error) => return refuse(&error),
    };
    let config = match Layers::from_file(&arguments.config).load() {
        Ok(config) => as_an_onlooker(config),
        Err(error) => return refuse(&error),
    };
    if let Err(error) = logs::install(&log_for_a_person()) {
        return refuse(&error);
    }
    let bench = match Bench::build(&config) {
        Ok(bench) => bench,
        Err(error) => return fail(&*error),
    };
    let mut progress = Progress::default();
    let answer = bench.ask(&config, &question, &mut progress).await;
    let subscription = progress.subscription.as_ref();
    let outcome = Outcome {
        steps: &bench.steps.done(),
        subscription,
        answer,
    };
    let text =
        Report::new(arguments.reveal).of(&config, &question.query, &outcome, &bench.tac_table);
    let written = write!(std::io::stdout(), "{text}");
    match (answer, written) {
        (Ok(_), Ok(())) => ExitCode::SUCCESS,
        (Err(_), _) | (_, Err(_)) => ExitCode::FAILURE,
    }
}

/// The configuration of somebody who looks and leaves nothing behind at the core.
fn as_an_onlooker(mut config: Config) -> Config {
    config.core.registration.enabled = false;
    config.feeds = Feeds::default();
    // A token would carry it, and here is none.
    if config.consent.mode == ConsentMode::Token {
        config.consent.mode = ConsentMode::None;
    }
    config
}

/// Everything that is needed for one lookup.
struct Bench {
    lookup: Lookup,
    tac_table: TacTable,
    steps: Steps,
    discovered: Vec<Client>,
    /// Keeps the instances up to date.
    _membership: Membership,
}

impl Bench {
    fn build(config: &Config) -> Result<Self, Box<dyn std::error::Error>> {
        let metrics = Metrics::new()?;
        let steps = Steps::default();
        let drivers = Vec::new();
        let told = Some(steps.clone());
        let southbound = Southbound::start(config, drivers, &metrics.core, told)?;
        let (lookup, _changes) = Lookup::new(southbound.functions, config, &metrics.lookup);
        let tac_table = match &config.tac.file {
            Some(file) => TacTable::from_file(file)?,
            None => TacTable::default(),
        };
        Ok(Self {
            lookup,
            tac_table,
            steps,
            discovered: southbound.discovered,
            _membership: southbound.membership,
        })
    }

    async fn ask(
        &self,
        config: &Config,
        question: &Question,
        progress: &mut Progress,
    ) -> Result<Answer, LookupError> {
        let patience = config.api.request_timeout;
        // A function that the NRF does not name is told as such by the step that needs it.
        let known = self.discovered.iter().map(Client::until_known);
        let _ = timeout(patience, futures_util::future::join_all(known)).await;
        let (wanted, caller) = (Wanted::Identifier, Caller::anonymous());
        let deadline = Instant::now() + patience;
        let lookup = &self.lookup;
        lookup
            .device(question, wanted, &caller, deadline, progress)
            .await
    }
}
