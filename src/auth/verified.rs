//! Tokens that were found good, so that a signature is checked once and an issuer asked once.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::DefaultHashBuilder;
use moka::sync::Cache;
use tokio::time::Instant;

use super::caller::Caller;
use super::claims::{Grant, Thumbprint};
use super::credentials::TokenDigest;

/// A token that was found good.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) caller: Arc<Caller>,
    pub(super) bound_to: Option<Arc<Thumbprint>>,
    good_until: Instant,
}

impl Known {
    /// What a grant is worth from now on: to its end, and at most for `lifetime`.
    pub(super) fn of(grant: Grant, lifetime: Duration, now: i64) -> Self {
        let left = grant.good_until.map_or(lifetime, |end| {
            let left = u64::try_from(end.saturating_sub(now)).unwrap_or(0);
            Duration::from_secs(left).min(lifetime)
        });
        Self {
            caller: Arc::new(grant.caller),
            bound_to: grant.bound_to.map(Arc::new),
            good_until: Instant::now() + left,
        }
    }

    /// Whether that has not ended.
    pub(super) fn is_good(&self, now: Instant) -> bool {
        now < self.good_until
    }
}

/// Beyond what the cache takes for a time, and any process lives.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// The tokens remembered, by digest; bounded by their number, and given up when the longest that one
/// may be remembered has passed. Most end then anyway; an end of its own for each would cost every
/// request that finds one.
#[derive(Clone)]
pub(super) struct VerifiedTokens(Cache<TokenDigest, Known, DefaultHashBuilder>);

impl VerifiedTokens {
    pub(super) fn new(entries: u64, lifetime: Duration) -> Self {
        let tokens = Cache::builder()
            .max_capacity(entries)
            .time_to_live(lifetime.min(LONGEST));
        Self(tokens.build_with_hasher(DefaultHashBuilder::default()))
    }

    /// What is known of a token, if it is still good.
    pub(super) fn get(&self, digest: &TokenDigest) -> Option<Known> {
        let known = self.0.get(digest)?;
        if known.is_good(Instant::now()) {
            return Some(known);
        }
        self.0.invalidate(digest);
        None
    }

    pub(super) fn insert(&self, digest: TokenDigest, known: Known) {
        self.0.insert(digest, known);
    }

    /// How many there are, without those that have ended.
    pub(super) fn entries(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_mins(2);

    fn known(good_until: Option<i64>) -> Known {
        let grant = Grant {
            caller: Caller::anonymous(),
            bound_to: None,
            good_until,
        };
        Known::of(grant, LIFETIME, 1000)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_known_until_it_ends_and_not_for_too_long() {
        for (good_until, seconds) in [
            (None, 120),
            (Some(1060), 60),
            (Some(i64::MAX), 120),
            (Some(1001), 1),
        ] {
            let tokens = VerifiedTokens::new(10, LIFETIME);
            let digest = TokenDigest::of("token");
            tokens.insert(digest, known(good_until));
            tokio::time::advance(Duration::from_millis(seconds * 1000 - 1)).await;
            assert!(tokens.get(&digest).is_some(), "{good_until:?}");
            assert!(tokens.get(&TokenDigest::of("tokem")).is_none());
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(tokens.get(&digest).is_none(), "{good_until:?}");
        }
        let tokens = VerifiedTokens::new(10, LIFETIME);
        tokens.insert(TokenDigest::of("token"), known(Some(999)));
        assert!(tokens.get(&TokenDigest::of("token")).is_none());
    }

    /// By the clock of the cache, which no test can turn.
    #[tokio::test]
    async fn what_has_ended_keeps_no_place() {
        let lifetime = Duration::from_millis(20);
        let tokens = VerifiedTokens::new(10, lifetime);
        let grant = Grant {
            caller: Caller::anonymous(),
            bound_to: None,
            good_until: None,
        };
        tokens.insert(TokenDigest::of("token"), Known::of(grant, lifetime, 1000));
        let end = Instant::now() + Duration::from_secs(10);
        while tokens.entries() > 0 {
            assert!(Instant::now() < end, "it is kept");
            tokio::time::sleep(lifetime).await;
        }
    }

    #[test]
    fn a_lifetime_may_be_whatever_can_be_written() {
        for lifetime in [Duration::ZERO, Duration::MAX] {
            let tokens = VerifiedTokens::new(10, lifetime);
            assert!(tokens.get(&TokenDigest::of("token")).is_none());
        }
    }

    #[tokio::test]
    async fn there_are_never_more_than_configured() {
        let tokens = VerifiedTokens::new(10, LIFETIME);
        for number in 0..1000 {
            tokens.insert(TokenDigest::of(&format!("token-{number}")), known(None));
        }
        assert!(tokens.entries() <= 10, "{}", tokens.entries());
    }
}
