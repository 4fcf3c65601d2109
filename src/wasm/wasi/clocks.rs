//! The clocks of WASI.

use wasmtime::{Caller, Linker};

use super::abi::{MODULE, errno, put};
use crate::time::Timestamp;
use crate::wasm::abi::view;
use crate::wasm::host::Guest;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "clock_time_get", clock_time_get)?;
    linker.func_wrap(MODULE, "clock_res_get", clock_res_get)?;
    Ok(())
}

const REALTIME: i32 = 0;
const MONOTONIC: i32 = 1;

/// The time on the clock `id`, in nanoseconds. The clocks for the processor time of a process are not offered.
pub(super) fn clock(guest: &Guest, id: i32) -> Option<u64> {
    match id {
        // A time before 1970 means that the server's clock is wrong. The guest gets 0.
        REALTIME => Some(
            u64::try_from(Timestamp::now().micros())
                .unwrap_or(0)
                .saturating_mul(1_000),
        ),
        MONOTONIC => Some(u64::try_from(guest.born().elapsed().as_nanos()).unwrap_or(u64::MAX)),
        _ => None,
    }
}

fn clock_time_get(mut caller: Caller<'_, Guest>, id: i32, _precision: i64, pointer: i32) -> wasmtime::Result<i32> {
    let Some(now) = clock(caller.data(), id) else {
        return Ok(errno::INVAL);
    };
    put(view(&mut caller)?.0, "clock_time_get", pointer, &now.to_le_bytes())?;
    Ok(errno::SUCCESS)
}

fn clock_res_get(mut caller: Caller<'_, Guest>, id: i32, pointer: i32) -> wasmtime::Result<i32> {
    let nanos: u64 = match id {
        REALTIME => 1_000,
        MONOTONIC => 1,
        _ => return Ok(errno::INVAL),
    };
    put(view(&mut caller)?.0, "clock_res_get", pointer, &nanos.to_le_bytes())?;
    Ok(errno::SUCCESS)
}
