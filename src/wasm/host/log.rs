//! What a guest logs, and what it prints to its standard streams, as lines of the server's log.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::id::{AgentId, AgentName};
use crate::rate::Rate;
use crate::wasm::caps;

/// The severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wasm) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The limit on the bytes that an agent logs per second, shared by all its instances.
#[derive(Clone, Debug)]
pub struct LogRate(Arc<Mutex<Rate>>);

impl LogRate {
    /// After a pause, the agent may log the bytes of one second at once.
    pub fn new(bytes_per_second: u64) -> Self {
        Self(Arc::new(Mutex::new(Rate::new(bytes_per_second, Instant::now()))))
    }

    /// Takes the bytes of a line, unless that would exceed the rate.
    fn take(&self, bytes: usize) -> bool {
        let (now, price) = (Instant::now(), bytes.max(1) as u64);
        let mut rate = self.0.lock();
        let allowed = rate.allows(price, now);
        if allowed {
            rate.take(price, now);
        }
        allowed
    }
}

/// The log of one instance.
pub(in crate::wasm) struct Log {
    agent: AgentId,
    name: AgentName,
    rate: LogRate,
    /// Bytes that were dropped because of the rate since the last line that says so.
    dropped: usize,
    /// Bytes that this turn has logged.
    turn_bytes: usize,
    /// The line on standard output that the guest has not ended yet.
    stdout: Vec<u8>,
    /// The line on standard error that the guest has not ended yet.
    stderr: Vec<u8>,
}

impl Log {
    pub(super) fn new(agent: AgentId, name: AgentName, rate: LogRate) -> Self {
        Self {
            agent,
            name,
            rate,
            dropped: 0,
            turn_bytes: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }

    pub(super) fn begin_turn(&mut self) {
        self.turn_bytes = 0;
    }

    /// Logs a line for the operator, which stays even if the turn has no effects.
    pub(in crate::wasm) fn line(&mut self, level: Level, line: &[u8]) {
        if self.turn_bytes > caps::LOG_TURN_BYTES {
            return;
        }
        let kept = &line[..line.len().min(caps::LOG_LINE_BYTES)];
        if !self.rate.take(kept.len()) {
            self.dropped += kept.len();
            return;
        }
        if self.dropped > 0 {
            let dropped = std::mem::take(&mut self.dropped);
            let notice = format!("(the host dropped {dropped} bytes that were logged over log_bytes_per_second)");
            self.print(Level::Warn, notice.as_bytes());
        }
        self.turn_bytes += kept.len().max(1);
        if self.turn_bytes > caps::LOG_TURN_BYTES {
            return self.print(Level::Warn, b"(the host drops what else this turn logs)");
        }
        self.print(level, kept);
    }

    fn print(&self, level: Level, line: &[u8]) {
        let agent = self.name.as_str();
        // A macro, because the level must be a constant. The line is formatted only if that level is enabled.
        macro_rules! emit {
            ($level:ident) => {
                tracing::$level!(target: "caxton::guest", agent, agent_id = %self.agent, "{}", Printable(line))
            };
        }
        match level {
            Level::Trace => emit!(trace),
            Level::Debug => emit!(debug),
            Level::Info => emit!(info),
            Level::Warn => emit!(warn),
            Level::Error => emit!(error),
        }
    }

    /// Takes what the guest prints: to standard error at the level [`Level::Warn`], to standard output at any other. A line is
    /// logged when the guest ends it, or when the turn ends. A line that is too long is cut off, like any other line.
    pub(in crate::wasm) fn stream(&mut self, level: Level, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let line = self.unfinished(level);
            let room = caps::LOG_LINE_BYTES - line.len();
            line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.end_line(level);
            }
        }
    }

    /// Logs the lines that the guest has not ended.
    pub(super) fn flush(&mut self) {
        for level in [Level::Info, Level::Warn] {
            if !self.unfinished(level).is_empty() {
                self.end_line(level);
            }
        }
    }

    fn end_line(&mut self, level: Level) {
        let line = std::mem::take(self.unfinished(level));
        self.line(level, line.strip_suffix(b"\r").unwrap_or(&line));
    }

    /// The line that the guest has not ended yet on the stream for this level.
    fn unfinished(&mut self, level: Level) -> &mut Vec<u8> {
        if level == Level::Warn {
            &mut self.stderr
        } else {
            &mut self.stdout
        }
    }
}

/// The text of a guest as one line. Control characters are escaped, so that a guest cannot forge a line of the server.
struct Printable<'a>(&'a [u8]);

impl std::fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write as _;
        String::from_utf8_lossy(self.0).chars().try_for_each(|c| match c {
            '\t' => f.write_char(c),
            c if c.is_control() => write!(f, "{}", c.escape_default()),
            c => f.write_char(c),
        })
    }
}
