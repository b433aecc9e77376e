//! Lays the files of a machine that a `.machine` file describes (tests/fixtures/host/README.md), in a folder of its own that
//! goes away with the test; and hands that change such a machine as the kernel would.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use tandem::host::{CpuSet, picture::Picture, tune::carry::Hands};

const CPU: &str = "sys/devices/system/cpu";
const NODE: &str = "sys/devices/system/node";

pub struct Machine {
    pub root: PathBuf,
    /// Commands that were run, in their order.
    pub ran: Vec<String>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Machine {
    pub fn named(name: &str) -> Machine {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("tandem-machine-{}-{number}", std::process::id()));
        let machine = Machine { root, ran: Vec::new() };
        machine.lay(name);
        machine
    }

    pub fn picture(&self) -> Picture {
        Picture::read(&self.root).unwrap()
    }

    fn lay(&self, name: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/host/{name}.machine"));
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (what, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{name}: {line}"));
            match what {
                "include" => self.lay(rest),
                "cpus" => self.cpus(&pairs(rest)),
                "offline" => self.offline(&CpuSet::parse(rest).unwrap()),
                "flags" => self.put(
                    "proc/cpuinfo",
                    &format!("model name\t: Intel(R) Xeon(R) Platinum 8124M CPU @ 3.00GHz\nflags\t\t: {rest}"),
                ),
                "idle" => self.idle(rest),
                "governor" => {
                    self.online().iter().for_each(|cpu| self.put(&format!("{CPU}/cpu{cpu}/cpufreq/scaling_governor"), rest));
                }
                "port" => self.port(rest),
                "route" => self.put(
                    "proc/net/route",
                    &format!("Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n{rest}\t00000000\t0101010A\t0003\t0\t0\t100\t00000000"),
                ),
                "interrupt" => {
                    let [number, user, cpus] = rest.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
                    self.put(&format!("proc/irq/{number}/smp_affinity_list"), cpus);
                    fs::create_dir_all(self.root.join(format!("proc/irq/{number}/{user}"))).unwrap();
                }
                "process" => {
                    let (number, name) = rest.split_once(' ').unwrap();
                    self.put(&format!("proc/{number}/comm"), name);
                }
                "file" => {
                    let (path, text) = rest.split_once(" = ").unwrap_or_else(|| panic!("{name}: {line}"));
                    self.put(path, &text.replace("\\n", "\n"));
                }
                "remove" => {
                    let path = self.root.join(rest);
                    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
                }
                _ => panic!("{name}: {line}"),
            }
        }
    }

    pub fn put(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.root.join(path);
        let _ = fs::remove_file(&path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn online(&self) -> CpuSet {
        CpuSet::parse(&fs::read_to_string(self.root.join(format!("{CPU}/online"))).unwrap()).unwrap()
    }

    fn cpus(&self, of: &BTreeMap<&str, &str>) {
        let number = |key: &str| of[key].parse::<u16>().unwrap();
        let (sockets, cores, threads) = (number("sockets"), number("cores"), number("threads"));
        let all: CpuSet = (0..sockets * cores * threads).collect();
        for name in ["possible", "present", "online"] {
            self.put(&format!("{CPU}/{name}"), &all.to_string());
        }
        self.put(&format!("{CPU}/isolated"), "");
        self.put(&format!("{CPU}/nohz_full"), "(null)");
        for socket in 0..sockets {
            let mut here = CpuSet::default();
            for core in 0..cores {
                let siblings: CpuSet = (0..threads).map(|t| t * sockets * cores + socket * cores + core).collect();
                for cpu in siblings.iter() {
                    self.put(&format!("{CPU}/cpu{cpu}/topology/core_id"), &core.to_string());
                    self.put(&format!("{CPU}/cpu{cpu}/topology/physical_package_id"), &socket.to_string());
                    self.put(&format!("{CPU}/cpu{cpu}/topology/thread_siblings_list"), &siblings.to_string());
                }
                here.extend(&siblings);
            }
            let node = format!("{NODE}/node{socket}");
            self.put(&format!("{node}/cpulist"), &here.to_string());
            let kib = of["memory_mib"].parse::<u64>().unwrap() << 10;
            self.put(&format!("{node}/meminfo"), &format!("Node {socket} MemTotal:       {kib} kB"));
            for size in [2_048, 1_048_576] {
                self.put(&format!("{node}/hugepages/hugepages-{size}kB/nr_hugepages"), "0");
                self.put(&format!("{node}/hugepages/hugepages-{size}kB/free_hugepages"), "0");
            }
        }
    }

    /// The kernel forgets the topology of a CPU that is taken away, and takes it out of its siblings' lists.
    fn offline(&self, cpus: &CpuSet) {
        let online = self.online().less(cpus);
        self.put(&format!("{CPU}/online"), &online.to_string());
        cpus.iter().for_each(|cpu| fs::remove_dir_all(self.root.join(format!("{CPU}/cpu{cpu}/topology"))).unwrap());
        for cpu in online.iter() {
            let file = format!("{CPU}/cpu{cpu}/topology/thread_siblings_list");
            let siblings = CpuSet::parse(&fs::read_to_string(self.root.join(&file)).unwrap()).unwrap();
            self.put(&file, &siblings.less(cpus).to_string());
        }
        for node in fs::read_dir(self.root.join(NODE)).unwrap() {
            let file = format!("{NODE}/{}/cpulist", node.unwrap().file_name().to_str().unwrap());
            let here = CpuSet::parse(&fs::read_to_string(self.root.join(&file)).unwrap()).unwrap();
            self.put(&file, &here.less(cpus).to_string());
        }
    }

    fn idle(&self, states: &str) {
        for cpu in self.online().iter() {
            for (number, state) in states.split(' ').enumerate() {
                let (name, latency) = state.split_once('=').unwrap();
                let folder = format!("{CPU}/cpu{cpu}/cpuidle/state{number}");
                self.put(&format!("{folder}/name"), name);
                self.put(&format!("{folder}/latency"), latency);
                self.put(&format!("{folder}/disable"), "0");
            }
        }
    }

    fn port(&self, line: &str) {
        let (address, rest) = line.split_once(' ').unwrap();
        let of = pairs(rest);
        let folder = format!("sys/bus/pci/devices/{address}");
        self.put(&format!("{folder}/class"), "0x020000");
        for key in ["vendor", "device"] {
            self.put(&format!("{folder}/{key}"), of[key]);
        }
        self.put(&format!("{folder}/numa_node"), of["node"]);
        self.put(&format!("{folder}/driver_override"), "(null)");
        self.put(
            &format!("{folder}/resource"),
            "0x00000000febf4000 0x00000000febf7fff 0x0000000000040200\n0x00000000fe800000 0x00000000fe8fffff 0x0000000000042208",
        );
        self.link(&format!("{folder}/driver"), &format!("../../drivers/{}", of["driver"]));
        if let Some(group) = of.get("group") {
            self.link(&format!("{folder}/iommu_group"), &format!("../../../kernel/iommu_groups/{group}"));
        }
        // Where the kernel's driver is found again.
        self.put(&format!("sys/fixture/{address}/driver"), of["driver"]);
        self.put(&format!("sys/fixture/{address}/name"), of["name"]);
        self.put(&format!("sys/fixture/{address}/queues"), of["queues"]);
        self.interface(address);
    }

    fn fixture(&self, address: &str, what: &str) -> String {
        fs::read_to_string(self.root.join(format!("sys/fixture/{address}/{what}"))).unwrap().trim().to_owned()
    }

    fn interface(&self, address: &str) {
        let folder = format!("sys/bus/pci/devices/{address}/net/{}", self.fixture(address, "name"));
        self.put(&format!("{folder}/address"), "02:00:00:00:00:01");
        self.put(&format!("{folder}/mtu"), "1500");
        self.put(&format!("{folder}/operstate"), "up");
        for queue in 0..self.fixture(address, "queues").parse::<u32>().unwrap() {
            fs::create_dir_all(self.root.join(format!("{folder}/queues/rx-{queue}"))).unwrap();
        }
    }

    /// As after a start with the arguments that were written for GRUB.
    pub fn restart(&self) {
        let grub = fs::read_to_string(self.root.join("etc/default/grub.d/90-tandem.cfg")).unwrap();
        let line =
            grub.lines().find_map(|line| line.strip_prefix("GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX ")).unwrap();
        let arguments = line.trim_end_matches('"');
        let before = fs::read_to_string(self.root.join("proc/cmdline")).unwrap_or_default();
        self.put("proc/cmdline", &format!("{} {arguments}", before.trim()));
        for argument in arguments.split(' ') {
            match argument.split_once('=') {
                Some(("isolcpus", value)) => {
                    self.put(&format!("{CPU}/isolated"), value.trim_start_matches("managed_irq,domain,"));
                }
                Some(("nohz_full", value)) => self.put(&format!("{CPU}/nohz_full"), value),
                _ => {}
            }
        }
    }

    /// Every file with its text, every link with its target.
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&self.root).unwrap().display().to_string();
                if let Ok(target) = fs::read_link(&path) {
                    all.insert(name, target.display().to_string());
                } else if path.is_dir() {
                    folders.push(path);
                } else {
                    all.insert(name, fs::read_to_string(&path).unwrap().trim_end().to_owned());
                }
            }
        }
        all
    }

    fn unbind(&self, address: &str) {
        fs::remove_file(self.root.join(format!("sys/bus/pci/devices/{address}/driver"))).unwrap();
        let _ = fs::remove_dir_all(self.root.join(format!("sys/bus/pci/devices/{address}/net")));
    }

    fn probe(&self, address: &str) {
        let folder = format!("sys/bus/pci/devices/{address}");
        let wanted = fs::read_to_string(self.root.join(format!("{folder}/driver_override"))).unwrap();
        let own = self.fixture(address, "driver");
        let driver = if wanted.trim() == "(null)" { own.clone() } else { wanted.trim().to_owned() };
        self.link(&format!("{folder}/driver"), &format!("../../drivers/{driver}"));
        if driver == own {
            self.interface(address);
        }
    }
}

/// As the kernel takes what is written.
impl Hands for Machine {
    fn write(&mut self, path: &str, text: &str) -> io::Result<()> {
        let path = path.trim_start_matches('/');
        if path == "sys/bus/pci/drivers_probe" {
            self.probe(text);
        } else if let Some(device) = path.strip_suffix("/driver/unbind") {
            assert_eq!(device.rsplit('/').next(), Some(text));
            self.unbind(text);
        } else if path.ends_with("/driver_override") {
            self.put(path, if text == "\n" { "(null)" } else { text });
        } else if path == "sys/kernel/mm/transparent_hugepage/enabled" {
            let all = ["always", "madvise", "never"].map(|m| if m == text { format!("[{m}]") } else { m.to_owned() });
            self.put(path, &all.join(" "));
        } else if let Some(folder) = path.strip_suffix("/nr_hugepages") {
            self.put(path, text);
            self.put(&format!("{folder}/free_hugepages"), text);
        } else {
            // The kernel makes no files for who writes.
            assert!(path.starts_with("etc/") || self.root.join(path).exists(), "{path}");
            self.put(path, text.trim_end());
        }
        Ok(())
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(path.trim_start_matches('/')))
    }

    fn run(&mut self, program: &str, arguments: &[String]) -> io::Result<()> {
        let words = format!("{program} {}", arguments.join(" "));
        let mounts = fs::read_to_string(self.root.join("proc/mounts")).unwrap_or_default();
        match program {
            "mount" => {
                let [_, kind, _, options, _, folder] = arguments else { panic!("{words}") };
                // The kernel writes pages of 1 GiB as 1024M.
                self.put("proc/mounts", &format!("{mounts}{kind} {folder} {kind} rw,relatime,{options} 0 0"));
            }
            "umount" => {
                let left: Vec<&str> = mounts.lines().filter(|line| !line.contains(&arguments[0])).collect();
                self.put("proc/mounts", &left.join("\n"));
            }
            "systemctl" if words.contains("disable --now irqbalance") => {
                fs::remove_dir_all(self.root.join("proc/812"))?
            }
            "systemctl" if words.contains("enable --now irqbalance") => self.put("proc/812/comm", "irqbalance"),
            "modprobe" => fs::create_dir_all(self.root.join(format!("sys/module/{}", arguments[0].replace('-', "_"))))?,
            _ => {}
        }
        self.ran.push(words.trim_end().to_owned());
        Ok(())
    }
}

fn pairs(text: &str) -> BTreeMap<&str, &str> {
    text.split(' ').map(|pair| pair.split_once('=').unwrap_or_else(|| panic!("{pair}"))).collect()
}
