//! Room for the core's connections. Where it is short, whoever brings nothing goes.
//!
//! A connection costs its peer nothing: one that answers pings could hold its place for ever, and
//! some hundreds of them would keep the core out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a connection may bring nothing though its place is needed.
const IDLE: Duration = Duration::from_secs(5);

/// All places.
pub(super) struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    by_number: HashMap<u64, Occupant>,
    /// Numbers given so far.
    given: u64,
}

/// Who has a place.
struct Occupant {
    /// Whether it ever brought a notification that was taken. Who did goes after who did not: what
    /// the core has open is to outlast a flood, and a core that leaves one connection open for each
    /// notification is not to keep itself out.
    is_of_core: bool,
    /// Requests that are under way.
    open: usize,
    /// When it came, or brought the last one.
    since: Instant,
    leave: CancellationToken,
}

/// A request on a connection, until it is dropped.
pub(super) struct Stream<'a>(&'a Place);

/// A place, until it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    leave: CancellationToken,
}

impl Occupant {
    fn is_idle(&self) -> bool {
        self.open == 0 && self.since.elapsed() >= IDLE
    }
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::default(),
        })
    }

    /// A place, if need be that of another; `None` where nobody can be asked to go.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = self.taken();
        if taken.by_number.len() >= self.most {
            let idle = taken.by_number.iter();
            let idle = idle.filter(|(_, occupant)| occupant.is_idle());
            let (&number, _) =
                idle.min_by_key(|(_, occupant)| (occupant.is_of_core, occupant.since))?;
            let goes = taken.by_number.remove(&number)?;
            goes.leave.cancel();
        }
        taken.given += 1;
        let (number, leave) = (taken.given, CancellationToken::new());
        let occupant = Occupant {
            is_of_core: false,
            open: 0,
            since: Instant::now(),
            leave: leave.clone(),
        };
        taken.by_number.insert(number, occupant);
        Some(Place {
            places: self.clone(),
            number,
            leave,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// It brings a request.
    pub(super) fn open(&self) -> Stream<'_> {
        let mut taken = self.places.taken();
        if let Some(occupant) = taken.by_number.get_mut(&self.number) {
            occupant.open += 1;
        }
        Stream(self)
    }

    /// It brought a notification that was taken.
    pub(super) fn used(&self) {
        let mut taken = self.places.taken();
        if let Some(occupant) = taken.by_number.get_mut(&self.number) {
            occupant.is_of_core = true;
            occupant.since = Instant::now();
        }
    }

    /// Cancelled when another one takes the place.
    pub(super) fn lost(&self) -> &CancellationToken {
        &self.leave
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let mut taken = self.0.places.taken();
        if let Some(occupant) = taken.by_number.get_mut(&self.0.number) {
            occupant.open = occupant.open.saturating_sub(1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_brings_nothing_goes_first() {
        let places = Places::new(3);
        let [core, old, young] = [(); 3].map(|()| places.take().unwrap());
        core.used();
        assert!(places.take().is_none(), "each may have something to say");
        pass(IDLE / 2).await;
        drop(young);
        let young = places.take().unwrap();
        pass(IDLE / 2).await;
        core.used();
        let first = places.take().unwrap();
        assert!(old.lost().is_cancelled());
        assert!(places.take().is_none());
        pass(IDLE / 2).await;
        let _second = places.take().unwrap();
        assert!(young.lost().is_cancelled());
        // Who left gives nothing back a second time.
        drop((old, young));
        assert!(places.take().is_none());
        first.used();
        pass(IDLE).await;
        let third = places.take().unwrap();
        assert!(!core.lost().is_cancelled(), "the second brought nothing");
        third.used();
        let _fourth = places.take().unwrap();
        assert!(core.lost().is_cancelled(), "longer ago than all others");
        assert!(!first.lost().is_cancelled());
    }

    /// Some cores open a connection for each notification, and leave it open.
    #[tokio::test(start_paused = true)]
    async fn the_core_does_not_keep_itself_out() {
        let places = Places::new(2);
        let [old, young] = [(); 2].map(|()| places.take().unwrap());
        old.used();
        pass(IDLE / 2).await;
        young.used();
        assert!(places.take().is_none(), "each may have more to say");
        let speaking = old.open();
        pass(IDLE).await;
        let next = places.take().unwrap();
        assert!(young.lost().is_cancelled() && !old.lost().is_cancelled());
        next.used();
        assert!(places.take().is_none(), "what is being said is heard");
        drop(speaking);
        let _last = places.take().unwrap();
        assert!(old.lost().is_cancelled());
    }
}
