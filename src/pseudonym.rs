//! Names for subscribers that say nothing of them without a key.

use std::fmt::{self, Write as _};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::secret::Secret;

/// Gives the same subscriber the same name under the same key, and nobody without the key the way
/// back: phone numbers are few enough to be tried, so a plain digest would be none.
pub struct Pseudonyms(Hmac<Sha256>);

/// Bytes of a pseudonym: enough that no two subscribers of an operator share one.
const LENGTH: usize = 16;
/// The least that a key may hold, in bytes: the strength of the digest's half.
pub const MIN_KEY_LENGTH: usize = 32;

/// A key that is too short to protect anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pseudonym key needs at least {MIN_KEY_LENGTH} bytes")]
pub struct WeakKey;

impl Pseudonyms {
    /// Pseudonyms under the operator's key.
    pub fn new(key: &Secret) -> Result<Self, WeakKey> {
        if key.reveal().len() < MIN_KEY_LENGTH {
            return Err(WeakKey);
        }
        Hmac::new_from_slice(key.reveal())
            .map(Self)
            .map_err(|_| WeakKey)
    }

    /// Pseudonyms under a key that lives as long as this process.
    pub fn random() -> Result<Self, WeakKey> {
        let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let (c, d) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let key = [a, b, c, d].map(uuid::Uuid::into_bytes);
        Hmac::new_from_slice(key.as_flattened())
            .map(Self)
            .map_err(|_| WeakKey)
    }

    /// The pseudonym of an identifier, in lower-case hexadecimal digits.
    pub fn of(&self, identifier: &impl fmt::Display) -> String {
        let mut mac = self.0.clone();
        let mut whole = String::new();
        // Writing to a string cannot fail.
        let _ = write!(whole, "{identifier}");
        mac.update(whole.as_bytes());
        let digest = mac.finalize().into_bytes();
        digest
            .iter()
            .take(LENGTH)
            .fold(String::with_capacity(2 * LENGTH), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretSource;

    fn pseudonyms(key: &str) -> Result<Pseudonyms, WeakKey> {
        let name = format!("PSEUDONYM_TEST_{}", key.len());
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::write(&path, key).unwrap();
        let secret = Secret::read(&SecretSource::File(path.clone())).unwrap();
        std::fs::remove_file(path).unwrap();
        Pseudonyms::new(&secret)
    }

    #[test]
    fn the_key_makes_the_name() {
        let one = pseudonyms(&"a".repeat(32)).unwrap();
        let other = pseudonyms(&"b".repeat(33)).unwrap();
        let supi = device::Supi::parse("imsi-001010000000001").unwrap();
        assert_eq!(one.of(&supi.reveal()), one.of(&supi.reveal()));
        assert_ne!(one.of(&supi.reveal()), other.of(&supi.reveal()));
        assert_eq!(one.of(&supi.reveal()).len(), 32);
    }

    #[test]
    fn a_short_key_is_refused() {
        assert_eq!(pseudonyms("short").err(), Some(WeakKey));
    }
}
