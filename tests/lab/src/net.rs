//! Namespaces, virtual cables and what the kernel counts on them. Main thread.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{cleanup, process::run, sys::in_netns};

/// A network namespace; gone when dropped.
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    /// `role` is what the namespace is for; the name also carries this process's id, so that two runs do not meet.
    pub fn make(role: &str) -> Result<Self> {
        let name = format!("tl{}-{role}", std::process::id());
        cleanup::namespace_made(&name)?;
        run("ip", &["netns", "add", &name])?;
        let namespace = Namespace { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// `ip` inside the namespace.
    pub fn ip(&self, args: &[&str]) -> Result<String> {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend_from_slice(args);
        run("ip", &all)
    }

    /// Any program inside the namespace, to its end.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let net = format!("--net=/run/netns/{}", self.name);
        let mut all = vec![net.as_str(), program];
        all.extend_from_slice(args);
        run("nsenter", &all)
    }

    /// Adds an address at once: without duplicate address detection, which takes 1.6 s.
    pub fn address(&self, interface: &str, address: IpAddr, prefix: u8) -> Result<()> {
        let cidr = format!("{address}/{prefix}");
        let mut args = vec!["addr", "add", cidr.as_str(), "dev", interface];
        if address.is_ipv6() {
            args.push("nodad");
        }
        self.ip(&args).map(drop)
    }

    pub fn route(&self, to: &str, via: IpAddr) -> Result<()> {
        let via = via.to_string();
        self.ip(&["route", "add", to, "via", &via]).map(drop)
    }

    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        // /proc/sys/net shows the namespace of the process that reads it.
        self.run("sh", &["-c", &format!("echo {value} > /proc/sys/{}", key.replace('.', "/"))])
            .with_context(|| format!("{key} = {value}"))
            .map(drop)
    }

    pub fn nft(&self, rules: &str) -> Result<()> {
        self.run("nft", &[rules]).map(drop)
    }

    /// Frames that the interface refused to send or to take.
    pub fn interface_losses(&self, interface: &str) -> Result<u64> {
        let text = self.ip(&["-s", "-j", "link", "show", "dev", interface])?;
        let parsed: serde_json::Value = serde_json::from_str(&text).context("`ip -s -j link` said something else")?;
        let stats = &parsed[0]["stats64"];
        Ok(["tx", "rx"]
            .iter()
            .flat_map(|side| ["dropped", "errors"].iter().map(move |what| (side, what)))
            .filter_map(|(side, what)| stats[side][what].as_u64())
            .sum())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = run("ip", &["netns", "del", &self.name]);
        cleanup::namespace_gone(&self.name);
    }
}

/// Joins `a.0` and `b.0` by a virtual cable whose ends have the names `a.1` and `b.1`, one queue each (AF_XDP on veth
/// takes no more), transmit checksums filled in by software (the other end is another stack, not a wire), both up.
pub fn cable(a: (&Namespace, &str), b: (&Namespace, &str)) -> Result<()> {
    run(
        "ip",
        &[
            "link",
            "add",
            a.1,
            "netns",
            &a.0.name,
            "numtxqueues",
            "1",
            "numrxqueues",
            "1",
            "type",
            "veth",
            "peer",
            "name",
            b.1,
            "netns",
            &b.0.name,
            "numtxqueues",
            "1",
            "numrxqueues",
            "1",
        ],
    )?;
    for (namespace, interface) in [a, b] {
        namespace.run("ethtool", &["-K", interface, "tx", "off"])?;
        namespace.ip(&["link", "set", interface, "up"])?;
    }
    Ok(())
}

/// Makes the kernel behind a DPDK port's interface deaf: no address, no IPv6, no ARP answer, and every frame dropped at
/// the ingress hook, which lies behind the point where packet sockets and XDP take theirs.
pub fn deafen(namespace: &Namespace, interface: &str) -> Result<()> {
    namespace.sysctl(&format!("net.ipv6.conf.{interface}.disable_ipv6"), "1")?;
    namespace.sysctl(&format!("net.ipv4.conf.{interface}.arp_ignore"), "8")?;
    namespace.nft(&format!(
        "table netdev deaf_{interface} {{ chain everything {{ \
         type filter hook ingress device \"{interface}\" priority filter; policy drop; }}; }}"
    ))
}

/// Asks for a page from inside a namespace: status and body.
pub fn http_get(namespace: &str, at: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = in_netns(namespace, || TcpStream::connect_timeout(&at, Duration::from_secs(2)))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no HTTP answer")?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Ok((status, body))
}
