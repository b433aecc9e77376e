//! A capture through the real worker on a DPDK port, again and again, as fast as it goes: `net_pcap` with
//! `infinite_rx=1` receives, and drops what is sent. Runs on the main thread, which is the EAL's main lcore; the workers
//! are the appliance's own.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    ReplayError,
    capture::{self, Writer},
    sessions::{self, Convert, Flow, Ground, Seen},
};
use crate::{
    base::ids::{PortId, WorkerId},
    codec::Kernel,
    config::{self, Config, Cores, Dpdk, Poll, Punt},
    fast::{Shared, Worker, worker::PortFacts},
    flow::{
        DropReason, FlowTable, Publisher, PuntClass,
        counters::{PortCounter, WorkerCounters},
        event::Events,
        lease::Floating,
        nexthop::{NextHop, NextHopId},
        state::StateLine,
    },
    io::{
        PacketIo,
        dpdk::{self, Launcher, Opened, Running},
    },
    wire::ethernet::Mac,
};

/// Where forwarded frames go: nobody's, on a link that ends in the driver.
const FAR_MAC: Mac = [2, 0, 0, 0, 0, 3];
const WARM_UP: Duration = Duration::from_millis(500);
/// Entries beside those in use: what is replaced waits a burst.
pub(super) const SPARE_ENTRIES: usize = 64;
/// What a buffer takes in its pool, rounded up: headers, headroom, 2,048 bytes of data, and the pool's own word.
pub(super) const BUFFER_BYTES: u64 = 2_560;

#[derive(Clone, Debug)]
pub struct Options {
    pub capture: PathBuf,
    pub sessions: Option<PathBuf>,
    pub convert: Convert,
    /// One worker on each.
    pub cpus: Vec<u16>,
    pub main_cpu: u16,
    pub seconds: u64,
    pub hugepages: bool,
}

/// What was measured, and what was counted from start to end.
#[derive(Debug, Serialize)]
pub struct Report {
    pub device: &'static str,
    pub kernel: &'static str,
    pub workers: usize,
    /// The measured window.
    pub seconds: f64,
    pub mpps: f64,
    pub gbps: f64,
    /// Ticks of the time-stamp counter that one packet takes on one worker.
    pub cycles_per_packet: f64,
    /// From start to end.
    pub received: u64,
    pub forwarded: u64,
    pub transcoded: u64,
    pub dropped: u64,
    pub punted: u64,
    pub drops: Vec<(String, u64)>,
    pub punts: Vec<(String, u64)>,
    pub flows: u64,
    /// Packets of the capture.
    pub packets: u64,
    /// Share of each, once the capture has begun again.
    pub verdicts: Vec<(&'static str, f64)>,
    /// Of the state lines at the end.
    pub streams: Streams,
    pub memory: Memory,
}

#[derive(Debug, Default, Serialize)]
pub struct Streams {
    /// Flows whose packets came to more than one worker: none, or the spreading is wrong.
    pub off_owner: u64,
    pub packets: u64,
    pub duplicate: u64,
    pub reordered: u64,
}

/// What the workers can reach of the flow table.
#[derive(Debug, Serialize)]
pub struct Memory {
    pub bytes: u64,
    /// (bytes − bytes of a table without flows) ÷ flows.
    pub bytes_per_flow: f64,
}

/// Provisions, replays and counts; measures one window of `options.seconds`.
pub fn run(options: &Options) -> Result<Report, ReplayError> {
    run_windows(options, std::iter::once(Duration::from_secs(options.seconds)), |_| ())
}

/// The same with a window for each of `lengths`, which may wait between them; `tell` hears of each as it ends. The report
/// is of all of them together.
pub fn run_windows(
    options: &Options,
    lengths: impl Iterator<Item = Duration>,
    mut tell: impl FnMut(&Window),
) -> Result<Report, ReplayError> {
    let mut seen = Seen::default();
    capture::read(&options.capture, |frame| seen.look(&frame.bytes))?;
    let flows = match &options.sessions {
        Some(path) => sessions::read(path)?,
        None => seen.flows(options.convert),
    };
    let ground = Ground::of(&flows)?;
    let (_, verdicts) = seen.lap.verdicts();
    let parts = Parts::split(&options.capture, options.cpus.len())?;

    let capacity = flows.len() + flows.len() / 8 + SPARE_ENTRIES;
    let sizes = FlowTable::sizes(&ground.addresses, ground.low, ground.high, capacity);
    let table_bytes = sizes.bytes() as u64;
    let bytes_at_0 = FlowTable::sizes(&[], ground.low, ground.high, SPARE_ENTRIES).bytes() as u64;

    let config = configuration(options, &parts, seen.packets, table_bytes)?;
    let Opened { workers, slow: _slow, ports, meters: _meters, launcher, .. } = dpdk::open(&config)?;
    let table = FlowTable::on(
        &ground.addresses,
        ground.low,
        ground.high,
        options.cpus.len(),
        sizes.try_map(|name, words| launcher.zone(name, words))?,
    );
    table.next_hops.set(NextHopId(1), Some(NextHop { port: PortId(0), mac: FAR_MAC }));
    let mut publisher = Publisher::new(table.clone());
    let provisioned = sessions::provision(&mut publisher, &flows, NextHopId(1))?;

    let facts = vec![PortFacts { mac: seen.mac(), mtu: ports[0].mtu, offloads: ports[0].tx_offloads }];
    let crew = Crew::start(workers, &launcher, &table, &facts)?;
    thread::sleep(WARM_UP);
    let mut window = Window::default();
    for length in lengths {
        let one = crew.window(length);
        tell(&one);
        window.add(&one);
    }
    let counters = crew.stop(&launcher)?;

    let sum = |read: &dyn Fn(&WorkerCounters) -> u64| counters.iter().map(read).sum::<u64>();
    let received = sum(&|c| c.count(0, PortCounter::RxPackets));
    let forwarded = sum(&|c| c.count(0, PortCounter::TxPackets));
    let drops: Vec<(String, u64)> = named(DropReason::ALL, |r| (r.label().to_owned(), sum(&|c| c.drop_count(0, r))));
    let punts: Vec<(String, u64)> = named(PuntClass::ALL, |p| (p.label().to_owned(), sum(&|c| c.punt_count(0, p))));
    let (dropped, punted) = (drops.iter().map(|d| d.1).sum(), punts.iter().map(|p| p.1).sum());
    if received == 0 {
        return Err(ReplayError::Nothing { seconds: options.seconds });
    }
    if received != forwarded + dropped + punted {
        return Err(ReplayError::Unaccounted { received, accounted: forwarded + dropped + punted });
    }
    let ticks = window.seconds * launcher.ticks_per_second() as f64 * options.cpus.len() as f64;
    Ok(Report {
        device: "net_pcap",
        kernel: Kernel::detect().name(),
        workers: options.cpus.len(),
        seconds: window.seconds,
        mpps: window.mpps(),
        gbps: window.bytes as f64 * 8.0 / window.seconds / 1e9,
        cycles_per_packet: ticks / window.packets.max(1) as f64,
        received,
        forwarded,
        transcoded: sum(&|c| c.count(0, PortCounter::Transcoded)),
        dropped,
        punted,
        drops,
        punts,
        flows: provisioned,
        packets: seen.packets,
        verdicts: verdicts.shares(),
        streams: streams(&publisher, &flows, sum(&|c| c.count(0, PortCounter::OffOwner))),
        memory: Memory {
            bytes: table_bytes,
            bytes_per_flow: (table_bytes - bytes_at_0) as f64 / provisioned.max(1) as f64,
        },
    })
}

/// Those that are not 0.
fn named<T: Copy>(all: &[T], count: impl Fn(T) -> (String, u64)) -> Vec<(String, u64)> {
    all.iter().map(|&one| count(one)).filter(|(_, n)| *n > 0).collect()
}

fn streams(publisher: &Publisher, flows: &[Flow], off_owner: u64) -> Streams {
    let table = publisher.table();
    let lines = flows.iter().filter(|f| !f.rtcp).filter_map(|f| {
        let key = publisher.key(f.local, crate::flow::FlowClass::Rtp)?;
        table.lookup(key).map(|entry| table.state(entry))
    });
    let mut streams = Streams { off_owner, ..Streams::default() };
    for line in lines {
        let state = StateLine::rtp(&line);
        streams.packets += u64::from(state.packets);
        streams.duplicate += u64::from(state.sequence.duplicate);
        streams.reordered += u64::from(state.sequence.reordered);
    }
    streams
}

/// The capture, a part for each worker: all packets of a flow go to one, as a device's hash would have it.
struct Parts {
    files: Vec<PathBuf>,
    folder: Option<PathBuf>,
}

impl Parts {
    fn split(capture: &Path, workers: usize) -> Result<Parts, ReplayError> {
        if workers <= 1 {
            return Ok(Parts { files: vec![capture.to_owned()], folder: None });
        }
        let folder = std::env::temp_dir().join(format!("tandem-replay-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|cause| ReplayError::File { path: folder.clone(), cause })?;
        let files: Vec<PathBuf> = (0..workers).map(|w| folder.join(format!("{w}.pcap"))).collect();
        let parts = Parts { files: files.clone(), folder: Some(folder) };
        let mut writers = files.iter().map(|f| Writer::create(f)).collect::<Result<Vec<_>, _>>()?;
        let mut result = Ok(());
        capture::read(capture, |frame| {
            let hash = sessions::dissect(&frame.bytes).map_or(0, |a| usize::from(a.local.port() / 2));
            if result.is_ok() {
                result = writers[hash % workers].write(frame.at, &frame.bytes);
            }
        })?;
        result?;
        writers.into_iter().try_for_each(Writer::close)?;
        Ok(parts)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // Nothing can be done about what cannot be removed from a folder for temporary files.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Every packet of the capture lies in a buffer of its own, beside those in flight.
fn configuration(options: &Options, parts: &Parts, packets: u64, table_bytes: u64) -> Result<Config, ReplayError> {
    let files: Vec<String> = parts.files.iter().map(|f| format!("rx_pcap={}", f.display())).collect();
    let mbufs = packets as u32 + 10_000 * (options.cpus.len() as u32 + 1);
    config_for(
        format!("net_pcap0,{},infinite_rx=1", files.join(",")),
        Cores { workers: options.cpus.clone(), slow: Some(options.main_cpu), pair: None, poll: Poll::Busy },
        Dpdk {
            hugepages: options.hugepages,
            memory_mb: Some(((u64::from(mbufs) * BUFFER_BYTES + table_bytes) >> 20) as u32 + 64),
            mbufs: Some(mbufs),
            eal_args: Vec::new(),
        },
    )
}

/// One port and nothing else.
pub(super) fn config_for(device: String, cores: Cores, dpdk: Dpdk) -> Result<Config, ReplayError> {
    let nothing = "port = []\naddress = []\n[media]\n[sip]\nlisten = []";
    let mut config: Config = toml::from_str(nothing).map_err(|e| ReplayError::Recipe(e.to_string()))?;
    (config.cores, config.dpdk) = (cores, dpdk);
    config.ports.push(config::Port {
        name: "replay".into(),
        device,
        device_args: String::new(),
        exception: String::new(),
        mtu: 1500,
        rx_descriptors: 1024,
        tx_descriptors: 1024,
        addresses: Vec::new(),
        routes: Vec::new(),
    });
    Ok(config)
}

/// The workers at work.
pub(super) struct Crew {
    counters: Vec<WorkerCounters>,
    running: Vec<Running>,
    stop: Arc<AtomicBool>,
}

/// What passed in a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    pub seconds: f64,
    pub packets: u64,
    pub bytes: u64,
}

impl Window {
    pub fn mpps(&self) -> f64 {
        self.packets as f64 / self.seconds / 1e6
    }

    fn add(&mut self, other: &Window) {
        self.seconds += other.seconds;
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl Crew {
    pub(super) fn start<Io: PacketIo + Send + 'static>(
        workers: Vec<Io>,
        launcher: &Launcher,
        table: &Arc<FlowTable>,
        facts: &[PortFacts],
    ) -> Result<Crew, ReplayError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut counters, mut running) = (Vec::new(), Vec::new());
        for (i, io) in (0u8..).zip(workers) {
            let own = WorkerCounters::new(io.ports());
            let shared = Shared {
                id: WorkerId(i),
                table: table.clone(),
                events: Arc::new(Events::new(64)),
                counters: own,
                kernel: Kernel::detect(),
                ports: facts.to_vec(),
                sip_ports: Vec::new(),
                floating: Floating::none(),
            };
            let stop = stop.clone();
            let job = Box::new(move || Worker::new(io, shared, &Punt::default(), Poll::Busy).run(&stop));
            running.push(launcher.launch(WorkerId(i), job)?);
            counters.push(own);
        }
        Ok(Crew { counters, running, stop })
    }

    pub(super) fn received(&self) -> (u64, u64) {
        let sum = |counter| self.counters.iter().map(|c| c.count(0, counter)).sum();
        (sum(PortCounter::RxPackets), sum(PortCounter::RxBytes))
    }

    pub(super) fn window(&self, length: Duration) -> Window {
        let (start, before) = (Instant::now(), self.received());
        thread::sleep(length);
        let (after, seconds) = (self.received(), start.elapsed().as_secs_f64());
        Window { seconds, packets: after.0 - before.0, bytes: after.1 - before.1 }
    }

    /// Ends the workers between two bursts; the counters are final then.
    pub(super) fn stop(self, launcher: &Launcher) -> Result<Vec<WorkerCounters>, ReplayError> {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.running {
            launcher.wait(worker)?;
        }
        Ok(self.counters)
    }
}
