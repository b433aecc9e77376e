//! Views over bytes: Ethernet, ARP, IPv4, IPv6, neighbour discovery, UDP, RTP, RTCP. Pure; used by the workers on every packet.
//!
//! Each view is checked once (`new_checked`) and infallible afterwards; `new_unchecked` is for bytes that were just
//! checked or laid out by us. None allocates or panics on any input.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod rtcp;
pub mod rtp;
pub mod udp;

/// The bytes are too few, or a length in them lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("short, or a length that does not fit")]
pub struct Malformed;

pub const IPPROTO_ICMP: u8 = 1;
pub const IPPROTO_TCP: u8 = 6;
pub const IPPROTO_UDP: u8 = 17;
pub const IPPROTO_ICMPV6: u8 = 58;

/// Big-endian reads at a place that was checked.
#[inline]
pub(crate) fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

#[inline]
pub(crate) fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

#[inline]
pub(crate) fn u128_at(data: &[u8], at: usize) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&data[at..at + 16]);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod properties;
