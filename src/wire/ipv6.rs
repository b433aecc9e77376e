//! IPv6 headers (RFC 8200) and the walk over extension headers.

use super::{IPPROTO_UDP, Malformed, u16_at, u128_at};

pub const HEADER_LEN: usize = 40;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// Extension headers that are followed; a longer chain is taken for malformed.
const MAX_EXTENSIONS: usize = 8;

#[derive(Debug)]
pub struct Packet<T>(T);

/// Where the extension headers end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    pub protocol: u8,
    /// From the start of the IPv6 header.
    pub offset: usize,
    /// A fragment header was met: its offset in bytes.
    pub fragment: Option<usize>,
}

impl<T: AsRef<[u8]>> Packet<T> {
    pub const fn new_unchecked(buffer: T) -> Self {
        Packet(buffer)
    }

    /// `available` counts the whole packet from here, later segments included.
    #[inline]
    pub fn new_checked(buffer: T, available: usize) -> Result<Self, Malformed> {
        let d = buffer.as_ref();
        if d.len() < HEADER_LEN || d[0] >> 4 != 6 || HEADER_LEN + usize::from(u16_at(d, 4)) > available {
            return Err(Malformed);
        }
        Ok(Packet(buffer))
    }

    /// Of everything after the fixed header.
    #[inline]
    pub fn payload_len(&self) -> usize {
        usize::from(u16_at(self.0.as_ref(), 4))
    }

    #[inline]
    pub fn next_header(&self) -> u8 {
        self.0.as_ref()[6]
    }

    #[inline]
    pub fn source(&self) -> u128 {
        u128_at(self.0.as_ref(), 8)
    }

    #[inline]
    pub fn destination(&self) -> u128 {
        u128_at(self.0.as_ref(), 24)
    }

    /// Walks the extension headers, which must lie in the buffer and in the payload.
    #[inline]
    pub fn upper(&self) -> Result<Upper, Malformed> {
        let mut upper = Upper { protocol: self.next_header(), offset: HEADER_LEN, fragment: None };
        if upper.protocol == IPPROTO_UDP {
            return Ok(upper);
        }
        let d = self.0.as_ref();
        let end = d.len().min(HEADER_LEN + self.payload_len());
        for _ in 0..MAX_EXTENSIONS {
            let at = upper.offset;
            match upper.protocol {
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                    if at + 8 > end {
                        return Err(Malformed);
                    }
                    upper.protocol = d[at];
                    upper.offset += (usize::from(d[at + 1]) + 1) * 8;
                }
                FRAGMENT => {
                    if at + 8 > end {
                        return Err(Malformed);
                    }
                    upper.protocol = d[at];
                    let field = u16_at(d, at + 2);
                    // RFC 6946: an "atomic" fragment is a whole datagram; the kernel still gets it as a fragment.
                    upper.fragment = Some(usize::from(field & 0xfff8));
                    upper.offset += 8;
                    // Behind a fragment header with an offset lies the middle of something.
                    if field & 0xfff8 != 0 {
                        return Ok(upper);
                    }
                }
                _ => return if upper.offset <= end { Ok(upper) } else { Err(Malformed) },
            }
            if upper.offset > end {
                return Err(Malformed);
            }
        }
        Err(Malformed)
    }
}

/// The header of a UDP datagram without extensions.
#[derive(Clone, Copy, Debug)]
pub struct Repr {
    pub traffic_class: u8,
    pub payload_len: u16,
    pub hop_limit: u8,
    pub source: u128,
    pub destination: u128,
}

impl Repr {
    #[inline]
    pub fn emit(&self, header: &mut [u8; HEADER_LEN]) {
        header[0] = 0x60 | self.traffic_class >> 4;
        header[1] = self.traffic_class << 4;
        header[2..4].copy_from_slice(&[0, 0]);
        header[4..6].copy_from_slice(&self.payload_len.to_be_bytes());
        header[6] = IPPROTO_UDP;
        header[7] = self.hop_limit;
        header[8..24].copy_from_slice(&self.source.to_be_bytes());
        header[24..40].copy_from_slice(&self.destination.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(next: u8, extensions: &[u8]) -> Vec<u8> {
        let mut p = vec![0; HEADER_LEN];
        let len = extensions.len() as u16 + 8;
        Repr { traffic_class: 0xb8, payload_len: len, hop_limit: 64, source: 1, destination: 2 }
            .emit((&mut p[..]).try_into().unwrap());
        p[6] = next;
        p.extend_from_slice(extensions);
        p.extend_from_slice(&[0; 8]);
        p
    }

    #[test]
    fn the_fixed_header_is_read_as_it_was_written() {
        let bytes = packet(IPPROTO_UDP, &[]);
        assert_eq!(bytes[..2], [0x6b, 0x80], "version 6, traffic class 0xb8 (RFC 8200 §3)");
        let p = Packet::new_checked(&bytes[..], bytes.len()).unwrap();
        assert_eq!((p.source(), p.destination(), p.payload_len()), (1, 2, 8));
        assert_eq!(p.upper(), Ok(Upper { protocol: IPPROTO_UDP, offset: 40, fragment: None }));
        assert!(Packet::new_checked(&bytes[..], bytes.len() - 1).is_err());
    }

    #[test]
    fn extension_headers_are_walked() {
        let bytes = packet(
            HOP_BY_HOP,
            &[DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0, IPPROTO_UDP, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        );
        let p = Packet::new_checked(&bytes[..], bytes.len()).unwrap();
        assert_eq!(p.upper(), Ok(Upper { protocol: IPPROTO_UDP, offset: 64, fragment: None }));
    }

    #[test]
    fn a_fragment_is_said_to_be_one() {
        let bytes = packet(FRAGMENT, &[IPPROTO_UDP, 0, 0, 1, 0, 0, 0, 9]);
        let upper = Packet::new_unchecked(&bytes[..]).upper().unwrap();
        assert_eq!(upper, Upper { protocol: IPPROTO_UDP, offset: 48, fragment: Some(0) });
        let bytes = packet(FRAGMENT, &[IPPROTO_UDP, 0, 0x05, 0xa8, 0, 0, 0, 9]);
        assert_eq!(Packet::new_unchecked(&bytes[..]).upper().unwrap().fragment, Some(1448));
    }

    #[test]
    fn a_chain_that_leaves_the_packet_or_never_ends_is_malformed() {
        let bytes = packet(HOP_BY_HOP, &[IPPROTO_UDP, 200, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Packet::new_unchecked(&bytes[..]).upper(), Err(Malformed));
        let bytes = packet(HOP_BY_HOP, &[HOP_BY_HOP, 0, 0, 0, 0, 0, 0, 0].repeat(9));
        assert_eq!(Packet::new_unchecked(&bytes[..]).upper(), Err(Malformed));
    }
}
