//! How much of each punt class a worker lets through: a token bucket per class, refilled once a burst from the tick that
//! is read anyway. No class can use another's share.

use crate::{config::Punt, flow::PuntClass};

/// A bucket holds a tenth of a second's worth, and at least this many.
const LEAST_DEPTH: u64 = 32;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Tokens, scaled by ticks per second so that no division is needed.
    level: u64,
    rate_pps: u64,
    depth: u64,
}

#[derive(Debug)]
pub struct Police {
    buckets: [Bucket; PuntClass::COUNT],
    ticks_per_second: u64,
    last: u64,
}

impl Police {
    pub fn new(punt: &Punt, ticks_per_second: u64, now: u64) -> Self {
        let mut buckets = [Bucket::default(); PuntClass::COUNT];
        for &class in PuntClass::ALL {
            let rate_pps = u64::from(match class {
                PuntClass::Neighbour => punt.neighbour_pps,
                PuntClass::Sip => punt.sip_pps,
                PuntClass::Icmp => punt.icmp_pps,
                PuntClass::Fragment => punt.fragment_pps,
                PuntClass::Other => punt.other_pps,
            });
            let depth = if rate_pps == 0 { 0 } else { (rate_pps / 10).max(LEAST_DEPTH) * ticks_per_second };
            buckets[class.index()] = Bucket { level: depth, rate_pps, depth };
        }
        Police { buckets, ticks_per_second, last: now }
    }

    /// Once per burst.
    #[inline]
    pub fn refill(&mut self, now: u64) {
        // A pause longer than a second fills every bucket anyway.
        let elapsed = now.wrapping_sub(self.last).min(self.ticks_per_second);
        self.last = now;
        for bucket in &mut self.buckets {
            bucket.level = (bucket.level + elapsed * bucket.rate_pps).min(bucket.depth);
        }
    }

    #[inline]
    pub fn admit(&mut self, class: PuntClass) -> bool {
        let bucket = &mut self.buckets[class.index()];
        let enough = bucket.level >= self.ticks_per_second;
        if enough {
            bucket.level -= self.ticks_per_second;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 2_000_000_000;

    #[test]
    fn a_class_gets_its_rate_over_time_and_takes_nothing_from_another() {
        let mut police = Police::new(&Punt { sip_pps: 1_000, icmp_pps: 100, ..Punt::default() }, HZ, 0);
        while police.admit(PuntClass::Sip) {}
        let mut sip = 0;
        for millis in 1..=2_000u64 {
            police.refill(millis * HZ / 1_000);
            for _ in 0..20 {
                sip += u32::from(police.admit(PuntClass::Sip));
            }
        }
        assert_eq!(sip, 2_000);
        assert!(police.admit(PuntClass::Icmp));
    }

    #[test]
    fn after_a_long_pause_the_burst_is_bounded_by_the_depth() {
        let mut police = Police::new(&Punt { sip_pps: 1_000, ..Punt::default() }, HZ, 0);
        police.refill(u64::MAX / 2);
        let burst = (0..10_000).filter(|_| police.admit(PuntClass::Sip)).count();
        assert_eq!(burst, 100);
    }

    #[test]
    fn a_rate_of_zero_lets_nothing_through() {
        let mut police = Police::new(&Punt { other_pps: 0, ..Punt::default() }, HZ, 0);
        police.refill(HZ);
        assert!(!police.admit(PuntClass::Other));
    }
}
