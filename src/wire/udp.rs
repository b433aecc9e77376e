//! UDP headers (RFC 768).

use super::{Malformed, u16_at};

pub const HEADER_LEN: usize = 8;

#[derive(Debug)]
pub struct Datagram<T>(T);

impl<T: AsRef<[u8]>> Datagram<T> {
    pub const fn new_unchecked(buffer: T) -> Self {
        Datagram(buffer)
    }

    /// `available` is the IP payload's length. A datagram may be shorter than that (padding follows), never longer.
    #[inline]
    pub fn new_checked(buffer: T, available: usize) -> Result<Self, Malformed> {
        let d = buffer.as_ref();
        if d.len() < HEADER_LEN {
            return Err(Malformed);
        }
        let len = usize::from(u16_at(d, 4));
        if len < HEADER_LEN || len > available { Err(Malformed) } else { Ok(Datagram(buffer)) }
    }

    #[inline]
    pub fn source_port(&self) -> u16 {
        u16_at(self.0.as_ref(), 0)
    }

    #[inline]
    pub fn destination_port(&self) -> u16 {
        u16_at(self.0.as_ref(), 2)
    }

    /// Header and payload.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(u16_at(self.0.as_ref(), 4))
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == HEADER_LEN
    }

    #[inline]
    pub fn checksum(&self) -> u16 {
        u16_at(self.0.as_ref(), 6)
    }
}

/// A header as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Repr {
    pub source_port: u16,
    pub destination_port: u16,
    pub len: u16,
    pub checksum: u16,
}

impl Repr {
    #[inline]
    pub fn emit(&self, header: &mut [u8; HEADER_LEN]) {
        header[0..2].copy_from_slice(&self.source_port.to_be_bytes());
        header[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        header[4..6].copy_from_slice(&self.len.to_be_bytes());
        header[6..8].copy_from_slice(&self.checksum.to_be_bytes());
    }
}
