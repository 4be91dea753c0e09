//! Instances that answer, and answer badly: left alone for a while, then tried with one request.
//!
//! An instance that cannot be connected to is none of this: nothing is sent there anyway.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::settings::OutlierSettings;

/// How an instance stands with its consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Like any other.
    Good,
    /// Others are preferred.
    Ejected,
}

/// What is remembered of the answers of one instance.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Bad answers in a row.
    failures: AtomicU32,
    /// Ejections since the last good answer.
    ejections: AtomicU32,
    /// Milliseconds of the client's time until which it is ejected; 0: it is not.
    until: AtomicU64,
}

impl Health {
    /// Whether something is remembered against it, which has to be looked at with a clock.
    pub(super) fn is_ejected(&self) -> bool {
        self.until.load(Ordering::Relaxed) != 0
    }

    /// Takes the right to the one request that tries whether an ejected instance is well again:
    /// half-open. Whoever has it gives the instance so long to answer it before the next one may.
    pub(super) fn try_probe(&self, now: u64, settings: &OutlierSettings) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0
            && until <= now
            && self
                .until
                .compare_exchange(
                    until,
                    now + milliseconds(settings.eject_for),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// It answered as it should.
    pub(super) fn good(&self) {
        // Nearly always nothing is remembered, and then nothing is written.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.is_ejected() {
            self.ejections.store(0, Ordering::Relaxed);
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// It failed, or took too long. Whether that ejects it, which it was not before.
    pub(super) fn bad(&self, now: u64, is_probe: bool, settings: &OutlierSettings) -> bool {
        let failures = self
            .failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        let was_ejected = self.is_ejected();
        let too_many =
            settings.consecutive_failures != 0 && failures >= settings.consecutive_failures;
        // What was under way when it was ejected says nothing new; a probe that fails does.
        if !(is_probe || too_many && !was_ejected) {
            return false;
        }
        let before = self
            .ejections
            .fetch_add(1, Ordering::Relaxed)
            .min(MOST_DOUBLINGS);
        let pause = settings
            .eject_for
            .saturating_mul(1 << before)
            .min(settings.eject_max);
        let until = now + milliseconds(pause);
        self.until.store(until.max(1), Ordering::Relaxed);
        !was_ejected
    }
}

/// Enough for any bound.
const MOST_DOUBLINGS: u32 = 16;

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> OutlierSettings {
        OutlierSettings {
            consecutive_failures: 3,
            eject_for: Duration::from_secs(1),
            eject_max: Duration::from_secs(3),
            slow: Duration::from_secs(1),
        }
    }

    #[test]
    fn failures_in_a_row_eject_and_a_good_answer_forgives() {
        let (health, settings) = (Health::default(), settings());
        assert!(!health.bad(10, false, &settings));
        assert!(!health.bad(10, false, &settings));
        health.good();
        assert!(!health.bad(10, false, &settings));
        assert!(!health.bad(10, false, &settings));
        assert!(!health.is_ejected());
        assert!(health.bad(10, false, &settings));
        assert!(health.is_ejected());
        health.good();
        assert!(!health.is_ejected());
    }

    #[test]
    fn one_request_at_a_time_tries_whether_it_is_well() {
        let (health, settings) = (Health::default(), settings());
        assert!(!health.try_probe(5_000, &settings));
        for _ in 0..3 {
            health.bad(10, false, &settings);
        }
        assert!(!health.try_probe(1_009, &settings));
        assert!(health.try_probe(1_010, &settings));
        assert!(!health.try_probe(1_010, &settings));
        // Each failure doubles the pause up to its bound; late failures of others do not.
        assert!(!health.bad(1_020, true, &settings));
        assert!(!health.bad(2_500, false, &settings));
        assert!(!health.try_probe(3_019, &settings));
        assert!(health.try_probe(3_020, &settings));
        health.bad(3_020, true, &settings);
        assert!(!health.try_probe(6_019, &settings));
        assert!(health.try_probe(6_020, &settings));
        health.good();
        assert!(!health.is_ejected());
    }

    #[test]
    fn nothing_is_ejected_where_it_is_switched_off() {
        let settings = OutlierSettings {
            consecutive_failures: 0,
            ..settings()
        };
        let health = Health::default();
        assert!((0..100).all(|_| !health.bad(10, false, &settings)));
        assert!(!health.is_ejected());
    }
}
