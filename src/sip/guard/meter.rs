//! How many messages each source may send: a token bucket per source, in a table of bounded size. Slow-path thread.
//!
//! Always holds: a source's state is forgotten only when its bucket is full again, when forgetting changes nothing. So
//! nobody can push another's state out. While the table is full of sources that are active, further ones share one
//! bucket.

use std::collections::HashMap;

use ipnet::IpNet;

use crate::base::Time;

/// One message, in the unit that buckets count in: at a rate of r a second, r of these come in a microsecond.
const ONE: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// 0: no limit.
    pub per_s: u32,
    pub burst: u32,
}

impl Rate {
    fn depth(&self) -> u64 {
        u64::from(self.burst.max(1)) * ONE
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    level: u64,
    at: Time,
}

impl Bucket {
    pub fn full(rate: &Rate, now: Time) -> Self {
        Bucket { level: rate.depth(), at: now }
    }

    fn refill(&mut self, rate: &Rate, now: Time) {
        let micros = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        self.level = self.level.saturating_add(micros.saturating_mul(u64::from(rate.per_s))).min(rate.depth());
        self.at = now;
    }

    pub fn admit(&mut self, rate: &Rate, now: Time) -> bool {
        if rate.per_s == 0 {
            return true;
        }
        self.refill(rate, now);
        let enough = self.level >= ONE;
        if enough {
            self.level -= ONE;
        }
        enough
    }
}

#[derive(Debug)]
pub struct Meter {
    rate: Rate,
    room: usize,
    by_source: HashMap<IpNet, Bucket>,
    /// Of all sources for which there is no room.
    shared: Bucket,
    next_tidy: Time,
}

/// A full table is looked through for idle sources at most so often.
const TIDY: std::time::Duration = std::time::Duration::from_secs(1);

impl Meter {
    pub fn new(rate: Rate, room: usize) -> Self {
        let shared = Bucket::full(&rate, Time::ZERO);
        Meter { rate, room, by_source: HashMap::new(), shared, next_tidy: Time::ZERO }
    }

    pub fn admit(&mut self, now: Time, source: IpNet) -> bool {
        if self.rate.per_s == 0 {
            return true;
        }
        if let Some(bucket) = self.by_source.get_mut(&source) {
            return bucket.admit(&self.rate, now);
        }
        if self.by_source.len() >= self.room {
            self.tidy(now);
        }
        if self.by_source.len() >= self.room {
            return self.shared.admit(&self.rate, now);
        }
        let mut bucket = Bucket::full(&self.rate, now);
        let admitted = bucket.admit(&self.rate, now);
        self.by_source.insert(source, bucket);
        admitted
    }

    /// Forgets those whose bucket is full again.
    fn tidy(&mut self, now: Time) {
        if now < self.next_tidy {
            return;
        }
        self.next_tidy = now + TIDY;
        let rate = self.rate;
        self.by_source.retain(|_, bucket| {
            bucket.refill(&rate, now);
            bucket.level < rate.depth()
        });
    }

    #[cfg(test)]
    pub fn sources(&self) -> usize {
        self.by_source.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u32) -> IpNet {
        IpNet::from(std::net::IpAddr::from(std::net::Ipv4Addr::from(0xc612_0000 + n)))
    }

    #[test]
    fn a_source_gets_its_burst_and_then_its_rate() {
        let mut meter = Meter::new(Rate { per_s: 10, burst: 40 }, 100);
        let at = |ms: u64| Time::from_millis(1_000_000 + ms);
        assert_eq!((0..100).filter(|_| meter.admit(at(0), source(1))).count(), 40);
        // Ten seconds at fifty a second.
        let later = (1..=500).filter(|n| meter.admit(at(n * 20), source(1))).count();
        assert_eq!(later, 100);
        assert!(meter.admit(at(0), source(2)), "another source has its own");
    }

    #[test]
    fn active_sources_are_never_forgotten_and_those_without_room_share() {
        let mut meter = Meter::new(Rate { per_s: 10, burst: 40 }, 100);
        let start = Time::from_secs(1_000);
        while meter.admit(start, source(0)) {}
        let strangers = (1..10_000).filter(|n| meter.admit(start, source(*n))).count();
        // 99 have room, the rest share one bucket.
        assert_eq!(strangers, 99 + 40);
        assert_eq!(meter.sources(), 100);
        assert!(!meter.admit(start, source(0)), "it was not pushed out");
        // Four seconds fill an empty bucket: all are idle then, and make room.
        let later = start + std::time::Duration::from_secs(5);
        assert!(meter.admit(later, source(20_000)));
        assert_eq!(meter.sources(), 1);
    }

    #[test]
    fn a_rate_of_zero_is_no_limit_and_costs_no_memory() {
        let mut meter = Meter::new(Rate { per_s: 0, burst: 1 }, 10);
        assert!((0..1_000).all(|n| meter.admit(Time::ZERO, source(n))));
        assert_eq!(meter.sources(), 0);
    }
}
