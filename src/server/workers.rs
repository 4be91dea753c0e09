//! The threads that serve the connections of API consumers, each on a runtime of its own.
//!
//! A request is read, asked of the core and answered on one thread: nothing of it wakes another
//! one, and the core's connections of a thread (see [`Workers::handles`]) carry in one write what
//! one turn of the thread asks. What is shared beneath (caches, questions under way, limits) takes
//! any thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use futures_util::FutureExt as _;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Dispatch, dispatcher};

/// The worker threads. They end when this is dropped, with whatever they still do.
pub struct Workers {
    workers: Box<[Worker]>,
    stop: CancellationToken,
}

struct Worker {
    handle: Handle,
    /// Connections that it serves.
    load: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts so many threads; zero: one for every two processors that the process may use. One
    /// answers tens of thousands of requests a second, and the rest of the host has work as well;
    /// fewer threads find more to do at each turn, which makes each request cheaper.
    pub fn start(threads: usize) -> io::Result<Self> {
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2)),
            threads => threads,
        };
        let stop = CancellationToken::new();
        let workers = (0..threads).map(|_| Worker::start(&stop));
        Ok(Self {
            workers: workers.collect::<io::Result<_>>()?,
            stop,
        })
    }

    /// The runtimes of all threads, in no special order.
    pub fn handles(&self) -> Vec<Handle> {
        let handles = self.workers.iter().map(|worker| worker.handle.clone());
        handles.collect()
    }

    /// Serves a connection on the thread that has the fewest.
    pub(super) fn spawn(
        &self,
        tasks: &TaskTracker,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        let load = |worker: &&Worker| worker.load.load(Ordering::Relaxed);
        let Some(worker) = self.workers.iter().min_by_key(load) else {
            return; // There is at least one.
        };
        let served = Served::by(&worker.load);
        // Not an `async` block, which would keep two places for the connection.
        let connection = connection.map(move |()| drop(served));
        tasks.spawn_on(connection, &worker.handle);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        for worker in &mut self.workers {
            // One that panicked has said so itself.
            let _ = worker.thread.take().map(JoinHandle::join);
        }
    }
}

impl Worker {
    fn start(stop: &CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = stop.clone();
        // It logs where the thread logs that starts it.
        let log = dispatcher::get_default(Dispatch::clone);
        let thread = thread::Builder::new()
            .name("worker".to_owned())
            .spawn(move || {
                dispatcher::with_default(&log, || runtime.block_on(stop.cancelled()));
                // A file that is still being read is not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            load: Arc::default(),
            thread: Some(thread),
        })
    }
}

/// A connection counted on its thread, even before it runs and when it never does.
struct Served(Arc<AtomicUsize>);

impl Served {
    fn by(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
