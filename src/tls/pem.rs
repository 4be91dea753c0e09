//! Certificates and keys from PEM files (RFC 7468).

use std::path::Path;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize as _, Zeroizing};

use super::TlsError;

/// The authorities in a file; at least one.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path, &read(path)?)? {
        store
            .add(certificate)
            .map_err(|_| TlsError::BadCertificate {
                path: path.to_owned(),
            })?;
    }
    Ok(store)
}

/// A certificate chain and its key.
pub(super) fn identity(certificate_file: &Path, key_file: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate_file, &read(certificate_file)?)?;
    let mut der = private_key(key_file, &read(key_file)?)?;
    let key = any_supported_type(&der);
    // The library holds its own copy and wipes it itself.
    der.zeroize();
    let key = key.map_err(|_| TlsError::BadKey {
        path: key_file.to_owned(),
    })?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        Ok(()) => Ok(identity),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::KeyMismatch {
            key_file: key_file.to_owned(),
            certificate_file: certificate_file.to_owned(),
        }),
        Err(_) => Err(TlsError::BadCertificate {
            path: certificate_file.to_owned(),
        }),
    }
}

/// A file's bytes, wiped after use: any of them may hold a key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|source| TlsError::Unreadable {
            path: path.to_owned(),
            source,
        })
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| refused(path, &error, "certificate"))?;
    if certificates.is_empty() {
        return Err(refused(path, &pem::Error::NoItemsFound, "certificate"));
    }
    Ok(certificates)
}

fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| refused(path, &error, "private key"))
}

/// The library's error can quote lines of the file, so that only its kind is kept.
fn refused(path: &Path, error: &pem::Error, wanted: &'static str) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::NoItemsFound => TlsError::Missing { path, wanted },
        _ => TlsError::Damaged { path },
    }
}
