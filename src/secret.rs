//! Secrets: read from a file or the environment, masked everywhere, wiped when they are dropped.

use std::fmt;

use zeroize::Zeroizing;

use crate::config::SecretSource;

/// The bytes of a secret.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why a secret cannot be had. Says where it should be, never what it is.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("secret in {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The variable is not set.
    #[error("secret in environment variable {0}: not set")]
    NotSet(String),
    /// There is nothing in it.
    #[error("secret in {0}: empty")]
    Empty(String),
}

impl Secret {
    /// Reads a secret. White space at its end does not count: editors put it there.
    pub fn read(source: &SecretSource) -> Result<Self, SecretError> {
        let (place, bytes) = match source {
            SecretSource::File(path) => {
                let place = path.display().to_string();
                let bytes = std::fs::read(path).map_err(|source| SecretError::Unreadable {
                    path: place.clone(),
                    source,
                })?;
                (place, Zeroizing::new(bytes))
            }
            SecretSource::Env(name) => {
                let value = std::env::var_os(name).ok_or(SecretError::NotSet(name.clone()))?;
                (name.clone(), Zeroizing::new(value.into_encoded_bytes()))
            }
        };
        let trimmed = bytes.trim_ascii_end();
        if trimmed.is_empty() {
            return Err(SecretError::Empty(place));
        }
        Ok(Self(Zeroizing::new(trimmed.to_vec())))
    }

    /// The bytes, on their way to where they are used.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", device::MASK)
    }
}
