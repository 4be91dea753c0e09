//! The BSF: whose session an address is (TS 29.521, `Nbsf_Management`).

use std::net::{Ipv4Addr, Ipv6Addr};

use device::{Gpsi, Supi};
use tokio::time::Instant;

use crate::sbi::{Client, Error};

/// The BSF as a consumer of `Nbsf_Management` sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bsf {
    client: Client,
}

/// Whose session was found: a binding names its subscription in at least one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PcfBinding {
    /// By permanent identifier alone.
    Supi(Supi),
    /// By public identifier alone.
    Gpsi(Gpsi),
    /// By both.
    Both {
        /// The permanent identifier.
        supi: Supi,
        /// The public identifier.
        gpsi: Gpsi,
    },
}

impl PcfBinding {
    /// The permanent identifier, where the BSF told it.
    pub fn supi(&self) -> Option<&Supi> {
        match self {
            Self::Supi(supi) | Self::Both { supi, .. } => Some(supi),
            Self::Gpsi(_) => None,
        }
    }

    /// The public identifier, where the BSF told it.
    pub fn gpsi(&self) -> Option<&Gpsi> {
        match self {
            Self::Gpsi(gpsi) | Self::Both { gpsi, .. } => Some(gpsi),
            Self::Supi(_) => None,
        }
    }
}

impl Bsf {
    /// The BSF behind `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client beneath, for its readiness.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The binding of the session with this IPv4 address (`GetPCFBindings`), which is private or
    /// public; `ip_domain` tells apart the sessions that share a private one.
    pub async fn pcf_binding_ipv4(
        &self,
        address: Ipv4Addr,
        ip_domain: Option<&str>,
        deadline: Instant,
    ) -> Result<Option<PcfBinding>, Error> {
        let _ = (address, ip_domain, deadline);
        Err(Error::Unreachable)
    }

    /// The binding of the session with this IPv6 address (`GetPCFBindings`).
    pub async fn pcf_binding_ipv6(
        &self,
        address: Ipv6Addr,
        deadline: Instant,
    ) -> Result<Option<PcfBinding>, Error> {
        let _ = (address, deadline);
        Err(Error::Unreachable)
    }
}
