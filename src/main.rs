//! The binary: arguments, memory, runtime, exit codes; nothing else.

use std::process::ExitCode;

use clap::Parser as _;
use pei_bridge::cli::{self, Arguments};
use tikv_jemallocator::Jemalloc;

/// A request makes some thirty small allocations on one thread and ends them there, which costs
/// less here than in the C library, and a long life leaves less scattered behind.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    cli::run(Arguments::parse())
}
