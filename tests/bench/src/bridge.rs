//! The two programs that every measurement starts: the bridge and the simulated core.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::connection::Connection;
use crate::process::{Process, free_address};
use crate::workplace::Workplace;

/// What the bridge is asked.
pub(crate) const PATH: &str = "/device-identifier/v0.1.0/retrieve-identifier";

/// The body of a question about a synthetic subscriber of the simulated core.
pub(crate) fn question(subscriber: u64) -> String {
    format!("{{\"phoneNumber\":\"+3467{subscriber:08}\"}}")
}

/// A simulated core that takes connections.
pub(crate) struct Core {
    pub(crate) address: SocketAddr,
    _process: Process,
}

impl Core {
    pub(crate) fn start(workplace: &Workplace, subscribers: u64) -> Result<Self> {
        let (address, control) = (free_address()?, free_address()?);
        let mut process = Process::start(
            "simcore",
            Command::new(&workplace.simcore)
                .args(["--core-listen", &address.to_string()])
                .args(["--control-listen", &control.to_string()])
                .args(["--subscribers", &subscribers.to_string()])
                .arg("--data")
                .arg(Workplace::subscribers()),
        )?;
        process.wait_until(|| std::net::TcpStream::connect(address).is_ok())?;
        Ok(Self {
            address,
            _process: process,
        })
    }
}

/// How a bridge is to differ from its defaults.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    /// `cache.equipment`
    pub(crate) lifetime: &'a str,
    /// `cache.equipment_entries`
    pub(crate) entries: u64,
    /// `tac.file`
    pub(crate) device_types: Option<&'a Path>,
}

/// A bridge that is ready.
pub(crate) struct Bridge {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

impl Bridge {
    pub(crate) fn start(
        workplace: &Workplace,
        core: &Core,
        settings: Settings<'_>,
    ) -> Result<Self> {
        let (address, admin) = (free_address()?, free_address()?);
        let text = configuration(address, admin, core.address, settings)?;
        let file = workplace.write(&format!("{}.toml", address.port()), &text)?;
        let mut process = Process::start(
            "pei-bridge",
            Command::new(&workplace.bridge)
                .args(["serve", "--config"])
                .arg(file),
        )?;
        process.wait_until(|| is_ready(admin).unwrap_or(false))?;
        Ok(Self { address, process })
    }
}

fn is_ready(admin: SocketAddr) -> Result<bool> {
    Ok(Connection::open(admin)?.get("/readyz")?.status == 200)
}

fn configuration(
    api: SocketAddr,
    admin: SocketAddr,
    core: SocketAddr,
    settings: Settings<'_>,
) -> Result<String> {
    let Settings {
        lifetime, entries, ..
    } = settings;
    let mut text = format!(
        "[api]\nlisten = \"{api}\"\n[admin]\nlisten = \"{admin}\"\n[auth]\nmode = \"none\"\n\
         [core]\nudm = [\"http://{core}\"]\n[log]\nlevel = \"warn\"\n\
         [cache]\nequipment = \"{lifetime}\"\nequipment_entries = {entries}\n"
    );
    if let Some(file) = settings.device_types {
        writeln!(text, "[tac]\nfile = \"{}\"", file.display())?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_a_synthetic_subscriber() {
        assert_eq!(question(42), r#"{"phoneNumber":"+346700000042"}"#);
    }

    #[test]
    fn a_configuration_says_what_differs() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let settings = Settings {
            lifetime: "0s",
            entries: 7,
            device_types: Some(Path::new("types.csv")),
        };
        let text = configuration(address, address, address, settings).unwrap();
        assert!(text.contains("udm = [\"http://127.0.0.1:1\"]"), "{text}");
        assert!(text.contains("equipment = \"0s\"\nequipment_entries = 7"));
        assert!(text.ends_with("[tac]\nfile = \"types.csv\"\n"), "{text}");
    }
}
