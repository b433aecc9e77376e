//! The worker's loop: bursts in, bursts out, one verdict and one counter per packet. Runs on a poll-mode core that it
//! owns, or shares where `poll = "adaptive"`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arrayvec::ArrayVec;

use super::{
    arrival::{Arrival, classify},
    police::Police,
    relay::relay,
};
use crate::{
    base::{
        ids::{PortId, WorkerId},
        limits::BURST,
    },
    codec,
    config::{Poll, Punt},
    flow::{
        DropReason, FlowTable, PuntClass, Verdict,
        counters::{LoopCounter, PortCounter, WorkerCounters},
        event::Events,
        quiesce::Boundary,
    },
    io::{Burst, PacketBuf, PacketIo, TxOffloads},
    wire::ethernet::Mac,
};

/// Empty turns before an adaptive worker sleeps, and for how long it does: well below a frame's 20 ms.
const IDLE_TURNS: u32 = 64;
const SLEEP: Duration = Duration::from_micros(200);

/// What every packet needs to know of a port.
#[derive(Clone, Copy, Debug)]
pub struct PortFacts {
    pub mac: Mac,
    pub mtu: u16,
    pub offloads: TxOffloads,
}

/// What the worker holds that packets are looked at with; nothing in it changes by a packet but the counters.
pub struct Shared {
    pub id: WorkerId,
    pub table: Arc<FlowTable>,
    pub events: Arc<Events>,
    pub counters: WorkerCounters,
    pub kernel: codec::Kernel,
    pub ports: Vec<PortFacts>,
    /// Where SIP listens, sorted.
    pub sip_ports: Vec<u16>,
}

impl Shared {
    #[inline]
    pub fn port(&self, port: PortId) -> &PortFacts {
        // A next hop names a port that was configured.
        &self.ports[usize::from(port.0)]
    }

    /// Requests go to a SIP port; answers to connections that we opened come from one.
    pub fn kernel_class(&self, source_port: u16, destination_port: u16) -> PuntClass {
        let sip = |port| self.sip_ports.binary_search(&port).is_ok();
        if sip(destination_port) || sip(source_port) { PuntClass::Sip } else { PuntClass::Other }
    }
}

/// What holds for a whole burst.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub ticks: u64,
    pub micros: u64,
}

pub struct Worker<Io: PacketIo> {
    io: Io,
    shared: Shared,
    boundary: Boundary,
    police: Police,
    poll: Poll,
    rx: Burst<Io::Buf>,
    tx: Vec<Burst<Io::Buf>>,
    punts: Burst<Io::Buf>,
    /// Of the packets in `punts`.
    classes: ArrayVec<PuntClass, BURST>,
}

impl<Io: PacketIo> Worker<Io> {
    pub fn new(io: Io, shared: Shared, punt: &Punt, poll: Poll) -> Self {
        let boundary = shared.table.boundaries.worker(usize::from(shared.id.0));
        let police = Police::new(punt, io.ticks_per_second(), io.ticks());
        let tx = (0..io.ports()).map(|_| Burst::new()).collect();
        Worker {
            io,
            shared,
            boundary,
            police,
            poll,
            rx: Burst::new(),
            tx,
            punts: Burst::new(),
            classes: ArrayVec::new(),
        }
    }

    /// Until `stop`. Allocates nothing.
    pub fn run(&mut self, stop: &AtomicBool) {
        self.boundary.enter();
        let mut idle_turns = 0;
        let mut before = self.io.ticks();
        while !stop.load(Ordering::Relaxed) {
            let handled = self.turn();
            let after = self.io.ticks();
            let counter = if handled > 0 { LoopCounter::BusyTicks } else { LoopCounter::IdleTicks };
            self.shared.counters.add_loop(counter, after.wrapping_sub(before));
            before = after;
            idle_turns = if handled > 0 { 0 } else { idle_turns + 1 };
            if idle_turns >= IDLE_TURNS && self.poll == Poll::Adaptive {
                self.shared.counters.add_loop(LoopCounter::Sleeps, 1);
                std::thread::sleep(SLEEP);
            }
        }
    }

    /// One round over all ports; returns how many packets came.
    pub fn turn(&mut self) -> usize {
        self.boundary.pass();
        let ticks = self.io.ticks();
        self.police.refill(ticks);
        let turn = Turn { ticks, micros: micros(ticks, self.io.ticks_per_second()) };
        let mut handled = 0;
        for port in 0..self.tx.len() {
            self.io.rx(PortId(port as u8), &mut self.rx);
            if !self.rx.is_empty() {
                handled += self.rx.len();
                self.shared.counters.add_loop(LoopCounter::Bursts, 1);
                self.handle(port, &turn);
            }
        }
        handled += self.send_injected();
        for port in 0..self.tx.len() {
            self.flush(port);
        }
        self.shared.counters.add_loop(LoopCounter::Iterations, 1);
        handled
    }

    fn handle(&mut self, port: usize, turn: &Turn) {
        let mac = self.shared.ports[port].mac;
        let mut bytes = 0;
        let packets = self.rx.len() as u64;
        for buf in &self.rx {
            buf.prefetch();
        }
        // Taken out for the loop: sending from within it needs the rest of `self`.
        let mut burst = std::mem::take(&mut self.rx);
        for mut buf in burst.drain(..) {
            bytes += buf.total_len() as u64;
            let verdict = match classify(&buf, &mac, &self.shared) {
                Arrival::Media(datagram) => relay(&mut buf, &datagram, port, &self.shared, turn),
                Arrival::Kernel(class) => Verdict::Punt(class),
                Arrival::Nobody(reason) => Verdict::Drop(reason),
            };
            match verdict {
                Verdict::Forward(out) => self.send(usize::from(out.0), buf),
                Verdict::Punt(class) if self.police.admit(class) => self.punt(port, class, buf),
                Verdict::Punt(class) => self.shared.counters.dropped(port, class.policed(), 1),
                Verdict::Drop(reason) => self.shared.counters.dropped(port, reason, 1),
            }
        }
        self.rx = burst;
        self.flush_punts(port);
        self.shared.counters.add(port, PortCounter::RxPackets, packets);
        self.shared.counters.add(port, PortCounter::RxBytes, bytes);
    }

    #[inline]
    fn send(&mut self, out: usize, buf: Io::Buf) {
        if self.tx[out].is_full() {
            self.flush(out);
        }
        self.tx[out].push(buf);
    }

    fn flush(&mut self, out: usize) {
        let burst = &mut self.tx[out];
        if burst.is_empty() {
            return;
        }
        let packets = burst.len();
        // The device takes packets in order: the sum is corrected by what it refused.
        let lengths: ArrayVec<usize, BURST> = burst.iter().map(|b| b.total_len()).collect();
        let refused = self.io.tx(PortId(out as u8), burst);
        let bytes: usize = lengths[..packets - refused].iter().sum();
        let counters = &self.shared.counters;
        counters.add(out, PortCounter::TxPackets, (packets - refused) as u64);
        counters.add(out, PortCounter::TxBytes, bytes as u64);
        counters.dropped(out, DropReason::TxFull, refused as u64);
    }

    fn punt(&mut self, port: usize, class: PuntClass, buf: Io::Buf) {
        if self.punts.is_full() {
            self.flush_punts(port);
        }
        self.punts.push(buf);
        self.classes.push(class);
    }

    /// What was punted from one port; each packet is counted once it is known whether the ring took it.
    fn flush_punts(&mut self, port: usize) {
        if self.punts.is_empty() {
            return;
        }
        let refused = self.io.punt(&mut self.punts);
        let taken = self.classes.len().saturating_sub(refused);
        for class in &self.classes[..taken] {
            self.shared.counters.punted(port, *class, 1);
        }
        self.classes.clear();
        self.shared.counters.dropped(port, DropReason::PuntFull, refused as u64);
    }

    fn send_injected(&mut self) -> usize {
        let mut burst = std::mem::take(&mut self.rx);
        self.io.injected(&mut burst);
        let count = burst.len();
        for buf in burst.drain(..) {
            let out = usize::from(buf.port().0);
            if out < self.tx.len() {
                self.shared.counters.add(out, PortCounter::Injected, 1);
                self.send(out, buf);
            }
        }
        self.rx = burst;
        count
    }
}

/// Without overflow for any uptime.
fn micros(ticks: u64, per_second: u64) -> u64 {
    let per_second = per_second.max(1);
    (ticks / per_second) * 1_000_000 + (ticks % per_second) * 1_000_000 / per_second
}
