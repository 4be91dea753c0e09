//! Certificates and keys from PEM files (RFC 7468).

use std::path::Path;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize as _, Zeroizing};

use super::TlsError;

/// What a file held when it was read. Wiped after use, for any file may hold a key.
pub(super) struct PemFile<'a> {
    path: &'a Path,
    text: Zeroizing<Vec<u8>>,
}

impl<'a> PemFile<'a> {
    pub(super) fn read(path: &'a Path) -> Result<Self, TlsError> {
        let text = std::fs::read(path).map_err(|source| TlsError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path,
            text: Zeroizing::new(text),
        })
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The authorities in it; at least one.
    pub(super) fn authorities(&self) -> Result<RootCertStore, TlsError> {
        let mut store = RootCertStore::empty();
        for certificate in self.certificates()? {
            store.add(certificate).map_err(|_| self.bad_certificate())?;
        }
        Ok(store)
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.text)
            .collect::<Result<_, _>>()
            .map_err(|error| self.refused(&error, "certificate"))?;
        if certificates.is_empty() {
            return Err(self.refused(&pem::Error::NoItemsFound, "certificate"));
        }
        Ok(certificates)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.text)
            .map_err(|error| self.refused(&error, "private key"))
    }

    fn bad_certificate(&self) -> TlsError {
        TlsError::BadCertificate {
            path: self.path.to_owned(),
        }
    }

    /// The library's error can quote lines of the file, so that only its kind is kept.
    fn refused(&self, error: &pem::Error, wanted: &'static str) -> TlsError {
        let path = self.path.to_owned();
        match error {
            pem::Error::NoItemsFound => TlsError::Missing { path, wanted },
            _ => TlsError::Damaged { path },
        }
    }
}

/// A certificate chain, our own first, and its key.
pub(super) fn identity(chain: &PemFile<'_>, key: &PemFile<'_>) -> Result<CertifiedKey, TlsError> {
    let certificates = chain.certificates()?;
    let mut der = key.private_key()?;
    let signer = any_supported_type(&der);
    // The signer has a copy of its own, which aws-lc wipes.
    der.zeroize();
    let signer = signer.map_err(|_| TlsError::BadKey {
        path: key.path.to_owned(),
    })?;
    let identity = CertifiedKey::new(certificates, signer);
    match identity.keys_match() {
        Ok(()) => Ok(identity),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::KeyMismatch {
            key_file: key.path.to_owned(),
            certificate_file: chain.path.to_owned(),
        }),
        Err(_) => Err(chain.bad_certificate()),
    }
}
