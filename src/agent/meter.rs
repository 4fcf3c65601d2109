//! Measurements of what an agent has used and done.
//!
//! The agent's totals and its minutes of the last 24 hours count all its versions and instances, for as long as the agent is on
//! this node. Beside them each version has totals of its own: what its instances did, and nothing of other versions. So the
//! agent's totals are the sum of its versions' until a version is forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::id::{InstanceId, MessageId};
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
    /// The instance that crashed.
    pub instance: InstanceId,
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

/// What an agent or one of its versions has done and used since the agent's meter was created, summed over the instances.
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
    /// The agent's totals, over all versions.
    totals: Totals,
    /// The totals of each version, by revision.
    versions: BTreeMap<u32, Totals>,
    /// The linear memory of each running instance, in bytes.
    memory: BTreeMap<InstanceId, u64>,
    /// The most linear memory that one instance had at the end of a call.
    memory_peak: u64,
    minutes: VecDeque<Minute>,
}

/// Measures one agent.
#[derive(Debug)]
pub struct Meter {
    began: Instant,
    book: Mutex<Book>,
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
            spawns,
            crashes: Mutex::default(),
        }
    }

    pub fn crashed(&self, report: CrashReport) {
        self.book.lock().count(report.instance, |totals| totals.crashed += 1);
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
    pub fn ended(&self, instance: InstanceId) {
        self.book.lock().memory.remove(&instance);
    }

    /// Adds what one call of the guest used.
    pub fn used(&self, instance: InstanceId, usage: &Usage) {
        let mut book = self.book.lock();
        book.memory.insert(instance, usage.memory_bytes);
        book.memory_peak = book.memory_peak.max(usage.memory_bytes);
        book.count(instance, |totals| {
            totals.guest += usage.guest_time;
            totals.fuel = totals.fuel.saturating_add(usage.fuel.unwrap_or(0));
        });
        book.minute(self.now()).guest += usage.guest_time;
    }

    /// Counts messages that took effect with a turn of `instance`.
    pub fn sent(&self, instance: InstanceId, messages: usize) {
        self.book
            .lock()
            .count(instance, |totals| totals.sent += messages as u64);
    }

    /// Bytes of linear memory of all running instances together.
    pub fn memory(&self) -> u64 {
        self.book.lock().memory()
    }

    /// The most linear memory that one instance had at the end of a call.
    pub fn memory_peak(&self) -> u64 {
        self.book.lock().memory_peak
    }

    /// Counts a turn of `instance` on a message. The turn ended at its attempt number `attempt`, without an error or with one of
    /// `kind`.
    pub fn turn(&self, instance: InstanceId, latency: Duration, attempt: u32, kind: Option<&'static str>) {
        let mut book = self.book.lock();
        book.count(instance, |totals| {
            totals.latency += latency;
            totals.processed += u64::from(kind.is_none());
            totals.failed += u64::from(kind.is_some());
            totals.received += u64::from(attempt == 1);
        });
        let memory = book.memory();
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

    /// The agent's totals, over all versions.
    pub fn totals(&self) -> Totals {
        self.book.lock().totals
    }

    /// The totals of one version. They are zero before its first turn.
    pub fn totals_of(&self, revision: u32) -> Totals {
        self.book.lock().versions.get(&revision).copied().unwrap_or_default()
    }

    /// Forgets the totals of a version that is no longer kept. The agent's totals still include them.
    pub fn forget(&self, revision: u32) {
        self.book.lock().versions.remove(&revision);
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
            || book.memory(),
            |mean| u64::try_from(mean).expect("a mean of u64s is one"),
        );
        reading.memory_peak = reading.memory_peak.max(book.memory());
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
    /// Adds to the totals of the agent and to those of the instance's version.
    fn count(&mut self, instance: InstanceId, add: impl Fn(&mut Totals)) {
        add(&mut self.totals);
        add(self.versions.entry(instance.revision).or_default());
    }

    fn memory(&self) -> u64 {
        self.memory.values().sum()
    }

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
        let instance = InstanceId::FIRST;
        meter.used(instance, &usage(1_000));
        meter.turn(instance, Duration::from_millis(10), 1, None);
        meter.used(instance, &usage(900));
        meter.turn(instance, Duration::from_millis(30), 2, Some("trap"));
        meter.sent(instance, 3);
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

    #[test]
    fn a_version_has_totals_of_its_own_and_the_agents_outlive_them() {
        let meter = Meter::new(Arc::default());
        let instance = |revision, number| InstanceId { revision, number };
        meter.turn(instance(1, 1), Duration::from_millis(10), 1, None);
        meter.turn(instance(1, 2), Duration::from_millis(10), 1, Some("trap"));
        meter.turn(instance(2, 1), Duration::from_millis(40), 1, None);
        meter.sent(instance(2, 1), 3);
        let (first, second) = (meter.totals_of(1), meter.totals_of(2));
        assert_eq!((first.processed, first.failed, first.sent), (1, 1, 0));
        assert_eq!((second.processed, second.failed, second.sent), (1, 0, 3));
        assert_eq!(second.average_latency(), Duration::from_millis(40));
        meter.forget(1);
        assert_eq!(meter.totals_of(1), Totals::default());
        let totals = meter.totals();
        assert_eq!((totals.processed, totals.failed, totals.sent), (2, 1, 3));
    }

    #[test]
    fn the_memory_of_an_agent_is_that_of_all_its_running_instances() {
        let meter = Meter::new(Arc::default());
        let instance = |number| InstanceId { revision: 1, number };
        let usage = |memory_bytes| Usage {
            memory_bytes,
            ..Usage::default()
        };
        meter.used(instance(1), &usage(700));
        meter.used(instance(2), &usage(300));
        meter.used(instance(1), &usage(600));
        assert_eq!((meter.memory(), meter.memory_peak()), (900, 700));
        meter.ended(instance(1));
        assert_eq!((meter.memory(), meter.memory_peak()), (300, 700));
    }
}
