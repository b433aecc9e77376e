//! Counters of the workers: per worker and port, written by that worker alone with plain load-add-store, summed by
//! whoever reads. No counter is ever reset.

use super::{
    sync::{AtomicU64, Ordering, words},
    verdict::{DropReason, PuntClass},
};

/// What is counted besides the reasons. The order is the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PortCounter {
    RxPackets,
    RxBytes,
    TxPackets,
    TxBytes,
    /// Frames of the slow path sent through this worker.
    Injected,
    /// Admitted packets that a worker other than the owner of the state line forwarded.
    OffOwner,
    /// Payloads converted from one law to the other.
    Transcoded,
    /// Latch candidates reported, and those for which there was no room.
    Candidates,
    CandidatesLost,
}

impl PortCounter {
    pub const ALL: [PortCounter; 9] = [
        PortCounter::RxPackets,
        PortCounter::RxBytes,
        PortCounter::TxPackets,
        PortCounter::TxBytes,
        PortCounter::Injected,
        PortCounter::OffOwner,
        PortCounter::Transcoded,
        PortCounter::Candidates,
        PortCounter::CandidatesLost,
    ];
}

const DROPS: usize = PortCounter::ALL.len();
const PUNTS: usize = DROPS + DropReason::COUNT;
/// A whole number of cache lines.
const PORT_WORDS: usize = (PUNTS + PuntClass::COUNT).next_multiple_of(8);

/// Of one worker on all ports: cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LoopCounter {
    /// Ticks spent in iterations that found packets.
    BusyTicks,
    /// Ticks spent in iterations that found none.
    IdleTicks,
    Iterations,
    /// Received bursts that were not empty.
    Bursts,
    /// Sleeps taken in adaptive polling.
    Sleeps,
}

const LOOP_WORDS: usize = 8;

/// One worker's block.
#[derive(Clone, Copy, Debug)]
pub struct WorkerCounters {
    words: &'static [AtomicU64],
}

impl WorkerCounters {
    pub fn new(ports: usize) -> Self {
        WorkerCounters { words: words(LOOP_WORDS + ports * PORT_WORDS) }
    }

    #[inline]
    fn add_at(&self, at: usize, n: u64) {
        if let Some(word) = self.words.get(at) {
            // One writer: no read-modify-write is needed.
            word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        }
    }

    fn read(&self, at: usize) -> u64 {
        self.words.get(at).map_or(0, |w| w.load(Ordering::Relaxed))
    }

    #[inline]
    pub fn add_loop(&self, counter: LoopCounter, n: u64) {
        self.add_at(counter as usize, n);
    }

    #[inline]
    pub fn add(&self, port: usize, counter: PortCounter, n: u64) {
        self.add_at(LOOP_WORDS + port * PORT_WORDS + counter as usize, n);
    }

    #[inline]
    pub fn dropped(&self, port: usize, reason: DropReason, n: u64) {
        self.add_at(LOOP_WORDS + port * PORT_WORDS + DROPS + reason.index(), n);
    }

    #[inline]
    pub fn punted(&self, port: usize, class: PuntClass, n: u64) {
        self.add_at(LOOP_WORDS + port * PORT_WORDS + PUNTS + class.index(), n);
    }

    pub fn loop_count(&self, counter: LoopCounter) -> u64 {
        self.read(counter as usize)
    }

    pub fn count(&self, port: usize, counter: PortCounter) -> u64 {
        self.read(LOOP_WORDS + port * PORT_WORDS + counter as usize)
    }

    pub fn drop_count(&self, port: usize, reason: DropReason) -> u64 {
        self.read(LOOP_WORDS + port * PORT_WORDS + DROPS + reason.index())
    }

    pub fn punt_count(&self, port: usize, class: PuntClass) -> u64 {
        self.read(LOOP_WORDS + port * PORT_WORDS + PUNTS + class.index())
    }

    pub fn ports(&self) -> usize {
        (self.words.len() - LOOP_WORDS) / PORT_WORDS
    }
}

#[cfg(test)]
#[cfg(not(tandem_loom))]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_place_of_its_own() {
        let c = WorkerCounters::new(2);
        for port in 0..2 {
            PortCounter::ALL.iter().for_each(|&x| c.add(port, x, 1));
            DropReason::ALL.iter().for_each(|&x| c.dropped(port, x, 1));
            PuntClass::ALL.iter().for_each(|&x| c.punted(port, x, 1));
        }
        c.add_loop(LoopCounter::Sleeps, 1);
        assert!(c.words.iter().all(|w| w.load(Ordering::Relaxed) <= 1));
        let places = 1 + 2 * (PortCounter::ALL.len() + DropReason::COUNT + PuntClass::COUNT);
        assert_eq!(c.words.iter().map(|w| w.load(Ordering::Relaxed)).sum::<u64>(), places as u64);
        assert!(PortCounter::ALL.iter().enumerate().all(|(i, &x)| x as usize == i));
        assert_eq!(c.ports(), 2);
    }
}
