//! The bridge as its consumers, its operators and its core see it: over sockets.
//!
//! Every answer goes through [`support::answer::Answer::check`], so that what holds for all of them
//! is checked in each test. Read `support` first, then the subject that interests you.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    unreachable_pub,
    missing_docs,
    reason = "tests may fail loudly, and nobody reads their documentation"
)]

mod support;

mod access;
mod addresses;
mod admin;
mod caches;
mod command;
mod configuration;
mod conformance;
mod core_requests;
mod faults;
mod feeds;
mod heads;
mod http;
mod identifiers;
mod last_checked;
mod leaks;
mod limits;
mod lookup;
mod network;
mod open5gs;
mod random;
mod redundancy;
mod several;
mod tls;
mod traces;
mod validation;
mod versions;
