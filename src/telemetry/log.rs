//! The log: lines on standard error.
//!
//! Invariant: a diagnostic never ends or delays work. The lines are queued, and a thread writes them. A line that cannot be written
//! (nobody reads the pipe any more, or the disk is full) is lost. So is a line that finds the queue full, because the reader of the
//! pipe has stopped. Lost lines are counted (`caxton_log_lines_lost_total`), and the log says how many as soon as it can be written
//! again.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::EnvFilter;

/// The environment variable with the filter.
const FILTER: &str = "CAXTON_LOG";
/// It logs what clients do wrong as errors of the server. A filter may name it all the same.
const QUIET: &str = "actix_http::h1::dispatcher=off";
/// Bytes of the lines that wait to be written.
const WAITING_BYTES: usize = 1 << 20;
/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Logs to standard error, filtered by `CAXTON_LOG` (default `info`); as JSON when asked.
pub fn log(json: bool) -> io::Result<()> {
    install(json, "info")
}

/// Logs what has `level` or a more severe one, unless `CAXTON_LOG` has another filter.
pub fn log_at(level: &str) -> io::Result<()> {
    install(false, level)
}

/// Writes a line to standard error as it is, whatever the filter.
pub fn say(line: &str) {
    let line = format!("{line}\n");
    match LOG.get() {
        Some(log) => log.put(line.as_bytes()),
        // The command does not log. If nobody can read its last line, its exit status still says what happened.
        None => drop(io::stderr().write_all(line.as_bytes())),
    }
}

/// Waits until the queued lines are written, but no longer than a second: a reader that has stopped must not keep the process.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.flush(LAST_LINES);
    }
}

/// The lines that were lost since the process began.
pub(super) fn lost() -> u64 {
    LOG.get().map_or(0, |log| log.lost.load(Ordering::Relaxed))
}

fn install(json: bool, default: &str) -> io::Result<()> {
    let default = || EnvFilter::new(format!("{default},actix_server=warn,{QUIET}"));
    let wanted = std::env::var(FILTER).ok().filter(|filter| !filter.is_empty());
    let read = wanted
        .as_deref()
        // Directives that come later count.
        .map(|filter| EnvFilter::try_new(format!("{QUIET},{filter}")))
        .transpose();
    let (filter, wrong) = match read {
        Ok(filter) => (filter.unwrap_or_else(default), None),
        Err(error) => (default(), Some(error)),
    };
    start_thread()?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(|| Line)
        // It would print them to standard error by itself, and panic where that cannot be written.
        .log_internal_errors(false);
    let installed = if json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
    installed.map_err(io::Error::other)?;
    std::panic::set_hook(Box::new(report));
    if let Some(error) = wrong {
        tracing::warn!(%error, "{FILTER} is no filter, so the default counts");
    }
    Ok(())
}

/// Logs a panic. The standard hook would wait for the reader of standard error.
fn report(panic: &PanicHookInfo<'_>) {
    let what = panic.payload_as_str().unwrap_or("no text");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture(); // if RUST_BACKTRACE asks for it
    tracing::error!(place, thread = thread.name(), %backtrace, "panicked: {what}");
    flush();
}

static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Default)]
struct Log {
    waiting: Mutex<Waiting>,
    /// Notified when a line was queued.
    queued: Condvar,
    /// Notified when no line is left.
    done: Condvar,
    lost: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    /// The bytes of `lines` and of the line that is being written.
    bytes: usize,
}

/// Starts the thread that writes, once for the process.
fn start_thread() -> io::Result<()> {
    let mut first = false;
    let log = LOG.get_or_init(|| {
        first = true;
        Log::default()
    });
    if first {
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(|| log.write_to(|line| io::stderr().write_all(line)))?;
    }
    Ok(())
}

impl Log {
    fn put(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.bytes + line.len() > WAITING_BYTES {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.to_vec());
        self.queued.notify_one();
    }

    /// Writes the lines in their order, until the process ends.
    fn write_to(&self, write: impl Fn(&[u8]) -> io::Result<()>) {
        let mut told = 0;
        let mut waiting = self.waiting.lock();
        loop {
            let Some(line) = waiting.lines.pop_front() else {
                self.done.notify_all();
                self.queued.wait(&mut waiting);
                continue;
            };
            drop(waiting);
            let written = write(&line);
            if written.is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
            waiting = self.waiting.lock();
            waiting.bytes -= line.len();
            let lost = self.lost.load(Ordering::Relaxed);
            // Only when it has caught up: a line in between would be one more for a reader that is too slow already.
            if written.is_ok() && waiting.lines.is_empty() && lost > told {
                drop(waiting);
                tracing::warn!(
                    lines = lost - told,
                    "the log could not be written, and lines of it are lost"
                );
                told = lost;
                waiting = self.waiting.lock();
            }
        }
    }

    fn flush(&self, most: Duration) {
        let mut waiting = self.waiting.lock();
        let busy = |waiting: &mut Waiting| waiting.bytes > 0;
        self.done.wait_while_for(&mut waiting, busy, most);
    }
}

/// Where `tracing` writes a line: to the queue.
struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(log) = LOG.get() {
            log.put(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;

    /// A log whose writer takes what `answers` says for each line. It returns the lines that were written.
    fn log(answers: mpsc::Receiver<io::Result<()>>) -> (Arc<Log>, mpsc::Receiver<Vec<u8>>) {
        let log = Arc::new(Log::default());
        let (tell, told) = mpsc::channel();
        let writing = log.clone();
        std::thread::spawn(move || {
            writing.write_to(move |line| {
                // When the test is over, the thread waits for ever.
                let answer = answers.recv().unwrap_or_else(|_| {
                    loop {
                        std::thread::park();
                    }
                });
                tell.send(line.to_vec()).map_err(io::Error::other)?;
                answer
            });
        });
        (log, told)
    }

    #[test]
    fn lines_are_written_in_their_order_and_flushed() {
        let (answer, answers) = mpsc::channel();
        let (log, told) = log(answers);
        for line in [&b"one"[..], b"two"] {
            log.put(line);
            answer.send(Ok(())).unwrap();
        }
        log.flush(Duration::from_secs(60));
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(log.lost.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_lost_and_counted_and_the_next_one_is_tried() {
        let (answer, answers) = mpsc::channel();
        let (log, told) = log(answers);
        log.put(b"one");
        answer.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        log.put(b"two");
        answer.send(Ok(())).unwrap();
        log.flush(Duration::from_secs(60));
        assert_eq!(told.try_iter().count(), 2);
        assert_eq!(log.lost.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_writer_that_is_stuck_delays_nobody() {
        let (_answer, answers) = mpsc::channel();
        let (log, _told) = log(answers);
        let line = vec![b'x'; WAITING_BYTES / 4];
        for _ in 0..10 {
            log.put(&line);
        }
        assert_eq!(log.lost.load(Ordering::Relaxed), 6);
        log.flush(Duration::from_millis(1));
    }
}
