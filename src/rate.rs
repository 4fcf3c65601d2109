//! How much may happen in a second.

use std::time::{Duration, Instant};

/// So many units a second, and a second's worth at once after a rest: the generic cell rate algorithm (ITU-T I.371).
#[derive(Clone, Debug)]
pub struct Rate {
    per_second: f64,
    /// When all that was taken has been paid for. In the past, there is a full second's worth.
    paid: Instant,
}

impl Rate {
    pub fn new(per_second: u64, now: Instant) -> Self {
        Self {
            per_second: per_second as f64,
            paid: now,
        }
    }

    /// Whether so many units can be taken now and are within the rate.
    pub fn allows(&self, units: u64, now: Instant) -> bool {
        let owed = self.paid.saturating_duration_since(now).as_secs_f64();
        units as f64 <= self.per_second * (1.0 - owed)
    }

    /// Takes units, whether there are so many or not.
    pub fn take(&mut self, units: u64, now: Instant) {
        const LONGEST: f64 = 3_600.0;
        let price = (units as f64 / self.per_second).min(LONGEST); // nothing at all a second: an hour
        self.paid = self.paid.max(now) + Duration::from_secs_f64(price);
    }

    /// How long until what was taken beyond the rate is paid for; zero when nothing was.
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
