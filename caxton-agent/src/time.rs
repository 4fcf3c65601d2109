//! Points in time.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

const DAY_SECONDS: u64 = 86_400;

/// The last microsecond that RFC 3339 can write: that of year 9999.
const LATEST: u64 = 253_402_300_799_999_999;

/// A time by the server's clock: microseconds since 1970-01-01T00:00:00Z. Its text is RFC 3339 in UTC, to the
/// millisecond. A time after year 9999, such as `now` and the longest duration, is written as the end of that year.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(micros(time)))
    }
}

/// The time from the other timestamp to this one; zero if the other is later.
impl Sub for Timestamp {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.min(LATEST);
        let seconds = micros / 1_000_000;
        let (year, month, day) = civil(seconds / DAY_SECONDS);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let millis = micros / 1000 % 1000;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}

/// The whole microseconds of a duration, or `u64::MAX` if there are more.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Days since 1970 as year, month and day. It counts in years that begin in March, so that the leap day is the
/// last of its year, and in cycles of 400 such years.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_leap_days_and_year_ends() {
        let text = |micros| Timestamp(micros).to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_827_696_789_000), "2000-02-29T12:34:56.789Z");
        assert_eq!(text(1_798_761_599_999_999), "2026-12-31T23:59:59.999Z");
        assert_eq!(text(4_107_542_400_000_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(text(LATEST), "9999-12-31T23:59:59.999Z");
        assert_eq!(text(u64::MAX), text(LATEST));
    }

    #[test]
    fn neither_end_of_time_is_passed() {
        let (now, second) = (Timestamp(5), Duration::from_secs(1));
        assert_eq!((now + second) - now, second);
        assert_eq!(now - (now + second), Duration::ZERO);
        assert_eq!(now + Duration::MAX, Timestamp(u64::MAX));
    }
}
