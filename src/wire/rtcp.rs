//! RTCP compound packets (RFC 3550 §6, reduced size RFC 5506), report blocks, and the report blocks of XR (RFC 3611).
//!
//! Every packet type is passed on; sender and receiver reports and XR are read for statistics.

use super::{Malformed, u16_at, u32_at};

pub const SR: u8 = 200;
pub const RR: u8 = 201;
pub const XR: u8 = 207;

/// RFC 3611 §4.7.
const XR_VOIP_METRICS: u8 = 7;
const REPORT_BLOCK_LEN: usize = 24;

/// A compound packet whose lengths were found to fit.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a> {
    data: &'a [u8],
}

/// One packet of a compound.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    data: &'a [u8],
}

/// RFC 3550 §6.4.1: what a receiver says of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// Of 256, since the report before.
    pub fraction_lost: u8,
    /// 24 bits, signed.
    pub cumulative_lost: i32,
    pub highest_sequence: u32,
    /// In units of the RTP clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last SR, and the delay since, in 1/65536 s.
    pub last_sr: u32,
    pub delay_since_last_sr: u32,
}

/// RFC 3611 §4.7, the part that is kept: rates of 256, round trip in ms, R factor (127: not available).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoipMetrics {
    pub loss_rate: u8,
    pub discard_rate: u8,
    pub round_trip_ms: u16,
    pub r_factor: u8,
}

impl<'a> Compound<'a> {
    /// Version 2 throughout, each length within the bytes, and nothing left over.
    pub fn new_checked(data: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = data;
        if rest.is_empty() {
            return Err(Malformed);
        }
        while !rest.is_empty() {
            if rest.len() < 4 || rest[0] >> 6 != 2 || !(192..=223).contains(&rest[1]) {
                return Err(Malformed);
            }
            let len = (usize::from(u16_at(rest, 2)) + 1) * 4;
            let packet = rest.get(..len).ok_or(Malformed)?;
            if packet[0] & 0x20 != 0 {
                let padding = usize::from(packet[len - 1]);
                // RFC 3550 §6.4.1: a multiple of four, and only the last packet of a compound is padded.
                if padding == 0 || padding % 4 != 0 || padding > len - 4 || rest.len() != len {
                    return Err(Malformed);
                }
            }
            rest = &rest[len..];
        }
        Ok(Compound { data })
    }

    pub fn packets(&self) -> impl Iterator<Item = Packet<'a>> {
        let mut rest = self.data;
        std::iter::from_fn(move || {
            let len = (usize::from(u16_at(rest.get(..4)?, 2)) + 1) * 4;
            let (packet, next) = rest.split_at_checked(len)?;
            rest = next;
            Some(Packet { data: packet })
        })
    }
}

impl<'a> Packet<'a> {
    pub fn packet_type(&self) -> u8 {
        self.data[1]
    }

    /// Reports, sources or a subtype: the low five bits of the first byte.
    pub fn count(&self) -> usize {
        usize::from(self.data[0] & 0x1f)
    }

    /// Of SR and RR; as many as the count says and the length holds.
    pub fn report_blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        let start = match self.packet_type() {
            SR => 28,
            RR => 8,
            _ => usize::MAX,
        };
        let blocks = self.data.get(start..).unwrap_or(&[]).chunks_exact(REPORT_BLOCK_LEN);
        blocks.take(self.count()).map(|b| ReportBlock {
            ssrc: u32_at(b, 0),
            fraction_lost: b[4],
            cumulative_lost: (u32_at(b, 4) << 8) as i32 >> 8,
            highest_sequence: u32_at(b, 8),
            jitter: u32_at(b, 12),
            last_sr: u32_at(b, 16),
            delay_since_last_sr: u32_at(b, 20),
        })
    }

    /// The first VoIP metrics block of an XR packet.
    pub fn voip_metrics(&self) -> Option<VoipMetrics> {
        let mut rest = if self.packet_type() == XR { self.data.get(8..)? } else { return None };
        loop {
            let len = (usize::from(u16_at(rest.get(..4)?, 2)) + 1) * 4;
            let block = rest.get(..len)?;
            if block[0] == XR_VOIP_METRICS && len >= 36 {
                return Some(VoipMetrics {
                    loss_rate: block[8],
                    discard_rate: block[9],
                    round_trip_ms: u16_at(block, 16),
                    r_factor: block[24],
                });
            }
            rest = &rest[len..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A receiver report with one block, laid out by hand from RFC 3550 §6.4.2.
    fn receiver_report() -> Vec<u8> {
        let mut p = vec![0x81, RR, 0, 7, 0, 0, 0, 1];
        p.extend_from_slice(&[0, 0, 0, 2, 64, 0xff, 0xff, 0xfe, 0, 1, 0x12, 0x34, 0, 0, 0, 80]);
        p.extend_from_slice(&[0xaa, 0xbb, 0xcc, 0xdd, 0, 1, 0, 0]);
        p
    }

    #[test]
    fn a_report_block_is_read() {
        let bytes = receiver_report();
        let packet = Compound::new_checked(&bytes).unwrap().packets().next().unwrap();
        let block = packet.report_blocks().next().unwrap();
        assert_eq!((block.ssrc, block.fraction_lost, block.cumulative_lost), (2, 64, -2));
        assert_eq!((block.highest_sequence, block.jitter), (0x1_1234, 80));
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0xaabb_ccdd, 0x1_0000));
    }

    #[test]
    fn a_compound_is_walked_and_unknown_types_are_passed_over() {
        let mut bytes = receiver_report();
        bytes.extend_from_slice(&[0x80, 219, 0, 1, 1, 2, 3, 4]);
        let types: Vec<u8> = Compound::new_checked(&bytes).unwrap().packets().map(|p| p.packet_type()).collect();
        assert_eq!(types, [RR, 219]);
    }

    #[test]
    fn lengths_that_do_not_fit_are_malformed() {
        let good = receiver_report();
        for cut in 0..good.len() {
            assert!(Compound::new_checked(&good[..cut]).is_err(), "{cut}");
        }
        for (at, value) in [(0, 0x41), (1, 100), (3, 8), (0, 0xa1)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Compound::new_checked(&bad).is_err(), "byte {at} = {value:#x}");
        }
    }

    #[test]
    fn a_count_that_claims_more_blocks_than_there_are_reads_what_is_there() {
        let mut bytes = receiver_report();
        bytes[0] = 0x9f;
        let packet = Compound::new_checked(&bytes).unwrap().packets().next().unwrap();
        assert_eq!(packet.report_blocks().count(), 1);
    }

    #[test]
    fn voip_metrics_are_found_behind_other_blocks() {
        // RFC 3611 §4.4 receiver reference time (type 4, 2 words), then §4.7 VoIP metrics (type 7, 8 words).
        let mut bytes = vec![0x80, XR, 0, 13, 0, 0, 0, 1, 4, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 8];
        let mut block = [0u8; 32];
        (block[4], block[5], block[12], block[13], block[20]) = (25, 5, 0x01, 0x02, 93);
        bytes.extend_from_slice(&block);
        let packet = Compound::new_checked(&bytes).unwrap().packets().next().unwrap();
        let expected = VoipMetrics { loss_rate: 25, discard_rate: 5, round_trip_ms: 0x102, r_factor: 93 };
        assert_eq!(packet.voip_metrics(), Some(expected));
    }
}
