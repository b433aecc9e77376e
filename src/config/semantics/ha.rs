//! Checks of `[ha]` and of `address.floating`: a pair that could not hear each other, or whose addresses could not move.

use std::{collections::HashMap, net::IpAddr};

use super::{Checker, Step, machine, network};
use crate::config::{Ha, HaLink, HaProvider, document::at};

pub(super) fn check(checker: &mut Checker<'_>) {
    let config = checker.config;
    let Some(ha) = &config.ha else {
        if let Some(index) = config.addresses.iter().position(|address| address.floating)
            && checker.whole(&["ha"])
        {
            checker.warn(
                at!["address", index, "floating"],
                "an address that floats alone",
                "a host of a pair, see [ha]",
            );
        }
        return;
    };
    names(checker, ha);
    floating(checker, ha);
    for (index, path) in ha.paths.iter().enumerate() {
        link(checker, &[Step::Key("ha"), Step::Key("path"), Step::At(index)], path);
    }
    link(checker, at!["ha", "replication"], &ha.replication);
    paths_apart(checker, ha);
}

fn names(checker: &mut Checker<'_>, ha: &Ha) {
    if !machine::is_node_name(&ha.peer) {
        checker.error(at!["ha", "peer"], format!("{:?}", ha.peer), machine::NODE_NAME);
    } else if ha.peer == checker.config.node.name && checker.whole(&["node.name"]) {
        checker.error(
            at!["ha", "peer"],
            format!("{:?}, the name of this host", ha.peer),
            "node.name of the other host",
        );
    }
}

fn floating(checker: &mut Checker<'_>, ha: &Ha) {
    if !checker.whole(&["address", "address.floating"]) || checker.config.addresses.iter().any(|a| a.floating) {
        return;
    }
    let allowed = "an [[address]] with floating = true: one that moves to the host that is active";
    match ha.provider {
        HaProvider::None => checker.warn(at!["ha"], "no address that floats", allowed),
        HaProvider::Garp | HaProvider::Ec2 => {
            let found = format!("{:?}, and no address that floats", ha.provider.as_str());
            checker.error(at!["ha", "provider"], found, allowed);
        }
    }
}

fn link(checker: &mut Checker<'_>, path: &[Step], link: &HaLink) {
    let at = |key: &'static str| [path, &[Step::Key(key)]].concat();
    for (key, address) in [("local", link.local), ("peer", link.peer)] {
        if !network::is_unicast(address.ip()) || address.port() == 0 {
            checker.error(&at(key), address.to_string(), "an address and a port that the other host can reach");
        }
    }
    if link.local.is_ipv4() != link.peer.is_ipv4() {
        checker.error(&at("peer"), link.peer.to_string(), format!("an address of the family of {}", link.local));
    } else if link.local.ip() == link.peer.ip() {
        checker.error(&at("peer"), format!("{}, this host", link.peer.ip()), "an address of the other host");
    }
    let floats = |ip: IpAddr| checker.config.addresses.iter().find(|a| a.floating && a.local == ip);
    for (key, address) in [("local", link.local), ("peer", link.peer)] {
        if let Some(name) = floats(address.ip()).map(|a| a.name.clone()) {
            let found = format!("{}, which floats as [[address]] {name:?}", address.ip());
            checker.error(&at(key), found, "an address that stays with its host");
        }
    }
}

fn paths_apart(checker: &mut Checker<'_>, ha: &Ha) {
    if !checker.whole(&["ha.path", "ha.path.local", "ha.path.peer"]) {
        return;
    }
    let path = |index: usize, key: &'static str| [Step::Key("ha"), Step::Key("path"), Step::At(index), Step::Key(key)];
    if let [only] = ha.paths.as_slice() {
        let found = format!("one path, from {}", only.local.ip());
        let allowed = "two, over networks that do not fail together: where the only one fails, both hosts are active";
        checker.warn(at!["ha", "path"], found, allowed);
    }
    let mut sockets = HashMap::new();
    let mut hosts = HashMap::new();
    for (index, one) in ha.paths.iter().enumerate() {
        if let Some(first) = sockets.insert(one.local, index) {
            let found = format!("{} again", one.local);
            checker.error(&path(index, "local"), found, format!("a socket of its own; path {} has it", first + 1));
        } else if let Some(first) = hosts.insert((one.local.ip(), one.peer.ip()), index) {
            let found = format!("{} and {}, as path {}", one.local.ip(), one.peer.ip(), first + 1);
            checker.warn(&path(index, "local"), found, "a path over another network: these two fail together");
        }
    }
}
