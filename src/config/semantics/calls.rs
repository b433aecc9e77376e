//! Checks of `[sip]`, `[[trunk]]`, `[[route]]` and of the room for calls: who may call, from where, to where.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::Checker;
use crate::config::{Destination, SipTransport, Trunk, document::at};

pub(super) fn check(checker: &mut Checker<'_>) {
    let config = checker.config;
    listens(checker);
    checker.unique("trunk", "name", config.trunks.iter().map(|trunk| trunk.name.as_str()));
    let addresses: Vec<&str> = config.addresses.iter().map(|address| address.name.as_str()).collect();
    for (index, trunk) in config.trunks.iter().enumerate() {
        checker.must_exist(at!["trunk", index, "address"], &trunk.address, &addresses, "address");
        for (at, name) in trunk.media.iter().enumerate() {
            checker.must_exist(at!["trunk", index, "media", at], name, &addresses, "address");
        }
        signalling_address(checker, index, trunk, &addresses);
        repeated(checker, index, "codecs", &trunk.codecs);
        repeated(checker, index, "media", &trunk.media);
        destinations(checker, index, trunk);
        if checker.whole(&["trunk.from", "trunk.destinations"])
            && trunk.from.is_empty()
            && trunk.destinations.is_empty()
        {
            checker.warn(
                at!["trunk", index],
                "neither from nor destinations",
                "`from`, so that it may call, or `destinations`, so that it can be called",
            );
        }
    }
    callers_apart(checker);
    routes(checker);
    room_for_media(checker);
}

fn listens(checker: &mut Checker<'_>) {
    let config = checker.config;
    let addresses: Vec<&str> = config.addresses.iter().map(|address| address.name.as_str()).collect();
    let media = config.media.ports;
    let mut seen: HashSet<(&str, u16, SipTransport)> = HashSet::new();
    for (index, listen) in config.sip.listen.iter().enumerate() {
        checker.must_exist(at!["sip", "listen", index, "address"], &listen.address, &addresses, "address");
        if (media.low..=media.high).contains(&listen.port) {
            checker.error(
                at!["sip", "listen", index, "port"],
                listen.port.to_string(),
                format!("a port outside media.ports, {} to {}", media.low, media.high),
            );
        }
        for (at, transport) in listen.transports.iter().enumerate() {
            if !seen.insert((&listen.address, listen.port, *transport)) {
                checker.error(
                    at!["sip", "listen", index, "transports", at],
                    format!("{} on {:?} port {} again", word(*transport), listen.address, listen.port),
                    "each address, port and transport once",
                );
            }
        }
    }
}

fn word(transport: SipTransport) -> &'static str {
    match transport {
        SipTransport::Udp => "udp",
        SipTransport::Tcp => "tcp",
    }
}

/// Requests to a trunk leave from a socket that also hears its requests, so that Via and Contact hold.
fn signalling_address(checker: &mut Checker<'_>, index: usize, trunk: &Trunk, addresses: &[&str]) {
    let listening: Vec<&str> = checker.config.sip.listen.iter().map(|listen| listen.address.as_str()).collect();
    let known = addresses.contains(&trunk.address.as_str());
    if known && checker.whole(&["sip", "sip.listen"]) && !listening.contains(&trunk.address.as_str()) {
        checker.error(
            at!["trunk", index, "address"],
            format!("{:?}, where SIP is not heard", trunk.address),
            format!("an address in sip.listen: {}", listening.join(", ")),
        );
    }
}

fn repeated<T: PartialEq>(checker: &mut Checker<'_>, index: usize, key: &'static str, values: &[T]) {
    for (at, value) in values.iter().enumerate() {
        if values[..at].contains(value) {
            checker.error(at!["trunk", index, key, at], "the same again", "each of them once");
        }
    }
}

fn destinations(checker: &mut Checker<'_>, index: usize, trunk: &Trunk) {
    let config = checker.config;
    let local = config.addresses.iter().find(|address| address.name == trunk.address).map(|address| address.local);
    let heard: Vec<SipTransport> = config
        .sip
        .listen
        .iter()
        .filter(|listen| listen.address == trunk.address)
        .flat_map(|listen| listen.transports.iter().copied())
        .collect();
    for (at, text) in trunk.destinations.iter().enumerate() {
        let path = at!["trunk", index, "destinations", at];
        let destination = match text.parse::<Destination>() {
            Ok(destination) => destination,
            Err(error) => {
                checker.error(
                    path,
                    format!("{text:?}: {error}"),
                    "sip:IP[:PORT][;transport=udp|tcp], an IPv6 address in brackets",
                );
                continue;
            }
        };
        if let Some(local) = local.filter(|local| local.is_ipv4() != destination.addr.is_ipv4()) {
            checker.error(
                path,
                format!("{text:?}"),
                format!("a destination of the family of {local}, the address that signals with this trunk"),
            );
        }
        if !heard.is_empty() && checker.whole(&["sip.listen"]) && !heard.contains(&destination.transport) {
            let transport = word(destination.transport);
            checker.error(
                path,
                format!("{text:?}"),
                format!("a transport that {:?} has in sip.listen, or {transport} added there", trunk.address),
            );
        }
    }
}

/// A caller's address must tell its trunk. Where networks nest, the longest prefix does; equal ones do not.
fn callers_apart(checker: &mut Checker<'_>) {
    let config = checker.config;
    let mut seen: HashMap<(&str, IpNet), usize> = HashMap::new();
    for (index, trunk) in config.trunks.iter().enumerate() {
        for (at, net) in trunk.from.iter().enumerate() {
            let first = *seen.entry((&trunk.address, net.trunc())).or_insert(index);
            if first != index {
                checker.error(
                    at!["trunk", index, "from", at],
                    format!("{net} again"),
                    format!(
                        "a network that no other trunk on {:?} calls from; {:?} has it",
                        trunk.address, config.trunks[first].name
                    ),
                );
            }
        }
    }
}

fn routes(checker: &mut Checker<'_>) {
    let config = checker.config;
    let trunks: Vec<&str> = config.trunks.iter().map(|trunk| trunk.name.as_str()).collect();
    let mut seen: HashSet<(&str, Option<&str>)> = HashSet::new();
    for (index, route) in config.routes.iter().enumerate() {
        if let Some(from) = &route.from {
            checker.must_exist(at!["route", index, "from"], from, &trunks, "trunk");
        }
        for (at, to) in route.to.iter().enumerate() {
            let path = at!["route", index, "to", at];
            checker.must_exist(path, to, &trunks, "trunk");
            let trunk = config.trunks.iter().find(|trunk| &trunk.name == to);
            if checker.whole(&["trunk.destinations"]) && trunk.is_some_and(|trunk| trunk.destinations.is_empty()) {
                checker.error(path, format!("{to:?}, which has no destinations"), "a trunk with destinations");
            }
        }
        if let Some(bad) = route.prefix.chars().find(|c| !c.is_ascii_graphic()) {
            checker.error(
                at!["route", index, "prefix"],
                format!("{bad:?} in it"),
                "printable ASCII characters without blanks",
            );
        }
        if !seen.insert((&route.prefix, route.from.as_deref())) {
            checker.error(
                at!["route", index, "prefix"],
                format!("{:?} again", route.prefix),
                "each pair of prefix and from once; list the trunks of one route in `to`",
            );
        }
    }
}

/// A session takes a pair of ports (RTP and RTCP) on each of its two sides.
fn room_for_media(checker: &mut Checker<'_>) {
    let config = checker.config;
    if config.sip.max_calls > config.media.max_sessions {
        checker.warn(
            at!["sip", "max_calls"],
            config.sip.max_calls.to_string(),
            format!("media.max_sessions ({}) or fewer: a call takes a media session", config.media.max_sessions),
        );
    }
    if !checker.whole(&["address", "trunk", "trunk.media", "media.ports"])
        || config.media.ports.high <= config.media.ports.low
    {
        return;
    }
    let carriers: HashSet<IpAddr> = config
        .trunks
        .iter()
        .flat_map(|trunk| if trunk.media.is_empty() { std::slice::from_ref(&trunk.address) } else { &trunk.media })
        .filter_map(|name| config.addresses.iter().find(|address| &address.name == name))
        .map(|address| address.local)
        .collect();
    let pairs = (u64::from(config.media.ports.high) - u64::from(config.media.ports.low)).div_ceil(2);
    let sessions = pairs * carriers.len() as u64 / 2;
    if !carriers.is_empty() && u64::from(config.media.max_sessions) > sessions {
        checker.warn(
            at!["media", "max_sessions"],
            config.media.max_sessions.to_string(),
            format!(
                "{sessions} or fewer: {} media addresses with {pairs} port pairs each, two pairs a session",
                carriers.len()
            ),
        );
    }
}
