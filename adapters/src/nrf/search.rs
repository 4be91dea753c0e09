//! What is searched for at the NRF: the query of `SearchNFInstances` (TS 29.510 6.2.3.2.3.1).

use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::network::{NfSetId, PlmnId, Snssai};
use super::profile::{SearchResult, SearchResultJson};
use crate::sbi::{
    Answer, Client, Error, Fact, Facts, NfType, Operation, Path, ServiceName, Subject,
};

/// Which instances of a network function are wanted.
#[derive(Debug, Clone)]
pub struct Criteria {
    /// The kind of function.
    pub nf_type: NfType,
    /// The services that are consumed.
    pub services: Vec<ServiceName>,
    /// As what we ask: NRFs show instances only to the types that their profiles allow.
    pub requester_nf_type: String,
    /// Who asks.
    pub requester_nf_instance_id: Uuid,
    /// Only instances that serve this data network.
    pub dnn: Option<String>,
    /// Only instances that serve these slices.
    pub snssais: Vec<Snssai>,
    /// Only instances of these networks.
    pub plmns: Vec<PlmnId>,
    /// Instances here come first.
    pub preferred_locality: Option<String>,
    /// Only instances of this set, which is of their type.
    pub nf_set: Option<NfSetId>,
}

impl Criteria {
    /// The query, one parameter after the other; `target-nf-type` and `service-names` are left to
    /// the caller where `for_proxy`.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![
            ("requester-nf-type", self.requester_nf_type.clone()),
            (
                "requester-nf-instance-id",
                self.requester_nf_instance_id.to_string(),
            ),
        ];
        if !self.plmns.is_empty() {
            parameters.push(("target-plmn-list", json!(self.plmns).to_string()));
        }
        if !self.snssais.is_empty() {
            parameters.push(("snssais", json!(self.snssais).to_string()));
        }
        let optional = [
            ("dnn", &self.dnn),
            ("preferred-locality", &self.preferred_locality),
        ];
        for (name, value) in optional {
            parameters.extend(value.clone().map(|value| (name, value)));
        }
        let nf_set = self.nf_set.as_ref().map(ToString::to_string);
        parameters.extend(nf_set.map(|set| ("target-nf-set-id", set)));
        parameters
    }

    /// The same for an SCP that discovers for us.
    pub fn delegation(&self) -> crate::sbi::Delegation {
        crate::sbi::Delegation::new(self.parameters())
    }

    fn path(&self) -> Path {
        let names: Vec<_> = self.services.iter().map(|service| service.name()).collect();
        let mut path = Path::new("/nnrf-disc/v1/nf-instances?target-nf-type=")
            .literal(self.nf_type.name())
            .literal("&service-names=")
            .literal(names.join(","));
        for (name, value) in self.parameters() {
            path = path.literal(format_args!("&{name}=")).value(value);
        }
        path
    }
}

/// Searches at the NRF.
#[derive(Debug, Clone)]
pub(super) struct Search(Operation);

impl Search {
    pub(super) fn new(client: &Client) -> Self {
        Self(Operation::new(
            client,
            ServiceName::NnrfDisc,
            "SearchNFInstances",
        ))
    }

    /// The instances that fit.
    pub(super) async fn instances(
        &self,
        criteria: &Criteria,
        deadline: Instant,
    ) -> Result<SearchResult, Error> {
        self.narrowed(criteria, |path| path, deadline).await
    }

    /// The instances that fit what `narrow` adds to the query as well.
    pub(super) async fn narrowed(
        &self,
        criteria: &Criteria,
        narrow: impl FnOnce(Path) -> Path,
        deadline: Instant,
    ) -> Result<SearchResult, Error> {
        let read = |answer: &Answer| match answer.status() {
            StatusCode::OK => {
                let json = answer.json::<SearchResultJson>()?;
                Ok(json.found(criteria.preferred_locality.as_deref()))
            }
            _ => Err(answer.failure()),
        };
        let path = narrow(criteria.path());
        self.0.get(path, Subject::Anybody, deadline, read).await
    }
}

impl Facts for SearchResult {
    fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![
            Fact::plain("nfInstances", self.profiles),
            Fact::plain("apiRoots", self.instances.len()),
        ];
        let period = self.validity_period;
        facts.extend(period.map(|seconds| Fact::plain("validityPeriod", seconds)));
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_criterion_is_in_the_query() {
        let criteria = Criteria {
            nf_type: NfType::Udm,
            services: vec![ServiceName::NudmUecm, ServiceName::NudmSdm],
            requester_nf_type: "AF".to_owned(),
            requester_nf_instance_id: Uuid::nil(),
            dnn: Some("internet".to_owned()),
            snssais: vec!["1-00000a".parse().unwrap()],
            plmns: vec!["001-01".parse().unwrap()],
            preferred_locality: Some("north east".to_owned()),
            nf_set: Some("set1.udmset.5gc.mnc001.mcc001".parse().unwrap()),
        };
        assert_eq!(
            criteria.path().build().unwrap(),
            "/nnrf-disc/v1/nf-instances?target-nf-type=UDM&service-names=nudm-uecm,nudm-sdm\
             &requester-nf-type=AF&requester-nf-instance-id=00000000-0000-0000-0000-000000000000\
             &target-plmn-list=%5B%7B%22mcc%22%3A%22001%22%2C%22mnc%22%3A%2201%22%7D%5D\
             &snssais=%5B%7B%22sd%22%3A%2200000a%22%2C%22sst%22%3A1%7D%5D\
             &dnn=internet&preferred-locality=north%20east\
             &target-nf-set-id=set1.udmset.5gc.mnc001.mcc001"
        );
    }
}
