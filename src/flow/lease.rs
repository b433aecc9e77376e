//! The lease: until when workers may transmit what belongs to a floating address. The pair thread extends it, workers
//! look at it once per burst. A process that was paused finds it run out and sends nothing until the pair thread knows
//! again that no other host has taken over.
//!
//! One word, one writer. Relaxed is enough: a worker that sees the old value is one burst late, and what it must see in
//! time is not a write but the clock passing the value that it has.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use super::sync::{AtomicU64, Ordering};
use crate::wire::{arp, ethernet, ipv4, ipv6, ndp};

#[derive(Debug)]
pub struct Lease {
    /// Ticks of the device's clock; transmit while the clock shows less.
    until: AtomicU64,
}

impl Lease {
    /// Of a host that has no peer: it never ends.
    pub fn forever() -> Self {
        Lease { until: AtomicU64::new(u64::MAX) }
    }

    /// Of a host that starts: it does not hold until it is extended.
    pub fn ended() -> Self {
        Lease { until: AtomicU64::new(0) }
    }

    pub fn extend(&self, until_ticks: u64) {
        self.until.store(until_ticks, Ordering::Relaxed);
    }

    pub fn end(&self) {
        self.until.store(0, Ordering::Relaxed);
    }

    #[inline]
    pub fn holds(&self, ticks: u64) -> bool {
        ticks < self.until.load(Ordering::Relaxed)
    }
}

/// What moves between hosts: the addresses, and until when frames may leave in their name.
#[derive(Clone, Debug)]
pub struct Floating {
    pub lease: Arc<Lease>,
    pub addresses: Vec<IpAddr>,
}

impl Floating {
    /// Of a host without a peer: it may always send.
    pub fn none() -> Self {
        Floating { lease: Arc::new(Lease::forever()), addresses: Vec::new() }
    }

    /// Whether a frame may leave at this tick. `len`: of the whole frame, where `data` is only its first segment.
    pub fn lets_out(&self, ticks: u64, data: &[u8], len: usize) -> bool {
        self.lease.holds(ticks) || !self.is_source_of(data, len)
    }

    /// Whether a frame speaks for one of the addresses: as the source of IP, or as what tells others where it is: the
    /// sender of ARP, the target of a neighbour advertisement.
    pub fn is_source_of(&self, data: &[u8], len: usize) -> bool {
        let Ok(frame) = ethernet::Frame::new_checked(data) else { return false };
        let (body, available) = (&data[ethernet::HEADER_LEN..], len.saturating_sub(ethernet::HEADER_LEN));
        let v4 = |ip: u32| self.addresses.contains(&IpAddr::V4(Ipv4Addr::from_bits(ip)));
        let v6 = |ip: u128| self.addresses.contains(&IpAddr::V6(Ipv6Addr::from_bits(ip)));
        match frame.ethertype() {
            ethernet::ETHERTYPE_IPV4 => ipv4::Packet::new_checked(body, available).is_ok_and(|ip| v4(ip.source())),
            ethernet::ETHERTYPE_ARP => arp::Packet::new_checked(body).is_ok_and(|arp| v4(arp.sender())),
            ethernet::ETHERTYPE_IPV6 => ipv6::Packet::new_checked(body, available)
                .is_ok_and(|ip| v6(ip.source()) || ndp::advertised(body).is_some_and(v6)),
            _ => false,
        }
    }
}

#[cfg(test)]
#[cfg(not(tandem_loom))]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_for_a_floating_address() {
        let ours = ["198.18.0.9".parse().unwrap(), "2001:db8::9".parse().unwrap()];
        let floating = Floating { lease: Arc::new(Lease::ended()), addresses: ours.to_vec() };
        let mac = [2, 0, 0, 0, 0, 7];
        let (v4, other) = (Ipv4Addr::new(198, 18, 0, 9).to_bits(), Ipv4Addr::new(198, 18, 0, 8).to_bits());
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).to_bits();
        let speaks = |frame: &[u8]| floating.is_source_of(frame, frame.len());
        assert!(speaks(&arp::announcement(mac, v4)));
        assert!(!speaks(&arp::announcement(mac, other)));
        assert!(speaks(&ndp::announcement(mac, v6)));
        assert!(!speaks(&ndp::announcement(mac, v6 + 1)));
        let header = |source: u32, destination: u32| {
            let mut frame = vec![0; ethernet::HEADER_LEN];
            ethernet::Frame::new_unchecked(&mut frame[..]).set([2; 6], mac, ethernet::ETHERTYPE_IPV4);
            // RFC 791 §3.1: version and length, total length 20, then the addresses at 12 and 16.
            frame.extend([0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0]);
            frame.extend(source.to_be_bytes());
            frame.extend(destination.to_be_bytes());
            frame
        };
        assert!(speaks(&header(v4, other)));
        assert!(!speaks(&header(other, v4)));
        let frame = header(v4, other);
        (0..frame.len()).for_each(|cut| assert!(!floating.is_source_of(&frame[..cut], cut)));
        assert!(!floating.lets_out(0, &frame, frame.len()));
        floating.lease.extend(1);
        assert!(floating.lets_out(0, &frame, frame.len()));
        assert!(floating.lets_out(9, &header(other, v4), 34));
    }

    #[test]
    fn holds_until_its_ticks_and_not_at_them() {
        let lease = Lease::ended();
        assert!(!lease.holds(0));
        lease.extend(100);
        assert!(lease.holds(99));
        assert!(!lease.holds(100));
        lease.end();
        assert!(!lease.holds(0));
        assert!(Lease::forever().holds(u64::MAX - 1));
    }
}
