//! TLS on the api listener and towards the core, with certificates made here.
//!
//! `authority` makes them; `support` is a client that chooses everything about its TLS.

pub mod authority;
mod core;
mod listener;
mod refusals;
pub mod support;
