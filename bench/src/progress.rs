//! Lines that say what is being measured and how long it will still take. Any thread.
//!
//! What is left is told from what each section took where it was written: a guess, and said to be about.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

pub struct Progress {
    started: Instant,
    at: Mutex<At>,
}

struct At {
    section_started: Instant,
    section: Duration,
    /// Of the sections that come after.
    rest: Duration,
}

impl Progress {
    pub fn new() -> Progress {
        let started = Instant::now();
        let at = At { section_started: started, section: Duration::ZERO, rest: Duration::ZERO };
        Progress { started, at: Mutex::new(at) }
    }

    /// A section begins, that takes about `section`; those behind it take `rest`.
    pub fn section(&self, section: Duration, rest: Duration) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        *at = At { section_started: Instant::now(), section, rest };
    }

    pub fn say(&self, what: &str) {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let left = at.section.saturating_sub(at.section_started.elapsed()) + at.rest;
        let gone = self.started.elapsed().as_secs();
        println!("[{:2}:{:02}] {what} (about {} left)", gone / 60, gone % 60, words(left));
    }
}

fn words(time: Duration) -> String {
    match time.as_secs() {
        0..90 => format!("{} s", time.as_secs().max(1)),
        seconds => format!("{} min", (seconds + 30) / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_words() {
        assert_eq!(words(Duration::ZERO), "1 s");
        assert_eq!(words(Duration::from_secs(89)), "89 s");
        assert_eq!(words(Duration::from_secs(90)), "2 min");
        assert_eq!(words(Duration::from_secs(719)), "12 min");
    }
}
