//! How much may be asked: `[limits]`.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests a second, on average; 0: no limit.
    pub requests_per_second: u32,
    /// Requests at once above the average; 0: one second's worth.
    pub burst: u32,
    /// Requests from midnight to midnight, UTC; 0: no limit.
    pub requests_per_day: u64,
    /// Subscribers asked for within an hour; 0: no limit.
    pub distinct_subscribers_per_hour: u32,
    /// Identifiers offered to match-identifier within an hour that were not the device's; 0: no
    /// limit.
    pub mismatches_per_hour: u32,
    /// Consumers whose use is remembered at most; about 500 bytes each and up to 2 KB for the
    /// subscribers it asks for, or, where these are limited, up to 200 bytes for each of the limit.
    pub consumer_entries: u64,
    /// Other limits for some consumers, by name of the class.
    pub classes: BTreeMap<String, LimitsClass>,
}

/// `[limits.classes.NAME]`: what is absent is as in `[limits]`, so that a class that is given more of
/// one thing is not given everything else without limit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsClass {
    /// Who belongs to the class, by consumer id.
    pub consumers: Vec<String>,
    /// As in `[limits]`; 0: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// As in `[limits]`; 0: one second's worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// As in `[limits]`; 0: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<u64>,
    /// As in `[limits]`; 0: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct_subscribers_per_hour: Option<u32>,
    /// As in `[limits]`; 0: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mismatches_per_hour: Option<u32>,
}

/// What one consumer may ask, whatever section says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// 0: no limit.
    pub requests_per_second: u32,
    /// 0: one second's worth.
    pub burst: u32,
    /// 0: no limit.
    pub requests_per_day: u64,
    /// 0: no limit.
    pub distinct_subscribers_per_hour: u32,
    /// 0: no limit.
    pub mismatches_per_hour: u32,
}

/// More than any operator has contracts with.
const DEFAULT_CONSUMER_ENTRIES: u64 = 100_000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_second: 0,
            burst: 0,
            requests_per_day: 0,
            distinct_subscribers_per_hour: 0,
            mismatches_per_hour: 0,
            consumer_entries: DEFAULT_CONSUMER_ENTRIES,
            classes: BTreeMap::new(),
        }
    }
}

impl Limits {
    /// What consumers of no class may ask.
    pub fn of_others(&self) -> Allowance {
        self.of(&LimitsClass::default())
    }

    /// What consumers of a class may ask.
    pub fn of(&self, class: &LimitsClass) -> Allowance {
        Allowance {
            requests_per_second: class
                .requests_per_second
                .unwrap_or(self.requests_per_second),
            burst: class.burst.unwrap_or(self.burst),
            requests_per_day: class.requests_per_day.unwrap_or(self.requests_per_day),
            distinct_subscribers_per_hour: class
                .distinct_subscribers_per_hour
                .unwrap_or(self.distinct_subscribers_per_hour),
            mismatches_per_hour: class
                .mismatches_per_hour
                .unwrap_or(self.mismatches_per_hour),
        }
    }

    /// Nothing could be counted without a place for it. A consumer in two classes would have the limits of whichever comes first. It is named by its
    /// place: errors repeat no value.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.consumer_entries == 0 {
            return Err(ConfigError::Invalid {
                key: "limits.consumer_entries",
                reason: "must be greater than zero".to_owned(),
            });
        }
        let mut seen = HashMap::new();
        for (class, members) in &self.classes {
            for (place, consumer) in (1..).zip(&members.consumers) {
                let Some((other, earlier)) = seen.insert(consumer, (class, place)) else {
                    continue;
                };
                if other != class {
                    return Err(ConfigError::Invalid {
                        key: "limits.classes",
                        reason: format!(
                            "\"{other}\" and \"{class}\" have a consumer in common (number {earlier} \
                             and number {place} of theirs): it would not be clear whose limits it has"
                        ),
                    });
                }
            }
        }
        Ok(())
    }
}
