//! Properties of every view: no input makes one panic, and what passes the check can be read in full.

use proptest::prelude::*;

use super::{checksum, ethernet, ipv4, ipv6, rtcp, rtp, udp};

fn read_everything(data: &[u8], available: usize) {
    if let Ok(f) = ethernet::Frame::new_checked(data) {
        let _ = (f.destination(), f.source(), f.ethertype(), f.is_group());
    }
    if let Ok(p) = ipv4::Packet::new_checked(data, available) {
        let _ = (p.header_len(), p.total_len(), p.is_fragment(), p.fragment_offset(), p.verify_checksum());
        assert!(p.header_len() <= p.total_len() && p.total_len() <= available);
    }
    if let Ok(p) = ipv6::Packet::new_checked(data, available)
        && let Ok(upper) = p.upper()
    {
        assert!(upper.offset <= ipv6::HEADER_LEN + p.payload_len());
    }
    if let Ok(d) = udp::Datagram::new_checked(data, available) {
        assert!(d.len() >= udp::HEADER_LEN && d.len() <= available);
    }
    if let Ok(p) = rtp::Packet::new_checked(data, available) {
        let range = p.payload_range();
        assert!(range.start <= range.end && range.end <= available && range.start <= data.len());
    }
    if let Ok(c) = rtcp::Compound::new_checked(data) {
        for packet in c.packets() {
            let _ = (packet.report_blocks().count(), packet.voip_metrics());
        }
    }
    let _ = (rtp::is_rtcp(data), checksum::sum(data));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn random_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..200), beyond in 0usize..200) {
        read_everything(&data, data.len() + beyond);
    }

    #[test]
    fn bytes_that_begin_like_a_header_never_panic(
        first in prop_oneof![Just(0x45u8), Just(0x4f), Just(0x60), Just(0x80), Just(0xb3), Just(0x9f)],
        second in prop_oneof![Just(200u8), Just(201), Just(207), any::<u8>()],
        data in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut bytes = vec![first, second, 0, (data.len() / 4).min(255) as u8];
        bytes.extend_from_slice(&data);
        for cut in 0..=bytes.len() {
            read_everything(&bytes[..cut], bytes.len());
            read_everything(&bytes[..cut], cut);
        }
    }
}
