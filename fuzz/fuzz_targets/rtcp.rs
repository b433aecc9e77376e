//! RTCP compounds, report blocks and the VoIP metrics of XR.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tandem::wire::rtcp;

fuzz_target!(|data: &[u8]| {
    let Ok(compound) = rtcp::Compound::new_checked(data) else { return };
    let mut packets = compound.packets();
    let mut at = 0;
    // RFC 3550 §6.4.1: the length is in words, less one.
    while at < data.len() {
        let len = 4 * (1 + usize::from(data[at + 2]) * 256 + usize::from(data[at + 3]));
        let packet = packets.next().expect("a packet for every header");
        assert_eq!((packet.packet_type(), packet.count()), (data[at + 1], usize::from(data[at] & 0x1f)));
        blocks(&packet, &data[at..at + len]);
        at += len;
    }
    assert_eq!(at, data.len());
    assert!(packets.next().is_none());
});

fn blocks(packet: &rtcp::Packet, bytes: &[u8]) {
    let first = match packet.packet_type() {
        rtcp::SR => 28,
        rtcp::RR => 8,
        _ => {
            assert_eq!(packet.report_blocks().count(), 0);
            assert!(packet.voip_metrics().is_none() || packet.packet_type() == rtcp::XR);
            return;
        }
    };
    let there = bytes.len().saturating_sub(first) / 24;
    assert_eq!(packet.report_blocks().count(), packet.count().min(there));
    for (i, block) in packet.report_blocks().enumerate() {
        let at = first + 24 * i;
        assert_eq!(block.ssrc.to_be_bytes(), bytes[at..at + 4]);
        assert_eq!(block.fraction_lost, bytes[at + 4]);
        // RFC 3550 §6.4.1: 24 bits, in two's complement.
        let lost = (0..3).fold(0, |sum, j| sum * 256 + i32::from(bytes[at + 5 + j]));
        assert_eq!(block.cumulative_lost, if lost < 1 << 23 { lost } else { lost - (1 << 24) });
        assert_eq!(block.delay_since_last_sr.to_be_bytes(), bytes[at + 20..at + 24]);
    }
}
