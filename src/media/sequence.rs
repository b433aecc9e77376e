//! Sequence numbers of one RTP stream (RFC 3550 §A.1, §A.3): what was expected, lost, reordered, duplicated.
//!
//! A tandem element does not wait for a probation period: what it forwards it counts. A sender that restarts (another
//! SSRC, or a jump that the next packet confirms) begins a new run; the loss of the runs before it is kept.

/// What a packet's number says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceVerdict {
    /// The first of a stream.
    First,
    InOrder,
    /// As many are missing between the highest before and this one.
    Gap(u16),
    /// Older than the highest, and not seen before.
    Reordered,
    /// Seen before.
    Duplicate,
    /// So far off that the sender may have restarted; the next packet decides.
    Suspect,
    /// Another SSRC, or a jump confirmed: a new run.
    Restarted,
}

/// RFC 3550 §A.1: a larger jump forward means a restart.
const MAX_DROPOUT: u16 = 3_000;
/// How far back the window of seen numbers reaches.
const WINDOW: u16 = 64;

/// Fits a state line: 5 words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    pub ssrc: u32,
    pub started: bool,
    /// Extended (RFC 3550 §A.1: cycles in the high half) number of the run's first packet and of the highest so far.
    pub first: u32,
    pub highest: u32,
    /// Bit i: `highest - i` was seen.
    pub window: u64,
    pub reordered: u32,
    pub duplicate: u32,
    /// Packets of this run that were received, duplicates not counted.
    pub received: u32,
    /// Missing in runs that have ended.
    pub lost_before: i32,
    /// The number that would confirm a jump, plus one; 0: none.
    pub suspect: u32,
}

impl Sequence {
    #[inline]
    pub fn update(&mut self, ssrc: u32, number: u16) -> SequenceVerdict {
        if !self.started {
            self.begin(ssrc, number);
            return SequenceVerdict::First;
        }
        if ssrc != self.ssrc {
            self.restart(ssrc, number);
            return SequenceVerdict::Restarted;
        }
        let ahead = number.wrapping_sub(self.highest as u16);
        match ahead {
            1..MAX_DROPOUT => {
                self.suspect = 0;
                self.highest = self.highest.wrapping_add(u32::from(ahead));
                self.window = if ahead >= WINDOW { 1 } else { self.window << ahead | 1 };
                self.received = self.received.wrapping_add(1);
                if ahead == 1 { SequenceVerdict::InOrder } else { SequenceVerdict::Gap(ahead - 1) }
            }
            0 => self.duplicate(),
            _ => {
                let behind = 0u16.wrapping_sub(ahead);
                if behind < WINDOW {
                    let bit = 1 << behind;
                    if self.window & bit != 0 {
                        return self.duplicate();
                    }
                    self.window |= bit;
                    self.received = self.received.wrapping_add(1);
                    self.reordered = self.reordered.wrapping_add(1);
                    // Reordered across the start: the run began earlier than its first arrival.
                    self.first = self.first.min(self.highest.wrapping_sub(u32::from(behind)));
                    SequenceVerdict::Reordered
                } else if self.suspect == u32::from(number) + 1 {
                    self.restart(ssrc, number);
                    // The packet that raised the suspicion belongs to the new run.
                    self.first = self.first.wrapping_sub(1);
                    self.received = 2;
                    self.window = 3;
                    SequenceVerdict::Restarted
                } else {
                    self.suspect = u32::from(number.wrapping_add(1)) + 1;
                    SequenceVerdict::Suspect
                }
            }
        }
    }

    fn duplicate(&mut self) -> SequenceVerdict {
        self.duplicate = self.duplicate.wrapping_add(1);
        SequenceVerdict::Duplicate
    }

    fn begin(&mut self, ssrc: u32, number: u16) {
        self.ssrc = ssrc;
        self.started = true;
        // A cycle of head start, so that what was sent before the first arrival does not reach below zero.
        self.first = 0x1_0000 + u32::from(number);
        self.highest = self.first;
        self.window = 1;
        self.received = 1;
        self.suspect = 0;
    }

    fn restart(&mut self, ssrc: u32, number: u16) {
        self.lost_before = self.lost_before.saturating_add(self.lost_in_run());
        self.begin(ssrc, number);
    }

    /// RFC 3550 §A.3: expected less received, of the present run.
    pub fn lost_in_run(&self) -> i32 {
        if !self.started {
            return 0;
        }
        let expected = self.highest.wrapping_sub(self.first).wrapping_add(1);
        expected.wrapping_sub(self.received) as i32
    }

    /// Of all runs.
    pub fn lost(&self) -> i64 {
        i64::from(self.lost_before) + i64::from(self.lost_in_run())
    }
}

#[cfg(test)]
mod tests {
    use super::{SequenceVerdict::*, *};

    fn run(numbers: &[u16]) -> (Sequence, Vec<SequenceVerdict>) {
        let mut s = Sequence::default();
        let verdicts = numbers.iter().map(|&n| s.update(7, n)).collect();
        (s, verdicts)
    }

    #[test]
    fn an_unbroken_run_across_the_wrap_loses_nothing() {
        let (s, verdicts) = run(&[65_534, 65_535, 0, 1]);
        assert_eq!(verdicts, [First, InOrder, InOrder, InOrder]);
        assert_eq!((s.lost(), s.received), (0, 4));
        assert_eq!(s.highest - s.first, 3);
    }

    #[test]
    fn a_gap_is_loss_until_the_late_packet_fills_it() {
        let (s, verdicts) = run(&[10, 13]);
        assert_eq!(verdicts, [First, Gap(2)]);
        assert_eq!(s.lost(), 2);
        let (s, verdicts) = run(&[10, 13, 12, 11]);
        assert_eq!(verdicts[2..], [Reordered, Reordered]);
        assert_eq!((s.lost(), s.reordered), (0, 2));
    }

    #[test]
    fn duplicates_are_counted_and_hide_no_loss() {
        let (s, verdicts) = run(&[10, 10, 12, 10, 12]);
        assert_eq!(verdicts, [First, Duplicate, Gap(1), Duplicate, Duplicate]);
        assert_eq!((s.lost(), s.duplicate, s.received), (1, 3, 2));
    }

    #[test]
    fn what_came_before_the_first_arrival_extends_the_run() {
        let (s, verdicts) = run(&[0, 65_535]);
        assert_eq!(verdicts, [First, Reordered]);
        assert_eq!(s.lost(), 0);
        let (s, _) = run(&[5, 3]);
        assert_eq!(s.lost(), 1);
    }

    #[test]
    fn a_jump_is_believed_when_the_next_packet_confirms_it() {
        let (s, verdicts) = run(&[10, 12, 30_000, 13]);
        assert_eq!(verdicts, [First, Gap(1), Suspect, InOrder], "one stray packet restarts nothing");
        assert_eq!(s.lost(), 1);
        let (s, verdicts) = run(&[10, 12, 30_000, 30_001, 30_003]);
        assert_eq!(verdicts[2..], [Suspect, Restarted, Gap(1)]);
        assert_eq!(s.lost(), 2, "one in each run");
    }

    #[test]
    fn another_ssrc_begins_another_run_and_keeps_the_loss() {
        let mut s = Sequence::default();
        s.update(1, 10);
        s.update(1, 14);
        assert_eq!(s.update(2, 50_000), Restarted);
        assert_eq!(s.update(2, 50_001), InOrder);
        assert_eq!(s.lost(), 3);
    }

    #[test]
    fn a_long_gap_clears_the_window() {
        let (s, verdicts) = run(&[10, 10 + 64, 11 + 64 - 2]);
        assert_eq!(verdicts, [First, Gap(63), Reordered]);
        assert_eq!(s.lost(), 62);
    }
}
