//! Ethernet II frames (IEEE 802.3 §3). VLAN tags are recognised by their EtherType and not looked behind.

use super::{Malformed, u16_at};

pub const HEADER_LEN: usize = 14;

pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_ARP: u16 = 0x0806;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

pub type Mac = [u8; 6];

#[derive(Debug)]
pub struct Frame<T>(T);

impl<T: AsRef<[u8]>> Frame<T> {
    pub const fn new_unchecked(buffer: T) -> Self {
        Frame(buffer)
    }

    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        if buffer.as_ref().len() < HEADER_LEN { Err(Malformed) } else { Ok(Frame(buffer)) }
    }

    #[inline]
    pub fn destination(&self) -> Mac {
        let d = self.0.as_ref();
        [d[0], d[1], d[2], d[3], d[4], d[5]]
    }

    #[inline]
    pub fn source(&self) -> Mac {
        let d = self.0.as_ref();
        [d[6], d[7], d[8], d[9], d[10], d[11]]
    }

    #[inline]
    pub fn ethertype(&self) -> u16 {
        u16_at(self.0.as_ref(), 12)
    }

    /// The group bit: broadcast and multicast.
    #[inline]
    pub fn is_group(&self) -> bool {
        self.0.as_ref()[0] & 1 != 0
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Frame<T> {
    #[inline]
    pub fn set(&mut self, destination: Mac, source: Mac, ethertype: u16) {
        let d = self.0.as_mut();
        d[..6].copy_from_slice(&destination);
        d[6..12].copy_from_slice(&source);
        d[12..14].copy_from_slice(&ethertype.to_be_bytes());
    }
}
