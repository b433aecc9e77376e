//! Fills a picture from a folder that holds `/sys` and `/proc`, and `/etc`, `/lib` where they matter. Reads, never writes.

use std::{fs, io::Read, path::Path};

use super::{
    Cache, Cpu, HugepageMount, Hugepages, IdleState, Interrupt, Kernel, MemoryType, Node, OWN_FILES, Picture,
    PictureError, WANTED_MODULES, functions,
};
use crate::{base::limits::HOST_FILE_BYTES, host::CpuSet};

/// Idle states that wake within this are no worse than a cache miss or two.
const QUICK_WAKE_US: u32 = 1;
/// What the kernel says of a CPU that does not suffer from something.
const NOT_AFFECTED: &str = "Not affected";

/// A folder that files are read under.
pub(super) struct Tree<'a>(pub(super) &'a Path);

impl Tree<'_> {
    /// What stands in a file, without the newline at its end; None if it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        let file = fs::File::open(self.0.join(path)).ok()?;
        file.take(HOST_FILE_BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    pub(super) fn number<T: std::str::FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.trim().parse().ok()
    }

    pub(super) fn cpus(&self, path: &str) -> Option<CpuSet> {
        CpuSet::parse(&self.text(path)?).ok()
    }

    /// The names in a folder, sorted.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The last part of what a symbolic link points to.
    pub(super) fn link(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.0.join(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }
}

impl Picture {
    /// The machine whose root is `root`: `/`, or a folder that holds such a tree.
    pub fn read(root: &Path) -> Result<Picture, PictureError> {
        let tree = Tree(root);
        let cpus = cpus(&tree);
        if cpus.is_empty() {
            return Err(PictureError::NoCpus(root.display().to_string()));
        }
        let cpuinfo = tree.text("proc/cpuinfo").unwrap_or_default();
        let flags = cpuinfo_value(&cpuinfo, "flags").unwrap_or_default();
        let has_flag = |flag: &str| flags.split_whitespace().any(|word| word == flag);
        Ok(Picture {
            product: tree.text("sys/class/dmi/id/product_name").filter(|name| !name.is_empty()),
            cpu_model: cpuinfo_value(&cpuinfo, "model name").map(str::to_owned),
            virtual_machine: has_flag("hypervisor"),
            gigabyte_pages: has_flag("pdpe1gb"),
            nodes: nodes(&tree, &cpus),
            cpus,
            functions: functions::functions(&tree),
            management: functions::management(&tree),
            iommu: !tree.list("sys/kernel/iommu_groups").is_empty(),
            hugepage_mounts: hugepage_mounts(&tree),
            interrupts: interrupts(&tree),
            kernel: kernel(&tree),
            memory_types: tree.text("sys/kernel/debug/x86/pat_memtype_list").map(|text| memory_types(&text)),
            processes: processes(&tree),
            grub: tree.exists("etc/default/grub"),
            networkd: tree.exists("etc/systemd/network"),
            own_files: OWN_FILES
                .iter()
                .filter_map(|path| Some(((*path).to_owned(), tree.text(path.trim_start_matches('/'))?)))
                .collect(),
        })
    }
}

fn cpuinfo_value<'a>(cpuinfo: &'a str, key: &str) -> Option<&'a str> {
    let pairs = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    pairs.into_iter().find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}

fn cpus(tree: &Tree<'_>) -> Vec<Cpu> {
    let base = "sys/devices/system/cpu";
    let online = tree.cpus(&format!("{base}/online")).unwrap_or_default();
    let present = tree.cpus(&format!("{base}/present")).unwrap_or_else(|| online.clone());
    let one = |number: u16| {
        let folder = format!("{base}/cpu{number}");
        if !online.contains(number) {
            return Cpu { number, ..Cpu::default() };
        }
        let siblings = tree.cpus(&format!("{folder}/topology/thread_siblings_list")).unwrap_or_default();
        Cpu {
            number,
            online: true,
            socket: tree.number(&format!("{folder}/topology/physical_package_id")),
            core: tree.number(&format!("{folder}/topology/core_id")),
            siblings: if siblings.is_empty() { [number].into_iter().collect() } else { siblings.common(&online) },
            governor: tree.text(&format!("{folder}/cpufreq/scaling_governor")),
            slow_idle: slow_idle(tree, &folder),
            caches: caches(tree, &folder),
        }
    };
    present.iter().map(one).collect()
}

fn slow_idle(tree: &Tree<'_>, cpu: &str) -> Vec<IdleState> {
    let states = tree.list(&format!("{cpu}/cpuidle"));
    let one = |state: &String| {
        let folder = format!("{cpu}/cpuidle/{state}");
        let wake_us: u32 = tree.number(&format!("{folder}/latency"))?;
        let disabled = tree.text(&format!("{folder}/disable")).is_some_and(|text| text != "0");
        let name = tree.text(&format!("{folder}/name")).unwrap_or_else(|| state.clone());
        (wake_us > QUICK_WAKE_US && !disabled).then(|| IdleState { folder: state.clone(), name, wake_us })
    };
    states.iter().filter_map(one).collect()
}

fn caches(tree: &Tree<'_>, cpu: &str) -> Vec<Cache> {
    let indices = tree.list(&format!("{cpu}/cache"));
    let one = |index: &String| {
        let folder = format!("{cpu}/cache/{index}");
        Some(Cache {
            level: tree.number(&format!("{folder}/level"))?,
            kind: tree.text(&format!("{folder}/type"))?,
            size: tree.text(&format!("{folder}/size"))?,
            shared_by: tree.cpus(&format!("{folder}/shared_cpu_list"))?,
        })
    };
    indices.iter().filter_map(one).collect()
}

/// A kernel without NUMA tells no nodes: then all is node 0.
fn nodes(tree: &Tree<'_>, cpus: &[Cpu]) -> Vec<Node> {
    let base = "sys/devices/system/node";
    let mut numbers: Vec<u16> =
        tree.list(base).iter().filter_map(|name| name.strip_prefix("node")?.parse().ok()).collect();
    numbers.sort_unstable();
    if numbers.is_empty() {
        let meminfo = tree.text("proc/meminfo").unwrap_or_default();
        return vec![Node {
            number: 0,
            cpus: cpus.iter().map(|cpu| cpu.number).collect(),
            memory_kib: meminfo_total(&meminfo),
            hugepages: hugepages(tree, "sys/kernel/mm/hugepages"),
        }];
    }
    let one = |number: u16| {
        let folder = format!("{base}/node{number}");
        Node {
            number,
            cpus: tree.cpus(&format!("{folder}/cpulist")).unwrap_or_default(),
            memory_kib: meminfo_total(&tree.text(&format!("{folder}/meminfo")).unwrap_or_default()),
            hugepages: hugepages(tree, &format!("{folder}/hugepages")),
        }
    };
    numbers.into_iter().map(one).collect()
}

/// `MemTotal: 5373952 kB`, in a node's file behind `Node 0 `.
fn meminfo_total(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.split_once("MemTotal:"));
    line.and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn hugepages(tree: &Tree<'_>, folder: &str) -> Vec<Hugepages> {
    let one = |name: &String| {
        let page_kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        Some(Hugepages {
            page_kib,
            total: tree.number(&format!("{folder}/{name}/nr_hugepages"))?,
            free: tree.number(&format!("{folder}/{name}/free_hugepages"))?,
        })
    };
    let mut all: Vec<Hugepages> = tree.list(folder).iter().filter_map(one).collect();
    all.sort_by_key(|pages| pages.page_kib);
    all
}

/// `hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0`.
fn hugepage_mounts(tree: &Tree<'_>) -> Vec<HugepageMount> {
    let mounts = tree.text("proc/mounts").unwrap_or_default();
    let one = |line: &str| {
        let mut fields = line.split_whitespace();
        let (_, folder, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let size = options.split(',').find_map(|option| option.strip_prefix("pagesize="));
        let page_kib = match size {
            None => 2_048,
            Some(size) => match size.strip_suffix('G') {
                Some(gib) => gib.parse::<u64>().ok()? << 20,
                None => size.strip_suffix('M')?.parse::<u64>().ok()? << 10,
            },
        };
        (kind == "hugetlbfs").then(|| HugepageMount { folder: folder.to_owned(), page_kib })
    };
    mounts.lines().filter_map(one).collect()
}

fn interrupts(tree: &Tree<'_>) -> Vec<Interrupt> {
    let mut numbers: Vec<u32> = tree.list("proc/irq").iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    let senders = functions::senders(tree);
    let one = |number: u32| {
        let folder = format!("proc/irq/{number}");
        let users = tree.list(&folder).into_iter().filter(|name| tree.0.join(&folder).join(name).is_dir()).collect();
        let owner = senders.get(&number);
        Some(Interrupt {
            number,
            users,
            cpus: tree.cpus(&format!("{folder}/smp_affinity_list"))?,
            effective: tree.cpus(&format!("{folder}/effective_affinity_list")).unwrap_or_default(),
            function: owner.map(|(function, _)| function.clone()),
            storage: owner.is_some_and(|(_, storage)| *storage),
        })
    };
    numbers.into_iter().filter_map(one).collect()
}

fn kernel(tree: &Tree<'_>) -> Kernel {
    let release = tree.text("proc/sys/kernel/osrelease").unwrap_or_default();
    let vulnerabilities = "sys/devices/system/cpu/vulnerabilities";
    let mitigation = |name: &String| {
        let what = tree.text(&format!("{vulnerabilities}/{name}"))?;
        (what != NOT_AFFECTED).then(|| (name.clone(), what))
    };
    let thp = tree.text("sys/kernel/mm/transparent_hugepage/enabled");
    let loadable = tree.text(&format!("lib/modules/{release}/modules.dep")).unwrap_or_default();
    let wanted = |is: &dyn Fn(&str) -> bool| {
        WANTED_MODULES.iter().copied().filter(|name| is(name)).map(str::to_owned).collect::<Vec<_>>()
    };
    Kernel {
        arguments: tree.text("proc/cmdline").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        isolated: tree.cpus("sys/devices/system/cpu/isolated").unwrap_or_default(),
        // "(null)" where no CPU is.
        tickless: tree.cpus("sys/devices/system/cpu/nohz_full").unwrap_or_default(),
        transparent_hugepages: thp.and_then(|text| {
            let chosen = text.split_once('[')?.1.split_once(']')?.0.to_owned();
            Some(chosen)
        }),
        clock_source: tree.text("sys/devices/system/clocksource/clocksource0/current_clocksource"),
        mitigations: tree.list(vulnerabilities).iter().filter_map(mitigation).collect(),
        loaded: wanted(&|name| tree.exists(&format!("sys/module/{}", name.replace('-', "_")))),
        loadable: wanted(&|name| module_file(&loadable, name)),
        release,
    }
}

/// `kernel/drivers/vfio/pci/vfio-pci.ko.xz: …` names the module of that file; `-` and `_` are the same.
fn module_file(dependencies: &str, module: &str) -> bool {
    let plain = |name: &str| name.replace('-', "_");
    dependencies.lines().filter_map(|line| line.split_once(':')).any(|(path, _)| {
        let file = path.rsplit('/').next().unwrap_or(path);
        file.split_once(".ko").is_some_and(|(name, _)| plain(name) == plain(module))
    })
}

/// `PAT: [mem 0x00000000fe800000-0x00000000fe900000] write-combining`; kernels before 5.4 wrote the kind first:
/// `write-combining @ 0xfe800000-0xfe900000`. The second address is the one behind the last.
fn memory_types(text: &str) -> Vec<MemoryType> {
    let range = |text: &str| {
        let (first, end) = text.split_once('-')?;
        let hex = |text: &str| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok();
        Some((hex(first)?, hex(end)?))
    };
    let one = |line: &str| {
        let (kind, (first, end)) = match line.split_once("[mem ") {
            Some((_, rest)) => {
                let (addresses, kind) = rest.split_once(']')?;
                (kind, range(addresses)?)
            }
            None => {
                let (kind, addresses) = line.split_once('@')?;
                (kind, range(addresses)?)
            }
        };
        Some(MemoryType { first, end, kind: kind.trim().to_owned() })
    };
    text.lines().filter_map(one).collect()
}

/// Those of `irqbalance` and `tandem` that run, this process aside.
fn processes(tree: &Tree<'_>) -> Vec<String> {
    let own = std::process::id().to_string();
    let numbers = tree.list("proc").into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit()) && *name != own);
    let mut names: Vec<String> = numbers.filter_map(|number| tree.text(&format!("proc/{number}/comm"))).collect();
    names.retain(|name| ["irqbalance", "tandem"].contains(&name.as_str()));
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    // Both forms are printed by arch/x86/mm/pat/memtype.c, the older before Linux 5.4.
    #[test]
    fn memory_types_of_old_and_new_kernels() {
        let new = "PAT memtype list:\nPAT: [mem 0x00000000fe800000-0x00000000fe900000] write-combining\n";
        let old = "PAT memtype list:\nwrite-combining @ 0xfe800000-0xfe900000\n";
        let expected = [MemoryType { first: 0xfe80_0000, end: 0xfe90_0000, kind: "write-combining".into() }];
        assert_eq!(memory_types(new), expected);
        assert_eq!(memory_types(old), expected);
    }

    #[test]
    fn modules_are_known_by_their_files() {
        let dependencies = "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/vfio.ko.xz\n\
                            updates/dkms/igb_uio.ko: kernel/drivers/uio/uio.ko\n";
        assert!(module_file(dependencies, "vfio-pci") && module_file(dependencies, "igb_uio"));
        assert!(!module_file(dependencies, "uio_pci_generic") && !module_file(dependencies, "vfio"));
    }
}
