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

    /// The answer to a question about `key` that was put no earlier than this call. One that is
    /// under way may be answered with what has changed since; all who come meanwhile share the next.
    pub(crate) async fn join_next<F>(&self, key: &K, ask: impl Fn() -> F) -> V
    where
        F: Future<Output = V>,
    {
        let seat = self.board(key);
        let mut asked = false;
        let landed = seat.flight.get_or_init(|| {
            asked = true;
            ask()
        });
        let answer = landed.await.clone();
        if asked || seat.is_first {
            return answer;
        }
        drop(seat);
        self.join(key, ask).await
    }

    fn board<'a>(&'a self, key: &'a K) -> Seat<'a, K, V> {
        let mut under_way = self.lock();
        let known = under_way.get(key).cloned();
        let is_first = known.is_none();
        let flight = known.unwrap_or_else(|| under_way.entry(key.clone()).or_default().clone());
        Seat {
            flights: self,
            key,
            flight,
            is_first,
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
    /// Nobody was in it before.
    is_first: bool,
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

    fn under_way(flights: &Flights<u32, u32>) -> usize {
        flights.lock().len()
    }

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
        assert_eq!(under_way(&flights), 0);
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
        assert_eq!(under_way(&flights), 0);
    }

    #[tokio::test]
    async fn the_last_to_leave_takes_the_question_off_the_list() {
        let flights = Flights::<u32, u32>::default();
        let mut one = Box::pin(flights.join(&1, std::future::pending));
        let mut other = Box::pin(flights.join(&1, std::future::pending));
        assert!(futures_util::poll!(&mut one).is_pending());
        assert!(futures_util::poll!(&mut other).is_pending());
        drop(one);
        assert_eq!(under_way(&flights), 1);
        drop(other);
        assert_eq!(under_way(&flights), 0);
    }

    #[tokio::test]
    async fn an_answer_is_for_those_who_waited_for_it() {
        let flights = Flights::<u32, u32>::default();
        assert_eq!(flights.join(&1, async || 1).await, 1);
        assert_eq!(flights.join(&1, async || 2).await, 2);
    }

    #[tokio::test]
    async fn who_wants_no_older_answer_shares_the_next() {
        let flights = Flights::<u32, u32>::default();
        let asked = AtomicUsize::new(0);
        let gates: [_; 2] = std::array::from_fn(|_| tokio::sync::Semaphore::new(0));
        let ask = || {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            let gate = &gates[number];
            async move {
                let _ = gate.acquire().await.unwrap();
                u32::try_from(number).unwrap()
            }
        };
        let mut first = Box::pin(flights.join_next(&1, ask));
        assert!(futures_util::poll!(&mut first).is_pending());
        let late = futures_util::future::join_all((0..50).map(|_| flights.join_next(&1, ask)));
        let mut late = Box::pin(late);
        assert!(futures_util::poll!(&mut late).is_pending());
        for gate in &gates {
            gate.add_permits(1);
        }
        assert_eq!(first.await, 0);
        assert_eq!(late.await, vec![1; 50]);
        assert_eq!(under_way(&flights), 0);
    }
}
