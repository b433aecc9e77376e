//! Neighbour advertisements of IPv6 (RFC 4861 §4.4).

use super::{
    IPPROTO_ICMPV6, checksum,
    ethernet::{self, Mac},
    ipv6, u128_at,
};

const ADVERTISEMENT: u8 = 136;
/// The advertisement with the option that carries the link-layer address (RFC 4861 §4.6.1).
const LEN: usize = 24 + 8;
/// RFC 4861 §4.4: a neighbour that has another address takes this one in its place.
const OVERRIDE: u8 = 0x20;
/// RFC 4861 §7.2.6: unsolicited ones go to all nodes.
const ALL_NODES: u128 = 0xff02_0000_0000_0000_0000_0000_0000_0001;
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
/// RFC 4861 §7.1.2: from a router's distance it would not be believed.
const HOP_LIMIT: u8 = 255;

/// The address that an IPv6 packet advertises, if it is such an advertisement without extension headers.
pub fn advertised(ip: &[u8]) -> Option<u128> {
    const NEXT_HEADER: usize = 6;
    let body = ip.get(ipv6::HEADER_LEN..)?;
    let is = ip[NEXT_HEADER] == IPPROTO_ICMPV6 && body.len() >= 24 && body[0] == ADVERTISEMENT;
    is.then(|| u128_at(body, 8))
}

/// A whole frame that tells everybody on the network that `ip` is at `mac` now.
pub fn announcement(mac: Mac, ip: u128) -> [u8; ethernet::HEADER_LEN + ipv6::HEADER_LEN + LEN] {
    let mut frame = [0; ethernet::HEADER_LEN + ipv6::HEADER_LEN + LEN];
    ethernet::Frame::new_unchecked(&mut frame[..]).set(ALL_NODES_MAC, mac, ethernet::ETHERTYPE_IPV6);
    let (header, body) = frame[ethernet::HEADER_LEN..].split_at_mut(ipv6::HEADER_LEN);
    header[0] = 6 << 4;
    header[4..6].copy_from_slice(&(LEN as u16).to_be_bytes());
    header[6] = IPPROTO_ICMPV6;
    header[7] = HOP_LIMIT;
    header[8..24].copy_from_slice(&ip.to_be_bytes());
    header[24..40].copy_from_slice(&ALL_NODES.to_be_bytes());
    body[0] = ADVERTISEMENT;
    body[4] = OVERRIDE;
    body[8..24].copy_from_slice(&ip.to_be_bytes());
    // RFC 4861 §4.6.1: the target's link-layer address, one unit of eight bytes.
    body[24..26].copy_from_slice(&[2, 1]);
    body[26..32].copy_from_slice(&mac);
    // RFC 4443 §2.3: over a pseudo-header, as UDP has it.
    let pseudo = checksum::sum_v6(ip) + checksum::sum_v6(ALL_NODES) + LEN as u32 + u32::from(IPPROTO_ICMPV6);
    let sum = !checksum::fold(u32::from(checksum::fold(pseudo)) + u32::from(checksum::sum(body)));
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_has_the_fields_of_rfc_4861() {
        let mac = [2, 0, 0, 0, 0, 7];
        let ip = 0x2001_0db8_0000_0000_0000_0000_0000_0009;
        let frame = announcement(mac, ip);
        let text: String = frame.iter().map(|b| format!("{b:02x}")).collect();
        // The checksum was computed apart, with Python over the pseudo-header of RFC 8200 §8.1.
        let expected = concat!(
            "333300000001",
            "020000000007",
            "86dd",
            "60000000",
            "0020",
            "3a",
            "ff",
            "20010db8000000000000000000000009",
            "ff020000000000000000000000000001",
            "88",
            "00",
            "f914",
            "20000000",
            "20010db8000000000000000000000009",
            "0201",
            "020000000007",
        );
        assert_eq!(text, expected);
        let packet = &frame[ethernet::HEADER_LEN..];
        assert_eq!(advertised(packet), Some(ip));
        assert!((ipv6::HEADER_LEN..ipv6::HEADER_LEN + 24).all(|cut| advertised(&packet[..cut]).is_none()));
    }
}
