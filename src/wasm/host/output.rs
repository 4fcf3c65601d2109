//! What a guest prints, as lines of its log.

use super::{Guest, Level};
use crate::wasm::caps;

/// Lines that have no end yet: of standard output and of standard error.
#[derive(Default)]
pub(super) struct Output {
    info: Vec<u8>,
    warn: Vec<u8>,
}

impl Output {
    fn line(&mut self, level: Level) -> &mut Vec<u8> {
        if level == Level::Warn {
            &mut self.warn
        } else {
            &mut self.info
        }
    }
}

impl Guest {
    /// Takes what the guest prints on the stream of this level. A line of it is logged when it ends, or when the turn does; of a
    /// long one the rest is dropped, as of every line.
    pub(in crate::wasm) fn print_on(&mut self, level: Level, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let line = self.output.line(level);
            let room = caps::LOG_LINE_BYTES - line.len();
            line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.end_line(level);
            }
        }
    }

    /// Logs the lines that the turn has not ended.
    pub(super) fn flush(&mut self) {
        for level in [Level::Info, Level::Warn] {
            if !self.output.line(level).is_empty() {
                self.end_line(level);
            }
        }
    }

    fn end_line(&mut self, level: Level) {
        let line = std::mem::take(self.output.line(level));
        self.log(level, line.strip_suffix(b"\r").unwrap_or(&line));
    }
}
