//! What was promised of each call, and whether it was kept.
//!
//! A change of a call (it is answered, changed, ended) is *acknowledged* when the answer that tells of it left because the
//! synchronised standby had said that it has it; not when it left because `ha.commit_ms` was over or there was no such
//! standby. A *memory* is what a process knows from its start, or from when it became an empty standby, to its end, or to
//! when it stops being active. What must hold:
//!
//! - A memory that has a call by the promise keeps it, through breaks of the connection, new synchronisations and the
//!   takeover, at that change or a later one, until the call ends.
//! - A call that ended, and that was acknowledged, never comes back.
//! - A host becomes active without a call that the other one has only where it could not have known better: it had not
//!   been synchronised, and did not hear the other or could not be let by it.
//! - Otherwise an acknowledged call is lost only with both memories: two hosts that crash, the second before a third memory
//!   has been synchronised.

use std::collections::{BTreeMap, BTreeSet};

/// What a host has in its memory.
pub struct Copy {
    /// None: it is down.
    pub memory: Option<u64>,
    /// To each call the older change of its two entries.
    pub calls: BTreeMap<u64, u64>,
    /// Calls of which at least one entry is there.
    pub traces: BTreeSet<u64>,
}

#[derive(Debug)]
struct Standing {
    change: u64,
    /// Of either host: the memory that has it by the promise.
    memories: [Option<u64>; 2],
}

impl Standing {
    fn is_with(&self, at: usize, copy: &Copy) -> bool {
        copy.memory.is_some() && self.memories[at] == copy.memory
    }
}

#[derive(Debug, Default)]
pub struct Ledger {
    standing: BTreeMap<u64, Standing>,
    /// Ended at some host: where two are active, the other may hear of it late, and answer for a change meanwhile.
    over: BTreeSet<u64>,
    /// Ended, and acknowledged.
    ended: BTreeSet<u64>,
    /// Calls lost as they may be: with both memories, or by a host that could not know better.
    pub lost_with_both: u64,
    pub lost_unheard: u64,
}

impl Ledger {
    /// The answer of `at`'s that tells of this change left because `standby`, the peer's memory, has it.
    pub fn acknowledged(&mut self, call: u64, change: u64, at: usize, active: u64, standby: u64) {
        if self.over.contains(&call) {
            return;
        }
        let standing = self.standing.entry(call).or_insert(Standing { change, memories: [None; 2] });
        standing.change = standing.change.max(change);
        (standing.memories[at], standing.memories[1 - at]) = (Some(active), Some(standby));
    }

    /// It ended at some host; who has heard of it is another matter.
    pub fn ended(&mut self, call: u64) {
        self.standing.remove(&call);
        self.over.insert(call);
    }

    pub fn end_acknowledged(&mut self, call: u64) {
        self.ended.insert(call);
    }

    /// The standby of `at` has every entry: it has what was promised before, too.
    pub fn synchronised(&mut self, at: usize, active: u64, standby: u64) {
        for standing in self.standing.values_mut().filter(|standing| standing.memories[at] == Some(active)) {
            standing.memories[1 - at] = Some(standby);
        }
    }

    /// How many calls are promised.
    pub fn calls(&self) -> u64 {
        self.standing.len() as u64
    }

    /// Each memory has what it has by a promise.
    pub fn verify(&self, copies: &[Copy; 2]) -> Result<(), String> {
        for (call, standing) in &self.standing {
            for (at, copy) in copies.iter().enumerate() {
                let has = copy.calls.get(call).is_some_and(|change| *change >= standing.change);
                if standing.is_with(at, copy) && !has {
                    let found = copy.calls.get(call);
                    return Err(format!(
                        "host {at} had call {call} at change {}, acknowledged, and now {found:?}",
                        standing.change
                    ));
                }
            }
        }
        let back = copies.iter().find_map(|copy| self.ended.intersection(&copy.traces).next());
        match back {
            Some(call) => Err(format!("call {call} had ended, acknowledged, and is back")),
            None => Ok(()),
        }
    }

    /// The host goes on with what it has. `excused`: it could not know of what the other one has.
    pub fn activated(&mut self, at: usize, copies: &[Copy; 2], excused: bool) -> Result<(), String> {
        self.verify(copies)?;
        let mut lost = Vec::new();
        for (call, standing) in &mut self.standing {
            if copies[at].calls.get(call).is_some_and(|change| *change >= standing.change) {
                standing.memories[at] = copies[at].memory;
            } else if excused {
                lost.push(*call);
            } else {
                return Err(format!("host {at} is active without call {call}, acknowledged, which the other one has"));
            }
        }
        self.lost_unheard += lost.len() as u64;
        self.standing.retain(|call, _| !lost.contains(call));
        Ok(())
    }

    /// The host's memory ends: it crashed, or stops being active, `excused` as above.
    pub fn memory_ends(&mut self, at: usize, copies: &[Copy; 2], crashed: bool, excused: bool) -> Result<(), String> {
        self.verify(copies)?;
        let mut lost = Vec::new();
        for (call, standing) in &mut self.standing {
            standing.memories[at] = None;
            if standing.is_with(1 - at, &copies[1 - at]) {
                continue;
            }
            if !crashed && !excused {
                return Err(format!("host {at} stops and forgets call {call}, acknowledged, which only it has"));
            }
            lost.push(*call);
        }
        let count = if crashed { &mut self.lost_with_both } else { &mut self.lost_unheard };
        *count += lost.len() as u64;
        self.standing.retain(|call, _| !lost.contains(call));
        Ok(())
    }
}
