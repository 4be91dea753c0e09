//! Secrets: read once, never printed, wiped when they go.

use std::fmt;
use std::path::PathBuf;

use device::MASK;
use zeroize::Zeroizing;

use crate::config::SecretSource;

/// A secret text.
pub struct Secret(Zeroizing<String>);

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file cannot be read, or is no text.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Its variable is not set, or is no text.
    #[error("environment variable {0} is not set, or is no text")]
    Variable(String),
    /// There is nothing in it.
    #[error("the secret is empty")]
    Empty,
}

impl Secret {
    /// Reads the secret from where it is.
    pub fn read(source: &SecretSource) -> Result<Self, SecretError> {
        let mut text = Zeroizing::new(match source {
            SecretSource::File(path) => {
                std::fs::read_to_string(path).map_err(|source| SecretError::File {
                    path: path.clone(),
                    source,
                })?
            }
            SecretSource::Env(name) => {
                std::env::var(name).map_err(|_| SecretError::Variable(name.clone()))?
            }
        });
        // What is cut off stays in the buffer and is wiped with it.
        let length = text.trim_end().len();
        text.truncate(length);
        if text.is_empty() {
            Err(SecretError::Empty)
        } else {
            Ok(Self(text))
        }
    }

    /// The secret itself, on its way to where it is used.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({MASK})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_loses_the_white_space_at_its_end() {
        let path = std::env::temp_dir().join(format!("pei-bridge-secret-{}", std::process::id()));
        std::fs::write(&path, " s3cret \r\n").unwrap();
        let secret = Secret::read(&SecretSource::File(path.clone())).unwrap();
        assert_eq!(secret.expose(), " s3cret");
        assert!(!format!("{secret:?}").contains("s3cret"));
        std::fs::write(&path, " \n").unwrap();
        let empty = Secret::read(&SecretSource::File(path.clone()));
        assert!(matches!(empty, Err(SecretError::Empty)));
        std::fs::remove_file(&path).unwrap();
        let gone = Secret::read(&SecretSource::File(path));
        assert!(matches!(gone, Err(SecretError::File { .. })));
    }

    #[test]
    fn a_variable_must_be_set() {
        let unset = Secret::read(&SecretSource::Env("PEI_BRIDGE_TEST_UNSET".into()));
        assert!(matches!(unset, Err(SecretError::Variable(_))));
    }
}
