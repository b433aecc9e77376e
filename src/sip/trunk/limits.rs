//! Limits of a trunk: calls in progress at once, and new calls per second. Pure; slow-path thread.
//!
//! A rate is kept by the generic cell rate algorithm (ITU-T I.371 Annex A): one time says how far ahead of its rate the
//! trunk is, so that nothing is counted down and the state is one number.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TrunkState;
use crate::{
    base::Time,
    config::{Trunk, TrunkLimits},
    sip::{
        endpoint::{Cause, Core, Level, Refusal, Turn},
        message::HeaderName,
    },
};

/// RFC 3261 §21.5.4: when a caller who found no room may come again. When a call will end nobody knows.
const ROOM_AGAIN_S: u64 = 10;

/// Which way the call goes, as tandem sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the trunk.
    In,
    /// To the trunk.
    Out,
}

impl Direction {
    pub const BOTH: [Direction; 2] = [Direction::In, Direction::Out];

    pub const fn index(self) -> usize {
        match self {
            Direction::In => 0,
            Direction::Out => 1,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}

/// Kinds of limits.
pub const LIMITS: usize = 2;

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    Calls,
    /// It fits again after this time.
    Rate(Duration),
}

impl Reached {
    pub const NAMES: [&'static str; LIMITS] = ["max_calls", "calls_per_second"];

    const fn index(self) -> usize {
        match self {
            Reached::Calls => 0,
            Reached::Rate(_) => 1,
        }
    }

    fn retry_after_s(self) -> u64 {
        match self {
            Reached::Calls => ROOM_AGAIN_S,
            Reached::Rate(wait) => wait.as_millis().div_ceil(1_000).clamp(1, 3_600) as u64,
        }
    }
}

/// How far ahead of one rate the trunk is: when it is level again, in nanoseconds on the state's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate(u64);

impl Rate {
    /// Nanoseconds between two calls, and by how much calls may be ahead of that.
    fn spacing(per_second: u32, burst: u32) -> (u64, u64) {
        let interval = 1_000_000_000 / u64::from(per_second.max(1));
        (interval, interval * (u64::from(burst.max(1)) - 1))
    }

    /// How long one more call must wait; zero: it fits.
    fn wait(self, now: Time, per_second: u32, burst: u32) -> Duration {
        let (_, ahead) = Self::spacing(per_second, burst);
        Duration::from_nanos(self.0.saturating_sub(now.as_micros().saturating_mul(1_000)).saturating_sub(ahead))
    }

    fn take(&mut self, now: Time, per_second: u32, burst: u32) {
        let (interval, _) = Self::spacing(per_second, burst);
        self.0 = self.0.max(now.as_micros().saturating_mul(1_000)).saturating_add(interval);
    }
}

/// The rates of a trunk: both directions together, in, out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates([Rate; 3]);

impl TrunkState {
    /// Takes one call of the rates if all limits leave room for it, else takes nothing.
    pub fn take(&mut self, limits: &TrunkLimits, direction: Direction, now: Time) -> Result<(), Reached> {
        let all = self.calls[0].saturating_add(self.calls[1]);
        let (one_way, rate) = match direction {
            Direction::In => (limits.max_calls_in, limits.calls_per_second_in),
            Direction::Out => (limits.max_calls_out, limits.calls_per_second_out),
        };
        let full = |calls: u32, most: Option<u32>| most.is_some_and(|most| calls >= most);
        if full(all, limits.max_calls) || full(self.calls[direction.index()], one_way) {
            return Err(Reached::Calls);
        }
        let own = 1 + direction.index();
        let binding = [(0, limits.calls_per_second), (own, rate)];
        let binding = binding.map(|(at, per_second)| Some((at, per_second?, limits.burst.unwrap_or(per_second?))));
        let waits = binding.iter().flatten().map(|&(at, rate, burst)| self.rates.0[at].wait(now, rate, burst));
        let wait = waits.max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(Reached::Rate(wait));
        }
        for (at, per_second, burst) in binding.into_iter().flatten() {
            self.rates.0[at].take(now, per_second, burst);
        }
        Ok(())
    }

    /// Refusals of this process.
    pub fn refused(&self, direction: Direction) -> [u64; LIMITS] {
        self.refused[direction.index()]
    }
}

/// One more call from or to a trunk: taken of its rates, or the refusal. To a trunk, each destination tried is a call of
/// its rate, because that is what its far end sees.
pub fn admit(core: &mut Core, turn: &Turn<'_>, trunk: &str, direction: Direction) -> Result<(), Refusal> {
    let Some(limits) = configured(core, trunk).map(|trunk| &trunk.limits) else { return Ok(()) };
    if *limits == TrunkLimits::default() {
        return Ok(());
    }
    let limits = limits.clone();
    let Some(state) = core.live.trunks.by_name.get_mut(trunk) else { return Ok(()) };
    let Err(reached) = state.take(&limits, direction, turn.now) else { return Ok(()) };
    let count = &mut state.refused[direction.index()][reached.index()];
    *count += 1;
    // A trunk at its limit refuses many: one line tells of it, the counter of the rest.
    if count.is_power_of_two() {
        let name = Reached::NAMES[reached.index()];
        let text = format!("trunk {trunk} is at its limit {name} ({}); refused so far: {count}", direction.as_str());
        core.log(Level::Warn, None, None, text);
    }
    Err(Refusal::new(503, Cause::Limit).with(HeaderName::RetryAfter, reached.retry_after_s().to_string()))
}

pub(in crate::sip) fn configured<'a>(core: &'a Core, name: &str) -> Option<&'a Trunk> {
    core.config.trunks.get(usize::from(core.routing.trunk(name)?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> TrunkLimits {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_rate_lets_its_burst_pass_and_then_one_each_interval() {
        let limits = limits("calls_per_second = 10\nburst = 3");
        let mut state = TrunkState::default();
        let mut at = |ms| state.take(&limits, Direction::In, Time::from_millis(ms));
        assert_eq!([at(1_000), at(1_000), at(1_000)], [Ok(()); 3]);
        assert_eq!(at(1_000), Err(Reached::Rate(Duration::from_millis(100))));
        assert_eq!(at(1_099), Err(Reached::Rate(Duration::from_millis(1))));
        assert_eq!(at(1_100), Ok(()));
        assert!(at(1_100).is_err());
        // A quiet time fills the burst again, and no more than that.
        assert_eq!([at(60_000), at(60_000), at(60_000)], [Ok(()); 3]);
        assert!(at(60_000).is_err());
    }

    #[test]
    fn without_a_burst_a_second_of_calls_may_come_at_once() {
        let limits = limits("calls_per_second_out = 5");
        let mut state = TrunkState::default();
        let now = Time::from_secs(7);
        let taken = (0..20).filter(|_| state.take(&limits, Direction::Out, now).is_ok()).count();
        assert_eq!(taken, 5);
        // The other direction has no limit.
        assert_eq!(state.take(&limits, Direction::In, now), Ok(()));
    }

    #[test]
    fn over_a_minute_a_rate_passes_no_more_than_it_says() {
        for per_second in [1, 3, 7, 100, 333] {
            let limits = TrunkLimits { calls_per_second: Some(per_second), burst: Some(1), ..TrunkLimits::default() };
            let mut state = TrunkState::default();
            let offered = (0..60_000).map(|ms| Time::from_millis(1_000_000 + ms));
            let taken = offered.filter(|at| state.take(&limits, Direction::In, *at).is_ok()).count();
            // To a millisecond, which is how finely calls are offered here.
            let exact = per_second as usize * 60;
            assert!(taken <= exact + 1 && taken * 10 >= exact * 7, "{per_second}: {taken} of {exact}");
        }
    }

    #[test]
    fn a_call_that_one_limit_refuses_takes_nothing_of_the_others() {
        let limits = limits("calls_per_second = 100\ncalls_per_second_in = 1\nburst = 1");
        let mut state = TrunkState::default();
        let now = Time::from_secs(5);
        assert_eq!(state.take(&limits, Direction::In, now), Ok(()));
        let after = state.rates;
        assert!(state.take(&limits, Direction::In, now + Duration::from_millis(20)).is_err());
        assert_eq!(state.rates, after);
        assert_eq!(state.take(&limits, Direction::Out, now + Duration::from_millis(20)), Ok(()));
    }

    #[test]
    fn calls_are_limited_together_and_each_way() {
        let limits = limits("max_calls = 3\nmax_calls_in = 2");
        let mut state = TrunkState { calls: [2, 0], ..TrunkState::default() };
        let now = Time::from_secs(5);
        assert_eq!(state.take(&limits, Direction::In, now), Err(Reached::Calls));
        assert_eq!(state.take(&limits, Direction::Out, now), Ok(()));
        state.calls = [1, 2];
        assert_eq!(state.take(&limits, Direction::Out, now), Err(Reached::Calls));
        assert_eq!(state.take(&limits, Direction::In, now), Err(Reached::Calls));
    }
}
