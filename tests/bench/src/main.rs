//! The benchmark: pei-bridge side by side with the least that could do its work, in one run, on
//! one machine. `tests/bench/run` builds what it needs and starts it.
//!
//! Absolute figures belong to a machine; the ratios travel. Contenders take turns (A B, B A, …), so
//! that whatever else the machine does falls on both, and a ratio is the median over the rounds.
//! Nothing is pinned: load generator, server and simulated core share the cores alike for both.
//!
//! Read in this order: this file, [`from_cache`] and [`from_core`] (processor time, throughput,
//! latency), [`versions`] (versions of the API side by side), [`start`] (time to ready, device types),
//! [`million`] (memory), [`sessions`] (the table of event feeds), [`sessions_told`]
//! (the same, told over the wire), [`failing`] (UDMs in trouble); below them [`rounds`] (taking turns),
//! [`load`] (wrk), [`bridge`] and [`process`] (what is started), [`connection`] (HTTP/1.1), [`procfs`]
//! and [`stats`]. [`bare_hyper`] and [`bare_moka`] are contenders.

mod bare_hyper;
mod bare_moka;
mod bridge;
mod connection;
mod failing;
mod from_cache;
mod from_core;
mod load;
mod machine;
mod million;
mod process;
mod procfs;
mod report;
mod rounds;
mod sessions;
mod sessions_told;
mod start;
mod stats;
mod versions;
mod workplace;

use std::io::{self, Write as _};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use report::Report;
use workplace::Workplace;

/// Any error ends the run: a figure from a run in which something failed is worth nothing.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures pei-bridge; without a subcommand, everything.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    contender: Option<Contender>,
    /// A short run: rougher figures, a tenth of the subscribers.
    #[arg(long)]
    quick: bool,
    /// Only these measurements.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measurement>,
    /// Turns of each contender.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// The length of one turn.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Sessions that are told by notifications; ten million take some minutes.
    #[arg(long, value_name = "N")]
    told: Option<u64>,
}

/// The bench itself as one of the contenders; it starts itself so.
#[derive(Debug, Subcommand)]
enum Contender {
    /// A hyper server with one answer for everything.
    #[command(hide = true)]
    BareHyper(bare_hyper::Arguments),
    /// A moka cache, and what it weighs.
    #[command(hide = true)]
    BareMoka(bare_moka::Arguments),
    /// The table of sessions, and what it weighs.
    #[command(hide = true)]
    SessionTable(sessions::Arguments),
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// Answers from the cache, beside a bare hyper server.
    Cache,
    /// Answers from the core, beside nghttpx.
    Core,
    /// Other versions of the API, beside v0.1.0.
    Versions,
    /// Time to ready and memory with 250,000 device types.
    Start,
    /// Memory of a million cached subscribers, beside a bare moka cache.
    Million,
    /// Memory and time of a table of ten million sessions.
    Sessions,
    /// Memory of a bridge that an SMF told a million sessions, or as many as `--told` says.
    Told,
    /// Three UDMs in trouble under a steady load, for the length of one turn or more; the run has
    /// failed where more than one request of 10,000 does, or an answer is wrong.
    Failing,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    rounds: usize,
    turn: Duration,
    starts: usize,
    subscribers: u64,
    told: u64,
}

impl Effort {
    fn of(arguments: &Arguments) -> Self {
        let (rounds, seconds, starts, subscribers) = if arguments.quick {
            (3, 2, 3, 100_000)
        } else {
            (7, 5, 9, 1_000_000)
        };
        Self {
            rounds: arguments.rounds.unwrap_or(rounds).max(1),
            turn: Duration::from_secs(arguments.seconds.unwrap_or(seconds).max(1)),
            starts,
            subscribers,
            told: arguments.told.unwrap_or(subscribers).max(1),
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.contender {
        Some(Contender::BareHyper(arguments)) => bare_hyper::run(arguments),
        Some(Contender::BareMoka(arguments)) => bare_moka::run(arguments),
        Some(Contender::SessionTable(arguments)) => sessions::run(arguments),
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let wanted = |measurement| arguments.only.is_empty() || arguments.only.contains(&measurement);
    let effort = Effort::of(arguments);
    let workplace = Workplace::new()?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", machine::facts()?)?;
    let mut report = Report::default();
    if wanted(Measurement::Cache) {
        from_cache::measure(&workplace, effort, &mut report)?;
    }
    if wanted(Measurement::Core) {
        from_core::measure(&workplace, effort, &mut report)?;
    }
    if wanted(Measurement::Versions) {
        versions::measure(&workplace, effort, &mut report)?;
    }
    if wanted(Measurement::Start) {
        start::measure(&workplace, effort, &mut report)?;
    }
    if wanted(Measurement::Million) {
        million::measure(&workplace, effort, &mut report)?;
    }
    if wanted(Measurement::Sessions) {
        sessions::measure(&workplace, effort, &mut report)?;
    }
    if wanted(Measurement::Told) {
        sessions_told::measure(&workplace, effort, &mut report)?;
    }
    if wanted(Measurement::Failing) {
        failing::measure(&workplace, effort, &mut report)?;
    }
    write!(out, "\n{report}")?;
    report.verdict()
}
