//! Checks of `[ha.ec2]`: each floating address moves in exactly one way, with what that way needs and nothing else; and
//! whether this build has the SDK at all.

use std::net::IpAddr;

use super::Checker;
use crate::config::{
    Ec2Address, Ec2Way, HaEc2, HaProvider,
    document::{Step, at},
};

pub(super) fn check(checker: &mut Checker<'_>) {
    let config = checker.config;
    let Some(ha) = &config.ha else { return };
    let by_api = ha.provider == HaProvider::Ec2;
    if by_api && !cfg!(feature = "ec2") {
        checker.error(
            at!["ha", "provider"],
            "\"ec2\", which this build was made without",
            "\"none\" or \"garp\"; or a build with `cargo build --features ec2`",
        );
    }
    match &ha.ec2 {
        None if by_api && checker.whole(&["ha.ec2"]) => {
            checker.error(at!["ha", "provider"], "\"ec2\" without [ha.ec2]", "\"ec2\" with [ha.ec2]");
        }
        Some(_) if !by_api => {
            checker.error(at!["ha", "ec2"], "a table that nothing reads", "[ha.ec2] with ha.provider = \"ec2\" only");
        }
        Some(ec2) => table(checker, ec2),
        None => {}
    }
}

fn table(checker: &mut Checker<'_>, ec2: &HaEc2) {
    let config = checker.config;
    for (key, url) in [("endpoint", &ec2.endpoint), ("metadata", &ec2.metadata)] {
        if let Some(url) = url
            && !is_url(url)
        {
            checker.error(at!["ha", "ec2", key], format!("{url:?}"), "\"https://HOST[:PORT]\" or \"http://…\"");
        }
    }
    let names: Vec<&str> = config.addresses.iter().map(|address| address.name.as_str()).collect();
    for (index, entry) in ec2.addresses.iter().enumerate() {
        let name = at!["ha", "ec2", "address", index, "name"];
        checker.must_exist(name, &entry.name, &names, "address");
        if let Some(first) = ec2.addresses[..index].iter().position(|other| other.name == entry.name) {
            let first = first + 1;
            checker.error(
                name,
                format!("{:?} again", entry.name),
                format!("an address of its own; [[ha.ec2.address]] number {first} has it"),
            );
        }
        let Some(address) = config.addresses.iter().find(|address| address.name == entry.name) else { continue };
        if !address.floating {
            checker.error(name, format!("{:?}, which is not floating", entry.name), "an address with floating = true");
        }
        if entry.by == Ec2Way::Elastic && address.advertise.is_none() {
            checker.error(
                name,
                format!("{:?} without address.advertise", entry.name),
                "an address that advertises its Elastic IP",
            );
        }
        way(checker, index, entry, address.local);
    }
    for (index, address) in config.addresses.iter().enumerate() {
        let moves = ec2.addresses.iter().any(|entry| entry.name == address.name);
        if address.floating && !moves && checker.whole(&["ha.ec2.address"]) {
            checker.error(
                at!["address", index, "floating"],
                format!("{:?}, which nothing moves", address.name),
                "a floating address with an [[ha.ec2.address]]",
            );
        }
    }
}

/// What the way needs, and what means nothing with it.
fn way(checker: &mut Checker<'_>, index: usize, entry: &Ec2Address, local: IpAddr) {
    let place = |key: &'static str| [Step::Key("ha"), "ec2".into(), "address".into(), index.into(), key.into()];
    let by = entry.by.as_str();
    if local.is_ipv6() && entry.by != Ec2Way::Route {
        checker.error(
            &place("by"),
            format!("{by:?} for {local}"),
            "\"route\": EC2 has no call that moves an IPv6 address from one interface to another in one step",
        );
    }
    if let Some(id) = &entry.interface {
        identifier(checker, &place("interface"), id, "eni-");
    }
    match (&entry.allocation, entry.by) {
        (Some(id), Ec2Way::Elastic) => identifier(checker, &place("allocation"), id, "eipalloc-"),
        (None, Ec2Way::Elastic) => {
            checker.error(
                &place("by"),
                "\"elastic\" without allocation",
                "\"elastic\" with the Elastic IP's eipalloc-…",
            );
        }
        (Some(_), _) => meaningless(checker, &place("allocation"), by, "elastic"),
        (None, _) => {}
    }
    if entry.by == Ec2Way::Route {
        if entry.tables.is_empty() {
            checker.error(&place("by"), "\"route\" without tables", "\"route\" with the route tables' rtb-…");
        }
        for (at, id) in entry.tables.iter().enumerate() {
            let mut path = place("tables").to_vec();
            path.push(Step::At(at));
            identifier(checker, &path, id, "rtb-");
        }
    } else if !entry.tables.is_empty() {
        meaningless(checker, &place("tables"), by, "route");
    }
    if let Some(net) = entry.destination {
        if entry.by != Ec2Way::Route {
            meaningless(checker, &place("destination"), by, "route");
        } else if !net.contains(&local) || net.trunc() != net {
            checker.error(
                &place("destination"),
                net.to_string(),
                format!("a network that holds {local}, without bits behind its prefix"),
            );
        }
    }
}

fn meaningless(checker: &mut Checker<'_>, path: &[Step], by: &str, wanted: &str) {
    checker.error(path, format!("a key that by = {by:?} does not use"), format!("this key with by = {wanted:?} only"));
}

/// EC2's identifiers: a prefix, then 8 or 17 hexadecimal digits.
fn identifier(checker: &mut Checker<'_>, path: &[Step], id: &str, prefix: &str) {
    let sound = id.strip_prefix(prefix).is_some_and(|digits| {
        [8, 17].contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    });
    if !sound {
        checker.error(path, format!("{id:?}"), format!("{prefix} and 17 hexadecimal digits, as AWS shows it"));
    }
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|host| !host.is_empty() && !host.starts_with('/') && host.bytes().all(|b| b.is_ascii_graphic()))
}
