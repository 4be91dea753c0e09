//! Names for subscribers that say nothing of them without a key.

use std::fmt::{self, Write as _};

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Gives the same subscriber the same name under the same key, and nobody without the key the way
/// back: phone numbers are few enough to be tried, so a plain digest would be none.
pub struct Pseudonyms(Key);

/// Bytes of a pseudonym: enough that no two subscribers of an operator share one.
const LENGTH: usize = 16;
/// The least that a key may hold, in bytes: the strength of the digest's half.
pub const MIN_KEY_LENGTH: usize = 32;

/// A key that is too short to protect anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pseudonym key needs at least {MIN_KEY_LENGTH} bytes")]
pub struct WeakKey;

/// The system has no random bytes to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// A key that lives as long as this process. From the system itself: the library's own generator
/// measures clock jitter first, which takes longer than everything else at the start.
pub(crate) fn random_key() -> Result<Key, NoRandomness> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut_slice()).map_err(|_| NoRandomness)?;
    Ok(Key::new(HMAC_SHA256, key.as_slice()))
}

impl Pseudonyms {
    /// Pseudonyms under the operator's key.
    pub fn new(key: &Secret) -> Result<Self, WeakKey> {
        if key.expose().len() < MIN_KEY_LENGTH {
            return Err(WeakKey);
        }
        Ok(Self(Key::new(HMAC_SHA256, key.expose().as_bytes())))
    }

    /// Pseudonyms under a key that lives as long as this process.
    pub fn random() -> Result<Self, NoRandomness> {
        random_key().map(Self)
    }

    /// The pseudonym of an identifier, in lower-case hexadecimal digits.
    pub fn of(&self, identifier: &impl fmt::Display) -> String {
        let whole = Zeroizing::new(identifier.to_string());
        let digest = hmac::sign(&self.0, whole.as_bytes());
        digest.as_ref().iter().take(LENGTH).fold(
            String::with_capacity(2 * LENGTH),
            |mut text, byte| {
                // Writing to a string cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            },
        )
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
