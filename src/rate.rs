//! Rate limits.

use std::time::{Duration, Instant};

/// A limit of units per second. After an idle second, the units of one second can be taken at once. This is the generic cell rate
/// algorithm (ITU-T I.371).
#[derive(Clone, Debug)]
pub struct Rate {
    per_second: f64,
    /// When all units taken so far have been paid for with time. If that was in the past, the units of a full second are there.
    paid: Instant,
}

impl Rate {
    pub fn new(per_second: u64, now: Instant) -> Self {
        Self {
            per_second: per_second as f64,
            paid: now,
        }
    }

    /// Whether `units` can be taken now without exceeding the rate.
    pub fn allows(&self, units: u64, now: Instant) -> bool {
        let owed = self.paid.saturating_duration_since(now).as_secs_f64();
        units as f64 <= self.per_second * (1.0 - owed)
    }

    /// Takes `units`, even beyond the rate. The excess is a debt.
    pub fn take(&mut self, units: u64, now: Instant) {
        const LONGEST: f64 = 3_600.0;
        let price = (units as f64 / self.per_second).min(LONGEST); // at a rate of zero the quotient is infinite
        self.paid = self.paid.max(now) + Duration::from_secs_f64(price);
    }

    /// How long until the units taken beyond the rate are paid for. Zero when there are none.
    pub fn debt(&self, now: Instant) -> Duration {
        self.paid
            .saturating_duration_since(now)
            .saturating_sub(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_is_there_at_once_and_comes_again_with_time() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut rate = Rate::new(100, start);
        assert!(rate.allows(100, start) && !rate.allows(101, start));
        rate.take(100, start);
        assert!(!rate.allows(1, start));
        assert_eq!(rate.debt(start), Duration::ZERO);
        assert!(rate.allows(49, after(500)) && !rate.allows(51, after(500)));
        rate.take(100, after(500));
        assert_eq!(rate.debt(after(500)), Duration::from_millis(500));
        assert_eq!(rate.debt(after(1_000)), Duration::ZERO);
        assert!(
            rate.allows(100, after(60_000)) && !rate.allows(101, after(60_000)),
            "rest is not saved up"
        );
    }

    #[test]
    fn a_rate_of_nothing_allows_nothing() {
        let now = Instant::now();
        let mut rate = Rate::new(0, now);
        assert!(!rate.allows(1, now));
        rate.take(1, now);
        assert!(rate.debt(now) > Duration::from_secs(60));
    }
}
