//! How turns share the processors.
//!
//! A turn runs in time slices, which the epochs of its engine measure. Most turns end within their first slice. A turn that
//! outlives it enters the slow lane: for each further slice it needs one of a few permits, which it waits for in a queue with
//! all other slow turns. So slow turns take processor time from each other, and not from the turns of other agents.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::UpdateDeadline;

/// The length of an epoch. A guest notices that the epoch has advanced at its next loop iteration or function call.
pub(super) const TICK: Duration = Duration::from_millis(5);
/// Epochs in the first slice of a turn. A turn begins somewhere within an epoch, which may end at any moment. Two make the
/// slice last at least one whole [`TICK`].
pub(super) const FIRST_SLICE: u64 = 2;
/// Epochs in each further slice.
const SLICE: u64 = 2;
/// Before each slice in the slow lane, a turn yields once to all tasks that are ready. If it gets the processor back only after
/// more than this time, other tasks want the processors, and the turn rests.
const BUSY: Duration = Duration::from_micros(200);
/// How long a turn rests, in ticks. It keeps its permit meanwhile, so that no other slow turn runs in its stead. A slice lasts
/// two ticks at most, so a permit then uses at most a quarter of one processor. On an idle machine no turn rests.
const REST_TICKS: u32 = 6;
/// How long after its deadline a call is cancelled from outside. At the end of its slice the guest traps by itself, and the
/// trap has a backtrace. This time lets it come first.
pub(super) const SLACK: Duration = Duration::from_millis(20);

/// The pace of one instance: where the turn that it is in stands with its slices.
pub(super) struct Pace {
    slow_lane: Arc<Semaphore>,
    /// When the turn must have ended. None: that is later than an [`Instant`] can express.
    deadline: Option<Instant>,
    slices: Arc<Mutex<Slices>>,
}

/// The part of a [`Pace`] that changes while a turn waits. The future that waits may not borrow the store, so it shares this.
#[derive(Default)]
struct Slices {
    /// The permit of the slow lane, while the turn has one.
    permit: Option<OwnedSemaphorePermit>,
    /// How long the turn has waited so far.
    waited: Duration,
    waiting_since: Option<Instant>,
    /// How long the turn has been suspended so far. Its deadline is later by that.
    suspended: Duration,
    suspended_since: Option<Instant>,
}

impl Slices {
    fn suspended(&self) -> Duration {
        self.suspended + self.suspended_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn stop_waiting(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }
}

impl Pace {
    pub(super) fn new(slow_lane: Arc<Semaphore>) -> Self {
        Self {
            slow_lane,
            deadline: None,
            slices: Arc::default(),
        }
    }

    /// Begins a turn.
    pub(super) fn begin(&mut self, deadline: Option<Instant>) -> Running {
        self.deadline = deadline;
        *self.slices.lock() = Slices::default();
        Running {
            since: Instant::now(),
            slices: Arc::clone(&self.slices),
        }
    }

    /// Decides what follows a slice: after its deadline the turn is interrupted, otherwise it queues for another slice.
    pub(super) fn end_of_slice(&self) -> UpdateDeadline {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return UpdateDeadline::Interrupt;
        }
        {
            let mut slices = self.slices.lock();
            slices.permit = None;
            slices.waiting_since = Some(now);
        }
        let (lane, slices) = (Arc::clone(&self.slow_lane), Arc::clone(&self.slices));
        let wait = async move {
            let permit = lane.acquire_owned().await;
            // All tasks that are ready run first. How long they take tells whether other tasks want the processors.
            let asked = Instant::now();
            tokio::task::yield_now().await;
            if asked.elapsed() > BUSY {
                // With its permit, so that all slow turns together rest.
                tokio::time::sleep(TICK * REST_TICKS).await;
            }
            let mut slices = slices.lock();
            slices.permit = permit.ok(); // never closed
            slices.stop_waiting();
        };
        UpdateDeadline::YieldCustom(SLICE, Box::pin(wait))
    }

    /// Lets the guest sleep.
    pub(super) async fn sleep(&self, time: Duration) {
        self.wait(tokio::time::sleep(time)).await;
    }

    /// Lets the turn wait for something that others hold. The time counts neither as guest time nor towards the deadline.
    pub(super) async fn suspend<T>(&mut self, free: impl Future<Output = T>) -> T {
        let since = Instant::now();
        self.slices.lock().suspended_since = Some(since);
        let value = self.wait(free).await;
        let suspended = since.elapsed();
        self.deadline = self.deadline.and_then(|deadline| deadline.checked_add(suspended));
        let mut slices = self.slices.lock();
        slices.suspended_since = None;
        slices.suspended += suspended;
        value
    }

    /// Lets the turn wait in the host. If it holds a permit of the slow lane, it releases the permit and gets another one
    /// afterwards.
    async fn wait<T>(&self, event: impl Future<Output = T>) -> T {
        let held_permit = {
            let mut slices = self.slices.lock();
            slices.waiting_since = Some(Instant::now());
            slices.permit.take().is_some()
        };
        let value = event.await;
        let permit = if held_permit {
            Arc::clone(&self.slow_lane).acquire_owned().await.ok() // never closed
        } else {
            None
        };
        let mut slices = self.slices.lock();
        slices.permit = permit;
        slices.stop_waiting();
        value
    }
}

/// A turn that runs. It is dropped when the turn ends, in whatever way, and releases the turn's permit.
pub(super) struct Running {
    since: Instant,
    slices: Arc<Mutex<Slices>>,
}

impl Running {
    /// Makes a call of the guest. None: `time` has passed, beside the time in which the turn was suspended.
    pub(super) async fn within<T>(&self, time: Duration, call: impl Future<Output = T>) -> Option<T> {
        let mut call = std::pin::pin!(call);
        loop {
            let (suspended, is_suspended) = {
                let slices = self.slices.lock();
                (slices.suspended(), slices.suspended_since.is_some())
            };
            let left = time.saturating_add(suspended).saturating_sub(self.since.elapsed());
            if left.is_zero() && !is_suspended {
                return None;
            }
            // A suspended turn has as much time left as before, and that may be none.
            let look_again = if is_suspended { left.max(SLACK) } else { left };
            if let Ok(value) = tokio::time::timeout(look_again, call.as_mut()).await {
                return Some(value);
            }
        }
    }

    /// Time since the turn began, without the time in which it waited or slept.
    pub(super) fn guest_time(&self) -> Duration {
        let elapsed = self.since.elapsed();
        let mut slices = self.slices.lock();
        slices.stop_waiting();
        elapsed.saturating_sub(slices.waited)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.slices.lock().permit = None;
    }
}
