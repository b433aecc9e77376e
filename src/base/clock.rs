//! Time as a value. Every machine in tandem takes `now: Time` as an argument and reads no clock itself, so that a test
//! can drive it through an hour in a millisecond. Only the threads' outer loops read a clock, through `Monotonic`.

use std::{
    fmt,
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A point on this process's monotonic clock, in microseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(u64);

impl Time {
    pub const ZERO: Time = Time(0);
    /// Later than every time that occurs.
    pub const NEVER: Time = Time(u64::MAX);

    pub const fn from_micros(micros: u64) -> Self {
        Time(micros)
    }

    pub const fn from_millis(millis: u64) -> Self {
        Time(millis * 1_000)
    }

    pub const fn from_secs(secs: u64) -> Self {
        Time(secs * 1_000_000)
    }

    pub const fn as_micros(self) -> u64 {
        self.0
    }

    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

impl Sub<Time> for Time {
    type Output = Duration;

    fn sub(self, earlier: Time) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The clock that the outer loops read: `Time` for machines, wall time for records.
#[derive(Clone, Copy, Debug)]
pub struct Monotonic {
    start: std::time::Instant,
}

impl Monotonic {
    pub fn start() -> Self {
        Monotonic { start: std::time::Instant::now() }
    }

    pub fn now(&self) -> Time {
        // One second of head start, so that "ten seconds ago" style arithmetic in tests and boot never meets zero.
        Time::from_secs(1) + self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Time::NEVER + Duration::from_secs(1), Time::NEVER);
        assert_eq!(Time::from_millis(3).since(Time::from_millis(5)), Duration::ZERO);
        assert_eq!(Time::from_secs(2) - Time::from_millis(500), Duration::from_millis(1500));
        assert_eq!(Time::from_millis(1500).to_string(), "1.500000");
    }
}
