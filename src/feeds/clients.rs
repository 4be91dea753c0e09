//! How those who tell are reached: a client for each, apart from those that lookups use.

use adapters::sbi::{Client, Instance, Metrics, NfType, Route, Settings, Tokens};

/// How an instance that tells is reached.
#[derive(Clone)]
pub struct TellerClients {
    /// Directly, or through a proxy.
    pub route: Route,
    /// Tokens of the NRF, where they are asked for.
    pub tokens: Option<Tokens>,
    /// How hard it is asked.
    pub settings: Settings,
    /// Counts the calls.
    pub metrics: Metrics,
}

impl TellerClients {
    /// A client of these instances, any of which tells for all of them.
    pub(super) fn of(&self, nf_type: NfType, instances: Vec<Instance>) -> Client {
        Client::with(
            nf_type,
            instances,
            self.route.clone(),
            self.tokens.clone(),
            &self.settings,
            self.metrics.clone(),
        )
    }
}
