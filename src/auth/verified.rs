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
}

/// The tokens remembered, by digest; bounded by their number.
#[derive(Clone)]
pub(super) struct VerifiedTokens(Cache<TokenDigest, Known, DefaultHashBuilder>);

impl VerifiedTokens {
    pub(super) fn new(entries: u64) -> Self {
        let tokens = Cache::builder().max_capacity(entries);
        Self(tokens.build_with_hasher(DefaultHashBuilder::default()))
    }

    /// What is known of a token, if it is still good.
    pub(super) fn get(&self, digest: &TokenDigest) -> Option<Known> {
        let known = self.0.get(digest)?;
        if Instant::now() < known.good_until {
            return Some(known);
        }
        self.0.invalidate(digest);
        None
    }

    pub(super) fn insert(&self, digest: TokenDigest, known: Known) {
        self.0.insert(digest, known);
    }

    pub(super) fn entries(&self) -> u64 {
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
            let tokens = VerifiedTokens::new(10);
            let digest = TokenDigest::of("token");
            tokens.insert(digest, known(good_until));
            tokio::time::advance(Duration::from_millis(seconds * 1000 - 1)).await;
            assert!(tokens.get(&digest).is_some(), "{good_until:?}");
            assert!(tokens.get(&TokenDigest::of("tokem")).is_none());
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(tokens.get(&digest).is_none(), "{good_until:?}");
        }
        let tokens = VerifiedTokens::new(10);
        tokens.insert(TokenDigest::of("token"), known(Some(999)));
        assert!(tokens.get(&TokenDigest::of("token")).is_none());
    }

    #[tokio::test]
    async fn there_are_never_more_than_configured() {
        let tokens = VerifiedTokens::new(10);
        for number in 0..1000 {
            tokens.insert(TokenDigest::of(&format!("token-{number}")), known(None));
        }
        tokens.0.run_pending_tasks();
        assert!(tokens.entries() <= 10, "{}", tokens.entries());
    }
}
