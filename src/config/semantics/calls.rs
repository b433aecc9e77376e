//! Checks of `[sip]`, `[[trunk]]` and of the room for calls: who may call, from where, to where.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::Checker;
use crate::config::{
    Destination, NamedDestination, SipTransport, Trunk,
    document::{Step, at},
};

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
        super::trunks::check(checker, index, trunk);
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
    room_for_media(checker);
    session_timer(checker);
}

/// RFC 4028 §5: nobody asks for a session interval that they would refuse.
fn session_timer(checker: &mut Checker<'_>) {
    let timer = checker.config.sip.session_timer;
    if timer.expires_s < timer.min_se_s {
        checker.error(
            at!["sip", "session_timer", "expires_s"],
            timer.expires_s.to_string(),
            format!("sip.session_timer.min_se_s ({}) or more", timer.min_se_s),
        );
    }
}

fn listens(checker: &mut Checker<'_>) {
    let config = checker.config;
    let addresses: Vec<&str> = config.addresses.iter().map(|address| address.name.as_str()).collect();
    let media = config.media.ports;
    let mut seen: HashSet<(&str, u16, SipTransport)> = HashSet::new();
    for (index, listen) in config.sip.listen.iter().enumerate() {
        checker.must_exist(at!["sip", "listen", index, "address"], &listen.address, &addresses, "address");
        let taken = listen.transports.iter().map(|transport| listen.port_of(*transport));
        if let Some(port) = taken.filter(|port| (media.low..=media.high).contains(port)).min() {
            checker.error(
                at!["sip", "listen", index, "port"],
                port.to_string(),
                format!("a port outside media.ports, {} to {}", media.low, media.high),
            );
        }
        for (at, transport) in listen.transports.iter().enumerate() {
            let port = listen.port_of(*transport);
            // TLS is heard over TCP: the two share its ports.
            let over = if transport.is_stream() { SipTransport::Tcp } else { SipTransport::Udp };
            if !seen.insert((&listen.address, port, over)) {
                checker.error(
                    at!["sip", "listen", index, "transports", at],
                    format!("{} on {:?} port {port} again", transport.word(), listen.address),
                    "each address, port and transport once; tcp and tls have ports of their own",
                );
            }
        }
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
    for (at, entry) in trunk.destinations.iter().enumerate() {
        let (path, text) = (at!["trunk", index, "destinations", at], &entry.uri);
        if trunk.destinations[..at].iter().any(|other| other.uri == *text) {
            checker.error(path, format!("{text:?} again"), "each destination once; a weight gives it a larger share");
        }
        destination(checker, path, trunk, text);
    }
}

/// Whether requests from the trunk's address can go where `text` says.
pub(super) fn destination(checker: &mut Checker<'_>, path: &[Step], trunk: &Trunk, text: &str) {
    let config = checker.config;
    let local = config.addresses.iter().find(|address| address.name == trunk.address).map(|address| address.local);
    let heard: Vec<SipTransport> = config
        .sip
        .listen
        .iter()
        .filter(|listen| listen.address == trunk.address)
        .flat_map(|listen| listen.transports.iter().copied())
        .collect();
    let destination = match text.parse::<Destination>() {
        Ok(destination) => destination,
        Err(_) if NamedDestination::parse(text).is_some() => {
            let asked = NamedDestination::parse(text).and_then(|named| named.transport);
            if let Some(transport) = asked.filter(|transport| !heard.is_empty() && !heard.contains(transport))
                && checker.whole(&["sip.listen"])
            {
                let word = transport.word();
                let there = format!("a transport that {:?} has in sip.listen, or {word} added there", trunk.address);
                checker.error(path, format!("{text:?}"), there);
            }
            return;
        }
        Err(error) => {
            checker.error(
                path,
                format!("{text:?}: {error}"),
                "sip:HOST[:PORT][;transport=udp|tcp|tls] or sips:HOST[:PORT], the host an IP address (IPv6 in brackets) or a name",
            );
            return;
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
        let transport = destination.transport.word();
        checker.error(
            path,
            format!("{text:?}"),
            format!("a transport that {:?} has in sip.listen, or {transport} added there", trunk.address),
        );
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
