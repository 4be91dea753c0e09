//! What only the whole configuration shows.

use super::{
    AuditSink, AuthMode, ClientCertificates, ClientTls, Config, ConfigError, DpopMode, ServerTls,
};

/// No machine has more processors for us; what is beyond is a slip of the pen.
const MOST_WORKER_THREADS: usize = 1024;

impl Config {
    /// Checks what no single key can: bounds, and keys against each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_api()?;
        self.validate_auth()?;
        self.validate_audit()?;
        self.validate_deprecated()?;
        self.validate_ppid()?;
        self.validate_core()?;
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
        if api.worker_threads > MOST_WORKER_THREADS {
            return Err(invalid("api.worker_threads", "must be at most 1024"));
        }
        api.tls.as_ref().map_or(Ok(()), validate_listener)
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
            ("limits.consumer_entries", self.limits.consumer_entries == 0),
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
        if core.udm.is_empty() {
            return Err(invalid(
                "core.udm",
                "names no UDM: no device could ever be found",
            ));
        }
        for (key, zero) in [
            (
                "core.connections_per_endpoint",
                core.connections_per_endpoint == 0,
            ),
            ("core.connect_timeout", core.connect_timeout.is_zero()),
            (
                "core.keep_alive_interval",
                core.keep_alive_interval.is_zero(),
            ),
            ("core.keep_alive_timeout", core.keep_alive_timeout.is_zero()),
            ("core.max_attempts", core.max_attempts == 0),
        ] {
            if zero {
                return Err(invalid(key, "must be greater than zero"));
            }
        }
        Ok(())
    }
}

/// A listener that checks client certificates must know by whom, and one that is given authorities
/// must check: who wrote them down believes that it does.
fn validate_listener(tls: &ServerTls) -> Result<(), ConfigError> {
    match (tls.client_certificates, &tls.client_ca_file) {
        (ClientCertificates::Off, Some(_)) => Err(invalid(
            "api.tls.client_ca_file",
            "has no effect while api.tls.client_certificates is \"off\"",
        )),
        (ClientCertificates::Optional | ClientCertificates::Required, None) => Err(invalid(
            "api.tls.client_ca_file",
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
