//! `poll_oneoff`: sleeping, and finding out which streams are ready.

use std::time::Duration;

use wasmtime::{Caller, Linker};

use super::abi::{MODULE, STDIN, errno, is_open, put, word};
use super::clocks::clock;
use crate::wasm::abi::{Range, view};
use crate::wasm::host::Guest;

/// Subscriptions that one call may have.
const SUBSCRIPTIONS: usize = 256;

/// Bytes of a subscription and of an event in the layout of WASI.
const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;

const CLOCK: u8 = 0;
const FD_READ: u8 = 1;
const FD_WRITE: u8 = 2;

/// A flag in the subscription of a clock: its time is a time on that clock, and not counted from now.
const ABSOLUTE: u16 = 1;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "poll_oneoff", |caller, arguments: (i32, i32, i32, i32)| {
        Box::new(poll_oneoff(caller, arguments))
    })?;
    Ok(())
}

/// What one subscription waits for.
#[derive(Clone, Copy)]
struct Wait {
    userdata: [u8; 8],
    kind: u8,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    /// A time, counted from now.
    Time(Duration),
    /// A standard stream, which never blocks: input is at its end, and output is always accepted.
    Ready,
    /// Nothing that can be waited for. This is the error number.
    Failed(i32),
}

impl Wait {
    fn read(subscription: &[u8], guest: &Guest) -> Self {
        let at = |from: usize| u64::from_le_bytes(subscription[from..from + 8].try_into().expect("eight bytes are"));
        let kind = subscription[8];
        // The field at 16 begins with a clock's id or a file descriptor.
        let subject = word(&subscription[16..20]);
        let what = match kind {
            CLOCK => {
                let (timeout, flags) = (at(24), u16::from_le_bytes([subscription[40], subscription[41]]));
                match clock(guest, subject) {
                    None => What::Failed(errno::INVAL),
                    Some(now) if flags & ABSOLUTE != 0 => What::Time(Duration::from_nanos(timeout.saturating_sub(now))),
                    Some(_) => What::Time(Duration::from_nanos(timeout)),
                }
            }
            FD_READ | FD_WRITE if is_open(subject) && (subject == STDIN) == (kind == FD_READ) => What::Ready,
            FD_READ | FD_WRITE => What::Failed(errno::BADF),
            _ => What::Failed(errno::INVAL),
        };
        let userdata = subscription[..8].try_into().expect("eight bytes are");
        Self { userdata, kind, what }
    }

    fn time(&self) -> Option<Duration> {
        match self.what {
            What::Time(time) => Some(time),
            What::Ready | What::Failed(_) => None,
        }
    }

    fn event(&self) -> [u8; EVENT] {
        let mut event = [0; EVENT];
        event[..8].copy_from_slice(&self.userdata);
        let error = match self.what {
            What::Failed(error) => error,
            What::Time(_) | What::Ready => errno::SUCCESS,
        };
        event[8..10].copy_from_slice(&error.to_le_bytes()[..2]);
        event[10] = self.kind;
        event
    }
}

/// Returns what is ready. If nothing is, it sleeps for the shortest of the times first. A sleep counts towards the turn's deadline,
/// but not as guest time.
async fn poll_oneoff(
    mut caller: Caller<'_, Guest>,
    (subscriptions, events, count, happened): (i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let count = usize::try_from(count.cast_unsigned()).unwrap_or(usize::MAX);
    if count == 0 || count > SUBSCRIPTIONS {
        return Ok(errno::INVAL);
    }
    let length = |size: usize| i32::try_from(count * size).expect("there are few");
    let (memory, guest) = view(&mut caller)?;
    Range::new("poll_oneoff", events, length(EVENT)).of(memory)?;
    let waits: Vec<_> = Range::new("poll_oneoff", subscriptions, length(SUBSCRIPTION))
        .of(memory)?
        .chunks_exact(SUBSCRIPTION)
        .map(|subscription| Wait::read(subscription, guest))
        .collect();
    let at_once = waits.iter().any(|wait| wait.time().is_none());
    let shortest = waits.iter().filter_map(Wait::time).min();
    let slept = if at_once {
        Duration::ZERO
    } else {
        shortest.unwrap_or_default()
    };
    if !slept.is_zero() {
        guest.pace.sleep(slept).await;
    }
    let happens = waits.iter().filter(|wait| wait.time().is_none_or(|time| time <= slept));
    let ready: Vec<u8> = happens.flat_map(Wait::event).collect();
    let number = u32::try_from(ready.len() / EVENT).expect("there are few");
    let (memory, _) = view(&mut caller)?;
    put(memory, "poll_oneoff", events, &ready)?;
    put(memory, "poll_oneoff", happened, &number.to_le_bytes())?;
    Ok(errno::SUCCESS)
}
