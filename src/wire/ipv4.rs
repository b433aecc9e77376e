//! IPv4 headers (RFC 791).

use super::{IPPROTO_UDP, Malformed, checksum, u16_at, u32_at};

pub const MIN_HEADER_LEN: usize = 20;

#[derive(Debug)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    pub const fn new_unchecked(buffer: T) -> Self {
        Packet(buffer)
    }

    /// `available` counts the whole packet from here, later segments included; the header itself must lie in `buffer`.
    #[inline]
    pub fn new_checked(buffer: T, available: usize) -> Result<Self, Malformed> {
        let d = buffer.as_ref();
        if d.len() < MIN_HEADER_LEN || d[0] >> 4 != 4 {
            return Err(Malformed);
        }
        let packet = Packet(buffer);
        let (header, total) = (packet.header_len(), packet.total_len());
        let fits =
            header >= MIN_HEADER_LEN && header <= packet.0.as_ref().len() && header <= total && total <= available;
        if fits { Ok(packet) } else { Err(Malformed) }
    }

    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.0.as_ref()[0] & 0x0f) * 4
    }

    #[inline]
    pub fn total_len(&self) -> usize {
        usize::from(u16_at(self.0.as_ref(), 2))
    }

    /// Part of a datagram: more fragments follow, or others went before.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        u16_at(self.0.as_ref(), 6) & 0x3fff != 0
    }

    /// In bytes.
    #[inline]
    pub fn fragment_offset(&self) -> usize {
        usize::from(u16_at(self.0.as_ref(), 6) & 0x1fff) * 8
    }

    #[inline]
    pub fn protocol(&self) -> u8 {
        self.0.as_ref()[9]
    }

    #[inline]
    pub fn source(&self) -> u32 {
        u32_at(self.0.as_ref(), 12)
    }

    #[inline]
    pub fn destination(&self) -> u32 {
        u32_at(self.0.as_ref(), 16)
    }

    #[inline]
    pub fn verify_checksum(&self) -> bool {
        let header = &self.0.as_ref()[..self.header_len()];
        checksum::sum(header) == 0xffff
    }
}

/// The header of a UDP datagram that is never fragmented: identification 0 with DF (RFC 6864 §4.1), no options.
#[derive(Clone, Copy, Debug)]
pub struct Repr {
    pub tos: u8,
    pub total_len: u16,
    pub ttl: u8,
    pub source: u32,
    pub destination: u32,
}

impl Repr {
    /// Writes the header; the checksum too unless the device fills it in.
    #[inline]
    pub fn emit(&self, header: &mut [u8; MIN_HEADER_LEN], checksum_by_device: bool) {
        header[0] = 0x45;
        header[1] = self.tos;
        header[2..4].copy_from_slice(&self.total_len.to_be_bytes());
        header[4..8].copy_from_slice(&[0, 0, 0x40, 0]);
        header[8] = self.ttl;
        header[9] = IPPROTO_UDP;
        header[10..12].copy_from_slice(&[0, 0]);
        header[12..16].copy_from_slice(&self.source.to_be_bytes());
        header[16..20].copy_from_slice(&self.destination.to_be_bytes());
        if !checksum_by_device {
            let sum = !checksum::sum(header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A published example: the IPv4 header of Wikipedia's "Internet checksum" article, checksum b861.
    const PUBLISHED: [u8; 20] = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
        0x00, 0xc7,
    ];

    #[test]
    fn a_header_is_read_and_written_as_published() {
        let p = Packet::new_checked(&PUBLISHED[..], 0x73).unwrap();
        assert!(p.verify_checksum());
        assert_eq!((p.header_len(), p.total_len(), p.protocol()), (20, 0x73, IPPROTO_UDP));
        let mut header = [0; 20];
        let repr = Repr { tos: 0, total_len: 0x73, ttl: 64, source: p.source(), destination: p.destination() };
        repr.emit(&mut header, false);
        assert_eq!(header, PUBLISHED);
    }

    #[test]
    fn lies_about_lengths_are_found() {
        for (at, value) in [(0, 0x44), (0, 0x65), (0, 0x4f), (3, 19)] {
            let mut bytes = PUBLISHED;
            bytes[at] = value;
            assert!(Packet::new_checked(&bytes[..], 0x73).is_err(), "byte {at} = {value:#x}");
        }
        assert!(Packet::new_checked(&PUBLISHED[..], 0x72).is_err());
        assert!(Packet::new_checked(&PUBLISHED[..19], 0x73).is_err());
    }

    #[test]
    fn fragments_are_told_from_whole_datagrams() {
        let mut bytes = PUBLISHED;
        for (high, low, fragment, offset) in
            [(0x40, 0, false, 0), (0x20, 0, true, 0), (0x00, 185, true, 1480), (0x80, 0, false, 0)]
        {
            (bytes[6], bytes[7]) = (high, low);
            let p = Packet::new_unchecked(&bytes[..]);
            assert_eq!((p.is_fragment(), p.fragment_offset()), (fragment, offset));
        }
    }
}
