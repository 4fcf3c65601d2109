//! WASI preview 1 for core modules, sealed: what the runtimes of Go, C and Rust need to start, and nothing to reach out with.
//!
//! No files, no network, no arguments, no variables. Standard output and standard error become lines of the agent's log, at
//! `info` and `warn`; standard input is at its end. Clocks tell the time, and a sleep is part of the turn. `random_get` needs no
//! grant: without it runtimes do not start (Go's, and Rust's hash maps); the grant `random` is for what an agent draws itself.
//! `proc_exit` is a crash, whatever the code, since an agent that has exited takes no next message.
//!
//! It is written here, and is not wasmtime-wasi: that brings files and sockets which would have to be sealed away again, a guest
//! that sleeps there would keep its place in the slow lane, and its streams know no limits of log lines.

mod poll;

use wasmparser::ValType::{self, I32, I64};
use wasmtime::{Caller, Engine, FuncType, Linker, Val};

use super::core_abi::{Range, Signature, import, view};
use super::crash::Fault;
use super::host::{Guest, Level};
use crate::time::Timestamp;

/// The module that imports name.
pub(super) const MODULE: &str = "wasi_snapshot_preview1";

/// What does something, or says no in a way of its own.
const OPEN: &[Signature] = &[
    import("args_get", &[I32, I32], &[I32]),
    import("args_sizes_get", &[I32, I32], &[I32]),
    import("clock_res_get", &[I32, I32], &[I32]),
    import("clock_time_get", &[I32, I64, I32], &[I32]),
    import("environ_get", &[I32, I32], &[I32]),
    import("environ_sizes_get", &[I32, I32], &[I32]),
    import("fd_fdstat_get", &[I32, I32], &[I32]),
    import("fd_filestat_get", &[I32, I32], &[I32]),
    import("fd_prestat_dir_name", &[I32, I32, I32], &[I32]),
    import("fd_prestat_get", &[I32, I32], &[I32]),
    import("fd_read", &[I32, I32, I32, I32], &[I32]),
    import("fd_seek", &[I32, I64, I32, I32], &[I32]),
    import("fd_tell", &[I32, I32], &[I32]),
    import("fd_write", &[I32, I32, I32, I32], &[I32]),
    import("poll_oneoff", &[I32, I32, I32, I32], &[I32]),
    import("proc_exit", &[I32], &[]),
    import("proc_raise", &[I32], &[I32]),
    import("random_get", &[I32, I32], &[I32]),
    import("sched_yield", &[], &[I32]),
];

/// The rest of preview 1: files, folders and sockets. A module may name these, for runtimes do, and every call fails.
const SEALED: &[Signature] = &[
    import("fd_advise", &[I32, I64, I64, I32], &[I32]),
    import("fd_allocate", &[I32, I64, I64], &[I32]),
    import("fd_close", &[I32], &[I32]),
    import("fd_datasync", &[I32], &[I32]),
    import("fd_fdstat_set_flags", &[I32, I32], &[I32]),
    import("fd_fdstat_set_rights", &[I32, I64, I64], &[I32]),
    import("fd_filestat_set_size", &[I32, I64], &[I32]),
    import("fd_filestat_set_times", &[I32, I64, I64, I32], &[I32]),
    import("fd_pread", &[I32, I32, I32, I64, I32], &[I32]),
    import("fd_pwrite", &[I32, I32, I32, I64, I32], &[I32]),
    import("fd_readdir", &[I32, I32, I32, I64, I32], &[I32]),
    import("fd_renumber", &[I32, I32], &[I32]),
    import("fd_sync", &[I32], &[I32]),
    import("path_create_directory", &[I32, I32, I32], &[I32]),
    import("path_filestat_get", &[I32, I32, I32, I32, I32], &[I32]),
    import("path_filestat_set_times", &[I32, I32, I32, I32, I64, I64, I32], &[I32]),
    import("path_link", &[I32, I32, I32, I32, I32, I32, I32], &[I32]),
    import("path_open", &[I32, I32, I32, I32, I32, I64, I64, I32, I32], &[I32]),
    import("path_readlink", &[I32, I32, I32, I32, I32, I32], &[I32]),
    import("path_remove_directory", &[I32, I32, I32], &[I32]),
    import("path_rename", &[I32, I32, I32, I32, I32, I32], &[I32]),
    import("path_symlink", &[I32, I32, I32, I32, I32], &[I32]),
    import("path_unlink_file", &[I32, I32, I32], &[I32]),
    import("sock_accept", &[I32, I32, I32], &[I32]),
    import("sock_recv", &[I32, I32, I32, I32, I32, I32], &[I32]),
    import("sock_send", &[I32, I32, I32, I32, I32], &[I32]),
    import("sock_shutdown", &[I32, I32], &[I32]),
];

/// All of preview 1.
pub(super) fn imports() -> impl Iterator<Item = &'static Signature> {
    OPEN.iter().chain(SEALED)
}

/// Numbers of errors, as WASI has them.
mod errno {
    pub(super) const SUCCESS: i32 = 0;
    /// No such descriptor: nothing but the standard three is open.
    pub(super) const BADF: i32 = 8;
    pub(super) const INVAL: i32 = 28;
    pub(super) const NOSYS: i32 = 52;
    pub(super) const NOTSUP: i32 = 58;
    /// A stream has no position.
    pub(super) const SPIPE: i32 = 70;
}

const STDIN: i32 = 0;
const STDOUT: i32 = 1;
const STDERR: i32 = 2;

/// The type of file that the standard three are, so that runtimes write them a line at a time.
const CHARACTER_DEVICE: u8 = 2;

/// Buffers and bytes that one write takes. It answers how much that was, and the guest writes the rest.
const WRITE_BUFFERS: usize = 1_024;
const WRITE_BYTES: usize = 64 << 10;

type Call<'a> = Caller<'a, Guest>;
type Answer = wasmtime::Result<i32>;

pub(super) fn link(linker: &mut Linker<Guest>, engine: &Engine) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "args_sizes_get", none)?;
    linker.func_wrap(MODULE, "args_get", |_: i32, _: i32| errno::SUCCESS)?;
    linker.func_wrap(MODULE, "environ_sizes_get", none)?;
    linker.func_wrap(MODULE, "environ_get", |_: i32, _: i32| errno::SUCCESS)?;
    linker.func_wrap(MODULE, "clock_time_get", clock_time_get)?;
    linker.func_wrap(MODULE, "clock_res_get", clock_res_get)?;
    linker.func_wrap(MODULE, "random_get", random_get)?;
    linker.func_wrap(MODULE, "sched_yield", || errno::SUCCESS)?;
    linker.func_wrap(MODULE, "proc_exit", |code: i32| -> wasmtime::Result<()> {
        Err(Fault::Exit(code).into())
    })?;
    linker.func_wrap(MODULE, "proc_raise", |_: i32| errno::NOSYS)?;
    linker.func_wrap(MODULE, "fd_fdstat_get", fd_fdstat_get)?;
    linker.func_wrap(MODULE, "fd_filestat_get", fd_filestat_get)?;
    linker.func_wrap(MODULE, "fd_prestat_get", |_: i32, _: i32| errno::BADF)?;
    linker.func_wrap(MODULE, "fd_prestat_dir_name", |_: i32, _: i32, _: i32| errno::BADF)?;
    linker.func_wrap(MODULE, "fd_read", fd_read)?;
    linker.func_wrap(MODULE, "fd_write", fd_write)?;
    linker.func_wrap(MODULE, "fd_seek", |fd: i32, _: i64, _: i32, _: i32| {
        without_position(fd)
    })?;
    linker.func_wrap(MODULE, "fd_tell", |fd: i32, _: i32| without_position(fd))?;
    poll::link(linker)?;
    for sealed in SEALED {
        let kind = FuncType::new(engine, types(sealed.params), types(sealed.results));
        linker.func_new(MODULE, sealed.name, kind, |_, params, results| {
            let open = params.first().and_then(Val::i32).is_some_and(is_open);
            results[0] = Val::I32(if open { errno::NOTSUP } else { errno::BADF });
            Ok(())
        })?;
    }
    Ok(())
}

fn types(types: &[ValType]) -> Vec<wasmtime::ValType> {
    let same = |kind: &ValType| {
        if *kind == I64 {
            wasmtime::ValType::I64
        } else {
            wasmtime::ValType::I32
        }
    };
    types.iter().map(same).collect()
}

fn is_open(fd: i32) -> bool {
    (STDIN..=STDERR).contains(&fd)
}

fn without_position(fd: i32) -> i32 {
    if is_open(fd) { errno::SPIPE } else { errno::BADF }
}

/// Puts `bytes` at a place that the guest named. Outside its memory is a crash, as everywhere at this door.
fn put(memory: &mut [u8], call: &'static str, pointer: i32, bytes: &[u8]) -> Result<(), Fault> {
    let length = i32::try_from(bytes.len()).expect("answers are short");
    let place = Range::new(call, pointer, length).within(memory.len())?;
    memory[place].copy_from_slice(bytes);
    Ok(())
}

/// There are no arguments and no variables, and they take no bytes.
fn none(mut caller: Call<'_>, count: i32, bytes: i32) -> Answer {
    let (memory, _) = view(&mut caller)?;
    put(memory, "sizes_get", count, &[0; 4])?;
    put(memory, "sizes_get", bytes, &[0; 4])?;
    Ok(errno::SUCCESS)
}

const REALTIME: i32 = 0;
const MONOTONIC: i32 = 1;

/// Nanoseconds of the clock `id`. What a process has used of the processor is not told.
fn clock(guest: &Guest, id: i32) -> Option<u64> {
    match id {
        // Before 1970 the clock of the server is wrong anyway.
        REALTIME => Some(
            u64::try_from(Timestamp::now().micros())
                .unwrap_or(0)
                .saturating_mul(1_000),
        ),
        MONOTONIC => Some(u64::try_from(guest.born().elapsed().as_nanos()).unwrap_or(u64::MAX)),
        _ => None,
    }
}

fn clock_time_get(mut caller: Call<'_>, id: i32, _precision: i64, place: i32) -> Answer {
    let Some(now) = clock(caller.data(), id) else {
        return Ok(errno::INVAL);
    };
    put(view(&mut caller)?.0, "clock_time_get", place, &now.to_le_bytes())?;
    Ok(errno::SUCCESS)
}

fn clock_res_get(mut caller: Call<'_>, id: i32, place: i32) -> Answer {
    let nanos: u64 = match id {
        REALTIME => 1_000,
        MONOTONIC => 1,
        _ => return Ok(errno::INVAL),
    };
    put(view(&mut caller)?.0, "clock_res_get", place, &nanos.to_le_bytes())?;
    Ok(errno::SUCCESS)
}

fn random_get(mut caller: Call<'_>, pointer: i32, length: i32) -> Answer {
    let (memory, guest) = view(&mut caller)?;
    let place = Range::new("random_get", pointer, length).within(memory.len())?;
    guest
        .draw(&mut memory[place])
        .map_err(|_| Fault::OverLimit("random_get"))?;
    Ok(errno::SUCCESS)
}

fn fd_fdstat_get(mut caller: Call<'_>, fd: i32, place: i32) -> Answer {
    const READ: u64 = 1 << 1;
    const WRITE: u64 = 1 << 6;
    const POLL: u64 = 1 << 27;
    if !is_open(fd) {
        return Ok(errno::BADF);
    }
    // Type, flags, rights, rights of what is opened through it.
    let mut stat = [0; 24];
    stat[0] = CHARACTER_DEVICE;
    let rights = POLL | if fd == STDIN { READ } else { WRITE };
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    put(view(&mut caller)?.0, "fd_fdstat_get", place, &stat)?;
    Ok(errno::SUCCESS)
}

fn fd_filestat_get(mut caller: Call<'_>, fd: i32, place: i32) -> Answer {
    if !is_open(fd) {
        return Ok(errno::BADF);
    }
    // Device, number, type, links, size, times: there is only a type to tell.
    let mut stat = [0; 64];
    stat[16] = CHARACTER_DEVICE;
    put(view(&mut caller)?.0, "fd_filestat_get", place, &stat)?;
    Ok(errno::SUCCESS)
}

/// Standard input is at its end.
fn fd_read(mut caller: Call<'_>, fd: i32, _buffers: i32, _count: i32, read: i32) -> Answer {
    if fd != STDIN {
        return Ok(errno::BADF);
    }
    put(view(&mut caller)?.0, "fd_read", read, &[0; 4])?;
    Ok(errno::SUCCESS)
}

fn fd_write(mut caller: Call<'_>, fd: i32, buffers: i32, count: i32, written: i32) -> Answer {
    const BUFFER: usize = 8;
    let level = match fd {
        STDOUT => Level::Info,
        STDERR => Level::Warn,
        _ => return Ok(errno::BADF),
    };
    let (memory, guest) = view(&mut caller)?;
    let count = usize::try_from(count.cast_unsigned()).unwrap_or(usize::MAX);
    let taken = count.min(WRITE_BUFFERS);
    let length = i32::try_from(taken * BUFFER).expect("there are few");
    let list = Range::new("fd_write", buffers, length).of(memory)?;
    let mut total = 0;
    for buffer in list.chunks_exact(BUFFER) {
        let bytes = Range::new("fd_write", word(&buffer[..4]), word(&buffer[4..])).of(memory)?;
        let bytes = &bytes[..bytes.len().min(WRITE_BYTES - total)];
        guest.print_on(level, bytes);
        total += bytes.len();
    }
    let total = u32::try_from(total).expect("a write is short");
    put(memory, "fd_write", written, &total.to_le_bytes())?;
    Ok(errno::SUCCESS)
}

fn word(bytes: &[u8]) -> i32 {
    i32::from_le_bytes(bytes.try_into().expect("four bytes are"))
}
