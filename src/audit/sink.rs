//! A thread that writes lines: those that wait are written together.
//!
//! A thread and not a task, because a file can block; one queue, bounded, because a disk can be
//! slower than the core. When the sink is dropped, what waits is still written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tokio::sync::oneshot;

/// Lines that may wait for the disk; more are lost or refused.
const QUEUE: usize = 8192;
/// Lines written with one call at most.
const BATCH: usize = 512;
/// How often it is looked whether logrotate has moved the file away.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the disk: no longer than a full queue takes on any
/// that works.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks whether the disk is done.
const CLOSE_PAUSE: Duration = Duration::from_millis(2);
/// Who asked for whom is the operator's business and nobody else's.
const FILE_MODE: u32 = 0o640;

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

impl Fate {
    fn decide(self, written: bool) {
        match self {
            // Who does not wait any more has a deadline that passed.
            Self::Told(told) => drop(told.send(written)),
            Self::Counted(_) if written => {}
            Self::Counted(lost) => lost.inc(),
        }
    }
}

/// The way to the writing thread, which ends when this is dropped.
pub(super) struct Sink {
    /// Absent only while it is dropped.
    lines: Option<SyncSender<Line>>,
    thread: JoinHandle<()>,
}

impl Sink {
    /// Appends to a file.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let target = Target::open(path)?;
        Ok(Self::start(target))
    }

    /// Writes to standard output.
    pub(super) fn stdout() -> io::Result<Self> {
        let out = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::start(Target::of(File::from(out))))
    }

    fn start(mut target: Target) -> Self {
        let (sender, lines) = sync_channel(QUEUE);
        let thread = std::thread::spawn(move || write_all(&lines, &mut target));
        Self {
            lines: Some(sender),
            thread,
        }
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
        let sent = self.lines.as_ref().map(|lines| lines.try_send(line));
        match sent {
            Some(Ok(())) => true,
            None | Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) => false,
        }
    }
}

/// The process ends with the requests answered whose lines may still wait.
impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.lines.take());
        let begun = Instant::now();
        while !self.thread.is_finished() && begun.elapsed() < CLOSE_PATIENCE {
            std::thread::sleep(CLOSE_PAUSE);
        }
    }
}

/// The writing thread.
fn write_all(lines: &Receiver<Line>, target: &mut Target) {
    let mut batch = Vec::new();
    // Each with the place in the batch where its line ends.
    let mut fates = Vec::new();
    let mut failing = false;
    while let Ok(first) = lines.recv() {
        for line in std::iter::once(first).chain(lines.try_iter()).take(BATCH) {
            batch.extend_from_slice(&line.bytes);
            fates.push((batch.len(), line.fate));
        }
        let outcome = target.write(&batch);
        // Once: a full disk must not be followed by a full log.
        match &outcome {
            Err(short) if !failing => {
                tracing::error!(error = %short.error, "the audit cannot be written");
            }
            Ok(()) if failing => tracing::info!("the audit is written again"),
            Err(_) | Ok(()) => {}
        }
        failing = outcome.is_err();
        let written = outcome.map_or_else(|short| short.written, |()| batch.len());
        for (end, fate) in fates.drain(..) {
            fate.decide(end <= written);
        }
        batch.clear();
    }
}

/// Where lines go.
struct Target {
    file: File,
    /// Absent: a stream that nobody moves away.
    place: Option<Place>,
    /// The last thing in it is a part of a line, which must not swallow the next one.
    torn: bool,
}

struct Place {
    path: PathBuf,
    looked: Instant,
}

/// Not all of it was written.
#[derive(Debug)]
struct Short {
    written: usize,
    error: io::Error,
}

impl Target {
    fn open(path: &Path) -> io::Result<Self> {
        let place = Place {
            path: path.to_owned(),
            looked: Instant::now(),
        };
        Ok(Self {
            file: append(path)?,
            place: Some(place),
            torn: ends_within_a_line(path),
        })
    }

    fn of(file: File) -> Self {
        Self {
            file,
            place: None,
            torn: false,
        }
    }

    fn write(&mut self, batch: &[u8]) -> Result<(), Short> {
        let nothing = |error| Short { written: 0, error };
        self.follow().map_err(nothing)?;
        if self.torn {
            self.append(b"\n").map_err(|short| nothing(short.error))?;
        }
        self.append(batch)
    }

    /// Opens the file anew where it was moved away.
    fn follow(&mut self) -> io::Result<()> {
        let Some(place) = &mut self.place else {
            return Ok(());
        };
        if place.looked.elapsed() < LOOK_INTERVAL {
            return Ok(());
        }
        place.looked = Instant::now();
        if was_moved(&place.path, &self.file) {
            self.file = append(&place.path)?;
            self.torn = ends_within_a_line(&place.path);
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Short> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let error = match self.file.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(length) => {
                    let (written, left) = rest.split_at(length);
                    self.torn = written.last() != Some(&b'\n');
                    rest = left;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let written = bytes.len() - rest.len();
            return Err(Short { written, error });
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(FILE_MODE);
    options.open(path)
}

/// Whether a file can be appended to, or there is a directory to make it in. Pipes and devices are
/// left alone: to open them is something that others notice.
pub(super) fn look_at(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(there) if there.is_file() || there.is_dir() => {
            File::options().append(true).open(path).map(drop)
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A bare name has an empty parent: it is in the directory that we are in.
            let parent = path.parent().filter(|parent| *parent != Path::new(""));
            parent.unwrap_or(Path::new(".")).metadata().map(drop)
        }
        Err(error) => Err(error),
    }
}

/// Whether the end of the file is a part of a line: an earlier process may have died while it
/// wrote. A file that may not be read is taken to be whole.
fn ends_within_a_line(path: &Path) -> bool {
    let last = || {
        let mut file = File::open(path).ok()?;
        file.seek(SeekFrom::End(-1)).ok()?;
        let mut last = [0];
        file.read_exact(&mut last).ok()?;
        Some(last)
    };
    path.is_file() && last().is_some_and(|last| last != *b"\n")
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
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("audit-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[tokio::test]
    async fn lines_are_appended_and_a_moved_file_is_left() {
        let directory = folder();
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

    #[test]
    fn what_waits_is_written_before_the_end() {
        let directory = folder();
        let path = directory.join("audit.log");
        let lost = IntCounter::new("lost", "lost").unwrap();
        let sink = Sink::file(&path).unwrap();
        for _ in 0..QUEUE / 2 {
            assert!(sink.write_soon(b"line\n".to_vec(), lost.clone()));
        }
        drop(sink);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!((text.lines().count(), lost.get()), (QUEUE / 2, 0));
        assert_eq!(path.metadata().unwrap().mode() & 0o777 & !FILE_MODE, 0);
        std::fs::remove_dir_all(directory).unwrap();
    }

    /// The disk is full in the middle of a line, and has room again.
    #[test]
    fn a_torn_line_swallows_no_other() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut target = Target::of(File::from(OwnedFd::from(ours)));
        let line = |letter: char| format!("{}\n", letter.to_string().repeat(1023)).into_bytes();
        let short = target.write(&line('a').repeat(4096)).unwrap_err();
        assert!(target.write(&line('b')).is_err(), "there is no room");
        let mut seen = vec![0; short.written];
        theirs.read_exact(&mut seen).unwrap();
        let mut whole = short.written / 1024;
        target.write(&line('c')).unwrap();
        drop(target);
        theirs.read_to_end(&mut seen).unwrap();
        let text = String::from_utf8(seen).unwrap();
        whole += usize::from(text.contains("b\n")) + 1;
        let lines: Vec<&str> = text.lines().filter(|line| line.len() == 1023).collect();
        assert_eq!(lines.len(), whole, "what was said to be written is whole");
        assert!(text.ends_with(&format!("\n{}", "c".repeat(1023) + "\n")));
    }

    #[test]
    fn a_line_that_an_earlier_process_left_torn_swallows_no_other() {
        let directory = folder();
        let path = directory.join("audit.log");
        for (before, after) in [
            ("", "line\n"),
            ("whole\n", "whole\nline\n"),
            ("to", "to\nline\n"),
        ] {
            std::fs::write(&path, before).unwrap();
            Target::open(&path).unwrap().write(b"line\n").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
        std::fs::remove_dir_all(directory).unwrap();
    }
}
