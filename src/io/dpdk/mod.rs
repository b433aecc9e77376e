//! Ports on DPDK: `open` starts the EAL, the pools, the ports and the rings, and deals out what each thread owns.
//!
//! `open` runs once, on the thread that becomes the slow path: it is the EAL's main lcore from then on, pinned to
//! `cores.slow`, and threads that it starts inherit that CPU. Worker `w` is lcore `w + 1`, pinned to `cores.workers[w]`;
//! it owns receive and transmit queue `w` of every port and meets the slow path only in rings.

mod meters;
mod plan;
mod slow;
mod worker;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

use dpdk_sys::{
    Consumer, Eal, Pool, PoolArgs, Port, PortArgs, Producer, RxQueue, Started, TxQueue, lcore, memzone, ring,
};

pub use self::{
    meters::{Level, Meters, PortMeter},
    slow::DpdkSlowIo,
    worker::DpdkIo,
};
use self::{
    plan::{Device, Layout},
    worker::WorkerPort,
};
use super::{TxOffloads, error::IoError};
use crate::{
    base::ids::{PortId, WorkerId},
    config::{self, Config},
    host::plan::memory::{BUFFER_BYTES, INJECT_RING, POOL_CACHE, PUNT_RING, pool_bytes},
};

/// The edge, open: what each thread takes with it.
pub struct Opened {
    /// One for each CPU in `cores.workers`, in that order, to be moved into its `launch`.
    pub workers: Vec<DpdkIo>,
    pub slow: DpdkSlowIo,
    /// In the order of the `[[port]]` tables.
    pub ports: Vec<PortFacts>,
    /// Counters and levels, for the thread that serves metrics.
    pub meters: Meters,
    pub launcher: Launcher,
    /// Where frames of our own can be laid: the first worker's.
    pub pool: Pool,
}

/// What a port turned out to be.
#[derive(Clone, Debug)]
pub struct PortFacts {
    pub id: PortId,
    pub name: String,
    pub driver: String,
    pub mac: [u8; 6],
    pub mtu: u16,
    pub rx_queues: u16,
    pub tx_queues: u16,
    pub rx_descriptors: u16,
    pub tx_descriptors: u16,
    pub tx_offloads: TxOffloads,
    /// The device checks IPv4 and UDP checksums on reception.
    pub rx_checksums: (bool, bool),
    /// The device spreads UDP flows over the workers.
    pub rss_udp: bool,
    pub tx_multi_segment: bool,
    /// The slow path sends through a queue of its own; else through a ring to worker 0.
    pub slow_queue: bool,
    /// Set when the device asks to be reset: it carries nothing any more.
    pub reset_wanted: Arc<AtomicBool>,
}

/// Starts workers, and hands out memory that they share.
#[derive(Clone, Copy, Debug)]
pub struct Launcher {
    eal: Eal,
    socket: dpdk_sys::Socket,
    memory_mb: u32,
}

/// A worker that was launched.
#[derive(Debug)]
pub struct Running {
    worker: WorkerId,
    job: lcore::Running,
}

impl Launcher {
    /// Runs `job` on the worker's CPU. Only on the thread that called `open`. A job that panics aborts the process.
    pub fn launch(&self, worker: WorkerId, job: Box<dyn FnOnce() + Send>) -> Result<Running, IoError> {
        let job = lcore::launch(&self.eal, u16::from(worker.0) + 1, job)
            .map_err(|e| IoError::Launch { worker: worker.0, cause: e.to_string() })?;
        Ok(Running { worker, job })
    }

    /// Waits until the job has returned. Only on the thread that called `open`.
    pub fn wait(&self, running: Running) -> Result<(), IoError> {
        let worker = running.worker.0;
        running.job.wait(&self.eal).map_err(|e| IoError::Launch { worker, cause: e.to_string() })
    }

    /// Zeroed words on hugepages near the workers, for the life of the process; aligned to a cache line. At start only.
    pub fn zone(&self, name: &str, words: usize) -> Result<&'static [AtomicU64], IoError> {
        memzone::reserve(&self.eal, name, words, self.socket).map_err(|e| IoError::Memory {
            what: format!("the table `{name}` of {} MiB (dpdk.memory_mb = {})", words / (1 << 17), self.memory_mb),
            cause: e.to_string(),
        })
    }

    pub fn ticks(&self) -> u64 {
        self.eal.ticks()
    }

    pub fn ticks_per_second(&self) -> u64 {
        self.eal.ticks_per_second()
    }
}

/// Opens every port of the configuration.
pub fn open(config: &Config) -> Result<Opened, IoError> {
    let layout = Layout::read(config)?;
    let eal = Eal::start(&layout.eal_args(config))
        .map_err(|e| IoError::Start { cause: e.to_string(), hint: plan::start_hint(config) })?;
    let found = find_devices(eal, config, &layout)?;
    layout.check_buffers(found.iter().any(|d| d.info.driver == "net_af_xdp"))?;
    let pools = make_pools(eal, config, &layout)?;
    let worker_pools: Vec<Pool> =
        layout.worker_nodes.iter().map(|node| pool_of(&pools, *node)).collect::<Result<_, _>>()?;

    let mut started = Vec::with_capacity(found.len());
    for device in found {
        started.push(start_port(device, &worker_pools)?);
    }
    deal_out(eal, config, &layout, started, &pools)
}

struct Found {
    config: config::Port,
    port: Port,
    info: dpdk_sys::DeviceInfo,
}

fn find_devices(eal: Eal, config: &Config, layout: &Layout) -> Result<Vec<Found>, IoError> {
    let workers = layout.workers();
    let mut found = Vec::with_capacity(config.ports.len());
    for (wanted, device) in config.ports.iter().zip(&layout.devices) {
        let refused = |e: dpdk_sys::Error| IoError::Device {
            port: wanted.name.clone(),
            device: wanted.device.clone(),
            cause: e.to_string(),
            hint: device.hint(),
        };
        let port = match device {
            Device::Pci(address) => Port::find(&eal, address),
            Device::Virtual(text) => Port::attach(&eal, text),
        }
        .map_err(refused)?;
        let info = port.info().map_err(refused)?;
        plan::check_queues(wanted, &info, workers)?;
        found.push(Found { config: wanted.clone(), port, info });
    }
    Ok(found)
}

fn make_pools(eal: Eal, config: &Config, layout: &Layout) -> Result<Vec<(dpdk_sys::Socket, Pool)>, IoError> {
    let mbufs = layout.sizes.mbufs;
    let mut pools = Vec::with_capacity(layout.pool_nodes.len());
    for node in &layout.pool_nodes {
        let name = plan::pool_name(*node);
        let pool = Pool::create(
            &eal,
            &PoolArgs {
                name: &name,
                count: mbufs,
                cache: POOL_CACHE,
                data_bytes: BUFFER_BYTES,
                socket: *node,
                shared_cpus: layout.shared_cpus,
            },
        )
        .map_err(|e| IoError::Pool {
            mbufs,
            cause: e.to_string(),
            needed_mb: pool_bytes(mbufs, config.dpdk.hugepages).div_ceil(1 << 20),
            memory_mb: layout.sizes.memory_mb,
        })?;
        tracing::info!(pool = name, node = shown(*node), buffers = mbufs, "packet buffers");
        pools.push((*node, pool));
    }
    Ok(pools)
}

/// The pool on `node`, else the first: the slow path may run on a node without workers.
fn pool_of(pools: &[(dpdk_sys::Socket, Pool)], node: dpdk_sys::Socket) -> Result<Pool, IoError> {
    let (_, pool) = pools.iter().find(|(on, _)| *on == node).or(pools.first()).ok_or(IoError::NoWorkers)?;
    Ok(*pool)
}

struct Ready {
    config: config::Port,
    info: dpdk_sys::DeviceInfo,
    started: Started,
    slow_queue: bool,
}

/// Starts a port with a queue pair for each worker and, where a redirection table can keep received packets away from
/// it, one more transmit queue for the slow path.
fn start_port(found: Found, pools: &[Pool]) -> Result<Ready, IoError> {
    let Found { config, port, info } = found;
    let workers = pools.len() as u16;
    let arguments = |slow_queue: bool| PortArgs {
        rx_pools: pools,
        tx_queues: workers + u16::from(slow_queue),
        rx_descriptors: config.rx_descriptors,
        tx_descriptors: config.tx_descriptors,
        mtu: config.mtu,
        program_reta: slow_queue,
    };
    let can_exclude = info.reta_size > 0 && info.rss_udp && info.max_tx_queues > workers;
    let attempt = match port.start(&arguments(can_exclude)) {
        Err((port, e)) if can_exclude => {
            tracing::warn!(port = config.name, "no queue for the slow path, worker 0 sends for it: {e}");
            port.start(&arguments(false)).map(|started| (started, false))
        }
        other => other.map(|started| (started, can_exclude)),
    };
    let (started, slow_queue) = attempt.map_err(|(_, e)| IoError::PortStart {
        port: config.name.clone(),
        device: config.device.clone(),
        cause: e.to_string(),
    })?;
    Ok(Ready { config, info, started, slow_queue })
}

/// Queues to their threads, rings between them.
fn deal_out(
    eal: Eal,
    config: &Config,
    layout: &Layout,
    ready: Vec<Ready>,
    pools: &[(dpdk_sys::Socket, Pool)],
) -> Result<Opened, IoError> {
    let mut worker_ports: Vec<Vec<WorkerPort>> = layout.worker_nodes.iter().map(|_| Vec::new()).collect();
    let mut slow_queues: Vec<Option<TxQueue>> = Vec::with_capacity(ready.len());
    let mut facts = Vec::with_capacity(ready.len());
    let mut meters = Meters::default();
    for (id, ready) in (0..).map(PortId).zip(ready) {
        let of_port = port_facts(id, &ready)?;
        meters.add_port(id, &ready.config.name, &ready.started.port);
        let mut tx = ready.started.tx.into_iter();
        let pairs: Vec<(RxQueue, TxQueue)> = ready.started.rx.into_iter().zip(&mut tx).collect();
        slow_queues.push(if ready.slow_queue { tx.next() } else { None });
        for (ports, (rx, tx)) in worker_ports.iter_mut().zip(pairs) {
            ports.push(WorkerPort::new(id, &of_port, rx, tx));
        }
        facts.push(of_port);
    }
    for (node, pool) in pools {
        meters.add_pool(plan::pool_name(*node), *pool);
    }

    let slow_pool = pool_of(pools, layout.slow_node)?;
    let (punters, punted) = punt_rings(eal, layout, &mut meters)?;
    let (injector, injected) = inject_ring(eal, layout, &slow_queues, &mut meters)?;
    let mut injected = injected.into_iter();
    let workers = worker_ports
        .into_iter()
        .zip(punters)
        .map(|(ports, punt)| DpdkIo::new(eal, ports, punt, injected.next()))
        .collect();
    let slow = DpdkSlowIo::new(eal, slow_pool, punted, slow_queues, injector, &facts);
    let node = layout.worker_nodes.first().copied().flatten();
    let launcher = Launcher { eal, socket: node, memory_mb: layout.sizes.memory_mb };
    let pool = pool_of(pools, node)?;
    tell_places(config, layout, &facts);
    Ok(Opened { workers, slow, ports: facts, meters, launcher, pool })
}

/// `any` where memory has no node.
fn shown(node: dpdk_sys::Socket) -> String {
    node.map_or_else(|| "any".to_owned(), |node| node.to_string())
}

/// Who runs where, and where what he reads and writes lies.
fn tell_places(config: &Config, layout: &Layout, facts: &[PortFacts]) {
    for (worker, (cpu, node)) in config.cores.workers.iter().zip(&layout.worker_nodes).enumerate() {
        tracing::info!(
            worker,
            cpu,
            node = shown(*node),
            queue = worker,
            ports = facts.len(),
            "worker with its queues and rings"
        );
    }
    tracing::info!(cpu = config.cores.slow(), node = shown(layout.slow_node), "slow path");
    let node = layout.worker_nodes.first().copied().flatten();
    tracing::info!(node = shown(node), sessions = config.media.max_sessions, "flow table");
}

fn port_facts(id: PortId, ready: &Ready) -> Result<PortFacts, IoError> {
    let (started, agreed) = (&ready.started, ready.started.facts);
    let mac = started.port.mac().map_err(|e| IoError::PortStart {
        port: ready.config.name.clone(),
        device: ready.config.device.clone(),
        cause: e.to_string(),
    })?;
    Ok(PortFacts {
        id,
        name: ready.config.name.clone(),
        driver: ready.info.driver.clone(),
        mac,
        mtu: agreed.mtu,
        rx_queues: started.rx.len() as u16,
        tx_queues: started.tx.len() as u16,
        rx_descriptors: agreed.rx_descriptors,
        tx_descriptors: agreed.tx_descriptors,
        tx_offloads: TxOffloads { ipv4_checksum: agreed.tx_ipv4_checksum, udp_checksum: agreed.tx_udp_checksum },
        rx_checksums: (agreed.rx_ipv4_checksum, agreed.rx_udp_checksum),
        rss_udp: agreed.rss_udp,
        tx_multi_segment: agreed.tx_multi_segment,
        slow_queue: ready.slow_queue,
        reset_wanted: started.port.reset_flag(),
    })
}

fn punt_rings(eal: Eal, layout: &Layout, meters: &mut Meters) -> Result<(Vec<Producer>, Vec<Consumer>), IoError> {
    let (mut producers, mut consumers) = (Vec::new(), Vec::new());
    for (worker, node) in layout.worker_nodes.iter().enumerate() {
        let (producer, consumer) = ring::single(&eal, &format!("punt{worker}"), PUNT_RING, *node)
            .map_err(|e| IoError::Memory { what: format!("worker {worker}'s punt ring"), cause: e.to_string() })?;
        meters.add_ring(format!("punt{worker}"), producer.level());
        producers.push(producer);
        consumers.push(consumer);
    }
    Ok((producers, consumers))
}

/// A ring to worker 0, if any port lacks a queue for the slow path.
fn inject_ring(
    eal: Eal,
    layout: &Layout,
    slow_queues: &[Option<TxQueue>],
    meters: &mut Meters,
) -> Result<(Option<Producer>, Option<Consumer>), IoError> {
    if slow_queues.iter().all(Option::is_some) {
        return Ok((None, None));
    }
    let node = layout.worker_nodes.first().copied().flatten();
    let (producer, consumer) = ring::single(&eal, "inject", INJECT_RING, node)
        .map_err(|e| IoError::Memory { what: "the inject ring".into(), cause: e.to_string() })?;
    meters.add_ring("inject".into(), producer.level());
    Ok((Some(producer), Some(consumer)))
}
