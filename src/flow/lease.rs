//! The lease: until when workers may transmit what belongs to a floating address. The pair thread extends it, workers
//! look at it once per burst. A process that was paused finds it run out and sends nothing until the pair thread knows
//! again that no other host has taken over.
//!
//! One word, one writer. Relaxed is enough: a worker that sees the old value is one burst late, and what it must see in
//! time is not a write but the clock passing the value that it has.

use super::sync::{AtomicU64, Ordering};

#[derive(Debug)]
pub struct Lease {
    /// Ticks of the device's clock; transmit while the clock shows less.
    until: AtomicU64,
}

impl Lease {
    /// Of a host that has no peer: it never ends.
    pub fn forever() -> Self {
        Lease { until: AtomicU64::new(u64::MAX) }
    }

    /// Of a host that starts: it does not hold until it is extended.
    pub fn ended() -> Self {
        Lease { until: AtomicU64::new(0) }
    }

    pub fn extend(&self, until_ticks: u64) {
        self.until.store(until_ticks, Ordering::Relaxed);
    }

    pub fn end(&self) {
        self.until.store(0, Ordering::Relaxed);
    }

    #[inline]
    pub fn holds(&self, ticks: u64) -> bool {
        ticks < self.until.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[cfg(not(tandem_loom))]
mod tests {
    use super::*;

    #[test]
    fn holds_until_its_ticks_and_not_at_them() {
        let lease = Lease::ended();
        assert!(!lease.holds(0));
        lease.extend(100);
        assert!(lease.holds(99));
        assert!(!lease.holds(100));
        lease.end();
        assert!(!lease.holds(0));
        assert!(Lease::forever().holds(u64::MAX - 1));
    }
}
