//! What an operator sees of a running bridge: logs, metrics and traces. Nothing personal passes here.

pub mod logs;
pub mod metrics;
pub mod otlp;
