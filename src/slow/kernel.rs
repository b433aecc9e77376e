//! Next hops from the kernel: call control's questions put to netlink. Runs on the slow path.

use std::{cell::RefCell, net::IpAddr, rc::Rc};

use crate::{
    base::{Time, ids::PortId},
    control::neighbours::Kernel,
    io::netlink::{Hop, Neighbours, Resolution},
};

/// Shared with the loop, which reads the kernel's events from the same place.
#[derive(Clone)]
pub struct NetlinkKernel {
    neighbours: Rc<RefCell<Neighbours>>,
    /// Of the round that is running.
    now: Rc<std::cell::Cell<Time>>,
}

impl NetlinkKernel {
    pub fn new(neighbours: Rc<RefCell<Neighbours>>) -> Self {
        NetlinkKernel { neighbours, now: Rc::default() }
    }

    pub fn set_now(&self, now: Time) {
        self.now.set(now);
    }
}

impl Kernel for NetlinkKernel {
    fn gateway(&mut self, destination: IpAddr) -> Option<(PortId, IpAddr)> {
        match self.neighbours.borrow_mut().resolve(self.now.get(), destination) {
            Resolution::Resolved { hop, .. } | Resolution::Pending { hop } => Some((hop.port, hop.ip)),
            Resolution::Unreachable(why) => {
                tracing::warn!(ip = %destination, "no next hop: {why}");
                None
            }
        }
    }

    fn watch(&mut self, port: PortId, neighbour: IpAddr) -> Option<[u8; 6]> {
        self.neighbours.borrow_mut().follow(self.now.get(), Hop { port, ip: neighbour })
    }

    fn forget(&mut self, port: PortId, neighbour: IpAddr) {
        self.neighbours.borrow_mut().forget(Hop { port, ip: neighbour });
    }
}
