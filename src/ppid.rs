//! Pairwise pseudonymous identifiers: one name for a device and a consumer.
//!
//! The same for the same two, another for another consumer, and no way back to the device without
//! the operator's secret. Each consumer has a key of its own, which is HMAC-SHA-256 over its id
//! under the secret; the name is HMAC-SHA-256 under that key over the 15 digits of the IMEI and the
//! consumer's id.
//!
//! A secret is replaced by a newer one with a time from which it counts, so that all instances
//! change over at once. For as long as is configured after that time both names are given, so that
//! consumers can carry over what they know.

use std::time::Duration;

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use aws_lc_rs::rand::SystemRandom;
use device::Imei;
use jiff::Timestamp;

use crate::auth::ConsumerId;
use crate::config;
use crate::pseudonym::{MIN_KEY_LENGTH, NoRandomness, WeakKey};
use crate::secret::{Secret, SecretError};

/// What a consumer's key is derived with beside its id: the same secret elsewhere gives other keys.
const PURPOSE: &[u8] = b"pei-bridge ppid\0";
/// The id of a secret that nobody configured.
const RANDOM_ID: &str = "random";

/// Makes PPIDs.
pub struct Ppids {
    /// Oldest first; never empty.
    oldest: Generation,
    newer: Vec<Generation>,
    overlap: Duration,
}

/// A secret, and from when it counts.
struct Generation {
    id: Box<str>,
    from: Timestamp,
    secret: Key,
}

/// A PPID: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ppid([u8; 64]);

/// The names of a device for a consumer at a moment.
pub struct Names<'a> {
    /// By the secret that counts.
    pub current: Ppid,
    /// By the one before it, while both are given.
    pub previous: Option<Ppid>,
    /// The id of the secret that counts.
    pub secret_id: &'a str,
}

/// Why PPIDs cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PpidError {
    /// A secret cannot be read.
    #[error("ppid.secrets {id}: {source}")]
    Secret {
        /// Its id.
        id: String,
        /// Why not.
        source: SecretError,
    },
    /// A secret is no protection.
    #[error("ppid.secrets {id}: {source}")]
    Weak {
        /// Its id.
        id: String,
        /// Why not.
        source: WeakKey,
    },
    /// No secret was given, and none can be made.
    #[error("ppid: {0}")]
    NoRandomness(#[from] NoRandomness),
}

impl Ppids {
    /// Those of the configured secrets; `None` where there are none.
    pub fn open(config: &config::Ppid) -> Result<Option<Self>, PpidError> {
        let mut generations = config
            .secrets
            .iter()
            .map(Generation::read)
            .collect::<Result<Vec<_>, _>>()?;
        generations.sort_by_key(|generation| generation.from);
        let mut generations = generations.into_iter();
        Ok(generations.next().map(|oldest| Self {
            oldest,
            newer: generations.collect(),
            overlap: config.overlap,
        }))
    }

    /// Those of a secret that lives as long as this process: for trying, not for consumers who
    /// keep what they are told.
    pub fn random() -> Result<Self, NoRandomness> {
        let secret = Key::generate(HMAC_SHA256, &SystemRandom::new()).map_err(|_| NoRandomness)?;
        Ok(Self {
            oldest: Generation {
                id: RANDOM_ID.into(),
                from: Timestamp::MIN,
                secret,
            },
            newer: Vec::new(),
            overlap: Duration::ZERO,
        })
    }

    /// The names of a device for a consumer.
    pub fn of(&self, imei: Imei, consumer: &ConsumerId, now: Timestamp) -> Names<'_> {
        let mut in_force = self.newer.iter().rev().skip_while(|it| it.from > now);
        let current = in_force.next();
        let before = current.map(|_| in_force.next().unwrap_or(&self.oldest));
        let current = current.unwrap_or(&self.oldest);
        let overlaps = now.duration_since(current.from).unsigned_abs() < self.overlap;
        Names {
            current: current.name(imei, consumer),
            previous: before
                .filter(|_| overlaps)
                .map(|before| before.name(imei, consumer)),
            secret_id: &current.id,
        }
    }
}

impl Generation {
    fn read(config: &config::PpidSecret) -> Result<Self, PpidError> {
        let id = || config.id.clone();
        let secret = Secret::read(&config.secret)
            .map_err(|source| PpidError::Secret { id: id(), source })?;
        let secret = secret.expose().as_bytes();
        if secret.len() < MIN_KEY_LENGTH {
            let source = WeakKey;
            return Err(PpidError::Weak { id: id(), source });
        }
        let from = config.from.unwrap_or(Timestamp::MIN);
        Ok(Self::new(&config.id, from, secret))
    }

    fn new(id: &str, from: Timestamp, secret: &[u8]) -> Self {
        Self {
            id: id.into(),
            from,
            secret: Key::new(HMAC_SHA256, secret),
        }
    }

    fn name(&self, imei: Imei, consumer: &ConsumerId) -> Ppid {
        let consumer = consumer.as_str().as_bytes();
        let mut context = hmac::Context::with_key(&self.key_of(consumer));
        context.update(&imei.reveal_ascii());
        context.update(consumer);
        Ppid::of(context.sign().as_ref())
    }

    fn key_of(&self, consumer: &[u8]) -> Key {
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(PURPOSE);
        context.update(consumer);
        Key::new(HMAC_SHA256, context.sign().as_ref())
    }
}

impl Ppid {
    fn of(digest: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [b'0'; 64];
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
        for (pair, byte) in digits.chunks_exact_mut(2).zip(digest) {
            if let [high, low] = pair {
                (*high, *low) = (digit(byte >> 4), digit(byte & 0xf));
            }
        }
        Self(digits)
    }

    /// The digits.
    pub fn ascii(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use device::Pei;

    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    fn imei(digits: &str) -> Imei {
        Pei::parse(&format!("imei-{digits}"))
            .unwrap()
            .imei()
            .unwrap()
    }

    fn ppids(secrets: &[(&str, i64)], overlap: Duration) -> Ppids {
        let mut generations = secrets.iter().map(|(secret, day)| {
            let from = Timestamp::from_second(day * DAY).unwrap();
            Generation::new(secret, from, secret.as_bytes())
        });
        Ppids {
            oldest: generations.next().unwrap(),
            newer: generations.collect(),
            overlap,
        }
    }

    fn of(ppids: &Ppids, imei: Imei, consumer: &str, day: i64) -> (String, Option<String>) {
        let consumer = ConsumerId::parse(consumer).unwrap();
        let now = Timestamp::from_second(day * DAY).unwrap();
        let names = ppids.of(imei, &consumer, now);
        let text = |ppid: Ppid| String::from_utf8(ppid.ascii().to_vec()).unwrap();
        (text(names.current), names.previous.map(text))
    }

    #[test]
    fn device_consumer_and_secret_make_the_name() {
        let (one, other) = (imei("490154203237518"), imei("356938035643809"));
        let ours = ppids(&[("a", 0)], Duration::ZERO);
        let name = of(&ours, one, "shop", 1).0;
        assert_eq!(name.len(), 64);
        assert!(name.bytes().all(|byte| b"0123456789abcdef".contains(&byte)));
        assert_eq!(name, of(&ours, one, "shop", 400).0);
        // The check digit is no part of what a device is.
        assert_eq!(name, of(&ours, imei("490154203237510"), "shop", 1).0);
        assert_ne!(name, of(&ours, other, "shop", 1).0);
        assert_ne!(name, of(&ours, one, "bank", 1).0);
        assert_ne!(
            name,
            of(&ppids(&[("b", 0)], Duration::ZERO), one, "shop", 1).0
        );
    }

    /// RFC 2104 by another implementation: Python's `hmac`.
    #[test]
    fn the_name_is_what_the_standards_say() {
        let ours = ppids(&[("0123456789abcdef0123456789abcdef", 0)], Duration::ZERO);
        let (name, _) = of(&ours, imei("490154203237518"), "shop", 1);
        assert_eq!(name, EXPECTED);
    }

    const EXPECTED: &str = "9c0940af0b24b04d99a04c2cece2f0c9faf8c36de8f96f9bdbbf2236390df08f";

    #[test]
    fn both_names_are_given_for_a_while_after_a_change() {
        let device = imei("490154203237518");
        let old = of(&ppids(&[("old", 0)], Duration::ZERO), device, "shop", 1).0;
        let new = of(&ppids(&[("new", 0)], Duration::ZERO), device, "shop", 1).0;
        let newest = of(&ppids(&[("newest", 0)], Duration::ZERO), device, "shop", 1).0;
        let week = Duration::from_hours(7 * 24);
        let both = ppids(&[("old", 0), ("new", 100), ("newest", 200)], week);
        for (day, expected) in [
            (-1, (&old, None)),
            (1, (&old, None)),
            (99, (&old, None)),
            (100, (&new, Some(&old))),
            (106, (&new, Some(&old))),
            (107, (&new, None)),
            (199, (&new, None)),
            (200, (&newest, Some(&new))),
            (207, (&newest, None)),
        ] {
            let (current, previous) = of(&both, device, "shop", day);
            assert_eq!((&current, previous.as_ref()), expected, "day {day}");
        }
        let hard = ppids(&[("old", 0), ("new", 100)], Duration::ZERO);
        assert_eq!(of(&hard, device, "shop", 100), (new, None));
    }

    #[test]
    fn a_random_secret_differs_each_time() {
        let device = imei("490154203237518");
        let [one, other] = [(); 2].map(|()| Ppids::random().unwrap());
        assert_eq!(of(&one, device, "a", 0), of(&one, device, "a", 9));
        assert_ne!(of(&one, device, "a", 0), of(&other, device, "a", 0));
    }
}
