//! Why a token is not accepted, in words that say nothing of the token.

/// Why there is no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The token says nobody: 401.
    #[error("refused: {}", .0.label())]
    Unauthenticated(Reason),
    /// It cannot be judged now, and what cannot be judged is not accepted: 503.
    #[error("cannot be judged: {}", .0.label())]
    Unavailable(Missing),
    /// The request's deadline passed first: 504.
    #[error("the deadline passed")]
    DeadlinePassed,
}

impl From<Reason> for AuthError {
    fn from(reason: Reason) -> Self {
        Self::Unauthenticated(reason)
    }
}

/// Makes an enum without data whose variants have a fixed label, for metrics and the audit.
macro_rules! labelled {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every one there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// A fixed word for metrics and the audit.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}

labelled! {
    /// Why a token is refused.
    Reason {
        /// No `authorization` header. A token in the query or the body is not looked for.
        Missing = "missing",
        /// More than one `authorization` header.
        Several = "several",
        /// Another scheme than the token asks for.
        Scheme = "scheme",
        /// Longer than any token.
        TooLong = "too_long",
        /// Not the text, or not the JSON, that it should be; claims of the wrong type; a member
        /// twice.
        Malformed = "malformed",
        /// A JWT for another purpose (`typ`).
        Type = "type",
        /// The header asks for an extension to be understood (`crit`).
        Critical = "critical",
        /// Not a signature algorithm of the configuration.
        Algorithm = "algorithm",
        /// Not from a configured issuer.
        Issuer = "issuer",
        /// Not for us.
        Audience = "audience",
        /// No longer valid.
        Expired = "expired",
        /// Not yet valid, or issued in the future.
        NotYetValid = "not_yet_valid",
        /// The issuer publishes no such key.
        UnknownKey = "unknown_key",
        /// The key is for another algorithm or another use.
        KeyMismatch = "key_mismatch",
        /// The signature is not the key's.
        Signature = "signature",
        /// No issuer knows it as active.
        Inactive = "inactive",
        /// No claim names the consumer.
        Consumer = "consumer",
        /// The claim that names the device cannot be read.
        Device = "device",
        /// Bound to a key where bindings are not checked, not bound where they must be, or bound
        /// in a way that nobody here can check.
        Binding = "binding",
        /// No proof of possession, or several.
        ProofMissing = "proof_missing",
        /// A proof that cannot be read or is not signed by its own key.
        Proof = "proof",
        /// A proof by another key than the token is bound to.
        ProofKey = "proof_key",
        /// A proof for another token.
        ProofToken = "proof_token",
        /// A proof for another request.
        ProofTarget = "proof_target",
        /// A proof that is too old, or from the future.
        ProofTime = "proof_time",
        /// A proof that was used before.
        ProofReplayed = "proof_replayed",
    }
}

labelled! {
    /// What a token could not be judged for want of.
    Missing {
        /// The issuer's keys could not be had since the start, or the one that the token names is
        /// not known and the issuer cannot be asked for newer ones.
        Keys = "no_keys",
        /// An issuer did not explain a token.
        Introspection = "no_introspection",
        /// As many proofs are remembered as may be, so that a replay could go unseen.
        ReplayMemory = "replay_memory_full",
    }
}
