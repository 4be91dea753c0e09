//! The adapters against scripted peers over real loopback sockets.
//!
//! [`core`] answers whole requests, [`peer`] plays single frames where the way a connection ends is
//! what matters.

mod connections;
mod core;
mod operations;
mod peer;
mod retries;
