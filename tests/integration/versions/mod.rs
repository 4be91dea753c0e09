//! All published versions side by side: what each of them does in its own way.
//!
//! [`scenarios`] is one table of questions with the answer of every version; the other files are
//! about one thing each that only some versions have.

mod deprecation;
mod headers;
mod matching;
mod names;
mod ppid;
mod scenarios;
mod several;
pub mod support;
mod swap;
