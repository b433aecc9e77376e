//! Next hops: from a remote's address to the port and the MAC that frames to it carry, as the kernel's routes and
//! neighbours say.
//!
//! Fast-path traffic never passes the kernel and so never refreshes its neighbours: each next hop is installed as a
//! managed neighbour, which the kernel keeps fresh by itself. What changes comes as an event, once per change.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    os::fd::{AsRawFd, RawFd},
    time::Duration,
};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
};

use super::rtnl::Rtnl;
use crate::{
    base::{Time, ids::PortId, limits::MAX_NEXT_HOPS},
    io::error::IoError,
};

/// linux/rtnetlink.h: RTNLGRP_NEIGH, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE.
const GROUPS: [u32; 3] = [3, 7, 11];
/// How often a neighbour is asked for anew where the kernel does not manage it.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Datagrams of events that one `poll` reads.
const POLL_DATAGRAMS: usize = 256;

/// Where a frame goes next: the gateway, or the remote itself if it is on the port's own network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hop {
    pub port: PortId,
    pub ip: IpAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    Resolved {
        hop: Hop,
        mac: [u8; 6],
    },
    /// The kernel asks for the MAC; `NeighbourEvent::Found` will say.
    Pending {
        hop: Hop,
    },
    Unreachable(Unreachable),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    #[error("the kernel has no route")]
    NoRoute,
    #[error("the route leads through an interface that is no port of tandem's")]
    OtherInterface,
    #[error("the address is this host's own")]
    Local,
    #[error("it is no unicast address")]
    NotUnicast,
    #[error("more than {MAX_NEXT_HOPS} next hops")]
    TooMany,
    #[error("the kernel did not answer")]
    NoAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourEvent {
    /// The hop has this MAC from now on.
    Found { hop: Hop, mac: [u8; 6] },
    /// The hop no longer answers.
    Lost { hop: Hop },
    /// Any route may have changed: what was resolved is to be resolved again. At most once per `poll`.
    RoutesChanged,
}

struct Entry {
    mac: Option<[u8; 6]>,
    /// The kernel keeps it fresh; else it is asked again at `ask_at`.
    managed: bool,
    ask_at: Time,
}

pub struct Neighbours {
    requests: Rtnl,
    events: Rtnl,
    /// Exception devices: the kernel's number and the port.
    ports: Vec<(u32, PortId)>,
    hops: HashMap<Hop, Entry>,
    warned: bool,
}

impl Neighbours {
    /// `ports`: each exception device's number with its port.
    pub fn open(ports: Vec<(u32, PortId)>) -> Result<Self, IoError> {
        let (requests, events) =
            Rtnl::open(&[]).and_then(|r| Ok((r, Rtnl::open(&GROUPS)?))).map_err(IoError::Netlink)?;
        Ok(Neighbours { requests, events, ports, hops: HashMap::new(), warned: false })
    }

    /// Where a frame to `ip` goes. One or two requests to the kernel: for what sets up a call, not for each packet.
    pub fn resolve(&mut self, now: Time, ip: IpAddr) -> Resolution {
        let hop = match self.route(ip) {
            Ok(hop) => hop,
            Err(why) => return Resolution::Unreachable(why),
        };
        if !self.hops.contains_key(&hop) && self.hops.len() >= MAX_NEXT_HOPS {
            return Resolution::Unreachable(Unreachable::TooMany);
        }
        match self.follow(now, hop) {
            Some(mac) => Resolution::Resolved { hop, mac },
            None => Resolution::Pending { hop },
        }
    }

    /// Keeps a hop fresh from now on, and tells its MAC if it is known. No route is looked up: an IPv6 gateway has a
    /// link-local address, which means something on its own link only.
    pub fn follow(&mut self, now: Time, hop: Hop) -> Option<[u8; 6]> {
        if !self.hops.contains_key(&hop) {
            let entry = self.install(now, hop);
            self.hops.insert(hop, entry);
        }
        self.hops.get(&hop).and_then(|entry| entry.mac)
    }

    /// The hop is of no interest any more: the kernel need not keep it fresh.
    pub fn forget(&mut self, hop: Hop) {
        if self.hops.remove(&hop).is_some()
            && let Some(message) = self.neighbour_message(hop)
            && let Err(e) = self.requests.request(RouteNetlinkMessage::DelNeighbour(message), NLM_F_ACK)
        {
            tracing::debug!(ip = %hop.ip, "neighbour not removed: {e}");
        }
    }

    /// Hops that are followed.
    pub fn len(&self) -> usize {
        self.hops.len()
    }

    pub fn is_empty(&self) -> bool {
        self.hops.is_empty()
    }

    /// Reads what changed. To be called when the file descriptor is readable, and once a second.
    pub fn poll(&mut self, now: Time, sink: &mut dyn FnMut(NeighbourEvent)) {
        let mut routes_changed = false;
        let mut reinstall = Vec::new();
        for _ in 0..POLL_DATAGRAMS {
            let (ports, hops) = (&self.ports, &mut self.hops);
            let read = self.events.events(&mut |message| match message {
                RouteNetlinkMessage::NewNeighbour(message) => {
                    if let Some(hop) = hop_of(ports, &message) {
                        update(hops, hop, usable_mac(&message), sink);
                    }
                }
                RouteNetlinkMessage::DelNeighbour(message) => {
                    if let Some(hop) = hop_of(ports, &message).filter(|hop| hops.contains_key(hop)) {
                        update(hops, hop, None, sink);
                        reinstall.push(hop);
                    }
                }
                RouteNetlinkMessage::NewRoute(_) | RouteNetlinkMessage::DelRoute(_) => routes_changed = true,
                _ => {}
            });
            match read {
                Ok(true) => {}
                Ok(false) => break,
                // ENOBUFS: events were lost, so everything may have changed.
                Err(e) => {
                    tracing::warn!("events of the kernel were lost, reading all neighbours again: {e}");
                    reinstall.extend(self.hops.keys());
                    routes_changed = true;
                    break;
                }
            }
        }
        let due = |entry: &Entry| !entry.managed && entry.ask_at <= now;
        reinstall.extend(self.hops.iter().filter(|(_, entry)| due(entry)).map(|(hop, _)| *hop));
        for hop in reinstall {
            let entry = self.install(now, hop);
            update(&mut self.hops, hop, entry.mac, sink);
            self.hops.insert(hop, entry);
        }
        if routes_changed {
            sink(NeighbourEvent::RoutesChanged);
        }
    }

    fn route(&mut self, ip: IpAddr) -> Result<Hop, Unreachable> {
        if ip.is_multicast() || ip.is_unspecified() {
            return Err(Unreachable::NotUnicast);
        }
        let mut message = RouteMessage::default();
        message.header.address_family = family(ip);
        message.header.destination_prefix_length = if ip.is_ipv4() { 32 } else { 128 };
        message.attributes.push(RouteAttribute::Destination(ip.into()));
        let answer = match self.requests.request(RouteNetlinkMessage::GetRoute(message), 0) {
            Ok(Some(RouteNetlinkMessage::NewRoute(answer))) => answer,
            Ok(_) => return Err(Unreachable::NoAnswer),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(Unreachable::NoAnswer),
            Err(_) => return Err(Unreachable::NoRoute),
        };
        let (oif, gateway) = next_of(&answer);
        match answer.header.kind {
            RouteType::Unicast => {}
            RouteType::Local => return Err(Unreachable::Local),
            RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => return Err(Unreachable::NotUnicast),
            _ => return Err(Unreachable::NoRoute),
        }
        let port = self.ports.iter().find(|(ifindex, _)| Some(*ifindex) == oif).map(|(_, port)| *port);
        port.map(|port| Hop { port, ip: gateway.unwrap_or(ip) }).ok_or(Unreachable::OtherInterface)
    }

    /// Has the kernel keep the neighbour fresh, and reads what it knows of it now.
    fn install(&mut self, now: Time, hop: Hop) -> Entry {
        let mut entry = Entry { mac: None, managed: false, ask_at: now + ASK_AGAIN };
        let Some(plain) = self.neighbour_message(hop) else { return entry };
        let mut message = plain.clone();
        // Use: ask for it at once, also on a kernel that does not know managed neighbours.
        message.header.flags = NeighbourFlags::Use | NeighbourFlags::ExtLearned;
        message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        if let Err(e) = self.requests.request(RouteNetlinkMessage::NewNeighbour(message), flags) {
            tracing::warn!(ip = %hop.ip, "the kernel does not take the neighbour: {e}");
            return entry;
        }
        match self.requests.request(RouteNetlinkMessage::GetNeighbour(plain), 0) {
            Ok(Some(RouteNetlinkMessage::NewNeighbour(message))) => {
                entry.mac = usable_mac(&message);
                entry.managed = message.attributes.iter().any(
                    |a| matches!(a, NeighbourAttribute::ExtFlags(flags) if flags.contains(NeighbourExtFlags::Managed)),
                );
            }
            Ok(_) => {}
            Err(e) => tracing::debug!(ip = %hop.ip, "neighbour not read: {e}"),
        }
        if !entry.managed && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!("this kernel does not manage neighbours (Linux 5.16 does): they are asked for every 5 s");
        }
        entry
    }

    fn neighbour_message(&self, hop: Hop) -> Option<NeighbourMessage> {
        let (ifindex, _) = self.ports.iter().find(|(_, port)| *port == hop.port)?;
        let mut message = NeighbourMessage::default();
        message.header.family = family(hop.ip);
        message.header.ifindex = *ifindex;
        // No type: the kernel answers a request that names one with EINVAL.
        message.header.kind = RouteType::Unspec;
        let address = match hop.ip {
            IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
            IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
        };
        message.attributes.push(NeighbourAttribute::Destination(address));
        Some(message)
    }
}

impl AsRawFd for Neighbours {
    fn as_raw_fd(&self) -> RawFd {
        self.events.as_raw_fd()
    }
}

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// Interface and gateway of a route.
fn next_of(route: &RouteMessage) -> (Option<u32>, Option<IpAddr>) {
    let (mut oif, mut gateway) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => oif = Some(*ifindex),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some(IpAddr::V4(*ip)),
            RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => gateway = Some(IpAddr::V6(*ip)),
            // RFC 8950 §4: an IPv4 network behind an IPv6 next hop.
            RouteAttribute::Via(RouteVia::Inet(ip)) => gateway = Some(IpAddr::V4(*ip)),
            RouteAttribute::Via(RouteVia::Inet6(ip)) => gateway = Some(IpAddr::V6(*ip)),
            _ => {}
        }
    }
    (oif, gateway)
}

fn hop_of(ports: &[(u32, PortId)], message: &NeighbourMessage) -> Option<Hop> {
    let (_, port) = ports.iter().find(|(ifindex, _)| *ifindex == message.header.ifindex)?;
    let ip = message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })?;
    Some(Hop { port: *port, ip })
}

/// The MAC, in the states in which the kernel itself would send to it.
fn usable_mac(message: &NeighbourMessage) -> Option<[u8; 6]> {
    use NeighbourState as S;
    if !matches!(message.header.state, S::Reachable | S::Stale | S::Delay | S::Probe | S::Permanent | S::Noarp) {
        return None;
    }
    message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    })
}

/// Notes a hop's MAC and tells it, if the hop is followed and the MAC is another.
fn update(hops: &mut HashMap<Hop, Entry>, hop: Hop, mac: Option<[u8; 6]>, sink: &mut dyn FnMut(NeighbourEvent)) {
    let Some(entry) = hops.get_mut(&hop) else { return };
    if entry.mac != mac {
        entry.mac = mac;
        sink(match mac {
            Some(mac) => NeighbourEvent::Found { hop, mac },
            None => NeighbourEvent::Lost { hop },
        });
    }
}
