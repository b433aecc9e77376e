//! Finds workers that stall. Slow-path thread; pure. It costs a worker nothing: each counts its turns anyway, and whoever
//! comes by a few times a second sees whether the count went on.

use std::time::Duration;

use crate::base::Time;

/// A worker takes a turn every few microseconds, or after a nap of 200; so long without one is no coincidence.
const STALLED: Duration = Duration::from_millis(500);
/// So many looks in a row must find no turn: after one alone it may be that the whole machine stood still.
const LOOKS: u32 = 2;

#[derive(Debug, Default)]
struct Seen {
    turns: u64,
    /// When the count had last gone on.
    moved: Time,
    looks_without: u32,
    stalled: bool,
}

#[derive(Debug, Default)]
pub struct Watch {
    workers: Vec<Seen>,
    /// Of each worker.
    pub stalls: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Stalled { worker: usize, since: Duration },
    Recovered { worker: usize, after: Duration },
}

impl Watch {
    pub fn new(workers: usize, now: Time) -> Watch {
        let seen = || Seen { moved: now, ..Seen::default() };
        Watch { workers: (0..workers).map(|_| seen()).collect(), stalls: vec![0; workers] }
    }

    /// `turns`: how many each worker has taken so far.
    pub fn look(&mut self, now: Time, turns: impl Iterator<Item = u64>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (worker, ((seen, stalls), turns)) in self.workers.iter_mut().zip(&mut self.stalls).zip(turns).enumerate() {
            let still = now.since(seen.moved);
            if turns != seen.turns {
                if seen.stalled {
                    changes.push(Change::Recovered { worker, after: still });
                }
                *seen = Seen { turns, moved: now, ..Seen::default() };
                continue;
            }
            seen.looks_without += 1;
            if !seen.stalled && seen.looks_without >= LOOKS && still >= STALLED {
                seen.stalled = true;
                *stalls += 1;
                changes.push(Change::Stalled { worker, since: still });
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_takes_no_turn_is_told_once_and_again_when_it_goes_on() {
        let at = Time::from_millis;
        let mut watch = Watch::new(2, at(0));
        assert_eq!(watch.look(at(250), [10, 10].into_iter()), []);
        // Worker 1 takes no turn from here on.
        assert_eq!(watch.look(at(500), [20, 10].into_iter()), []);
        let stalled = Change::Stalled { worker: 1, since: Duration::from_millis(500) };
        assert_eq!(watch.look(at(750), [30, 10].into_iter()), [stalled]);
        assert_eq!(watch.look(at(1_000), [40, 10].into_iter()), []);
        let recovered = Change::Recovered { worker: 1, after: Duration::from_millis(1_000) };
        assert_eq!(watch.look(at(1_250), [50, 11].into_iter()), [recovered]);
        assert_eq!(watch.stalls, [0, 1]);
    }

    #[test]
    fn a_machine_that_stood_still_is_no_stalled_worker() {
        let at = Time::from_millis;
        let mut watch = Watch::new(1, at(0));
        assert_eq!(watch.look(at(250), [10].into_iter()), []);
        // Ten seconds are gone, and this thread was the first to run again.
        assert_eq!(watch.look(at(10_250), [10].into_iter()), []);
        assert_eq!(watch.look(at(10_500), [11].into_iter()), []);
        assert_eq!(watch.stalls, [0]);
    }
}
