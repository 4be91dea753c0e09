//! Why there is no device to answer with.

use adapters::sbi;

/// Why there is no device to answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// None of the identifiers is of a kind that this deployment supports.
    #[error("no identifier of a supported kind")]
    Unsupported,
    /// The identifiers name different subscriptions.
    #[error("the identifiers name different subscriptions")]
    Mismatch,
    /// The token names a device, and it is not the one that is asked for.
    #[error("not the subscription of the token")]
    NotOfToken,
    /// The consent that is needed is not there.
    #[error("no consent")]
    ConsentMissing,
    /// The core did not say whether there is consent.
    #[error("consent unknown: {0}")]
    ConsentUnknown(sbi::Error),
    /// No identifier belongs to a subscription that the core knows.
    #[error("no such subscription")]
    UnknownSubscription,
    /// The subscription is known; no device is registered for it.
    #[error("no device registered")]
    NoDevice,
    /// The device has no IMEI.
    #[error("the device has no IMEI")]
    NoImei,
    /// The core did not say.
    #[error("core: {0}")]
    Core(#[from] sbi::Error),
}

impl LookupError {
    /// A fixed word for each, for the audit.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unsupported => "IDENTIFIER_NOT_SUPPORTED",
            Self::Mismatch => "IDENTIFIERS_DIFFER",
            Self::NotOfToken => "NOT_OF_TOKEN",
            Self::ConsentMissing => "CONSENT_MISSING",
            Self::ConsentUnknown(_) => "CONSENT_UNKNOWN",
            Self::UnknownSubscription => "UNKNOWN_SUBSCRIPTION",
            Self::NoDevice => "NO_DEVICE",
            Self::NoImei => "NO_IMEI",
            Self::Core(error) => error.label(),
        }
    }

    /// Whether the core failed, and nothing was said of anybody.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Core(_) | Self::ConsentUnknown(_))
    }

    /// Whether the core gives no usable answer, though there was time for one.
    pub(super) fn is_outage(self) -> bool {
        match self {
            Self::Core(error) => match error {
                sbi::Error::Unreachable | sbi::Error::Overloaded { .. } | sbi::Error::BadAnswer => {
                    true
                }
                sbi::Error::DeadlinePassed | sbi::Error::Refused { .. } => false,
            },
            _ => false,
        }
    }

    /// Whether the core said that there is nothing, which may be remembered.
    pub(super) fn is_none_found(self) -> bool {
        matches!(self, Self::UnknownSubscription | Self::NoDevice)
    }
}
