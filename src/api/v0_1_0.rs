//! What v0.1.0 does in its own way.

use std::ops::RangeInclusive;

use adapters::sbi;

use super::error::{ApiError, ErrorCode};
use crate::lookup::{LookupError, SeveralIdentifiers};

/// The first identifier that belongs to a known subscription answers.
pub(super) const SEVERAL_IDENTIFIERS: SeveralIdentifiers = SeveralIdentifiers::First;

/// Ports that a consumer may name.
pub(super) const PUBLIC_PORTS: RangeInclusive<u16> = 1024..=65535;

/// What a consumer is told of a lookup that found nothing to answer with.
pub(super) fn lookup_error(error: LookupError) -> ApiError {
    match error {
        LookupError::Unsupported
        | LookupError::UnknownSubscription
        | LookupError::NoDevice
        | LookupError::NoImei => ApiError::new(ErrorCode::NotFound),
        LookupError::Mismatch => ApiError::invalid("The identifiers name different devices"),
        LookupError::Core(error) => match error {
            sbi::Error::Unreachable => ApiError::unavailable(None),
            sbi::Error::Overloaded { retry_after } => ApiError::unavailable(retry_after),
            sbi::Error::DeadlinePassed => ApiError::new(ErrorCode::Timeout),
            sbi::Error::BadAnswer | sbi::Error::Refused { .. } => {
                ApiError::new(ErrorCode::BadGateway)
            }
        },
    }
}
