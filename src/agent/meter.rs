//! Measurements of what an agent has used and done, minute by minute for the last 24 hours.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::id::MessageId;
use crate::telemetry::Spawns;
use crate::time::Timestamp;
use crate::wasm::Usage;

/// How far back an agent's metrics reach.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The most kinds of error that one minute counts. Kinds come from a fixed, smaller set of crashes, so this is never
/// reached.
const KINDS: usize = 16;

#[derive(Debug, Default)]
struct Minute {
    /// The minute's number since the meter began.
    number: u64,
    processed: u64,
    failed: u64,
    latency: Duration,
    guest: Duration,
    memory_sum: u128,
    memory_samples: u64,
    memory_peak: u64,
    errors: BTreeMap<&'static str, (u64, Timestamp)>,
}

/// How an instance of an agent crashed.
#[derive(Clone, Debug)]
pub struct CrashReport {
    pub at: Timestamp,
    pub kind: &'static str,
    pub detail: String,
    /// None: the instance crashed in `init` or `shutdown`.
    pub message_id: Option<MessageId>,
    pub attempt: u32,
    /// Guest frames, innermost first, with function names if the module has them.
    pub backtrace: Vec<String>,
}

/// How many crashes of each agent are kept; older ones are dropped.
pub const CRASHES: usize = 16;

/// What an agent has done and used since its meter was created, summed over its instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Turns that ended without an error.
    pub processed: u64,
    /// Turns that ended in an error or a crash.
    pub failed: u64,
    /// Instances that crashed, in a turn or in `init`.
    pub crashed: u64,
    /// Time from the acceptance of a message to the end of its turn, summed over all turns.
    pub latency: Duration,
    /// Time spent in the guest, including `init`, without waits for a processor.
    pub guest: Duration,
    /// Fuel used; 0 unless the program is metered.
    pub fuel: u64,
    /// Messages that had their first turn.
    pub received: u64,
    /// Messages that took effect with their turns. A message to several receivers counts once.
    pub sent: u64,
}

impl Totals {
    /// The mean latency over all turns.
    pub fn average_latency(&self) -> Duration {
        mean(self.latency, self.processed + self.failed)
    }
}

#[derive(Debug, Default)]
struct Book {
    totals: Totals,
    minutes: VecDeque<Minute>,
}

/// Measures one agent.
#[derive(Debug)]
pub struct Meter {
    began: Instant,
    book: Mutex<Book>,
    memory: AtomicU64,
    memory_peak: AtomicU64,
    spawns: Arc<Spawns>,
    crashes: Mutex<VecDeque<CrashReport>>,
}

/// The measurements of one period.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub processed: u64,
    pub failed: u64,
    pub average_latency: Duration,
    /// Processor use as a fraction of one core.
    pub cpu_average: f64,
    pub cpu_peak: f64,
    pub memory_average: u64,
    pub memory_peak: u64,
    /// The minute, the kind of error, and how often it happened.
    pub errors: Vec<(Timestamp, &'static str, u64)>,
}

impl Meter {
    /// Creates a meter. It adds its starts to `spawns`, which all agents share.
    pub fn new(spawns: Arc<Spawns>) -> Self {
        Self {
            began: Instant::now(),
            book: Mutex::default(),
            memory: AtomicU64::new(0),
            memory_peak: AtomicU64::new(0),
            spawns,
            crashes: Mutex::default(),
        }
    }

    pub fn crashed(&self, report: CrashReport) {
        self.book.lock().totals.crashed += 1;
        let mut crashes = self.crashes.lock();
        crashes.truncate(CRASHES - 1);
        crashes.push_front(report);
    }

    /// The last [`CRASHES`] crashes, newest first.
    pub fn crashes(&self) -> Vec<CrashReport> {
        self.crashes.lock().iter().cloned().collect()
    }

    /// Counts an instance that was created and initialised.
    pub fn started(&self, took: Duration) {
        self.spawns.add(took);
    }

    /// Notes that an instance has ended and its memory is free.
    pub fn ended(&self) {
        self.memory.store(0, Ordering::Relaxed);
    }

    /// Adds what one call of the guest used.
    pub fn used(&self, usage: &Usage) {
        self.memory.store(usage.memory_bytes, Ordering::Relaxed);
        self.memory_peak.fetch_max(usage.memory_bytes, Ordering::Relaxed);
        let mut book = self.book.lock();
        book.totals.guest += usage.guest_time;
        book.totals.fuel = book.totals.fuel.saturating_add(usage.fuel.unwrap_or(0));
        book.minute(self.now()).guest += usage.guest_time;
    }

    /// Counts messages that took effect.
    pub fn sent(&self, messages: usize) {
        self.book.lock().totals.sent += messages as u64;
    }

    /// Bytes of linear memory of the running instance.
    pub fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// The most linear memory that an instance had at the end of a call.
    pub fn memory_peak(&self) -> u64 {
        self.memory_peak.load(Ordering::Relaxed)
    }

    /// Counts a turn on a message that ended at its attempt number `attempt`, without an error or with one of `kind`.
    pub fn turn(&self, latency: Duration, attempt: u32, kind: Option<&'static str>) {
        let memory = self.memory();
        let mut book = self.book.lock();
        let totals = &mut book.totals;
        totals.latency += latency;
        totals.processed += u64::from(kind.is_none());
        totals.failed += u64::from(kind.is_some());
        totals.received += u64::from(attempt == 1);
        let minute = book.minute(self.now());
        minute.latency += latency;
        minute.memory_sum += u128::from(memory);
        minute.memory_samples += 1;
        minute.memory_peak = minute.memory_peak.max(memory);
        match kind {
            None => minute.processed += 1,
            Some(kind) => {
                minute.failed += 1;
                if minute.errors.len() < KINDS || minute.errors.contains_key(kind) {
                    let entry = minute.errors.entry(kind).or_default();
                    *entry = (entry.0 + 1, Timestamp::now());
                }
            }
        }
    }

    pub fn totals(&self) -> Totals {
        self.book.lock().totals
    }

    /// The measurements of the last `period`, in whole minutes, including the current one.
    pub fn read(&self, period: Duration) -> Reading {
        let now = self.now();
        let first = now.saturating_sub(period.as_secs() / 60);
        let book = self.book.lock();
        let mut reading = Reading::default();
        let (mut latency, mut guest, mut memory, mut samples) = (Duration::ZERO, Duration::ZERO, 0u128, 0u64);
        for minute in book.minutes.iter().filter(|minute| minute.number >= first) {
            reading.processed += minute.processed;
            reading.failed += minute.failed;
            latency += minute.latency;
            guest += minute.guest;
            memory += minute.memory_sum;
            samples += minute.memory_samples;
            reading.memory_peak = reading.memory_peak.max(minute.memory_peak);
            let length = if minute.number == now {
                self.seconds_of_minute()
            } else {
                60.0
            };
            reading.cpu_peak = reading.cpu_peak.max(minute.guest.as_secs_f64() / length);
            reading
                .errors
                .extend(minute.errors.iter().map(|(kind, (count, at))| (*at, *kind, *count)));
        }
        let lived = self.began.elapsed().min(period.max(Duration::from_secs(60)));
        reading.cpu_average = guest.as_secs_f64() / lived.as_secs_f64().max(1.0);
        reading.cpu_peak = reading.cpu_peak.max(reading.cpu_average);
        reading.average_latency = mean(latency, reading.processed + reading.failed);
        reading.memory_average = memory.checked_div(samples.into()).map_or_else(
            || self.memory(),
            |mean| u64::try_from(mean).expect("a mean of u64s is one"),
        );
        reading.memory_peak = reading.memory_peak.max(self.memory());
        reading
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_secs() / 60
    }

    fn seconds_of_minute(&self) -> f64 {
        (self.began.elapsed().as_secs_f64() % 60.0).max(1.0)
    }
}

impl Book {
    fn minute(&mut self, number: u64) -> &mut Minute {
        if self.minutes.back().is_none_or(|last| last.number != number) {
            let oldest = number.saturating_sub(LONGEST.as_secs() / 60);
            while self.minutes.front().is_some_and(|minute| minute.number < oldest) {
                self.minutes.pop_front();
            }
            self.minutes.push_back(Minute {
                number,
                ..Minute::default()
            });
        }
        self.minutes.back_mut().expect("one was just pushed")
    }
}

fn mean(sum: Duration, count: u64) -> Duration {
    match u32::try_from(count) {
        Ok(0) => Duration::ZERO,
        Ok(count) => sum / count,
        Err(_) => sum.div_f64(count as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_by_how_they_ended() {
        let meter = Meter::new(Arc::default());
        let usage = |memory_bytes| Usage {
            guest_time: Duration::from_millis(1),
            fuel: Some(7),
            memory_bytes,
        };
        meter.used(&usage(1_000));
        meter.turn(Duration::from_millis(10), 1, None);
        meter.used(&usage(900));
        meter.turn(Duration::from_millis(30), 2, Some("trap"));
        meter.sent(3);
        let totals = meter.totals();
        assert_eq!((totals.processed, totals.failed), (1, 1));
        assert_eq!(totals.average_latency(), Duration::from_millis(20));
        assert_eq!((totals.guest, totals.fuel), (Duration::from_millis(2), 14));
        assert_eq!((totals.received, totals.sent), (1, 3));
        assert_eq!((meter.memory(), meter.memory_peak()), (900, 1_000));
        let reading = meter.read(Duration::from_secs(3600));
        assert_eq!((reading.processed, reading.failed, reading.memory_peak), (1, 1, 1_000));
        assert_eq!(reading.errors.len(), 1);
        assert!(reading.cpu_average > 0.0 && reading.cpu_peak >= reading.cpu_average);
    }
}
