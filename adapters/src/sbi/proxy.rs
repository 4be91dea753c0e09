//! Indirect communication: requests go to an SCP, which passes them on to the instance that we
//! chose, or chooses one itself (TS 29.500 6.10).

use std::sync::Arc;

use device::UeId;
use http::header::{HeaderName, SERVER};
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::json;
use uuid::Uuid;

use super::endpoint::{Lease, Shared};
use super::instance::Subject;
use super::metrics::Metrics;
use super::pool::{Reach, Roster, Wish};
use super::request::Question;
use super::selection::History;
use super::{ApiRoot, Error, Instance, NfType, Resource, Settings};

static TARGET_API_ROOT: HeaderName = HeaderName::from_static("3gpp-sbi-target-apiroot");
static ROUTING_BINDING: HeaderName = HeaderName::from_static("3gpp-sbi-routing-binding");
static PRODUCER_ID: HeaderName = HeaderName::from_static("3gpp-sbi-producer-id");
static TARGET_NF_TYPE: HeaderName = HeaderName::from_static("3gpp-sbi-discovery-target-nf-type");
static SERVICE_NAMES: HeaderName = HeaderName::from_static("3gpp-sbi-discovery-service-names");
static TARGET_INSTANCE: HeaderName =
    HeaderName::from_static("3gpp-sbi-discovery-target-nf-instance-id");
static SUPI: HeaderName = HeaderName::from_static("3gpp-sbi-discovery-supi");
static GPSI: HeaderName = HeaderName::from_static("3gpp-sbi-discovery-gpsi");
static UE_IPV4: HeaderName = HeaderName::from_static("3gpp-sbi-discovery-ue-ipv4-address");
static IP_DOMAIN: HeaderName = HeaderName::from_static("3gpp-sbi-discovery-ip-domain");
static UPF_N6_IP: HeaderName = HeaderName::from_static("3gpp-sbi-discovery-upf-n6-ip");
static UE_IPV6: HeaderName = HeaderName::from_static("3gpp-sbi-discovery-ue-ipv6-prefix");

/// The service communication proxies. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scp {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    roster: Roster,
}

impl Scp {
    /// Starts to connect to every one. Must be called within a Tokio runtime.
    pub fn new(roots: Vec<ApiRoot>, settings: &Settings, metrics: &Metrics) -> Self {
        let shared = Shared::new(NfType::Scp, settings, metrics.client(NfType::Scp));
        let shared = Arc::new(shared);
        let instances = roots.into_iter().map(Instance::from).collect();
        let roster = Roster::new(instances, Reach::Connections, &shared);
        Self {
            inner: Arc::new(Inner { shared, roster }),
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    /// Whether one of them is at this host.
    pub(super) fn is_at(&self, root: &ApiRoot) -> bool {
        let pool = self.inner.roster.pool();
        let mut members = pool.members.iter();
        members.any(|member| member.instance.root.is_same_host(root))
    }

    /// A connection to any of them.
    pub(super) async fn lease(
        &self,
        wish: &Wish<'_>,
        history: &mut History,
    ) -> Result<Lease, Error> {
        let Inner { shared, roster } = &*self.inner;
        roster.lease(&any(wish), history, shared).await
    }

    pub(super) fn has_another(&self, wish: &Wish<'_>, history: &mut History) -> bool {
        let Inner { shared, roster } = &*self.inner;
        roster.has_another(&any(wish), history, shared)
    }
}

/// A proxy serves everybody.
fn any<'a>(wish: &Wish<'_>) -> Wish<'a> {
    Wish {
        service: wish.service,
        subject: Subject::Anybody,
        preferred: None,
        may_probe: wish.may_probe,
    }
}

/// What an SCP that discovers for us is told beside the request itself: the query of a discovery
/// (TS 29.510 6.2.3.2.3.1) as `(name, value)`, `requester-nf-type` among it.
#[derive(Debug, Clone, Default)]
pub struct Delegation(Arc<[(HeaderName, HeaderValue)]>);

impl Delegation {
    /// The headers of these query parameters; one that no header can carry is left out.
    pub fn new<'a>(query: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let headers = query.into_iter().filter_map(|(name, value)| {
            let name = format!("3gpp-sbi-discovery-{name}");
            Some((name.parse().ok()?, value.parse().ok()?))
        });
        Self(headers.collect())
    }
}

/// How requests reach the instances.
#[derive(Debug, Clone)]
pub enum Route {
    /// By connections of our own.
    Direct,
    /// Through an SCP, which is told whom we chose.
    Proxy(Scp),
    /// Through an SCP, which chooses.
    Delegated(Scp, Delegation),
}

impl Route {
    pub(super) fn proxy(&self) -> Option<&Scp> {
        match self {
            Self::Direct => None,
            Self::Proxy(scp) | Self::Delegated(scp, _) => Some(scp),
        }
    }

    /// What the proxy needs to know; `None` where there is no proxy.
    pub(super) fn headers(
        &self,
        question: &Question<'_>,
        resource: Option<&Resource>,
        target: Option<&ApiRoot>,
    ) -> Option<HeaderMap> {
        let delegation = match self {
            Self::Direct => return None,
            Self::Proxy(_) => None,
            Self::Delegated(_, delegation) => Some(delegation),
        };
        let mut headers = HeaderMap::new();
        if let Some(root) = resource.and_then(Resource::root).or(target)
            && let Ok(root) = root.to_string().parse()
        {
            headers.insert(&TARGET_API_ROOT, root);
        }
        if let Some(binding) = resource.and_then(Resource::binding) {
            headers.insert(&ROUTING_BINDING, binding.clone());
        }
        if let Some(delegation) = delegation {
            let nf_type = HeaderValue::from_static(question.service.producer().name());
            headers.insert(&TARGET_NF_TYPE, nf_type);
            let service = HeaderValue::from_static(question.service.name());
            headers.insert(&SERVICE_NAMES, service);
            for (name, value) in delegation.0.iter() {
                headers.insert(name, value.clone());
            }
            describe(question.subject, &mut headers);
            if let Some(instance) = resource.and_then(Resource::producer) {
                headers.insert(&TARGET_INSTANCE, instance.clone());
            }
        }
        Some(headers)
    }
}

/// Whether the answer is the proxy's own and not one that it passed on (TS 29.500 5.2.2.2,
/// `server`).
pub(super) fn is_of_proxy(headers: &HeaderMap) -> bool {
    let server = headers.get(SERVER).map(HeaderValue::as_bytes);
    let kind = server.and_then(|server| server.get(..PROXY_AGENT.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(PROXY_AGENT))
}

const PROXY_AGENT: &[u8] = b"SCP-";

/// Whom the proxy says it chose (TS 29.500 5.2.3.2.6, 5.2.3.3.4), for whoever wants to see it.
pub(super) fn chosen(headers: &HeaderMap) -> (Option<ApiRoot>, Option<Uuid>) {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    let root = text(&TARGET_API_ROOT).and_then(|root| root.parse().ok());
    let instance = text(&PRODUCER_ID).and_then(|id| {
        let mut parameters = id.split(';').map(str::trim);
        let id = parameters.find_map(|parameter| parameter.strip_prefix("nfinst="))?;
        id.parse().ok()
    });
    (root, instance)
}

const NOT_IN_HEADERS: &AsciiSet = &CONTROLS.add(b'%');

/// Whom the request is about, so that the SCP finds the instance that serves them.
fn describe(subject: Subject<'_>, headers: &mut HeaderMap) {
    let mut tell = |name: &HeaderName, value: String| {
        // What no header can carry as it stands (RFC 9110 5.5), and the sign that says so.
        let value = utf8_percent_encode(&value, NOT_IN_HEADERS).to_string();
        if let Ok(mut value) = HeaderValue::try_from(value) {
            // Kept out of compression tables: it is personal, and different each time.
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    };
    match subject {
        Subject::Anybody | Subject::Among(_) => {}
        Subject::Ue(ue) | Subject::UeAmong(ue, _) => {
            let name = match ue {
                UeId::Supi(_) => &SUPI,
                UeId::Gpsi(_) => &GPSI,
            };
            tell(name, ue.reveal().to_string());
        }
        Subject::Ipv4(address, ip_domain) => {
            tell(&UE_IPV4, address.to_string());
            if let Some(ip_domain) = ip_domain {
                tell(&IP_DOMAIN, ip_domain.to_owned());
            }
        }
        Subject::N6(address) => tell(&UPF_N6_IP, json!({"ipv4Addr": address}).to_string()),
        Subject::Ipv6(address) => tell(&UE_IPV6, format!("{address}/128")),
    }
}
