//! EC2 around a pair: its API and instance metadata by moto (tests/moto), on a management network of its own, and the
//! network that moves an address only once the API says that it moved. Main thread, and one thread that waits for moves.
//!
//! ```text
//!   cloud: API, metadata .1 ──┬── mgmt of node-a .11        198.19.102.0/24
//!                             └── mgmt of node-b .12
//! ```
//!
//! Phones send what is for a floating address to the MAC of nobody; where their cable enters the switch, the mover's
//! rules give it the MAC of the node that has the address, and the address that it has there. They keep no connections.
//! So no ARP answer moves an address, as in a VPC. What a stale node sends is forwarded: it has to stop by itself.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    lab::source_root,
    net::{Namespace, cable},
    process::{Running, command_in},
    sys::in_netns,
    topology::{HOSTS, TANDEM_A, TANDEM_B, Topology},
};

const MANAGEMENT: [u8; 3] = [198, 19, 102];
const API_PORT: u16 = 5000;
/// What the nodes are called there.
const NAMES: [&str; 2] = ["a", "b"];
/// Where each is plugged in.
const PLUGS: [&str; 2] = ["node0", "node1"];
/// The floating addresses: on the callers' network and on the callees'.
const FLOATING: [(IpAddr, &str); 2] = [(TANDEM_A, "a4"), (TANDEM_B, "b4")];
/// Nobody's: where phones send what is for a floating address.
const NOBODYS_MAC: &str = "02:00:00:00:00:01";

/// How addresses move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Secondary,
    Elastic,
    Route,
}

impl Way {
    pub const fn name(self) -> &'static str {
        match self {
            Way::Secondary => "secondary",
            Way::Elastic => "elastic",
            Way::Route => "route",
        }
    }

    /// Last byte of a node's own addresses.
    pub const fn host(self, node: usize) -> u8 {
        // With a route, `.10` is in no subnet: theirs begins at .16.
        if matches!(self, Way::Route) { 17 + node as u8 } else { HOSTS[node] }
    }

    pub const fn prefix(self) -> u8 {
        if matches!(self, Way::Route) { 28 } else { 24 }
    }

    /// What a floating address is called on this node.
    fn local(self, network: usize, node: usize) -> IpAddr {
        match self {
            Way::Elastic => IpAddr::from([198, 18, network as u8 + 1, 31 + node as u8]),
            Way::Secondary | Way::Route => FLOATING[network].0,
        }
    }

    /// `[[address]]` of a node.
    pub fn addresses(self, node: usize) -> String {
        let mut toml = String::new();
        for (network, (floating, name)) in FLOATING.into_iter().enumerate() {
            let local = self.local(network, node);
            let _ = write!(
                toml,
                "\n[[address]]\nname = \"{name}\"\nport = \"port{network}\"\nlocal = \"{local}\"\nfloating = true\n"
            );
            if local != floating {
                let _ = writeln!(toml, "advertise = \"{floating}\"");
            }
        }
        toml
    }
}

/// What the configuration of the nodes needs to know.
#[derive(Clone, Debug)]
pub struct Seat {
    pub way: Way,
    /// `[ha.ec2]` of each node.
    pub tables: [String; 2],
}

/// An address that the API moved.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    pub address: IpAddr,
    pub node: usize,
    /// When the API said so, and when the network did it, on the taps' clock.
    pub told: Duration,
    pub done: Duration,
}

/// What the mover and the test share.
#[derive(Default)]
struct Ledger {
    delay_ms: AtomicU64,
    moved: Mutex<Vec<Moved>>,
    stop: AtomicBool,
}

impl Ledger {
    fn moved(&self) -> MutexGuard<'_, Vec<Moved>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Cloud {
    way: Way,
    facts: Value,
    ledger: Arc<Ledger>,
    mover: Option<JoinHandle<Result<()>>>,
    _server: Running,
    namespace: Namespace,
}

impl Cloud {
    /// Until the API answers and the addresses are with the first node.
    pub fn start(way: Way, ground: &Topology, room: &Path) -> Result<Cloud> {
        let namespace = Namespace::make("cloud")?;
        let second = ground.second.as_ref().context("a cloud needs a pair")?;
        let switch = ground.middle.as_ref().context("a cloud needs a switch")?;
        let nodes = [&ground.tandem, second];
        namespace.ip(&["link", "add", "mgmt", "type", "bridge", "stp_state", "0", "forward_delay", "0"])?;
        for (node, name) in PLUGS.into_iter().enumerate() {
            cable((nodes[node], "mgmt"), (&namespace, name))?;
            namespace.ip(&["link", "set", name, "master", "mgmt"])?;
            nodes[node].address("mgmt", management(HOSTS[node]), 24)?;
        }
        namespace.ip(&["link", "set", "mgmt", "up"])?;
        namespace.address("mgmt", management(1), 24)?;
        for (phones, (floating, _)) in [&ground.caller, &ground.callee].into_iter().zip(FLOATING) {
            let address = floating.to_string();
            phones.ip(&["neigh", "replace", &address, "lladdr", NOBODYS_MAC, "dev", "eth0", "nud", "permanent"])?;
        }
        let mut macs: [[String; 2]; 2] = Default::default();
        for (network, of_network) in macs.iter_mut().enumerate() {
            for (node, mac) in of_network.iter_mut().enumerate() {
                *mac = mac_of(nodes[node], &format!("p{network}"))?;
            }
        }
        let root = source_root();
        let at = SocketAddr::new(management(1), API_PORT);
        let mut command = command_in(Some(&namespace.name), root.join("scripts/moto"));
        command.arg("--listen").arg(at.to_string());
        command.arg("--policy").arg(root.join("ami/iam/tandem-pair-policy.json"));
        let mut server = Running::start_held("moto", command, room.join("moto.log"))?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while !server.output().contains("ready http://") {
            if let Some(status) = server.ended()? {
                bail!("moto ended with {status}: {}", server.tail());
            }
            ensure!(Instant::now() < deadline, "moto does not answer: {}", server.tail());
            std::thread::sleep(Duration::from_millis(50));
        }
        let api = Api { namespace: namespace.name.clone(), at };
        let facts = api.ask("POST", "/tandem/world", &shape(way, &macs).to_string())?;
        let network = Network { switch: switch.name.clone(), way, macs, owners: [0, 0] };
        network.apply()?;
        let ledger = Arc::new(Ledger::default());
        let shared = Arc::clone(&ledger);
        let mover = std::thread::spawn(move || follow(&api, network, &shared));
        Ok(Cloud { way, facts, ledger, mover: Some(mover), _server: server, namespace })
    }

    pub fn seat(&self) -> Seat {
        let text = |pointer: &str| self.facts.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let table = |node: usize| {
            let host = format!("/hosts/{}", NAMES[node]);
            let mut toml = format!(
                "\n[ha.ec2]\nendpoint = \"{}\"\nmetadata = \"{}\"\n",
                text("/endpoint"),
                text(&format!("{host}/metadata"))
            );
            for (floating, name) in FLOATING {
                let _ = write!(toml, "\n[[ha.ec2.address]]\nname = \"{name}\"\nby = \"{}\"\n", self.way.name());
                // The stand-in's hosts have one interface each, found by the MAC of the first port; the second names it.
                if name == "b4" {
                    let _ = writeln!(toml, "interface = \"{}\"", text(&format!("{host}/interface")));
                }
                let _ = match self.way {
                    Way::Secondary => Ok(()),
                    Way::Elastic => writeln!(toml, "allocation = \"{}\"", text(&format!("/elastic/{floating}"))),
                    Way::Route => writeln!(toml, "tables = {}", self.facts["tables"]),
                };
            }
            toml
        };
        Seat { way: self.way, tables: [table(0), table(1)] }
    }

    /// How long after the API has said so the network moves an address.
    pub fn delay(&self, delay: Duration) {
        self.ledger.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What goes wrong with the API from now on: tests/moto/README.md.
    pub fn faults(&self, faults: &Value) -> Result<()> {
        let answer = self.api().ask("PUT", "/tandem/faults", &faults.to_string())?;
        ensure!(answer.get("unknown").is_none(), "{answer}");
        Ok(())
    }

    /// Cuts a node off from the API and the metadata, or joins it again.
    pub fn cut(&self, node: usize, cut: bool) -> Result<()> {
        self.namespace.ip(&["link", "set", PLUGS[node], if cut { "down" } else { "up" }]).map(drop)
    }

    /// Moves that the network has made since then.
    pub fn moved(&self, since: Duration) -> Vec<Moved> {
        self.ledger.moved().iter().filter(|moved| moved.told >= since).copied().collect()
    }

    /// Waits until both addresses are at this node, and returns their moves since then.
    pub fn wait_for(&self, node: usize, since: Duration, limit: Duration) -> Result<Vec<Moved>> {
        let deadline = Instant::now() + limit;
        loop {
            let moved = self.moved(since);
            if FLOATING.iter().all(|(ip, _)| moved.iter().any(|one| one.address == *ip && one.node == node)) {
                return Ok(moved);
            }
            if self.mover.as_ref().is_some_and(JoinHandle::is_finished) {
                bail!("the mover has ended");
            }
            ensure!(Instant::now() < deadline, "the addresses did not move within {} s: {moved:?}", limit.as_secs());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn api(&self) -> Api {
        Api { namespace: self.namespace.name.clone(), at: SocketAddr::new(management(1), API_PORT) }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.ledger.stop.store(true, Ordering::Release);
        if let Some(Ok(Err(error))) = self.mover.take().map(JoinHandle::join) {
            eprintln!("  the mover: {error:#}");
        }
    }
}

fn management(host: u8) -> IpAddr {
    let [a, b, c] = MANAGEMENT;
    IpAddr::from([a, b, c, host])
}

fn mac_of(namespace: &Namespace, interface: &str) -> Result<String> {
    let text = namespace.ip(&["-j", "link", "show", "dev", interface])?;
    let parsed: Value = serde_json::from_str(&text).context("`ip -j link` said something else")?;
    Ok(parsed[0]["address"].as_str().context("an interface without a MAC")?.to_owned())
}

/// The VPC, as tests/moto/world.py makes it: the first node has everything that floats.
fn shape(way: Way, macs: &[[String; 2]; 2]) -> Value {
    let subnet = if way == Way::Route { "198.18.1.16/28" } else { "198.18.0.0/16" };
    let hosts = NAMES.into_iter().enumerate().map(|(node, name)| {
        let own = format!("198.18.1.{}", way.host(node));
        let more = match way {
            Way::Secondary if node == 0 => vec![TANDEM_A, TANDEM_B],
            Way::Elastic => vec![way.local(0, node), way.local(1, node)],
            Way::Secondary | Way::Route => Vec::new(),
        };
        let addresses: Vec<String> = std::iter::once(own).chain(more.iter().map(IpAddr::to_string)).collect();
        (name.to_owned(), json!({"subnet": subnet, "mac": macs[0][node], "addresses": addresses}))
    });
    let mut shape = json!({"vpc": subnet, "hosts": hosts.collect::<serde_json::Map<_, _>>()});
    for (network, (floating, _)) in FLOATING.into_iter().enumerate() {
        match way {
            Way::Secondary => {}
            Way::Elastic => {
                shape["elastic"][floating.to_string()] = json!([NAMES[0], way.local(network, 0).to_string()]);
            }
            Way::Route => {
                shape["routes"][format!("{floating}/32")] = json!(NAMES[0]);
                shape["tables"] = json!(2);
                shape["source_dest_check"] = json!(false);
            }
        }
    }
    shape
}

/// One request without keep-alive; the answer is JSON.
struct Api {
    namespace: String,
    at: SocketAddr,
}

impl Api {
    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let mut stream = in_netns(&self.namespace, || TcpStream::connect_timeout(&self.at, Duration::from_secs(5)))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let (at, length) = (self.at, body.len());
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{method} {path}: {answer}"))?;
        serde_json::from_str(body).with_context(|| format!("{method} {path}: {answer}"))
    }

    /// Who has this address: at once if it is not `known`, else as soon as that changes, or after a while.
    fn holder(&self, address: IpAddr, known: usize) -> Result<(Option<usize>, Duration)> {
        let path = format!("/tandem/where?address={address}&not={}&wait_ms=300", NAMES[known]);
        let answer = self.ask("GET", &path, "")?;
        let node = answer["host"].as_str().and_then(|host| NAMES.iter().position(|name| *name == host));
        let ago = answer["moved_ms_ago"].as_f64().unwrap_or(0.0);
        Ok((node, Duration::from_secs_f64(ago / 1000.0)))
    }
}

/// Where floating addresses lead to.
struct Network {
    switch: String,
    way: Way,
    /// By network, then by node.
    macs: [[String; 2]; 2],
    owners: [usize; 2],
}

impl Network {
    /// All rules anew, in one transaction.
    fn apply(&self) -> Result<()> {
        let mut rules = String::from("add table netdev vpc; delete table netdev vpc; table netdev vpc { ");
        for (network, (floating, _)) in FLOATING.into_iter().enumerate() {
            let owner = self.owners[network];
            let local = self.way.local(network, owner);
            let mac = &self.macs[network][owner];
            let hook = |plug: usize| {
                format!("type filter hook ingress device \"br{network}x{plug}\" priority filter; policy accept;")
            };
            let translate = |side: &str, to: IpAddr| {
                if local == floating { String::new() } else { format!("ip {side} set {to}") }
            };
            let _ = write!(
                rules,
                "chain in{network} {{ {} ip daddr {floating} ether daddr set {mac} {}; }}; ",
                hook(0),
                translate("daddr", local)
            );
            if local != floating {
                let out = translate("saddr", floating);
                let _ = write!(rules, "chain out{network} {{ {} ip saddr {local} {out}; }}; ", hook(owner + 1));
            }
        }
        rules.push('}');
        let net = format!("--net=/run/netns/{}", self.switch);
        crate::process::run("nsenter", &[&net, "nft", &rules]).map(drop)
    }
}

fn clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The mover: a waiting request for each address, and the network changed when it is time.
fn follow(api: &Api, network: Network, ledger: &Arc<Ledger>) -> Result<()> {
    let network = Mutex::new(network);
    std::thread::scope(|scope| {
        let each = (0..FLOATING.len()).map(|index| {
            let network = &network;
            scope.spawn(move || follow_one(api, index, network, ledger))
        });
        let all: Vec<_> = each.collect();
        all.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("the mover died"))?)
    })
}

fn follow_one(api: &Api, index: usize, network: &Mutex<Network>, ledger: &Ledger) -> Result<()> {
    let address = FLOATING[index].0;
    let mut known = 0;
    while !ledger.stop.load(Ordering::Acquire) {
        let (holder, ago) = api.holder(address, known)?;
        let Some(node) = holder.filter(|node| *node != known) else { continue };
        known = node;
        let told = clock().saturating_sub(ago);
        let due = told + Duration::from_millis(ledger.delay_ms.load(Ordering::Relaxed));
        std::thread::sleep(due.saturating_sub(clock()));
        let mut network = network.lock().unwrap_or_else(PoisonError::into_inner);
        network.owners[index] = node;
        network.apply()?;
        ledger.moved().push(Moved { address, node, told, done: clock() });
    }
    Ok(())
}
