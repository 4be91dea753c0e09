//! pei-bridge: the CAMARA Device Identifier API, answered from a 5G core.
//!
//! A request walks straight through, each stage one call:
//!
//! | module | what it is |
//! |---|---|
//! | [`server`] | listeners, connections, limits, drain |
//! | [`api`] | CAMARA: routes, checks in their order, one table of what differs between versions |
//! | [`auth`] | from bearer token to caller: who asks, with which scopes, for which device |
//! | [`feeds`] | what the core tells unasked, and how it is subscribed to |
//! | [`lookup`] | the spine: identifiers → subscription → equipment → answer; caches live here |
//! | [`sessions`] | whose session an address is, as the SMFs told |
//! | `adapters` (a crate) | the core's functions over HTTP/2 |
//! | [`device`] (a crate) | typed identifiers, known to all |
//! | `trace` (a crate) | the trace of a request, known to all |
//!
//! Around them: [`config`] (one typed configuration), [`app`] (from configuration to a running
//! bridge), [`limits`] (how much a consumer may ask), [`ppid`] (devices by names of their own for
//! each consumer), [`audit`] and [`pseudonym`] (the record of every decision), [`tls`] and [`secret`] (certificates, keys, trust), [`tac`] (device types),
//! [`telemetry`] (logs, metrics, traces), [`demo`] (the bridge with a simulated core in one process),
//! [`cli`] (the command line). `southbound` brings the core's functions together as the configuration
//! says; `flights` lets all who ask the same question share its answer; `bad_rows` names what is wrong in
//! an operator's tables.
//!
//! Dependencies point one way, in the order of the table.

pub mod api;
pub mod app;
pub mod audit;
pub mod auth;
mod bad_rows;
pub mod cli;
pub mod config;
pub mod demo;
pub mod feeds;
mod flights;
pub mod limits;
pub mod lookup;
pub mod ppid;
pub mod pseudonym;
pub mod secret;
pub mod server;
pub mod sessions;
pub mod southbound;
pub mod tac;
pub mod telemetry;
pub mod tls;

pub use device;
