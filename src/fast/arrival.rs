//! What a frame is, from Ethernet to UDP: for a media flow, for the kernel, or for nobody. Runs on the workers.

use super::worker::Shared;
use crate::{
    flow::{DropReason, PuntClass, table::AddressId},
    io::{Checked, PacketBuf},
    wire::{IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, checksum, ethernet, ipv4, ipv6, udp},
};

/// Neighbour and router discovery (RFC 4861 §4): ICMPv6 types that are to ND what ARP is to IPv4.
const ND_TYPES: std::ops::RangeInclusive<u8> = 133..=137;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    V4(u32),
    V6(u128),
}

/// A datagram for a media port.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    pub address: AddressId,
    pub port: u16,
    pub source: Source,
    pub source_port: u16,
    /// Where the UDP payload begins in the frame, and how long it is.
    pub payload_at: usize,
    pub payload_len: usize,
    pub checksum: u16,
    /// One's complement sum of the addresses and ports that it carries.
    pub old_sum: u16,
}

#[derive(Clone, Copy, Debug)]
pub enum Arrival {
    Media(Datagram),
    Kernel(PuntClass),
    Nobody(DropReason),
}

use Arrival::{Kernel, Media, Nobody};

/// Looks at one frame. Changes nothing.
#[inline]
pub fn classify<B: PacketBuf>(buf: &B, mac: &ethernet::Mac, shared: &Shared) -> Arrival {
    let data = buf.data();
    let Ok(frame) = ethernet::Frame::new_checked(data) else { return Nobody(DropReason::ShortEthernet) };
    if frame.destination() != *mac && !frame.is_group() {
        return Nobody(DropReason::OtherMac);
    }
    let available = buf.total_len() - ethernet::HEADER_LEN;
    let ip = &data[ethernet::HEADER_LEN..];
    match frame.ethertype() {
        ethernet::ETHERTYPE_IPV4 => classify_v4(buf, ip, available, shared),
        ethernet::ETHERTYPE_IPV6 => classify_v6(ip, available, shared),
        ethernet::ETHERTYPE_ARP => Kernel(PuntClass::Neighbour),
        _ => Kernel(PuntClass::Other),
    }
}

#[inline]
fn classify_v4<B: PacketBuf>(buf: &B, data: &[u8], available: usize, shared: &Shared) -> Arrival {
    let Ok(ip) = ipv4::Packet::new_checked(data, available) else { return Nobody(DropReason::BadIp) };
    let right = || buf.ip_is(Checked::Good) || ip.verify_checksum();
    if buf.ip_is(Checked::Bad) || !right() {
        return Nobody(DropReason::IpChecksum);
    }
    let address = shared.table.address_v4(ip.destination());
    let (header, total) = (ip.header_len(), ip.total_len());
    let fragment = ip.is_fragment().then(|| ip.fragment_offset());
    let upper = Upper { protocol: ip.protocol(), fragment, at: header, end: total };
    match upper.datagram(data, address, shared) {
        Err(arrival) => arrival,
        Ok((address, udp)) => Media(Datagram {
            address,
            port: udp.destination_port(),
            source: Source::V4(ip.source()),
            source_port: udp.source_port(),
            payload_at: ethernet::HEADER_LEN + header + udp::HEADER_LEN,
            payload_len: udp.len() - udp::HEADER_LEN,
            checksum: udp.checksum(),
            old_sum: checksum::fold(
                checksum::sum_v4(ip.source()) + checksum::sum_v4(ip.destination()) + ports_sum(&udp),
            ),
        }),
    }
}

fn classify_v6(data: &[u8], available: usize, shared: &Shared) -> Arrival {
    let Ok(ip) = ipv6::Packet::new_checked(data, available) else { return Nobody(DropReason::BadIp) };
    let Ok(end) = ip.upper() else { return Nobody(DropReason::BadIp) };
    let address = shared.table.address_v6(ip.destination());
    let upper = Upper {
        protocol: end.protocol,
        fragment: end.fragment,
        at: end.offset,
        end: ipv6::HEADER_LEN + ip.payload_len(),
    };
    match upper.datagram(data, address, shared) {
        Err(arrival) => arrival,
        // RFC 8200 §8.1: over IPv6 a UDP checksum there must be.
        Ok((_, udp)) if udp.checksum() == 0 => Nobody(DropReason::BadUdp),
        Ok((address, udp)) => Media(Datagram {
            address,
            port: udp.destination_port(),
            source: Source::V6(ip.source()),
            source_port: udp.source_port(),
            payload_at: ethernet::HEADER_LEN + end.offset + udp::HEADER_LEN,
            payload_len: udp.len() - udp::HEADER_LEN,
            checksum: udp.checksum(),
            old_sum: checksum::fold(
                checksum::sum_v6(ip.source()) + checksum::sum_v6(ip.destination()) + ports_sum(&udp),
            ),
        }),
    }
}

fn ports_sum(udp: &udp::Datagram<&[u8]>) -> u32 {
    u32::from(udp.source_port()) + u32::from(udp.destination_port())
}

/// What lies behind the IP header, offsets from its start.
struct Upper {
    protocol: u8,
    /// Offset in bytes, where it is a fragment at all.
    fragment: Option<usize>,
    at: usize,
    end: usize,
}

impl Upper {
    /// The datagram, if it is one for a media port of ours; else what becomes of the packet.
    #[inline]
    fn datagram<'a>(
        &self,
        data: &'a [u8],
        address: Option<AddressId>,
        shared: &Shared,
    ) -> Result<(AddressId, udp::Datagram<&'a [u8]>), Arrival> {
        let upper = data.get(self.at..).unwrap_or(&[]);
        if let Some(offset) = self.fragment {
            let for_media = offset == 0
                && address.is_some()
                && self.protocol == IPPROTO_UDP
                && upper.len() >= udp::HEADER_LEN
                && shared.table.is_media_port(udp::Datagram::new_unchecked(upper).destination_port());
            return Err(if for_media { Nobody(DropReason::MediaFragment) } else { Kernel(PuntClass::Fragment) });
        }
        match self.protocol {
            IPPROTO_UDP => {}
            IPPROTO_TCP if upper.len() >= 4 => {
                // TCP has its ports where UDP has them (RFC 9293 §3.1, RFC 768).
                let ports = udp::Datagram::new_unchecked(&upper[..4]);
                return Err(Kernel(shared.kernel_class(ports.source_port(), ports.destination_port())));
            }
            IPPROTO_ICMPV6 if upper.first().is_some_and(|t| ND_TYPES.contains(t)) => {
                return Err(Kernel(PuntClass::Neighbour));
            }
            IPPROTO_ICMP | IPPROTO_ICMPV6 => return Err(Kernel(PuntClass::Icmp)),
            _ => return Err(Kernel(PuntClass::Other)),
        }
        let available = self.end.saturating_sub(self.at);
        let Ok(udp) = udp::Datagram::new_checked(upper, available) else {
            return Err(Nobody(DropReason::BadUdp));
        };
        match address {
            Some(address) if shared.table.is_media_port(udp.destination_port()) => Ok((address, udp)),
            _ => Err(Kernel(shared.kernel_class(udp.source_port(), udp.destination_port()))),
        }
    }
}
