//! The figures of one flow over all versions of its plan. A version that is out of every worker's reach is folded into
//! the totals; until then its line is read where it lies. Runs on the slow path.

use std::net::SocketAddr;

use super::StreamReport;
use crate::flow::{
    FlowTable,
    state::{RtcpState, RtpState, StateLine, Tally},
    table::EntryId,
};

/// Sums over retired versions.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    packets: u64,
    bytes: u64,
    lost: i64,
    reordered: u64,
    duplicate: u64,
    silent: u64,
    off_owner: u64,
    dropped_source: u64,
    dropped_other: u64,
    /// The last line that saw packets: what the next one is joined to.
    last: Option<RtpState>,
    rtcp: Option<RtcpState>,
}

#[derive(Debug, Default)]
pub struct FlowFigures {
    totals: Totals,
    /// Retired, but perhaps still written to for the rest of a burst; oldest first.
    pending: Vec<EntryId>,
}

impl Totals {
    fn add(&mut self, line: &StateLine, rtcp: bool) {
        self.off_owner += line.tallied(Tally::OffOwner);
        self.packets += line.tallied(Tally::OffOwner);
        self.bytes += line.tallied(Tally::OffOwnerBytes);
        self.dropped_source += line.tallied(Tally::Source);
        self.dropped_other += line.tallied(Tally::PayloadType) + line.tallied(Tally::Other);
        if !line.is_claimed() {
            return;
        }
        if rtcp {
            let state = line.rtcp();
            self.packets += u64::from(state.packets);
            self.bytes += state.bytes;
            if state.reports > 0 || state.r_factor > 0 || self.rtcp.is_none() {
                self.rtcp = Some(state);
            }
            return;
        }
        let state = line.rtp();
        self.packets += u64::from(state.packets);
        self.bytes += state.bytes;
        self.lost += state.sequence.lost() + self.between(&state);
        self.reordered += u64::from(state.sequence.reordered);
        self.duplicate += u64::from(state.sequence.duplicate);
        self.silent += u64::from(state.silent);
        self.last = Some(state);
    }

    /// Lost between the last packet of the version before and the first of this one (ADR 1). Packets that another worker
    /// forwarded in between are off-owner, not lost: a gap there says nothing.
    fn between(&self, next: &RtpState) -> i64 {
        let Some(last) = self.last else { return 0 };
        let (last, next) = (last.sequence, next.sequence);
        let ahead = (next.first as u16).wrapping_sub(last.highest as u16);
        if last.ssrc != next.ssrc || !(1..3_000).contains(&ahead) {
            return 0;
        }
        i64::from(ahead) - 1
    }
}

impl FlowFigures {
    /// This entry's plan was replaced or withdrawn.
    pub fn pending(&mut self, entry: EntryId) {
        self.pending.push(entry);
    }

    /// No worker can reach this entry any more: its figures are final.
    pub fn retire(&mut self, entry: EntryId, line: &StateLine, rtcp: bool) {
        // Entries are retired in the order in which they were replaced.
        if let Some(at) = self.pending.iter().position(|e| *e == entry) {
            self.pending.remove(at);
            self.totals.add(line, rtcp);
        }
    }

    /// Entries that are still to be retired.
    pub fn waiting(&self) -> impl Iterator<Item = EntryId> {
        self.pending.iter().copied()
    }

    fn sum(&self, table: &FlowTable, current: Option<EntryId>, rtcp: bool) -> Totals {
        let mut totals = self.totals;
        for entry in self.pending.iter().copied().chain(current) {
            totals.add(&table.state(entry), rtcp);
        }
        totals
    }

    /// Packets so far: cheap, for the round over all sessions.
    pub fn packets(&self, table: &FlowTable, current: Option<EntryId>) -> u64 {
        self.sum(table, current, false).packets
    }

    pub fn rtcp(&self, table: &FlowTable, current: Option<EntryId>) -> Option<RtcpState> {
        self.sum(table, current, true).rtcp
    }

    pub fn report(
        &self,
        table: &FlowTable,
        current: Option<EntryId>,
        rtcp: bool,
        clock_hz: u32,
        source: Option<SocketAddr>,
    ) -> StreamReport {
        let t = self.sum(table, current, rtcp);
        StreamReport {
            packets: t.packets,
            bytes: t.bytes,
            // What other workers forwarded is missing in the owner's count of numbers, not on the wire.
            lost: if rtcp { 0 } else { (t.lost - t.off_owner as i64).max(t.lost.min(0)) },
            reordered: t.reordered,
            duplicate: t.duplicate,
            jitter_ms: t.last.map_or(0.0, |s| s.jitter.millis(clock_hz)),
            silent: t.silent,
            off_owner: t.off_owner,
            dropped_source: t.dropped_source,
            dropped_other: t.dropped_other,
            source,
        }
    }
}
