//! TLS towards a peer: whom we trust, and who we are, both anew when their files change.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::runtime::Handle;

use super::pem::{self, PemFile};
use super::{Fingerprint, LOOK_INTERVAL, TlsError, provider};
use crate::config::ClientTls;

/// The configuration of every connection to one kind of peer. Reads the files it is made from, and
/// reads them again when they change, for as long as it is used; where there is no Tokio runtime
/// nobody looks.
///
/// `alpn` is what is offered in order of preference (`h2`, `http/1.1`); none: the extension is left
/// out.
pub fn client_config(tls: &ClientTls, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let hasher = RandomState::new();
    let files = Files::read(tls)?;
    let peer = Arc::new(Peer {
        current: RwLock::new(Arc::new(files.both()?)),
    });
    if files.any()
        && let Ok(runtime) = Handle::try_current()
    {
        let seen = Some(files.fingerprint(&hasher));
        runtime.spawn(follow(Arc::downgrade(&peer), tls.clone(), hasher, seen));
    }
    let verifier: Arc<dyn ServerCertVerifier> = Arc::<Peer>::clone(&peer);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(peer);
    // No session lives on under authorities that are trusted no more.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// For connections in clear, of which none will ask for it: trusts nobody.
pub(crate) fn no_trust() -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Whom we trust and who we are to one kind of peer, as the files last said. Each check is that of
/// webpki: nothing is decided here.
#[derive(Debug)]
struct Peer {
    current: RwLock<Arc<Both>>,
}

#[derive(Debug)]
struct Both {
    verifier: Arc<WebPkiServerVerifier>,
    identity: Option<Arc<CertifiedKey>>,
}

impl Peer {
    fn current(&self) -> Arc<Both> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

impl ServerCertVerifier for Peer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Both { verifier, .. } = &*self.current();
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let Both { verifier, .. } = &*self.current();
        verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let Both { verifier, .. } = &*self.current();
        verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().verifier.supported_verify_schemes()
    }
}

impl ResolvesClientCert for Peer {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.current().identity.clone()
    }

    fn has_certs(&self) -> bool {
        self.current().identity.is_some()
    }
}

/// Looks at the files for as long as somebody uses what they hold. Files that cannot be used change
/// nothing: the last good ones serve on. Connections that are open keep what they began with.
async fn follow(peer: Weak<Peer>, tls: ClientTls, hasher: RandomState, mut seen: Fingerprint) {
    let tls = Arc::new(tls);
    let hasher = Arc::new(hasher);
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        if peer.strong_count() == 0 {
            return;
        }
        let (files, with) = (Arc::clone(&tls), Arc::clone(&hasher));
        // A file may lie on something slow.
        let looked = tokio::task::spawn_blocking(move || look(&files, &with, seen)).await;
        let Ok(Some((fingerprint, both))) = looked else {
            continue;
        };
        // Each change is told once, whatever it is.
        seen = fingerprint;
        let Some(peer) = peer.upgrade() else {
            return;
        };
        match both {
            Ok(both) => {
                let mut current = peer.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = Arc::new(both);
                drop(current);
                let (ca_file, certificate_file) = (&tls.ca_file, &tls.certificate_file);
                tracing::info!(
                    ?ca_file,
                    ?certificate_file,
                    "new connections are made with the changed files"
                );
            }
            Err(error) => {
                tracing::error!(%error, "changed files cannot be used, the last good ones serve on");
            }
        }
    }
}

/// What the files hold now, where that differs from what was seen.
fn look(
    tls: &ClientTls,
    hasher: &RandomState,
    seen: Fingerprint,
) -> Option<(Fingerprint, Result<Both, TlsError>)> {
    let files = Files::read(tls);
    let fingerprint = files.as_ref().ok().map(|files| files.fingerprint(hasher));
    (fingerprint != seen).then(|| (fingerprint, files.and_then(|files| files.both())))
}

/// One look at the files.
struct Files<'a> {
    authorities: Option<PemFile<'a>>,
    /// The certificate, and its key.
    identity: Option<(PemFile<'a>, PemFile<'a>)>,
}

impl<'a> Files<'a> {
    fn read(tls: &'a ClientTls) -> Result<Self, TlsError> {
        let authorities = tls.ca_file.as_deref().map(PemFile::read).transpose()?;
        let identity = match (&tls.certificate_file, &tls.key_file) {
            (Some(certificate), Some(key)) => {
                Some((PemFile::read(certificate)?, PemFile::read(key)?))
            }
            (None, None) => None,
            (Some(_), None) => {
                return Err(TlsError::HalfIdentity {
                    missing: "key_file",
                });
            }
            (None, Some(_)) => {
                return Err(TlsError::HalfIdentity {
                    missing: "certificate_file",
                });
            }
        };
        Ok(Self {
            authorities,
            identity,
        })
    }

    /// Whether there is one that could change; what the system trusts is read once.
    fn any(&self) -> bool {
        self.authorities.is_some() || self.identity.is_some()
    }

    fn fingerprint(&self, hasher: &RandomState) -> u64 {
        let identity = self.identity.as_ref();
        hasher.hash_one((
            self.authorities.as_ref().map(PemFile::text),
            identity.map(|(certificate, key)| (certificate.text(), key.text())),
        ))
    }

    fn both(&self) -> Result<Both, TlsError> {
        let authorities = match &self.authorities {
            Some(file) => file.authorities()?,
            None => system_authorities()?,
        };
        let builder = WebPkiServerVerifier::builder_with_provider(authorities.into(), provider());
        let verifier = builder
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let identity = self.identity.as_ref();
        let identity = identity.map(|(certificate, key)| pem::identity(certificate, key));
        Ok(Both {
            verifier,
            identity: identity.transpose()?.map(Arc::new),
        })
    }
}

/// What the system trusts. Stores hold a certificate now and then that nobody can read: what it
/// would have vouched for is refused, the others serve.
fn system_authorities() -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        return Err(TlsError::NoSystemAuthorities);
    }
    Ok(store)
}
