//! The UPF: what is behind an address that it translated (TS 29.564,
//! `Nupf_GetUEPrivateIPaddrAndIdentifiers`).

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};

use device::{Gpsi, Supi};
use http::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;

use crate::identifiers::{gpsi, supi};
use crate::nrf::{Located, N6Directory, Unlocated};
use crate::sbi::{
    Answer, ApiRoot, Client, Error, Fact, Facts, NOT_DISCOVERED, Operation, Path, ServiceName,
    Subject, Text, from_json,
};
use crate::several::{MOST_ASKED, first_that_knows};

/// The UPF as a consumer of its address information sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upf {
    client: Client,
    search_ue_ip_info: Operation,
    whose: Whose,
}

/// Who tells which UPF an address belongs to: each knows those that it translates, and of the
/// others that it has nothing.
#[derive(Debug, Clone)]
enum Whose {
    /// The NRF.
    Directory(Arc<N6Directory>),
    /// The SCP, which searches as we would.
    Proxy,
    /// They themselves, and what they said is remembered.
    Theirs(Arc<Mutex<HashMap<Ipv4Addr, ApiRoot>>>),
}

/// Addresses whose UPF is remembered: those of a network's translation are far fewer.
const MOST_KNOWN: usize = 10_000;

/// What the UPF knows of the session behind a public address and port.
#[derive(Clone, PartialEq, Eq)]
pub struct UeIpInfo {
    /// The permanent identifier, where the UPF tells it.
    pub supi: Option<Supi>,
    /// The public identifier, where the UPF tells it.
    pub gpsi: Option<Gpsi>,
    /// The address of the session before translation.
    pub private_ipv4: Option<Ipv4Addr>,
    /// The IP domain that makes the private address unique, an operator's name for it.
    pub ip_domain: Option<String>,
}

/// An address is personal: it leads to its subscriber.
impl fmt::Debug for UeIpInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UeIpInfo(***)")
    }
}

impl Upf {
    /// The UPFs behind `client`. Where there are several, all are asked for an address until one of
    /// them has told that it is there.
    pub fn new(client: &Client) -> Self {
        Self::with(client, Whose::Theirs(Arc::default()))
    }

    /// The UPFs behind `client`, the same as those of the directory, each of which is asked for the
    /// addresses that it has.
    pub fn with_directory(client: &Client, directory: N6Directory) -> Self {
        Self::with(client, Whose::Directory(Arc::new(directory)))
    }

    /// The UPFs that an SCP finds by the address, behind `client`.
    pub fn found_by_proxy(client: &Client) -> Self {
        Self::with(client, Whose::Proxy)
    }

    fn with(client: &Client, whose: Whose) -> Self {
        Self {
            client: client.clone(),
            search_ue_ip_info: Operation::new(client, ServiceName::NupfGueip, "SearchUeIpInfo"),
            whose,
        }
    }

    /// What is behind this public address and port (`SearchUeIpInfo`); `None` where the UPF knows
    /// nothing of it that leads further.
    pub async fn ue_ip_info(
        &self,
        public: Ipv4Addr,
        port: u16,
        deadline: Instant,
    ) -> Result<Option<UeIpInfo>, Error> {
        let path = path(public, port);
        let directory = match &self.whose {
            Whose::Directory(directory) => directory,
            Whose::Proxy => return self.ask(path, Subject::N6(public), deadline).await,
            Whose::Theirs(known) => return self.ask_theirs(known, public, port, deadline).await,
        };
        match directory.locate(public, deadline).await {
            Ok(Located::At(upfs)) => self.ask(path, Subject::Among(&upfs), deadline).await,
            Ok(Located::Nowhere) => Ok(None),
            // Asking all of them would multiply what is too much already.
            Err(Unlocated::Withheld) => Err(Error::Overloaded {
                retry_after: Some(1),
            }),
            Err(Unlocated::Failed(unknown)) => {
                let upfs = directory.upfs();
                if upfs.is_empty() || upfs.len() > MOST_ASKED {
                    return Err(unknown);
                }
                let ask = |upf| self.ask_one(upf, public, port, deadline);
                let found = first_that_knows(upfs.iter().map(ask)).await?;
                Ok(found.and_then(|(_, info)| info))
            }
        }
    }

    /// Asks whoever had the address before, else all of them.
    async fn ask_theirs(
        &self,
        known: &Mutex<HashMap<Ipv4Addr, ApiRoot>>,
        public: Ipv4Addr,
        port: u16,
        deadline: Instant,
    ) -> Result<Option<UeIpInfo>, Error> {
        let upfs = self.client.roots(ServiceName::NupfGueip);
        if upfs.len() > MOST_ASKED {
            // One of those that are not asked may know it.
            return Err(Error::Unreachable);
        }
        if upfs.len() <= 1 {
            let path = path(public, port);
            return self.ask(path, Subject::Anybody, deadline).await;
        }
        let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known().get(&public).cloned();
        let before = before.and_then(|root| upfs.iter().find(|upf| **upf == root));
        if let Some(upf) = before
            && let Ok((_, Some(info))) = self.ask_one(upf, public, port, deadline).await
        {
            return Ok(Some(info));
        }
        let ask = |upf| self.ask_one(upf, public, port, deadline);
        let Some((upf, Some(info))) = first_that_knows(upfs.iter().map(ask)).await? else {
            return Ok(None);
        };
        let mut known = known();
        if known.len() >= MOST_KNOWN && !known.contains_key(&public) {
            known.clear();
        }
        known.insert(public, upf.clone());
        Ok(Some(info))
    }

    async fn ask_one<'a>(
        &self,
        upf: &'a ApiRoot,
        public: Ipv4Addr,
        port: u16,
        deadline: Instant,
    ) -> Result<(&'a ApiRoot, Option<UeIpInfo>), Error> {
        let only = Subject::Among(slice::from_ref(upf));
        let info = self.ask(path(public, port), only, deadline).await?;
        Ok((upf, info))
    }

    async fn ask(
        &self,
        path: Path,
        subject: Subject<'_>,
        deadline: Instant,
    ) -> Result<Option<UeIpInfo>, Error> {
        self.search_ue_ip_info
            .get(path, subject, deadline, UeIpInfo::read)
            .await
    }
}

fn path(public: Ipv4Addr, port: u16) -> Path {
    Path::new("/nupf-gueip/v1/ue-ip-info?ue-ipv4-address=")
        .address(public)
        .literal("&port-number=")
        .address(port)
}

impl Facts for UeIpInfo {
    fn facts(&self) -> Vec<Fact> {
        let supi = self.supi.as_ref();
        let gpsi = self.gpsi.as_ref();
        let private = self.private_ipv4;
        let ip_domain = self.ip_domain.as_ref();
        let facts = [
            supi.map(|supi| Fact::personal("supi", supi.reveal())),
            gpsi.map(|gpsi| Fact::personal("gpsi", gpsi.reveal())),
            private.map(|address| Fact::personal("privateIpv4Address", address)),
            ip_domain.map(|ip_domain| Fact::plain("ipDomain", ip_domain)),
        ];
        facts.into_iter().flatten().collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UeIpInfoJson<'a> {
    #[serde(borrow)]
    supi: Option<Text<'a>>,
    #[serde(borrow)]
    gpsi: Option<Text<'a>>,
    #[serde(borrow)]
    private_ipv4_address: Option<Text<'a>>,
    ip_domain: Option<String>,
}

impl UeIpInfo {
    fn read(answer: &Answer) -> Result<Option<Self>, Error> {
        match answer.status() {
            StatusCode::OK => Self::try_from_json(answer.json()?),
            StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(None),
            // An SCP found no UPF that has the address (TS 29.500 5.2.7.2).
            StatusCode::BAD_REQUEST if answer.cause().as_deref() == Some(NOT_DISCOVERED) => {
                Ok(None)
            }
            _ => Err(answer.failure()),
        }
    }

    /// Reads a `UeIpInfo` of TS 29.564; `None` where nothing in it leads to a subscription. For any
    /// bytes: a value or [`Error::BadAnswer`].
    pub fn from_json(body: &[u8]) -> Result<Option<Self>, Error> {
        Self::try_from_json(from_json(body)?)
    }

    fn try_from_json(json: UeIpInfoJson<'_>) -> Result<Option<Self>, Error> {
        let private = json
            .private_ipv4_address
            .map(|text| text.parse())
            .transpose();
        let info = Self {
            supi: supi(json.supi)?,
            gpsi: gpsi(json.gpsi)?,
            private_ipv4: private.map_err(|_| Error::BadAnswer)?,
            ip_domain: json.ip_domain,
        };
        let leads = info.supi.is_some() || info.gpsi.is_some() || info.private_ipv4.is_some();
        Ok(leads.then_some(info))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_bytes_are_information_or_an_error(body: Vec<u8>) {
            let _ = UeIpInfo::from_json(&body);
        }

        #[test]
        fn any_address_is_read_or_refused(address in "[0-9.]{0,18}") {
            let body = serde_json::json!({"privateIpv4Address": address}).to_string();
            let known = address.parse::<Ipv4Addr>().is_ok();
            proptest::prop_assert_eq!(UeIpInfo::from_json(body.as_bytes()).is_ok(), known);
        }
    }
}
