//! Next hops as the slow path keeps them: destination → gateway (from the kernel's routes) → link-layer address (from the
//! kernel's neighbours) → index in the shared table, which plans hold. Runs on the slow path; the kernel is behind
//! [`Kernel`], so that tests bring their own.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    base::{ids::PortId, limits::MAX_NEXT_HOPS},
    flow::{
        FlowTable,
        nexthop::{NextHop, NextHopId},
        quiesce::Mark,
    },
};

/// What is asked of the kernel. Neither call may wait for the network.
pub trait Kernel {
    /// The port and the on-link address towards a destination; None: no route, or not through a port of ours.
    fn gateway(&mut self, destination: IpAddr) -> Option<(PortId, IpAddr)>;
    /// Keeps this neighbour fresh from now on; its address if it is known already. Changes come as events.
    fn watch(&mut self, port: PortId, neighbour: IpAddr) -> Option<[u8; 6]>;
    /// No plan goes by this neighbour any more.
    fn forget(&mut self, port: PortId, neighbour: IpAddr);
}

#[derive(Debug)]
struct Hop {
    id: NextHopId,
    mac: Option<[u8; 6]>,
}

#[derive(Debug)]
pub struct NextHopBook {
    table: Arc<FlowTable>,
    /// By port and on-link address.
    hops: HashMap<(PortId, IpAddr), Hop>,
    /// Indices given back, once no worker can be sending by them.
    free: Vec<NextHopId>,
    resting: Vec<(Mark, NextHopId)>,
    /// Indices that were never used; 0 is `NONE`.
    fresh: u16,
    /// Destination → the hop it goes by, until routes change.
    destinations: HashMap<IpAddr, Option<(PortId, IpAddr)>>,
}

impl NextHopBook {
    pub fn new(table: Arc<FlowTable>) -> Self {
        NextHopBook {
            table,
            hops: HashMap::new(),
            free: Vec::new(),
            resting: Vec::new(),
            fresh: 1,
            destinations: HashMap::new(),
        }
    }

    /// The index for packets to `destination`; `NONE` where there is no route or no room.
    pub fn hop(&mut self, destination: IpAddr, kernel: &mut dyn Kernel) -> NextHopId {
        // Bounded like the hops themselves: peers name the destinations.
        if self.destinations.len() > 64 * MAX_NEXT_HOPS {
            self.destinations.clear();
        }
        let gateway = *self.destinations.entry(destination).or_insert_with(|| kernel.gateway(destination));
        let Some((port, ip)) = gateway else {
            // A route may appear at any time without an event for this destination: ask again next time.
            self.destinations.remove(&destination);
            return NextHopId::NONE;
        };
        if let Some(hop) = self.hops.get(&(port, ip)) {
            return hop.id;
        }
        let Some(id) = self.spare() else { return NextHopId::NONE };
        let mac = kernel.watch(port, ip);
        self.table.next_hops.set(id, mac.map(|mac| NextHop { port, mac }));
        self.hops.insert((port, ip), Hop { id, mac });
        id
    }

    fn spare(&mut self) -> Option<NextHopId> {
        let table = &self.table;
        let free = &mut self.free;
        self.resting.retain(|(mark, id)| {
            let passed = table.boundaries.passed(*mark);
            if passed {
                free.push(*id);
            }
            !passed
        });
        self.free.pop().or_else(|| {
            let id = NextHopId(self.fresh);
            (usize::from(self.fresh) < MAX_NEXT_HOPS).then(|| {
                self.fresh += 1;
                id
            })
        })
    }

    /// True when it is time to give back hops that no plan goes by: peers on the link come and go.
    pub fn is_crowded(&self) -> bool {
        self.hops.len() > MAX_NEXT_HOPS / 2
    }

    /// Gives back every hop that is not `in_use`.
    pub fn release(&mut self, in_use: &HashSet<NextHopId>, kernel: &mut dyn Kernel) {
        let mark = self.table.boundaries.retire();
        let (table, resting) = (&self.table, &mut self.resting);
        self.hops.retain(|(port, ip), hop| {
            let keep = in_use.contains(&hop.id);
            if !keep {
                table.next_hops.set(hop.id, None);
                resting.push((mark, hop.id));
                kernel.forget(*port, *ip);
            }
            keep
        });
        let hops = &self.hops;
        self.destinations.retain(|_, gateway| gateway.is_some_and(|g| hops.contains_key(&g)));
    }

    /// A neighbour got, changed or lost its link-layer address: one store, whatever the number of calls behind it.
    pub fn neighbour_changed(&mut self, port: PortId, ip: IpAddr, mac: Option<[u8; 6]>) {
        if let Some(hop) = self.hops.get_mut(&(port, ip))
            && hop.mac != mac
        {
            hop.mac = mac;
            self.table.next_hops.set(hop.id, mac.map(|mac| NextHop { port, mac }));
        }
    }

    /// Destinations are looked up anew; the caller recompiles the plans.
    pub fn routes_changed(&mut self) {
        self.destinations.clear();
    }

    /// Every hop: where, and whether it is resolved.
    pub fn iter(&self) -> impl Iterator<Item = (PortId, IpAddr, Option<[u8; 6]>)> + '_ {
        self.hops.iter().map(|(&(port, ip), hop)| (port, ip, hop.mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything outside 198.18.1.0/24 goes by 198.18.1.1.
    #[derive(Default)]
    struct Fake {
        watched: Vec<IpAddr>,
        unreachable: bool,
    }

    impl Kernel for Fake {
        fn gateway(&mut self, destination: IpAddr) -> Option<(PortId, IpAddr)> {
            let IpAddr::V4(ip) = destination else { return None };
            let on_link = ip.octets()[..3] == [198, 18, 1];
            (!self.unreachable).then(|| (PortId(0), if on_link { destination } else { "198.18.1.1".parse().unwrap() }))
        }

        fn watch(&mut self, _port: PortId, neighbour: IpAddr) -> Option<[u8; 6]> {
            self.watched.push(neighbour);
            None
        }

        fn forget(&mut self, _port: PortId, neighbour: IpAddr) {
            self.watched.retain(|ip| *ip != neighbour);
        }
    }

    #[test]
    fn destinations_behind_one_router_share_its_index_and_move_with_one_store() {
        let table = FlowTable::new(&[], 20_000, 20_001, 1, 0);
        let mut book = NextHopBook::new(table.clone());
        let mut kernel = Fake::default();
        let far = book.hop("203.0.113.1".parse().unwrap(), &mut kernel);
        assert_eq!(book.hop("203.0.113.2".parse().unwrap(), &mut kernel), far);
        let near = book.hop("198.18.1.20".parse().unwrap(), &mut kernel);
        assert_ne!(near, far);
        assert_eq!(kernel.watched.len(), 2);
        assert_eq!(table.next_hops.get(far), None, "not ready before the neighbour answers");
        for mac in [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]] {
            book.neighbour_changed(PortId(0), "198.18.1.1".parse().unwrap(), Some(mac));
            assert_eq!(table.next_hops.get(far), Some(NextHop { port: PortId(0), mac }));
        }
        assert_eq!(table.next_hops.get(near), None);
    }

    #[test]
    fn hops_that_nobody_goes_by_are_given_back_and_used_again() {
        let table = FlowTable::new(&[], 20_000, 20_001, 1, 0);
        let mut book = NextHopBook::new(table);
        let mut kernel = Fake::default();
        let peer = |i: u32| IpAddr::from(std::net::Ipv4Addr::from(0xc612_0100 + (i & 0xff)));
        let kept = book.hop(peer(1), &mut kernel);
        let gone = book.hop(peer(2), &mut kernel);
        book.release(&HashSet::from([kept]), &mut kernel);
        assert_eq!(kernel.watched, [peer(1)]);
        assert_eq!(book.hop(peer(1), &mut kernel), kept);
        assert_eq!(book.hop(peer(3), &mut kernel), gone, "the index is used again");
        assert!(!book.is_crowded());
    }

    #[test]
    fn no_route_is_no_hop_and_is_asked_again() {
        let mut book = NextHopBook::new(FlowTable::new(&[], 20_000, 20_001, 1, 0));
        let mut kernel = Fake { unreachable: true, ..Fake::default() };
        let to = "203.0.113.1".parse().unwrap();
        assert_eq!(book.hop(to, &mut kernel), NextHopId::NONE);
        kernel.unreachable = false;
        assert_ne!(book.hop(to, &mut kernel), NextHopId::NONE);
    }
}
