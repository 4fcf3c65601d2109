//! Restart intensity: how many restarts are allowed within which period.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A restart intensity. More than `restarts` restarts within `period` are a meltdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Intensity {
    /// Restarts allowed within the period.
    pub restarts: u32,
    /// The length of the sliding window in which restarts are counted.
    pub period: Duration,
}

impl Intensity {
    /// Allows `restarts` restarts within `period`.
    pub const fn new(restarts: u32, period: Duration) -> Self {
        Self { restarts, period }
    }
}

/// A restart still counts at the very end of the period. A timer that waits until it no longer counts waits this much longer.
const TICK: Duration = Duration::from_millis(1);

/// The sliding window: a restart intensity, and the restarts that count toward it.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    intensity: Intensity,
    restarts: VecDeque<Instant>,
}

impl Window {
    pub(crate) fn new(intensity: Intensity) -> Self {
        Self {
            intensity,
            restarts: VecDeque::new(),
        }
    }

    /// Counts one restart and returns whether the intensity allows it. The window never holds more restarts than the intensity
    /// allows.
    pub(crate) fn record(&mut self, now: Instant) -> bool {
        self.forget_old(now);
        self.restarts.push_back(now);
        let allowed = self.restarts.len() <= self.intensity.restarts as usize;
        if !allowed {
            self.restarts.pop_front();
        }
        allowed
    }

    /// The number of restarts that count at this time.
    pub(crate) fn used(&self, now: Instant) -> u32 {
        let counted = self.restarts.iter().filter(|at| self.counts(**at, now));
        u32::try_from(counted.count()).unwrap_or(u32::MAX)
    }

    /// The time until the oldest restart that counts has left the window.
    pub(crate) fn moves_in(&self, now: Instant) -> Option<Duration> {
        let oldest = self.restarts.iter().find(|at| self.counts(**at, now))?;
        let left = self
            .intensity
            .period
            .saturating_sub(now.saturating_duration_since(*oldest));
        Some(left + TICK)
    }

    pub(crate) fn intensity(&self) -> Intensity {
        self.intensity
    }

    /// Changes the intensity. The latest restarts count under the new one, as many as it allows.
    pub(crate) fn set_intensity(&mut self, intensity: Intensity) {
        self.intensity = intensity;
        let surplus = self.restarts.len().saturating_sub(intensity.restarts as usize);
        self.restarts.drain(..surplus);
    }

    pub(crate) fn clear(&mut self) {
        self.restarts.clear();
    }

    fn counts(&self, at: Instant, now: Instant) -> bool {
        now.saturating_duration_since(at) <= self.intensity.period
    }

    fn forget_old(&mut self, now: Instant) {
        while self.restarts.front().is_some_and(|at| !self.counts(*at, now)) {
            self.restarts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn more_than_the_budget_within_the_period_is_refused() {
        let start = Instant::now();
        let mut window = Window::new(Intensity::new(2, 5 * SECOND));
        assert!(window.record(start));
        assert!(window.record(start + SECOND));
        assert!(!window.record(start + 2 * SECOND));
    }

    #[test]
    fn a_failure_every_four_seconds_with_five_in_five_seconds_never_melts_down() {
        let start = Instant::now();
        let mut window = Window::new(Intensity::new(5, 5 * SECOND));
        assert!((0..10_000).all(|n| window.record(start + n * 4 * SECOND)));
        assert!(window.restarts.len() <= 2);
    }

    #[test]
    fn a_budget_of_zero_allows_none() {
        let mut window = Window::new(Intensity::new(0, SECOND));
        assert!(!window.record(Instant::now()));
    }

    #[test]
    fn the_window_slides() {
        let start = Instant::now();
        let mut window = Window::new(Intensity::new(1, SECOND));
        assert!(window.record(start));
        assert_eq!(window.used(start + SECOND), 1);
        assert_eq!(window.used(start + 2 * SECOND), 0);
        assert!(window.record(start + 2 * SECOND));
    }

    #[test]
    fn the_window_tells_when_it_moves_next() {
        let start = Instant::now();
        let mut window = Window::new(Intensity::new(2, 5 * SECOND));
        assert_eq!(window.moves_in(start), None);
        window.record(start);
        window.record(start + SECOND);
        assert_eq!(window.moves_in(start + SECOND), Some(4 * SECOND + TICK));
        let moved = start + 5 * SECOND + TICK;
        assert_eq!(window.used(moved), 1);
        assert_eq!(window.moves_in(moved), Some(SECOND));
    }

    #[test]
    fn a_smaller_budget_keeps_the_latest_restarts() {
        let start = Instant::now();
        let mut window = Window::new(Intensity::new(3, 5 * SECOND));
        for n in 0..3 {
            window.record(start + n * SECOND);
        }
        window.set_intensity(Intensity::new(1, 5 * SECOND));
        assert_eq!(window.used(start + 7 * SECOND), 1);
        assert_eq!(window.used(start + 8 * SECOND), 0);
    }
}
