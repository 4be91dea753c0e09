//! Where the binaries are, and a directory for what they are given.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

/// Binaries and a directory that is removed with this value.
#[derive(Debug)]
pub(crate) struct Workplace {
    pub(crate) bridge: PathBuf,
    pub(crate) simcore: PathBuf,
    /// This program, to be started as a contender.
    pub(crate) bench: PathBuf,
    directory: PathBuf,
}

impl Workplace {
    /// The binaries stand beside this one, where one build puts them all.
    pub(crate) fn new() -> Result<Self> {
        let bench = env::current_exe()?;
        let beside = |name: &str| -> Result<PathBuf> {
            let path = bench.with_file_name(name);
            if path.is_file() {
                Ok(path)
            } else {
                Err(format!("{name} is not built; tests/bench/run builds everything").into())
            }
        };
        let (bridge, simcore) = (beside("pei-bridge")?, beside("simcore")?);
        let directory = env::temp_dir().join(format!("pei-bridge-bench-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        Ok(Self {
            bridge,
            simcore,
            bench,
            directory,
        })
    }

    /// Writes a file there and says where it is.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// The named subscribers of the simulated core.
    pub(crate) fn subscribers() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/data")
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What cannot be removed is a few kilobytes in a temporary directory.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
