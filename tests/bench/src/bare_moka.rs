//! A contender: a moka cache with nothing around it. Fills it and prints what it weighs.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;
use moka::sync::Cache;

use crate::{Result, procfs};

/// How much to put into it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The entries to insert.
    #[arg(long)]
    entries: u64,
    /// The entries that it may hold.
    #[arg(long)]
    capacity: u64,
}

/// Longer than any run.
const LIFETIME: Duration = Duration::from_hours(24);

/// Prints the bytes by which the process grew.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let before = procfs::resident("self")?;
    let cache: Cache<u64, [u8; 16]> = Cache::builder()
        .max_capacity(arguments.capacity)
        .time_to_live(LIFETIME)
        .build();
    for key in 0..arguments.entries {
        cache.insert(key, u128::from(key).to_le_bytes());
    }
    cache.run_pending_tasks();
    if cache.entry_count() != arguments.entries {
        return Err(format!("{} entries are left", cache.entry_count()).into());
    }
    let growth = procfs::resident("self")?.saturating_sub(before);
    writeln!(io::stdout(), "{growth}")?;
    Ok(())
}
