//! What subscriptions to events have in common, whatever the events.

use http::StatusCode;
use jiff::Timestamp;

use crate::sbi::{Answer, Error};

/// What a subscription is to be told.
#[derive(Debug, Clone, Copy)]
pub struct Subscribing<'a> {
    /// Our word for it, which its notifications carry.
    pub correlation_id: &'a str,
    /// Where its notifications are posted.
    pub callback: &'a str,
    /// Until when it is wanted.
    pub expires: Timestamp,
}

/// What became of a wish to prolong a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// It goes on, until then where the core says so.
    Renewed(Option<Timestamp>),
    /// The core does not know it: what happened since is lost.
    Unknown,
}

impl Renewal {
    /// By status alone: a body says nothing more of use.
    pub(crate) fn read(answer: &Answer) -> Result<Self, Error> {
        match answer.status() {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(Self::Renewed(None)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Self::Unknown),
            _ => Err(answer.failure()),
        }
    }

    /// A core that does not say until when it prolonged has done so as it was asked to.
    pub(crate) fn as_wanted(self, expires: Timestamp) -> Self {
        match self {
            Self::Renewed(None) => Self::Renewed(Some(expires)),
            Self::Renewed(Some(_)) | Self::Unknown => self,
        }
    }

    /// As an end: a subscription that is not there has ended.
    pub(crate) fn read_ended(answer: &Answer) -> Result<(), Error> {
        Self::read(answer).map(drop)
    }
}
