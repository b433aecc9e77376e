//! RTP: where the payload lies.
//!
//! The first two bytes are how much of the packet lies in later segments, which the view may not read.

#![no_main]

use std::ops::Range;

use libfuzzer_sys::fuzz_target;
use tandem::wire::rtp;

fuzz_target!(|input: (u16, &[u8])| {
    let (beyond, data) = input;
    let available = data.len() + usize::from(beyond);
    let _ = rtp::is_rtcp(data);
    let got = rtp::Packet::new_checked(data, available);
    if let Ok(packet) = &got {
        assert_eq!(packet.marker(), data[1] >= 0x80);
        assert_eq!(packet.payload_type(), data[1] % 0x80);
        let _ = (packet.sequence(), packet.timestamp(), packet.ssrc());
    }
    // A longer packet than UDP carries is nobody's promise.
    if available <= usize::from(u16::MAX) {
        assert_eq!(got.ok().map(|packet| packet.payload_range()), plain(data, available));
    }
});

/// RFC 3550 §5.1 and §5.3.1, field by field. None where something does not fit, or lies beyond the first segment.
fn plain(data: &[u8], available: usize) -> Option<Range<usize>> {
    let byte = |at: usize| data.get(at).copied().map(usize::from);
    let fixed = byte(11).and(byte(0))?;
    if fixed >> 6 != 2 {
        return None;
    }
    let (padded, extended, contributing) = (fixed & 0x20 != 0, fixed & 0x10 != 0, fixed & 0x0f);
    let mut start = 12 + 4 * contributing;
    if extended {
        let words = byte(start + 2)? * 256 + byte(start + 3)?;
        start += 4 + 4 * words;
    }
    if start > data.len() {
        return None;
    }
    let padding = match byte(available - 1).filter(|_| padded) {
        None => 0,
        Some(0) => return None,
        Some(padding) => padding,
    };
    let end = available.checked_sub(padding)?;
    (start <= end).then_some(start..end)
}
