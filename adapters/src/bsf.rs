//! The BSF: whose session an address is (TS 29.521, `Nbsf_Management`).

mod binding;
mod dialect;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::slice;
use std::sync::{Arc, Once};

use http::StatusCode;
use prometheus::IntCounter;
use tokio::time::Instant;

pub use binding::{Ipv4Binding, PcfBinding};

use binding::{Other, Session};
use dialect::{Dialect, Dialects};

use crate::sbi::{
    Answer, Client, Error, Fact, Facts, Operation, Path, Producer, ServiceName, Subject,
};

/// The BSF as a consumer of `Nbsf_Management` sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bsf {
    get_pcf_bindings: Operation,
    /// The same, with answers that say which BSF gave them.
    get_pcf_bindings_of: Operation,
    state: Arc<State>,
}

impl Bsf {
    /// The BSF behind `client`.
    pub fn new(client: &Client) -> Self {
        let nameless = |status| Nameless {
            count: client.metrics().nameless_bindings(status),
            logged: Once::new(),
        };
        let state = State {
            dialects: Dialects::default(),
            nameless_200: nameless("200"),
            nameless_204: nameless("204"),
            other_ip_domain: Once::new(),
            other_address: Once::new(),
        };
        let get_pcf_bindings =
            Operation::new(client, ServiceName::NbsfManagement, "GetPCFBindings");
        Self {
            get_pcf_bindings_of: get_pcf_bindings.telling_producer(),
            get_pcf_bindings,
            state: Arc::new(state),
        }
    }

    /// The binding of the session with this IPv4 address (`GetPCFBindings`), which is private or
    /// public; `ip_domain` tells apart the sessions that share a private one.
    pub async fn pcf_binding_ipv4(
        &self,
        address: Ipv4Addr,
        ip_domain: Option<&str>,
        deadline: Instant,
    ) -> Result<Option<Ipv4Binding>, Error> {
        let mut path = Path::new(dialect::PCF_BINDINGS)
            .literal("ipv4Addr=")
            .address(address);
        if let Some(ip_domain) = ip_domain {
            path = path.literal("&ipDomain=").value(ip_domain);
        }
        let subject = Subject::Ipv4(address, ip_domain);
        let read = |answer: &Answer| {
            let found = self.state.read(answer, On400::Fail)?;
            self.state
                .check(found, |session| session.check_ipv4(address, ip_domain))
        };
        let found = self
            .get_pcf_bindings
            .get(path, subject, deadline, read)
            .await?;
        Ok(found.session().map(|session| session.of_ipv4(address)))
    }

    /// The binding of the session with this IPv6 address (`GetPCFBindings`).
    ///
    /// Learns in which dialect each BSF is to be asked: until one has found something, a BSF that
    /// finds nothing in the one, or refuses it, is asked in the other.
    pub async fn pcf_binding_ipv6(
        &self,
        address: Ipv6Addr,
        deadline: Instant,
    ) -> Result<Option<PcfBinding>, Error> {
        let any = Subject::Ipv6(address);
        let first = self.state.dialects.usual();
        let said = self.ask(first, address, any, false, deadline).await?;
        let was_refused = match said.found {
            Found::Binding(_) | Found::NoSubscriber => {
                self.state.dialects.learn(said.by.as_deref(), first);
                return Ok(said.found.binding());
            }
            Found::Nothing if self.state.dialects.of(said.by.as_deref()) == Some(first) => {
                return Ok(None);
            }
            Found::Nothing => false,
            Found::Refused => true,
        };
        // The one that may not have understood; behind a proxy that chooses, perhaps another one.
        let root = said.by.as_deref().and_then(Producer::root);
        let same = root.map_or(any, |root| Subject::Among(slice::from_ref(root)));
        let second = first.other();
        let said = self
            .ask(second, address, same, was_refused, deadline)
            .await?;
        if matches!(said.found, Found::Binding(_) | Found::NoSubscriber) {
            self.state.dialects.learn(said.by.as_deref(), second);
        }
        Ok(said.found.binding())
    }

    /// Asks in one dialect. Refused in both, it is not the dialect that is wrong; nor is it where
    /// that is the one which this BSF understands.
    async fn ask(
        &self,
        dialect: Dialect,
        address: Ipv6Addr,
        subject: Subject<'_>,
        was_refused: bool,
        deadline: Instant,
    ) -> Result<Said, Error> {
        let read = |answer: &Answer| {
            let by = answer.producer();
            let understands = self.state.dialects.of(by) == Some(dialect);
            let on_400 = if was_refused || understands {
                On400::Fail
            } else {
                On400::Tolerate
            };
            let found = self.state.read(answer, on_400)?;
            let found = self
                .state
                .check(found, |session| session.check_ipv6(address, dialect))?;
            let by = by.cloned().map(Box::new);
            Ok(Said { found, by })
        };
        self.get_pcf_bindings_of
            .get(dialect.path(address), subject, deadline, read)
            .await
    }
}

/// What a 400 means at this point.
#[derive(Debug, Clone, Copy)]
enum On400 {
    /// Perhaps only the dialect is wrong.
    Tolerate,
    /// The request is refused.
    Fail,
}

/// What an answer says.
enum Found {
    Binding(Session),
    /// Something is there, but it leads to nobody: a binding without a subscriber, or several.
    NoSubscriber,
    Nothing,
    Refused,
}

impl Found {
    fn session(self) -> Option<Session> {
        match self {
            Self::Binding(session) => Some(session),
            Self::NoSubscriber | Self::Nothing | Self::Refused => None,
        }
    }

    fn binding(self) -> Option<PcfBinding> {
        self.session().map(Session::into_subscriber)
    }
}

/// What an answer says, and whose it is.
struct Said {
    found: Found,
    by: Option<Box<Producer>>,
}

impl Facts for Said {
    fn facts(&self) -> Vec<Fact> {
        self.found.facts()
    }
}

impl Facts for Found {
    fn facts(&self) -> Vec<Fact> {
        let binding = match self {
            Self::Binding(binding) => binding,
            Self::NoSubscriber => {
                return vec![Fact::plain("binding", "one that names no subscriber")];
            }
            Self::Nothing => return vec![Fact::plain("binding", "none")],
            Self::Refused => return vec![Fact::plain("binding", "not in this form of prefix")],
        };
        binding.facts()
    }
}

/// What is remembered of the BSFs.
#[derive(Debug)]
struct State {
    dialects: Dialects,
    nameless_200: Nameless,
    nameless_204: Nameless,
    /// Whether it was logged that a binding was not of what was asked for; each is counted as an
    /// answer that cannot be used.
    other_ip_domain: Once,
    other_address: Once,
}

/// Answers that name no subscriber: all counted, the first one logged.
#[derive(Debug)]
struct Nameless {
    count: IntCounter,
    logged: Once,
}

impl Nameless {
    fn seen(&self, log: impl FnOnce()) {
        self.count.inc();
        self.logged.call_once(log);
    }
}

impl State {
    fn read(&self, answer: &Answer, on_400: On400) -> Result<Found, Error> {
        match answer.status() {
            StatusCode::OK => {
                let session = Session::read(answer.json()?)?;
                Ok(session.map_or_else(|| self.without_subscriber(), Found::Binding))
            }
            StatusCode::NO_CONTENT => Ok(self.no_content()),
            StatusCode::NOT_FOUND => Ok(Found::Nothing),
            StatusCode::BAD_REQUEST => match (answer.cause().as_deref(), on_400) {
                (Some("MULTIPLE_BINDING_INFO_FOUND"), _) => Ok(Found::NoSubscriber),
                (_, On400::Tolerate) => Ok(Found::Refused),
                (_, On400::Fail) => Err(answer.failure()),
            },
            _ => Err(answer.failure()),
        }
    }

    /// The binding that was asked for, or none; another one is nobody's answer.
    fn check(
        &self,
        found: Found,
        check: impl FnOnce(&Session) -> Result<(), Other>,
    ) -> Result<Found, Error> {
        let Found::Binding(session) = &found else {
            return Ok(found);
        };
        match check(session) {
            Ok(()) => return Ok(found),
            Err(Other::IpDomain) => self.other_ip_domain.call_once(|| {
                tracing::warn!(
                    nf = "BSF",
                    "a binding of another IP domain than was asked for: check nat.pools and \
                     nat.private_ip_domain"
                );
            }),
            Err(Other::Address) => self.other_address.call_once(|| {
                tracing::warn!(
                    nf = "BSF",
                    "a binding that states other addresses than the one that was asked for"
                );
            }),
        }
        Err(Error::BadAnswer)
    }

    fn without_subscriber(&self) -> Found {
        self.nameless_200.seen(|| {
            tracing::warn!(
                nf = "BSF",
                "a binding without supi and gpsi: the PCF has to register them at the BSF"
            );
        });
        Found::NoSubscriber
    }

    fn no_content(&self) -> Found {
        self.nameless_204.seen(|| {
            tracing::info!(
                nf = "BSF",
                "no content: there is no such binding, or the BSF does not show the ones it has"
            );
        });
        Found::Nothing
    }
}
