//! Children: started, waited for, and ended by their own handle, whatever happens.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Result, procfs};

/// Far beyond what a start takes on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks; short beside the times that are measured with it.
const PAUSE: Duration = Duration::from_millis(1);

/// A child process, which ends with its handle.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts it. It inherits standard error, where it says what is wrong.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{name} cannot be started: {error}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    /// Waits until `ready` says so; an end of the process is an error.
    pub(crate) fn wait_until(&mut self, mut ready: impl FnMut() -> bool) -> Result<()> {
        let started = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended early: {status}", self.name).into());
            }
            if started.elapsed() > START_LIMIT {
                return Err(format!("{} is not ready after {START_LIMIT:?}", self.name).into());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// The processor time it has used so far.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        procfs::processor_time(self.child.id())
    }

    /// The memory it holds, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        procfs::resident(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of this machine that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}
