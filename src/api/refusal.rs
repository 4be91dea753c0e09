//! What a consumer is told where nothing is disclosed, in the codes of its version.

use adapters::sbi;

use super::error::{ApiError, ErrorCode};
use super::version::Codes;
use crate::limits::Refusal;
use crate::lookup::LookupError;

/// Of a lookup that found nothing to answer with.
pub(super) fn of_lookup(error: LookupError, codes: Codes) -> ApiError {
    match error {
        LookupError::Unsupported => ApiError::new(codes.unsupported),
        LookupError::UnknownSubscription | LookupError::NoDevice => ApiError::new(codes.not_found),
        LookupError::NoImei => ApiError::new(codes.not_applicable),
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
        LookupError::Mismatch => {
            ApiError::with_message(codes.mismatch, "The identifiers name different devices")
        }
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

/// Of one of its limits.
pub(super) fn of_limit(refusal: Refusal, codes: Codes) -> ApiError {
    match refusal {
        Refusal::Rate(retry_after) => ApiError::limited(ErrorCode::TooManyRequests, retry_after),
        Refusal::Quota(retry_after)
        | Refusal::DistinctSubscribers(retry_after)
        | Refusal::Mismatches(retry_after) => ApiError::limited(codes.quota, retry_after),
    }
}
