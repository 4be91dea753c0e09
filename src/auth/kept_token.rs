//! The token that is kept with a connection: a consumer sends the same one with each request until it
//! ends, and its digest costs more than all else that is done to know it again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::credentials::TokenDigest;
use super::verified::Known;

/// The one token that is kept, once it was found good. HTTP keeps it there as well (RFC 7541 2.3.2);
/// it is wiped when another one takes its place and when the connection ends. Where several take
/// turns, the one that is kept stays while it is good.
#[derive(Default)]
pub struct KeptToken(Mutex<Option<Kept>>);

/// Longer ones are not kept, in bytes: what all connections hold has to stay small.
const LONGEST: usize = 4 * 1024;

struct Kept {
    token: Zeroizing<Box<[u8]>>,
    digest: TokenDigest,
    known: Known,
}

impl KeptToken {
    /// What is known of this token, if it is the one and still good. Compared in constant time:
    /// what stands before us may send the requests of several consumers over one connection.
    pub(super) fn get(&self, token: &str) -> Option<(TokenDigest, Known)> {
        let kept = self.kept();
        let kept = kept.as_ref()?;
        verify_slices_are_equal(&kept.token, token.as_bytes()).ok()?;
        let is_good = kept.known.is_good(Instant::now());
        is_good.then(|| (kept.digest, kept.known.clone()))
    }

    /// From now on it is this one, unless another one is still good.
    pub(super) fn set(&self, token: &str, digest: TokenDigest, known: &Known) {
        let mut kept = self.kept();
        let now = Instant::now();
        if token.len() > LONGEST || kept.as_ref().is_some_and(|kept| kept.known.is_good(now)) {
            return;
        }
        *kept = Some(Kept {
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

    fn set(place: &KeptToken, token: &str) {
        place.set(token, TokenDigest::of(token), &known());
    }

    #[tokio::test(start_paused = true)]
    async fn the_kept_token_is_known_again_until_it_ends() {
        let kept = KeptToken::default();
        assert!(kept.get("token").is_none());
        set(&kept, "token");
        for other in ["tokem", "toke", "token1", ""] {
            assert!(kept.get(other).is_none(), "{other}");
        }
        let (digest, _) = kept.get("token").unwrap();
        assert!(digest == TokenDigest::of("token"));
        tokio::time::advance(Duration::from_secs(119)).await;
        assert!(kept.get("token").is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(kept.get("token").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn another_one_takes_its_place_when_it_has_ended() {
        let kept = KeptToken::default();
        set(&kept, "one");
        set(&kept, "other");
        assert!(kept.get("one").is_some());
        assert!(kept.get("other").is_none());
        tokio::time::advance(Duration::from_mins(2)).await;
        set(&kept, &"a".repeat(LONGEST + 1));
        set(&kept, "other");
        assert!(kept.get("one").is_none());
        assert!(kept.get("other").is_some());
    }
}
