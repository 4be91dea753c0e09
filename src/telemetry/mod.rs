//! What an operator sees of a running bridge: logs and metrics. Nothing personal passes here.

pub mod logs;
pub mod metrics;
