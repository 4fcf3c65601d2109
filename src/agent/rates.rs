//! The rates that an agent may not exceed: guest time, messages and log lines.
//!
//! They belong to the agent and not to an instance. Several instances share them, and a restart of an instance forgets no debt. A
//! turn is not interrupted by a rate: it ends, and what it used beyond the rate is a debt that the next turn of any instance
//! waits for. With `n` instances the agent exceeds a rate by at most `n` turns, because those that have begun know nothing of
//! each other.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::spec::Resources;
use crate::quantity::Cpu;
use crate::rate::Rate;
use crate::wasm::LogRate;

pub struct Rates {
    turns: Mutex<Turns>,
    /// The limit on its log lines, which no turn waits for: what is over it is dropped.
    pub log: LogRate,
}

/// The rates that turns wait for.
struct Turns {
    /// When the guest time used so far has been paid for with time.
    guest_paid: Instant,
    sends: Rate,
}

impl Rates {
    pub fn new(resources: &Resources, now: Instant) -> Self {
        Self {
            turns: Mutex::new(Turns {
                guest_paid: now,
                sends: Rate::new(resources.sends_per_second.into(), now),
            }),
            log: LogRate::new(resources.log_bytes_per_second.bytes()),
        }
    }

    /// How long the next turn must wait.
    pub fn wait(&self, now: Instant) -> Duration {
        let turns = self.turns.lock();
        let guest = turns.guest_paid.saturating_duration_since(now);
        guest.max(turns.sends.debt(now))
    }

    /// Counts the guest time of a turn that ended at `now`. Only a limit in millicores has a price for it: at a tenth of a core,
    /// each millisecond costs ten.
    pub fn spend_guest_time(&self, used: Duration, limit: Option<Cpu>, now: Instant) {
        if let Some(Cpu::Millicores(millicores)) = limit {
            let price = used.mul_f64(1_000.0 / f64::from(millicores));
            let began = now.checked_sub(used).unwrap_or(now);
            let mut turns = self.turns.lock();
            turns.guest_paid = turns.guest_paid.max(began) + price;
        }
    }

    /// Counts messages that a turn sends at `now`.
    pub fn spend_sends(&self, messages: usize, now: Instant) {
        if messages > 0 {
            self.turns.lock().sends.take(messages as u64, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const TENTH: Option<Cpu> = Some(Cpu::Millicores(100));

    fn rates(now: Instant) -> Rates {
        let resources = Resources {
            sends_per_second: 100,
            ..Resources::default()
        };
        Rates::new(&resources, now)
    }

    #[test]
    fn guest_time_is_paid_for_from_the_begin_of_the_turn() {
        let start = Instant::now();
        let rates = rates(start);
        rates.spend_guest_time(5 * MILLI, TENTH, start + 5 * MILLI);
        assert_eq!(rates.wait(start + 5 * MILLI), 45 * MILLI);
        assert_eq!(rates.wait(start + 50 * MILLI), Duration::ZERO);
    }

    #[test]
    fn turns_at_once_pay_for_each_other() {
        let start = Instant::now();
        let rates = rates(start);
        for _ in 0..2 {
            rates.spend_guest_time(5 * MILLI, TENTH, start + 5 * MILLI);
        }
        assert_eq!(rates.wait(start + 5 * MILLI), 95 * MILLI);
    }

    #[test]
    fn guest_time_is_free_without_a_rate() {
        let start = Instant::now();
        let rates = rates(start);
        for limit in [None, Some(Cpu::Fuel(10))] {
            rates.spend_guest_time(5 * MILLI, limit, start + 5 * MILLI);
        }
        assert_eq!(rates.wait(start + 5 * MILLI), Duration::ZERO);
    }

    #[test]
    fn messages_beyond_a_seconds_worth_are_waited_for() {
        let start = Instant::now();
        let rates = rates(start);
        rates.spend_sends(60, start);
        assert_eq!(rates.wait(start), Duration::ZERO);
        rates.spend_sends(60, start);
        assert_eq!(rates.wait(start), 200 * MILLI);
    }
}
