//! Checks of `[[port]]`, `[[address]]` and `[media]`: devices, prefixes, families, port ranges.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use super::Checker;
use crate::config::{Address, Config, Ec2Way, Port, document::at};

pub(super) fn check(checker: &mut Checker<'_>) {
    let config = checker.config;
    checker.unique("port", "name", config.ports.iter().map(|port| port.name.as_str()));
    checker.unique("port", "device", config.ports.iter().map(|port| port.device.as_str()));
    checker.unique("port", "exception", config.ports.iter().map(|port| port.exception.as_str()));
    checker.unique("address", "name", config.addresses.iter().map(|address| address.name.as_str()));
    for (index, port) in config.ports.iter().enumerate() {
        device(checker, index, port);
        rings_and_mtu(checker, index, port);
        port_addresses(checker, index, port);
        port_routes(checker, index, port);
    }
    prefixes_apart(checker);
    let ports: Vec<&str> = config.ports.iter().map(|port| port.name.as_str()).collect();
    for (index, address) in config.addresses.iter().enumerate() {
        checker.must_exist(at!["address", index, "port"], &address.port, &ports, "port");
        on_its_port(checker, index, address);
        advertised(checker, index, address);
    }
    locals_apart(checker);
    media_ports(checker);
}

fn device(checker: &mut Checker<'_>, index: usize, port: &Port) {
    let pci = is_pci(&port.device);
    if !pci && !is_vdev(&port.device) {
        checker.error(
            at!["port", index, "device"],
            format!("{:?}", port.device),
            "a PCI address as in \"0000:00:06.0\", or a virtual device as in \"net_af_packet0,iface=eth1\"",
        );
    }
    if !pci && !port.device_args.is_empty() {
        checker.error(
            at!["port", index, "device_args"],
            format!("{:?} for a virtual device", port.device_args),
            "device_args with a PCI address only; a virtual device has its arguments in `device`",
        );
    }
    if let Some(bad) = port.device_args.split(',').find(|arg| !port.device_args.is_empty() && !is_key_value(arg)) {
        checker.error(at!["port", index, "device_args"], format!("{bad:?}"), "key=value, several with commas between");
    }
    // IFNAMSIZ of <linux/if.h> is 16 with the closing zero; the kernel's dev_valid_name() refuses '/', ':' and blanks.
    let name = &port.exception;
    let fits = name.len() <= 15
        && name != "."
        && name != ".."
        && !name.contains(|c: char| "/:%".contains(c) || !c.is_ascii_graphic());
    if !fits {
        checker.error(
            at!["port", index, "exception"],
            format!("{name:?}"),
            "an interface name: up to 15 printable characters without blanks, '/', ':' and '%'",
        );
    }
}

/// `domain:bus:device.function`, or without the domain, as lspci writes it.
fn is_pci(text: &str) -> bool {
    let hex = |part: &str, len: usize| part.len() == len && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some((rest, function)) = text.rsplit_once('.') else { return false };
    let parts: Vec<&str> = rest.split(':').collect();
    let address = match parts.as_slice() {
        [domain, bus, device] => hex(domain, 4) && hex(bus, 2) && hex(device, 2),
        [bus, device] => hex(bus, 2) && hex(device, 2),
        _ => false,
    };
    address && function.len() == 1 && function.bytes().all(|byte| (b'0'..=b'7').contains(&byte))
}

fn is_vdev(text: &str) -> bool {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default();
    let driver = name.strip_prefix("net_").or_else(|| name.strip_prefix("virtio_user")).is_some();
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    driver && plain && parts.all(is_key_value)
}

fn is_key_value(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, value)| !key.trim().is_empty() && !value.trim().is_empty())
}

fn rings_and_mtu(checker: &mut Checker<'_>, index: usize, port: &Port) {
    for (key, descriptors) in [("rx_descriptors", port.rx_descriptors), ("tx_descriptors", port.tx_descriptors)] {
        if !descriptors.is_power_of_two() {
            checker.error(at!["port", index, key], descriptors.to_string(), "a power of two, 64 to 32768");
        }
    }
    // RFC 8200 §5: IPv6 needs links of 1280 bytes.
    if port.mtu < 1_280 && port.addresses.iter().any(|net| net.addr().is_ipv6()) {
        checker.error(at!["port", index, "mtu"], port.mtu.to_string(), "1280 or more on a port with IPv6 addresses");
    }
}

fn port_addresses(checker: &mut Checker<'_>, index: usize, port: &Port) {
    for (at, net) in port.addresses.iter().enumerate() {
        if !is_host(net) {
            checker.error(
                at!["port", index, "addresses", at],
                net.to_string(),
                "a host's own unicast address with its prefix length, not the network or broadcast address",
            );
        }
    }
}

fn is_host(net: &IpNet) -> bool {
    let unicast = is_unicast(net.addr());
    match net {
        // RFC 3021: both addresses of a /31 are hosts'.
        IpNet::V4(v4) if v4.prefix_len() < 31 => unicast && v4.addr() != v4.network() && v4.addr() != v4.broadcast(),
        // RFC 4291 §2.6.1: the all-zero interface identifier is the subnet-router anycast address; RFC 6164 §3: not
        // on a /127.
        IpNet::V6(v6) if v6.prefix_len() < 127 => unicast && v6.addr() != v6.network(),
        _ => unicast,
    }
}

pub(super) fn is_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback() && !broadcast
}

fn port_routes(checker: &mut Checker<'_>, index: usize, port: &Port) {
    for (at, route) in port.routes.iter().enumerate() {
        let path = at!["port", index, "routes", at, "via"];
        if route.via.is_ipv4() != route.to.addr().is_ipv4() {
            checker.error(path, route.via.to_string(), format!("an address of the family of {}", route.to));
        } else if checker.whole(&["port.addresses"]) && !is_link_local(route.via) && !on_link(port, route.via) {
            checker.error(path, route.via.to_string(), format!("an address inside {}", list(&port.addresses)));
        }
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn on_link(port: &Port, ip: IpAddr) -> bool {
    port.addresses.iter().any(|net| net.contains(&ip))
}

fn list(nets: &[IpNet]) -> String {
    nets.iter().map(|net| net.trunc().to_string()).collect::<Vec<_>>().join(", ")
}

/// The kernel sends what two ports share out of one of them only.
fn prefixes_apart(checker: &mut Checker<'_>) {
    let config = checker.config;
    let mut seen: HashMap<IpNet, usize> = HashMap::new();
    for (index, port) in config.ports.iter().enumerate() {
        for (at, net) in port.addresses.iter().enumerate() {
            let first = *seen.entry(net.trunc()).or_insert(index);
            if first != index {
                checker.warn(
                    at!["port", index, "addresses", at],
                    format!("the network of port {:?} again", config.ports[first].name),
                    "a network of its own for each port: the kernel reaches a network through one of them only",
                );
            }
        }
    }
}

fn on_its_port(checker: &mut Checker<'_>, index: usize, address: &Address) {
    let config = checker.config;
    let Some(port) = config.ports.iter().find(|port| port.name == address.port) else { return };
    if checker.whole(&["port.addresses"]) && !on_link(port, address.local) && !is_routed(config, address) {
        checker.error(
            at!["address", index, "local"],
            address.local.to_string(),
            format!("an address inside the networks of port {:?}: {}", port.name, list(&port.addresses)),
        );
    }
}

/// A route leads to it on whichever host is active: it may belong to no subnet.
fn is_routed(config: &Config, address: &Address) -> bool {
    let ec2 = config.ha.as_ref().and_then(|ha| ha.ec2.as_ref());
    ec2.is_some_and(|ec2| ec2.addresses.iter().any(|way| way.name == address.name && way.by == Ec2Way::Route))
}

fn advertised(checker: &mut Checker<'_>, index: usize, address: &Address) {
    let Some(advertise) = address.advertise else { return };
    let path = at!["address", index, "advertise"];
    if advertise.is_ipv4() != address.local.is_ipv4() {
        checker.error(path, advertise.to_string(), format!("an address of the family of {}", address.local));
    } else if !is_unicast(advertise) {
        checker.error(path, advertise.to_string(), "a unicast address that peers can reach");
    }
}

fn locals_apart(checker: &mut Checker<'_>) {
    let config = checker.config;
    let mut seen: HashMap<IpAddr, &str> = HashMap::new();
    for (index, address) in config.addresses.iter().enumerate() {
        if let Some(first) = seen.get(&address.local) {
            checker.error(
                at!["address", index, "local"],
                format!("{} again", address.local),
                format!("an address of its own; [[address]] {first:?} has it"),
            );
        } else {
            seen.insert(address.local, &address.name);
        }
    }
}

fn media_ports(checker: &mut Checker<'_>) {
    let range = checker.config.media.ports;
    // RFC 3550 §11: RTP takes an even port and RTCP the odd one above it.
    if !range.low.is_multiple_of(2) {
        checker.error(
            at!["media", "ports", "low"],
            range.low.to_string(),
            "an even port: RTP takes even ports, RTCP the next odd one",
        );
    }
    if range.high <= range.low {
        checker.error(
            at!["media", "ports", "high"],
            range.high.to_string(),
            format!("a port above media.ports.low, {}", range.low),
        );
    }
}
