//! How the connections of an endpoint are kept open, and opened again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::super::Settings;
use super::super::connection::{Connection, End};
use super::super::metrics::Counted;
use super::slot::Slot;
use super::{Endpoint, Shared};

impl Endpoint {
    /// Starts to keep all connections open.
    pub(in super::super) fn keep_open(
        endpoint: &Arc<Self>,
        shared: &Arc<Shared>,
        tasks: &mut JoinSet<()>,
    ) {
        for (index, slot) in endpoint.slots.iter().enumerate() {
            let (endpoint, shared) = (Arc::clone(endpoint), Arc::clone(shared));
            let keep = async move {
                if let Some(slot) = endpoint.slots.get(index) {
                    endpoint.keep(slot, &shared).await;
                }
            };
            tasks.spawn_on(keep, &slot.driver);
        }
    }

    /// Keeps one slot filled, for as long as its client lives and the endpoint is not retired; then
    /// lets the requests under way end.
    async fn keep(&self, slot: &Slot, shared: &Shared) {
        let mut draining = JoinSet::new();
        self.keep_filled(slot, shared, &mut draining).await;
        while draining.join_next().await.is_some() {}
    }

    async fn keep_filled(&self, slot: &Slot, shared: &Shared, draining: &mut JoinSet<()>) {
        let settings = &shared.settings;
        let mut backoff = Backoff::new(settings);
        loop {
            let begun = Instant::now();
            let connection = tokio::select! {
                connection = self.attempt(shared) => connection,
                () = self.retired() => return,
            };
            if let Some(mut connection) = connection {
                let established = Instant::now();
                let end = tokio::select! {
                    end = self.serve(slot, &mut connection, shared) => end,
                    () = self.retired() => End::Retired,
                };
                slot.empty();
                if matches!(end, End::GoAway | End::Retired) {
                    let counted = Counted::new(&shared.metrics.draining);
                    draining.spawn(async move {
                        connection.drain().await;
                        drop(counted);
                    });
                }
                if end == End::Retired {
                    return;
                }
                // The first loss is made good at once; a peer that takes connections only to close
                // them is not at fault less than one that takes none.
                if established.elapsed() >= settings.reconnect_max {
                    backoff = Backoff::new(settings);
                    continue;
                }
            }
            while draining.try_join_next().is_some() {}
            tokio::select! {
                () = self.pause(begun, settings, &mut backoff) => {}
                () = self.retired() => return,
            }
        }
    }

    /// Waits until the next attempt is due, or somebody needs it.
    async fn pause(&self, begun: Instant, settings: &Settings, backoff: &mut Backoff) {
        sleep_until(begun + settings.reconnect_min).await;
        tokio::select! {
            () = self.wanted.notified() => {}
            () = sleep_until(begun + backoff.next()) => {}
        }
    }

    /// Ends when the endpoint is no longer one of the instances.
    async fn retired(&self) {
        // The sender lives as long as we do.
        let _ = self.retired.subscribe().wait_for(|&retired| retired).await;
    }

    /// One attempt to connect, whose outcome is told to whoever waits for it.
    async fn attempt(&self, shared: &Shared) -> Option<Connection> {
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let _counted = Counted::new(&shared.metrics.connecting);
        match Connection::open(&self.root, &shared.settings).await {
            Ok(connection) => Some(connection),
            Err(error) => {
                self.failed.fetch_max(number, Ordering::AcqRel);
                shared.attempted.notify_waiters();
                if !self.down.swap(true, Ordering::Relaxed) {
                    let (nf, endpoint) = (shared.nf.name(), self.root.authority());
                    tracing::warn!(nf, %endpoint, %error, "core endpoint is not reachable");
                }
                None
            }
        }
    }

    /// Offers the connection for new streams until it takes none.
    async fn serve(&self, slot: &Slot, connection: &mut Connection, shared: &Shared) -> End {
        let (nf, endpoint) = (shared.nf.name(), self.root.authority());
        slot.fill(connection.sender());
        let _counted = Counted::new(&shared.metrics.ready);
        shared.established.store(true, Ordering::Release);
        shared.attempted.notify_waiters();
        if self.down.swap(false, Ordering::Relaxed) {
            // It is not what it was.
            self.health.good();
            // What one slot found out is good news for the others.
            self.wanted.notify_waiters();
            tracing::info!(nf, %endpoint, "core endpoint is reachable again");
        } else {
            tracing::debug!(nf, %endpoint, "connection to core endpoint established");
        }
        let end = connection.run(&shared.settings).await;
        tracing::info!(nf, %endpoint, ?end, "connection to core endpoint takes no more requests");
        end
    }
}

/// Doubling waits with jitter, so that neither one peer nor all bridges at once are stormed.
struct Backoff {
    wait: Duration,
    longest: Duration,
}

impl Backoff {
    fn new(settings: &Settings) -> Self {
        Self {
            wait: settings.reconnect_min,
            longest: settings.reconnect_max,
        }
    }

    /// The next wait: between the half and the whole of a time that doubles up to its bound.
    fn next(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(self.longest);
        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_bound_with_jitter() {
        let mut backoff = Backoff::new(&Settings::default());
        for expected in [20, 40, 80, 160, 320, 500, 500] {
            let wait = backoff.next();
            let whole = Duration::from_millis(expected);
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
        }
    }
}
