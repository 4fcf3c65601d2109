//! Compiles a checked module to machine code. Hostile bytes are likeliest to break the compiler, and nothing in this crate can
//! bound the time and memory that it takes. Therefore the server runs it in a child process, with limits of the kernel.
//!
//! The child gets its job as one argument in JSON and the module on its standard input. That pipe stays open: when it ends, the
//! parent is gone, and the child ends too. The child writes the code to its standard output, and an error to its standard error.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use wasmtime::Engine;

use super::settings;
use super::validate::finding;
use crate::error::{Error, Finding};

/// The hidden subcommand with which the server starts itself to compile a module.
pub const SUBCOMMAND: &str = "compile-module";

/// Threads of one compilation. Each has a heap and a stack, which take address space, and the limit of memory counts that.
const THREADS: u64 = 4;
/// The priority of a compilation, as `nice` has it: guests go first.
const NICENESS: i32 = 5;
/// Bytes of the child's standard error that the parent reads.
const STDERR_BYTES: u64 = 4 << 10;

/// The exit code of the child if the compiler refuses the module. Rust's panics and the command line use other codes.
const REFUSED: u8 = 3;
/// The exit code of the child if its parent is gone.
const ORPHANED: i32 = 4;

/// Where modules are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In threads of this process, without limits. For programs that embed this library and trust their modules.
    InProcess,
    /// In a child process for each module.
    Child {
        /// The absolute path of a program that has the subcommand [`SUBCOMMAND`], as `caxton` does.
        program: PathBuf,
        limits: CompileLimits,
    },
}

/// What the compilation of one module may cost. A module that needs more is refused.
#[derive(Clone, Copy, Debug)]
pub struct CompileLimits {
    /// Wall-clock time, from the start of the process to its end.
    pub time: Duration,
    /// Bytes of address space of the child process.
    pub memory: u64,
}

/// A valid module or component, ready to be compiled.
pub(super) struct Source {
    pub(super) bytes: bytes::Bytes,
    /// Whether it is a component.
    pub(super) component: bool,
}

/// What the child is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    /// Bytes of the module.
    length: u64,
    component: bool,
    metered: bool,
    memory_reservation: u64,
    /// Bytes of address space that the child may have.
    memory: u64,
    /// Seconds of processor time of all threads together. The parent ends the child earlier, unless the parent itself is stopped.
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

/// Compiles in a child process. The child is killed when this future is dropped.
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
        tracing::warn!(program = %program.display(), %error, "the compiler's process cannot be run");
        Error::Unavailable {
            reason: "the compiler's process cannot be run now".to_owned(),
            retry_after: Duration::from_secs(1),
        }
    };
    let mut process = Command::new(program)
        .arg(SUBCOMMAND)
        .arg(serde_json::to_string(&job).map_err(Error::internal)?)
        // The child inherits no environment, which may have secrets of the server. It has a process group of its own, so that a
        // Ctrl-C reaches the server only, which then ends the child.
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
        // The write fails if the child ends early. The child's status then says why, so the error is not needed.
        let (code, stderr, _) = tokio::join!(
            read(stdout, limits.memory),
            read(stderr, STDERR_BYTES),
            stdin.write_all(&source.bytes)
        );
        let status = process.wait().await?;
        Ok((status, code?, stderr?))
    };
    let Ok(worked) = tokio::time::timeout(limits.time, work).await else {
        let _ = process.kill().await; // fails only if it has ended by itself
        return Err(Error::InvalidWasm(vec![too_long(limits)]));
    };
    let (status, code, stderr) = worked.map_err(unavailable)?;
    if status.success() {
        return Ok(code);
    }
    let finding = verdict(status, &String::from_utf8_lossy(&stderr), limits);
    tracing::info!(%status, finding = finding.found, "a module was not compiled");
    Err(Error::InvalidWasm(vec![finding]))
}

async fn read(from: impl AsyncRead + Unpin, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// The finding that explains to the module's author why the child did not compile it.
fn verdict(status: ExitStatus, stderr: &str, limits: CompileLimits) -> Finding {
    use std::os::unix::process::ExitStatusExt;

    let signal = status.signal();
    if status.code() == Some(REFUSED.into()) {
        refused(stderr)
    } else if signal == Some(Signal::XCPU.as_raw()) {
        too_long(limits)
    // Rust writes this before it aborts because it got no memory.
    } else if signal.is_some() && stderr.starts_with("memory allocation of") {
        finding(
            "compile-memory",
            format!("the compilation needs more than {} bytes of memory", limits.memory),
            "a module that compiles in less memory: split it, or raise wasm.compile_memory in the configuration",
        )
    } else {
        refused(&format!("the compiler crashed on this module ({status})"))
    }
}

fn too_long(limits: CompileLimits) -> Finding {
    finding(
        "compile-time",
        format!("the compilation takes longer than {:?}", limits.time),
        "a module that compiles in less time: split it, or raise wasm.compile_time in the configuration",
    )
}

pub(super) fn refused(why: &str) -> Finding {
    finding(
        "compile",
        why,
        "a module that the server can compile, with memories and tables within its limits",
    )
}

/// The main function of the child: does `job`, which is its argument.
pub fn run(job: &str) -> ExitCode {
    match serde_json::from_str(job).map_err(Into::into).and_then(|job| work(&job)) {
        Ok(end) => end,
        Err(error) => {
            let _ = write!(std::io::stderr(), "{error}"); // an error means that the parent is gone
            ExitCode::FAILURE
        }
    }
}

fn work(job: &Job) -> Result<ExitCode, Box<dyn std::error::Error>> {
    confine(job)?;
    let mut bytes = vec![0; usize::try_from(job.length)?];
    std::io::stdin().read_exact(&mut bytes)?;
    std::thread::Builder::new().spawn(|| {
        let _ = std::io::stdin().read(&mut [0]); // returns when the parent is gone: the parent writes nothing more
        std::process::exit(ORPHANED);
    })?;
    let engine = Engine::new(&settings::config(job.memory_reservation, job.metered))?;
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
            std::io::stderr().write_all(finding.found.as_bytes())?;
            Ok(ExitCode::from(REFUSED))
        }
    }
}

/// Limits this process, before it reads a byte of the module.
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
            // At the first limit the kernel sends SIGXCPU, from which the parent knows the reason. At the second it kills.
            current: Some(job.cpu),
            maximum: Some(job.cpu.saturating_add(1)),
        },
    )?;
    rustix::process::nice(NICENESS)?;
    Ok(())
}
