//! Who may ask, and what they may see: tokens, consent, limits, audit.

mod audit;
mod consent;
mod dpop;
mod flood;
mod forged;
mod introspection;
mod keys;
mod leaks;
mod limits;
mod mixture;
mod order;
mod provider;
mod rotation;
mod secrets;
pub mod support;
mod three_legged;
mod tokens;
