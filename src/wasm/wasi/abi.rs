//! The contract of WASI preview 1: its functions, its error numbers, and how it writes to the guest's memory.

use wasmparser::ValType::{I32, I64};

use crate::wasm::abi::{Range, Signature, import};
use crate::wasm::crash::Fault;

/// The module name under which a guest imports the functions of WASI.
pub(in crate::wasm) const MODULE: &str = "wasi_snapshot_preview1";

/// The functions that are implemented, each in its own way.
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

/// All other functions of preview 1, for files, folders and sockets. A module may import them, because runtimes do, but each call
/// fails.
pub(super) const SEALED: &[Signature] = &[
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

/// All functions of preview 1.
pub(in crate::wasm) fn imports() -> impl Iterator<Item = &'static Signature> {
    OPEN.iter().chain(SEALED)
}

/// The error numbers of WASI.
pub(super) mod errno {
    pub(in crate::wasm) const SUCCESS: i32 = 0;
    /// There is no such file descriptor: only the three standard streams are open.
    pub(in crate::wasm) const BADF: i32 = 8;
    pub(in crate::wasm) const INVAL: i32 = 28;
    pub(in crate::wasm) const NOSYS: i32 = 52;
    pub(in crate::wasm) const NOTSUP: i32 = 58;
    /// The standard streams have no position to seek.
    pub(in crate::wasm) const SPIPE: i32 = 70;
}

pub(super) const STDIN: i32 = 0;
pub(super) const STDOUT: i32 = 1;
pub(super) const STDERR: i32 = 2;

pub(super) fn is_open(fd: i32) -> bool {
    (STDIN..=STDERR).contains(&fd)
}

/// Writes `bytes` to where `pointer` refers. If that is outside the memory, the guest crashes, as in all calls of core modules.
pub(super) fn put(memory: &mut [u8], call: &'static str, pointer: i32, bytes: &[u8]) -> Result<(), Fault> {
    let length = i32::try_from(bytes.len()).expect("a result is short");
    let range = Range::new(call, pointer, length).within(memory.len())?;
    memory[range].copy_from_slice(bytes);
    Ok(())
}

/// A 32-bit number in the guest's memory.
pub(super) fn word(bytes: &[u8]) -> i32 {
    i32::from_le_bytes(bytes.try_into().expect("four bytes are"))
}
