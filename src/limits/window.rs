//! Windows of time that limits count in.

use jiff::Timestamp;

/// Windows of time are numbered since the epoch.
#[derive(Clone, Copy)]
pub(super) enum Window {
    /// Of distinct subscribers.
    Hour,
    /// Of the quota: from midnight to midnight, UTC.
    Day,
}

impl Window {
    fn seconds(self) -> i64 {
        match self {
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        }
    }

    pub(super) fn number(self, now: Timestamp) -> i64 {
        now.as_second().div_euclid(self.seconds())
    }

    /// The seconds that are left of it.
    pub(super) fn left(self, now: Timestamp) -> u32 {
        let left = self.seconds() - now.as_second().rem_euclid(self.seconds());
        u32::try_from(left).unwrap_or(u32::MAX)
    }
}
