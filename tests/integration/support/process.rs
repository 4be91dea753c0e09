//! The real binary, as an operator starts it.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::{PATIENCE, eventually};

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pei-bridge"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command that ends by itself, with variables of our own.
pub async fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let output = command(arguments)
        .envs(environment.iter().copied())
        .output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await
        .unwrap_or_else(|_| panic!("{arguments:?} does not end"))
        .unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command that ends by itself.
pub async fn run(arguments: &[&str]) -> Ended {
    run_with(arguments, &[]).await
}

/// A file with this text, which no other test writes.
pub fn file(suffix: &str, text: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!(
        "{}-{}{suffix}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A service that runs until it is told to stop. Its log is read all the time: a pipe that is full
/// would make it wait.
pub struct Service {
    child: Child,
    log: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
}

impl Service {
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let reading = tokio::spawn({
            let log = log.clone();
            async move {
                while let Some(line) = lines.next_line().await.unwrap() {
                    let mut log = log.lock().unwrap();
                    log.push_str(&line);
                    log.push('\n');
                }
            }
        });
        Self {
            child,
            log,
            reading,
        }
    }

    /// Of the process.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Waits for a line of the log that holds this, and gives it.
    pub async fn until_says(&self, what: &str) -> String {
        eventually(what, async || {
            let log = self.log.lock().unwrap();
            let line = log.lines().find(|line| line.contains(what));
            line.map(str::to_owned)
        })
        .await
    }

    /// SIGTERM, and all that it said until its end.
    pub async fn terminate(self) -> Ended {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(sent.unwrap().success());
        let ended = tokio::time::timeout(PATIENCE, self.child.wait_with_output());
        let output = ended.await.expect("it ends").unwrap();
        self.reading.await.unwrap();
        let stderr = self.log.lock().unwrap().clone();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr,
        }
    }
}
