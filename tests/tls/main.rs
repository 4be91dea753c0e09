//! TLS on the api listener and towards the core, over sockets, with certificates made here.
//!
//! `authority` makes them, `support` is a bridge and a client that chooses everything about its TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests may fail loudly, and nobody reads their documentation"
)]

mod authority;
mod support;

mod core;
mod listener;
mod refusals;
