//! The kernel's addresses, routes and neighbours, by rtnetlink.
//!
//! The slow path's thread calls everything here. Nothing blocks: rtnetlink answers a request while it is being sent, so
//! its answer is read at once, and events are read as they come. An error is told, never fatal: a port without an
//! address still forwards, and says what is missing.

mod neighbours;
mod rtnl;

use std::io;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope},
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

pub use neighbours::{Hop, NeighbourEvent, Neighbours, Resolution, Unreachable};
use rtnl::Rtnl;

use super::error::IoError;
use crate::config;

/// Sets addresses and routes on interfaces.
pub struct Addresses {
    rtnl: Rtnl,
}

impl Addresses {
    pub fn open() -> Result<Self, IoError> {
        Ok(Addresses { rtnl: Rtnl::open(&[]).map_err(IoError::Netlink)? })
    }

    /// All addresses and routes of `port` on the interface `ifindex`. Returns what could not be set; the rest is.
    pub fn set_up(&mut self, ifindex: u32, port: &config::Port) -> Vec<IoError> {
        let mut refused = Vec::new();
        let mut note = |what: String, done: io::Result<()>| {
            if let Err(e) = done {
                refused.push(IoError::Address { port: port.name.clone(), what, cause: cause(&e) });
            }
        };
        for address in &port.addresses {
            note(format!("the address {address}"), self.add(ifindex, *address));
        }
        for route in &port.routes {
            note(format!("the route to {} via {}", route.to, route.via), self.add_route(ifindex, route));
        }
        refused
    }

    /// Sets an address; one that is there already is no error. IPv6 without duplicate address detection: an address that
    /// is taken over from a dead node must answer at once.
    pub fn add(&mut self, ifindex: u32, address: IpNet) -> io::Result<()> {
        let message = RouteNetlinkMessage::NewAddress(address_message(ifindex, address));
        match self.rtnl.request(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// Takes an address away; one that is not there is no error.
    pub fn remove(&mut self, ifindex: u32, address: IpNet) -> io::Result<()> {
        match self.rtnl.request(RouteNetlinkMessage::DelAddress(address_message(ifindex, address)), NLM_F_ACK) {
            Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// Sets a route. One to the same prefix that exists already is never replaced: it may carry the way to this host.
    pub fn add_route(&mut self, ifindex: u32, route: &config::KernelRoute) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(&route.to);
        message.header.destination_prefix_length = route.to.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        if route.to.prefix_len() > 0 {
            message.attributes.push(RouteAttribute::Destination(route.to.network().into()));
        }
        message.attributes.push(RouteAttribute::Gateway(route.via.into()));
        message.attributes.push(RouteAttribute::Oif(ifindex));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.rtnl.request(RouteNetlinkMessage::NewRoute(message), flags).map(|_| ())
    }
}

fn family(address: &IpNet) -> AddressFamily {
    match address {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    }
}

fn address_message(ifindex: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(&address);
    message.header.prefix_len = address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = ifindex;
    if matches!(address, IpNet::V6(_)) {
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message.attributes.push(AddressAttribute::Local(address.addr()));
    message.attributes.push(AddressAttribute::Address(address.addr()));
    message
}

/// The kernel's word with what it means here.
fn cause(e: &io::Error) -> String {
    let meaning = match e.raw_os_error() {
        Some(libc::EEXIST) => " (another route to it exists; `ip route` shows it)",
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => " (its next hop lies in no network of this port)",
        Some(libc::EPERM) => " (it takes root or CAP_NET_ADMIN)",
        Some(libc::EACCES) => " (IPv6 may be switched off on this interface: net.ipv6.conf.*.disable_ipv6)",
        _ => "",
    };
    format!("{e}{meaning}")
}
