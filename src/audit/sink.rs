//! A thread that writes lines: those that wait are written together.
//!
//! A thread and not a task, because a file can block; one queue, bounded, because a disk can be
//! slower than the core.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tokio::sync::oneshot;

/// Lines that may wait for the disk; more are lost or refused.
const QUEUE: usize = 8192;
/// Lines written with one call at most.
const BATCH: usize = 512;
/// How often it is looked whether logrotate has moved the file away.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A line on its way, and who wants to know what became of it.
struct Line {
    bytes: Vec<u8>,
    fate: Fate,
}

enum Fate {
    /// Told to the one who waits.
    Told(oneshot::Sender<bool>),
    /// Counted where it is lost.
    Counted(IntCounter),
}

/// The way to the writing thread, which ends when this is dropped.
pub(super) struct Sink(SyncSender<Line>);

impl Sink {
    /// Appends to a file.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let file = Target::open(path)?;
        Ok(Self::start(file))
    }

    /// Writes to standard output.
    pub(super) fn stdout() -> Self {
        Self::start(Target::Stdout)
    }

    fn start(mut target: Target) -> Self {
        let (sender, lines) = sync_channel(QUEUE);
        std::thread::spawn(move || write_all(&lines, &mut target));
        Self(sender)
    }

    /// Writes a line and tells whether it is written.
    pub(super) async fn write_through(&self, bytes: Vec<u8>) -> bool {
        let (told, fate) = oneshot::channel();
        self.send(Line {
            bytes,
            fate: Fate::Told(told),
        }) && fate.await.unwrap_or(false)
    }

    /// Has a line written; `false` where it cannot even wait.
    pub(super) fn write_soon(&self, bytes: Vec<u8>, lost: IntCounter) -> bool {
        self.send(Line {
            bytes,
            fate: Fate::Counted(lost),
        })
    }

    fn send(&self, line: Line) -> bool {
        match self.0.try_send(line) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

/// The writing thread.
fn write_all(lines: &Receiver<Line>, target: &mut Target) {
    let mut batch = Vec::new();
    let mut fates = Vec::new();
    while let Ok(first) = lines.recv() {
        for line in std::iter::once(first).chain(lines.try_iter()).take(BATCH) {
            batch.extend_from_slice(&line.bytes);
            fates.push(line.fate);
        }
        let written = target.write(&batch);
        if let Err(error) = &written {
            tracing::error!(%error, "the audit cannot be written");
        }
        for fate in fates.drain(..) {
            match fate {
                // Who does not wait any more has a deadline that passed.
                Fate::Told(told) => drop(told.send(written.is_ok())),
                Fate::Counted(_) if written.is_ok() => {}
                Fate::Counted(lost) => lost.inc(),
            }
        }
        batch.clear();
    }
}

/// Where lines go.
enum Target {
    File {
        path: PathBuf,
        file: File,
        looked: Instant,
    },
    Stdout,
}

impl Target {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self::File {
            path: path.to_owned(),
            file,
            looked: Instant::now(),
        })
    }

    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(batch)?;
                out.flush()
            }
            Self::File { path, file, looked } => {
                if looked.elapsed() >= LOOK_INTERVAL {
                    *looked = Instant::now();
                    if was_moved(path, file) {
                        *file = OpenOptions::new().append(true).create(true).open(&*path)?;
                    }
                }
                file.write_all(batch)
            }
        }
    }
}

/// Whether another file, or none, stands at the path now.
fn was_moved(path: &Path, file: &File) -> bool {
    match (path.metadata(), file.metadata()) {
        (Ok(there), Ok(ours)) => (there.dev(), there.ino()) != (ours.dev(), ours.ino()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_appended_and_a_moved_file_is_left() {
        let directory = std::env::temp_dir().join(format!("audit-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&directory).unwrap();
        let (path, moved) = (directory.join("audit.log"), directory.join("audit.log.1"));
        let sink = Sink::file(&path).unwrap();
        assert!(sink.write_through(b"one\n".to_vec()).await);
        std::fs::rename(&path, &moved).unwrap();
        // The look at the path comes within a second; every line is in one of the two files.
        let mut lines = 1;
        while !path.exists() {
            assert!(sink.write_through(b"more\n".to_vec()).await);
            lines += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let read = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!(read(&moved) + read(&path), lines);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn a_sink_that_cannot_be_written_says_so() {
        // Every write to this device fails for want of space.
        let sink = Sink::file(Path::new("/dev/full")).unwrap();
        assert!(!sink.write_through(b"one\n".to_vec()).await);
        let lost = IntCounter::new("lost", "lost").unwrap();
        assert!(sink.write_soon(b"two\n".to_vec(), lost.clone()));
        while lost.get() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
