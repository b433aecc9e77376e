//! How long what waits for the slow path has waited, at most. Slow-path thread; pure.
//!
//! Nobody stamps what lies in a ring or a socket. But what was found empty once held nothing older than that moment: as long
//! as a round takes all that there is, nothing waits for longer than a round; from the first round that did not, the wait
//! may be as long as all of them together.

use std::time::Duration;

use crate::base::Time;

#[derive(Debug)]
pub struct Lateness {
    /// Nothing that waits came before this.
    empty_at: Time,
}

impl Lateness {
    pub fn new(now: Time) -> Self {
        Lateness { empty_at: now }
    }

    /// A round has taken what was ready; `all`: it left nothing behind. The longest that anything may have waited, this
    /// round not counted.
    pub fn look(&mut self, now: Time, all: bool) -> Duration {
        if all {
            self.empty_at = now;
        }
        now.since(self.empty_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_behind_grows_older_until_all_was_taken() {
        let mut lateness = Lateness::new(Time::from_millis(1_000));
        let mut look = |ms, all| lateness.look(Time::from_millis(ms), all).as_millis();
        assert_eq!([look(1_010, true), look(1_020, false), look(1_050, false)], [0, 10, 40]);
        assert_eq!([look(1_060, true), look(1_061, false)], [0, 1]);
    }
}
