//! The adapters against scripted peers over real loopback sockets.
//!
//! [`core`] answers whole requests, [`peer`] plays single frames where the way a connection ends is
//! what matters.

// Clippy takes only the test functions themselves for tests, not what they share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod connections;
mod core;
mod directory;
mod nrf;
mod operations;
mod parts;
mod peer;
mod pools;
mod retries;
mod scp;
mod tokens;
mod unread;
