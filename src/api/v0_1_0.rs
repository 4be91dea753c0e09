//! What v0.1.0 does in its own way.

use std::ops::RangeInclusive;

use adapters::sbi;

use super::error::{ApiError, ErrorCode};
use crate::limits::Refusal;
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
        LookupError::NotOfToken | LookupError::ConsentMissing => {
            ApiError::new(ErrorCode::PermissionDenied)
        }
        // A core that cannot say is never a disclosure, and never the consumer's fault.
        LookupError::ConsentUnknown(error) => match error {
            sbi::Error::Overloaded { retry_after } => ApiError::unavailable(retry_after),
            sbi::Error::DeadlinePassed => ApiError::new(ErrorCode::Timeout),
            sbi::Error::Unreachable | sbi::Error::BadAnswer | sbi::Error::Refused { .. } => {
                ApiError::unavailable(None)
            }
        },
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

/// What a consumer is told that met one of its limits.
pub(super) fn limit_error(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::Rate(retry_after)
        | Refusal::Quota(retry_after)
        | Refusal::DistinctSubscribers(retry_after) => ApiError::too_many_requests(retry_after),
    }
}
