//! What every test stands on: a simulated core and a bridge on free ports of the loopback address,
//! a client whose every answer is checked, and the control listener.

pub mod answer;
pub mod client;
pub mod control;
pub mod openapi;
pub mod process;
pub mod raw;
pub mod schemas;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pei_bridge::app::App;
use pei_bridge::config::{AuthMode, Config};
use pei_bridge::tac::TacTable;
use serde_json::Value;
use simcore::{Options, Simcore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use answer::Answer;
use client::{Ask, Connection};
use control::Control;

/// Far beyond what anything here takes on a loaded machine; ends a test that waits in vain.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// A deadline for requests that are meant to reach it.
pub const SHORT_DEADLINE: Duration = Duration::from_millis(600);

/// Looks until there is something to see.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// A configuration for these core functions, each address playing all of them, on free ports.
pub fn config(cores: &[SocketAddr]) -> Config {
    let mut config = Config::default();
    config.auth.mode = AuthMode::None;
    config.consent.mode = pei_bridge::config::ConsentMode::None;
    config.api.listen.set_port(0);
    config.admin.listen.set_port(0);
    // A test that means to reach the deadline sets its own; no other may reach it.
    config.api.request_timeout = PATIENCE;
    config.api.body_read_timeout = PATIENCE;
    let roots: Vec<_> = cores
        .iter()
        .map(|core| format!("http://{core}").parse().unwrap())
        .collect();
    config.core.udm.clone_from(&roots);
    config.core.bsf.clone_from(&roots);
    config.core.upf = roots;
    config
}

/// A bridge in this process.
pub struct Bridge {
    pub api: SocketAddr,
    pub admin: SocketAddr,
    /// Where the core's notifications are taken.
    pub callback: Option<SocketAddr>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Bridge {
    /// Starts with the TAC table of the fixtures, and does not wait for the core.
    pub fn start(config: &Config) -> Self {
        config.validate().unwrap();
        let table = TacTable::read(simcore::TAC_CSV.as_bytes(), 0).unwrap();
        let app = App::build_with(config, table).unwrap();
        Self {
            api: app.api_address(),
            admin: app.admin_address(),
            callback: app.callback_address(),
            stop: app.stop_token(),
            running: tokio::spawn(app.run()),
        }
    }

    pub async fn until_ready(&self) {
        eventually("/readyz is 200", async || {
            (self.admin("/readyz").await.0 == 200).then_some(())
        })
        .await;
    }

    /// Tells it to drain.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until `run` has returned.
    pub async fn ended(mut self) {
        tokio::time::timeout(PATIENCE, &mut self.running)
            .await
            .expect("the bridge ends")
            .unwrap();
    }

    /// Status and text of a page of the admin listener.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        client::get(self.admin, path).await
    }

    /// The sum of all samples of a metric whose labels hold all of `labels`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (status, text) = self.admin("/metrics").await;
        assert_eq!(status, 200);
        text.lines()
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| {
                let (family, rest) = series.split_once('{').unwrap_or((series, ""));
                family == name && labels.iter().all(|label| rest.contains(label))
            })
            .map(|(_, value)| value.parse::<f64>().unwrap())
            .sum()
    }

    /// One request over a connection of its own.
    pub async fn send(&self, ask: &Ask) -> Answer {
        Connection::http1(self.api).await.send(ask).await
    }

    /// `retrieve-identifier`
    pub async fn ask(&self, body: &Value) -> Answer {
        self.send(&Ask::identifier(body)).await
    }

    /// `retrieve-type`
    pub async fn ask_type(&self, body: &Value) -> Answer {
        self.send(&Ask::device_type(body)).await
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop.cancel();
        self.running.abort();
    }
}

/// A bridge and its core.
pub struct Rig {
    pub core: Simcore,
    pub control: Control,
    pub bridge: Bridge,
}

impl Rig {
    /// The named subscribers and the defaults.
    pub async fn start() -> Self {
        Self::with(Options::default(), |_| {}).await
    }

    /// The named subscribers, and settings that differ from the defaults.
    pub async fn configured(change: impl FnOnce(&mut Config)) -> Self {
        Self::with(Options::default(), change).await
    }

    /// No cache and a deadline that can be waited for: every request shows what the core does.
    pub async fn uncached() -> Self {
        Self::configured(without_caches).await
    }

    pub async fn with(options: Options, change: impl FnOnce(&mut Config)) -> Self {
        let core = Simcore::start(options).await.unwrap();
        let mut config = config(&[core.core_addr()]);
        change(&mut config);
        let bridge = Bridge::start(&config);
        bridge.until_ready().await;
        let control = Control(core.control_addr());
        Self {
            core,
            control,
            bridge,
        }
    }

    pub async fn ask(&self, body: &Value) -> Answer {
        self.bridge.ask(body).await
    }

    pub async fn ask_type(&self, body: &Value) -> Answer {
        self.bridge.ask_type(body).await
    }
}

/// Asks the core for every request, and gives it little time.
pub fn without_caches(config: &mut Config) {
    config.cache.equipment = Duration::ZERO;
    config.cache.none_found = Duration::ZERO;
    config.api.request_timeout = SHORT_DEADLINE;
}
