//! TLS towards a peer: whom we trust, and who we are.

use std::sync::Arc;

use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::pem::{self, PemFile};
use super::{TlsError, provider};
use crate::config::ClientTls;

/// The configuration of every connection to one kind of peer. Reads the files it is made from.
///
/// `alpn` is what is offered in order of preference (`h2`, `http/1.1`); none: the extension is left
/// out.
pub fn client_config(tls: &ClientTls, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let authorities = match &tls.ca_file {
        Some(file) => PemFile::read(file)?.authorities()?,
        None => system_authorities()?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)?
        .with_root_certificates(authorities);
    let mut config = match (&tls.certificate_file, &tls.key_file) {
        (Some(certificate), Some(key)) => {
            let identity = pem::identity(&PemFile::read(certificate)?, &PemFile::read(key)?)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
        }
        (None, None) => builder.with_no_client_auth(),
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
