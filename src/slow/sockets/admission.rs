//! Which peers may connect, and how often. Runs on the slow-path thread.
//!
//! Always holds: each source, all strangers together and all peers together have their bound; what was admitted is
//! counted until it is released.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use crate::{
    base::limits::{
        SIP_CONNECTIONS, SIP_CONNECTIONS_OF_STRANGERS, SIP_CONNECTIONS_PER_SOURCE, SIP_CONNECTIONS_PER_TRUNK_SOURCE,
        SIP_CONNECTIONS_RESERVED,
    },
    config::Config,
    sip::message::Uri,
};

/// Whom an accepted connection is counted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    key: IpNet,
    trunk: bool,
}

impl Source {
    pub fn is_trunk(self) -> bool {
        self.trunk
    }
}

/// Accepted connections, by source.
pub struct Admission {
    trunks: Vec<IpNet>,
    by_source: HashMap<IpNet, usize>,
    all: usize,
    strangers: usize,
}

impl Admission {
    pub fn new(trunks: Vec<IpNet>) -> Self {
        Admission { trunks, by_source: HashMap::new(), all: 0, strangers: 0 }
    }

    /// None: no more from there.
    pub fn admit(&mut self, remote: IpAddr) -> Option<Source> {
        let source = self.source(remote);
        let limit = if source.trunk { SIP_CONNECTIONS_PER_TRUNK_SOURCE } else { SIP_CONNECTIONS_PER_SOURCE };
        let of_source = self.by_source.get(&source.key).copied().unwrap_or(0);
        let full = self.all >= SIP_CONNECTIONS - SIP_CONNECTIONS_RESERVED
            || of_source >= limit
            || !source.trunk && self.strangers >= SIP_CONNECTIONS_OF_STRANGERS;
        if full {
            return None;
        }
        self.by_source.insert(source.key, of_source + 1);
        self.all += 1;
        self.strangers += usize::from(!source.trunk);
        Some(source)
    }

    pub fn release(&mut self, source: Source) {
        let Some(count) = self.by_source.get_mut(&source.key) else { return };
        *count -= 1;
        if *count == 0 {
            self.by_source.remove(&source.key);
        }
        self.all -= 1;
        self.strangers -= usize::from(!source.trunk);
    }

    fn source(&self, remote: IpAddr) -> Source {
        let host = IpNet::from(remote);
        if self.trunks.iter().any(|net| net.contains(&remote)) {
            return Source { key: host, trunk: true };
        }
        // One host on IPv6 usually has a whole /64 to call from.
        let key = match remote {
            IpAddr::V4(_) => host,
            IpAddr::V6(_) => IpNet::new(remote, 64).map_or(host, |net| net.trunc()),
        };
        Source { key, trunk: false }
    }
}

/// The peers that the configuration names: where trunks call from, and where calls to them go.
pub fn trunk_peers(config: &Config) -> Vec<IpNet> {
    let from = config.trunks.iter().flat_map(|trunk| trunk.from.iter().copied());
    let to = config.trunks.iter().flat_map(|trunk| &trunk.destinations);
    from.chain(to.filter_map(|to| Uri::parse(&to.uri).ok()?.host.ip()).map(IpNet::from)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn v4(n: usize) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0xc612_0000 + n as u32))
    }

    #[test]
    fn strangers_leave_room_for_trunks_and_all_leave_room_for_our_own() {
        let mut admission = Admission::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let strangers = (0..SIP_CONNECTIONS).filter(|n| admission.admit(v4(*n)).is_some()).count();
        assert_eq!(strangers, 2_048);
        let trunk = |n: usize| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n as u32));
        let trunks = (0..SIP_CONNECTIONS).filter(|n| admission.admit(trunk(*n)).is_some()).count();
        assert_eq!(strangers + trunks, 4_096 - 256);
    }

    #[test]
    fn a_source_that_is_released_is_forgotten() {
        let mut admission = Admission::new(Vec::new());
        let admitted: Vec<Source> = (0..40).filter_map(|_| admission.admit(v4(1))).collect();
        assert_eq!(admitted.len(), 32);
        assert!(admission.admit(v4(2)).is_some());
        admitted.into_iter().for_each(|source| admission.release(source));
        assert_eq!((admission.all, admission.strangers, admission.by_source.len()), (1, 1, 1));
        assert!(admission.admit(v4(1)).is_some());
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_a_trunk_in_it_is_its_own() {
        let host = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, n));
        let mut admission = Admission::new(vec![IpNet::from(host(0))]);
        let strangers = (1..100).filter(|n| admission.admit(host(*n)).is_some()).count();
        assert_eq!(strangers, 32);
        let trunk = (0..300).filter(|_| admission.admit(host(0)).is_some()).count();
        assert_eq!(trunk, 256);
    }
}
