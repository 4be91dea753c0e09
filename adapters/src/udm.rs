//! The UDM: which equipment a subscription uses, what else it is called, what it consented to
//! (TS 29.503).

pub mod events;
mod parts;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use device::{Gpsi, Pei, Supi, UeId};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use crate::identifiers::gpsi;
use crate::nrf::{Serving, SubscriberDirectory};
use crate::sbi::{
    Answer, Client, Error, Fact, Facts, Operation, Path, ServiceName, Subject, Text, from_json,
    time,
};
use crate::several::{Informs, Knowledge};

/// The UDM as a consumer of `Nudm_UECM` and `Nudm_SDM` sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Udm {
    client: Client,
    get_3gpp_registration: Operation,
    get_non_3gpp_registration: Operation,
    get_supi_or_gpsi: Operation,
    get_uc_data: Operation,
    /// Tells who serves a subscription; absent: any that is known to may be asked.
    directory: Option<Arc<SubscriberDirectory>>,
}

/// What the UDM knows of a subscription's registration over one access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AmfRegistration {
    /// There is a registration (200).
    Registered(Registration),
    /// The subscription has none over this access (404 `CONTEXT_NOT_FOUND`).
    NotRegistered,
    /// There is no such subscription (404 `USER_NOT_FOUND` or `DATA_NOT_FOUND`).
    UnknownSubscriber,
    /// One of the two, and the UDM does not say which (403 or 404 without a cause).
    Unspecified,
}

/// A registration, as far as the bridge reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The equipment in use, where it was reported.
    pub pei: Option<Pei>,
    /// Whether the AMF has deleted the context since: what is here is history.
    pub purged: bool,
    /// When the AMF registered.
    pub registration_time: Option<Timestamp>,
    /// When the AMF last confirmed the registration.
    pub last_synchronization_time: Option<Timestamp>,
    /// The UDM's own time of the answer (`date`), in whole seconds.
    pub date: Option<Timestamp>,
    /// For how long the answer may be kept (`cache-control`); zero for `no-store` and `no-cache`.
    pub max_age: Option<Duration>,
}

/// The identifiers of one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The permanent identifier.
    pub supi: Supi,
    /// A public identifier, where the UDM tells one.
    pub gpsi: Option<Gpsi>,
}

/// What the subscriber consented to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Explicitly given for the purpose.
    Given,
    /// Anything else, no consent data at all among it.
    NotGiven,
}

impl Udm {
    /// The UDM behind `client`.
    pub fn new(client: Client) -> Self {
        use ServiceName::{NudmSdm, NudmUecm};
        Self {
            get_3gpp_registration: Operation::new(&client, NudmUecm, "Get3GppRegistration"),
            get_non_3gpp_registration: Operation::new(&client, NudmUecm, "GetNon3GppRegistration"),
            get_supi_or_gpsi: Operation::new(&client, NudmSdm, "GetSupiOrGpsi"),
            get_uc_data: Operation::new(&client, NudmSdm, "GetUcData"),
            client,
            directory: None,
        }
    }

    /// The UDMs behind `client`, the same as those of the directory, each of which is asked for the
    /// subscriptions that it serves.
    pub fn with_directory(client: Client, directory: SubscriberDirectory) -> Self {
        Self {
            directory: Some(Arc::new(directory)),
            ..Self::new(client)
        }
    }

    /// The client beneath, for its readiness.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The registration over 3GPP access (`Get3GppRegistration`).
    pub async fn amf_3gpp_access_registration(
        &self,
        ue: &UeId,
        deadline: Instant,
    ) -> Result<AmfRegistration, Error> {
        let path = uecm(ue).literal("/registrations/amf-3gpp-access");
        let operation = &self.get_3gpp_registration;
        let read = |answer: &Answer| AmfRegistration::read(answer, ue);
        self.ask(operation, path, ue, deadline, read).await
    }

    /// The registration over non-3GPP access (`GetNon3GppRegistration`).
    pub async fn amf_non_3gpp_access_registration(
        &self,
        ue: &UeId,
        deadline: Instant,
    ) -> Result<AmfRegistration, Error> {
        let path = uecm(ue).literal("/registrations/amf-non-3gpp-access");
        let operation = &self.get_non_3gpp_registration;
        let read = |answer: &Answer| AmfRegistration::read(answer, ue);
        self.ask(operation, path, ue, deadline, read).await
    }

    /// The identifiers of the subscription of `ue` (`GetSupiOrGpsi`); `None` where there is none.
    pub async fn id_translation(
        &self,
        ue: &UeId,
        deadline: Instant,
    ) -> Result<Option<Translation>, Error> {
        let path = sdm(ue).literal("/id-translation-result");
        let operation = &self.get_supi_or_gpsi;
        self.ask(operation, path, ue, deadline, Translation::read)
            .await
    }

    /// The consent of `supi` to `purpose`, a `UcPurpose` such as `NW_CAP_EXPOSURE` (`GetUcData`).
    ///
    /// An error means that the core cannot say, which is never a consent.
    pub async fn uc_data(
        &self,
        supi: &Supi,
        purpose: &str,
        deadline: Instant,
    ) -> Result<Consent, Error> {
        let ue = UeId::Supi(supi.clone());
        let path = sdm(&ue).literal("/uc-data?uc-purpose=").value(purpose);
        let read = |answer: &Answer| Consent::read(answer, purpose);
        self.ask(&self.get_uc_data, path, &ue, deadline, read).await
    }

    /// Asks whoever serves the subscription.
    async fn ask<T: Facts + Informs>(
        &self,
        operation: &Operation,
        path: Path,
        ue: &UeId,
        deadline: Instant,
        read: impl Fn(&Answer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let udms = match &self.directory {
            Some(directory) => match directory.locate(operation.service(), ue, deadline).await? {
                Serving::Anybody => None,
                Serving::At(udms) => Some(udms),
                Serving::OnePart => {
                    // Boxed: the rare way must not make the common one large.
                    let asked = parts::ask(directory, operation, path, ue, deadline, read);
                    return Box::pin(asked).await;
                }
            },
            None => None,
        };
        let subject = match &udms {
            Some(udms) => Subject::UeAmong(ue, udms),
            None => Subject::Ue(ue),
        };
        operation.get(path, subject, deadline, read).await
    }
}

fn uecm(ue: &UeId) -> Path {
    Path::new("/nudm-uecm/v1/").identifier(ue)
}

fn sdm(ue: &UeId) -> Path {
    Path::new("/nudm-sdm/v2/").identifier(ue)
}

impl AmfRegistration {
    fn read(answer: &Answer, asked: &UeId) -> Result<Self, Error> {
        match answer.status() {
            StatusCode::OK => {
                let json: RegistrationJson<'_> = answer.json()?;
                if !json.can_be_of(asked) {
                    return Err(Error::BadAnswer);
                }
                let mut registration = Registration::try_from(json)?;
                registration.date = answer.date();
                registration.max_age = answer.max_age();
                Ok(Self::Registered(registration))
            }
            StatusCode::NOT_FOUND => match answer.cause().as_deref() {
                Some("CONTEXT_NOT_FOUND") => Ok(Self::NotRegistered),
                Some("USER_NOT_FOUND" | "DATA_NOT_FOUND") => Ok(Self::UnknownSubscriber),
                Some(_) => Err(answer.failure()),
                None => Ok(Self::Unspecified),
            },
            // A UDM was seen to answer so for unknown and for unregistered subscribers.
            StatusCode::FORBIDDEN if answer.cause().is_none() => Ok(Self::Unspecified),
            _ => Err(answer.failure()),
        }
    }
}

impl Informs for AmfRegistration {
    fn knowledge(&self) -> Knowledge {
        match self {
            Self::Registered(_) => Knowledge::Certain,
            Self::NotRegistered => Knowledge::Claimed,
            Self::Unspecified => Knowledge::Unclear,
            Self::UnknownSubscriber => Knowledge::Nothing,
        }
    }
}

impl Facts for AmfRegistration {
    fn facts(&self) -> Vec<Fact> {
        match self {
            Self::Registered(registration) => registration.facts(),
            Self::NotRegistered => vec![Fact::plain("registration", "none over this access")],
            Self::UnknownSubscriber => vec![Fact::plain("subscription", "unknown")],
            Self::Unspecified => vec![Fact::plain(
                "registration",
                "none, or the subscription is unknown: the UDM does not say which",
            )],
        }
    }
}

impl Facts for Registration {
    fn facts(&self) -> Vec<Fact> {
        let pei = match self.pei {
            None => Fact::plain("pei", "absent"),
            Some(pei) => match (pei.imeisv(), pei.imei()) {
                (Some(imeisv), _) => {
                    Fact::personal("pei", format_args!("imeisv-{}", imeisv.reveal()))
                }
                (None, Some(imei)) => Fact::personal("pei", format_args!("imei-{}", imei.reveal())),
                (None, None) => Fact::plain("pei", "of a kind without an IMEI"),
            },
        };
        let times = [
            ("registrationTime", self.registration_time),
            ("lastSynchronizationTime", self.last_synchronization_time),
            ("date", self.date),
        ];
        let mut facts = vec![pei, Fact::plain("purgeFlag", self.purged)];
        let times = times
            .into_iter()
            .filter_map(|(name, time)| Some(Fact::plain(name, time?)));
        facts.extend(times);
        let max_age = self.max_age.map(|max_age| max_age.as_secs());
        facts.extend(max_age.map(|seconds| Fact::plain("max-age", seconds)));
        facts
    }
}

impl Facts for Translation {
    fn facts(&self) -> Vec<Fact> {
        let gpsi = self.gpsi.as_ref();
        let gpsi = gpsi.map(|gpsi| Fact::personal("gpsi", gpsi.reveal()));
        let supi = Fact::personal("supi", self.supi.reveal());
        [supi].into_iter().chain(gpsi).collect()
    }
}

/// Asked for by SUPI, which only a UDM that serves it is.
impl Informs for Consent {
    fn knowledge(&self) -> Knowledge {
        Knowledge::Certain
    }
}

impl Facts for Consent {
    fn facts(&self) -> Vec<Fact> {
        let consent = match self {
            Self::Given => "CONSENT_GIVEN",
            Self::NotGiven => "not given",
        };
        vec![Fact::plain("consent", consent)]
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegistrationJson<'a> {
    #[serde(borrow)]
    supi: Option<Text<'a>>,
    #[serde(borrow)]
    pei: Option<Text<'a>>,
    purge_flag: Option<bool>,
    #[serde(borrow)]
    registration_time: Option<Text<'a>>,
    #[serde(borrow)]
    last_synchronization_time: Option<Text<'a>>,
}

impl RegistrationJson<'_> {
    /// Whether it states no other subscription than the one that was asked for. Asked by GPSI, it is
    /// the UDM that tells whose that is. An IMSI without its prefix is the same; an empty text states
    /// nothing.
    fn can_be_of(&self, asked: &UeId) -> bool {
        let UeId::Supi(asked) = asked else {
            return true;
        };
        let stated = self.supi.as_deref().unwrap_or_default();
        let without_prefix = || asked.reveal().to_string().strip_prefix("imsi-") == Some(stated);
        stated.is_empty() || Supi::parse(stated).as_ref() == Ok(asked) || without_prefix()
    }
}

impl Registration {
    /// Reads a registration over either access (TS 29.503, `Amf3GppAccessRegistration` and
    /// `AmfNon3GppAccessRegistration`) without the headers of its answer. For any bytes: a value or
    /// [`Error::BadAnswer`].
    pub fn from_json(body: &[u8]) -> Result<Self, Error> {
        from_json::<RegistrationJson<'_>>(body)?.try_into()
    }
}

impl TryFrom<RegistrationJson<'_>> for Registration {
    type Error = Error;

    fn try_from(json: RegistrationJson<'_>) -> Result<Self, Error> {
        let pei = json.pei.map(|pei| Pei::parse(&pei)).transpose();
        Ok(Self {
            pei: pei.map_err(|_| Error::BadAnswer)?,
            purged: json.purge_flag.unwrap_or(false),
            registration_time: time(json.registration_time)?,
            last_synchronization_time: time(json.last_synchronization_time)?,
            date: None,
            max_age: None,
        })
    }
}

#[derive(Deserialize)]
struct TranslationJson<'a> {
    #[serde(borrow)]
    supi: Cow<'a, str>,
    #[serde(borrow)]
    gpsi: Option<Text<'a>>,
}

impl Translation {
    fn read(answer: &Answer) -> Result<Option<Self>, Error> {
        match answer.status() {
            StatusCode::OK => {
                let json: TranslationJson<'_> = answer.json()?;
                let supi = Supi::parse(&json.supi).map_err(|_| Error::BadAnswer)?;
                Ok(Some(Self {
                    supi,
                    gpsi: gpsi(json.gpsi)?,
                }))
            }
            StatusCode::NOT_FOUND => match answer.cause().as_deref() {
                None | Some("USER_NOT_FOUND" | "CONTEXT_NOT_FOUND" | "DATA_NOT_FOUND") => Ok(None),
                Some(_) => Err(answer.failure()),
            },
            _ => Err(answer.failure()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UcDataJson<'a> {
    #[serde(borrow)]
    user_consent_per_purpose_list: Option<HashMap<Cow<'a, str>, Cow<'a, str>>>,
}

impl Consent {
    fn read(answer: &Answer, purpose: &str) -> Result<Self, Error> {
        match answer.status() {
            StatusCode::OK => {
                let json: UcDataJson<'_> = answer.json()?;
                let list = json.user_consent_per_purpose_list.unwrap_or_default();
                match list.get(purpose).map(|consent| &**consent) {
                    Some("CONSENT_GIVEN") => Ok(Self::Given),
                    Some(_) | None => Ok(Self::NotGiven),
                }
            }
            StatusCode::NOT_FOUND => Ok(Self::NotGiven),
            _ => Err(answer.failure()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_registration_or_an_error(body: Vec<u8>) {
            let _ = Registration::from_json(&body);
        }

        #[test]
        fn any_members_are_read_or_refused(pei in ".{0,30}", time in "[-0-9T:.Zz+]{0,30}") {
            let body = serde_json::json!({"pei": pei, "registrationTime": time}).to_string();
            let known = Pei::parse(&pei).is_ok() && time.parse::<Timestamp>().is_ok();
            proptest::prop_assert_eq!(Registration::from_json(body.as_bytes()).is_ok(), known);
        }
    }
}
