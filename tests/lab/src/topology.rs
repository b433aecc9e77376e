//! The ground that every scenario stands on: a caller's and a callee's network, and tandem between them. Main thread.
//!
//! ```text
//!   caller           tandem                callee
//!   eth0 ───────── p0 ┌────┐ p1 ───────── eth0        198.18.1.0/24, 2001:db8:1::/64 on the left,
//!    .20, intruder .66│TAPs│   .20, second .21        198.18.2.0/24, 2001:db8:2::/64 on the right, tandem is .10
//! ```
//!
//! A router that rewrites addresses without remembering connections can stand between caller and tandem. For a pair, a
//! switch joins each network with both nodes: `.10` floats, `.11` and `.12` are the nodes' own; two cables of their own
//! carry the heartbeats. For a machine in QEMU, tandem's namespace is where its network cards are plugged in: one card for
//! both networks, and one by which it is managed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};

use crate::net::{Namespace, cable, deafen};

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(net: u16, host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host))
}

pub const CALLER: IpAddr = v4(198, 18, 1, 20);
/// Someone else on the caller's network.
pub const INTRUDER: IpAddr = v4(198, 18, 1, 66);
pub const TANDEM_A: IpAddr = v4(198, 18, 1, 10);
pub const CALLEE: IpAddr = v4(198, 18, 2, 20);
/// A second destination on the callee's network.
pub const SECOND: IpAddr = v4(198, 18, 2, 21);
/// Behind the caller: a thousand who look for an open PBX. What they send and get is not kept.
pub const SCANNERS: &str = "198.18.64.0/22";

pub fn is_scanner(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[..2] == [198, 18] && ip.octets()[2] & 0xfc == 64)
}

/// Nobody has this address.
pub const NOBODY: IpAddr = v4(198, 18, 2, 99);
pub const TANDEM_B: IpAddr = v4(198, 18, 2, 10);
pub const CALLER6: IpAddr = v6(1, 0x20);
pub const TANDEM_A6: IpAddr = v6(1, 0x10);
pub const CALLEE6: IpAddr = v6(2, 0x20);
pub const TANDEM_B6: IpAddr = v6(2, 0x10);
/// Behind the router: the phone, or tandem.
pub const INSIDE_PHONE: IpAddr = v4(198, 19, 1, 20);
pub const INSIDE_TANDEM: IpAddr = v4(198, 19, 1, 10);
pub const INSIDE_ROUTER: IpAddr = v4(198, 19, 1, 1);

/// A node of the pair, on both networks: its own addresses end with this.
pub const HOSTS: [u8; 2] = [11, 12];
/// The networks of the heartbeats: node n (from 1) has `.n` on each.
pub const HEARTBEATS: [[u8; 3]; 2] = [[198, 19, 100], [198, 19, 101]];

pub const SIP_PORT: u16 = 5060;
/// Where phones get media. Their kernel drops it at once (behind the tap), so that no ICMP error answers it.
pub const PHONE_MEDIA: (u16, u16) = (30_000, 49_999);

/// What lies between the caller and tandem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Between {
    #[default]
    Cable,
    /// The caller has a private address; the world sees `CALLER`.
    PhoneBehindNat,
    /// tandem has a private address; the world sees `TANDEM_A`.
    TandemBehindNat,
    /// Two nodes on each network, by switches.
    Pair,
    /// The same of two nodes that know nothing of each other; whoever lays this ground starts them.
    Nodes,
    /// A machine in QEMU, with one card on both networks.
    Guest,
}

/// Where the cards of a machine in QEMU are plugged in.
pub const MEDIA_TAP: &str = "media";
pub const MANAGEMENT_TAP: &str = "mgmt";
/// Where it is managed from, and itself there.
pub const MANAGER: IpAddr = v4(198, 19, 3, 1);
pub const MANAGED: IpAddr = v4(198, 19, 3, 10);
/// Clouds have the service that tells a machine about itself here.
pub const METADATA: IpAddr = v4(169, 254, 169, 254);

pub struct Topology {
    pub caller: Namespace,
    pub callee: Namespace,
    pub tandem: Namespace,
    /// The other node of a pair.
    pub second: Option<Namespace>,
    pub between: Between,
    /// The router, or the switch.
    pub middle: Option<Namespace>,
}

impl Topology {
    pub fn lay(between: Between) -> Result<Self> {
        let caller = Namespace::make("caller")?;
        let tandem = Namespace::make("tandem")?;
        let callee = Namespace::make("callee")?;
        let mut second = None;
        let middle = match between {
            Between::Cable => {
                cable((&caller, "eth0"), (&tandem, "p0"))?;
                None
            }
            Between::Pair | Between::Nodes => {
                let other = Namespace::make("second")?;
                let switch = switches([&caller, &callee], [&tandem, &other])?;
                if between == Between::Pair {
                    heartbeat_cables(&tandem, &other)?;
                }
                second = Some(other);
                Some(switch)
            }
            Between::Guest => {
                cable((&caller, "eth0"), (&tandem, "p0"))?;
                cable((&callee, "eth0"), (&tandem, "p1"))?;
                plug_guest(&tandem)?;
                None
            }
            _ => Some(router(&caller, &tandem, between)?),
        };
        if second.is_none() && between != Between::Guest {
            cable((&callee, "eth0"), (&tandem, "p1"))?;
        }
        for (phones, net) in [(&caller, 1), (&callee, 2)] {
            phones.address("eth0", v6(net, 0x20), 64)?;
            let (low, high) = PHONE_MEDIA;
            phones.nft(&format!(
                "table netdev phone {{ chain media {{ type filter hook ingress device \"eth0\" priority filter; \
                 udp dport {low}-{high} drop; }}; }}"
            ))?;
        }
        if between == Between::PhoneBehindNat {
            caller.address("eth0", INSIDE_PHONE, 24)?;
            caller.route("default", INSIDE_ROUTER)?;
        } else {
            caller.address("eth0", CALLER, 24)?;
            caller.address("eth0", INTRUDER, 24)?;
        }
        callee.address("eth0", CALLEE, 24)?;
        callee.address("eth0", SECOND, 24)?;
        Ok(Topology { caller, callee, tandem, second, between, middle })
    }

    /// A further host on both networks, where switches join them: `eth0` on the caller's, `eth1` on the callee's.
    pub fn host(&self, role: &str, addresses: [IpAddr; 2]) -> Result<Namespace> {
        let switch = self.middle.as_ref().context("this ground has no switch")?;
        let host = Namespace::make(role)?;
        for (network, address) in addresses.into_iter().enumerate() {
            let (port, plug) = (format!("eth{network}"), format!("br{network}{role}"));
            cable((&host, &port), (switch, &plug))?;
            switch.ip(&["link", "set", &plug, "master", &format!("br{network}")])?;
            host.address(&port, address, 24)?;
        }
        Ok(host)
    }

    /// The ports belong to DPDK: the kernel behind them hears nothing.
    pub fn deafen_ports(&self) -> Result<()> {
        for node in std::iter::once(&self.tandem).chain(&self.second) {
            deafen(node, "p0")?;
            deafen(node, "p1")?;
        }
        Ok(())
    }

    /// In place of the appliance: the kernel routes between the two networks. To prove the laboratory itself.
    pub fn route_in_kernel(&self) -> Result<()> {
        for (port, v4, v6) in [("p0", TANDEM_A, TANDEM_A6), ("p1", TANDEM_B, TANDEM_B6)] {
            self.tandem.address(port, v4, 24)?;
            self.tandem.address(port, v6, 64)?;
        }
        self.tandem.sysctl("net.ipv4.ip_forward", "1")?;
        self.tandem.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        self.caller.route("198.18.2.0/24", TANDEM_A)?;
        self.caller.route("2001:db8:2::/64", TANDEM_A6)?;
        self.callee.route("198.18.1.0/24", TANDEM_B)?;
        self.callee.route("2001:db8:1::/64", TANDEM_B6)
    }

    /// The address that the caller's phone has itself.
    pub fn caller_address(&self) -> IpAddr {
        if self.between == Between::PhoneBehindNat { INSIDE_PHONE } else { CALLER }
    }

    /// The address that tandem has itself on the caller's side.
    pub fn tandem_address(&self) -> IpAddr {
        if self.between == Between::TandemBehindNat { INSIDE_TANDEM } else { TANDEM_A }
    }
}

/// Without spanning tree a bridge forwards at once.
fn add_bridge(namespace: &Namespace, name: &str) -> Result<()> {
    let quick = ["stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"];
    let mut args = vec!["link", "add", name, "type", "bridge"];
    args.extend(quick);
    namespace.ip(&args).map(drop)
}

/// The ground of a guest. The phones hear the guest and not each other, as if each network were one of its own.
fn plug_guest(host: &Namespace) -> Result<()> {
    add_bridge(host, "br0")?;
    for port in ["p0", "p1"] {
        host.ip(&["link", "set", port, "master", "br0"])?;
        host.ip(&["link", "set", port, "type", "bridge_slave", "isolated", "on"])?;
    }
    host.ip(&["link", "set", "br0", "up"])?;
    tap(host, MANAGEMENT_TAP, false)?;
    for interface in ["br0", "p0", "p1", MANAGEMENT_TAP] {
        host.sysctl(&format!("net.ipv6.conf.{interface}.disable_ipv6"), "1")?;
    }
    host.address(MANAGEMENT_TAP, MANAGER, 24)?;
    host.address("lo", METADATA, 32)
}

/// Where the guest's card for calls is plugged in: on both networks.
pub fn plug_media(host: &Namespace, queues: bool) -> Result<()> {
    tap(host, MEDIA_TAP, queues)?;
    host.sysctl(&format!("net.ipv6.conf.{MEDIA_TAP}.disable_ipv6"), "1")?;
    host.ip(&["link", "set", MEDIA_TAP, "master", "br0"]).map(drop)
}

fn tap(host: &Namespace, name: &str, queues: bool) -> Result<()> {
    let mut args = vec!["tuntap", "add", "dev", name, "mode", "tap"];
    args.extend(queues.then_some("multi_queue"));
    host.ip(&args)?;
    // QEMU reads late when the machine is busy: what waits for it must not overflow.
    host.ip(&["link", "set", name, "txqueuelen", "10000", "up"]).map(drop)
}

/// A bridge for each network, with the phones and both nodes on it.
fn switches(phones: [&Namespace; 2], nodes: [&Namespace; 2]) -> Result<Namespace> {
    let switch = Namespace::make("switch")?;
    for (network, phone) in phones.into_iter().enumerate() {
        let bridge = format!("br{network}");
        add_bridge(&switch, &bridge)?;
        let port = format!("p{network}");
        let ends = [(phone, "eth0"), (nodes[0], port.as_str()), (nodes[1], port.as_str())];
        for (index, end) in ends.into_iter().enumerate() {
            let plug = format!("{bridge}x{index}");
            cable(end, (&switch, &plug))?;
            switch.ip(&["link", "set", &plug, "master", &bridge])?;
        }
        switch.ip(&["link", "set", &bridge, "up"])?;
    }
    Ok(switch)
}

fn heartbeat_cables(one: &Namespace, two: &Namespace) -> Result<()> {
    for (path, [a, b, c]) in HEARTBEATS.into_iter().enumerate() {
        let name = format!("hb{path}");
        cable((one, &name), (two, &name))?;
        one.address(&name, v4(a, b, c, 1), 24)?;
        two.address(&name, v4(a, b, c, 2), 24)?;
    }
    Ok(())
}

/// 1:1 address translation that keeps no state, so that it pins no flow to anything.
fn router(caller: &Namespace, tandem: &Namespace, between: Between) -> Result<Namespace> {
    let router = Namespace::make("router")?;
    router.sysctl("net.ipv4.ip_forward", "1")?;
    cable((caller, "eth0"), (&router, "left"))?;
    cable((&router, "right"), (tandem, "p0"))?;
    let (inner, outer, private, public) = match between {
        Between::PhoneBehindNat => ("left", "right", INSIDE_PHONE, CALLER),
        _ => ("right", "left", INSIDE_TANDEM, TANDEM_A),
    };
    router.address(inner, INSIDE_ROUTER, 24)?;
    router.address(outer, public, 24)?;
    router.nft(&format!(
        "table ip translate {{ \
           chain inwards {{ type filter hook prerouting priority raw; iif {outer} ip daddr {public} ip daddr set {private}; }}; \
           chain outwards {{ type filter hook postrouting priority srcnat; \
             oif {outer} ip saddr {private} ip saddr set {public}; }}; }}"
    ))?;
    Ok(router)
}

pub fn sip_uri(host: IpAddr, tcp: bool) -> String {
    let at = SocketAddr::new(host, SIP_PORT);
    if tcp { format!("sip:{at};transport=tcp") } else { format!("sip:{at}") }
}
