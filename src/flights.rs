//! One flight: a thousand requests for one cold key ask the core once.
//!
//! The first to ask asks for all; whoever comes while it is under way waits for the same answer. A
//! first one that goes away does not take the answer from the others: the next of them asks.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use tokio::sync::OnceCell;

/// The questions under way, by what they ask about.
pub(crate) struct Flights<K, V> {
    under_way: Mutex<HashMap<K, Arc<OnceCell<V>>>>,
}

impl<K, V> Default for Flights<K, V> {
    /// No question under way.
    fn default() -> Self {
        Self {
            under_way: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Flights<K, V> {
    /// The answer to the question about `key`: the one under way, or else `ask`.
    pub(crate) async fn join<F>(&self, key: &K, ask: impl FnOnce() -> F) -> V
    where
        F: Future<Output = V>,
    {
        let seat = self.board(key);
        seat.flight.get_or_init(ask).await.clone()
    }

    /// The questions under way.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> usize {
        self.lock().len()
    }

    fn board<'a>(&'a self, key: &'a K) -> Seat<'a, K, V> {
        let mut under_way = self.lock();
        let flight = match under_way.get(key) {
            Some(flight) => flight.clone(),
            None => under_way.entry(key.clone()).or_default().clone(),
        };
        Seat {
            flights: self,
            key,
            flight,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<OnceCell<V>>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a flight. Who leaves takes the flight off the list when it has landed, so that the
/// next request asks anew, or when nobody else is in it.
struct Seat<'a, K: Eq + Hash + Clone, V: Clone> {
    flights: &'a Flights<K, V>,
    key: &'a K,
    flight: Arc<OnceCell<V>>,
}

/// How often a flight is held that nobody is in but the one who leaves: by the list and by him.
const LAST: usize = 2;

impl<K: Eq + Hash + Clone, V: Clone> Drop for Seat<'_, K, V> {
    fn drop(&mut self) {
        let mut under_way = self.flights.lock();
        // A later flight about the same key may have taken the place already.
        let listed = under_way
            .get(self.key)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight));
        if listed && (self.flight.initialized() || Arc::strong_count(&self.flight) == LAST) {
            under_way.remove(self.key);
        } else {
            // Given back while the list is locked, so that the last one sees that he is.
            self.flight = Arc::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_meanwhile_share_one_answer() {
        let flights = Flights::<u32, u32>::default();
        let asked = AtomicUsize::new(0);
        let (answer, gate) = oneshot::channel::<u32>();
        let gate = Mutex::new(Some(gate));
        let ask = || {
            asked.fetch_add(1, Ordering::Relaxed);
            let gate = gate.lock().unwrap().take().unwrap();
            async move { gate.await.unwrap() }
        };
        let all = futures_util::future::join_all((0..50).map(|_| flights.join(&1, ask)));
        let answering = async {
            tokio::task::yield_now().await;
            answer.send(7).unwrap();
        };
        let (answers, ()) = tokio::join!(all, answering);
        assert_eq!(answers, vec![7; 50]);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert_eq!(flights.under_way(), 0);
    }

    #[tokio::test]
    async fn the_first_one_who_leaves_does_not_take_the_answer_along() {
        let flights = Flights::<u32, u32>::default();
        let mut first = Box::pin(flights.join(&1, std::future::pending));
        assert!(futures_util::poll!(&mut first).is_pending());
        let mut second = Box::pin(flights.join(&1, async || 3));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(second.await, 3);
        assert_eq!(flights.under_way(), 0);
    }

    #[tokio::test]
    async fn the_last_to_leave_takes_the_question_off_the_list() {
        let flights = Flights::<u32, u32>::default();
        let mut one = Box::pin(flights.join(&1, std::future::pending));
        let mut other = Box::pin(flights.join(&1, std::future::pending));
        assert!(futures_util::poll!(&mut one).is_pending());
        assert!(futures_util::poll!(&mut other).is_pending());
        drop(one);
        assert_eq!(flights.under_way(), 1);
        drop(other);
        assert_eq!(flights.under_way(), 0);
    }

    #[tokio::test]
    async fn an_answer_is_for_those_who_waited_for_it() {
        let flights = Flights::<u32, u32>::default();
        assert_eq!(flights.join(&1, async || 1).await, 1);
        assert_eq!(flights.join(&1, async || 2).await, 2);
    }
}
