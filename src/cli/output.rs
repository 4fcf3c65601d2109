//! What a command prints for its user.

use std::io::{self, Write};

/// Prints a line on standard output. A reader that has gone (`caxton doctor … | head -1`) wanted no more, so the command goes on
/// without output, and ends with the same status. An output that fails in another way, such as a full disk, is an error.
pub(super) fn print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let printed = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("cannot write to standard output: {error}"),
        )),
        Ok(()) => Ok(()),
    }
}
