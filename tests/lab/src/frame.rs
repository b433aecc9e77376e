//! Reading captured frames: Ethernet, IPv4, IPv6, UDP, TCP, ICMP, RTP. Only as much as the far-end checks ask. Pure.
//!
//! Written for the laboratory alone and apart from the appliance's own parsers, so that one mistake is not made twice.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a frame turned out to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    Udp {
        from: SocketAddr,
        to: SocketAddr,
        payload: &'a [u8],
    },
    Tcp {
        from: SocketAddr,
        to: SocketAddr,
        payload: &'a [u8],
    },
    /// Type, code, and what follows the ICMP header's eight bytes.
    Icmp {
        from: IpAddr,
        to: IpAddr,
        kind: u8,
        code: u8,
        body: &'a [u8],
    },
    /// A piece of a fragmented IPv4 datagram.
    Fragment {
        from: IpAddr,
        to: IpAddr,
        id: u16,
        offset: usize,
        more: bool,
        protocol: u8,
        body: &'a [u8],
    },
    Other,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub fn read(frame: &[u8]) -> Content<'_> {
    read_ip(frame).unwrap_or(Content::Other)
}

fn read_ip(frame: &[u8]) -> Option<Content<'_>> {
    let packet = frame.get(14..)?;
    match u16_at(frame, 12)? {
        0x0800 => {
            let header = usize::from(packet.first()? & 15) * 4;
            let total = usize::from(u16_at(packet, 2)?);
            let from = IpAddr::V4(Ipv4Addr::from(u32_at(packet, 12)?));
            let to = IpAddr::V4(Ipv4Addr::from(u32_at(packet, 16)?));
            let protocol = *packet.get(9)?;
            let body = packet.get(header..total)?;
            let flags = u16_at(packet, 6)?;
            if flags & 0x3fff != 0 {
                let (offset, more) = (usize::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
                return Some(Content::Fragment { from, to, id: u16_at(packet, 4)?, offset, more, protocol, body });
            }
            read_transport(from, to, protocol, body)
        }
        0x86dd => {
            let address = |at: usize| -> Option<IpAddr> {
                let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
                Some(IpAddr::V6(Ipv6Addr::from(octets)))
            };
            let length = usize::from(u16_at(packet, 4)?);
            read_transport(address(8)?, address(24)?, *packet.get(6)?, packet.get(40..40 + length)?)
        }
        _ => None,
    }
}

/// The payload of an IP packet, whole. Also for what was put together from fragments.
pub fn read_transport(from: IpAddr, to: IpAddr, protocol: u8, body: &[u8]) -> Option<Content<'_>> {
    match protocol {
        17 => {
            let (source, destination) = (u16_at(body, 0)?, u16_at(body, 2)?);
            let payload = body.get(8..usize::from(u16_at(body, 4)?))?;
            Some(Content::Udp { from: SocketAddr::new(from, source), to: SocketAddr::new(to, destination), payload })
        }
        6 => {
            let (source, destination) = (u16_at(body, 0)?, u16_at(body, 2)?);
            let payload = body.get(usize::from(body.get(12)? >> 4) * 4..)?;
            Some(Content::Tcp { from: SocketAddr::new(from, source), to: SocketAddr::new(to, destination), payload })
        }
        1 | 58 => Some(Content::Icmp { from, to, kind: *body.first()?, code: *body.get(1)?, body: body.get(8..)? }),
        _ => Some(Content::Other),
    }
}

/// Whether the checksums of IPv4 and of UDP, TCP or ICMPv6 hold; a frame without any holds. Not for fragments.
pub fn checksums_hold(frame: &[u8]) -> bool {
    checksums(frame).unwrap_or(true)
}

fn checksums(frame: &[u8]) -> Option<bool> {
    let packet = frame.get(14..)?;
    let (addresses, protocol, body) = match u16_at(frame, 12)? {
        0x0800 => {
            let header = usize::from(packet.first()? & 15) * 4;
            if sum(packet.get(..header)?, 0) != 0xffff {
                return Some(false);
            }
            if u16_at(packet, 6)? & 0x3fff != 0 {
                return Some(true);
            }
            (packet.get(12..20)?, *packet.get(9)?, packet.get(header..usize::from(u16_at(packet, 2)?))?)
        }
        0x86dd => {
            let length = usize::from(u16_at(packet, 4)?);
            (packet.get(8..40)?, *packet.get(6)?, packet.get(40..40 + length)?)
        }
        _ => return None,
    };
    // RFC 768: zero means that the sender computed none; RFC 8200 §8.1 forbids that over IPv6.
    if protocol == 17 && u16_at(body, 6)? == 0 {
        return Some(addresses.len() == 8);
    }
    if !matches!(protocol, 6 | 17 | 58) {
        return Some(true);
    }
    let pseudo = sum(addresses, u32::from(protocol) + u32::try_from(body.len()).ok()?);
    Some(sum(body, pseudo) == 0xffff)
}

/// RFC 1071: the ones' complement sum, folded.
fn sum(bytes: &[u8], start: u32) -> u32 {
    let mut total = u64::from(start);
    for pair in bytes.chunks(2) {
        total += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u32
}

/// The differentiated-services code point of an IP frame.
pub fn dscp(frame: &[u8]) -> Option<u8> {
    let packet = frame.get(14..)?;
    match u16_at(frame, 12)? {
        0x0800 => Some(*packet.get(1)? >> 2),
        0x86dd => Some((u16_at(packet, 0)? >> 6) as u8 & 0x3f),
        _ => None,
    }
}

/// ICMP (or ICMPv6) destination unreachable.
pub fn is_unreachable(from: IpAddr, kind: u8) -> bool {
    if from.is_ipv4() { kind == 3 } else { kind == 1 }
}

/// Where the UDP datagram was going whose first bytes an ICMP error quotes (RFC 792, RFC 4443 §3.1).
pub fn quoted_udp_destination(packet: &[u8]) -> Option<SocketAddr> {
    if packet.first()? >> 4 == 4 {
        let header = usize::from(packet.first()? & 15) * 4;
        let to = IpAddr::V4(Ipv4Addr::from(u32_at(packet, 16)?));
        return (*packet.get(9)? == 17).then_some(SocketAddr::new(to, u16_at(packet, header + 2)?));
    }
    let octets: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
    (*packet.get(6)? == 17).then_some(SocketAddr::new(IpAddr::from(octets), u16_at(packet, 42)?))
}

/// RFC 3550 §5.1, the fixed header, and the payload after CSRCs and extension, before padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtp<'a> {
    pub pt: u8,
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: &'a [u8],
}

impl<'a> Rtp<'a> {
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        let first = *datagram.first()?;
        let second = *datagram.get(1)?;
        // RFC 5761 §4: 64–95 in the payload-type field is RTCP.
        if first >> 6 != 2 || (64..96).contains(&(second & 0x7f)) {
            return None;
        }
        let mut start = 12 + 4 * usize::from(first & 15);
        if first & 0x10 != 0 {
            start += 4 + 4 * usize::from(u16_at(datagram, start + 2)?);
        }
        let padding = if first & 0x20 != 0 { usize::from(*datagram.last()?) } else { 0 };
        Some(Rtp {
            pt: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence: u16_at(datagram, 2)?,
            timestamp: u32_at(datagram, 4)?,
            ssrc: u32_at(datagram, 8)?,
            payload: datagram.get(start..datagram.len().checked_sub(padding)?)?,
        })
    }

    /// A datagram with the fixed header only.
    pub fn write(&self) -> Vec<u8> {
        let mut datagram = vec![0x80, self.pt | if self.marker { 0x80 } else { 0 }];
        datagram.extend(self.sequence.to_be_bytes());
        datagram.extend(self.timestamp.to_be_bytes());
        datagram.extend(self.ssrc.to_be_bytes());
        datagram.extend(self.payload);
        datagram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3550 §5.1 by hand: V=2, P, X, one CSRC, marker, PT 8, extension of one word, two bytes of padding.
    #[test]
    fn rtp_payload_lies_between_extension_and_padding() {
        let mut datagram = vec![0xb1, 0x88, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef];
        datagram.extend([9, 9, 9, 9]);
        datagram.extend([0xbe, 0xde, 0, 1, 1, 2, 3, 4]);
        datagram.extend([0x55, 0x66, 0x77, 0, 2]);
        let rtp = Rtp::read(&datagram).expect("a valid packet");
        assert_eq!((rtp.pt, rtp.marker, rtp.sequence, rtp.timestamp, rtp.ssrc), (8, true, 0x1234, 160, 0xdead_beef));
        assert_eq!(rtp.payload, [0x55, 0x66, 0x77]);
    }

    /// The IPv4 header of RFC 1071's well-known worked example as Wikipedia's "Internet checksum" page prints it, with a
    /// UDP datagram behind it whose checksum is absent.
    #[test]
    fn checksums_are_verified() {
        let mut frame = vec![0; 12];
        frame.extend([8, 0]);
        frame.extend([0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61]);
        frame.extend([0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7]);
        frame.extend([0; 0x73 - 20]);
        assert!(checksums_hold(&frame));
        frame[14 + 8] ^= 1;
        assert!(!checksums_hold(&frame));
    }

    #[test]
    fn a_length_beyond_the_frame_is_no_datagram() {
        let mut frame = vec![0; 14 + 20 + 8 + 4];
        frame[12] = 8;
        frame[14] = 0x45;
        frame[17] = 32;
        frame[23] = 17;
        frame[14 + 20 + 5] = 12;
        assert!(matches!(read(&frame), Content::Udp { payload: [0, 0, 0, 0], .. }));
        frame[14 + 20 + 5] = 13;
        assert_eq!(read(&frame), Content::Other);
    }
}
