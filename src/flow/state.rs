//! The state line of a flow: what its one writer knows of the stream. It lies beside the plan and lives exactly as long
//! as that version of it; the slow path folds it into the flow's totals when the version is retired (ADR 1).
//!
//! The first admitted packet claims the line for its worker, one compare-and-swap per plan version. From then on the
//! owner loads, changes and stores; nobody else writes. A packet that arrives on another worker is forwarded all the
//! same and counted in the tally (`off_owner`), which is the only place where several workers add.
//!
//! | word | RTP | RTCP |
//! |---|---|---|
//! | 0 | owner 8 · started 1 · suspect 17 · SSRC in the high half | owner 8 |
//! | 1 | packets · received in this run | packets |
//! | 2 | bytes of UDP payload | bytes of UDP payload |
//! | 3 | first · highest extended sequence number | fraction lost 8 · source port 16 · jitter in the high half |
//! | 4 | window of the last 64 numbers | report blocks read · XR: round trip 16 · loss rate 8 · R factor 8 |
//! | 5 | reordered · duplicate | |
//! | 6 | jitter scaled by 16 · transit | |
//! | 7 | silent · lost in runs that ended | |

use super::{
    plan::Line,
    sync::{AtomicU64, Ordering},
};
use crate::{
    base::ids::WorkerId,
    media::{jitter::Jitter, sequence::Sequence},
};

pub const TALLY_WORDS: usize = 5;
pub type TallyWords = [AtomicU64; TALLY_WORDS];

const OWNER: u64 = 0xff;

/// What several workers may add to: rare things only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tally {
    /// Admitted and forwarded by a worker that does not own the state line: packets, and their bytes.
    OffOwner,
    OffOwnerBytes,
    /// From a source that is not admitted.
    Source,
    /// Of a payload type that was not negotiated.
    PayloadType,
    /// Refused for any other reason.
    Other,
}

/// A state line in place, and its tally, which lies apart because it is rarely touched.
#[derive(Clone, Copy, Debug)]
pub struct StateLine {
    line: &'static Line,
    /// All of the table's, and which of them.
    tally: (&'static [TallyWords], usize),
}

/// Whether a worker may write a state line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    Mine,
    Another,
}

impl StateLine {
    #[inline(always)]
    pub(super) fn of(line: &'static Line, tallies: &'static [TallyWords], at: usize) -> Self {
        StateLine { line, tally: (tallies, at) }
    }

    #[inline]
    pub(super) fn load(&self, word: usize) -> u64 {
        self.line[word].load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn store(&self, word: usize, value: u64) {
        self.line[word].store(value, Ordering::Relaxed);
    }

    /// For an admitted packet: claims the line if nobody has it yet.
    #[inline]
    pub fn claim(&self, worker: WorkerId) -> Ownership {
        let me = u64::from(worker.0) + 1;
        let owner = self.load(0) & OWNER;
        let mine = owner == me
            || owner == 0 && self.line[0].compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if mine { Ownership::Mine } else { Ownership::Another }
    }

    /// An admitted packet has come.
    pub fn is_claimed(&self) -> bool {
        self.load(0) & OWNER != 0
    }

    pub fn owner(&self) -> Option<WorkerId> {
        ((self.load(0) & OWNER) as u8).checked_sub(1).map(WorkerId)
    }

    /// Several workers may add at once; this is off the common path.
    #[inline]
    pub fn tally(&self, what: Tally, n: u64) {
        self.tally.0[self.tally.1][what as usize].fetch_add(n, Ordering::Relaxed);
    }

    pub fn tallied(&self, what: Tally) -> u64 {
        self.tally.0[self.tally.1][what as usize].load(Ordering::Relaxed)
    }
}

/// What the owner keeps of an RTP stream, unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtpState {
    pub packets: u32,
    /// Of UDP payload.
    pub bytes: u64,
    pub sequence: Sequence,
    pub jitter: Jitter,
    /// G.711 frames in which every sample is near zero.
    pub silent: u32,
}

/// What the owner keeps of an RTCP stream, unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtcpState {
    pub packets: u32,
    pub bytes: u64,
    /// Of the last report block: fraction lost of 256, jitter in RTP clock units.
    pub fraction_lost: u8,
    pub jitter: u32,
    /// Report blocks read.
    pub reports: u32,
    /// UDP source port of the last packet.
    pub source_port: u16,
    /// Of the last VoIP metrics block (RFC 3611 §4.7): round trip in ms, loss rate of 256, R factor; 0: none came.
    pub round_trip_ms: u16,
    pub loss_rate: u8,
    pub r_factor: u8,
}

const STARTED: u64 = 1 << 8;
const SUSPECT_AT: u32 = 9;
const SUSPECT: u64 = 0x1_ffff;

fn halves(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn low(word: u64) -> u32 {
    word as u32
}

fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// A packet as the state line sees it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub number: u16,
    pub ssrc: u32,
    pub timestamp: u32,
    /// In units of the RTP clock.
    pub arrival: u32,
    /// Of UDP payload.
    pub len: u64,
    pub silent: bool,
}

impl StateLine {
    /// The common step, word by word: the next number of a stream that `worker` owns, nothing being suspected. False if
    /// it is not that, and nothing was changed; `rtp` and `set_rtp` are for the rest. Both give the same line.
    #[inline(always)]
    pub fn in_order(&self, worker: WorkerId, step: &Step) -> bool {
        let expected = (u64::from(worker.0) + 1) | STARTED | u64::from(step.ssrc) << 32;
        let (w0, w1, w3) = (self.load(0), self.load(1), self.load(3));
        let next = step.number == (high(w3) as u16).wrapping_add(1);
        // A count of packets that wraps would carry into the word's other half.
        if !((w0 == expected) & next & (low(w1) != u32::MAX)) {
            return false;
        }
        let w6 = self.load(6);
        let mut jitter = Jitter { scaled: low(w6), transit: high(w6) };
        jitter.update(step.arrival, step.timestamp);
        self.store(1, w1.wrapping_add(1 | 1 << 32));
        self.store(2, self.load(2).wrapping_add(step.len));
        self.store(3, w3.wrapping_add(1 << 32));
        self.store(4, self.load(4) << 1 | 1);
        self.store(6, halves(jitter.scaled, jitter.transit));
        if step.silent {
            let w7 = self.load(7);
            self.store(7, halves(low(w7).wrapping_add(1), high(w7)));
        }
        true
    }

    #[inline]
    pub fn rtp(&self) -> RtpState {
        let (w0, w1, w3, w5, w6, w7) =
            (self.load(0), self.load(1), self.load(3), self.load(5), self.load(6), self.load(7));
        RtpState {
            packets: low(w1),
            bytes: self.load(2),
            sequence: Sequence {
                ssrc: high(w0),
                started: w0 & STARTED != 0,
                first: low(w3),
                highest: high(w3),
                window: self.load(4),
                reordered: low(w5),
                duplicate: high(w5),
                received: high(w1),
                lost_before: high(w7) as i32,
                suspect: (w0 >> SUSPECT_AT & SUSPECT) as u32,
            },
            jitter: Jitter { scaled: low(w6), transit: high(w6) },
            silent: low(w7),
        }
    }

    /// The owner alone.
    #[inline]
    pub fn set_rtp(&self, state: &RtpState) {
        let s = &state.sequence;
        let flags = if s.started { STARTED } else { 0 } | (u64::from(s.suspect) & SUSPECT) << SUSPECT_AT;
        self.store(0, self.load(0) & OWNER | flags | halves(0, s.ssrc));
        self.store(1, halves(state.packets, s.received));
        self.store(2, state.bytes);
        self.store(3, halves(s.first, s.highest));
        self.store(4, s.window);
        self.store(5, halves(s.reordered, s.duplicate));
        self.store(6, halves(state.jitter.scaled, state.jitter.transit));
        self.store(7, halves(state.silent, s.lost_before as u32));
    }

    pub fn rtcp(&self) -> RtcpState {
        let (w3, w4) = (self.load(3), self.load(4));
        RtcpState {
            packets: low(self.load(1)),
            bytes: self.load(2),
            fraction_lost: w3 as u8,
            source_port: (w3 >> 8) as u16,
            jitter: high(w3),
            reports: low(w4),
            round_trip_ms: high(w4) as u16,
            loss_rate: (high(w4) >> 16) as u8,
            r_factor: (high(w4) >> 24) as u8,
        }
    }

    /// The owner alone.
    pub fn set_rtcp(&self, state: &RtcpState) {
        self.store(1, u64::from(state.packets));
        self.store(2, state.bytes);
        let low = u32::from(state.fraction_lost) | u32::from(state.source_port) << 8;
        self.store(3, halves(low, state.jitter));
        let xr = u32::from(state.round_trip_ms) | u32::from(state.loss_rate) << 16 | u32::from(state.r_factor) << 24;
        self.store(4, halves(state.reports, xr));
    }
}

#[cfg(test)]
#[cfg(not(tandem_loom))]
mod tests {
    use super::*;

    fn line() -> StateLine {
        use crate::flow::sync::words;
        StateLine::of(&words(8).as_chunks().0[0], words(TALLY_WORDS).as_chunks().0, 0)
    }

    #[test]
    fn the_stream_comes_back_as_it_was_stored_and_the_owner_stays() {
        let line = line();
        assert_eq!(line.claim(WorkerId(3)), Ownership::Mine);
        let state = RtpState {
            packets: 5,
            bytes: u64::MAX,
            sequence: Sequence {
                ssrc: u32::MAX,
                started: true,
                first: 0x1_0001,
                highest: 0xffff_fffe,
                window: u64::MAX - 1,
                reordered: 7,
                duplicate: 8,
                received: 9,
                lost_before: -3,
                suspect: 0x1_0000,
            },
            jitter: Jitter { scaled: 10, transit: u32::MAX },
            silent: 11,
        };
        line.set_rtp(&state);
        assert_eq!(line.rtp(), state);
        assert_eq!(line.owner(), Some(WorkerId(3)));
        assert_eq!(line.claim(WorkerId(2)), Ownership::Another);
        assert_eq!(line.claim(WorkerId(3)), Ownership::Mine);
    }

    #[test]
    fn the_reports_come_back_as_they_were_stored() {
        let line = line();
        let state = RtcpState {
            packets: 1,
            bytes: 2,
            fraction_lost: 255,
            jitter: u32::MAX,
            reports: 4,
            source_port: 65_535,
            round_trip_ms: 65_534,
            loss_rate: 253,
            r_factor: 252,
        };
        line.set_rtcp(&state);
        assert_eq!(line.rtcp(), state);
    }
}
