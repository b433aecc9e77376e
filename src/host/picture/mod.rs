//! What a machine is made of, as `/sys` and `/proc` tell it: CPUs and their siblings, NUMA nodes and hugepages, PCI network
//! functions and their drivers, how the kernel was started. Values only; `read` fills them from any folder that holds such
//! a tree, so that a test lays one.
//!
//! Read once by a short-lived command, and once by `tandem run` before anything is taken. What cannot be read is absent,
//! and what is absent is not judged.

mod functions;
mod read;

use std::collections::BTreeMap;

use serde::Serialize;

use super::CpuSet;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    #[error("{0} tells no CPUs: is it the root of a machine, with /sys and /proc mounted?")]
    NoCpus(String),
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Picture {
    /// What the firmware calls the machine: on EC2 the instance type.
    pub product: Option<String>,
    pub cpu_model: Option<String>,
    /// A hypervisor runs this machine.
    pub virtual_machine: bool,
    /// The CPUs have pages of 1 GiB.
    pub gigabyte_pages: bool,
    pub cpus: Vec<Cpu>,
    pub nodes: Vec<Node>,
    pub functions: Vec<Function>,
    /// Interfaces that may lead to whoever manages this machine: those of the default routes, and what these are built on.
    pub management: Vec<String>,
    /// The kernel has put devices behind an IOMMU.
    pub iommu: bool,
    pub hugepage_mounts: Vec<HugepageMount>,
    pub interrupts: Vec<Interrupt>,
    pub kernel: Kernel,
    /// Memory that is mapped in another way than usual; None where the kernel does not say (no debugfs, not root).
    pub memory_types: Option<Vec<MemoryType>>,
    /// Names of processes that matter here: `irqbalance`, `tandem`.
    pub processes: Vec<String>,
    /// The kernel's arguments are GRUB's, as Debian sets it up.
    pub grub: bool,
    /// systemd-networkd is there, and would ask DHCP for an address on any interface.
    pub networkd: bool,
    /// What stands in the files of `OWN_FILES` that are there.
    pub own_files: BTreeMap<String, String>,
}

/// A hardware thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cpu {
    pub number: u16,
    pub online: bool,
    /// Of an offline CPU the kernel tells neither.
    pub socket: Option<u16>,
    pub core: Option<u16>,
    /// The threads of its core that are online, itself among them.
    pub siblings: CpuSet,
    pub governor: Option<String>,
    /// Idle states that take longer than a microsecond to wake from, and are in use.
    pub slow_idle: Vec<IdleState>,
    pub caches: Vec<Cache>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IdleState {
    /// `state2` in the CPU's `cpuidle`.
    pub folder: String,
    pub name: String,
    pub wake_us: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cache {
    pub level: u8,
    /// `Data`, `Instruction`, `Unified`.
    pub kind: String,
    /// As the kernel writes it: `1024K`.
    pub size: String,
    pub shared_by: CpuSet,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Node {
    pub number: u16,
    pub cpus: CpuSet,
    pub memory_kib: u64,
    /// By page size.
    pub hugepages: Vec<Hugepages>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hugepages {
    pub page_kib: u64,
    pub total: u64,
    pub free: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HugepageMount {
    pub folder: String,
    pub page_kib: u64,
}

/// A PCI function of the network class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Function {
    /// `0000:00:06.0`.
    pub address: String,
    pub vendor: u16,
    pub device: u16,
    /// None: no driver has it.
    pub driver: Option<String>,
    /// None: the kernel does not know it (-1).
    pub node: Option<u16>,
    pub iommu_group: Option<String>,
    /// It is a virtual function of an SR-IOV device.
    pub virtual_function: bool,
    /// Absent where a driver for user space has the function.
    pub interface: Option<Interface>,
    /// Memory that the function answers to: first and last address, and whether the kernel calls it prefetchable.
    pub memory: Vec<(u64, u64, bool)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Interface {
    pub name: String,
    pub mac: String,
    pub mtu: Option<u32>,
    /// `up`, `down`, `unknown`.
    pub state: String,
    pub speed_mbps: Option<u32>,
    pub rx_queues: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Interrupt {
    pub number: u32,
    /// Who asked for it; empty if nobody does now.
    pub users: Vec<String>,
    /// Where it may arrive, and where of these it does; the latter is empty if the kernel does not say.
    pub cpus: CpuSet,
    pub effective: CpuSet,
    /// The PCI function that sends it as a message, and whether that is a disk's.
    pub function: Option<String>,
    pub storage: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kernel {
    pub release: String,
    pub arguments: Vec<String>,
    /// CPUs that the scheduler leaves alone, and those whose tick stops while one task runs.
    pub isolated: CpuSet,
    pub tickless: CpuSet,
    /// `always`, `madvise`, `never`.
    pub transparent_hugepages: Option<String>,
    pub clock_source: Option<String>,
    /// Against which the kernel does something: name, and what.
    pub mitigations: Vec<(String, String)>,
    /// Modules of `WANTED_MODULES` that are loaded or built in, and those that could be loaded.
    pub loaded: Vec<String>,
    pub loadable: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryType {
    pub first: u64,
    /// The address behind the last.
    pub end: u64,
    /// `write-combining`, `uncached-minus`, …
    pub kind: String,
}

/// Files that `tandem tune apply` writes to be in force after the next start.
pub const GRUB_FILE: &str = "/etc/default/grub.d/90-tandem.cfg";
pub const MODULES_FILE: &str = "/etc/modules-load.d/tandem.conf";
pub const MODULE_OPTIONS_FILE: &str = "/etc/modprobe.d/tandem.conf";
pub const UNIT_FILE: &str = "/etc/systemd/system/tandem.service.d/90-tune.conf";
/// Sorts before what netplan and the distribution bring.
pub const NETWORK_FILE: &str = "/etc/systemd/network/05-tandem.network";
pub const OWN_FILES: [&str; 5] = [GRUB_FILE, MODULES_FILE, MODULE_OPTIONS_FILE, UNIT_FILE, NETWORK_FILE];

/// Modules that bind a function to user space.
pub const WANTED_MODULES: [&str; 3] = ["vfio-pci", "igb_uio", "uio_pci_generic"];

impl Picture {
    pub fn cpu(&self, number: u16) -> Option<&Cpu> {
        self.cpus.iter().find(|cpu| cpu.number == number)
    }

    pub fn node(&self, number: u16) -> Option<&Node> {
        self.nodes.iter().find(|node| node.number == number)
    }

    pub fn node_of(&self, cpu: u16) -> Option<u16> {
        self.nodes.iter().find(|node| node.cpus.contains(cpu)).map(|node| node.number)
    }

    pub fn online(&self) -> CpuSet {
        self.cpus.iter().filter(|cpu| cpu.online).map(|cpu| cpu.number).collect()
    }

    pub fn offline(&self) -> CpuSet {
        self.cpus.iter().filter(|cpu| !cpu.online).map(|cpu| cpu.number).collect()
    }

    /// By PCI address, with or without its domain, or by the interface's name.
    pub fn function(&self, name: &str) -> Option<&Function> {
        let name = name.to_ascii_lowercase();
        self.functions.iter().find(|function| {
            function.address == name
                || function.address.strip_prefix("0000:") == Some(&name)
                || function.interface.as_ref().is_some_and(|interface| interface.name.eq_ignore_ascii_case(&name))
        })
    }

    /// It carries the way in.
    pub fn manages(&self, function: &Function) -> bool {
        function.interface.as_ref().is_some_and(|interface| self.management.contains(&interface.name))
    }

    pub fn runs(&self, process: &str) -> bool {
        self.processes.iter().any(|name| name == process)
    }

    /// The module can be used: it is there, or can be loaded.
    pub fn has_module(&self, name: &str) -> bool {
        let has = |modules: &[String]| modules.iter().any(|module| module == name);
        has(&self.kernel.loaded) || has(&self.kernel.loadable)
    }

    /// The value of the kernel's argument `name=value`; the last one holds, as for the kernel.
    pub fn argument(&self, name: &str) -> Option<&str> {
        let mut values = self.kernel.arguments.iter().filter_map(|argument| argument.split_once('='));
        values.rfind(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// How many threads of one core are online, at most.
    pub fn threads_per_core(&self) -> usize {
        self.cpus.iter().map(|cpu| cpu.siblings.len()).max().unwrap_or(1)
    }
}

impl Node {
    pub fn hugepages_of(&self, page_kib: u64) -> Option<Hugepages> {
        self.hugepages.iter().copied().find(|pages| pages.page_kib == page_kib)
    }
}

impl Function {
    /// Amazon's Elastic Network Adapter: its functions as the `ena` driver lists them.
    pub fn is_ena(&self) -> bool {
        self.vendor == 0x1d0f && matches!(self.device, 0x0ec2 | 0x1ec2 | 0xec20 | 0xec21)
    }

    /// NVIDIA's (Mellanox) cards, whose DPDK driver works beside the kernel's.
    pub fn is_mlx5(&self) -> bool {
        self.vendor == 0x15b3
    }

    /// A driver for user space has it.
    pub fn is_in_user_space(&self) -> bool {
        self.driver.as_ref().is_some_and(|driver| WANTED_MODULES.contains(&driver.as_str()))
    }

    /// `0000:00:06.0 (eth1)`.
    pub fn label(&self) -> String {
        match &self.interface {
            Some(interface) => format!("{} ({})", self.address, interface.name),
            None => self.address.clone(),
        }
    }
}
