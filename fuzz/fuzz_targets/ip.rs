//! Ethernet, IPv4, IPv6 and UDP, one inside the other, as the workers read a frame.
//!
//! The first two bytes are how much of the packet lies in later segments, which no view may read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tandem::wire::{IPPROTO_UDP, checksum, ethernet, ipv4, ipv6, udp};

fuzz_target!(|input: (u16, &[u8])| {
    let (beyond, data) = input;
    let Ok(frame) = ethernet::Frame::new_checked(data) else {
        assert!(data.len() < ethernet::HEADER_LEN);
        return;
    };
    let _ = (frame.destination(), frame.source(), frame.is_group());
    let packet = &data[ethernet::HEADER_LEN..];
    let available = packet.len() + usize::from(beyond);
    match frame.ethertype() {
        ethernet::ETHERTYPE_IPV4 => v4(packet, available),
        ethernet::ETHERTYPE_IPV6 => v6(packet, available),
        _ => {}
    }
});

fn v4(packet: &[u8], available: usize) {
    let Ok(ip) = ipv4::Packet::new_checked(packet, available) else { return };
    let (header, total) = (ip.header_len(), ip.total_len());
    assert!((ipv4::MIN_HEADER_LEN..=60).contains(&header) && header % 4 == 0);
    assert!(header <= packet.len() && header <= total && total <= available);
    assert_eq!(ip.verify_checksum(), checksum::sum(&packet[..header]) == 0xffff);
    let _ = (ip.source(), ip.destination());
    // RFC 791 §3.1: 13 bits in units of 8 bytes.
    assert!(ip.fragment_offset() <= 8 * 0x1fff && ip.fragment_offset() % 8 == 0);
    if ip.fragment_offset() > 0 {
        assert!(ip.is_fragment());
    } else if ip.protocol() == IPPROTO_UDP {
        datagram(&packet[header..], total - header);
    }
}

fn v6(packet: &[u8], available: usize) {
    let Ok(ip) = ipv6::Packet::new_checked(packet, available) else { return };
    let end = ipv6::HEADER_LEN + ip.payload_len();
    assert!(packet.len() >= ipv6::HEADER_LEN && end <= available);
    let _ = (ip.source(), ip.destination());
    let Ok(upper) = ip.upper() else { return };
    assert!(upper.offset >= ipv6::HEADER_LEN && upper.offset <= end && upper.offset <= packet.len());
    // RFC 8200 §4: every extension header is a multiple of 8 bytes long.
    assert_eq!(upper.offset % 8, 0);
    // The walk looks at the headers and nothing behind them: cut off there, it ends in the same place.
    let mut cut = packet[..upper.offset].to_vec();
    cut[4..6].copy_from_slice(&((upper.offset - ipv6::HEADER_LEN) as u16).to_be_bytes());
    let again = ipv6::Packet::new_checked(&cut[..], cut.len()).and_then(|ip| ip.upper());
    assert_eq!(again, Ok(upper));
    if upper.protocol == IPPROTO_UDP && upper.fragment.is_none_or(|offset| offset == 0) {
        datagram(&packet[upper.offset..], end - upper.offset);
    }
}

fn datagram(bytes: &[u8], available: usize) {
    let Ok(datagram) = udp::Datagram::new_checked(bytes, available) else { return };
    assert!(bytes.len() >= udp::HEADER_LEN);
    assert!(datagram.len() >= udp::HEADER_LEN && datagram.len() <= available);
    assert_eq!(datagram.is_empty(), datagram.len() == udp::HEADER_LEN);
    let _ = (datagram.source_port(), datagram.destination_port(), datagram.checksum());
}
