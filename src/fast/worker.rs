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
    lane::{Common, forward, look},
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
        lease::Floating,
        quiesce::Boundary,
        table::{EntryId, LastAddress, SlotId},
    },
    io::{Burst, PacketBuf, PacketIo, TxOffloads},
    wire::ethernet::Mac,
};

/// Empty turns before an adaptive worker sleeps, and for how long it does: well below a frame's 20 ms.
const IDLE_TURNS: u32 = 64;
const SLEEP: Duration = Duration::from_micros(200);
/// Entries, of two lines each, that are asked for before one is needed: no more than a core waits for at once. With a whole
/// burst asked for, a Zen 4 core had few of them in time, and was 1.6 times as slow at 100,000 flows.
const AHEAD: usize = 8;

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
    /// Until when media, and what else comes from a floating address, may leave.
    pub floating: Floating,
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
    pub micros: u64,
    /// The same in the clock of most streams.
    pub narrowband: u32,
}

/// RFC 3551 §4.5: the RTP clock of G.711 and of nearly all telephony.
const NARROWBAND_HZ: u32 = 8_000;

impl Turn {
    pub fn at(ticks: u64, ticks_per_second: u64) -> Turn {
        let micros = micros(ticks, ticks_per_second);
        Turn { micros, narrowband: (micros.wrapping_mul(NARROWBAND_HZ.into()) / 1_000_000) as u32 }
    }

    /// When this burst came, in units of a stream's clock.
    #[inline]
    pub fn arrival(&self, clock_hz: u32) -> u32 {
        if clock_hz == NARROWBAND_HZ {
            return self.narrowband;
        }
        (self.micros.wrapping_mul(u64::from(clock_hz)) / 1_000_000) as u32
    }
}

/// What leaves by a port when the burst has been handled, or when it is full.
struct Outgoing<B> {
    packets: Burst<B>,
    /// Of all of them.
    bytes: u64,
}

pub struct Worker<Io: PacketIo> {
    io: Io,
    shared: Shared,
    boundary: Boundary,
    police: Police,
    poll: Poll,
    /// One per port; what is full is sent before more is put there.
    tx: Vec<Outgoing<Io::Buf>>,
    punts: Burst<Io::Buf>,
    /// Of the packets in `punts`.
    classes: ArrayVec<PuntClass, BURST>,
    /// Every packet goes the general way, to be compared with the short one.
    #[cfg(test)]
    pub(super) long_way: bool,
}

impl<Io: PacketIo> Worker<Io> {
    pub fn new(io: Io, shared: Shared, punt: &Punt, poll: Poll) -> Self {
        let boundary = shared.table.boundaries.worker(usize::from(shared.id.0));
        let police = Police::new(punt, io.ticks_per_second(), io.ticks());
        let tx = (0..io.ports()).map(|_| Outgoing { packets: Burst::new(), bytes: 0 }).collect();
        Worker {
            io,
            shared,
            boundary,
            police,
            poll,
            tx,
            punts: Burst::new(),
            classes: ArrayVec::new(),
            #[cfg(test)]
            long_way: false,
        }
    }

    #[cfg(test)]
    pub(super) fn lease(&self) -> &Arc<crate::flow::lease::Lease> {
        &self.shared.floating.lease
    }

    /// Until `stop`. Allocates nothing.
    pub fn run(&mut self, stop: &AtomicBool) {
        self.boundary.enter();
        let mut idle_turns = 0;
        let mut sent = false;
        let mut now = self.io.ticks();
        while !stop.load(Ordering::Relaxed) {
            let handled = self.take(now);
            let after = self.io.ticks();
            // What the turn before sent is sent in this one's time.
            let counter = if handled > 0 || sent { LoopCounter::BusyTicks } else { LoopCounter::IdleTicks };
            self.shared.counters.add_loop(counter, after.wrapping_sub(now));
            self.flush_all(after);
            sent = handled > 0;
            now = after;
            idle_turns = if handled > 0 { 0 } else { idle_turns + 1 };
            if idle_turns >= IDLE_TURNS && self.poll == Poll::Adaptive {
                self.shared.counters.add_loop(LoopCounter::Sleeps, 1);
                std::thread::sleep(SLEEP);
                let woken = self.io.ticks();
                self.shared.counters.add_loop(LoopCounter::IdleTicks, woken.wrapping_sub(now));
                now = woken;
            }
        }
    }

    /// One round over all ports; returns how many packets came.
    pub fn turn(&mut self) -> usize {
        let handled = self.take(self.io.ticks());
        self.flush_all(self.io.ticks());
        handled
    }

    /// What came to the ports and what the kernel sends, up to a verdict each; what is to leave is left to `flush_all`.
    fn take(&mut self, ticks: u64) -> usize {
        self.boundary.pass();
        self.police.refill(ticks);
        let turn = Turn::at(ticks, self.io.ticks_per_second());
        let leased = self.shared.floating.lease.holds(ticks);
        let mut handled = 0;
        for port in 0..self.tx.len() {
            let mut burst = Burst::new();
            self.io.rx(PortId(port as u8), &mut burst);
            if !burst.is_empty() {
                handled += burst.len();
                self.shared.counters.add_loop(LoopCounter::Bursts, 1);
                if leased {
                    self.handle(port, &mut burst, &turn);
                } else {
                    self.hold_back(port, &mut burst);
                }
            }
        }
        handled += self.take_injected(leased);
        self.shared.counters.add_loop(LoopCounter::Iterations, 1);
        handled
    }

    /// One burst: where each packet's flow is, then a verdict for each, then what the verdicts say.
    #[inline(never)]
    fn handle(&mut self, port: usize, burst: &mut Burst<Io::Buf>, turn: &Turn) {
        let mac = self.shared.ports[port].mac;
        let packets = burst.len() as u64;
        let mut entries = [EntryId::NONE; BURST + AHEAD];
        let bytes = find(burst, &mac, &self.shared, &mut entries);
        #[cfg(test)]
        if self.long_way {
            entries.fill(EntryId::NONE);
        }
        let mut verdicts = [Verdict::Drop(DropReason::NoFlow); BURST];
        match decide(burst, &entries, &mut verdicts, port, &self.shared, turn) {
            Some(out) => self.send_all(usize::from(out.0), burst, bytes),
            None => self.obey(port, burst, &verdicts),
        }
        self.shared.counters.add(port, PortCounter::RxPackets, packets);
        self.shared.counters.add(port, PortCounter::RxBytes, bytes);
    }

    /// A burst without a lease: another host may have the calls by now. What is no media goes its way.
    #[cold]
    fn hold_back(&mut self, port: usize, burst: &mut Burst<Io::Buf>) {
        let mac = self.shared.ports[port].mac;
        let packets = burst.len() as u64;
        let mut bytes = 0;
        let mut verdicts = [Verdict::Drop(DropReason::Lease); BURST];
        for (buf, verdict) in burst.iter().zip(&mut verdicts) {
            bytes += buf.total_len() as u64;
            match classify(buf, &mac, &self.shared) {
                Arrival::Media(_) => {}
                Arrival::Kernel(class) => *verdict = Verdict::Punt(class),
                Arrival::Nobody(reason) => *verdict = Verdict::Drop(reason),
            }
        }
        self.obey(port, burst, &verdicts);
        self.shared.counters.add(port, PortCounter::RxPackets, packets);
        self.shared.counters.add(port, PortCounter::RxBytes, bytes);
    }

    /// Does what each packet's verdict says.
    #[inline(never)]
    fn obey(&mut self, port: usize, burst: &mut Burst<Io::Buf>, verdicts: &[Verdict; BURST]) {
        for (buf, &verdict) in burst.drain(..).zip(verdicts) {
            match verdict {
                Verdict::Forward(out) => self.send(usize::from(out.0), buf),
                Verdict::Punt(class) if self.police.admit(class) => self.punt(port, class, buf),
                Verdict::Punt(class) => self.shared.counters.dropped(port, class.policed(), 1),
                Verdict::Drop(reason) => self.shared.counters.dropped(port, reason, 1),
            }
        }
        self.flush_punts(port);
    }

    #[inline]
    fn send(&mut self, out: usize, buf: Io::Buf) {
        if self.tx[out].packets.is_full() {
            self.flush_now(out);
        }
        let outgoing = &mut self.tx[out];
        outgoing.bytes += buf.total_len() as u64;
        outgoing.packets.push(buf);
    }

    /// A whole burst, of so many bytes, by one port: at once if nothing waits there before it and the lease holds, else
    /// behind what waits.
    #[inline]
    fn send_all(&mut self, out: usize, burst: &mut Burst<Io::Buf>, bytes: u64) {
        let Self { io, shared, tx, .. } = self;
        if tx[out].packets.is_empty() && shared.floating.lease.holds(io.ticks()) {
            transmit(io, &shared.counters, out, burst, bytes);
        } else {
            burst.drain(..).for_each(|buf| self.send(out, buf));
        }
    }

    /// The end of a turn. Here as wherever something is sent the lease is looked at again, on a clock read after the
    /// verdicts: a process that was paused in between must not send what it had decided on before.
    #[inline]
    fn flush_all(&mut self, ticks: u64) {
        let leased = self.shared.floating.lease.holds(ticks);
        for out in 0..self.tx.len() {
            self.flush(out, leased);
        }
    }

    /// In the middle of a turn, where more leaves by a port than a burst.
    fn flush_now(&mut self, out: usize) {
        let leased = self.shared.floating.lease.holds(self.io.ticks());
        self.flush(out, leased);
    }

    #[inline]
    fn flush(&mut self, out: usize, leased: bool) {
        let Self { io, shared, tx, .. } = self;
        let Outgoing { packets, bytes } = &mut tx[out];
        if !leased {
            withhold(shared, out, packets, bytes);
        }
        if !packets.is_empty() {
            transmit(io, &shared.counters, out, packets, std::mem::take(bytes));
        }
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

    fn take_injected(&mut self, leased: bool) -> usize {
        let mut burst = Burst::new();
        self.io.injected(&mut burst);
        let count = burst.len();
        for buf in burst.drain(..) {
            let out = usize::from(buf.port().0);
            if out >= self.tx.len() {
                continue;
            }
            if !leased && self.shared.floating.is_source_of(buf.data(), buf.total_len()) {
                self.shared.counters.dropped(out, DropReason::Lease, 1);
                continue;
            }
            self.shared.counters.add(out, PortCounter::Injected, 1);
            self.send(out, buf);
        }
        count
    }
}

/// Takes out of what waits for a port what a host without a lease must not send: media, and what the kernel sends from a
/// floating address. All media comes from an address of the flow table.
#[cold]
fn withhold<B: PacketBuf>(shared: &Shared, out: usize, packets: &mut Burst<B>, bytes: &mut u64) {
    packets.retain(|buf| {
        let held = shared.floating.is_source_of(buf.data(), buf.total_len());
        if held {
            *bytes -= buf.total_len() as u64;
            shared.counters.dropped(out, DropReason::Lease, 1);
        }
        !held
    });
}

/// The entries of the packets that the short way may take, in passes over the burst so that its misses overlap: each frame
/// asked for; what it is, and its slot asked for; its entry looked up, and the first ones asked for. Returns the bytes of all.
#[inline(never)]
fn find<B: PacketBuf>(burst: &Burst<B>, mac: &Mac, shared: &Shared, entries: &mut [EntryId; BURST + AHEAD]) -> u64 {
    let table = &*shared.table;
    let common = Common::to(mac);
    let mut bytes = 0;
    for buf in burst {
        buf.prefetch();
        bytes += buf.total_len() as u64;
    }
    let mut slots = [SlotId::NONE; BURST];
    let mut last = LastAddress::default();
    for (buf, slot) in burst.iter().zip(&mut slots) {
        *slot = look(buf, &common, &mut last, table);
        table.prefetch_slot(*slot);
    }
    for (slot, entry) in slots.iter().zip(entries.iter_mut()).take(burst.len()) {
        *entry = table.rtp_entry(*slot);
    }
    for entry in entries.iter().take(AHEAD) {
        table.prefetch_entry(*entry);
    }
    bytes
}

/// A verdict for each packet, in their order, and entries further on asked for. The port, if every one of the packets leaves
/// by the same and is as long as it was.
#[inline(never)]
fn decide<B: PacketBuf>(
    burst: &mut Burst<B>,
    entries: &[EntryId; BURST + AHEAD],
    verdicts: &mut [Verdict; BURST],
    port: usize,
    shared: &Shared,
    turn: &Turn,
) -> Option<PortId> {
    // The bits that all ports have, and those that any has: the same if there is one port.
    let (mut every, mut any) = (u8::MAX, 0);
    let mut all_short = true;
    let mut transcoded = 0;
    let ahead = entries.iter().skip(AHEAD);
    for (((buf, &entry), verdict), &next) in burst.iter_mut().zip(entries).zip(verdicts).zip(ahead) {
        shared.table.prefetch_entry(next);
        let short =
            if entry == EntryId::NONE { None } else { forward(buf, entry, port, shared, turn, &mut transcoded) };
        *verdict = match short {
            Some(out) => {
                (every, any) = (every & out.0, any | out.0);
                Verdict::Forward(out)
            }
            None => {
                all_short = false;
                general(buf, port, shared, turn)
            }
        };
    }
    if transcoded > 0 {
        shared.counters.add(port, PortCounter::Transcoded, transcoded);
    }
    (all_short && every == any).then_some(PortId(any))
}

/// The way of every packet that the short one does not take.
#[inline(never)]
fn general<B: PacketBuf>(buf: &mut B, port: usize, shared: &Shared, turn: &Turn) -> Verdict {
    match classify(buf, &shared.ports[port].mac, shared) {
        Arrival::Media(datagram) => relay(buf, &datagram, port, shared, turn),
        Arrival::Kernel(class) => Verdict::Punt(class),
        Arrival::Nobody(reason) => Verdict::Drop(reason),
    }
}

/// Gives packets to a port, and counts them.
fn transmit<Io: PacketIo>(
    io: &mut Io,
    counters: &WorkerCounters,
    out: usize,
    packets: &mut Burst<Io::Buf>,
    bytes: u64,
) {
    let count = packets.len() as u64;
    let refused = io.tx(PortId(out as u8), packets);
    counters.add(out, PortCounter::TxPackets, count - refused.packets as u64);
    counters.add(out, PortCounter::TxBytes, bytes - refused.bytes);
    counters.dropped(out, DropReason::TxFull, refused.packets as u64);
}

/// Without overflow for any uptime.
fn micros(ticks: u64, per_second: u64) -> u64 {
    let per_second = per_second.max(1);
    (ticks / per_second) * 1_000_000 + (ticks % per_second) * 1_000_000 / per_second
}
