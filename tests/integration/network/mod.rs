//! The bridge in a network of its own kind: an NRF, an SCP, several instances of each function,
//! with what goes wrong among them.

mod nrf;
mod parts;
mod resilience;
mod samples;
mod scp;
mod status;
mod tokens;

use pei_bridge::config::Config;
use serde_json::{Value, json};
use simcore::{InstanceAddress, NfType, Options, Simcore};

use crate::support::control::Control;
use crate::support::{Bridge, config, eventually, without_caches};

/// The phone number of a subscriber, and the IMEI of the device.
const NUMBER: &str = "+123456789";
const IMEI: &str = "490154203237518";

/// A core of instances with sockets of their own.
pub struct Network {
    pub core: Simcore,
    pub control: Control,
}

impl Network {
    pub async fn start(instances: &[(NfType, u16)], change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options {
            instances: instances.to_vec(),
            ..Options::default()
        };
        change(&mut options);
        let core = Simcore::start(options).await.unwrap();
        let control = Control(core.control_addr());
        Self { core, control }
    }

    pub fn all(&self, nf_type: NfType) -> Vec<&InstanceAddress> {
        let instances = self.core.instances().iter();
        instances.filter(|one| one.nf_type == nf_type).collect()
    }

    pub fn one(&self, nf_type: NfType) -> &InstanceAddress {
        self.all(nf_type)[0]
    }

    pub fn roots<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, nf_type: NfType) -> Vec<T> {
        let roots = self.all(nf_type).into_iter();
        roots
            .map(|one| format!("http://{}", one.address).parse().unwrap())
            .collect()
    }

    /// A configuration that names nothing but the NRF, and remembers nothing.
    pub fn config(&self) -> Config {
        let mut config = config(&[]);
        without_caches(&mut config);
        config.api.request_timeout = crate::support::PATIENCE;
        config.core.nrf = self.roots(NfType::Nrf);
        config.core.registration.ipv4_addresses = vec![[127, 0, 0, 1].into()];
        config
    }
}

/// Asks for the device until it is told, which takes until the instances are known.
async fn until_answered(bridge: &Bridge) {
    eventually("the device is told", async || {
        let answer = bridge.ask(&json!({ "phoneNumber": NUMBER })).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

async fn is_answered(bridge: &Bridge, body: &Value) {
    bridge.ask(body).await.is_imei(IMEI);
}
