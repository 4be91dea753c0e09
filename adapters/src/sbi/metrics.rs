//! What is counted about the core.

use prometheus::Registry;

/// The kind of a network function (TS 29.510, `NFType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NfType {
    /// Unified Data Management.
    Udm,
    /// Binding Support Function.
    Bsf,
    /// User Plane Function.
    Upf,
}

/// The metrics of everything in this crate, registered once.
#[derive(Debug, Clone)]
pub struct Metrics {}

impl Metrics {
    /// Registers all metrics; fails only when their names are taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let _ = registry;
        Ok(Self {})
    }
}
