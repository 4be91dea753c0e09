//! The token that came last on a connection: a consumer sends the same one with each request until it
//! ends, and its digest costs more than all else that is done to know it again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::credentials::TokenDigest;
use super::verified::Known;

/// The one token that a connection is remembered by, once it was found good. HTTP keeps it there as
/// well (RFC 7541 2.3.2); it is wiped when another one takes its place and when the connection ends.
#[derive(Default)]
pub struct LastToken(Mutex<Option<Kept>>);

/// Longer ones are not kept, in bytes: what all connections hold has to stay small.
const LONGEST: usize = 4 * 1024;

struct Kept {
    token: Zeroizing<Box<[u8]>>,
    digest: TokenDigest,
    known: Known,
}

impl LastToken {
    /// What is known of this token, if it is the one and still good. Compared in constant time:
    /// what stands before us may send the requests of several consumers over one connection.
    pub(super) fn get(&self, token: &str) -> Option<(TokenDigest, Known)> {
        let kept = self.kept();
        let kept = kept.as_ref()?;
        verify_slices_are_equal(&kept.token, token.as_bytes()).ok()?;
        let is_good = kept.known.is_good(Instant::now());
        is_good.then(|| (kept.digest, kept.known.clone()))
    }

    /// From now on it is this one.
    pub(super) fn set(&self, token: &str, digest: TokenDigest, known: &Known) {
        if token.len() > LONGEST {
            return;
        }
        *self.kept() = Some(Kept {
            token: Zeroizing::new(token.as_bytes().into()),
            digest,
            known: known.clone(),
        });
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::caller::Caller;
    use super::super::claims::Grant;
    use super::*;

    fn known() -> Known {
        let grant = Grant {
            caller: Caller::anonymous(),
            bound_to: None,
            good_until: None,
        };
        Known::of(grant, Duration::from_mins(2), 1000)
    }

    fn set(last: &LastToken, token: &str) {
        last.set(token, TokenDigest::of(token), &known());
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_token_is_known_again_until_it_ends() {
        let last = LastToken::default();
        assert!(last.get("token").is_none());
        set(&last, "token");
        for other in ["tokem", "toke", "token1", ""] {
            assert!(last.get(other).is_none(), "{other}");
        }
        let (digest, _) = last.get("token").unwrap();
        assert!(digest == TokenDigest::of("token"));
        tokio::time::advance(Duration::from_secs(119)).await;
        assert!(last.get("token").is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(last.get("token").is_none());
    }

    #[tokio::test]
    async fn another_one_takes_its_place() {
        let last = LastToken::default();
        set(&last, "one");
        set(&last, "other");
        assert!(last.get("one").is_none());
        assert!(last.get("other").is_some());
        let long = "a".repeat(LONGEST + 1);
        set(&last, &long);
        assert!(last.get(&long).is_none());
        assert!(last.get("other").is_some());
    }
}
