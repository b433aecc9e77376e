//! Burst boundaries. The slow path may reuse what workers could still be reading only after each of them has finished
//! the burst it was in.
//!
//! A worker calls [`Boundary::pass`] between bursts: one load and one store, both to lines that rarely change hands.
//! The slow path calls [`Boundaries::retire`] after it has made something unreachable, and may reuse it once
//! [`Boundaries::passed`] says so for that mark.

use super::sync::{AtomicU64, Ordering, words};

/// A point in the slow path's history that every worker has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// Words per worker, so that each has its cache line to itself.
const STRIDE: usize = 8;
/// A worker that does not run holds nothing.
const OFFLINE: u64 = u64::MAX;

#[derive(Debug)]
pub struct Boundaries {
    /// Word 0: the latest mark. Word `(w + 1) * STRIDE`: the latest mark that worker `w` has passed.
    words: &'static [AtomicU64],
    workers: usize,
}

impl Boundaries {
    pub fn new(workers: usize) -> Self {
        let words = words((workers + 1) * STRIDE);
        for worker in 0..workers {
            words[(worker + 1) * STRIDE].store(OFFLINE, Ordering::Release);
        }
        Boundaries { words, workers }
    }

    /// The slow path has made something unreachable: returns the mark to wait for.
    pub fn retire(&self) -> Mark {
        // Release: whoever sees this mark also sees that the thing is unreachable.
        let mark = Mark(self.words[0].fetch_add(1, Ordering::AcqRel) + 1);
        // The other half of `Boundary::enter`: either we see that a worker runs, or it sees what we removed.
        super::sync::fence(Ordering::SeqCst);
        mark
    }

    /// True when no worker can still hold what was unreachable at `mark`.
    pub fn passed(&self, mark: Mark) -> bool {
        // Acquire: the worker's last reads happened before what we do next with the memory.
        (0..self.workers).all(|w| self.words[(w + 1) * STRIDE].load(Ordering::Acquire) >= mark.0)
    }

    /// For worker `index`, on its own thread; until the first `pass` it counts as not running.
    pub fn worker(&self, index: usize) -> Boundary {
        Boundary { latest: &self.words[0], mine: &self.words[(index + 1) * STRIDE] }
    }
}

/// One worker's side.
#[derive(Debug)]
pub struct Boundary {
    latest: &'static AtomicU64,
    mine: &'static AtomicU64,
}

impl Boundary {
    /// Must run before the first burst, with the mark visible to the slow path before any table is read.
    pub fn enter(&self) {
        self.pass();
        // A store followed by loads of other words: without this fence the loads of the first burst could be served
        // before the slow path can see that this worker runs.
        super::sync::fence(Ordering::SeqCst);
    }

    /// Between bursts: nothing that was read before is used after.
    #[inline]
    pub fn pass(&self) {
        let latest = self.latest.load(Ordering::Acquire);
        self.mine.store(latest, Ordering::Release);
    }
}

impl Drop for Boundary {
    fn drop(&mut self) {
        self.mine.store(OFFLINE, Ordering::Release);
    }
}

#[cfg(test)]
#[cfg(not(tandem_loom))]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_passed_when_every_running_worker_has_passed_it() {
        let all = Boundaries::new(2);
        let (a, b) = (all.worker(0), all.worker(1));
        a.enter();
        b.enter();
        let mark = all.retire();
        assert!(!all.passed(mark));
        a.pass();
        assert!(!all.passed(mark));
        drop(b);
        assert!(all.passed(mark), "a worker that stopped holds nothing");
    }
}
