//! TLS 1.2 and 1.3 on both sides: [`ListenerTls`] towards API consumers, [`client_config`] towards
//! the core (TS 33.501 13.1) and issuers.
//!
//! Cryptography is aws-lc-rs, named wherever a configuration is built: a process-wide default could
//! be set by another crate, or be missing.

mod client;
mod pem;
mod server;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;

pub use client::client_config;
pub use server::ListenerTls;

pub(crate) use client::no_trust;
pub(crate) use server::HTTP2;

/// Between two looks at the files. Certificates are renewed days before they end; this is for the
/// operator who waits to see it happen.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What the files held, without keeping a key to compare with; `None` where one was not readable.
type Fingerprint = Option<u64>;

/// Why certificates, keys or authorities cannot be used. Names files, never what is in them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has begun something in PEM that it does not end.
    #[error("{}: is damaged PEM", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A file holds nothing of what it is for.
    #[error("{}: holds no {wanted} in PEM", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// What a file says to be a certificate is none.
    #[error("{}: holds a certificate that cannot be used", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
    },
    /// What a file says to be a private key is none, or of a kind that TLS has no use for.
    #[error("{}: holds no private key that can be used (RSA, ECDSA P-256 to P-521, Ed25519)", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
    },
    /// Two files that do not belong together.
    #[error("{}: is not the key of the certificate in {}", key_file.display(), certificate_file.display())]
    KeyMismatch {
        /// Of the key.
        key_file: PathBuf,
        /// Of the certificate.
        certificate_file: PathBuf,
    },
    /// One setting without the other.
    #[error("certificate_file and key_file belong together: {missing} is missing")]
    HalfIdentity {
        /// The absent one.
        missing: &'static str,
    },
    /// No authority of the system can be found.
    #[error("the system trusts no authority: set ca_file")]
    NoSystemAuthorities,
    /// Client certificates are asked for and nothing says who may have issued them.
    #[error("client_ca_file is missing: no client certificate could be checked")]
    NoClientAuthorities,
    /// The authorities of client certificates cannot be used together.
    #[error("client_ca_file: {0}")]
    ClientAuthorities(#[from] rustls::server::VerifierBuilderError),
    /// The library refuses what it was given: a bug of ours.
    #[error("TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// The cryptography of every connection.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
