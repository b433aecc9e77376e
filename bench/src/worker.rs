//! The worker alone, on simulated ports: the same code as on a device, without a device. For callgrind, which counts
//! instructions and knows no time. Main thread.
//!
//! What goes around the worker (making frames, the queues in memory) is run by itself as `io`, so that it can be taken
//! off. The number of packets is an argument: the difference of two runs has no start-up in it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use tandem::{
    base::{
        ids::{PortId, SessionId, Side, WorkerId},
        limits::BURST,
    },
    codec::{Kernel, Law},
    config::{Poll, Punt},
    fast::{Shared, Worker, worker::PortFacts},
    flow::{
        FlowClass, FlowTable, Plan, PtOp, PtRule, Publisher,
        counters::{PortCounter, WorkerCounters},
        event::Events,
        lease::Floating,
        nexthop::{NextHop, NextHopId},
        plan::Admit,
    },
    io::{Burst, PacketIo, TxOffloads, simulated::SimulatedIo},
    wire::{IPPROTO_UDP, checksum, ethernet, ipv4, udp},
};

const FLOWS: u16 = 1_000;
const PAYLOAD: usize = 160;
const OURS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
const PORT_LOW: u16 = 20_000;
const PORT: PortId = PortId(0);
/// Headers of a frame: Ethernet, IPv4, UDP; then RTP's.
const RTP_AT: usize = ethernet::HEADER_LEN + ipv4::MIN_HEADER_LEN + udp::HEADER_LEN;
const RTP_HEADER: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Frames and queues, and no worker between them.
    Io,
    Relay,
    MuToA,
}

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long)]
    pub mode: Mode,
    /// Rounded up to whole bursts
    #[arg(long)]
    pub packets: usize,
    /// The conversion's path: scalar, ssse3, avx2, avx512vbmi [default: the fastest here]
    #[arg(long)]
    pub kernel: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let kernel = match &arguments.kernel {
        None => Kernel::detect(),
        Some(name) => Kernel::available()
            .into_iter()
            .find(|kernel| kernel.name() == name)
            .with_context(|| format!("this CPU has no kernel `{name}`"))?,
    };
    let mut rig = Rig::new(arguments.mode, kernel)?;
    let bursts = arguments.packets.div_ceil(BURST);
    let mut sent = 0;
    for burst in 0..bursts {
        sent += rig.burst(burst * BURST)?;
    }
    ensure!(sent == bursts * BURST, "of {} packets {sent} were forwarded", bursts * BURST);
    if arguments.mode == Mode::MuToA {
        let converted = rig.counters.count(0, PortCounter::Transcoded);
        ensure!(converted == sent as u64, "of {sent} packets {converted} were converted");
    }
    println!("{sent} packets");
    Ok(())
}

struct Rig {
    io: SimulatedIo,
    worker: Option<Worker<SimulatedIo>>,
    counters: WorkerCounters,
    /// One for each flow; its sequence number is filled in.
    frames: Vec<Vec<u8>>,
    burst: Burst<<SimulatedIo as PacketIo>::Buf>,
}

impl Rig {
    fn new(mode: Mode, kernel: Kernel) -> Result<Rig> {
        let io = SimulatedIo::new(1);
        let table = FlowTable::new(&[IpAddr::V4(OURS)], PORT_LOW, PORT_LOW + 2 * FLOWS, usize::from(FLOWS) + 8, 1);
        table.next_hops.set(NextHopId(1), Some(NextHop { port: PORT, mac: [2, 0, 0, 0, 0, 3] }));
        let mut publisher = Publisher::new(table.clone());
        let mac = io.mac(PORT);
        let mut frames = Vec::new();
        for flow in 0..FLOWS {
            let at = SocketAddr::from((OURS, PORT_LOW + 2 * flow));
            let key = publisher.key(at, FlowClass::Rtp).context("a flow's port lies outside the table")?;
            publisher.publish(key, &plan(flow, mode))?;
            frames.push(frame(flow, mac));
        }
        let counters = WorkerCounters::new(1);
        let worker = (mode != Mode::Io).then(|| {
            let shared = Shared {
                id: WorkerId(0),
                table,
                events: Arc::new(Events::new(4)),
                counters,
                kernel,
                ports: vec![PortFacts { mac, mtu: 1_500, offloads: TxOffloads::default() }],
                sip_ports: vec![5_060],
                floating: Floating::none(),
            };
            Worker::new(io.clone(), shared, &Punt::default(), Poll::Busy)
        });
        Ok(Rig { io, worker, counters, frames, burst: Burst::new() })
    }

    /// Packets `first` and those behind it arrive, one burst; returns how many left.
    fn burst(&mut self, first: usize) -> Result<usize> {
        for number in first..first + BURST {
            let flow = number % self.frames.len();
            let sequence = (number / self.frames.len()) as u16;
            let frame = &mut self.frames[flow];
            frame[RTP_AT + 2..RTP_AT + 4].copy_from_slice(&sequence.to_be_bytes());
            self.io.arrive(PORT, frame);
        }
        match &mut self.worker {
            Some(worker) => {
                worker.turn();
            }
            None => {
                self.io.rx(PORT, &mut self.burst);
                self.io.tx(PORT, &mut self.burst);
            }
        }
        Ok(self.io.sent(PORT).len())
    }
}

fn plan(flow: u16, mode: Mode) -> Plan {
    let (pt_out, op) = if mode == Mode::MuToA { (8, PtOp::MuToA) } else { (0, PtOp::Relay) };
    Plan {
        session: SessionId(u64::from(flow)),
        side: Side::A,
        version: 1,
        rtcp: false,
        admit: Admit::Exact((THEIRS, 10_000 + flow).into()),
        departing: None,
        candidates: false,
        muted: false,
        out_source: (OURS, PORT_LOW + 2 * flow).into(),
        out_destination: Some((THEIRS, 30_000 + flow).into()),
        next_hop: NextHopId(1),
        tos: 46 << 2,
        clock_hz: 8_000,
        rules: vec![PtRule { pt_in: 0, pt_out, op, law: Some(Law::Mu) }],
    }
}

/// PCMU of 20 ms. Its UDP checksum is right for one sequence number: the worker updates it by difference, as RFC 1624
/// says, and never verifies it.
fn frame(flow: u16, mac: ethernet::Mac) -> Vec<u8> {
    let payload = RTP_HEADER + PAYLOAD;
    let mut out = vec![0; RTP_AT];
    ethernet::Frame::new_unchecked(&mut out[..]).set(mac, [2, 0, 0, 0, 0, 2], ethernet::ETHERTYPE_IPV4);
    let ip = ipv4::Repr {
        tos: 0,
        total_len: (ipv4::MIN_HEADER_LEN + udp::HEADER_LEN + payload) as u16,
        ttl: 64,
        source: THEIRS.into(),
        destination: OURS.into(),
    };
    if let Some(header) = out[ethernet::HEADER_LEN..].first_chunk_mut() {
        ip.emit(header, false);
    }
    let mut rtp = vec![0x80, 0, 0, 0, 0, 0, 0, 0];
    rtp.extend_from_slice(&(0x1000_0000 + u32::from(flow)).to_be_bytes());
    rtp.extend((0..PAYLOAD).map(|i| (i * 37 + i / 7) as u8));
    let (source_port, destination_port) = (10_000 + flow, PORT_LOW + 2 * flow);
    let len = (udp::HEADER_LEN + payload) as u16;
    let pseudo = checksum::sum_v4(THEIRS.into())
        + checksum::sum_v4(OURS.into())
        + u32::from(IPPROTO_UDP)
        + 2 * u32::from(len)
        + u32::from(source_port)
        + u32::from(destination_port);
    let sum = checksum::udp(checksum::fold(pseudo), &rtp);
    if let Some(header) = out[ethernet::HEADER_LEN + ipv4::MIN_HEADER_LEN..].first_chunk_mut() {
        udp::Repr { source_port, destination_port, len, checksum: sum }.emit(header);
    }
    out.extend_from_slice(&rtp);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_is_forwarded_in_every_mode() {
        for mode in [Mode::Io, Mode::Relay, Mode::MuToA] {
            run(&Arguments { mode, packets: 5_000, kernel: Some("scalar".into()) }).unwrap();
        }
        assert!(run(&Arguments { mode: Mode::Io, packets: 1, kernel: Some("abacus".into()) }).is_err());
    }
}
