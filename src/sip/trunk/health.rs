//! Whether a destination lives, with hysteresis: some failures in a row take it down, some answers in a row bring it up
//! again. Pure; slow-path thread; saved, so that a standby need not learn it anew.

use serde::{Deserialize, Serialize};

use crate::{base::Time, config::TrunkHealth};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    up: bool,
    /// Answers (while down) or failures (while up) in a row that speak for a change.
    against: u32,
    /// Of the last change.
    since: Option<Time>,
    /// Something was heard or missed so far.
    known: bool,
}

impl Default for Health {
    /// Up until the contrary is shown: a call that is tried says more than one that is not.
    fn default() -> Self {
        Health { up: true, against: 0, since: None, known: false }
    }
}

impl Health {
    pub fn is_up(&self) -> bool {
        self.up
    }

    pub fn is_known(&self) -> bool {
        self.known
    }

    pub fn since(&self) -> Option<Time> {
        self.since
    }

    /// A probe was answered, or came to nothing. True: the destination changed.
    pub fn note(&mut self, now: Time, rule: &TrunkHealth, alive: bool) -> bool {
        self.known = true;
        if alive == self.up {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = if self.up { rule.down_after } else { rule.up_after };
        if self.against < needed {
            return false;
        }
        *self = Health { up: alive, against: 0, since: Some(now), known: true };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rule: &TrunkHealth, answers: &str) -> String {
        let mut health = Health::default();
        let states = answers.chars().map(|answer| {
            health.note(Time::from_secs(1), rule, answer == 'y');
            if health.is_up() { 'U' } else { 'd' }
        });
        states.collect()
    }

    #[test]
    fn it_takes_several_in_a_row_to_change() {
        let rule = TrunkHealth { up_after: 2, down_after: 3, ..TrunkHealth::default() };
        assert_eq!(run(&rule, "ynnynnyynnnnynynyyn"), "UUUUUUUUUUdddddddUU");
        let rule = TrunkHealth { up_after: 1, down_after: 1, ..TrunkHealth::default() };
        assert_eq!(run(&rule, "nynny"), "dUddU");
    }
}
