//! Values by network, found by address: the longest prefix wins. Slow-path thread. A look-up costs the number of
//! distinct prefix lengths, not the number of networks.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

#[derive(Clone, Debug)]
pub struct Networks<T> {
    by_net: HashMap<IpNet, T>,
    /// For IPv4 and IPv6, prefix lengths that occur and how often, longest first.
    lengths: [Vec<(u8, usize)>; 2],
}

impl<T> Default for Networks<T> {
    fn default() -> Self {
        Networks { by_net: HashMap::new(), lengths: [Vec::new(), Vec::new()] }
    }
}

/// The network of `ip` with that prefix length.
fn network(ip: IpAddr, len: u8) -> Option<IpNet> {
    IpNet::new(ip, len).ok().map(|net| net.trunc())
}

impl<T> Networks<T> {
    fn find(&self, ip: IpAddr) -> Option<IpNet> {
        let lengths = &self.lengths[usize::from(ip.is_ipv6())];
        lengths.iter().filter_map(|(len, _)| network(ip, *len)).find(|net| self.by_net.contains_key(net))
    }

    pub fn get(&self, ip: IpAddr) -> Option<&T> {
        self.by_net.get(&self.find(ip)?)
    }

    /// With the network itself, so that it can be removed.
    pub fn get_mut(&mut self, ip: IpAddr) -> Option<(IpNet, &mut T)> {
        let net = self.find(ip)?;
        Some((net, self.by_net.get_mut(&net)?))
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        self.find(ip).is_some()
    }

    /// Returns what was there before.
    pub fn insert(&mut self, net: IpNet, value: T) -> Option<T> {
        let net = net.trunc();
        let before = self.by_net.insert(net, value);
        if before.is_none() {
            let lengths = &mut self.lengths[usize::from(net.addr().is_ipv6())];
            match lengths.iter_mut().find(|(len, _)| *len == net.prefix_len()) {
                Some((_, times)) => *times += 1,
                None => {
                    lengths.push((net.prefix_len(), 1));
                    lengths.sort_unstable_by_key(|(len, _)| std::cmp::Reverse(*len));
                }
            }
        }
        before
    }

    pub fn remove(&mut self, net: IpNet) -> Option<T> {
        let net = net.trunc();
        let value = self.by_net.remove(&net)?;
        let lengths = &mut self.lengths[usize::from(net.addr().is_ipv6())];
        if let Some((_, times)) = lengths.iter_mut().find(|(len, _)| *len == net.prefix_len()) {
            *times -= 1;
        }
        lengths.retain(|(_, times)| *times > 0);
        Some(value)
    }

    pub fn exact(&self, net: IpNet) -> Option<&T> {
        self.by_net.get(&net.trunc())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&IpNet, &T)> {
        self.by_net.iter()
    }

    pub fn len(&self) -> usize {
        self.by_net.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_wins_and_removal_leaves_the_rest() {
        let mut nets = Networks::default();
        nets.insert("198.18.0.0/15".parse().unwrap(), 15);
        nets.insert("198.18.1.0/24".parse().unwrap(), 24);
        nets.insert("198.18.2.0/24".parse().unwrap(), 2);
        nets.insert("2001:db8::/64".parse().unwrap(), 64);
        assert_eq!(nets.get(ip("198.18.1.9")), Some(&24));
        assert_eq!(nets.get(ip("198.19.1.9")), Some(&15));
        assert_eq!(nets.get(ip("2001:db8::9")), Some(&64));
        assert_eq!(nets.get(ip("2001:db8:1::9")), None);
        // Host bits do not matter.
        assert_eq!(nets.remove("198.18.1.7/24".parse().unwrap()), Some(24));
        assert_eq!(nets.get(ip("198.18.1.9")), Some(&15));
        assert_eq!(nets.get(ip("198.18.2.9")), Some(&2));
        assert_eq!(nets.len(), 3);
    }
}
