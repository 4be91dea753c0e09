//! What the core tells unasked: sessions, equipment, consent.
//!
//! The control listener of the simulated core replies to a change when its notifications are
//! acknowledged, so that what is asked afterwards has to know it.

mod callback;
mod certificates;
mod consent;
mod equipment;
mod lifecycle;
mod proxied;
mod sessions;
mod several_udms;
pub mod support;
mod tokens;
mod turned_away;
