//! The file descriptors of this process. Each connection takes one, and so do the log, the database and a few more: without a free
//! one, nothing can be written or accepted.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Where the kernel names no limit.
const UNLIMITED: u64 = 1 << 20;

/// How many descriptors this process may have.
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED)
}

/// Raises the limit as far as a process may by itself, and returns it. Most systems start a process with 1,024, for the sake of
/// programs that use `select`, and allow far more.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(UNLIMITED);
    if current.is_some_and(|current| current < most) {
        let raised = Rlimit {
            current: Some(most),
            maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    limit()
}
