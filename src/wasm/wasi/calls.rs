//! The functions of WASI, except those for clocks and polling.

use wasmparser::ValType::{self, I64};
use wasmtime::{Caller, Engine, FuncType, Linker, Val};

use super::abi::{MODULE, SEALED, STDERR, STDIN, STDOUT, errno, is_open, put, word};
use super::{clocks, poll};
use crate::wasm::abi::{Range, view};
use crate::wasm::crash::Fault;
use crate::wasm::host::{Guest, Level};

/// The file type of the standard streams. For a device of this type, runtimes write line by line.
const CHARACTER_DEVICE: u8 = 2;

/// Buffers and bytes that one write accepts. It returns how many bytes those were, and the guest writes the rest in another call.
const WRITE_BUFFERS: usize = 1_024;
const WRITE_BYTES: usize = 64 << 10;

/// An error number, or the fault that ends the turn.
type Errno = wasmtime::Result<i32>;

pub(in crate::wasm) fn link(linker: &mut Linker<Guest>, engine: &Engine) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "args_sizes_get", no_entries)?;
    linker.func_wrap(MODULE, "args_get", |_: i32, _: i32| errno::SUCCESS)?;
    linker.func_wrap(MODULE, "environ_sizes_get", no_entries)?;
    linker.func_wrap(MODULE, "environ_get", |_: i32, _: i32| errno::SUCCESS)?;
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
    clocks::link(linker)?;
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

fn without_position(fd: i32) -> i32 {
    if is_open(fd) { errno::SPIPE } else { errno::BADF }
}

/// Returns that there are no arguments, or no environment variables, and that they take no bytes.
fn no_entries(mut caller: Caller<'_, Guest>, count: i32, bytes: i32) -> Errno {
    let (memory, _) = view(&mut caller)?;
    put(memory, "sizes_get", count, &[0; 4])?;
    put(memory, "sizes_get", bytes, &[0; 4])?;
    Ok(errno::SUCCESS)
}

fn random_get(mut caller: Caller<'_, Guest>, pointer: i32, length: i32) -> Errno {
    let (memory, guest) = view(&mut caller)?;
    let range = Range::new("random_get", pointer, length).within(memory.len())?;
    guest
        .draw(&mut memory[range])
        .map_err(|_| Fault::OverLimit("random_get"))?;
    Ok(errno::SUCCESS)
}

fn fd_fdstat_get(mut caller: Caller<'_, Guest>, fd: i32, pointer: i32) -> Errno {
    const READ: u64 = 1 << 1;
    const WRITE: u64 = 1 << 6;
    const POLL: u64 = 1 << 27;
    if !is_open(fd) {
        return Ok(errno::BADF);
    }
    // The fields are: file type, flags, rights, and rights of the files that are opened through this one.
    let mut stat = [0; 24];
    stat[0] = CHARACTER_DEVICE;
    let rights = POLL | if fd == STDIN { READ } else { WRITE };
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    put(view(&mut caller)?.0, "fd_fdstat_get", pointer, &stat)?;
    Ok(errno::SUCCESS)
}

fn fd_filestat_get(mut caller: Caller<'_, Guest>, fd: i32, pointer: i32) -> Errno {
    if !is_open(fd) {
        return Ok(errno::BADF);
    }
    // The fields are: device, inode, file type, links, size and three times. Only the type is not zero.
    let mut stat = [0; 64];
    stat[16] = CHARACTER_DEVICE;
    put(view(&mut caller)?.0, "fd_filestat_get", pointer, &stat)?;
    Ok(errno::SUCCESS)
}

/// Reads nothing: standard input is at its end.
fn fd_read(mut caller: Caller<'_, Guest>, fd: i32, _buffers: i32, _count: i32, read: i32) -> Errno {
    if fd != STDIN {
        return Ok(errno::BADF);
    }
    put(view(&mut caller)?.0, "fd_read", read, &[0; 4])?;
    Ok(errno::SUCCESS)
}

fn fd_write(mut caller: Caller<'_, Guest>, fd: i32, buffers: i32, count: i32, written: i32) -> Errno {
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
        guest.log.stream(level, bytes);
        total += bytes.len();
    }
    let total = u32::try_from(total).expect("a write is short");
    put(memory, "fd_write", written, &total.to_le_bytes())?;
    Ok(errno::SUCCESS)
}
