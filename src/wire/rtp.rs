//! RTP (RFC 3550 §5.1) and its telling apart from RTCP on one port (RFC 5761 §4).

use super::{Malformed, u16_at, u32_at};

pub const MIN_HEADER_LEN: usize = 12;

/// RFC 5761 §4: payload types 64–95 with the marker bit read as RTCP packet types 192–223.
#[inline]
pub fn is_rtcp(payload: &[u8]) -> bool {
    payload.len() >= 2 && (192..=223).contains(&payload[1])
}

#[derive(Debug)]
pub struct Packet<T> {
    buffer: T,
    /// Where the payload begins and ends.
    start: u16,
    end: u16,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// `available` is the UDP payload's length. Contributing sources, the extension and the padding must fit; the
    /// headers must lie in `buffer`. Padding is looked at only where the packet's end lies in `buffer`.
    #[inline]
    pub fn new_checked(buffer: T, available: usize) -> Result<Self, Malformed> {
        let d = buffer.as_ref();
        if d.len() < MIN_HEADER_LEN || available < MIN_HEADER_LEN || d[0] >> 6 != 2 {
            return Err(Malformed);
        }
        let mut start = MIN_HEADER_LEN + 4 * usize::from(d[0] & 0x0f);
        if d[0] & 0x10 != 0 {
            if start + 4 > d.len() {
                return Err(Malformed);
            }
            start += 4 + 4 * usize::from(u16_at(d, start + 2));
        }
        let mut end = available;
        if d[0] & 0x20 != 0 && available <= d.len() {
            // RFC 3550 §5.1: the last byte counts the padding, itself included.
            let padding = usize::from(d[available - 1]);
            if padding == 0 || padding > available {
                return Err(Malformed);
            }
            end -= padding;
        }
        if start > end || start > d.len() || end > usize::from(u16::MAX) {
            return Err(Malformed);
        }
        Ok(Packet { start: start as u16, end: end as u16, buffer })
    }

    #[inline]
    pub fn marker(&self) -> bool {
        self.buffer.as_ref()[1] & 0x80 != 0
    }

    #[inline]
    pub fn payload_type(&self) -> u8 {
        self.buffer.as_ref()[1] & 0x7f
    }

    #[inline]
    pub fn sequence(&self) -> u16 {
        u16_at(self.buffer.as_ref(), 2)
    }

    #[inline]
    pub fn timestamp(&self) -> u32 {
        u32_at(self.buffer.as_ref(), 4)
    }

    #[inline]
    pub fn ssrc(&self) -> u32 {
        u32_at(self.buffer.as_ref(), 8)
    }

    /// Where the payload lies in the UDP payload, padding excluded. It may end beyond the buffer.
    #[inline]
    pub fn payload_range(&self) -> std::ops::Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut p = vec![first, 0x80 | 8, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef];
        p.extend_from_slice(rest);
        p
    }

    fn range(p: &[u8]) -> Result<std::ops::Range<usize>, Malformed> {
        Packet::new_checked(p, p.len()).map(|p| p.payload_range())
    }

    #[test]
    fn the_fixed_header() {
        let bytes = packet(0x80, &[1, 2, 3]);
        let p = Packet::new_checked(&bytes[..], bytes.len()).unwrap();
        assert_eq!((p.marker(), p.payload_type(), p.sequence()), (true, 8, 0x1234));
        assert_eq!((p.timestamp(), p.ssrc(), p.payload_range()), (160, 0xdead_beef, 12..15));
    }

    #[test]
    fn contributing_sources_extension_and_padding_are_not_payload() {
        assert_eq!(range(&packet(0x82, &[0; 10])), Ok(20..22));
        assert_eq!(range(&packet(0x90, &[0xbe, 0xde, 0, 1, 1, 2, 3, 4, 9])), Ok(20..21));
        assert_eq!(range(&packet(0xa0, &[9, 9, 0, 0, 3])), Ok(12..14));
        assert_eq!(range(&packet(0xa0, &[0, 0, 0, 4])), Ok(12..12), "nothing but padding");
    }

    #[test]
    fn what_does_not_fit_is_malformed() {
        for bad in [
            packet(0x40, &[0; 20]),
            packet(0x83, &[0; 11]),
            packet(0x90, &[0, 0, 0]),
            packet(0x90, &[0, 0, 0, 2, 0, 0, 0, 0]),
            packet(0xa0, &[0]),
            packet(0xa0, &[1, 2, 6]),
        ] {
            assert_eq!(range(&bad), Err(Malformed), "{bad:02x?}");
        }
        assert_eq!(range(&packet(0x80, &[])[..11]), Err(Malformed));
    }

    #[test]
    fn rtcp_is_told_by_its_packet_type() {
        assert!(is_rtcp(&[0x80, 200]) && is_rtcp(&[0x80, 192]) && is_rtcp(&[0x80, 223]));
        assert!(!is_rtcp(&[0x80, 0x80 | 8]) && !is_rtcp(&[0x80, 224]) && !is_rtcp(&[0x80]));
    }
}
