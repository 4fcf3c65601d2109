//! From a checked module to machine code. A compiler is the part that is likeliest to break on hostile bytes, and what it needs
//! is out of the author's hands, so the server runs it in a process of its own, with limits of its own.
//!
//! The parent says what is to be done in one argument, and the module goes in by the standard input, which stays open: at its
//! end the parent is gone, and so the child ends. The code comes out by the standard output, a complaint by the other.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use wasmtime::Engine;

use super::engine;
use super::validate::finding;
use crate::error::{Error, Finding};

/// The hidden subcommand of the program that compiles.
pub const SUBCOMMAND: &str = "compile-module";

/// Threads of one compilation. Each has a heap and a stack, and their addresses count as its memory.
const THREADS: u64 = 4;
/// By how much a compilation gives way to guests, as `nice` does.
const NICENESS: i32 = 5;
/// Bytes of a complaint that are read.
const COMPLAINT_BYTES: u64 = 4 << 10;

/// How the child ends when the module is at fault. Beside the codes that Rust and the command line use.
const REFUSED: u8 = 3;
/// How it ends when nobody waits for it any more.
const ORPHANED: i32 = 4;

/// Where modules are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// On a thread of this process, without limits. For programs that embed this library and trust their modules.
    InProcess,
    /// In a process for each module.
    Child {
        /// An absolute path of a program that takes `compile-module`, as `caxton` does.
        program: PathBuf,
        limits: CompileLimits,
    },
}

/// What the compilation of one module may cost. A module that needs more is refused.
#[derive(Clone, Copy, Debug)]
pub struct CompileLimits {
    /// From start to end, whatever else the machine does meanwhile.
    pub time: Duration,
    /// Bytes of address space of its process.
    pub memory: u64,
}

/// A module or component that was found to be valid.
pub(super) struct Source {
    pub(super) bytes: bytes::Bytes,
    pub(super) component: bool,
}

/// What the parent asks of the child.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    /// Bytes of the module.
    length: u64,
    component: bool,
    metered: bool,
    memory_reservation: u64,
    /// Bytes of address space.
    memory: u64,
    /// Seconds of processor time, over all threads. The parent's clock is the limit; this one is for a parent that is stopped.
    cpu: u64,
}

/// Compiles in this process.
pub(super) fn compile(engine: &Engine, source: &Source) -> Result<Vec<u8>, Finding> {
    let compiled = if source.component {
        engine.precompile_component(&source.bytes)
    } else {
        engine.precompile_module(&source.bytes)
    };
    compiled.map_err(|error| refused(&format!("{error:#}")))
}

/// Compiles in a process of its own. It ends when this future is dropped.
pub(super) async fn compile_in_child(
    program: &PathBuf,
    limits: CompileLimits,
    memory_reservation: u64,
    metered: bool,
    source: &Source,
) -> Result<Vec<u8>, Error> {
    let job = Job {
        length: source.bytes.len() as u64,
        component: source.component,
        metered,
        memory_reservation,
        memory: limits.memory,
        cpu: limits.time.as_secs().max(1).saturating_mul(THREADS),
    };
    let unavailable = |error: std::io::Error| {
        tracing::error!(program = %program.display(), %error, "the compiler does not run");
        Error::Unavailable {
            reason: format!("the compiler's process: {error}"),
            retry_after: Duration::from_secs(1),
        }
    };
    let mut process = Command::new(program)
        .arg(SUBCOMMAND)
        .arg(serde_json::to_string(&job).map_err(Error::internal)?)
        // Nothing of the server's surroundings, secrets least of all. A Ctrl-C is for the server, which ends the child.
        .env_clear()
        .env("RAYON_NUM_THREADS", THREADS.to_string())
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(unavailable)?;
    let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(Error::internal("a process has no pipes"));
    };
    let work = async {
        // A child that ends before it has read all says why with its status.
        let (code, complaint, _) = tokio::join!(
            read(stdout, limits.memory),
            read(stderr, COMPLAINT_BYTES),
            stdin.write_all(&source.bytes)
        );
        let status = process.wait().await?;
        Ok((status, code?, complaint?))
    };
    let Ok(worked) = tokio::time::timeout(limits.time, work).await else {
        let _ = process.kill().await; // it has ended meanwhile
        return Err(Error::InvalidWasm(vec![too_long(limits)]));
    };
    let (status, code, complaint) = worked.map_err(unavailable)?;
    if status.success() {
        return Ok(code);
    }
    let finding = verdict(status, &String::from_utf8_lossy(&complaint), limits);
    tracing::warn!(%status, finding = finding.found, "a module was not compiled");
    Err(Error::InvalidWasm(vec![finding]))
}

async fn read(from: impl AsyncRead + Unpin, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Why the child did not compile.
fn verdict(status: ExitStatus, complaint: &str, limits: CompileLimits) -> Finding {
    use std::os::unix::process::ExitStatusExt;

    let signal = status.signal();
    if status.code() == Some(REFUSED.into()) {
        refused(complaint)
    } else if signal == Some(Signal::XCPU.as_raw()) {
        too_long(limits)
    // What Rust says before it aborts.
    } else if signal.is_some() && complaint.starts_with("memory allocation of") {
        finding(
            "compile-memory",
            format!("its compilation needs more than {} bytes of memory", limits.memory),
            "a module that can be compiled with less: split it, or raise wasm.compile_memory in the configuration",
        )
    } else {
        refused(&format!("the compiler broke on it ({status})"))
    }
}

fn too_long(limits: CompileLimits) -> Finding {
    finding(
        "compile-time",
        format!("its compilation takes longer than {:?}", limits.time),
        "a module that can be compiled in less: split it, or raise wasm.compile_time in the configuration",
    )
}

pub(super) fn refused(why: &str) -> Finding {
    finding("compile", why, "a module that wasmtime can compile and link")
}

/// The child: does the `job` of its argument, and ends.
pub fn run(job: &str) -> ExitCode {
    match serde_json::from_str(job).map_err(Into::into).and_then(|job| work(&job)) {
        Ok(end) => end,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn work(job: &Job) -> Result<ExitCode, Box<dyn std::error::Error>> {
    confine(job)?;
    let mut bytes = vec![0; usize::try_from(job.length)?];
    std::io::stdin().read_exact(&mut bytes)?;
    std::thread::Builder::new().spawn(|| {
        let _ = std::io::stdin().read(&mut [0]); // nothing comes but the end
        std::process::exit(ORPHANED);
    })?;
    let engine = Engine::new(&engine::settings(job.memory_reservation, job.metered))?;
    let source = Source {
        bytes: bytes.into(),
        component: job.component,
    };
    match compile(&engine, &source) {
        Ok(code) => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&code)?;
            stdout.flush()?;
            Ok(ExitCode::SUCCESS)
        }
        Err(finding) => {
            eprint!("{}", finding.found);
            Ok(ExitCode::from(REFUSED))
        }
    }
}

/// Sets the limits, before a byte of the module is read.
fn confine(job: &Job) -> rustix::io::Result<()> {
    let limit = |resource, most| {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        rustix::process::setrlimit(resource, limit)
    };
    limit(Resource::As, job.memory)?;
    limit(Resource::Core, 0)?;
    rustix::process::setrlimit(
        Resource::Cpu,
        Rlimit {
            // The signal at the one says what it was; the kill at the other is certain.
            current: Some(job.cpu),
            maximum: Some(job.cpu.saturating_add(1)),
        },
    )?;
    rustix::process::nice(NICENESS)?;
    Ok(())
}
