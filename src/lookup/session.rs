//! Whose session is this address?
//!
//! An IPv4 address: the configured NAT pools, the UPF, then the BSF; where neither pool nor UPF
//! knows the public address, the BSF is asked for that address itself. The answer of each step
//! feeds the next. An IPv6 address: the BSF. Before all of them, and again before the BSF is asked
//! about what the first two found, the table that the SMFs' events keep, where there is one.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use adapters::bsf::{Bsf, Ipv4Binding, PcfBinding};
use adapters::sbi::{self, Fact, Steps};
use adapters::upf::{UeIpInfo, Upf};
use device::{Gpsi, Ipv4Query, Supi, UeId, session_ipv4, session_ipv6};
use tokio::time::Instant;

use super::LookupError;
use super::domains::IpDomains;
use super::nat::{AddressSpace, NatPools, PrivateAddress, is_reusable};
use super::remembered::{Lifetimes, Remembered, Told};
use super::waiting::{Asker, Waiting};
use crate::config::Config;
use crate::sessions::SessionTable;
use crate::telemetry::metrics::{CacheName, LookupMetrics};

type Fetched = Result<UeId, LookupError>;

/// What a session is looked up by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Address {
    V6(Ipv6Addr),
    V4(Ipv4Query),
    /// The same, where a private address that contradicts the port is a mismatch.
    V4Agreeing(Ipv4Query),
}

/// Sessions by address, from the core.
pub struct SessionLookup {
    source: Source,
    remembered: Remembered<Address, UeId>,
}

impl SessionLookup {
    /// Asks these functions and remembers what the configuration allows.
    pub fn new(
        bsf: Option<Bsf>,
        upf: Option<Upf>,
        sessions: Option<Arc<SessionTable>>,
        steps: Option<Steps>,
        config: &Config,
        waiting: &Waiting,
        metrics: Arc<LookupMetrics>,
    ) -> Self {
        let name = CacheName::Session;
        let pools = NatPools::new(config.nat.pools.clone());
        let lifetimes = Lifetimes {
            // Zero, unless the operator knows that its addresses rest before they are used again.
            known: config.cache.session,
            entries: config.cache.session_entries,
            // An address that is nobody's can be somebody's a moment later.
            none_found: config.cache.none_found.min(config.cache.session),
            past_lifetime: Duration::ZERO,
            fed: None,
        };
        Self {
            source: Source {
                bsf,
                upf,
                pools,
                private_ip_domain: config.nat.private_ip_domain.clone(),
                ip_domains: IpDomains::of(&config.nat),
                sessions,
                steps,
                metrics: metrics.clone(),
            },
            remembered: Remembered::new(name, &lifetimes, config, waiting, metrics),
        }
    }

    /// The subscription whose prefix holds this address.
    pub async fn by_ipv6(&self, address: Ipv6Addr, deadline: Instant) -> Fetched {
        if !session_ipv6(address) {
            return Err(LookupError::UnknownSubscription);
        }
        if let Some(ue_id) = self.source.told_ipv6(address) {
            return Ok(ue_id);
        }
        self.by(Address::V6(address), deadline).await
    }

    /// The subscription behind a public address; the port decides over a private address.
    pub async fn by_ipv4(&self, query: Ipv4Query, deadline: Instant) -> Fetched {
        self.by_checked_ipv4(query, Address::V4(query), deadline)
            .await
    }

    /// As [`Self::by_ipv4`], where a private address that contradicts the port is a mismatch.
    pub async fn by_ipv4_agreeing(&self, query: Ipv4Query, deadline: Instant) -> Fetched {
        self.by_checked_ipv4(query, Address::V4Agreeing(query), deadline)
            .await
    }

    async fn by_checked_ipv4(
        &self,
        query: Ipv4Query,
        address: Address,
        deadline: Instant,
    ) -> Fetched {
        if !session_ipv4(query.public()) {
            return Err(LookupError::UnknownSubscription);
        }
        if !query.private().is_none_or(session_ipv4) {
            return self.beside_unusable(query, address, deadline).await;
        }
        match self.own_address(query) {
            Some(_) if matches!(address, Address::V4Agreeing(_)) && contradicts(query) => {
                Err(LookupError::Mismatch)
            }
            Some(ue_id) => Ok(ue_id),
            None => self.by(address, deadline).await,
        }
    }

    /// The same, where no session can have the private address: without a port nobody is meant; with
    /// one it is passed over, or names another device than the port.
    async fn beside_unusable(
        &self,
        query: Ipv4Query,
        address: Address,
        deadline: Instant,
    ) -> Fetched {
        if matches!(query, Ipv4Query::Private { .. }) {
            return Err(LookupError::UnknownSubscription);
        }
        let by_port = match self.own_address(query) {
            Some(ue_id) => ue_id,
            None => self.by(Address::V4(query), deadline).await?,
        };
        match address {
            Address::V4Agreeing(_) => Err(LookupError::Mismatch),
            Address::V4(_) | Address::V6(_) => Ok(by_port),
        }
    }

    /// The subscription whose session has the address that the world sees: there is no NAT.
    fn own_address(&self, query: Ipv4Query) -> Option<UeId> {
        // Where a private address tells who it is, another public one tells nothing.
        let by_private = matches!(query, Ipv4Query::Private { .. }) && contradicts(query);
        // Nor does one that several networks use.
        if by_private || is_reusable(query.public()) {
            return None;
        }
        self.source.told_ipv4(query.public(), None)
    }

    async fn by(&self, address: Address, deadline: Instant) -> Fetched {
        // What takes no question waits for nobody who asks one.
        if let Some(ue_id) = self.source.told_behind(address) {
            return Ok(ue_id);
        }
        let ask = async |deadline| {
            let subscription = self.source.by(address, deadline).await?;
            Ok(Told::of(subscription))
        };
        self.remembered
            .get(&address, Asker::Request, deadline, ask)
            .await
    }

    /// Brings the size of the memory into the metrics.
    pub fn record_size(&self) {
        self.remembered.record_size();
    }
}

/// The functions and tables that know sessions.
struct Source {
    bsf: Option<Bsf>,
    upf: Option<Upf>,
    pools: NatPools,
    /// Of private addresses that nothing else places.
    private_ip_domain: Option<String>,
    ip_domains: IpDomains,
    sessions: Option<Arc<SessionTable>>,
    /// Tells what was found without a question to whoever wants to see it.
    steps: Option<Steps>,
    metrics: Arc<LookupMetrics>,
}

/// What stands behind a public address and port.
enum Behind {
    Subscription(UeId, Option<Ipv4Addr>),
    Address(PrivateAddress),
    Nothing,
}

impl Source {
    async fn by(&self, address: Address, deadline: Instant) -> Fetched {
        match address {
            Address::V6(address) => self.by_ipv6(address, deadline).await,
            Address::V4(query) => self.by_ipv4(query, deadline).await,
            Address::V4Agreeing(query) => self.by_ipv4_agreeing(query, deadline).await,
        }
    }

    async fn by_ipv6(&self, address: Ipv6Addr, deadline: Instant) -> Fetched {
        let Some(bsf) = &self.bsf else {
            return Err(LookupError::UnknownSubscription);
        };
        subscription(bsf.pcf_binding_ipv6(address, deadline).await?)
    }

    async fn by_ipv4(&self, query: Ipv4Query, deadline: Instant) -> Fetched {
        match query {
            Ipv4Query::Port { public, port, .. } => {
                match self.behind(public, port, deadline).await {
                    // The UPF that cannot be reached may have it behind its translation, unless a
                    // session has it as its own.
                    Err(error @ LookupError::Core(sbi::Error::Unreachable))
                        if !is_reusable(public) =>
                    {
                        let own = self.bound(&unmapped(public), deadline).await;
                        own.map_err(|_| error)
                    }
                    behind => self.resolve(behind?, public, deadline).await,
                }
            }
            Ipv4Query::Private { public, private } => {
                self.by_private(public, private, deadline).await
            }
        }
    }

    async fn by_ipv4_agreeing(&self, query: Ipv4Query, deadline: Instant) -> Fetched {
        let Ipv4Query::Port {
            public,
            port,
            private: Some(private),
        } = query
        else {
            return self.by_ipv4(query, deadline).await;
        };
        let behind = self.behind(public, port, deadline).await?;
        let translated = match &behind {
            Behind::Subscription(_, address) => *address,
            Behind::Address(found) => Some(found.address),
            Behind::Nothing => Some(public),
        };
        match translated {
            Some(translated) if translated != private => Err(LookupError::Mismatch),
            Some(_) => self.resolve(behind, public, deadline).await,
            // The UPF named the subscription and not its address: the session itself must agree.
            None => {
                let by_port = self.resolve(behind, public, deadline).await?;
                let by_private = self.by_private(public, private, deadline).await;
                if by_private.is_ok_and(|by_private| by_private == by_port) {
                    Ok(by_port)
                } else {
                    Err(LookupError::Mismatch)
                }
            }
        }
    }

    /// Translates public address and port: by arithmetic where a pool is configured, else by UPF.
    async fn behind(
        &self,
        public: Ipv4Addr,
        port: u16,
        deadline: Instant,
    ) -> Result<Behind, LookupError> {
        if let Some(private) = self.pools.by_port(public, port) {
            self.note_pool(&private);
            return Ok(Behind::Address(private));
        }
        let Some(upf) = &self.upf else {
            return Ok(Behind::Nothing);
        };
        let Some(info) = upf.ue_ip_info(public, port, deadline).await? else {
            return Ok(Behind::Nothing);
        };
        let UeIpInfo {
            supi,
            gpsi,
            private_ipv4,
            ip_domain,
        } = info;
        if let Some(domain) = &ip_domain {
            self.ip_domains.seen(domain);
        }
        let space = ip_domain.map_or(AddressSpace::Unknown, AddressSpace::Domain);
        Ok(match (preferred(supi, gpsi), private_ipv4) {
            (Some(ue_id), address) => Behind::Subscription(ue_id, address),
            (None, Some(address)) => Behind::Address(PrivateAddress { address, space }),
            (None, None) => Behind::Nothing,
        })
    }

    fn note_pool(&self, private: &PrivateAddress) {
        if let Some(steps) = &self.steps {
            let address = Fact::personal("privateIpv4Address", private.address);
            let space = match &private.space {
                AddressSpace::Domain(domain) => Fact::plain("ipDomain", domain),
                AddressSpace::Network => Fact::plain("ipDomain", "the whole network"),
                AddressSpace::Unknown => Fact::plain("ipDomain", "not known"),
            };
            steps.note("nat.pools", vec![address, space]);
        }
    }

    /// The subscription of what stands behind a public address.
    async fn resolve(&self, behind: Behind, public: Ipv4Addr, deadline: Instant) -> Fetched {
        match behind {
            Behind::Subscription(ue_id, _) => Ok(ue_id),
            Behind::Address(private) => self.bound(&private, deadline).await,
            // No NAT is known to own the address: it is the session's own.
            Behind::Nothing => self.bound(&unmapped(public), deadline).await,
        }
    }

    /// By private address. The public one tells the address space, where a pool knows it.
    async fn by_private(&self, public: Ipv4Addr, private: Ipv4Addr, deadline: Instant) -> Fetched {
        match self.pools.by_private(public, private) {
            Some(private) => {
                self.note_pool(&private);
                self.bound(&private, deadline).await
            }
            // The pool owns the public address and says that this private one is not behind it.
            None if self.pools.cover(public) => Err(LookupError::UnknownSubscription),
            None => self.bound(&unmapped(private), deadline).await,
        }
    }

    /// Whose session the SMFs say it is.
    fn told_ipv4(&self, address: Ipv4Addr, ip_domain: Option<&str>) -> Option<UeId> {
        let table = self.sessions.as_ref()?;
        let found = table.by_ipv4(address, ip_domain);
        self.metrics.session_table(found.is_some());
        found
    }

    /// Whose session the SMFs say it is.
    fn told_ipv6(&self, address: Ipv6Addr) -> Option<UeId> {
        let table = self.sessions.as_ref()?;
        let found = table.by_ipv6(address);
        self.metrics.session_table(found.is_some());
        found
    }

    /// Whose session the SMFs say is behind an address that is translated without a question.
    fn told_behind(&self, address: Address) -> Option<UeId> {
        let table = self.sessions.as_ref()?;
        let (query, must_agree) = match address {
            Address::V6(_) => return None,
            Address::V4(query) => (query, false),
            Address::V4Agreeing(query) => (query, true),
        };
        let by_pool = match query {
            Ipv4Query::Port { public, port, .. } => Some(self.pools.by_port(public, port)?),
            Ipv4Query::Private { public, private } => self.pools.by_private(public, private),
        };
        let private = match (&by_pool, query) {
            (Some(private), _) => private.clone(),
            (None, Ipv4Query::Private { public, private }) if !self.pools.cover(public) => {
                unmapped(private)
            }
            (None, _) => return None,
        };
        let stated = query.private().filter(|_| must_agree);
        if stated.is_some_and(|stated| stated != private.address) {
            return None;
        }
        let (domain, is_placed) = self.place(&private);
        let told = || table.by_ipv4(private.address, domain);
        // Where it is not there, it is looked for once more before the BSF is asked.
        let found = is_placed.then(told).flatten()?;
        self.metrics.session_table(true);
        if let Some(by_pool) = &by_pool {
            self.note_pool(by_pool);
        }
        Some(found)
    }

    /// In which IP domain a private address is, and whether that is known.
    fn place<'a>(&'a self, private: &'a PrivateAddress) -> (Option<&'a str>, bool) {
        let domain = match &private.space {
            AddressSpace::Domain(domain) => Some(domain),
            AddressSpace::Unknown if is_reusable(private.address) => {
                self.private_ip_domain.as_ref()
            }
            AddressSpace::Network | AddressSpace::Unknown => None,
        };
        let is_placed = domain.is_some()
            || private.space == AddressSpace::Network
            || !is_reusable(private.address);
        (domain.map(String::as_str), is_placed)
    }

    async fn bound(&self, private: &PrivateAddress, deadline: Instant) -> Fetched {
        let (domain, placed) = self.place(private);
        let told = || self.told_ipv4(private.address, domain);
        if let Some(ue_id) = placed.then(told).flatten() {
            return Ok(ue_id);
        }
        let Some(bsf) = &self.bsf else {
            return Err(LookupError::UnknownSubscription);
        };
        let binding = bsf
            .pcf_binding_ipv4(private.address, domain, deadline)
            .await?;
        let Some(binding) = binding else {
            return Err(LookupError::UnknownSubscription);
        };
        let seen = binding.ip_domain.as_deref();
        if let Some(seen) = seen {
            self.ip_domains.seen(seen);
        }
        if placed || self.can_be_no_other(&binding) {
            subscription(Some(binding.subscriber))
        } else {
            self.ip_domains.warn();
            Err(LookupError::UnknownSubscription)
        }
    }

    /// Whether the session of a private address is the one that is meant, though nothing said in
    /// which address space: a BSF that gives the first of several would give the wrong person's.
    fn can_be_no_other(&self, binding: &Ipv4Binding) -> bool {
        let domain = binding.ip_domain.as_deref();
        binding.names_address && domain.is_none_or(|domain| self.ip_domains.is_only(domain))
    }
}

/// Whether the address that the device says it has is another than the one that the world sees.
fn contradicts(query: Ipv4Query) -> bool {
    query
        .private()
        .is_some_and(|private| private != query.public())
}

/// An address that no NAT is known to own.
fn unmapped(address: Ipv4Addr) -> PrivateAddress {
    PrivateAddress {
        address,
        space: AddressSpace::Unknown,
    }
}

/// The permanent identifier where there is one: every function of the core takes it.
fn preferred(supi: Option<Supi>, gpsi: Option<Gpsi>) -> Option<UeId> {
    supi.map(UeId::Supi).or(gpsi.map(UeId::Gpsi))
}

fn subscription(binding: Option<PcfBinding>) -> Fetched {
    let named = binding.and_then(|found| preferred(found.supi().cloned(), found.gpsi().cloned()));
    named.ok_or(LookupError::UnknownSubscription)
}
