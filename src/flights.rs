//! One flight: a thousand requests for one cold key ask the core once.
//!
//! The first to ask brings the question; whoever comes while it is under way waits for the same
//! answer. The question lives as long as anybody waits for it: a consumer that goes away does not
//! take it from the others, and the last one to go cancels it.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};

type Question<V> = Pin<Box<dyn Future<Output = V> + Send>>;

/// The questions under way, by what they ask about.
pub(crate) struct Flights<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    under_way: Arc<Mutex<UnderWay<K, V>>>,
}

struct UnderWay<K, V: Clone> {
    next_id: u64,
    by_key: HashMap<K, (u64, WeakShared<Question<V>>)>,
}

impl<K, V> Default for Flights<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// No question under way.
    fn default() -> Self {
        let under_way = UnderWay {
            next_id: 0,
            by_key: HashMap::new(),
        };
        Self {
            under_way: Arc::new(Mutex::new(under_way)),
        }
    }
}

impl<K, V> Flights<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The answer to the question about `key`: the one under way, or else `ask`.
    pub(crate) async fn join<F>(&self, key: &K, ask: impl FnOnce() -> F) -> V
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.board(key, ask).await
    }

    fn board<F>(&self, key: &K, ask: impl FnOnce() -> F) -> Shared<Question<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let joined = under_way
            .by_key
            .get(key)
            .and_then(|(_, weak)| weak.upgrade());
        if let Some(question) = joined {
            return question;
        }
        let id = under_way.next_id;
        under_way.next_id += 1;
        let landing = Landing {
            under_way: self.under_way.clone(),
            key: key.clone(),
            id,
        };
        let question = ask();
        let question: Question<V> = Box::pin(async move {
            let _landing = landing;
            question.await
        });
        let question = question.shared();
        if let Some(weak) = question.downgrade() {
            under_way.by_key.insert(key.clone(), (id, weak));
        }
        question
    }
}

/// Takes the question off the list when it is answered, or when nobody waits for it any more.
struct Landing<K: Eq + Hash, V: Clone> {
    under_way: Arc<Mutex<UnderWay<K, V>>>,
    key: K,
    id: u64,
}

impl<K: Eq + Hash, V: Clone> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A later question about the same key may have taken the place already.
        if under_way
            .by_key
            .get(&self.key)
            .is_some_and(|(id, _)| *id == self.id)
        {
            under_way.by_key.remove(&self.key);
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
        let flights = Arc::new(Flights::<u32, u32>::default());
        let asked = Arc::new(AtomicUsize::new(0));
        let (answer, gate) = oneshot::channel::<u32>();
        let gate = Arc::new(Mutex::new(Some(gate)));
        let waiting = (0..50).map(|_| {
            let (flights, asked, gate) = (flights.clone(), asked.clone(), gate.clone());
            let ask = move || {
                asked.fetch_add(1, Ordering::Relaxed);
                let gate = gate.lock().unwrap().take().unwrap();
                async move { gate.await.unwrap() }
            };
            async move { flights.join(&1, ask).await }
        });
        let all = tokio::spawn(futures_util::future::join_all(waiting));
        tokio::task::yield_now().await;
        answer.send(7).unwrap();
        assert_eq!(all.await.unwrap(), vec![7; 50]);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(flights.under_way.lock().unwrap().by_key.is_empty());
    }

    #[tokio::test]
    async fn one_who_leaves_does_not_take_the_answer_along() {
        let flights = Flights::<u32, u32>::default();
        let (answer, gate) = oneshot::channel::<u32>();
        let first = flights.board(&1, move || async move { gate.await.unwrap() });
        let second = flights.board(&1, || async { unreachable!("joined the first") });
        drop(first);
        answer.send(3).unwrap();
        assert_eq!(second.await, 3);
    }

    #[tokio::test]
    async fn the_last_to_leave_cancels_the_question() {
        let flights = Flights::<u32, u32>::default();
        let (mut held, gate) = oneshot::channel::<u32>();
        drop(flights.board(&1, move || async move { gate.await.unwrap() }));
        held.closed().await;
        assert!(flights.under_way.lock().unwrap().by_key.is_empty());
        assert_eq!(flights.join(&1, || async { 5 }).await, 5);
    }
}
