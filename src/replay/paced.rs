//! A capture through the real worker once, at its own timing, and out of a real port. The main thread opens and waits;
//! the worker receives from `PacedIo`, which holds each frame back until its time has come.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use dpdk_sys::{Mbuf, Pool};
use serde::Serialize;

use super::{
    ReplayError,
    capture::{self, Frame},
    run::{BUFFER_BYTES, Crew, SPARE_ENTRIES, config_for},
    sessions::{self, Convert, Ground, Seen},
};
use crate::{
    base::ids::PortId,
    config::{Cores, Dpdk, Poll},
    fast::worker::PortFacts,
    flow::{
        DropReason, FlowTable, Publisher, PuntClass,
        counters::PortCounter,
        nexthop::{NextHop, NextHopId},
    },
    io::{
        Burst, PacketIo, Refused, TxOffloads,
        dpdk::{self, DpdkIo, Opened},
    },
    wire::ethernet::Mac,
};

/// Before the first frame: the worker has found its pace by then.
const LEAD: Duration = Duration::from_millis(50);
const MBUFS: u32 = 32_767;

#[derive(Clone, Debug)]
pub struct Options {
    pub capture: PathBuf,
    pub sessions: Option<PathBuf>,
    pub convert: Convert,
    /// The port that forwarded frames leave by, as in `port.device`.
    pub device: String,
    /// Whom they are for on that link.
    pub to: Mac,
    pub cpu: u16,
    pub main_cpu: u16,
    pub hugepages: bool,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub device: String,
    /// From the first frame's time to the last one's.
    pub capture_seconds: f64,
    pub received: u64,
    pub forwarded: u64,
    pub dropped: u64,
    pub punted: u64,
    pub flows: u64,
    /// The longest that a frame was held beyond its time.
    pub latest_us: u64,
}

/// Receives from a list of frames by the clock; sends through the port.
struct PacedIo {
    inner: DpdkIo,
    pool: Pool,
    frames: Vec<Frame>,
    next: usize,
    /// Ticks at which the capture's first frame is due; None: the worker has not turned yet.
    start: Option<u64>,
    latest: Arc<AtomicU64>,
}

impl PacketIo for PacedIo {
    type Buf = Mbuf;

    fn ports(&self) -> usize {
        self.inner.ports()
    }

    fn tx_offloads(&self, port: PortId) -> TxOffloads {
        self.inner.tx_offloads(port)
    }

    fn mac(&self, port: PortId) -> [u8; 6] {
        self.inner.mac(port)
    }

    fn rx(&mut self, port: PortId, burst: &mut Burst<Mbuf>) {
        // What the link itself brings is not of the capture.
        let mut strange = Burst::new();
        self.inner.rx(port, &mut strange);
        let (now, hz) = (self.inner.ticks(), self.inner.ticks_per_second());
        let start = *self.start.get_or_insert(now + (LEAD.as_secs_f64() * hz as f64) as u64);
        while !burst.is_full()
            && let Some(frame) = self.frames.get(self.next)
        {
            let due = start + (frame.at.as_secs_f64() * hz as f64) as u64;
            if now < due {
                return;
            }
            let Some(packet) = Mbuf::from_bytes(&self.pool, &frame.bytes) else { return };
            let late_us = (now - due) * 1_000_000 / hz.max(1);
            self.latest.fetch_max(late_us, Ordering::Relaxed);
            burst.push(packet);
            self.next += 1;
        }
    }

    fn tx(&mut self, port: PortId, burst: &mut Burst<Mbuf>) -> Refused {
        self.inner.tx(port, burst)
    }

    fn punt(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        self.inner.punt(burst)
    }

    fn injected(&mut self, burst: &mut Burst<Mbuf>) {
        self.inner.injected(burst);
    }

    fn ticks(&self) -> u64 {
        self.inner.ticks()
    }

    fn ticks_per_second(&self) -> u64 {
        self.inner.ticks_per_second()
    }
}

/// Provisions, replays once and counts.
pub fn run(options: &Options) -> Result<Report, ReplayError> {
    let (mut seen, mut frames) = (Seen::default(), Vec::new());
    capture::read(&options.capture, |frame| {
        seen.look(&frame.bytes);
        frames.push(frame);
    })?;
    let first = frames.first().map_or(Duration::ZERO, |f| f.at);
    // Frames that were captured out of order leave in the file's order, none before its time.
    frames.iter_mut().for_each(|f| f.at = f.at.saturating_sub(first));
    let length = frames.iter().map(|f| f.at).max().unwrap_or_default();
    let flows = match &options.sessions {
        Some(path) => sessions::read(path)?,
        None => seen.flows(options.convert),
    };
    let ground = Ground::of(&flows)?;

    let memory_mb = ((u64::from(MBUFS) * BUFFER_BYTES) >> 20) as u32 + 64;
    let config = config_for(
        options.device.clone(),
        Cores { workers: vec![options.cpu], slow: Some(options.main_cpu), pair: None, poll: Poll::Busy },
        Dpdk { hugepages: options.hugepages, memory_mb: Some(memory_mb), mbufs: Some(MBUFS), eal_args: Vec::new() },
    )?;
    let Opened { workers, slow: _slow, ports, meters: _meters, launcher, pool } = dpdk::open(&config)?;
    let table = FlowTable::new(&ground.addresses, ground.low, ground.high, flows.len() + SPARE_ENTRIES, 1);
    table.next_hops.set(NextHopId(1), Some(NextHop { port: PortId(0), mac: options.to }));
    let mut publisher = Publisher::new(table.clone());
    let provisioned = sessions::provision(&mut publisher, &flows, NextHopId(1))?;

    let latest = Arc::<AtomicU64>::default();
    let count = frames.len() as u64;
    let mut source = Some(frames);
    let workers: Vec<PacedIo> = workers
        .into_iter()
        .map(|inner| PacedIo {
            inner,
            pool,
            frames: source.take().unwrap_or_default(),
            next: 0,
            start: None,
            latest: latest.clone(),
        })
        .collect();
    let facts = vec![PortFacts { mac: seen.mac(), mtu: ports[0].mtu, offloads: ports[0].tx_offloads }];
    let crew = Crew::start(workers, &launcher, &table, &facts)?;
    let (began, limit) = (Instant::now(), length + LEAD + Duration::from_secs(2));
    while crew.received().0 < count && began.elapsed() < limit {
        thread::sleep(Duration::from_millis(5));
    }
    let counters = crew.stop(&launcher)?;

    let own = &counters[0];
    let dropped = DropReason::ALL.iter().map(|&r| own.drop_count(0, r)).sum();
    let punted = PuntClass::ALL.iter().map(|&p| own.punt_count(0, p)).sum();
    let (received, forwarded) = (own.count(0, PortCounter::RxPackets), own.count(0, PortCounter::TxPackets));
    if received != forwarded + dropped + punted {
        return Err(ReplayError::Unaccounted { received, accounted: forwarded + dropped + punted });
    }
    Ok(Report {
        device: options.device.clone(),
        capture_seconds: length.as_secs_f64(),
        received,
        forwarded,
        dropped,
        punted,
        flows: provisioned,
        latest_us: latest.load(Ordering::Relaxed),
    })
}
