//! ARP for IPv4 over Ethernet (RFC 826).

use super::{
    Malformed,
    ethernet::{self, Mac},
    u16_at, u32_at,
};

pub const LEN: usize = 28;

/// RFC 826: hardware type Ethernet, protocol type IPv4, their lengths.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

#[derive(Debug)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Of another kind of network than IPv4 over Ethernet: malformed too.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let d = buffer.as_ref();
        if d.len() < LEN || d[..6] != ETHERNET_IPV4 { Err(Malformed) } else { Ok(Packet(buffer)) }
    }

    /// 1: request, 2: reply.
    pub fn operation(&self) -> u16 {
        u16_at(self.0.as_ref(), 6)
    }

    pub fn sender_mac(&self) -> Mac {
        let d = self.0.as_ref();
        [d[8], d[9], d[10], d[11], d[12], d[13]]
    }

    /// Whom others will believe to be at the sender's MAC address.
    pub fn sender(&self) -> u32 {
        u32_at(self.0.as_ref(), 14)
    }

    pub fn target(&self) -> u32 {
        u32_at(self.0.as_ref(), 24)
    }
}

/// A whole frame that tells everybody on the network that `ip` is at `mac` now: an ARP announcement (RFC 5227 §3), which is
/// a request for one's own address. Hosts that know the address already take the new place (RFC 826).
pub fn announcement(mac: Mac, ip: u32) -> [u8; ethernet::HEADER_LEN + LEN] {
    let mut frame = [0; ethernet::HEADER_LEN + LEN];
    ethernet::Frame::new_unchecked(&mut frame[..]).set([0xff; 6], mac, ethernet::ETHERTYPE_ARP);
    let d = &mut frame[ethernet::HEADER_LEN..];
    d[..6].copy_from_slice(&ETHERNET_IPV4);
    d[6..8].copy_from_slice(&1u16.to_be_bytes());
    d[8..14].copy_from_slice(&mac);
    d[14..18].copy_from_slice(&ip.to_be_bytes());
    d[24..28].copy_from_slice(&ip.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_has_the_fields_of_rfc_826() {
        // The fields of RFC 826, written out in its order.
        let mac = [2, 0, 0, 0, 0, 7];
        let frame = announcement(mac, 0xc612_0009);
        let expected: Vec<u8> = [
            &[0xff; 6][..],
            &mac,
            &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1],
            &mac,
            &[198, 18, 0, 9],
            &[0; 6],
            &[198, 18, 0, 9],
        ]
        .concat();
        assert_eq!(frame[..], expected[..]);
        let read = Packet::new_checked(&frame[ethernet::HEADER_LEN..]).unwrap();
        assert_eq!((read.operation(), read.sender_mac()), (1, mac));
        assert_eq!((read.sender(), read.target()), (0xc612_0009, 0xc612_0009));
    }

    #[test]
    fn what_is_short_or_of_another_network_is_refused() {
        let frame = announcement([2; 6], 1);
        let body = &frame[ethernet::HEADER_LEN..];
        assert!((0..LEN).all(|cut| Packet::new_checked(&body[..cut]).is_err()));
        let mut token_ring = body.to_vec();
        token_ring[1] = 6;
        assert!(Packet::new_checked(token_ring).is_err());
    }
}
