//! The SMF: which session has which address, told as it changes (TS 29.508,
//! `Nsmf_EventExposure`).

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use device::{Gpsi, Supi, UeId};
use http::StatusCode;
use ipnet::Ipv6Net;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::identifiers::{gpsi, supi};
use crate::sbi::{
    Answer, Change, Client, Error, Operation, Path, Resource, ServiceName, Text, from_json, time,
};
use crate::subscription::{Renewal, Subscribing};

/// The SMF as a consumer of `Nsmf_EventExposure` sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Smf {
    create: Operation,
    read: Operation,
    replace: Operation,
    delete: Operation,
}

/// A subscription to the sessions of any UE.
#[derive(Debug, Clone)]
pub struct SessionSubscription {
    resource: Resource,
    /// When it ends unless it is renewed, where the SMF says so.
    pub expires: Option<Timestamp>,
}

/// A subscription that was made, and the sessions that the SMF told at once.
#[derive(Debug)]
pub struct Subscribed {
    /// To renew and to end it.
    pub subscription: SessionSubscription,
    /// The immediate report; `None` where it comes in notifications, if there is anything to
    /// report.
    pub report: Option<Vec<SessionEvent>>,
}

/// A notification: to which subscription it belongs, and what happened.
#[derive(Debug)]
pub struct SessionNotification {
    /// The correlation id that the subscription gave (`notifId`).
    pub correlation_id: String,
    /// In the order in which the SMF told them.
    pub events: Vec<SessionEvent>,
}

/// Something that happened to a session.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionEvent {
    /// Whose session, by permanent identifier where the SMF tells it; `None` where it tells none.
    pub ue_id: Option<UeId>,
    /// Which one of the UE's sessions.
    pub pdu_session_id: Option<u8>,
    /// When.
    pub time: Timestamp,
    /// The data network (TS 23.003 9A), where it is told.
    pub dnn: Option<String>,
    /// The slice, where it is told.
    pub snssai: Option<Snssai>,
    /// What.
    pub change: SessionChange,
}

/// A network slice (TS 23.003 28.4.2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Snssai {
    /// Slice/service type.
    pub sst: u8,
    /// Slice differentiator, six hexadecimal digits.
    pub sd: Option<String>,
}

/// What happened to a session.
#[derive(Clone, PartialEq, Eq)]
pub enum SessionChange {
    /// `PDU_SES_EST`: it began, or is there already, with these addresses.
    Established(UeAddresses),
    /// `PDU_SES_REL`: it ended, and had these addresses as far as that is told.
    Released(UeAddresses),
    /// `UE_IP_CH`
    AddressChanged {
        /// Those that it has now.
        added: UeAddresses,
        /// Those that it has no longer.
        removed: UeAddresses,
    },
}

/// Addresses of a session.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UeAddresses {
    /// At most one (TS 23.501 5.8.2.2.1).
    pub ipv4: Option<Ipv4Addr>,
    /// Prefixes of any length; an address is one of 128.
    pub ipv6: Vec<Ipv6Net>,
}

/// Who and where is personal.
impl std::fmt::Debug for SessionEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionEvent({})", device::MASK)
    }
}

const SUBSCRIPTIONS: &str = "/nsmf-event-exposure/v1/subscriptions";

impl Smf {
    /// The SMF behind `client`.
    pub fn new(client: &Client) -> Self {
        let operation = |name| Operation::new(client, ServiceName::NsmfEventExposure, name);
        Self {
            create: operation("CreateIndividualSubcription"),
            read: operation("GetIndividualSubcription"),
            replace: operation("ReplaceIndividualSubcription"),
            delete: operation("DeleteIndividualSubcription"),
        }
    }

    /// Subscribes to beginnings, ends and addresses of the sessions of any UE, with an immediate
    /// report of those that there are (`CreateIndividualSubcription`).
    pub async fn subscribe(
        &self,
        wanted: &Subscribing<'_>,
        deadline: Instant,
    ) -> Result<Subscribed, Error> {
        let change = Change::post(Path::new(SUBSCRIPTIONS), &body(wanted, true))?;
        let created = self.create.change(&change, deadline, read_created).await?;
        if !created.tells_all {
            // What is told alone would be believed for ever where the other is not.
            let _ = self.unsubscribe(&created.subscription, deadline).await;
            return Err(Error::BadAnswer);
        }
        Ok(Subscribed {
            subscription: SessionSubscription {
                // Where it does not say, it is as it was asked to.
                expires: created.subscription.expires.or(Some(wanted.expires)),
                ..created.subscription
            },
            report: created.report,
        })
    }

    /// Whether a subscription is there still (`GetIndividualSubcription`).
    pub async fn look(
        &self,
        subscription: &SessionSubscription,
        deadline: Instant,
    ) -> Result<Renewal, Error> {
        let look = Change::look(&subscription.resource);
        self.read.change(&look, deadline, read_replaced).await
    }

    /// Prolongs a subscription (`ReplaceIndividualSubcription`).
    pub async fn renew(
        &self,
        subscription: &SessionSubscription,
        wanted: &Subscribing<'_>,
        deadline: Instant,
    ) -> Result<Renewal, Error> {
        let change = Change::put(&subscription.resource, &body(wanted, false))?;
        let renewal = self.replace.change(&change, deadline, read_replaced);
        Ok(renewal.await?.as_wanted(wanted.expires))
    }

    /// Ends a subscription (`DeleteIndividualSubcription`). One that is not there has ended.
    pub async fn unsubscribe(
        &self,
        subscription: &SessionSubscription,
        deadline: Instant,
    ) -> Result<(), Error> {
        let change = Change::delete(&subscription.resource);
        self.delete
            .change(&change, deadline, Renewal::read_ended)
            .await
    }
}

/// `NsmfEventExposure`, as far as it is sent. The members with odd names have them in the
/// specification.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventExposureBody<'a> {
    any_ue_ind: bool,
    notif_id: &'a str,
    notif_uri: &'a str,
    event_subs: [EventSubscription; 3],
    #[serde(rename = "ImmeRep")]
    imme_rep: bool,
    notif_method: &'static str,
    expiry: Timestamp,
}

#[derive(Serialize)]
struct EventSubscription {
    event: &'static str,
}

const ESTABLISHED: &str = "PDU_SES_EST";
const RELEASED: &str = "PDU_SES_REL";
const ADDRESS_CHANGED: &str = "UE_IP_CH";

fn body<'a>(wanted: &Subscribing<'a>, immediate_report: bool) -> EventExposureBody<'a> {
    EventExposureBody {
        any_ue_ind: true,
        notif_id: wanted.correlation_id,
        notif_uri: wanted.callback,
        event_subs: EVENTS.map(|event| EventSubscription { event }),
        imme_rep: immediate_report,
        notif_method: "ON_EVENT_DETECTION",
        expiry: wanted.expires,
    }
}

const EVENTS: [&str; 3] = [ESTABLISHED, RELEASED, ADDRESS_CHANGED];

/// A subscription as the SMF made it.
struct Created {
    subscription: SessionSubscription,
    report: Option<Vec<SessionEvent>>,
    /// Whether it is to every event that was asked for.
    tells_all: bool,
}

#[derive(Deserialize)]
struct EventSubscriptionJson<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventExposureJson<'a> {
    #[serde(borrow)]
    event_subs: Option<Vec<EventSubscriptionJson<'a>>>,
    #[serde(borrow)]
    expiry: Option<Text<'a>>,
    #[serde(borrow)]
    event_notifs: Option<Vec<EventNotificationJson<'a>>>,
}

fn read_created(answer: &Answer) -> Result<Created, Error> {
    if answer.status() != StatusCode::CREATED {
        return Err(answer.failure());
    }
    let resource = answer.created().cloned().ok_or(Error::BadAnswer)?;
    let json: EventExposureJson<'_> = answer.json()?;
    // One that does not repeat them took them all.
    let tells_all = json.event_subs.is_none_or(|told| {
        let told = |event: &&str| told.iter().any(|one| one.event == *event);
        EVENTS.iter().all(told)
    });
    let report = json.event_notifs.map(events).transpose()?;
    Ok(Created {
        subscription: SessionSubscription {
            resource,
            expires: time(json.expiry)?,
        },
        report,
        tells_all,
    })
}

fn read_replaced(answer: &Answer) -> Result<Renewal, Error> {
    match answer.status() {
        StatusCode::OK => {
            let json: EventExposureJson<'_> = answer.json()?;
            Ok(Renewal::Renewed(time(json.expiry)?))
        }
        _ => Renewal::read(answer),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NotificationJson<'a> {
    #[serde(borrow)]
    notif_id: Cow<'a, str>,
    #[serde(borrow)]
    event_notifs: Vec<EventNotificationJson<'a>>,
}

/// `EventNotification`, of the events that are subscribed to.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventNotificationJson<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    time_stamp: Cow<'a, str>,
    #[serde(borrow)]
    supi: Option<Text<'a>>,
    #[serde(borrow)]
    gpsi: Option<Text<'a>>,
    pdu_se_id: Option<u8>,
    dnn: Option<String>,
    snssai: Option<Snssai>,
    ipv4_addr: Option<Ipv4Addr>,
    #[serde(default)]
    ipv6_prefixes: Vec<Ipv6Net>,
    #[serde(default)]
    ipv6_addrs: Vec<Ipv6Addr>,
    ad_ipv4_addr: Option<Ipv4Addr>,
    ad_ipv6_prefix: Option<Ipv6Net>,
    re_ipv4_addr: Option<Ipv4Addr>,
    re_ipv6_prefix: Option<Ipv6Net>,
}

impl SessionNotification {
    /// Reads an `NsmfEventExposureNotification` of TS 29.508. For any bytes: a value or
    /// [`Error::BadAnswer`].
    pub fn from_json(body: &[u8]) -> Result<Self, Error> {
        let json: NotificationJson<'_> = from_json(body)?;
        Ok(Self {
            correlation_id: json.notif_id.into_owned(),
            events: events(json.event_notifs)?,
        })
    }
}

/// Events that were not subscribed to are none.
fn events(json: Vec<EventNotificationJson<'_>>) -> Result<Vec<SessionEvent>, Error> {
    let read = json.into_iter().map(EventNotificationJson::read);
    read.filter_map(Result::transpose).collect()
}

impl EventNotificationJson<'_> {
    fn read(self) -> Result<Option<SessionEvent>, Error> {
        let mut ipv6 = self.ipv6_prefixes;
        ipv6.extend(self.ipv6_addrs.into_iter().map(Ipv6Net::from));
        let addresses = UeAddresses {
            ipv4: self.ipv4_addr,
            ipv6,
        };
        let change = match &*self.event {
            ESTABLISHED => SessionChange::Established(addresses),
            RELEASED => SessionChange::Released(addresses),
            ADDRESS_CHANGED => SessionChange::AddressChanged {
                added: UeAddresses {
                    ipv4: self.ad_ipv4_addr,
                    ipv6: self.ad_ipv6_prefix.into_iter().collect(),
                },
                removed: UeAddresses {
                    ipv4: self.re_ipv4_addr,
                    ipv6: self.re_ipv6_prefix.into_iter().collect(),
                },
            },
            _ => return Ok(None),
        };
        Ok(Some(SessionEvent {
            ue_id: ue_id(supi(self.supi)?, gpsi(self.gpsi)?),
            pdu_session_id: self.pdu_se_id,
            time: self.time_stamp.parse().map_err(|_| Error::BadAnswer)?,
            dnn: self.dnn,
            snssai: self.snssai,
            change,
        }))
    }
}

fn ue_id(supi: Option<Supi>, gpsi: Option<Gpsi>) -> Option<UeId> {
    supi.map(UeId::Supi).or(gpsi.map(UeId::Gpsi))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn notification(event: &serde_json::Value) -> Result<Vec<SessionEvent>, Error> {
        let body = json!({"notifId": "n", "eventNotifs": [event]}).to_string();
        SessionNotification::from_json(body.as_bytes()).map(|read| read.events)
    }

    #[test]
    fn a_beginning_brings_addresses() {
        let events = notification(&json!({
            "event": "PDU_SES_EST", "timeStamp": "2026-01-15T08:00:00.123Z",
            "supi": "imsi-001010000000001", "gpsi": "msisdn-123456789", "pduSeId": 5,
            "dnn": "internet", "snssai": {"sst": 1, "sd": "00000A"},
            "ipv4Addr": "10.45.0.1", "ipv6Prefixes": ["2001:db8::/64", "2001:db8:1::/56"],
        }));
        let events = events.unwrap();
        let supi = Supi::parse("imsi-001010000000001").unwrap();
        assert_eq!(events[0].ue_id, Some(supi.into()));
        assert_eq!(events[0].pdu_session_id, Some(5));
        let SessionChange::Established(addresses) = &events[0].change else {
            panic!("another change");
        };
        assert_eq!(addresses.ipv4, Some(Ipv4Addr::new(10, 45, 0, 1)));
        assert_eq!(addresses.ipv6.len(), 2);
    }

    #[test]
    fn an_address_is_a_prefix_of_its_own() {
        let events = notification(&json!({
            "event": "PDU_SES_EST", "timeStamp": "2026-01-15T08:00:00Z",
            "gpsi": "msisdn-123456789", "ipv6Addrs": ["2001:db8::1"],
        }));
        let SessionChange::Established(addresses) = &events.unwrap()[0].change else {
            panic!("another change");
        };
        assert_eq!(
            addresses.ipv6,
            ["2001:db8::1/128".parse::<Ipv6Net>().unwrap()]
        );
    }

    #[test]
    fn an_end_may_tell_the_addresses_alone() {
        let events = notification(&json!({
            "event": "PDU_SES_REL", "timeStamp": "2026-01-15T08:00:00Z", "ipv4Addr": "10.45.0.1",
        }));
        let event = &events.unwrap()[0];
        assert!(event.ue_id.is_none());
        let SessionChange::Released(addresses) = &event.change else {
            panic!("another change");
        };
        assert_eq!(addresses.ipv4, Some(Ipv4Addr::new(10, 45, 0, 1)));
    }

    #[test]
    fn events_of_another_kind_are_left_out() {
        let other = json!({"event": "PLMN_CH", "timeStamp": "2026-01-15T08:00:00Z"});
        assert_eq!(notification(&other).unwrap().len(), 0);
    }

    #[test]
    fn what_breaks_its_form_is_refused() {
        for (member, value) in [
            ("timeStamp", json!("today")),
            ("supi", json!("001010000000001")),
            ("ipv4Addr", json!("10.45.0.1.2")),
            ("ipv6Prefixes", json!(["2001:db8::/129"])),
            ("pduSeId", json!(300)),
        ] {
            let mut event = json!({
                "event": "PDU_SES_EST", "timeStamp": "2026-01-15T08:00:00Z",
                "supi": "imsi-001010000000001",
            });
            event[member] = value;
            assert!(notification(&event).is_err(), "{member}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_notification_or_an_error(body: Vec<u8>) {
            let _ = SessionNotification::from_json(&body);
        }
    }
}
