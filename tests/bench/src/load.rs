//! The load generator: wrk, one thread, kept connections.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Result;
use crate::workplace::Workplace;

/// Says what to ask and prints the line that is read here.
const SCRIPT: &str = include_str!("load.lua");

/// What is asked; the names are those of the script.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Question<'a> {
    /// The API of the bridge, without a token.
    Open,
    /// The same, with a token.
    Bridge(&'a str),
    /// The same of another version, which comes first.
    Version(&'a str, &'a str),
    /// What the bridge would ask the core.
    Core,
}

/// A load, the same for all contenders.
#[derive(Debug)]
pub(crate) struct Load {
    script: PathBuf,
    connections: usize,
    subscribers: u64,
}

/// What came of a turn of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) requests: f64,
    pub(crate) per_second: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    /// Microseconds.
    pub(crate) p99: f64,
}

impl Load {
    pub(crate) fn new(workplace: &Workplace, connections: usize, subscribers: u64) -> Result<Self> {
        Ok(Self {
            script: workplace.write("load.lua", SCRIPT)?,
            connections,
            subscribers,
        })
    }

    /// Asks as fast as the answers come, until `turn` has passed.
    pub(crate) fn run(
        &self,
        address: SocketAddr,
        question: Question<'_>,
        turn: Duration,
    ) -> Result<Outcome> {
        let (name, token) = match question {
            Question::Open => ("bridge", None),
            Question::Bridge(token) => ("bridge", Some(token)),
            Question::Version(version, token) => (version, Some(token)),
            Question::Core => ("core", None),
        };
        let output = Command::new("wrk")
            .args(["--threads", "1", "--connections"])
            .arg(self.connections.to_string())
            .args(["--duration", &format!("{}s", turn.as_secs()), "--script"])
            .arg(&self.script)
            .arg(format!("http://{address}/"))
            .args(["--", name, &self.subscribers.to_string()])
            .args(token)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("wrk cannot be started: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        read(&text).ok_or(format!("the load did not pass unharmed:\n{text}").into())
    }
}

/// Reads the script's line; `None` where it is missing or tells of failed requests.
fn read(text: &str) -> Option<Outcome> {
    let line = text.lines().find_map(|line| line.strip_prefix("load "))?;
    let value = |name: &str| -> Option<f64> {
        let mut pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.find(|(known, _)| *known == name)?.1.parse().ok()
    };
    let requests = value("requests")?;
    let unharmed = value("failed")? < 0.5 && requests > 0.5;
    unharmed.then_some(Outcome {
        requests,
        per_second: requests / value("duration")? * 1e6,
        p50: value("p50")?,
        p99: value("p99")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_script_is_read() {
        let text = "Running 5s test\nload requests=1000 failed=0 duration=500000 p50=20 p99=30\n";
        let expected = Outcome {
            requests: 1000.0,
            per_second: 2000.0,
            p50: 20.0,
            p99: 30.0,
        };
        assert_eq!(read(text), Some(expected));
        assert_eq!(read(&text.replace("failed=0", "failed=1")), None);
        assert_eq!(read(&text.replace("requests=1000", "requests=0")), None);
        assert_eq!(read("unable to connect"), None);
    }
}
