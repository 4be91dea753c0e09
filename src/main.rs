//! The binary: arguments, runtime, exit codes; nothing else.

use std::process::ExitCode;

use clap::Parser as _;
use pei_bridge::cli::{self, Arguments};

fn main() -> ExitCode {
    cli::run(Arguments::parse())
}
