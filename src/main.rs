//! The binary: arguments, memory, runtime, exit codes; nothing else.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use pei_bridge::cli::{self, Arguments};

/// A request makes some thirty small allocations on one thread and ends them there, which costs
/// less here than in the C library. Without huge pages: what is small shall stay small.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::run(Arguments::parse())
}
