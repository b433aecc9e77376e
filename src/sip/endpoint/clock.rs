//! Translates between the caller's clock, the saved state's clock and wall time. Slow-path thread; reads no clock.
//!
//! Times inside the endpoint run on the clock of the process that created the state, so that a standby whose clock
//! differs can go on with it unchanged.

use crate::base::Time;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Microseconds to add to the caller's time.
    skew: i64,
    /// Wall time at the state's time zero, in milliseconds since 1970.
    epoch_ms: i64,
    /// When this process began with the state, on the state's clock.
    start: Time,
}

impl Clock {
    /// The caller's clock shows `outside` while the state's shows `inside` and the wall's `epoch_ms`.
    pub fn new(outside: Time, inside: Time, epoch_ms: u64) -> Self {
        let micros = |t: Time| i64::try_from(t.as_micros()).unwrap_or(i64::MAX);
        let mut clock = Clock { skew: micros(inside).saturating_sub(micros(outside)), epoch_ms: 0, start: inside };
        clock.set_wall(outside, epoch_ms);
        clock
    }

    /// The wall clock was set: records from now on follow it.
    pub fn set_wall(&mut self, outside: Time, epoch_ms: u64) {
        let inside_ms = i64::try_from(self.inside(outside).as_millis()).unwrap_or(i64::MAX);
        self.epoch_ms = i64::try_from(epoch_ms).unwrap_or(i64::MAX).saturating_sub(inside_ms);
    }

    pub fn start(&self) -> Time {
        self.start
    }

    pub fn inside(&self, outside: Time) -> Time {
        Time::from_micros(outside.as_micros().saturating_add_signed(self.skew))
    }

    pub fn outside(&self, inside: Time) -> Time {
        Time::from_micros(inside.as_micros().saturating_add_signed(self.skew.saturating_neg()))
    }

    pub fn epoch_ms(&self, inside: Time) -> u64 {
        inside.as_millis().saturating_add_signed(self.epoch_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_whose_clock_differs_goes_on_with_the_state() {
        let clock = Clock::new(Time::from_secs(7), Time::from_secs(1_000), 1_700_000_000_000);
        assert_eq!(clock.inside(Time::from_secs(8)), Time::from_secs(1_001));
        assert_eq!(clock.outside(Time::from_secs(1_001)), Time::from_secs(8));
        assert_eq!(clock.epoch_ms(Time::from_secs(1_001)), 1_700_000_001_000);
        // A state whose clock is behind, and times before the caller's zero.
        let clock = Clock::new(Time::from_secs(1_000), Time::from_secs(7), 0);
        assert_eq!(clock.inside(Time::from_secs(1_001)), Time::from_secs(8));
        assert_eq!(clock.inside(Time::from_secs(1)), Time::ZERO);
        assert_eq!(clock.outside(Time::from_secs(8)), Time::from_secs(1_001));
    }
}
