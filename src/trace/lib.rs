//! The trace of a request: taken from its consumer (W3C Trace Context), passed on to the core, and
//! told to a collector as spans where there is one.
//!
//! Known to every other part and knows none of them, which is why it is a crate of its own. A
//! request that is not traced pays for one look at a thread's own variable for each [`stage`] and
//! each call; nothing is allocated and nobody is told.
//!
//! Nothing personal can be in a span: its attributes are fixed words and small numbers ([`Value`]);
//! nor is anything of what the consumer's `tracestate` says. How spans are written and sent does not belong here.
//!
//! Read in this order: [`context`] (what travels in headers), then [`span`] (what is told).

pub mod context;
pub mod span;

pub use context::TraceContext;
pub use span::{FinishedSpan, Kind, Span, Traced, Tracer, Value, child, stage, step};
