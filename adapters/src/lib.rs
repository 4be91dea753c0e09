//! The functions of a 5G core as their consumers see them.
//!
//! Each function that the bridge asks has one module with typed requests and answers; below them
//! [`sbi`] is the way to the core: HTTP/2 connections, deadlines, retries, headers, errors
//! (TS 29.500). What a UDM, a BSF or a UPF writes as JSON stays in here; what an API consumer is
//! told about it is none of this crate's business, and CAMARA is not known here.
//!
//! Nothing personal is ever logged, counted or put into an error: request paths hold identifiers,
//! so no path is printed at any level.
//!
//! Read in this order: [`sbi`], then [`udm`] (which equipment a subscription uses), [`bsf`] (whose
//! session an address is), [`upf`] (what is behind a translated address) and [`nrf`] (who is there);
//! then what is told without being asked: [`smf`] (sessions) and [`udm::events`] (equipment and
//! consent).

pub mod bsf;
mod identifiers;
pub mod nrf;
pub mod sbi;
mod several;
pub mod smf;
pub mod subscription;
pub mod udm;
pub mod upf;
