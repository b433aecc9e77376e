//! The appliance under test: its configuration, its life, and what it says about itself. Main thread.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    cloud::Seat,
    net::http_get,
    process::{Running, command_in, run},
    sys,
    topology::{self, Between, Topology},
};

/// The virtual device that a port is driven through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    AfPacket,
    AfXdp,
}

impl Device {
    pub const fn name(self) -> &'static str {
        match self {
            Device::AfPacket => "af_packet",
            Device::AfXdp => "af_xdp",
        }
    }

    /// DPDK's device string. The ring of af_packet is large because its drops are not reported, and two pollers on one
    /// core lose slices of up to 16 ms each.
    pub fn vdev(self, index: usize, queues: usize) -> String {
        match self {
            Device::AfPacket => {
                format!("net_af_packet{index},iface=p{index},qpairs={queues},blocksz=4096,framesz=2048,framecnt=16384")
            }
            Device::AfXdp => format!("net_af_xdp{index},iface=p{index},start_queue=0,queue_count=1"),
        }
    }
}

/// The laboratory's pair has no secrets.
const PAIR_KEY: &str = "not a secret: the key of the laboratory's pair\n";

/// Readable to its owner alone, as the appliance wants it.
fn write_key(path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(PAIR_KEY.as_bytes())?)
}

/// Where heartbeats go.
pub const HEARTBEAT_PORT: u16 = 5091;

/// What the two nodes of a pair are called.
pub const NODES: [&str; 2] = ["node-a", "node-b"];

/// What differs from scenario to scenario in the appliance's configuration.
#[derive(Clone, Debug)]
pub struct Setup {
    pub device: Device,
    pub workers: usize,
    /// `SIGTERM` waits this long for calls in progress.
    pub drain_s: u64,
    pub media_timeout_s: u32,
    pub window_ms: u32,
    pub ring_s: u32,
    pub no_reply_ms: u32,
    pub callee_codecs: &'static str,
    /// How the caller's and the callee's trunks write numbers: `[trunk.numbers]` as an inline table.
    pub numbers: [&'static str; 2],
    pub destinations: Vec<String>,
    pub log: &'static str,
    /// `adaptive` where others need the core too.
    pub poll: &'static str,
    /// Receive and transmit descriptors of each port.
    pub descriptors: u16,
    /// Lowest and highest media port. A freed one rests 10 s: short calls in quantity need many.
    pub media_ports: (u16, u16),
    pub max_sessions: u32,
    /// Further keys of `[sip]`, and of the caller's and the callee's IPv4 trunk, each on a line.
    pub sip_keys: &'static str,
    pub trunk_keys: [String; 2],
    /// Of a pair: `[ha]` without what names the other node, and `[[ha.path]]` as they should be.
    pub pair_keys: &'static str,
    /// Of a pair whose addresses a cloud moves.
    pub cloud: Option<Seat>,
    /// Tables of a scenario's own, behind the others. `{room}` stands for the scenario's folder, here and above.
    pub extra: String,
}

impl Setup {
    pub fn new(device: Device) -> Self {
        Setup {
            device,
            workers: 1,
            drain_s: 2,
            media_timeout_s: 60,
            window_ms: 3_000,
            ring_s: 60,
            no_reply_ms: 4_000,
            callee_codecs: r#"["PCMA", "PCMU"]"#,
            numbers: ["{}", "{}"],
            destinations: vec![topology::sip_uri(topology::CALLEE, false)],
            log: "info",
            poll: "adaptive",
            descriptors: 1024,
            media_ports: (20_000, 27_999),
            max_sessions: 2_000,
            sip_keys: "",
            trunk_keys: Default::default(),
            pair_keys: "provider = \"garp\"",
            cloud: None,
            extra: String::new(),
        }
    }

    /// The configuration file; `node`: of a pair's first (0) or second (1) node. One worker has CPU 1, two have 0 and 1; the slow path has 0, or 2 where there is one.
    fn toml(&self, ground: &Topology, room: &Path, node: Option<usize>) -> String {
        let many = std::thread::available_parallelism().is_ok_and(|n| n.get() > 2);
        let slow = if self.workers > 1 && many { 2 } else { 0 };
        let workers = if self.workers > 1 { "[1, 0]" } else { "[1]" };
        let mut toml = String::new();
        let _ = write!(
            toml,
            "[node]\nname = \"{}\"\ndrain_s = {}\n\n\
             [dpdk]\nhugepages = false\nmemory_mb = 512\nmbufs = 32767\n\n\
             [cores]\nworkers = {workers}\nslow = {slow}\npoll = \"{}\"\n",
            node.map_or("lab", |node| NODES[node]),
            self.drain_s,
            self.poll
        );
        for (index, v4, net) in [(0, ground.tandem_address(), 1), (1, topology::TANDEM_B, 2)] {
            let (own, own6) = match node {
                None => (v4.to_string(), "10".to_owned()),
                Some(node) => {
                    let host = self.cloud.as_ref().map_or(topology::HOSTS[node], |cloud| cloud.way.host(node));
                    (format!("198.18.{net}.{host}"), host.to_string())
                }
            };
            let prefix = self.cloud.as_ref().map_or(24, |cloud| cloud.way.prefix());
            let _ = write!(
                toml,
                "\n[[port]]\nname = \"port{index}\"\ndevice = \"{}\"\nexception = \"tandem{index}\"\n\
                 addresses = [\"{own}/{prefix}\", \"2001:db8:{net}::{own6}/64\"]\n\
                 rx_descriptors = {ring}\ntx_descriptors = {ring}\n",
                self.device.vdev(index, self.workers),
                ring = self.descriptors
            );
            if index == 0 && ground.between == Between::TandemBehindNat {
                let via = topology::INSIDE_ROUTER;
                let _ = writeln!(toml, "routes = [{{ to = \"198.18.1.0/24\", via = \"{via}\" }}]");
            }
        }
        self.addresses(&mut toml, ground, node);
        let _ = write!(
            toml,
            "\n[media]\nports = {{ low = {}, high = {} }}\ntimeout_s = {}\nlatching = {{ window_ms = {} }}\n\
             max_sessions = {}\n\n[sip]\nmax_calls = 2000\nring_s = {}\n{}\n",
            self.media_ports.0,
            self.media_ports.1,
            self.media_timeout_s,
            self.window_ms,
            self.max_sessions,
            self.ring_s,
            self.sip_keys
        );
        for name in self.families().iter().flat_map(|family| [format!("a{family}"), format!("b{family}")]) {
            let _ = write!(toml, "\n[[sip.listen]]\naddress = \"{name}\"\n");
        }
        self.trunks(&mut toml);
        if let Some(node) = node {
            toml.push_str(&self.pair(node));
        }
        toml.push_str(&self.extra);
        toml = toml.replace("{room}", &room.to_string_lossy());
        let _ = write!(
            toml,
            "\n[cdr]\nfile = \"{room}/cdr.jsonl\"\n\n[metrics]\nlisten = \"127.0.0.1:9464\"\n\n\
             [admin]\nsocket = \"{room}/admin.sock\"\n\n[log]\nlevel = \"{}\"\n",
            self.log,
            room = room.display()
        );
        toml
    }

    /// No EC2 call moves an IPv6 address between interfaces: a cloud's pair has none.
    fn families(&self) -> &'static [u8] {
        if self.cloud.is_some() { &[4] } else { &[4, 6] }
    }

    /// `[[address]]`: what tandem speaks from.
    fn addresses(&self, toml: &mut String, ground: &Topology, node: Option<usize>) {
        if let (Some(cloud), Some(node)) = (&self.cloud, node) {
            toml.push_str(&cloud.way.addresses(node));
            return;
        }
        let a = ground.tandem_address();
        let floating = if node.is_some() { "floating = true\n" } else { "" };
        let _ = write!(toml, "\n[[address]]\nname = \"a4\"\nport = \"port0\"\nlocal = \"{a}\"\n{floating}");
        if ground.between == Between::TandemBehindNat {
            let _ = writeln!(toml, "advertise = \"{}\"", topology::TANDEM_A);
        }
        for (name, port, local) in
            [("a6", 0, topology::TANDEM_A6), ("b4", 1, topology::TANDEM_B), ("b6", 1, topology::TANDEM_B6)]
        {
            let _ = write!(
                toml,
                "\n[[address]]\nname = \"{name}\"\nport = \"port{port}\"\nlocal = \"{local}\"\n{floating}"
            );
        }
    }

    /// `[ha]` of one node.
    fn pair(&self, node: usize) -> String {
        let (here, there) = (node + 1, 2 - node);
        let at = |[a, b, c]: [u8; 3], host: usize, port: u16| format!("\"{a}.{b}.{c}.{host}:{port}\"");
        let first = topology::HEARTBEATS[0];
        let mut toml = format!(
            "\n[ha]\npeer = \"{}\"\nkey_file = \"{{room}}/../pair.key\"\nstate = \"{{room}}/ha.json\"\n\
             replication = {{ local = {}, peer = {} }}\n{}\n",
            NODES[1 - node],
            at(first, here, 5090),
            at(first, there, 5090),
            self.pair_keys
        );
        for network in topology::HEARTBEATS {
            let (local, peer) = (at(network, here, HEARTBEAT_PORT), at(network, there, HEARTBEAT_PORT));
            let _ = write!(toml, "\n[[ha.path]]\nlocal = {local}\npeer = {peer}\n");
        }
        if let Some(cloud) = &self.cloud {
            toml.push_str(&cloud.tables[node]);
        }
        toml
    }

    /// One trunk per side and family: "callee" for IPv4 destinations, "callee6" for the number prefix 6.
    fn trunks(&self, toml: &mut String) {
        let list = |uris: &[String]| uris.iter().map(|uri| format!("{uri:?}")).collect::<Vec<_>>().join(", ");
        let callee6 = [topology::sip_uri(topology::CALLEE6, false)];
        for (name, from, address, destinations) in [
            ("caller", "\"198.18.1.20/32\"", "a4", String::new()),
            ("caller6", "\"2001:db8:1::/64\"", "a6", String::new()),
            ("callee", "\"198.18.2.0/24\"", "b4", list(&self.destinations)),
            ("callee6", "\"2001:db8:2::/64\"", "b6", list(&callee6)),
        ]
        .into_iter()
        .filter(|(name, ..)| !name.ends_with('6') || self.families().contains(&6))
        {
            let codecs = if name.starts_with("callee") { self.callee_codecs } else { r#"["PCMU", "PCMA"]"# };
            let side = usize::from(name.starts_with("callee"));
            let keys = if name.ends_with('6') { "" } else { &self.trunk_keys[side] };
            let numbers = self.numbers[side];
            let _ = write!(
                toml,
                "\n[[trunk]]\nname = \"{name}\"\nfrom = [{from}]\naddress = \"{address}\"\ncodecs = {codecs}\n\
                 destinations = [{destinations}]\nno_reply_ms = {}\nnumbers = {numbers}\n{keys}\n",
                self.no_reply_ms
            );
        }
        toml.push_str("\n[[route]]\nprefix = \"7\"\nto = [\"callee\"]\n");
        if self.families().contains(&6) {
            toml.push_str("\n[[route]]\nprefix = \"6\"\nto = [\"callee6\"]\n");
        }
    }
}

/// Processor time of one thread.
#[derive(Clone, Debug)]
pub struct ThreadTime {
    pub name: String,
    pub busy: Duration,
}

/// One value of `/metrics`: its name with labels, and the number.
pub type Samples = Vec<(String, f64)>;

/// What rose between two looks at a family, by reason, summed over ports and workers. What was counted while the
/// appliance started is left out: until an af_packet socket is bound it also hears other interfaces.
pub fn risen(before: &Samples, after: &Samples, family: &str) -> BTreeMap<String, u64> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for (samples, sign) in [(before, -1.0), (after, 1.0)] {
        for (name, value) in samples.iter().filter(|(name, _)| name.split('{').next() == Some(family)) {
            let reason = name.split_once("reason=\"").and_then(|(_, rest)| rest.split('"').next());
            *sums.entry(reason.unwrap_or("").to_owned()).or_default() += sign * value;
        }
    }
    sums.into_iter().filter(|(_, sum)| *sum != 0.0).map(|(reason, sum)| (reason, sum as u64)).collect()
}

pub const DROPPED: &str = "tandem_dropped_packets_total";
pub const PUNTED: &str = "tandem_punted_packets_total";

pub struct Appliance {
    pub process: Running,
    binary: PathBuf,
    namespace: String,
    socket: PathBuf,
    room: PathBuf,
}

impl Appliance {
    pub fn start(binary: &Path, setup: &Setup, ground: &Topology, room: &Path) -> Result<Self> {
        Appliance::start_with(binary, &setup.toml(ground, room, None), &ground.tandem.name, room)
    }

    /// One node of a pair, its files in a folder of its own; it keeps those that a predecessor left.
    pub fn start_node(binary: &Path, setup: &Setup, ground: &Topology, room: &Path, node: usize) -> Result<Self> {
        let own = room.join(NODES[node]);
        std::fs::create_dir_all(&own)?;
        write_key(&room.join("pair.key"))?;
        let namespace = if node == 0 { Some(&ground.tandem) } else { ground.second.as_ref() };
        let namespace = namespace.context("this ground has one node")?;
        Appliance::begin(binary, &setup.toml(ground, &own, Some(node)), &namespace.name, &own)
    }

    /// With a configuration of the caller's own, which keeps `cdr.jsonl` and `admin.sock` in `room` and answers for
    /// metrics where `Setup`'s does.
    pub fn start_with(binary: &Path, toml: &str, namespace: &str, room: &Path) -> Result<Self> {
        let _ = std::fs::remove_file(room.join("cdr.jsonl"));
        let mut appliance = Appliance::begin(binary, toml, namespace, room)?;
        appliance.wait_ready(Duration::from_secs(30))?;
        Ok(appliance)
    }

    /// Starts the process and does not wait for it.
    fn begin(binary: &Path, toml: &str, namespace: &str, room: &Path) -> Result<Self> {
        let config = room.join("tandem.toml");
        std::fs::write(&config, toml)?;
        let mut command = command_in(Some(namespace), binary);
        command.arg("run").arg("--config").arg(&config);
        // A successor's log stands beside its predecessor's.
        let log = (1..).map(|n| room.join(if n == 1 { "tandem.log".into() } else { format!("tandem-{n}.log") }));
        let log = log.into_iter().find(|path| !path.exists()).context("no name for a log")?;
        let process = Running::start("tandem", command, log)?;
        Ok(Appliance {
            process,
            binary: binary.to_owned(),
            namespace: namespace.to_owned(),
            socket: room.join("admin.sock"),
            room: room.to_owned(),
        })
    }

    fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.process.ended()? {
                bail!("tandem ended at its start with {status}: {}", self.process.tail());
            }
            if self.http("/readyz").is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let answer = self.http("/readyz").map_or_else(|e| e.to_string(), |(_, body)| body);
                bail!("tandem is not ready after {} s ({answer}): {}", limit.as_secs(), self.process.tail());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn http(&self, path: &str) -> Result<(u16, String)> {
        http_get(&self.namespace, SocketAddr::from(([127, 0, 0, 1], 9464)), path)
    }

    pub fn metrics(&self) -> Result<Samples> {
        let (status, body) = self.http("/metrics")?;
        ensure!(status == 200, "/metrics answered {status}");
        Ok(body
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect())
    }

    /// `tandem --json …` over the admin socket.
    pub fn ask(&self, args: &[&str]) -> Result<serde_json::Value> {
        let binary = self.binary.to_string_lossy();
        let socket = self.socket.to_string_lossy();
        let mut all = vec!["--socket", &socket, "--json"];
        all.extend_from_slice(args);
        let text = run(&binary, &all)?;
        serde_json::from_str(&text).with_context(|| format!("`tandem --json {}` wrote no JSON", args.join(" ")))
    }

    /// The call-detail records so far.
    pub fn records(&self) -> Result<Vec<serde_json::Value>> {
        let text = std::fs::read_to_string(self.room.join("cdr.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).context("a call-detail record is no JSON")).collect()
    }

    /// Processor time so far, by thread.
    pub fn thread_times(&self) -> Result<Vec<ThreadTime>> {
        let ticks = sys::clock_ticks_per_second();
        let mut times = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.process.pid()))? {
            let Ok(stat) = std::fs::read_to_string(task?.path().join("stat")) else { continue };
            let Some((head, tail)) = stat.rsplit_once(')') else { continue };
            let name = head.split_once('(').map_or("?", |(_, name)| name).to_owned();
            // proc(5): utime and stime are fields 14 and 15, the state after the name is field 3.
            let fields: Vec<u64> = tail.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
            times.push(ThreadTime { name, busy: Duration::from_millis(fields.iter().sum::<u64>() * 1000 / ticks) });
        }
        Ok(times)
    }

    /// Resident memory, in KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
            .context("no VmRSS in /proc")
    }

    /// Datagrams that did not fit a socket's receive buffer, in the appliance's network namespace.
    pub fn udp_overflows(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/net/snmp", self.process.pid()))?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = (lines.next().context("no UDP in /proc")?, lines.next().context("no UDP in /proc")?);
        let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "RcvbufErrors");
        found.and_then(|(_, value)| value.parse().ok()).context("no RcvbufErrors in /proc")
    }

    /// SIGTERM without calls: it must end by itself, with success, soon.
    pub fn stop(&mut self) -> Result<()> {
        self.process.signal(libc::SIGTERM)?;
        let status = self.process.wait(Duration::from_secs(20))?;
        ensure!(status.success(), "tandem ended with {status}: {}", self.process.tail());
        Ok(())
    }
}
