//! Backoff: the delay before the next restart of a child.

use std::time::Duration;

/// Delays before the restarts of a child that keeps failing.
///
/// The first restart is immediate and the second waits for `min`. Each further delay is `factor` times longer, up to `max`.
/// After an uptime of `reset_after` the next restart is a first one again.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Backoff {
    /// The delay before the second restart.
    pub min: Duration,
    /// The longest delay, jitter included.
    pub max: Duration,
    /// The ratio of each delay to the one before it. A factor below 1 counts as 1.
    pub factor: f64,
    /// The fraction of a delay, from 0 to 1, by which it is made longer or shorter at random, so that children that failed
    /// together are not restarted together.
    pub jitter: f64,
    /// The uptime after which earlier restarts no longer lengthen the delay.
    pub reset_after: Duration,
}

impl Default for Backoff {
    /// Delays from 100 ms, doubled up to 30 s, with a jitter of 0.1, reset after one minute of uptime.
    fn default() -> Self {
        Self {
            min: Duration::from_millis(100),
            max: Duration::from_secs(30),
            factor: 2.0,
            jitter: 0.1,
            reset_after: Duration::from_mins(1),
        }
    }
}

impl Backoff {
    /// The delay before a restart that follows `streak` earlier ones. `unit` is a random number from 0 to 1.
    pub fn delay(&self, streak: u32, unit: f64) -> Duration {
        let Some(exponent) = streak.checked_sub(1) else {
            return Duration::ZERO;
        };
        let exponent = i32::try_from(exponent).unwrap_or(i32::MAX);
        let grown = self.min.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        let spread = 1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * unit - 1.0);
        let seconds = (grown.min(self.max.as_secs_f64()) * spread).min(self.max.as_secs_f64());
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact() -> Backoff {
        Backoff {
            jitter: 0.0,
            ..Backoff::default()
        }
    }

    #[test]
    fn the_first_restart_is_immediate_and_the_second_waits_the_minimum() {
        assert_eq!(exact().delay(0, 0.5), Duration::ZERO);
        assert_eq!(exact().delay(1, 0.5), Duration::from_millis(100));
    }

    #[test]
    fn delays_grow_by_the_factor_up_to_the_maximum() {
        assert_eq!(exact().delay(2, 0.5), Duration::from_millis(200));
        assert_eq!(exact().delay(4, 0.5), Duration::from_millis(800));
        assert_eq!(exact().delay(20, 0.5), Duration::from_secs(30));
        assert_eq!(exact().delay(u32::MAX, 0.5), Duration::from_secs(30));
    }

    #[test]
    fn jitter_stays_within_its_share_and_below_the_maximum() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(1, 0.0), Duration::from_millis(90));
        assert_eq!(backoff.delay(1, 1.0), Duration::from_millis(110));
        assert_eq!(backoff.delay(20, 1.0), backoff.max);
    }
}
