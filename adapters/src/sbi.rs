//! The way to the core: service-based interfaces over HTTP/2 (TS 29.500).
//!
//! A [`Client`] stands for one network function, however many endpoints it has. It keeps
//! connections open to all of them and turns one request into one answer or one [`Error`], with the
//! retries that are allowed and none else, before the deadline.
//!
//! What an operation asks and how its answer reads does not belong here.
//!
//! From the outside in: `operation` (one typed call: timing, outcome), `client` (one function; in it
//! `walk`: which instance, which retry; `attempt`: one of them; `exchange`: its stream), `endpoint`
//! (the connections of one apiRoot), `connection` (the life of one), `connector` (the bytes beneath
//! it); beside them `request`, `change` (requests with a body), `response`, `date`, `retry_budget`,
//! and `steps` (what became of each call, for who wants to see it).

mod allowance;
mod api_root;
mod change;
mod client;
mod connection;
mod connector;
mod date;
mod endpoint;
mod error;
mod hedging;
mod instance;
mod metrics;
mod operation;
mod outlier;
mod overload;
mod pool;
mod proxy;
mod request;
mod response;
mod retry_budget;
mod selection;
mod service;
mod settings;
mod steps;
mod text;
mod tokens;

pub use api_root::{ApiRoot, InvalidApiRoot};
pub use client::Client;
pub use error::Error;
pub use instance::{IdentityRange, Instance, Listed, Serves};
pub use metrics::{Metrics, NfType};
pub use proxy::{Delegation, Route, Scp};
pub use service::{ServiceName, Services};
pub use settings::{OutlierSettings, Settings};
pub use steps::{Attempt, Call, Fact, Found, Shown, Step, Steps};
pub use tokens::Tokens;

pub(crate) use allowance::Allowance;
pub(crate) use change::{Change, Content, Resource};
pub(crate) use instance::Subject;
pub(crate) use operation::Operation;
pub(crate) use pool::{Producer, ProducerId, Served};
pub(crate) use request::Path;
pub(crate) use response::{Answer, NOT_DISCOVERED, from_json};
pub(crate) use steps::Facts;
pub(crate) use text::{Text, time};
