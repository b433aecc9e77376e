//! A worker on simulated ports, frames laid out by hand, and checksums by RFC 1071's own loop.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    base::ids::{PortId, SessionId, Side, WorkerId},
    codec::{Kernel, Law},
    config::{Poll, Punt},
    fast::worker::{PortFacts, Shared, Worker},
    flow::{
        DropReason, FlowClass, FlowTable, Plan, PtOp, PtRule, Publisher, PuntClass,
        counters::{PortCounter, WorkerCounters},
        event::Events,
        lease::{Floating, Lease},
        nexthop::{NextHop, NextHopId},
        plan::Admit,
    },
    io::{
        TxOffloads,
        simulated::{Frame, SimulatedIo},
    },
};

pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];
pub const HOP_MAC: [u8; 6] = [2, 0, 0, 0, 7, 7];
pub const LOCAL: &str = "198.18.1.10:20000";
pub const LOCAL6: &str = "[2001:db8:1::10]:20000";
pub const PEER: &str = "198.18.1.20:40000";
pub const PEER6: &str = "[2001:db8:1::20]:40000";
pub const OUT: &str = "198.18.2.10:20002";
pub const OUT6: &str = "[2001:db8:2::10]:20002";
pub const FAR: &str = "198.18.2.20:6000";
pub const FAR6: &str = "[2001:db8:2::20]:6000";

pub struct Rig {
    pub io: SimulatedIo,
    pub worker: Worker<SimulatedIo>,
    pub publisher: Publisher,
    pub counters: WorkerCounters,
    pub events: Arc<Events>,
    pub table: Arc<FlowTable>,
    pub lease: Arc<Lease>,
}

pub fn addr(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

impl Rig {
    pub fn new() -> Self {
        Self::with(TxOffloads::default(), Punt::default())
    }

    pub fn with(offloads: TxOffloads, punt: Punt) -> Self {
        let media = [addr(LOCAL).ip(), addr(LOCAL6).ip(), addr(OUT).ip(), addr(OUT6).ip()];
        let table = FlowTable::new(&media, 20_000, 20_999, 64, 2);
        let hop = NextHop { port: PortId(1), mac: HOP_MAC };
        table.next_hops.set(NextHopId(1), Some(hop));
        let io = SimulatedIo::new(2);
        io.0.borrow_mut().offloads = offloads;
        let (worker, counters, events) = worker(&io, &table, 0, offloads, &punt);
        let lease = worker.lease().clone();
        Rig { io, worker, publisher: Publisher::new(table.clone()), counters, events, table, lease }
    }

    /// Another worker on the same table, with ports of its own.
    pub fn second(&self) -> (SimulatedIo, Worker<SimulatedIo>, WorkerCounters) {
        let io = SimulatedIo::new(2);
        let (worker, counters, _) = worker(&io, &self.table, 1, TxOffloads::default(), &Punt::default());
        (io, worker, counters)
    }

    pub fn publish(&mut self, at: &str, plan: &Plan) {
        let class = if plan.rtcp { FlowClass::Rtcp } else { FlowClass::Rtp };
        let key = self.publisher.key(addr(at), class).unwrap();
        self.publisher.publish(key, plan).unwrap();
    }

    /// One frame in on port 0, one turn; what left by port 1.
    pub fn pass(&mut self, frame: &[u8]) -> Vec<Frame> {
        self.io.arrive(PortId(0), frame);
        self.worker.turn();
        self.io.sent(PortId(1))
    }

    /// The frame is dropped for this reason, which alone is counted.
    pub fn refused(&mut self, frame: &[u8], reason: DropReason) {
        let before = self.drops();
        assert!(self.pass(frame).is_empty(), "forwarded instead of {reason:?}");
        let mut expected = before;
        expected[reason.index()] += 1;
        assert_eq!(self.drops(), expected, "expected {reason:?}");
    }

    /// The frame goes to the kernel under this class.
    pub fn punted(&mut self, frame: &[u8], class: PuntClass) {
        let (drops, count) = (self.drops(), self.counters.punt_count(0, class));
        assert!(self.pass(frame).is_empty());
        assert_eq!(self.drops(), drops, "dropped instead of {class:?}");
        assert_eq!(self.counters.punt_count(0, class), count + 1, "expected {class:?}");
        let punted = self.io.0.borrow_mut().punted.pop().unwrap();
        assert_eq!(crate::io::PacketBuf::data(&punted), frame, "the kernel gets it unchanged");
    }

    pub fn drops(&self) -> Vec<u64> {
        DropReason::ALL.iter().map(|&r| self.counters.drop_count(0, r)).collect()
    }

    pub fn count(&self, counter: PortCounter) -> u64 {
        self.counters.count(0, counter)
    }
}

fn worker(
    io: &SimulatedIo,
    table: &Arc<FlowTable>,
    id: u8,
    offloads: TxOffloads,
    punt: &Punt,
) -> (Worker<SimulatedIo>, WorkerCounters, Arc<Events>) {
    let counters = WorkerCounters::new(2);
    let events = Arc::new(Events::new(4));
    let ports = (0..2).map(|p| PortFacts { mac: [2, 0, 0, 0, 1, p], mtu: 1500, offloads }).collect();
    let shared = Shared {
        id: WorkerId(id),
        table: table.clone(),
        events: events.clone(),
        counters,
        kernel: Kernel::detect(),
        ports,
        sip_ports: vec![5060],
        floating: Floating { addresses: vec![addr(OUT).ip(), addr(OUT6).ip()], ..Floating::none() },
    };
    (Worker::new(io.clone(), shared, punt, Poll::Busy), counters, events)
}

pub fn rule(pt_in: u8, pt_out: u8, op: PtOp) -> PtRule {
    let law = match pt_in {
        0 => Some(Law::Mu),
        8 => Some(Law::A),
        _ => None,
    };
    PtRule { pt_in, pt_out, op, law }
}

/// From `PEER` at `LOCAL` to `FAR` from `OUT`: relay of 0 and 8, telephone-event 101 → 96.
pub fn plan() -> Plan {
    Plan {
        session: SessionId(7),
        side: Side::A,
        version: 1,
        rtcp: false,
        admit: Admit::Exact(addr(PEER)),
        departing: None,
        candidates: false,
        muted: false,
        out_source: addr(OUT),
        out_destination: Some(addr(FAR)),
        next_hop: NextHopId(1),
        tos: 46 << 2,
        clock_hz: 8_000,
        rules: vec![rule(0, 0, PtOp::Relay), rule(8, 8, PtOp::Relay), rule(101, 96, PtOp::Relay)],
    }
}

/// RFC 1071 §4.1.
pub fn sum(data: &[u8]) -> u32 {
    let mut total = 0u32;
    for pair in data.chunks(2) {
        total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        total = (total & 0xffff) + (total >> 16);
    }
    total
}

fn pseudo(from: SocketAddr, to: SocketAddr, udp: &[u8]) -> u32 {
    let mut header = Vec::new();
    for ip in [from.ip(), to.ip()] {
        match ip {
            std::net::IpAddr::V4(ip) => header.extend_from_slice(&ip.octets()),
            std::net::IpAddr::V6(ip) => header.extend_from_slice(&ip.octets()),
        }
    }
    header.extend_from_slice(&(udp.len() as u32).to_be_bytes());
    header.extend_from_slice(&[0, 0, 0, 17]);
    let total = sum(&header) + sum(udp);
    (total & 0xffff) + (total >> 16)
}

/// True if the UDP checksum in a frame without IP options is right.
pub fn udp_checksum_holds(frame: &[u8]) -> bool {
    let (from, to, udp) = parts(frame);
    pseudo(from, to, udp) == 0xffff
}

/// Source, destination and the whole UDP datagram of a frame without options or extensions.
pub fn parts(frame: &[u8]) -> (SocketAddr, SocketAddr, &[u8]) {
    let port = |udp: &[u8], at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    if frame[12..14] == [8, 0] {
        let udp = &frame[34..];
        let ip = |at: usize| <[u8; 4]>::try_from(&frame[at..at + 4]).unwrap();
        ((ip(26), port(udp, 0)).into(), (ip(30), port(udp, 2)).into(), udp)
    } else {
        let udp = &frame[54..];
        let ip = |at: usize| <[u8; 16]>::try_from(&frame[at..at + 16]).unwrap();
        ((ip(22), port(udp, 0)).into(), (ip(38), port(udp, 2)).into(), udp)
    }
}

/// A UDP frame to port 0's MAC with right checksums.
pub fn frame(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let (from, to) = (addr(from), addr(to));
    let len = (payload.len() + 8) as u16;
    let mut udp = Vec::new();
    udp.extend_from_slice(&from.port().to_be_bytes());
    udp.extend_from_slice(&to.port().to_be_bytes());
    udp.extend_from_slice(&len.to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    udp.extend_from_slice(payload);
    let checksum = match !(pseudo(from, to, &udp) as u16) {
        0 => 0xffff,
        c => c,
    };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    let mut f = vec![2, 0, 0, 0, 1, 0];
    f.extend_from_slice(&PEER_MAC);
    match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            f.extend_from_slice(&[8, 0]);
            let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
            ip[2..4].copy_from_slice(&(20 + len).to_be_bytes());
            ip.extend_from_slice(&from.ip().octets());
            ip.extend_from_slice(&to.ip().octets());
            let checksum = !(sum(&ip) as u16);
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
            f.extend_from_slice(&ip);
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            f.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            f.extend_from_slice(&len.to_be_bytes());
            f.extend_from_slice(&[17, 64]);
            f.extend_from_slice(&from.ip().octets());
            f.extend_from_slice(&to.ip().octets());
        }
        _ => panic!("one family"),
    }
    f.extend_from_slice(&udp);
    f
}

/// RTP with the fixed header only.
pub fn rtp(pt: u8, number: u16, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x80, pt];
    p.extend_from_slice(&number.to_be_bytes());
    p.extend_from_slice(&(u32::from(number) * 160).to_be_bytes());
    p.extend_from_slice(&0xdead_beefu32.to_be_bytes());
    p.extend_from_slice(payload);
    p
}

/// A frame's worth of G.711 in which every code occurs.
pub fn speech() -> Vec<u8> {
    (0..160u32).map(|i| (i * 37 + i / 7) as u8).collect()
}
