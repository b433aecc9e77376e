//! From the configuration to what DPDK is asked for: lcores, memory, devices, buffers. Reads /sys and /proc at start.

use std::{collections::BTreeSet, path::Path};

use dpdk_sys::{DeviceInfo, EalArgs, LogLevel, Memory, Socket};

use crate::{
    config::{self, Config},
    host::{
        CpuSet,
        picture::Picture,
        plan::{
            memory::{Demand, Sizes},
            ports::pci_address,
        },
    },
    io::error::IoError,
};

pub(super) enum Device {
    /// Domain, bus, device, function.
    Pci(String),
    /// A virtual device with its arguments.
    Virtual(String),
}

impl Device {
    fn read(port: &config::Port) -> Device {
        let name = port.device.trim();
        match pci_address(name) {
            Some(address) => Device::Pci(address),
            None => Device::Virtual(with_arguments(name, &port.device_args)),
        }
    }

    pub(super) fn hint(&self) -> &'static str {
        match self {
            Device::Pci(_) => {
                "Is it bound to vfio-pci or igb_uio (dpdk-devbind.py --status), and is its driver installed \
                 (apt-get install librte-meta-net)?"
            }
            Device::Virtual(_) => {
                "Does the interface it names exist in this network namespace, is it up, may this process use it \
                 (CAP_NET_RAW, for net_af_xdp CAP_NET_ADMIN and CAP_BPF), and is the driver installed (apt-get install \
                 librte-meta-net)? DPDK's own words are on standard error"
            }
        }
    }
}

fn with_arguments(name: &str, arguments: &str) -> String {
    match arguments.trim() {
        "" => name.to_owned(),
        arguments => format!("{name},{arguments}"),
    }
}

/// Which CPU, node and device everything lands on.
pub(super) struct Layout {
    pub(super) devices: Vec<Device>,
    /// The node of each worker's pool; `None` without hugepages, where memory has no node.
    pub(super) worker_nodes: Vec<Socket>,
    pub(super) slow_node: Socket,
    /// Each node that needs a pool, once.
    pub(super) pool_nodes: Vec<Socket>,
    /// Nodes that anything at all runs on.
    memory_nodes: BTreeSet<u16>,
    pub(super) shared_cpus: bool,
    demand: Demand,
    pub(super) sizes: Sizes,
}

impl Layout {
    pub(super) fn read(config: &Config) -> Result<Layout, IoError> {
        check_cpus(config, CpuSet::allowed().ok().as_ref())?;
        let picture = Picture::read(Path::new("/")).unwrap_or_default();
        let devices: Vec<Device> = config.ports.iter().map(Device::read).collect();
        let node = |cpu: u16| config.dpdk.hugepages.then(|| picture.node_of(cpu).unwrap_or(0));
        let worker_nodes: Vec<Socket> = config.cores.workers.iter().map(|cpu| node(*cpu)).collect();
        let slow_node = node(config.cores.slow());
        let pool_nodes: BTreeSet<Socket> = worker_nodes.iter().copied().collect();
        let mut memory_nodes: BTreeSet<u16> = pool_nodes.iter().copied().flatten().collect();
        memory_nodes.extend(slow_node);
        for device in &devices {
            if let Device::Pci(address) = device {
                memory_nodes.extend(picture.function(address).and_then(|function| function.node));
            }
        }
        let mut cpus = BTreeSet::from([config.cores.slow()]);
        let shared_cpus = !config.cores.workers.iter().all(|cpu| cpus.insert(*cpu));
        let pool_nodes = pool_nodes.into_iter().collect();
        let demand = Demand::of(config);
        let sizes = demand.sizes(most_on_one_node(&worker_nodes));
        Ok(Layout { devices, worker_nodes, slow_node, pool_nodes, memory_nodes, shared_cpus, demand, sizes })
    }

    pub(super) fn workers(&self) -> u16 {
        self.worker_nodes.len() as u16
    }

    pub(super) fn eal_args(&self, config: &Config) -> EalArgs {
        let memory = if config.dpdk.hugepages {
            let nodes = self.memory_nodes.iter().next_back().map_or(1, |last| last + 1);
            let mb = |node| if self.memory_nodes.contains(&node) { self.sizes.memory_mb } else { 0 };
            Memory::Huge { per_node_mb: (0..nodes).map(mb).collect() }
        } else {
            Memory::Ordinary { mb: self.sizes.memory_mb }
        };
        let pci = config.ports.iter().zip(&self.devices).filter_map(|(port, device)| match device {
            Device::Pci(address) => Some(with_arguments(address, &port.device_args)),
            Device::Virtual(_) => None,
        });
        let workers = (1..).zip(config.cores.workers.iter().copied());
        EalArgs {
            memory,
            lcores: std::iter::once((0, config.cores.slow())).chain(workers).collect(),
            pci: pci.collect(),
            vdevs: Vec::new(),
            file_prefix: None,
            log_level: LogLevel::Warning,
            extra: config.dpdk.eal_args.clone(),
        }
    }

    /// Every buffer that queues, rings, caches and bursts can hold at once must be there, or a port starves. A pool is on
    /// one node: that with the most workers needs the most.
    pub(super) fn check_buffers(&self, af_xdp: bool) -> Result<(), IoError> {
        let needed = self.demand.buffers(most_on_one_node(&self.worker_nodes), af_xdp);
        if self.sizes.mbufs < needed {
            return Err(IoError::TooFewBuffers { found: self.sizes.mbufs, needed });
        }
        Ok(())
    }
}

fn most_on_one_node(worker_nodes: &[Socket]) -> u32 {
    let on = |node: &Socket| worker_nodes.iter().filter(|n| *n == node).count() as u32;
    worker_nodes.iter().map(on).max().unwrap_or(0)
}

pub(super) fn pool_name(node: Socket) -> String {
    node.map_or("packets".into(), |node| format!("packets{node}"))
}

pub(super) fn start_hint(config: &Config) -> &'static str {
    if config.dpdk.hugepages {
        "Are there enough free hugepages on each NUMA node in use (`tandem tune show`), and does dpdk.memory_mb ask for no \
         more? Laboratories set dpdk.hugepages = false. DPDK's own words are on standard error"
    } else {
        "Is there memory for dpdk.memory_mb, and does dpdk.eal_args hold only what this DPDK knows? DPDK's own words are \
         on standard error"
    }
}

/// One queue pair per worker, and no receive queue that nobody reads.
pub(super) fn check_queues(port: &config::Port, info: &DeviceInfo, workers: u16) -> Result<(), IoError> {
    for (direction, queues) in [("receive", info.max_rx_queues), ("transmit", info.max_tx_queues)] {
        if queues < workers {
            let (port, device) = (port.name.clone(), port.device.clone());
            return Err(IoError::TooFewQueues { port, device, direction, queues, workers });
        }
    }
    // net_af_packet opens all its sockets when it is made, and the kernel spreads packets over all of them.
    if info.driver == "net_af_packet" && info.max_rx_queues > workers {
        let (port, device, queues) = (port.name.clone(), port.device.clone(), info.max_rx_queues);
        return Err(IoError::UnreadQueues { port, device, queues, workers });
    }
    Ok(())
}

fn check_cpus(config: &Config, allowed: Option<&CpuSet>) -> Result<(), IoError> {
    if config.cores.workers.is_empty() {
        return Err(IoError::NoWorkers);
    }
    let Some(allowed) = allowed else { return Ok(()) };
    let slow = std::iter::once(("slow", config.cores.slow()));
    for (key, cpu) in slow.chain(config.cores.workers.iter().map(|cpu| ("workers", *cpu))) {
        if !allowed.contains(cpu) {
            return Err(IoError::Cpu { key, cpu, allowed: allowed.to_string() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(extra: &str) -> Config {
        let text = format!(
            r#"
            {extra}
            [[port]]
            name = "wan"
            device = "0000:00:06.0"
            device_args = "enable_llq=1"
            exception = "tan0"
            addresses = ["198.18.0.1/24"]
            [[port]]
            name = "lan"
            device = "net_af_packet0,iface=eth1"
            exception = "tan1"
            addresses = ["198.18.1.1/24"]
            [[address]]
            name = "m"
            port = "wan"
            local = "198.18.0.1"
            [media]
            [sip]
            listen = []
            "#
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn cpus_that_are_not_ours_are_named() {
        let config = config("[cores]\nworkers = [1, 9]\nslow = 0");
        let allowed = |list| CpuSet::parse(list).ok();
        let e = check_cpus(&config, allowed("0-3").as_ref()).err().map(|e| e.to_string());
        assert_eq!(
            e.as_deref(),
            Some(
                "cores.workers names CPU 9, but this process may run on CPUs 0-3: change the configuration or the affinity"
            )
        );
        assert!(check_cpus(&config, allowed("0-9").as_ref()).is_ok());
    }

    #[test]
    fn memory_is_asked_for_on_every_node_in_use() {
        let config = config("[cores]\nworkers = [2, 3]\n[dpdk]\nmemory_mb = 512");
        let layout = Layout {
            devices: config.ports.iter().map(Device::read).collect(),
            worker_nodes: vec![Some(1), Some(1)],
            slow_node: Some(0),
            pool_nodes: vec![Some(1)],
            memory_nodes: BTreeSet::from([0, 1, 3]),
            shared_cpus: false,
            demand: Demand::of(&config),
            sizes: Demand::of(&config).sizes(2),
        };
        let arguments = layout.eal_args(&config);
        assert_eq!(arguments.memory, Memory::Huge { per_node_mb: vec![512, 512, 0, 512] });
        assert_eq!(arguments.lcores, [(0, 0), (1, 2), (2, 3)]);
        // Virtual devices are made later, each with an error of its own.
        assert_eq!(arguments.pci, ["0000:00:06.0,enable_llq=1"]);
        assert!(arguments.vdevs.is_empty());
    }

    #[test]
    fn too_few_buffers_are_refused_with_the_number_that_would_do() {
        let config = config("[dpdk]\nmbufs = 1023");
        let layout = Layout {
            devices: Vec::new(),
            worker_nodes: vec![None],
            slow_node: None,
            pool_nodes: vec![None],
            memory_nodes: BTreeSet::new(),
            shared_cpus: false,
            demand: Demand::of(&config),
            sizes: Demand::of(&config).sizes(1),
        };
        let Err(IoError::TooFewBuffers { found: 1023, needed }) = layout.check_buffers(false) else {
            panic!("accepted")
        };
        // Two ports: 4096 descriptors of the worker's, 2048 of the slow path's; what else there is stands in `host::plan::memory`.
        assert_eq!(needed, 4096 + 4096 + 384 + 128 + 2048 + 2048 + 384 + 32);
    }
}
