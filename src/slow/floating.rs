//! The floating addresses on this host: on the exception devices only while it is active, and told to the network where
//! that is how they move. Slow-path thread.

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use ipnet::IpNet;

use crate::{
    base::{Time, ids::PortId},
    io::{error::IoError, netlink::Addresses},
    wire::{arp, ethernet::Mac, ndp},
};

/// When the network is told, after the address has come: at once, and again for who missed it.
const ANNOUNCEMENTS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(1_000),
    Duration::from_millis(3_000),
];

/// One address and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub address: IpAddr,
    pub port: PortId,
    pub mac: Mac,
    /// Of the port's exception device.
    pub ifindex: u32,
}

pub struct FloatingAddresses {
    places: Vec<Place>,
    netlink: Addresses,
    /// Gratuitous ARP and unsolicited neighbour advertisements: `provider = "garp"`.
    announces: bool,
    due: VecDeque<Time>,
}

impl FloatingAddresses {
    pub fn new(places: Vec<Place>, announces: bool) -> Result<Self, IoError> {
        Ok(FloatingAddresses { places, netlink: Addresses::open()?, announces, due: VecDeque::new() })
    }

    /// Puts them on the exception devices, so that the kernel answers for them. What could not be set is told and tried no
    /// further: media needs none of it.
    pub fn take(&mut self, now: Time) {
        for place in &self.places {
            if let Err(e) = self.netlink.add(place.ifindex, host(place.address)) {
                tracing::error!(address = %place.address, "a floating address could not be set: {e}");
            }
        }
        if self.announces {
            self.due = ANNOUNCEMENTS.iter().map(|after| now + *after).collect();
        }
    }

    /// Takes them away: the kernel answers for them no more.
    pub fn release(&mut self) {
        self.due.clear();
        for place in &self.places {
            if let Err(e) = self.netlink.remove(place.ifindex, host(place.address)) {
                tracing::error!(address = %place.address, "a floating address could not be taken away: {e}");
            }
        }
    }

    /// Announcements that are due.
    pub fn fire(&mut self, now: Time, send: &mut dyn FnMut(PortId, &[u8])) {
        while self.due.front().is_some_and(|at| *at <= now) {
            self.due.pop_front();
            for place in &self.places {
                match place.address {
                    IpAddr::V4(ip) => send(place.port, &arp::announcement(place.mac, ip.to_bits())),
                    IpAddr::V6(ip) => send(place.port, &ndp::announcement(place.mac, ip.to_bits())),
                }
            }
        }
    }
}

/// The prefix belongs to the host's own address on that network; a floating one stands for itself.
fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}
