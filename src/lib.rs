//! pei-bridge: the CAMARA Device Identifier API, answered from a 5G core.

pub use device;
