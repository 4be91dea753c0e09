//! What only the whole configuration shows.

use adapters::nrf::NfSetId;

use super::{
    AuditSink, AuthMode, ClientCertificates, ClientTls, Config, ConfigError, Core, Discovered,
    DpopMode, GpsiToSupi, ServerTls,
};

/// No machine has more processors for us; what is beyond is a slip of the pen.
const MOST_WORKER_THREADS: usize = 1024;
/// To one endpoint: more share nothing but the costs.
const MOST_CONNECTIONS: usize = 1024;
/// Some hundred megabytes of spans.
const MOST_SPANS: usize = 1_000_000;

impl Config {
    /// Checks what no single key can: bounds, and keys against each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_api()?;
        self.validate_auth()?;
        self.validate_audit()?;
        self.limits.validate()?;
        self.validate_deprecated()?;
        self.validate_ppid()?;
        self.validate_core()?;
        self.validate_feeds()?;
        for pool in &self.nat.pools {
            pool.validate()
                .map_err(|reason| invalid("nat.pools", reason))?;
        }
        for (key, entries) in [
            ("cache.equipment_entries", self.cache.equipment_entries),
            (
                "cache.subscription_entries",
                self.cache.subscription_entries,
            ),
            ("cache.consent_entries", self.cache.consent_entries),
        ] {
            if entries == 0 {
                return Err(invalid(key, "must be at least 1"));
            }
        }
        if self.cache.equipment.is_zero() && !self.cache.equipment_past_lifetime.is_zero() {
            return Err(invalid(
                "cache.equipment_past_lifetime",
                "has no effect while cache.equipment is \"0s\"",
            ));
        }
        let otlp = &self.telemetry.otlp;
        if !(0.0..=1.0).contains(&otlp.sample_ratio) {
            return Err(invalid(
                "telemetry.otlp.sample_ratio",
                "must be from 0 to 1",
            ));
        }
        if !(1..=MOST_SPANS).contains(&otlp.queue_entries) {
            return Err(invalid(
                "telemetry.otlp.queue_entries",
                "must be from 1 to 1000000",
            ));
        }
        both_or_neither(
            &otlp.tls,
            "telemetry.otlp.tls.certificate_file",
            "telemetry.otlp.tls.key_file",
        )?;
        crate::telemetry::logs::filter(&self.log.level)
            .map(drop)
            .map_err(|_| invalid("log.level", "is no level (error, warn, info, debug, trace)"))
    }

    fn validate_api(&self) -> Result<(), ConfigError> {
        let api = &self.api;
        for (key, empty) in [
            ("api.versions", api.versions.is_empty()),
            (
                "api.supported_identifiers",
                api.supported_identifiers.is_empty(),
            ),
        ] {
            if empty {
                return Err(invalid(key, "must not be empty"));
            }
        }
        for (key, zero) in [
            ("api.max_connections", api.max_connections == 0),
            (
                "api.max_requests_in_flight",
                api.max_requests_in_flight == 0,
            ),
            ("api.request_timeout", api.request_timeout.is_zero()),
            ("api.header_read_timeout", api.header_read_timeout.is_zero()),
            ("api.body_read_timeout", api.body_read_timeout.is_zero()),
            ("api.idle_timeout", api.idle_timeout.is_zero()),
        ] {
            if zero {
                return Err(invalid(key, "must be greater than zero"));
            }
        }
        let most = api.max_requests_in_flight;
        if api
            .max_requests_waiting
            .is_some_and(|it| it == 0 || it >= most)
        {
            return Err(invalid(
                "api.max_requests_waiting",
                "must be greater than zero and less than api.max_requests_in_flight: the rest is for \
                 answers from the caches",
            ));
        }
        if api.worker_threads > MOST_WORKER_THREADS {
            return Err(invalid("api.worker_threads", "must be at most 1024"));
        }
        api.tls.as_ref().map_or(Ok(()), |tls| {
            validate_listener(tls, "api.tls.client_ca_file")
        })
    }

    fn validate_auth(&self) -> Result<(), ConfigError> {
        both_or_neither(
            &self.auth.tls,
            "auth.tls.certificate_file",
            "auth.tls.key_file",
        )?;
        let loopback = self.api.listen.ip().is_loopback();
        if self.auth.mode == AuthMode::None {
            return if loopback {
                Ok(())
            } else {
                Err(invalid(
                    "auth.mode",
                    "\"none\" discloses devices to anybody and is for a loopback api.listen only",
                ))
            };
        }
        if !loopback && self.api.tls.is_none() && !self.api.allow_plain_http {
            return Err(invalid(
                "api.listen",
                "would carry tokens and devices in clear: set api.tls, or api.allow_plain_http = \
                 true where something in front does TLS",
            ));
        }
        if self.auth.issuers.is_empty() {
            return Err(invalid(
                "auth.issuers",
                "names nobody: no token could ever be accepted",
            ));
        }
        for (key, zero) in [
            ("auth.keys_refresh", self.auth.keys_refresh.is_zero()),
            (
                "auth.keys_refresh_min",
                self.auth.keys_refresh_min.is_zero(),
            ),
            ("auth.token_entries", self.auth.token_entries == 0),
            ("auth.dpop.window", self.auth.dpop.window.is_zero()),
            (
                "auth.dpop.replay_entries",
                self.auth.dpop.replay_entries == 0,
            ),
        ] {
            if zero {
                return Err(invalid(key, "must be greater than zero"));
            }
        }
        let prefixes = || {
            self.auth
                .issuers
                .iter()
                .map(|issuer| &issuer.consumer_prefix)
                .enumerate()
        };
        let alike = prefixes().any(|(place, prefix)| {
            prefixes().any(|(other, longer)| place != other && longer.starts_with(prefix.as_str()))
        });
        if alike {
            return Err(invalid(
                "auth.issuers",
                "needs a consumer_prefix in each where there are several, none the beginning of \
                 another: one issuer must not speak for the consumers of another",
            ));
        }
        for issuer in &self.auth.issuers {
            if issuer.issuer.is_empty() || issuer.audience.is_empty() {
                return Err(invalid(
                    "auth.issuers",
                    "needs an issuer and an audience in each",
                ));
            }
            if self.auth.mode == AuthMode::Jwt && !issuer.audience_required {
                return Err(invalid(
                    "auth.issuers",
                    "audience_required = false is for introspection alone: a signed token names \
                     its audience",
                ));
            }
        }
        if self.auth.dpop.mode != DpopMode::Off && self.auth.dpop.public_url.is_none() {
            return Err(invalid(
                "auth.dpop.public_url",
                "is needed for proofs: what a request says of its own target is its sender's word",
            ));
        }
        if self.auth.algorithms.is_empty() {
            return Err(invalid("auth.algorithms", "must not be empty"));
        }
        Ok(())
    }

    fn validate_audit(&self) -> Result<(), ConfigError> {
        if self.audit.sink == AuditSink::File && self.audit.file.is_none() {
            return Err(invalid("audit.file", "is needed for audit.sink = \"file\""));
        }
        Ok(())
    }

    fn validate_deprecated(&self) -> Result<(), ConfigError> {
        let deprecated = &self.api.deprecated;
        for (place, entry) in deprecated.iter().enumerate() {
            let earlier = deprecated.iter().take(place);
            let fault = if !self.api.versions.contains(&entry.version) {
                "names a version that api.versions does not"
            } else if earlier.map(|it| it.version).any(|it| it == entry.version) {
                "names a version twice"
            } else if entry.sunset.is_some_and(|sunset| sunset < entry.since) {
                "has a sunset before its since"
            } else {
                continue;
            };
            return Err(invalid("api.deprecated", fault));
        }
        Ok(())
    }

    fn validate_ppid(&self) -> Result<(), ConfigError> {
        let secrets = &self.ppid.secrets;
        for (place, secret) in secrets.iter().enumerate() {
            let fault = if secret.id.is_empty() || secret.id.contains(char::is_control) {
                "needs an id in each"
            } else if secrets.iter().take(place).any(|it| it.id == secret.id) {
                "has an id twice"
            } else if secrets.iter().take(place).any(|it| it.from == secret.from) {
                "has two that count from the same time"
            } else {
                continue;
            };
            return Err(invalid("ppid.secrets", fault));
        }
        Ok(())
    }

    fn validate_core(&self) -> Result<(), ConfigError> {
        let core = &self.core;
        both_or_neither(&core.tls, "core.tls.certificate_file", "core.tls.key_file")?;
        if !core.has(Discovered::Udm) {
            return Err(invalid(
                "core.udm",
                "names no UDM, and no NRF (core.nrf) finds one: no device could ever be found",
            ));
        }
        validate_nrf(core)?;
        if !(1..=MOST_CONNECTIONS).contains(&core.connections_per_endpoint) {
            return Err(invalid(
                "core.connections_per_endpoint",
                "must be from 1 to 1024",
            ));
        }
        if core.gpsi_to_supi == GpsiToSupi::File && core.gpsi_to_supi_file.is_none() {
            return Err(invalid(
                "core.gpsi_to_supi_file",
                "is needed for core.gpsi_to_supi = \"file\"",
            ));
        }
        for (key, zero) in [
            ("core.connect_timeout", core.connect_timeout.is_zero()),
            (
                "core.keep_alive_interval",
                core.keep_alive_interval.is_zero(),
            ),
            ("core.keep_alive_timeout", core.keep_alive_timeout.is_zero()),
            ("core.max_attempts", core.max_attempts == 0),
            ("core.max_calls_in_flight", core.max_calls_in_flight == 0),
            ("core.outlier.eject_for", core.outlier.eject_for.is_zero()),
            ("core.outlier.eject_max", core.outlier.eject_max.is_zero()),
            (
                "core.discovery.longest_period",
                core.discovery.longest_period.is_zero(),
            ),
        ] {
            if zero {
                return Err(invalid(key, "must be greater than zero"));
            }
        }
        Ok(())
    }

    fn validate_feeds(&self) -> Result<(), ConfigError> {
        let (callback, feeds) = (&self.callback, &self.feeds);
        if let Some(tls) = &callback.tls {
            validate_listener(tls, "callback.tls.client_ca_file")?;
        }
        let is_elsewhere = callback.listen.is_some_and(|it| !it.ip().is_loopback());
        if is_elsewhere && callback.tls.is_none() && !callback.allow_plain_http {
            return Err(invalid(
                "callback.listen",
                "would carry subscribers and devices in clear: set callback.tls, or \
                 callback.allow_plain_http = true where something in front does TLS",
            ));
        }
        let is_all_addresses = callback.listen.is_some_and(|it| it.ip().is_unspecified());
        if is_all_addresses && callback.uri.is_none() {
            return Err(invalid(
                "callback.uri",
                "is needed where callback.listen stands for every address of the host: the core \
                 has to be told one",
            ));
        }
        if !feeds.any() {
            return Ok(());
        }
        if callback.listen.is_none() {
            return Err(invalid(
                "callback.listen",
                "is needed for the feeds: the core has to send them somewhere",
            ));
        }
        if feeds.sessions && self.core.smf.is_empty() && self.core.nrf.is_empty() {
            return Err(invalid(
                "core.smf",
                "names no SMF that feeds.sessions could subscribe to, and core.nrf nobody who knows them",
            ));
        }
        if feeds.equipment && self.core.udm.is_empty() && self.core.nrf.is_empty() {
            return Err(invalid(
                "core.udm",
                "names no UDM that feeds.equipment could subscribe to, and core.nrf nobody who knows \
                 them: an SCP that discovers does not tell whether it knows another one",
            ));
        }
        if feeds.sessions && !self.cache.session.is_zero() {
            return Err(invalid(
                "cache.session",
                "would keep addresses longer than feeds.sessions knows them: leave it at \"0s\"",
            ));
        }
        for (key, wrong) in [
            ("callback.max_connections", callback.max_connections == 0),
            ("feeds.check_interval", feeds.check_interval.is_zero()),
            ("feeds.session_entries", feeds.session_entries == 0),
            ("feeds.consent_entries", feeds.consent_entries == 0),
        ] {
            if wrong {
                return Err(invalid(key, "must be greater than zero"));
            }
        }
        if feeds.expiry <= feeds.check_interval {
            return Err(invalid(
                "feeds.expiry",
                "must be longer than feeds.check_interval, in which it is prolonged",
            ));
        }
        Ok(())
    }
}

/// Keys about the NRF, the SCP and how both are used.
fn validate_nrf(core: &Core) -> Result<(), ConfigError> {
    let registration = &core.registration;
    let nowhere = registration.fqdn.is_none()
        && registration.ipv4_addresses.is_empty()
        && registration.ipv6_addresses.is_empty();
    if !core.nrf.is_empty() && registration.enabled && nowhere {
        return Err(invalid(
            "core.nrf",
            "has to be told where we are: an fqdn, ipv4_addresses or ipv6_addresses in \
             core.registration, or enabled = false there",
        ));
    }
    if core.tokens.enabled && core.nrf.is_empty() {
        return Err(invalid(
            "core.tokens.enabled",
            "needs the NRF that gives them (core.nrf)",
        ));
    }
    if core.scp_discovers && core.scp.is_empty() {
        return Err(invalid("core.scp_discovers", "needs an SCP (core.scp)"));
    }
    if !(0.0..1.0).contains(&core.hedge_quantile) {
        return Err(invalid(
            "core.hedge_quantile",
            "must be at least 0 and less than 1",
        ));
    }
    for (key, nf_type) in [
        ("core.registration.nf_type", &registration.nf_type),
        (
            "core.discovery.requester_nf_type",
            &core.discovery.requester_nf_type,
        ),
    ] {
        let letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if nf_type.is_empty() || !nf_type.bytes().all(letter) {
            return Err(invalid(key, "must be an NF type of TS 29.510, such as NEF"));
        }
    }
    let sets = &core.discovery.nf_sets;
    let is_second = |(place, set): (usize, &NfSetId)| {
        let mut earlier = sets.iter().take(place);
        earlier.any(|one| one.nf_type() == set.nf_type())
    };
    if sets.iter().enumerate().any(is_second) {
        return Err(invalid(
            "core.discovery.nf_sets",
            "names two sets of one function: a search is for one",
        ));
    }
    Ok(())
}

/// A listener that checks client certificates must know by whom, and one that is given authorities
/// must check: who wrote them down believes that it does.
fn validate_listener(tls: &ServerTls, client_ca_file: &'static str) -> Result<(), ConfigError> {
    match (tls.client_certificates, &tls.client_ca_file) {
        (ClientCertificates::Off, Some(_)) => Err(invalid(
            client_ca_file,
            "has no effect while client_certificates beside it is \"off\"",
        )),
        (ClientCertificates::Optional | ClientCertificates::Required, None) => Err(invalid(
            client_ca_file,
            "is needed to check client certificates against",
        )),
        _ => Ok(()),
    }
}

/// A certificate of ours is nothing without its key, and the other way round.
fn both_or_neither(
    tls: &ClientTls,
    certificate_key: &'static str,
    key_key: &'static str,
) -> Result<(), ConfigError> {
    let (missing, present) = match (&tls.certificate_file, &tls.key_file) {
        (Some(_), None) => (key_key, certificate_key),
        (None, Some(_)) => (certificate_key, key_key),
        _ => return Ok(()),
    };
    Err(invalid(missing, format!("is needed beside {present}")))
}

fn invalid(key: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Invalid {
        key,
        reason: reason.into(),
    }
}
