//! How the node shows what it does: log lines, Prometheus metrics, and the figures of `GET /api/v1/metrics/system`.

mod log;
mod metrics;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

pub use self::log::{flush, log, log_at, say};
pub use self::metrics::{prometheus, refresh, upkeep};

/// Seconds over which the rate of turns is averaged.
const RATE_SECONDS: u64 = 10;
/// An hour, in microseconds. A longer latency is counted as this one.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// Counts turns as they are recorded.
#[derive(Debug)]
pub struct Turns {
    inner: Mutex<Inner>,
    began: Instant,
}

#[derive(Debug)]
struct Inner {
    processed: u64,
    latency: Histogram<u64>,
    /// For each second since the start: its number, and the turns that ended in it. Only the last [`RATE_SECONDS`] and the current
    /// one are kept.
    seconds: VecDeque<(u64, u64)>,
}

/// What [`Turns`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TurnFigures {
    pub processed: u64,
    pub per_second: f64,
    pub latency_p50: Duration,
    pub latency_p99: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                processed: 0,
                latency: Histogram::new_with_bounds(1, LONGEST_MICROS, 2).expect("the bounds are in order"),
                seconds: VecDeque::new(),
            }),
            began: Instant::now(),
        }
    }
}

impl Turns {
    /// Counts a turn that ended. `end` is `ok`, `error`, or the kind of the crash.
    pub fn ended(&self, latency_micros: u64, end: &str) {
        ::metrics::counter!("caxton_turns_total", "end" => end.to_owned()).increment(1);
        ::metrics::histogram!("caxton_turn_latency_seconds")
            .record(Duration::from_micros(latency_micros).as_secs_f64());
        let second = self.began.elapsed().as_secs();
        let mut inner = self.inner.lock();
        inner.processed += 1;
        inner.latency.saturating_record(latency_micros);
        match inner.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => {
                inner.seconds.push_back((second, 1));
                inner.forget(second);
            }
        }
    }

    pub fn figures(&self) -> TurnFigures {
        let lived = self.began.elapsed();
        let second = lived.as_secs();
        let mut inner = self.inner.lock();
        inner.forget(second);
        let turns: u64 = inner
            .seconds
            .iter()
            .filter(|(at, _)| *at < second)
            .map(|(_, count)| count)
            .sum();
        let whole = second.clamp(1, RATE_SECONDS);
        TurnFigures {
            processed: inner.processed,
            per_second: turns as f64 / whole as f64,
            latency_p50: Duration::from_micros(inner.latency.value_at_quantile(0.5)),
            latency_p99: Duration::from_micros(inner.latency.value_at_quantile(0.99)),
        }
    }
}

impl Inner {
    fn forget(&mut self, second: u64) {
        while self.seconds.front().is_some_and(|(at, _)| at + RATE_SECONDS < second) {
            self.seconds.pop_front();
        }
    }
}

/// How long the instances of all agents took to start.
#[derive(Debug, Default)]
pub struct Spawns {
    count: AtomicU64,
    micros: AtomicU64,
}

impl Spawns {
    pub fn add(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros
            .fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        ::metrics::histogram!("caxton_agent_spawn_seconds").record(took.as_secs_f64());
    }

    /// The mean time of a start; zero before the first.
    pub fn mean(&self) -> Duration {
        let micros = self.micros.load(Ordering::Relaxed);
        Duration::from_micros(micros.checked_div(self.count.load(Ordering::Relaxed)).unwrap_or(0))
    }
}

/// How long children of the tree were down, from the exit to running again.
#[derive(Debug)]
pub struct Recoveries(Mutex<Histogram<u64>>);

/// What [`Recoveries`] counted; zero before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RecoveryFigures {
    pub count: u64,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Default for Recoveries {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_MICROS, 2).expect("the bounds are in order");
        Self(Mutex::new(histogram))
    }
}

impl Recoveries {
    pub fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.lock().saturating_record(micros);
    }

    pub fn figures(&self) -> RecoveryFigures {
        let histogram = self.0.lock();
        // The histogram gives the upper end of a quantile's bucket, which may be greater than the largest value.
        let longest = histogram.max();
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile).min(longest));
        RecoveryFigures {
            count: histogram.len(),
            p50: at(0.5),
            p99: at(0.99),
            max: Duration::from_micros(longest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_ranked() {
        let turns = Turns::default();
        for _ in 0..99 {
            turns.ended(1_000, "ok");
        }
        turns.ended(1_000_000, "ok");
        let figures = turns.figures();
        assert_eq!(figures.processed, 100);
        assert!(figures.latency_p50 < Duration::from_millis(2));
        assert!(figures.latency_p99 < Duration::from_secs(2));
    }

    #[test]
    fn recoveries_are_ranked_and_nothing_is_zero() {
        let recoveries = Recoveries::default();
        assert_eq!(recoveries.figures(), RecoveryFigures::default());
        for millis in 1..=100 {
            recoveries.add(Duration::from_millis(millis));
        }
        let figures = recoveries.figures();
        assert_eq!(figures.count, 100);
        assert!(figures.p50.abs_diff(Duration::from_millis(50)) < Duration::from_millis(2));
        assert!(figures.p50 < figures.p99 && figures.p99 <= figures.max);
        recoveries.add(Duration::from_secs(1_000_000)); // longer than the histogram can hold
        assert!(recoveries.figures().max >= Duration::from_secs(3_600));
    }
}
