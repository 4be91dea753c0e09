//! Who may ask, and what they may see: tokens, consent, limits, audit.

mod consent;
mod forged;
mod keys;
mod order;
mod support;
mod three_legged;
mod tokens;
