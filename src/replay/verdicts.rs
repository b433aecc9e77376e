//! The share of each sequence verdict while a capture is replayed without end: the workers' own sequence machine over
//! one lap to reach the state in which laps are alike, and over a second one to count. Runs on the main thread.

use std::{collections::HashMap, net::SocketAddr};

use serde::Serialize;

use crate::media::sequence::{Sequence, SequenceVerdict};

/// How many packets got each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdicts {
    pub first: u64,
    pub in_order: u64,
    pub gap: u64,
    pub reordered: u64,
    pub duplicate: u64,
    pub suspect: u64,
    pub restarted: u64,
}

impl Verdicts {
    fn count(&mut self, verdict: SequenceVerdict) {
        *match verdict {
            SequenceVerdict::First => &mut self.first,
            SequenceVerdict::InOrder => &mut self.in_order,
            SequenceVerdict::Gap(_) => &mut self.gap,
            SequenceVerdict::Reordered => &mut self.reordered,
            SequenceVerdict::Duplicate => &mut self.duplicate,
            SequenceVerdict::Suspect => &mut self.suspect,
            SequenceVerdict::Restarted => &mut self.restarted,
        } += 1;
    }

    /// Name and share, those that occur.
    pub fn shares(&self) -> Vec<(&'static str, f64)> {
        let named = [
            ("first", self.first),
            ("in_order", self.in_order),
            ("gap", self.gap),
            ("reordered", self.reordered),
            ("duplicate", self.duplicate),
            ("suspect", self.suspect),
            ("restarted", self.restarted),
        ];
        let all: u64 = named.iter().map(|n| n.1).sum();
        named.into_iter().filter(|n| n.1 > 0).map(|(name, n)| (name, n as f64 / all as f64)).collect()
    }
}

/// The RTP packets of one lap.
#[derive(Debug, Default)]
pub struct Lap {
    flows: HashMap<SocketAddr, u32>,
    packets: Vec<(u32, u32, u16)>,
}

impl Lap {
    pub fn push(&mut self, local: SocketAddr, ssrc: u32, sequence: u16) {
        let next = self.flows.len() as u32;
        let flow = *self.flows.entry(local).or_insert(next);
        self.packets.push((flow, ssrc, sequence));
    }

    /// Of the first lap, and of every later one.
    pub fn verdicts(&self) -> (Verdicts, Verdicts) {
        let mut machines = vec![Sequence::default(); self.flows.len()];
        let mut lap = || {
            let mut verdicts = Verdicts::default();
            for &(flow, ssrc, sequence) in &self.packets {
                if let Some(machine) = machines.get_mut(flow as usize) {
                    verdicts.count(machine.update(ssrc, sequence));
                }
            }
            verdicts
        };
        (lap(), lap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_laps_are_what_a_receiver_makes_of_a_file_that_begins_anew() {
        let at = "198.18.0.1:20000".parse().unwrap();
        let mut lap = Lap::default();
        for (ssrc, sequence) in [(1, 10), (1, 11), (2, 10), (2, 12)] {
            lap.push(at, ssrc, sequence);
        }
        let (first, later) = lap.verdicts();
        assert_eq!(first, Verdicts { first: 1, in_order: 1, restarted: 1, gap: 1, ..Verdicts::default() });
        assert_eq!(later, Verdicts { in_order: 1, restarted: 2, gap: 1, ..Verdicts::default() });
        assert_eq!(later.shares(), [("in_order", 0.25), ("gap", 0.25), ("restarted", 0.5)]);
    }

    #[test]
    fn one_packet_again_and_again_is_its_own_duplicate() {
        let mut lap = Lap::default();
        lap.push("198.18.0.1:20000".parse().unwrap(), 1, 10);
        assert_eq!(lap.verdicts().1, Verdicts { duplicate: 1, ..Verdicts::default() });
    }
}
