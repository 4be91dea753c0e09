//! `lookup`: one question to the real core, each step of it told to the engineer who wires it up.
//!
//! The walk is that of a request ([`crate::lookup`]); what is printed is what the core's functions
//! recorded on the way ([`Steps`]). Nothing is registered, subscribed to or remembered. Identifiers
//! are printed with `--reveal` alone, and not even then in a message of an error.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use adapters::sbi::{Attempt, Call, Error, Found, Shown, Step, Steps};
use clap::{ArgGroup, Args};
use device::address::{parse_ipv4, parse_ipv6};
use device::{Ipv4Query, MASK, Nai, PhoneNumber, UeId};
use tokio::time::{Instant, timeout};

use super::{fail, refuse};
use crate::auth::Caller;
use crate::config::{Config, ConsentMode, Feeds, GpsiToSupi, Layers, Log, LogFormat};
use crate::lookup::{
    Answer, DeviceQuery, Lookup, LookupError, Progress, SeveralIdentifiers, Wanted,
};
use crate::southbound::{Membership, Southbound};
use crate::tac::TacTable;
use crate::telemetry::logs;
use crate::telemetry::metrics::Metrics;

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
    let query = match arguments.query() {
        Ok(query) => query,
        Err(error) => return refuse(&error),
    };
    let config = match Layers::from_file(&arguments.config).load() {
        Ok(config) => as_an_onlooker(config),
        Err(error) => return refuse(&error),
    };
    let log = Log {
        level: "warn".to_owned(),
        format: LogFormat::Text,
    };
    if let Err(error) = logs::install(&log) {
        return refuse(&error);
    }
    let bench = match Bench::build(&config) {
        Ok(bench) => bench,
        Err(error) => return fail(&*error),
    };
    let mut progress = Progress::default();
    let answer = bench.ask(&config, &query, &mut progress).await;
    let report = Report {
        reveal: arguments.reveal,
        text: String::new(),
    };
    let subscription = progress.subscription.as_ref();
    let text = report.of(&config, &query, &bench, subscription, answer);
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
    discovered: Vec<adapters::sbi::Client>,
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
        query: &DeviceQuery,
        progress: &mut Progress,
    ) -> Result<Answer, LookupError> {
        let patience = config.api.request_timeout;
        // A function that the NRF does not name is told as such by the step that needs it.
        let known = self
            .discovered
            .iter()
            .map(adapters::sbi::Client::until_known);
        let _ = timeout(patience, futures_util::future::join_all(known)).await;
        let several = SeveralIdentifiers::First;
        let (wanted, caller) = (Wanted::Identifier, Caller::anonymous());
        let deadline = Instant::now() + patience;
        let lookup = &self.lookup;
        lookup
            .device(query, several, wanted, &caller, deadline, progress)
            .await
    }
}

/// What is printed.
struct Report {
    reveal: bool,
    text: String,
}

impl Report {
    fn of(
        mut self,
        config: &Config,
        query: &DeviceQuery,
        bench: &Bench,
        subscription: Option<&UeId>,
        answer: Result<Answer, LookupError>,
    ) -> String {
        self.question(config, query);
        let steps = bench.steps.done();
        for (number, step) in (1..).zip(&steps) {
            self.step(number, step);
        }
        if let Some(subscription) = subscription {
            let whole = subscription.reveal().to_string();
            let kind = whole.split('-').next().unwrap_or_default();
            let shown = if self.reveal {
                whole.clone()
            } else {
                format!("{kind}-{MASK}")
            };
            self.line("subscription", &shown);
        }
        match answer {
            Ok(answer) => self.answer(&answer, &bench.tac_table),
            Err(error) => self.failure(error, &steps),
        }
        self.text
    }

    fn line(&mut self, name: &str, value: &str) {
        // A `String` takes everything.
        let _ = writeln!(self.text, "{name:<13} {value}");
    }

    fn question(&mut self, config: &Config, query: &DeviceQuery) {
        let by_gpsi = [
            query
                .phone_number
                .map(|number| ("phoneNumber", number.reveal().to_string())),
            query
                .network_access_identifier
                .as_ref()
                .map(|nai| ("networkAccessIdentifier", nai.reveal().to_owned())),
        ];
        let by_address = [
            query
                .ipv6_address
                .map(|address| ("ipv6Address", address.to_string())),
            query.ipv4_address.map(|query| {
                let port = match query {
                    Ipv4Query::Port { port, .. } => format!(" port {port}"),
                    Ipv4Query::Private { .. } => String::new(),
                };
                let private = query.private();
                let private =
                    private.map_or(String::new(), |private| format!(" private {private}"));
                ("ipv4Address", format!("{}{port}{private}", query.public()))
            }),
        ];
        let is_gpsi = by_gpsi.iter().any(Option::is_some);
        for (name, value) in by_gpsi.into_iter().chain(by_address).flatten() {
            let value = if self.reveal { value } else { MASK.to_owned() };
            self.line("question", &format!("{name} {value}"));
        }
        if is_gpsi {
            let way = config.core.gpsi_to_supi;
            let what = match way {
                GpsiToSupi::Direct => "the UDM is asked by GPSI",
                GpsiToSupi::Translation => "the UDM translates it first",
                GpsiToSupi::File => "the operator's table says it",
            };
            self.line(
                "GPSI to SUPI",
                &format!("{} (core.gpsi_to_supi): {what}", way.as_str()),
            );
        }
        if config.consent.mode == ConsentMode::None {
            self.line("consent", "not asked for");
        }
    }

    fn step(&mut self, number: usize, step: &Step) {
        let _ = writeln!(self.text);
        match step {
            Step::Call(call) => self.call(number, call),
            Step::Note { source, facts } => {
                let _ = writeln!(self.text, "{number}. {source}");
                self.facts(facts);
            }
        }
    }

    fn call(&mut self, number: usize, call: &Call) {
        let _ = writeln!(self.text, "{number}. {} {}", call.nf, call.operation);
        let path = self.shown(&call.path).to_owned();
        let _ = writeln!(self.text, "   {} {path}", call.method);
        if call.attempts.is_empty() {
            let _ = writeln!(self.text, "   sent to nobody: no instance was there");
        }
        for attempt in &call.attempts {
            self.attempt(attempt);
        }
        let took = milliseconds(call.took);
        match &call.outcome {
            Ok(facts) => {
                let _ = writeln!(self.text, "   took {took}");
                self.facts(facts);
            }
            Err(error) => {
                let _ = writeln!(self.text, "   took {took}, failed: {error}");
            }
        }
        if let Some(cause) = &call.cause {
            let _ = writeln!(self.text, "   cause {cause}");
        }
    }

    fn attempt(&mut self, attempt: &Attempt) {
        let found = match attempt.found {
            Found::Configured => "configured",
            Found::Discovered => "discovered at the NRF",
            Found::ChosenByProxy => "chosen by the SCP",
        };
        let Attempt { root, via, .. } = attempt;
        let _ = match attempt.nf_instance_id {
            Some(id) => write!(self.text, "   to {root} (nfInstanceId {id}, {found})"),
            None => write!(self.text, "   to {root} ({found})"),
        };
        if let Some(via) = via {
            let _ = write!(self.text, " through the SCP {via}");
        }
        let _ = match attempt.status {
            Some(status) => writeln!(self.text, ": {status}"),
            None => writeln!(self.text, ": no answer"),
        };
    }

    fn facts(&mut self, facts: &[adapters::sbi::Fact]) {
        for fact in facts {
            let value = self.shown(&fact.value).to_owned();
            let _ = writeln!(self.text, "   read {} {value}", fact.name);
        }
    }

    fn shown<'a>(&self, shown: &'a Shown) -> std::borrow::Cow<'a, str> {
        if self.reveal {
            shown.reveal().into()
        } else {
            shown.to_string().into()
        }
    }

    fn answer(&mut self, answer: &Answer, tac_table: &TacTable) {
        let _ = writeln!(self.text);
        let seen = |whole: String, reveal: bool| if reveal { whole } else { MASK.to_owned() };
        let imei = seen(answer.imei.reveal().to_string(), self.reveal);
        self.line("imei", &imei);
        if let Some(imeisv) = answer.imeisv {
            let imeisv = seen(imeisv.reveal().to_string(), self.reveal);
            self.line("imeisv", &imeisv);
        }
        let tac = answer.imei.tac();
        self.line("tac", &seen(tac.to_string(), self.reveal));
        if let Some(device_type) = tac_table.get(tac) {
            self.line(
                "manufacturer",
                device_type.manufacturer.unwrap_or("unknown"),
            );
            self.line("model", device_type.model.unwrap_or("unknown"));
        }
        if let Ok(time) = jiff::Timestamp::from_millisecond(answer.last_checked) {
            self.line("lastChecked", &format!("{time:.3}"));
        }
    }

    /// The step that failed; or else the last one, which brought nothing.
    fn failure(&mut self, error: LookupError, steps: &[Step]) {
        let _ = writeln!(self.text);
        let failed = |step: &Step| matches!(step, Step::Call(call) if call.outcome.is_err());
        let place = steps.iter().rposition(failed);
        let place = place.or(steps.len().checked_sub(1));
        let named = place.and_then(|place| Some((place, steps.get(place)?)));
        let at = match named {
            Some((place, Step::Call(call))) => {
                format!("at step {}, {} {}: ", place + 1, call.nf, call.operation)
            }
            Some((place, Step::Note { source, .. })) => {
                format!("at step {}, {source}: ", place + 1)
            }
            None => String::new(),
        };
        self.line("failed", &format!("{at}{error}"));
        if let Some(hint) = hint(error) {
            self.line("", hint);
        }
    }
}

/// What to look at.
fn hint(error: LookupError) -> Option<&'static str> {
    match error {
        LookupError::Core(Error::Refused { .. }) => {
            Some("the core understands something else than what the configuration makes us ask")
        }
        LookupError::Core(Error::Unreachable) => {
            Some("is the apiRoot right, is an instance registered, may our NF type see it?")
        }
        LookupError::UnknownSubscription => {
            Some("another core.gpsi_to_supi may know it, or another function for addresses")
        }
        LookupError::Unsupported => Some("api.supported_identifiers leaves it out"),
        LookupError::ConsentMissing => Some("the subscriber's uc-data hold no CONSENT_GIVEN"),
        LookupError::Mismatch
        | LookupError::NotOfToken
        | LookupError::ConsentUnknown(_)
        | LookupError::NoDevice
        | LookupError::NoImei
        | LookupError::Core(_) => None,
    }
}

fn milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}
