//! What became of a call that has no usable answer.

/// Why the core gave no usable answer, in the terms that the next layer decides by.
///
/// `Clone`, since one flight answers many requests. Holds nothing personal and nothing that the
/// peer wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No instance could be reached, or each one asked refused the stream, sent GOAWAY or lost the
    /// connection before its answer began.
    #[error("no instance of the network function could be reached")]
    Unreachable,
    /// 429, or 503 from the last instance that the retry rules allow.
    #[error("the network function is overloaded")]
    Overloaded {
        /// When to ask again, in seconds from now, where the core said so (RFC 9110 10.2.3).
        retry_after: Option<u32>,
    },
    /// The deadline of the call passed before the answer was complete.
    #[error("the network function did not answer before the deadline")]
    DeadlinePassed,
    /// The answer is a server error or cannot be used: malformed, of the wrong type, incomplete,
    /// too large, or reset while being given.
    #[error("the answer of the network function cannot be used")]
    BadAnswer,
    /// The request itself was refused (another 4xx, or a redirection): the wiring is wrong. Logged
    /// where it was seen, with what the core said.
    #[error("the network function refused the request with status {status}")]
    Refused {
        /// The HTTP status of the refusal.
        status: u16,
    },
}

impl Error {
    /// A fixed short name, fit to label a metric.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Overloaded { .. } => "overloaded",
            Self::DeadlinePassed => "deadline_passed",
            Self::BadAnswer => "bad_answer",
            Self::Refused { .. } => "refused",
        }
    }
}
