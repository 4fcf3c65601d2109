//! Time: timestamps on the wall clock, as the API and the journal represent them, and moments on both clocks.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};
use jiff::fmt::temporal::Pieces;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// Microseconds since 1970, printed as RFC 3339 in UTC.
///
/// Invariant: the time is from [`Self::MIN`] to [`Self::MAX`]. That is the range of RFC 3339 and of protobuf, so whatever is
/// printed can be read again, on every front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// The time on the steady clock: the wall clock as it was when this process first asked, moved on by the monotonic clock.
    /// Nobody can set it, so that what is due in a second is due in a second. It is for due times and ages within the
    /// process; whatever is stored or shown is on the wall clock.
    pub fn steady() -> Self {
        static START: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| (Timestamp::now(), Instant::now()));
        let (wall, began) = *START;
        wall.plus(began.elapsed())
    }

    /// The time, or the nearer end of the range.
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// The time, or None if it is out of the range.
    pub fn within_range(micros: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&micros).then_some(Self(micros))
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// One moment, read from all clocks. Deadlines that people set are on the wall clock, due times of timers on the steady one, and
/// intervals on the monotonic one. Actors read it, and pass it to the pure steps that decide.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub wall: Timestamp,
    /// See [`Timestamp::steady`].
    pub steady: Timestamp,
    pub monotonic: Instant,
}

impl Moment {
    pub fn now() -> Self {
        Self {
            wall: Timestamp::now(),
            steady: Timestamp::steady(),
            monotonic: Instant::now(),
        }
    }

    /// The time on the wall clock that is as far from now as `steady` is on the steady clock.
    pub fn on_the_wall(&self, steady: Timestamp) -> Timestamp {
        self.wall
            .plus(steady.since(self.steady))
            .minus(self.steady.since(steady))
    }

    /// The time on the steady clock that is as far from now as `wall` is on the wall clock.
    pub fn on_the_steady_clock(&self, wall: Timestamp) -> Timestamp {
        self.steady.plus(wall.since(self.wall)).minus(self.wall.since(wall))
    }

    /// How long ago `at` was, a time on the wall clock. If somebody set the clock since, the wall clock and the steady clock
    /// disagree, and the one that says less is believed: nothing expires early.
    pub fn age(&self, at: Timestamp) -> Duration {
        self.wall.since(at).min(self.steady.since(at))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = EPOCH.checked_add(SignedDuration::from_micros(self.0));
        write!(f, "{:.6}Z", time.expect("the range ends with the last civil year"))
    }
}

/// A text is no time, or one out of the range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is `{0}`, and must be an RFC 3339 time of the years 1 to 9999, such as 2024-01-15T10:30:00Z")]
pub struct InvalidTime(String);

impl FromStr for Timestamp {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        // jiff's own type for a point in time ends some hours before the year 9999 does.
        let micros = || {
            let pieces = Pieces::parse(text).ok()?;
            let offset = SignedDuration::from_secs(pieces.to_numeric_offset()?.seconds().into());
            let since = pieces.date().to_datetime(pieces.time()?).duration_since(EPOCH) - offset;
            i64::try_from(since.as_micros()).ok()
        };
        micros()
            .and_then(Self::within_range)
            .ok_or_else(|| InvalidTime(text.chars().take(40).collect()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    /// A moment a minute after the start of the process, on whose wall clock somebody has moved the hands by `hours`.
    fn moved(hours: i64) -> Moment {
        let steady = Timestamp::from_micros(1_700_000_000_000_000);
        Moment {
            wall: Timestamp::from_micros(steady.micros() + hours * 3_600_000_000),
            steady,
            monotonic: Instant::now(),
        }
    }

    #[test]
    fn a_due_time_keeps_its_distance_on_either_clock() {
        for hours in [-24, -1, 0, 1, 24] {
            let now = moved(hours);
            for due in [now.steady.plus(HOUR), now.steady, now.steady.minus(HOUR)] {
                let wall = now.on_the_wall(due);
                assert_eq!(wall.micros() - now.wall.micros(), due.micros() - now.steady.micros());
                assert_eq!(now.on_the_steady_clock(wall), due);
            }
        }
    }

    #[test]
    fn nothing_is_old_because_the_clock_was_set() {
        let before = moved(0).steady.minus(HOUR);
        assert_eq!(moved(24).age(before), HOUR, "set on after it was made");
        assert_eq!(moved(0).age(before), HOUR);
        let after_the_jump = moved(-1).wall;
        assert_eq!(
            moved(-1).age(after_the_jump),
            Duration::ZERO,
            "made after the clock was set back"
        );
    }

    #[test]
    fn a_time_survives_print_and_parse() {
        let time = Timestamp::now();
        assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
        assert_eq!(
            "2024-01-15T10:30:00Z".parse::<Timestamp>().unwrap().to_string(),
            "2024-01-15T10:30:00.000000Z"
        );
    }

    #[test]
    fn every_time_that_is_printed_can_be_read_and_no_other() {
        for (time, text) in [
            (Timestamp::MIN, "0001-01-01T00:00:00.000000Z"),
            (Timestamp::MAX, "9999-12-31T23:59:59.999999Z"),
            (Timestamp::from_micros(-1), "1969-12-31T23:59:59.999999Z"),
            (Timestamp::from_micros(i64::MAX), "9999-12-31T23:59:59.999999Z"),
            (Timestamp::MIN.minus(Duration::MAX), "0001-01-01T00:00:00.000000Z"),
            (Timestamp::now().plus(Duration::MAX), "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse(), Ok(time));
        }
        let read = |text: &str| text.parse::<Timestamp>().map(|time| time.to_string());
        assert_eq!(read("9999-12-31T23:59:59Z").unwrap(), "9999-12-31T23:59:59.000000Z");
        assert_eq!(
            read("2024-01-15t11:30:00.5+01:00").unwrap(),
            "2024-01-15T10:30:00.500000Z"
        );
        assert_eq!(
            read("9999-12-31T23:59:59+05:00").unwrap(),
            "9999-12-31T18:59:59.000000Z"
        );
        for bad in [
            "",
            "yesterday",
            "2024-01-15",
            "2024-01-15T10:30:00",
            "2024-02-30T10:30:00Z",
            "0000-12-31T23:59:59Z",
            "9999-12-31T23:59:59-00:01",
            "+010000-01-01T00:00:00Z",
        ] {
            assert_eq!(read(bad), Err(InvalidTime(bad.to_owned())), "{bad}");
        }
    }
}
