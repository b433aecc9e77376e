//! Counts of values in ranges, written by the slow path and read at scrape without a lock.
//!
//! A scrape may see a value in the buckets before it sees it in the sum; the count is the buckets' own total, so the
//! exported buckets are always consistent among themselves.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bounds for call set-up, seconds: those that the SIP endpoint counts by.
pub const SETUP_SECONDS: &[f64] = &[0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0];
/// Bounds for interarrival jitter, seconds.
pub const JITTER_SECONDS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16];
/// Bounds for loss, a ratio. 1 % is commonly heard, 5 % hurts.
pub const LOSS_RATIO: &[f64] = &[0.0, 0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25];
/// Bounds for rounds of a loop, seconds.
pub const LOOP_SECONDS: &[f64] = &[0.00001, 0.0001, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5];

/// Bounds for how late something is dealt with, seconds: T1 of RFC 3261 is 0.5.
pub const LATE_SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One per bound and one above all; not cumulative.
    buckets: Box<[AtomicU64]>,
    /// In millionths.
    sum_micros: AtomicU64,
}

impl Histogram {
    /// `bounds` rise.
    pub fn new(bounds: &'static [f64]) -> Self {
        debug_assert!(bounds.is_sorted());
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, buckets, sum_micros: AtomicU64::new(0) }
    }

    /// What another has counted: one count per bound and one above all, and the sum in milliseconds.
    pub fn of(bounds: &'static [f64], counts: &[u64], sum_ms: u64) -> Self {
        let histogram = Histogram::new(bounds);
        for (bucket, count) in histogram.buckets.iter().zip(counts) {
            bucket.store(*count, Ordering::Relaxed);
        }
        histogram.sum_micros.store(sum_ms * 1_000, Ordering::Relaxed);
        histogram
    }

    /// Counts `value`; what is negative or no number counts as zero.
    pub fn observe(&self, value: f64) {
        let value = value.max(0.0);
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add((value * 1e6).round() as u64, Ordering::Relaxed);
    }

    pub(super) fn proto(&self) -> prometheus::proto::Histogram {
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (bound, count) in self.bounds.iter().zip(&self.buckets) {
            cumulative += count.load(Ordering::Relaxed);
            let mut bucket = prometheus::proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        let above = self.buckets.last().map_or(0, |count| count.load(Ordering::Relaxed));
        let mut histogram = prometheus::proto::Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(cumulative + above);
        histogram.set_sample_sum(self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6);
        histogram
    }
}
