//! What the UDM tells as it changes: equipment (`Nudm_EE`) and consent (`Nudm_SDM`), TS 29.503.

use std::borrow::Cow;
use std::collections::BTreeMap;

use device::{Gpsi, Pei, Supi, UeId};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use crate::identifiers::gpsi;
use crate::sbi::{
    Answer, Change, Client, Error, Operation, Path, Resource, ServiceName, Text, from_json, time,
};
use crate::subscription::{Renewal, Subscribing};

/// The UDM as a consumer of its events sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UdmEvents {
    create_ee: Operation,
    update_ee: Operation,
    delete_ee: Operation,
    subscribe_sdm: Operation,
    modify_sdm: Operation,
    unsubscribe_sdm: Operation,
}

/// A subscription at the UDM.
#[derive(Debug, Clone)]
pub struct UdmSubscription {
    resource: Resource,
    /// Whom it is about; `None` where that is anybody.
    ue: Option<UeId>,
    /// When it ends unless it is renewed, where the UDM says so.
    pub expires: Option<Timestamp>,
}

/// A subscription uses another device (`CHANGE_OF_SUPI_PEI_ASSOCIATION`).
#[derive(Clone, PartialEq, Eq)]
pub struct EquipmentReport {
    /// Which subscription; the report has no permanent identifier.
    pub gpsi: Option<Gpsi>,
    /// The device that it uses now.
    pub pei: Pei,
    /// When the UDM learned of it.
    pub time: Timestamp,
}

/// Who and which is personal.
impl std::fmt::Debug for EquipmentReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EquipmentReport({})", device::MASK)
    }
}

impl UdmEvents {
    /// The UDM behind `client`.
    pub fn new(client: &Client) -> Self {
        let ee = |name| Operation::new(client, ServiceName::NudmEe, name);
        let sdm = |name| Operation::new(client, ServiceName::NudmSdm, name);
        Self {
            create_ee: ee("CreateEeSubscription"),
            update_ee: ee("UpdateEeSubscription"),
            delete_ee: ee("DeleteEeSubscription"),
            subscribe_sdm: sdm("Subscribe"),
            modify_sdm: sdm("Modify"),
            unsubscribe_sdm: sdm("Unsubscribe"),
        }
    }

    /// Subscribes to changes of equipment of any UE (`CreateEeSubscription`).
    pub async fn subscribe_equipment(
        &self,
        wanted: &Subscribing<'_>,
        deadline: Instant,
    ) -> Result<UdmSubscription, Error> {
        let path = Path::new("/nudm-ee/v1/anyUE/ee-subscriptions");
        let configuration = MonitoringConfiguration {
            event_type: EQUIPMENT_CHANGED,
        };
        let body = EeSubscriptionBody {
            callback_reference: wanted.callback,
            monitoring_configurations: BTreeMap::from([(REFERENCE_ID, configuration)]),
            reporting_options: ReportingOptions {
                report_mode: "ON_EVENT_DETECTION",
                expiry: wanted.expires,
            },
            notify_correlation_id: wanted.correlation_id,
        };
        let change = Change::post(path, &body)?;
        let made = self.create_ee.change(&change, deadline, |answer| {
            let json: CreatedEeSubscriptionJson<'_> = created(answer)?;
            let options = json.ee_subscription.reporting_options;
            let expires = options.and_then(|options| options.expiry);
            let tells = !json.failed_monitoring_configs.contains_key(REFERENCE_ID);
            Ok((UdmSubscription::at(answer, None, expires)?, tells))
        });
        let (subscription, tells) = made.await?;
        if !tells {
            let _ = self.unsubscribe_equipment(&subscription, deadline).await;
            return Err(Error::BadAnswer);
        }
        Ok(subscription)
    }

    /// Prolongs a subscription to equipment (`UpdateEeSubscription`).
    pub async fn renew_equipment(
        &self,
        subscription: &UdmSubscription,
        expires: Timestamp,
        deadline: Instant,
    ) -> Result<Renewal, Error> {
        // What is not there cannot be replaced (RFC 6902 4.3).
        let op = match subscription.expires {
            Some(_) => "replace",
            None => "add",
        };
        let patch = [PatchItem {
            op,
            path: "/reportingOptions/expiry",
            value: expires,
        }];
        let change = Change::json_patch(&subscription.resource, &patch)?;
        let renewal = self.update_ee.change(&change, deadline, Renewal::read);
        Ok(renewal.await?.as_wanted(expires))
    }

    /// Ends a subscription to equipment (`DeleteEeSubscription`).
    pub async fn unsubscribe_equipment(
        &self,
        subscription: &UdmSubscription,
        deadline: Instant,
    ) -> Result<(), Error> {
        let change = Change::delete(&subscription.resource);
        self.delete_ee
            .change(&change, deadline, Renewal::read_ended)
            .await
    }

    /// Subscribes to the consent data of one subscription (`Subscribe`).
    pub async fn subscribe_consent(
        &self,
        supi: &Supi,
        nf_instance_id: Uuid,
        wanted: &Subscribing<'_>,
        deadline: Instant,
    ) -> Result<UdmSubscription, Error> {
        let path = || Path::new("/nudm-sdm/v2/").value(supi.reveal());
        // An absolute-path reference: the apiRoot is that of whoever makes the subscription.
        let uc_data = path().literal("/uc-data").build()?;
        let body = SdmSubscriptionBody {
            nf_instance_id,
            callback_reference: wanted.callback,
            monitored_resource_uris: [uc_data.as_str()],
            expires: wanted.expires,
        };
        let ue = UeId::Supi(supi.clone());
        let change = Change::post(path().literal("/sdm-subscriptions"), &body)?.about(ue.clone());
        self.subscribe_sdm
            .change(&change, deadline, |answer| {
                let json: SdmSubscriptionJson<'_> = created(answer)?;
                UdmSubscription::at(answer, Some(ue.clone()), json.expires)
            })
            .await
    }

    /// Prolongs a subscription to consent data (`Modify`).
    pub async fn renew_consent(
        &self,
        subscription: &UdmSubscription,
        expires: Timestamp,
        deadline: Instant,
    ) -> Result<Renewal, Error> {
        let patch = SdmSubsModification { expires };
        let change = Change::merge_patch(&subscription.resource, &patch)?;
        let change = subscription.asked_of_its_udm(change);
        let renewal = self.modify_sdm.change(&change, deadline, read_modified);
        Ok(renewal.await?.as_wanted(expires))
    }

    /// Ends a subscription to consent data (`Unsubscribe`).
    pub async fn unsubscribe_consent(
        &self,
        subscription: &UdmSubscription,
        deadline: Instant,
    ) -> Result<(), Error> {
        let change = Change::delete(&subscription.resource);
        let change = subscription.asked_of_its_udm(change);
        self.unsubscribe_sdm
            .change(&change, deadline, Renewal::read_ended)
            .await
    }
}

impl UdmSubscription {
    fn at(answer: &Answer, ue: Option<UeId>, expires: Option<Text<'_>>) -> Result<Self, Error> {
        Ok(Self {
            resource: answer.created().cloned().ok_or(Error::BadAnswer)?,
            ue,
            expires: time(expires)?,
        })
    }

    /// Another UDM than those that serve the subscriber would not know it.
    fn asked_of_its_udm(&self, change: Change) -> Change {
        match &self.ue {
            Some(ue) => change.about(ue.clone()),
            None => change,
        }
    }
}

/// The answer to `Modify` is the subscription with the time that was granted, or a `PatchResult`,
/// which tells none; a body is not insisted on.
fn read_modified(answer: &Answer) -> Result<Renewal, Error> {
    match answer.status() {
        StatusCode::OK => {
            let json = answer.json::<SdmSubscriptionJson<'_>>().ok();
            Ok(Renewal::Renewed(time(json.and_then(|json| json.expires))?))
        }
        _ => Renewal::read(answer),
    }
}

fn created<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T, Error> {
    match answer.status() {
        StatusCode::CREATED => answer.json(),
        _ => Err(answer.failure()),
    }
}

const EQUIPMENT_CHANGED: &str = "CHANGE_OF_SUPI_PEI_ASSOCIATION";

/// The one event of the subscription (TS 29.503 6.4.6.3.2).
const REFERENCE_ID: &str = "1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EeSubscriptionBody<'a> {
    callback_reference: &'a str,
    monitoring_configurations: BTreeMap<&'static str, MonitoringConfiguration>,
    reporting_options: ReportingOptions,
    notify_correlation_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MonitoringConfiguration {
    event_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportingOptions {
    report_mode: &'static str,
    expiry: Timestamp,
}

#[derive(Serialize)]
struct PatchItem {
    op: &'static str,
    path: &'static str,
    value: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SdmSubscriptionBody<'a> {
    nf_instance_id: Uuid,
    callback_reference: &'a str,
    monitored_resource_uris: [&'a str; 1],
    expires: Timestamp,
}

#[derive(Serialize)]
struct SdmSubsModification {
    expires: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreatedEeSubscriptionJson<'a> {
    #[serde(borrow)]
    ee_subscription: EeSubscriptionJson<'a>,
    #[serde(borrow, default)]
    failed_monitoring_configs: BTreeMap<Cow<'a, str>, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EeSubscriptionJson<'a> {
    #[serde(borrow)]
    reporting_options: Option<ReportingOptionsJson<'a>>,
}

#[derive(Deserialize)]
struct ReportingOptionsJson<'a> {
    #[serde(borrow)]
    expiry: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct SdmSubscriptionJson<'a> {
    #[serde(borrow)]
    expires: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MonitoringReportJson<'a> {
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    time_stamp: Cow<'a, str>,
    #[serde(borrow)]
    gpsi: Option<Text<'a>>,
    #[serde(borrow)]
    report: Option<ChangeOfAssociationJson<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangeOfAssociationJson<'a> {
    #[serde(borrow)]
    new_pei: Option<Text<'a>>,
}

impl EquipmentReport {
    /// Reads the `MonitoringReport`s of one notification (TS 29.503 6.4.5.2). For any bytes: a
    /// value or [`Error::BadAnswer`]. Reports of another kind are left out.
    pub fn all_from_json(body: &[u8]) -> Result<Vec<Self>, Error> {
        let json: Vec<MonitoringReportJson<'_>> = from_json(body)?;
        json.into_iter()
            .filter(|report| report.event_type == EQUIPMENT_CHANGED)
            .map(Self::try_from)
            .collect()
    }
}

impl TryFrom<MonitoringReportJson<'_>> for EquipmentReport {
    type Error = Error;

    fn try_from(json: MonitoringReportJson<'_>) -> Result<Self, Error> {
        let pei = json.report.and_then(|report| report.new_pei);
        let pei = Pei::parse(&pei.ok_or(Error::BadAnswer)?);
        Ok(Self {
            gpsi: gpsi(json.gpsi)?,
            pei: pei.map_err(|_| Error::BadAnswer)?,
            time: json.time_stamp.parse().map_err(|_| Error::BadAnswer)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_names_the_new_device() {
        let body = json!([
            {"referenceId": 1, "eventType": "CHANGE_OF_SUPI_PEI_ASSOCIATION",
             "timeStamp": "2026-01-15T08:00:00Z", "gpsi": "msisdn-123456789",
             "report": {"newPei": "imeisv-3569380312345101"}},
            {"referenceId": 2, "eventType": "ROAMING_STATUS", "timeStamp": "2026-01-15T08:00:00Z"},
        ]);
        let reports = EquipmentReport::all_from_json(body.to_string().as_bytes()).unwrap();
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].gpsi, Gpsi::parse("msisdn-123456789").ok());
        assert_eq!(
            reports[0].pei,
            Pei::parse("imeisv-3569380312345101").unwrap()
        );
    }

    #[test]
    fn a_report_that_breaks_its_form_is_refused() {
        for (member, value) in [
            ("report", json!({"newPei": "imei-1"})),
            ("report", json!({})),
            ("gpsi", json!("123456789")),
            ("timeStamp", json!(7)),
        ] {
            let mut report = json!({
                "referenceId": 1, "eventType": "CHANGE_OF_SUPI_PEI_ASSOCIATION",
                "timeStamp": "2026-01-15T08:00:00Z", "gpsi": "msisdn-123456789",
                "report": {"newPei": "imeisv-3569380312345101"},
            });
            report[member] = value;
            let body = json!([report]).to_string();
            assert!(
                EquipmentReport::all_from_json(body.as_bytes()).is_err(),
                "{member}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_reports_or_an_error(body: Vec<u8>) {
            let _ = EquipmentReport::all_from_json(&body);
        }
    }
}
