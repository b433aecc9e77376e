//! What a run is about, and what happened in it.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{
    calls::Figures,
    network::{below, chance},
    world::MS,
};
use crate::ha::role::{Cause, Reason};

/// What a run is about.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// One path is never worse than a network that works: nothing excuses two that transmit.
    pub sound_path: bool,
    pub witness: bool,
    pub faults_until: u64,
    pub ends_at: u64,
    pub preempt: [bool; 2],
}

impl Plan {
    pub fn of(seed: u64) -> Plan {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let sound_path = chance(&mut random, 40);
        let witness = chance(&mut random, 30);
        // Long enough for a witness to be looked at twice.
        let faults_until = (500 + below(&mut random, if witness { 6_000 } else { 2_500 })) * MS;
        // The provider's time-outs and its patience have to pass.
        let calm = if witness { 16_000 * MS } else { 3_600 * MS };
        let preempt = [chance(&mut random, 10), chance(&mut random, 10)];
        Plan { seed, sound_path, witness, faults_until, ends_at: faults_until + calm, preempt }
    }
}

/// What happened in a run, for the reader and for `covers_everything`.
#[derive(Debug, Default)]
pub struct Tally {
    pub runs: u64,
    pub takeovers: [u64; Cause::ALL.len()],
    pub stops: [u64; Reason::ALL.len()],
    pub overslept: u64,
    pub abandoned: u64,
    /// Two transmitted, and the network or a switchover was the reason.
    pub overlaps: u64,
    pub planned: u64,
    pub witnessed: u64,
    pub calls: Figures,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.runs += other.runs;
        for (sum, more) in self.takeovers.iter_mut().zip(other.takeovers) {
            *sum += more;
        }
        for (sum, more) in self.stops.iter_mut().zip(other.stops) {
            *sum += more;
        }
        self.overslept += other.overslept;
        self.abandoned += other.abandoned;
        self.overlaps += other.overlaps;
        self.planned += other.planned;
        self.witnessed += other.witnessed;
        self.calls.add(&other.calls);
    }

    /// A simulation in which nothing goes wrong shows nothing.
    pub fn covers_everything(&self) {
        let counts = [self.overslept, self.abandoned, self.overlaps, self.planned, self.witnessed];
        let calls = self.calls.all();
        let rare = self.takeovers.iter().chain(&self.stops).chain(&counts).chain(&calls).min().copied();
        assert!(rare.is_some_and(|rare| rare >= 20), "{self:?}");
        assert!(self.runs >= super::RUNS, "{self:?}");
    }
}
