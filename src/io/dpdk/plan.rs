//! From the configuration to what DPDK is asked for: lcores, memory, devices, buffers. Reads /sys and /proc at start.

use std::{collections::BTreeSet, fs, path::Path};

use dpdk_sys::{DeviceInfo, EalArgs, LogLevel, Memory, Pool, Socket};

use super::{INJECT_RING, PUNT_RING};
use crate::{
    base::limits::BURST,
    config::{self, Config},
    io::error::IoError,
};

/// Buffers that each lcore keeps for itself.
pub(super) const POOL_CACHE: u32 = 256;
/// Data in one buffer: an Ethernet frame of MTU 1500 fits, a jumbo frame takes several.
pub(super) const BUFFER_BYTES: u16 = 2048;
/// What net_af_xdp keeps in its fill ring besides the descriptors (two times its default ring).
const AF_XDP_FILL: u32 = 4096;

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

/// `0000:00:06.0` or `00:06.0`, in DPDK's spelling.
fn pci_address(text: &str) -> Option<String> {
    let hex = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_hexdigit());
    let (front, function) = text.rsplit_once('.')?;
    let parts: Vec<&str> = front.split(':').collect();
    let (domain, bus, device) = match parts[..] {
        [domain, bus, device] => (domain, bus, device),
        [bus, device] => ("0000", bus, device),
        _ => return None,
    };
    let valid = hex(domain, 4) && hex(bus, 2) && hex(device, 2) && hex(function, 1);
    valid.then(|| format!("{domain}:{bus}:{device}.{function}").to_ascii_lowercase())
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
}

impl Layout {
    pub(super) fn read(config: &Config) -> Result<Layout, IoError> {
        check_cpus(config, &allowed_cpus())?;
        let sys = Path::new("/sys");
        let devices: Vec<Device> = config.ports.iter().map(Device::read).collect();
        let node = |cpu: u16| config.dpdk.hugepages.then(|| cpu_node(sys, cpu));
        let worker_nodes: Vec<Socket> = config.cores.workers.iter().map(|cpu| node(*cpu)).collect();
        let slow_node = node(config.cores.slow);
        let pool_nodes: BTreeSet<Socket> = worker_nodes.iter().copied().collect();
        let mut memory_nodes: BTreeSet<u16> = pool_nodes.iter().copied().flatten().collect();
        memory_nodes.extend(slow_node);
        for device in &devices {
            if let Device::Pci(address) = device {
                memory_nodes.extend(pci_node(sys, address));
            }
        }
        let mut cpus = BTreeSet::from([config.cores.slow]);
        let shared_cpus = !config.cores.workers.iter().all(|cpu| cpus.insert(*cpu));
        let pool_nodes = pool_nodes.into_iter().collect();
        Ok(Layout { devices, worker_nodes, slow_node, pool_nodes, memory_nodes, shared_cpus })
    }

    pub(super) fn workers(&self) -> u16 {
        self.worker_nodes.len() as u16
    }

    pub(super) fn eal_args(&self, config: &Config) -> EalArgs {
        let memory = if config.dpdk.hugepages {
            let nodes = self.memory_nodes.iter().next_back().map_or(1, |last| last + 1);
            let mb = |node| if self.memory_nodes.contains(&node) { config.dpdk.memory_mb } else { 0 };
            Memory::Huge { per_node_mb: (0..nodes).map(mb).collect() }
        } else {
            Memory::Ordinary { mb: config.dpdk.memory_mb }
        };
        let pci = config.ports.iter().zip(&self.devices).filter_map(|(port, device)| match device {
            Device::Pci(address) => Some(with_arguments(address, &port.device_args)),
            Device::Virtual(_) => None,
        });
        let workers = (1..).zip(config.cores.workers.iter().copied());
        EalArgs {
            memory,
            lcores: std::iter::once((0, config.cores.slow)).chain(workers).collect(),
            pci: pci.collect(),
            vdevs: Vec::new(),
            file_prefix: None,
            log_level: LogLevel::Warning,
            extra: config.dpdk.eal_args.clone(),
        }
    }

    /// Every buffer that queues, rings, caches and bursts can hold at once must be there, or a port starves.
    pub(super) fn check_buffers(&self, config: &Config, af_xdp: bool) -> Result<(), IoError> {
        let needed = self.buffers_needed(config, af_xdp);
        if config.dpdk.mbufs < needed {
            return Err(IoError::TooFewBuffers { found: config.dpdk.mbufs, needed });
        }
        Ok(())
    }

    /// For the node with the most workers.
    fn buffers_needed(&self, config: &Config, af_xdp: bool) -> u32 {
        let on = |node: &Socket| self.worker_nodes.iter().filter(|n| *n == node).count() as u32;
        let workers = self.pool_nodes.iter().map(on).max().unwrap_or(0);
        let per_port = config.ports.iter().map(|p| {
            let pair = u32::from(p.rx_descriptors) + u32::from(p.tx_descriptors);
            pair + if af_xdp { AF_XDP_FILL } else { 0 }
        });
        // DPDK lets a cache grow to half as much again before it flushes.
        let per_worker = per_port.sum::<u32>() + PUNT_RING + POOL_CACHE * 3 / 2 + 4 * BURST as u32;
        let slow = config.ports.iter().map(|p| u32::from(p.tx_descriptors)).sum::<u32>()
            + INJECT_RING
            + POOL_CACHE * 3 / 2
            + BURST as u32;
        workers * per_worker + slow
    }
}

pub(super) fn pool_name(node: Socket) -> String {
    node.map_or("packets".into(), |node| format!("packets{node}"))
}

/// About what a pool takes. On ordinary memory DPDK lets no buffer cross a page, so each takes one of 4 KiB; on
/// hugepages it is header, headroom, data, and the pool's own word.
pub(super) fn pool_mb(mbufs: u32, hugepages: bool) -> u64 {
    let packed = 128 + u64::from(Pool::HEADROOM_BYTES) + u64::from(BUFFER_BYTES) + 128;
    let each = if hugepages { packed } else { 4096 };
    (u64::from(mbufs) * each).div_ceil(1 << 20)
}

pub(super) fn start_hint(config: &Config) -> &'static str {
    if config.dpdk.hugepages {
        "Are there enough free hugepages on each NUMA node in use (/sys/devices/system/node/node*/hugepages), and does \
         dpdk.memory_mb ask for no more? Laboratories set dpdk.hugepages = false. DPDK's own words are on standard error"
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

/// `Cpus_allowed_list` of this process: "0-3,8".
fn allowed_cpus() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap_or_default().trim().to_owned()
}

fn check_cpus(config: &Config, allowed: &str) -> Result<(), IoError> {
    if config.cores.workers.is_empty() {
        return Err(IoError::NoWorkers);
    }
    let slow = std::iter::once(("slow", config.cores.slow));
    for (key, cpu) in slow.chain(config.cores.workers.iter().map(|cpu| ("workers", *cpu))) {
        if !allowed.is_empty() && !in_list(allowed, cpu) {
            return Err(IoError::Cpu { key, cpu, allowed: allowed.to_owned() });
        }
    }
    Ok(())
}

fn in_list(list: &str, cpu: u16) -> bool {
    list.split(',').any(|part| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        matches!((low.trim().parse::<u16>(), high.trim().parse::<u16>()), (Ok(l), Ok(h)) if (l..=h).contains(&cpu))
    })
}

fn cpu_node(sys: &Path, cpu: u16) -> u16 {
    let folder = sys.join(format!("devices/system/cpu/cpu{cpu}"));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.strip_prefix("node")?.parse().ok()).next().unwrap_or(0)
}

/// `None` where the device has no node (the kernel says -1).
fn pci_node(sys: &Path, address: &str) -> Option<u16> {
    fs::read_to_string(sys.join(format!("bus/pci/devices/{address}/numa_node"))).ok()?.trim().parse().ok()
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
    fn pci_addresses_are_told_from_virtual_devices() {
        assert_eq!(pci_address("0000:00:06.0").as_deref(), Some("0000:00:06.0"));
        assert_eq!(pci_address("00:1F.7").as_deref(), Some("0000:00:1f.7"));
        assert_eq!(pci_address("net_af_packet0,iface=eth0.100"), None);
        assert_eq!(pci_address("net_pcap0,rx_pcap=a:b:c.d"), None);
    }

    #[test]
    fn lists_of_cpus_are_read_as_the_kernel_writes_them() {
        assert!(in_list("0-3,8", 3) && in_list("0-3,8", 8) && in_list("5", 5));
        assert!(!in_list("0-3,8", 4) && !in_list("", 0) && !in_list("0-3,8", 80));
    }

    #[test]
    fn cpus_that_are_not_ours_are_named() {
        let config = config("[cores]\nworkers = [1, 9]\nslow = 0");
        let e = check_cpus(&config, "0-3").err().map(|e| e.to_string());
        assert_eq!(
            e.as_deref(),
            Some(
                "cores.workers names CPU 9, but this process may run on CPUs 0-3: change the configuration or the affinity"
            )
        );
        assert!(check_cpus(&config, "0-9").is_ok());
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
        };
        let Err(IoError::TooFewBuffers { found: 1023, needed }) = layout.check_buffers(&config, false) else {
            panic!("accepted")
        };
        // Two ports of 1024 + 1024 descriptors alone are 4096.
        assert!(needed > 4096 + PUNT_RING, "{needed}");
        assert!(layout.buffers_needed(&config, true) > needed);
    }
}
