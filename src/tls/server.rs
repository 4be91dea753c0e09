//! TLS on a listener: who we are, whom we let in, and both anew when their files change.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use tokio_rustls::TlsAcceptor;

use super::pem::{self, PemFile};
use super::{Fingerprint, LOOK_INTERVAL, TlsError, provider};
use crate::config::{ClientCertificates, ServerTls};
use crate::telemetry::metrics::ServerMetrics;

/// What a client may choose (RFC 7301), ours first.
const ALPN: [&[u8]; 2] = [HTTP2, b"http/1.1"];
/// HTTP/2 over TLS (RFC 9113 3.2).
pub(crate) const HTTP2: &[u8] = b"h2";

/// The TLS of a listener.
pub struct ListenerTls {
    settings: ServerTls,
    /// Replaced as a whole, so that a session is never resumed under other authorities than those
    /// it was begun under.
    current: RwLock<Arc<ServerConfig>>,
    hasher: RandomState,
    /// Of the files that `current` was made from.
    loaded: Fingerprint,
}

/// One look at the files of a listener.
struct Files<'a> {
    certificate: PemFile<'a>,
    key: PemFile<'a>,
    client_authorities: Option<PemFile<'a>>,
}

impl ListenerTls {
    /// Reads the files and refuses what no connection could be served with.
    pub fn load(settings: &ServerTls) -> Result<Self, TlsError> {
        let hasher = RandomState::new();
        let files = Files::read(settings)?;
        let config = files.config(settings.client_certificates)?;
        Ok(Self {
            settings: settings.clone(),
            current: RwLock::new(config),
            loaded: Some(files.fingerprint(&hasher)),
            hasher,
        })
    }

    /// What the next connection is accepted with.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current))
    }

    /// Looks at the files for ever, and serves new connections with what they hold. Files that
    /// cannot be used change nothing: the last good ones serve on. Connections that are open keep
    /// what they were accepted with.
    pub(crate) async fn follow(self: Arc<Self>, metrics: Arc<ServerMetrics>) {
        let mut seen = self.loaded;
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let tls = Arc::clone(&self);
            // A file may lie on something slow.
            let looked = tokio::task::spawn_blocking(move || tls.look(seen)).await;
            let Ok(Some((fingerprint, config))) = looked else {
                continue;
            };
            // Each change is told once, whatever it is.
            seen = fingerprint;
            match config {
                Ok(config) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                    metrics.tls_reloaded.inc();
                    tracing::info!("api.tls: new connections are served with the changed files");
                }
                Err(error) => {
                    metrics.tls_reload_refused.inc();
                    tracing::error!(%error, "api.tls: the changed files cannot be used, the last good ones serve on");
                }
            }
        }
    }

    /// What the files make now, where they differ from what was seen.
    fn look(
        &self,
        seen: Fingerprint,
    ) -> Option<(Fingerprint, Result<Arc<ServerConfig>, TlsError>)> {
        let files = Files::read(&self.settings);
        let fingerprint = files
            .as_ref()
            .ok()
            .map(|files| files.fingerprint(&self.hasher));
        (fingerprint != seen).then(|| {
            let config = files.and_then(|files| files.config(self.settings.client_certificates));
            (fingerprint, config)
        })
    }
}

impl<'a> Files<'a> {
    fn read(settings: &'a ServerTls) -> Result<Self, TlsError> {
        let client_authorities = settings.client_ca_file.as_deref();
        Ok(Self {
            certificate: PemFile::read(&settings.certificate_file)?,
            key: PemFile::read(&settings.key_file)?,
            client_authorities: client_authorities.map(PemFile::read).transpose()?,
        })
    }

    fn fingerprint(&self, hasher: &RandomState) -> u64 {
        hasher.hash_one((
            self.certificate.text(),
            self.key.text(),
            self.client_authorities.as_ref().map(PemFile::text),
        ))
    }

    fn config(
        &self,
        client_certificates: ClientCertificates,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let identity = pem::identity(&self.certificate, &self.key)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)?;
        let builder = match self.client_verifier(client_certificates)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        Ok(Arc::new(config))
    }

    fn client_verifier(
        &self,
        client_certificates: ClientCertificates,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        if client_certificates == ClientCertificates::Off {
            return Ok(None);
        }
        let authorities = self
            .client_authorities
            .as_ref()
            .ok_or(TlsError::NoClientAuthorities)?
            .authorities()?;
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider());
        let builder = match client_certificates {
            ClientCertificates::Optional => builder.allow_unauthenticated(),
            ClientCertificates::Off | ClientCertificates::Required => builder,
        };
        Ok(Some(builder.build()?))
    }
}
