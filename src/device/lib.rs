//! Identifiers of subscriptions and devices: parsed once at the door, carried typed ever after.
//!
//! Known to every other part and knows none of them, which is why it is a crate of its own.
//! `Debug` and `Display` of everything personal are masked; the one way to see a whole value is a
//! call named `reveal`, so that `grep -rn '\.reveal'` lists every place that can disclose one.
//!
//! What does not belong here: how a value travels (JSON, paths, headers) and what it is used for.
//!
//! Read in this order: [`digits`], then [`subscription`] (who), [`address`] (where), [`equipment`]
//! (which device).

pub mod address;
pub mod digits;
pub mod equipment;
pub mod subscription;

pub use address::{Ipv4Query, session_ipv4, session_ipv6};
pub use equipment::{Imei, Imeisv, InvalidPei, Pei, Tac};
pub use subscription::{Gpsi, Imsi, InvalidIdentifier, Nai, PackedUeId, PhoneNumber, Supi, UeId};

/// What a masked value prints: enough to see that something is there, nothing of what it is.
pub const MASK: &str = "***";
