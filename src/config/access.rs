//! Who may ask, what subscribers allow, and what is recorded: `[auth]`, `[consent]`, `[audit]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tls::ClientTls;
use super::url::{IssuerUrl, PublicUrl};
use super::values::{self, SecretSource};

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// How consumers prove who they are.
    pub mode: AuthMode,
    /// The signature algorithms that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// How far clocks may differ.
    #[serde(with = "values::duration")]
    pub leeway: Duration,
    /// How often the issuers' keys are fetched anew in the background.
    #[serde(with = "values::duration")]
    pub keys_refresh: Duration,
    /// How often an unknown key id may make us fetch them out of turn, for each issuer.
    #[serde(with = "values::duration")]
    pub keys_refresh_min: Duration,
    /// How long a verified token is remembered at most; never past its own end.
    #[serde(with = "values::duration")]
    pub token_lifetime: Duration,
    /// Verified tokens remembered at most; about 500 bytes each.
    pub token_entries: u64,
    /// Proof of possession.
    pub dpop: Dpop,
    /// For issuers with `https`.
    pub tls: ClientTls,
    /// Those whose tokens are accepted.
    pub issuers: Vec<Issuer>,
}

/// Clocks of servers that keep time at all are within this.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
/// A key that was withdrawn is refused after this.
const DEFAULT_KEYS_REFRESH: Duration = Duration::from_mins(5);
/// Invented key ids cannot make us ask an issuer more often.
const DEFAULT_KEYS_REFRESH_MIN: Duration = Duration::from_secs(10);
/// A token that was revoked at an introspecting issuer is refused after this.
const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_mins(2);
/// As many consumers with a token each as any operator has.
const DEFAULT_TOKEN_ENTRIES: u64 = 100_000;

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: AuthMode::Jwt,
            algorithms: Algorithm::ALL.to_vec(),
            leeway: DEFAULT_LEEWAY,
            keys_refresh: DEFAULT_KEYS_REFRESH,
            keys_refresh_min: DEFAULT_KEYS_REFRESH_MIN,
            token_lifetime: DEFAULT_TOKEN_LIFETIME,
            token_entries: DEFAULT_TOKEN_ENTRIES,
            dpop: Dpop::default(),
            tls: ClientTls::default(),
            issuers: Vec::new(),
        }
    }
}

/// `auth.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Signed tokens (RFC 9068).
    Jwt,
    /// Opaque tokens, explained by their issuer (RFC 7662).
    Introspection,
    /// Nobody is asked; only on a loopback listener.
    None,
}

/// A signature algorithm (RFC 7518, RFC 8037). Symmetric ones and `none` have no name here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the names of RFC 7518 say it")]
pub enum Algorithm {
    RS256,
    PS256,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// Every algorithm that can be accepted.
    pub const ALL: [Self; 5] = [
        Self::RS256,
        Self::PS256,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// As headers and settings write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::PS256 => "PS256",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }
}

/// `[auth.dpop]` (RFC 9449)
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpop {
    /// Whether tokens must be bound to a key of the consumer.
    pub mode: DpopMode,
    /// How old a proof may be; the leeway comes on top.
    #[serde(with = "values::duration")]
    pub window: Duration,
    /// Proofs remembered at most, so that none is used twice; about 200 bytes each. One consumer
    /// may hold as many as are free: half of them where it is alone.
    pub replay_entries: u64,
    /// Scheme and authority that consumers use to reach us (`https://api.example.com`), for which
    /// they make their proofs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<PublicUrl>,
}

/// Proofs are made for one request and used at once.
const DEFAULT_DPOP_WINDOW: Duration = Duration::from_mins(1);
/// A thousand requests a second of one consumer within window and leeway, and as much for others.
const DEFAULT_REPLAY_ENTRIES: u64 = 200_000;

impl Default for Dpop {
    fn default() -> Self {
        Self {
            mode: DpopMode::Off,
            window: DEFAULT_DPOP_WINDOW,
            replay_entries: DEFAULT_REPLAY_ENTRIES,
            public_url: None,
        }
    }
}

/// `auth.dpop.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DpopMode {
    /// Bound tokens are refused: nobody here checks the binding.
    Off,
    /// A bound token needs its proof, another none.
    Optional,
    /// Every token must be bound.
    Required,
}

/// `[[auth.issuers]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// What `aud` must name.
    pub audience: String,
    /// Whether an introspection answer without `aud` is refused. A signed token always is.
    #[serde(default = "yes")]
    pub audience_required: bool,
    /// Its keys; absent, with no file either: as its metadata says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<IssuerUrl>,
    /// Its keys in a file, read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
    /// Where opaque tokens are explained; absent: as its metadata says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_endpoint: Option<IssuerUrl>,
    /// Who we are to the introspection endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// And how we prove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretSource>,
    /// The claims that can name the consumer; the first that is there counts.
    #[serde(default = "default_consumer_claims")]
    pub consumer_claims: Vec<String>,
    /// What its consumers' ids begin with in limits, exemptions and the audit. Where there are
    /// several issuers, it keeps one from speaking for the consumers of another.
    #[serde(default)]
    pub consumer_prefix: String,
    /// The claims that can name a device (three-legged tokens); the first that is there counts.
    #[serde(default = "default_device_claims")]
    pub device_claims: Vec<String>,
}

impl Issuer {
    /// An issuer of which nothing but its name is known.
    pub fn new(issuer: String, audience: String) -> Self {
        Self {
            issuer,
            audience,
            audience_required: true,
            jwks_uri: None,
            jwks_file: None,
            introspection_endpoint: None,
            client_id: None,
            client_secret: None,
            consumer_claims: default_consumer_claims(),
            consumer_prefix: String::new(),
            device_claims: default_device_claims(),
        }
    }
}

fn yes() -> bool {
    true
}

/// RFC 9068 2.2, then what older servers write.
fn default_consumer_claims() -> Vec<String> {
    ["client_id", "azp", "sub"].map(str::to_owned).to_vec()
}

/// A number, a subject `tel:+…`, an address `ipport:…`.
fn default_device_claims() -> Vec<String> {
    ["phone_number", "sub", "ipport"]
        .map(str::to_owned)
        .to_vec()
}

/// `[consent]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consent {
    /// Who knows whether the subscriber consents.
    pub mode: ConsentMode,
    /// The purpose that covers everything, unless one of its own is set below (TS 29.503).
    pub purpose: String,
    /// The purpose that covers IMEI and IMEISV.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier_purpose: Option<String>,
    /// The purpose that covers TAC, make and model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_purpose: Option<String>,
    /// Whether a token that names its subscriber (by number or network access identifier, not by
    /// address) carries the consent already.
    pub trust_three_legged: bool,
    /// Consumers with a lawful purpose that needs no consent, by id. The audit shows it.
    pub exempt_consumers: Vec<String>,
}

/// TS 29.503, `UcPurpose`: exposure of network capabilities.
const DEFAULT_PURPOSE: &str = "NW_CAP_EXPOSURE";

impl Default for Consent {
    fn default() -> Self {
        Self {
            mode: ConsentMode::Core,
            purpose: DEFAULT_PURPOSE.to_owned(),
            identifier_purpose: None,
            type_purpose: None,
            trust_three_legged: false,
            exempt_consumers: Vec::new(),
        }
    }
}

/// `consent.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsentMode {
    /// The UDM (`Nudm_SDM`, uc-data).
    Core,
    /// The issuer: a token that names its subscriber (by number or network access identifier) was
    /// given with consent, any other without.
    Token,
    /// Nobody: the law of the place asks for none.
    None,
}

/// `[audit]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Where the record goes.
    pub sink: AuditSink,
    /// The file, for `sink = "file"`; opened again when it was moved away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// What happens when the record cannot be written.
    pub on_failure: AuditFailure,
    /// The key of the subscribers' pseudonyms, at least 32 bytes; absent: a random one, so that
    /// pseudonyms differ after each start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pseudonym_key: Option<SecretSource>,
    /// Lines a second about callers without a good token, who could fill a disk; 0: no limit.
    pub unauthenticated_per_second: u32,
}

/// A hundred megabytes a day at most; enough to see that somebody tries.
const DEFAULT_UNAUTHENTICATED_PER_SECOND: u32 = 5;

impl Default for Audit {
    fn default() -> Self {
        Self {
            sink: AuditSink::default(),
            file: None,
            on_failure: AuditFailure::default(),
            pseudonym_key: None,
            unauthenticated_per_second: DEFAULT_UNAUTHENTICATED_PER_SECOND,
        }
    }
}

/// `audit.sink`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditSink {
    /// Nowhere.
    #[default]
    Off,
    /// A file, appended to.
    File,
    /// Standard output.
    Stdout,
}

/// `audit.on_failure`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditFailure {
    /// No record, no answer: 503.
    #[default]
    Refuse,
    /// The answer goes out and the loss is counted.
    Count,
}
