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

/// What it is asked in.
pub(crate) const JSON: &str = "application/json";

/// The body of a question about a synthetic subscriber of the simulated core.
pub(crate) fn question(subscriber: u64) -> String {
    format!("{{\"phoneNumber\":\"+3467{subscriber:08}\"}}")
}

/// A simulated core that takes connections.
pub(crate) struct Core {
    pub(crate) address: SocketAddr,
    pub(crate) control: SocketAddr,
    /// apiRoots of the UDMs.
    udms: Vec<String>,
    _process: Process,
}

impl Core {
    pub(crate) fn start(workplace: &Workplace, subscribers: u64) -> Result<Self> {
        Self::start_several(workplace, subscribers, 0)
    }

    /// With so many UDMs that have a socket of their own; 0: the one that all functions share.
    pub(crate) fn start_several(
        workplace: &Workplace,
        subscribers: u64,
        udms: u16,
    ) -> Result<Self> {
        let first = free_address()?;
        let (address, control) = (free_address()?, free_address()?);
        let mut process = Process::start(
            "simcore",
            Command::new(&workplace.simcore)
                .args(["--core-listen", &address.to_string()])
                .args(["--control-listen", &control.to_string()])
                .args(["--subscribers", &subscribers.to_string()])
                .args(["--instances", &format!("udm={udms}")])
                .args(["--instances-listen", &first.to_string()])
                .arg("--data")
                .arg(Workplace::subscribers()),
        )?;
        process.wait_until(|| std::net::TcpStream::connect(address).is_ok())?;
        process.wait_until(|| std::net::TcpStream::connect(control).is_ok())?;
        let ports = first.port()..first.port() + udms;
        let mut udms: Vec<_> = ports
            .map(|port| format!("http://{}:{port}", first.ip()))
            .collect();
        if udms.is_empty() {
            udms.push(format!("http://{address}"));
        }
        Ok(Self {
            address,
            control,
            udms,
            _process: process,
        })
    }

    /// A token of the issuer beside the core, good for longer than any measurement.
    pub(crate) fn token(&self) -> Result<String> {
        let form = "grant_type=client_credentials&client_id=bench&expires_in=86400\
                    &scope=device-identifier:retrieve-identifier";
        let kind = "application/x-www-form-urlencoded";
        let answer = Connection::open(self.control)?.post("/oidc/token", kind, form)?;
        let body: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let token = body.get("access_token").and_then(|token| token.as_str());
        Ok(token.ok_or("no token")?.to_owned())
    }
}

/// Who may ask a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody.
    Anybody,
    /// Whoever has a token of the issuer beside the core.
    Tokens,
}

/// How a bridge is to differ from its defaults.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    /// `auth.mode`
    pub(crate) access: Access,
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
    admin: SocketAddr,
    pub(crate) process: Process,
}

impl Bridge {
    pub(crate) fn start(
        workplace: &Workplace,
        core: &Core,
        settings: Settings<'_>,
    ) -> Result<Self> {
        let (address, admin) = (free_address()?, free_address()?);
        let text = configuration(address, admin, core, settings)?;
        let file = workplace.write(&format!("{}.toml", address.port()), &text)?;
        let mut process = Process::start(
            "pei-bridge",
            Command::new(&workplace.bridge)
                .args(["serve", "--config"])
                .arg(file),
        )?;
        process.wait_until(|| is_ready(admin).unwrap_or(false))?;
        Ok(Self {
            address,
            admin,
            process,
        })
    }

    /// Its connections to UDMs.
    pub(crate) fn connections_ready(&self) -> Result<f64> {
        let page = Connection::open(self.admin)?.get("/metrics")?;
        let page = String::from_utf8(page.body)?;
        let series = r#"pei_bridge_core_connections{nf="UDM",state="ready"} "#;
        let value = page.lines().find_map(|line| line.strip_prefix(series));
        Ok(value.ok_or("no such metric")?.parse()?)
    }
}

fn is_ready(admin: SocketAddr) -> Result<bool> {
    Ok(Connection::open(admin)?.get("/readyz")?.status == 200)
}

fn configuration(
    api: SocketAddr,
    admin: SocketAddr,
    core: &Core,
    settings: Settings<'_>,
) -> Result<String> {
    let Settings {
        lifetime, entries, ..
    } = settings;
    let Core { udms, control, .. } = core;
    let mut text = format!(
        "[api]\nlisten = \"{api}\"\n[admin]\nlisten = \"{admin}\"\n\
         [core]\nudm = {udms:?}\n[log]\nlevel = \"warn\"\n\
         [cache]\nequipment = \"{lifetime}\"\nequipment_entries = {entries}\n\
         none_found = \"0s\"\n[consent]\nmode = \"none\"\n"
    );
    match settings.access {
        Access::Anybody => writeln!(text, "[auth]\nmode = \"none\"")?,
        Access::Tokens => writeln!(
            text,
            "[[auth.issuers]]\nissuer = \"http://{control}/oidc\"\n\
             audience = \"device-identifier\"\njwks_uri = \"http://{control}/oidc/jwks\""
        )?,
    }
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
}
