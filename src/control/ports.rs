//! Media ports: an RTP/RTCP pair (even, odd: RFC 3550 §11) at a time, from one range on every media address. A freed pair
//! rests before it is allotted again, so that what a dead call's peer still sends finds no living one.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    base::{Time, limits::PORT_REST},
    config::{Config, PortRange},
};

/// A logical media address as the pool needs it.
#[derive(Clone, Debug)]
struct Pool {
    local: IpAddr,
    told: IpAddr,
    /// Even ports, oldest first: the order of allotment is the order of freeing.
    free: VecDeque<u16>,
    resting: VecDeque<(Time, u16)>,
}

/// An allotted pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Name of the address.
    pub address: String,
    pub local: IpAddr,
    pub told: IpAddr,
    /// The even port; RTCP is on the next.
    pub rtp: u16,
}

impl Pair {
    pub fn rtp(&self) -> SocketAddr {
        SocketAddr::new(self.local, self.rtp)
    }

    pub fn rtcp(&self) -> SocketAddr {
        SocketAddr::new(self.local, self.rtp + 1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllotError {
    NoAddress,
    NoPort,
}

#[derive(Debug)]
pub struct Ports {
    pools: HashMap<String, Pool>,
    rest: Duration,
    /// Rotates over a list of addresses, so that they fill evenly.
    turn: usize,
}

impl Ports {
    pub fn new(config: &Config) -> Self {
        let pools = config
            .addresses
            .iter()
            .map(|a| {
                let pool = Pool {
                    local: a.local,
                    told: a.advertise.unwrap_or(a.local),
                    free: even_ports(config.media.ports).collect(),
                    resting: VecDeque::new(),
                };
                (a.name.clone(), pool)
            })
            .collect();
        Ports { pools, rest: PORT_REST, turn: 0 }
    }

    /// A pair on one of the named addresses, in turn; the next one where an address is used up.
    pub fn allot(&mut self, now: Time, names: &[String]) -> Result<Pair, AllotError> {
        let mut known = false;
        self.turn = self.turn.wrapping_add(1);
        for i in 0..names.len() {
            let name = &names[self.turn.wrapping_add(i) % names.len()];
            let Some(pool) = self.pools.get_mut(name) else { continue };
            known = true;
            pool.wake(now, self.rest);
            if let Some(rtp) = pool.free.pop_front() {
                return Ok(Pair { address: name.clone(), local: pool.local, told: pool.told, rtp });
            }
        }
        Err(if known { AllotError::NoPort } else { AllotError::NoAddress })
    }

    /// This very pair, also one that still rests: another host has allotted it. None: it is allotted here.
    pub fn take(&mut self, address: &str, rtp: u16) -> Option<Pair> {
        let pool = self.pools.get_mut(address)?;
        if let Some(at) = pool.free.iter().position(|port| *port == rtp) {
            pool.free.remove(at)?;
        } else {
            let at = pool.resting.iter().position(|(_, port)| *port == rtp)?;
            pool.resting.remove(at)?;
        }
        Some(Pair { address: address.to_owned(), local: pool.local, told: pool.told, rtp })
    }

    pub fn free(&mut self, now: Time, pair: &Pair) {
        if let Some(pool) = self.pools.get_mut(&pair.address) {
            pool.resting.push_back((now, pair.rtp));
        }
    }

    /// A pair that was never used need not rest.
    pub fn give_back(&mut self, pair: &Pair) {
        if let Some(pool) = self.pools.get_mut(&pair.address) {
            pool.free.push_front(pair.rtp);
        }
    }

    /// Those that have rested can be allotted again.
    pub fn wake(&mut self, now: Time) {
        self.pools.values_mut().for_each(|pool| pool.wake(now, self.rest));
    }

    /// Pairs that could be allotted now, over all addresses (resting ones not counted).
    pub fn spare(&self) -> usize {
        self.pools.values().map(|p| p.free.len()).sum()
    }
}

impl Pool {
    fn wake(&mut self, now: Time, rest: Duration) {
        while let Some(&(since, port)) = self.resting.front() {
            if now.since(since) < rest {
                return;
            }
            self.resting.pop_front();
            self.free.push_back(port);
        }
    }
}

fn even_ports(range: PortRange) -> impl Iterator<Item = u16> {
    (range.low..range.high).filter(|p| p % 2 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(low: u16, high: u16) -> Ports {
        let pool = |ip: &str| Pool {
            local: ip.parse().unwrap(),
            told: ip.parse().unwrap(),
            free: even_ports(PortRange { low, high }).collect(),
            resting: VecDeque::new(),
        };
        Ports {
            pools: HashMap::from([("a".to_owned(), pool("198.18.1.10")), ("b".to_owned(), pool("198.18.1.11"))]),
            rest: PORT_REST,
            turn: 0,
        }
    }

    #[test]
    fn pairs_are_even_and_the_rtcp_port_stays_inside_the_range() {
        assert_eq!(even_ports(PortRange { low: 20_000, high: 20_004 }).collect::<Vec<_>>(), [20_000, 20_002]);
        assert_eq!(even_ports(PortRange { low: 20_001, high: 20_003 }).collect::<Vec<_>>(), [20_002]);
    }

    #[test]
    fn a_freed_pair_rests_before_it_comes_again() {
        let mut ports = ports(20_000, 20_001);
        let names = ["a".to_owned()];
        let pair = ports.allot(Time::from_secs(1), &names).unwrap();
        assert_eq!(ports.allot(Time::from_secs(1), &names), Err(AllotError::NoPort));
        ports.free(Time::from_secs(5), &pair);
        assert_eq!(ports.allot(Time::from_millis(14_999), &names), Err(AllotError::NoPort));
        assert_eq!(ports.allot(Time::from_secs(15), &names).unwrap().rtp, pair.rtp);
    }

    #[test]
    fn a_pair_that_another_host_allotted_is_taken_once_and_wherever_it_waits() {
        let mut ports = ports(20_000, 20_003);
        let names = ["a".to_owned()];
        let pair = ports.take("a", 20_002).unwrap();
        assert_eq!((pair.address.as_str(), pair.rtp), ("a", 20_002));
        assert_eq!(ports.take("a", 20_002), None);
        assert_eq!((ports.take("a", 20_008), ports.take("nowhere", 20_000)), (None, None));
        assert_eq!(ports.allot(Time::ZERO, &names).unwrap().rtp, 20_000);
        assert_eq!(ports.allot(Time::ZERO, &names), Err(AllotError::NoPort));
        ports.free(Time::from_secs(1), &pair);
        assert_eq!(ports.take("a", 20_002), Some(pair));
    }

    #[test]
    fn addresses_take_turns_and_stand_in_for_each_other() {
        let mut ports = ports(20_000, 20_003);
        let names = ["a".to_owned(), "b".to_owned()];
        let mut got: Vec<_> = (0..4).map(|_| ports.allot(Time::ZERO, &names).unwrap()).collect();
        assert_ne!(got[0].address, got[1].address);
        assert_eq!(ports.allot(Time::ZERO, &names), Err(AllotError::NoPort));
        got.sort_by_key(|p| (p.address.clone(), p.rtp));
        got.dedup();
        assert_eq!(got.len(), 4);
        assert_eq!(ports.allot(Time::ZERO, &["nowhere".to_owned()]), Err(AllotError::NoAddress));
    }
}
