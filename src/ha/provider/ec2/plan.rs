//! What is to be asked of EC2 for which addresses, and what its answers say of where they are. Values in, values out: no
//! network here.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;

use super::super::{Floating, Place};
use crate::wire::ethernet::Mac;

/// One floating address, how it moves, and which of this host's interfaces takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub floating: Floating,
    pub interface: Choice,
    pub way: Way,
}

/// How an interface is named before the metadata service was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Id(String),
    Mac(Mac),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    Secondary,
    Elastic { allocation: String },
    Route { tables: Vec<String>, destination: IpNet },
}

/// A target whose interface is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub floating: Floating,
    pub way: Way,
    pub interface: String,
    pub vpc: String,
}

/// One call that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Assign { interface: String, addresses: Vec<Ipv4Addr> },
    Associate { interface: String, allocation: String, private: Ipv4Addr },
    Replace { interface: String, table: String, destination: IpNet },
}

/// The calls that take all of `moves`, each with the indices of the moves that need it. Secondary addresses of one
/// interface go in one call: they then arrive together, and cost one token of the account's rate.
pub fn calls(moves: &[Move]) -> Vec<(Call, Vec<usize>)> {
    let mut calls: Vec<(Call, Vec<usize>)> = Vec::new();
    for (index, one) in moves.iter().enumerate() {
        let interface = one.interface.clone();
        match (&one.way, one.floating.local) {
            (Way::Secondary, IpAddr::V4(address)) => {
                let joined = calls.iter_mut().find_map(|(call, needed_by)| match call {
                    Call::Assign { interface: other, addresses } if *other == interface => Some((addresses, needed_by)),
                    _ => None,
                });
                if let Some((addresses, needed_by)) = joined {
                    addresses.push(address);
                    needed_by.push(index);
                } else {
                    calls.push((Call::Assign { interface, addresses: vec![address] }, vec![index]));
                }
            }
            (Way::Elastic { allocation }, IpAddr::V4(private)) => {
                calls.push((Call::Associate { interface, allocation: allocation.clone(), private }, vec![index]));
            }
            (Way::Route { tables, destination }, _) => calls.extend(tables.iter().map(|table| {
                let (interface, table) = (interface.clone(), table.clone());
                (Call::Replace { interface, table, destination: *destination }, vec![index])
            })),
            // The configuration refuses it: EC2 moves no IPv6 address in one step.
            (Way::Secondary | Way::Elastic { .. }, IpAddr::V6(_)) => {}
        }
    }
    calls
}

/// What the Describe calls showed.
#[derive(Debug, Default)]
pub struct Seen {
    /// Interfaces that have a private address, with their VPC: addresses repeat from one VPC to another.
    pub private: Vec<(IpAddr, String, String)>,
    /// Per allocation: interface and private address, where it is associated.
    pub elastic: HashMap<String, Option<(String, Option<IpAddr>)>>,
    /// Per table and destination: what the route leads to.
    pub routes: HashMap<(String, IpNet), String>,
}

impl Seen {
    pub fn place(&self, one: &Move) -> Place {
        match &one.way {
            Way::Secondary => {
                let with =
                    |(address, _, vpc): &&(IpAddr, String, String)| *address == one.floating.local && *vpc == one.vpc;
                whose(one, self.private.iter().find(with).map(|(_, interface, _)| interface.as_str()))
            }
            Way::Elastic { allocation } => match self.elastic.get(allocation) {
                Some(Some((interface, private))) if *private == Some(one.floating.local) => whose(one, Some(interface)),
                Some(Some((interface, Some(private)))) => Place::Elsewhere(format!("{interface} at {private}")),
                Some(Some((interface, None))) => Place::Elsewhere(interface.clone()),
                Some(None) | None => Place::Nowhere,
            },
            Way::Route { tables, destination } => {
                let places = tables
                    .iter()
                    .map(|table| whose(one, self.routes.get(&(table.clone(), *destination)).map(String::as_str)));
                // Here only if every table says so: half of the callers is not all of them.
                places.into_iter().find(|place| *place != Place::Here).unwrap_or(Place::Here)
            }
        }
    }
}

fn whose(one: &Move, interface: Option<&str>) -> Place {
    match interface {
        Some(interface) if interface == one.interface => Place::Here,
        Some(other) => Place::Elsewhere(other.to_owned()),
        None => Place::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(local: &str, way: Way) -> Move {
        Move {
            floating: Floating { name: local.into(), local: local.parse().unwrap(), advertise: None },
            way,
            interface: "eni-us".into(),
            vpc: "vpc-1".into(),
        }
    }

    fn route(tables: &[&str]) -> Way {
        let tables = tables.iter().map(|table| (*table).to_owned()).collect();
        Way::Route { tables, destination: "198.51.100.7/32".parse().unwrap() }
    }

    #[test]
    fn secondary_addresses_of_an_interface_share_a_call() {
        let mut third = one("10.0.0.9", Way::Secondary);
        third.interface = "eni-other".into();
        let elastic = one("10.0.0.20", Way::Elastic { allocation: "eipalloc-1".into() });
        let moves = [
            one("10.0.0.7", Way::Secondary),
            elastic,
            one("10.0.0.8", Way::Secondary),
            third,
            one("198.51.100.7", route(&["rtb-1", "rtb-2"])),
        ];
        let all = calls(&moves);
        let assigned = |interface: &str, addresses: &[&str]| Call::Assign {
            interface: interface.into(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        };
        assert_eq!(all[0], (assigned("eni-us", &["10.0.0.7", "10.0.0.8"]), vec![0, 2]));
        assert!(matches!(&all[1], (Call::Associate { private, .. }, by) if private.octets()[3] == 20 && *by == [1]));
        assert_eq!(all[2], (assigned("eni-other", &["10.0.0.9"]), vec![3]));
        let tables = all[3..].iter().map(|(call, by)| match call {
            Call::Replace { table, .. } => (table.as_str(), by.as_slice()),
            other => panic!("{other:?}"),
        });
        assert_eq!(tables.collect::<Vec<_>>(), [("rtb-1", [4].as_slice()), ("rtb-2", [4].as_slice())]);
    }

    #[test]
    fn the_same_private_address_in_another_vpc_is_another() {
        let us = one("10.0.0.7", Way::Secondary);
        let seen = |interface: &str, vpc: &str| Seen {
            private: vec![(us.floating.local, interface.into(), vpc.into())],
            ..Seen::default()
        };
        assert_eq!(seen("eni-us", "vpc-1").place(&us), Place::Here);
        assert_eq!(seen("eni-them", "vpc-1").place(&us), Place::Elsewhere("eni-them".into()));
        assert_eq!(seen("eni-them", "vpc-2").place(&us), Place::Nowhere);
    }

    #[test]
    fn an_elastic_ip_is_here_only_at_the_right_private_address() {
        let us = one("10.0.0.20", Way::Elastic { allocation: "eipalloc-1".into() });
        let seen = |at: Option<(&str, &str)>| {
            let at = at.map(|(interface, private)| (interface.to_owned(), Some(private.parse().unwrap())));
            Seen { elastic: HashMap::from([("eipalloc-1".into(), at)]), ..Seen::default() }
        };
        assert_eq!(seen(Some(("eni-us", "10.0.0.20"))).place(&us), Place::Here);
        assert_eq!(seen(Some(("eni-us", "10.0.0.10"))).place(&us), Place::Elsewhere("eni-us at 10.0.0.10".into()));
        assert_eq!(seen(None).place(&us), Place::Nowhere);
    }

    #[test]
    fn a_route_is_here_only_if_every_table_says_so() {
        let us = one("198.51.100.7", route(&["rtb-1", "rtb-2"]));
        let seen = |routes: &[(&str, &str)]| {
            let destination: IpNet = "198.51.100.7/32".parse().unwrap();
            let routes = routes.iter().map(|(table, to)| (((*table).to_owned(), destination), (*to).to_owned()));
            Seen { routes: routes.collect(), ..Seen::default() }
        };
        assert_eq!(seen(&[("rtb-1", "eni-us"), ("rtb-2", "eni-us")]).place(&us), Place::Here);
        let half = seen(&[("rtb-1", "eni-us"), ("rtb-2", "eni-them")]);
        assert_eq!(half.place(&us), Place::Elsewhere("eni-them".into()));
        assert_eq!(seen(&[("rtb-1", "eni-us")]).place(&us), Place::Nowhere);
    }
}
