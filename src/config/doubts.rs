//! What is allowed and perhaps not meant: said, not refused.

use adapters::nrf::NfSetId;
use adapters::sbi::NfType;

use super::{Config, Discovered};
use crate::api::{Operation, Version};

impl Config {
    /// Whether PPIDs can be asked for. Without a configured secret they change with each start, which
    /// is good enough for trying on loopback and a lie to consumers who keep them.
    pub fn has_ppids(&self) -> bool {
        !self.ppid.secrets.is_empty() || self.is_for_trying()
    }

    /// What the operator should know of these settings, a sentence each.
    pub fn doubts(&self) -> Vec<&'static str> {
        let mut doubts = Vec::new();
        if self.serves(Operation::RetrievePpid) && !self.has_ppids() {
            doubts.push("ppid.secrets is empty: retrieve-ppid is not served");
        }
        let guesses = self.limits.mismatches_per_hour;
        if self.serves(Operation::MatchIdentifier) && guesses == 0 && !self.is_for_trying() {
            doubts.push(
                "limits.mismatches_per_hour is 0: whoever may ask match-identifier can try \
                 identifiers until one is right",
            );
        }
        let mut sets = self.core.discovery.nf_sets.iter();
        if sets.any(|set| !self.searches_in(set)) {
            doubts.push(
                "core.discovery.nf_sets names a set of a function that is not discovered: it has \
                 no effect",
            );
        }
        doubts
    }

    /// Whether any search is for instances of this set.
    fn searches_in(&self, set: &NfSetId) -> bool {
        let core = &self.core;
        match set.nf_type() {
            NfType::Udm => core.discovers(Discovered::Udm),
            NfType::Bsf => core.discovers(Discovered::Bsf),
            NfType::Upf => core.discovers(Discovered::Upf),
            NfType::Smf => self.feeds.sessions && core.smf.is_empty() && !core.nrf.is_empty(),
            NfType::Nrf | NfType::Scp => false,
        }
    }

    /// Whether a served version has this operation.
    pub fn serves(&self, operation: Operation) -> bool {
        let mut versions = self.api.versions.iter();
        versions.any(|version: &Version| version.operations().contains(&operation))
    }

    /// Nobody from elsewhere can ask.
    fn is_for_trying(&self) -> bool {
        self.api.listen.ip().is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_without_a_limit_are_said_where_anybody_can_make_them() {
        let config = |listen: &str, limit: u32, versions: &[&str]| {
            let mut config = Config::default();
            config.api.listen = listen.parse().unwrap();
            config.limits.mismatches_per_hour = limit;
            let versions = versions.iter().copied().map(Version::named);
            config.api.versions = versions.map(Option::unwrap).collect();
            config
        };
        let open = "192.0.2.1:8080";
        for (config, said) in [
            (config("127.0.0.1:8080", 0, &["v0.4alpha1"]), ""),
            (config(open, 0, &["v0.1.0", "v0.2"]), ""),
            (config(open, 0, &["v0.3"]), "ppid.secrets"),
            (
                config(open, 0, &["v0.4alpha1"]),
                "ppid.secrets limits.mismatches_per_hour",
            ),
            (config(open, 9, &["v0.4alpha1"]), "ppid.secrets"),
        ] {
            let keys = config.doubts();
            let keys = keys.iter().filter_map(|doubt| doubt.split(' ').next());
            assert_eq!(keys.collect::<Vec<_>>().join(" "), said);
        }
    }

    #[test]
    fn a_set_of_a_function_that_nobody_searches_for_is_said() {
        let (nrf, scp) = ("nrf = [\"http://nrf.example\"]", "scp_discovers = true");
        let beside = |key: &str| format!("{nrf}\n{key} = [\"http://127.0.0.1:1\"]");
        let nobody = format!("{nrf}\ndiscovery.functions = []");
        for (core, of, sessions, is_said) in [
            (nrf, "udm", false, false),
            (scp, "bsf", false, false),
            ("", "upf", false, true),
            (&beside("udm"), "udm", true, true),
            (&nobody, "upf", true, true),
            (nrf, "smf", true, false),
            (nrf, "smf", false, true),
            (scp, "smf", true, true),
            (&beside("smf"), "smf", true, true),
        ] {
            let mut config = Config {
                core: toml::from_str(core).unwrap(),
                ..Config::default()
            };
            let set = format!("set1.{of}set.5gc.mnc001.mcc001");
            config.core.discovery.nf_sets = vec![set.parse().unwrap()];
            config.feeds.sessions = sessions;
            let doubts = config.doubts();
            let said = doubts.iter().any(|doubt| doubt.contains("nf_sets"));
            assert_eq!(said, is_said, "{of}: {core}");
        }
    }
}
