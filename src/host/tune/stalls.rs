//! Is a core alone? A thread polls the clock on each for a while: where two looks are further apart than 10 µs something else
//! ran in between. Runs on threads of its own in the process of `tandem tune verify`; on cores where tandem polls it would
//! take half of them and is not run.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::host::{CpuSet, cpus::pin};

/// A look takes some 30 ns; a cache miss or two are no stall.
const STALL: Duration = Duration::from_micros(10);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stalls {
    pub cpu: u16,
    pub seconds: u64,
    /// How many times more than 10 µs passed between two looks.
    pub count: u64,
    pub longest_us: u64,
    pub total_us: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum StallError {
    #[error("CPU {cpu} cannot be polled: {cause}")]
    Pin { cpu: u16, cause: String },
}

/// Polls all of `cpus` at once, so that each meets what it would meet at work.
pub fn measure(cpus: &CpuSet, seconds: u64) -> Vec<Result<Stalls, StallError>> {
    let threads: Vec<_> = cpus
        .iter()
        .map(|cpu| (cpu, thread::Builder::new().name(format!("stalls-{cpu}")).spawn(move || poll(cpu, seconds))))
        .collect();
    let failed = |cpu, cause: &str| Err(StallError::Pin { cpu, cause: cause.to_owned() });
    let join = |(cpu, spawned): (u16, std::io::Result<thread::JoinHandle<Result<Stalls, StallError>>>)| match spawned {
        Ok(thread) => thread.join().unwrap_or_else(|_| failed(cpu, "the poller died")),
        Err(e) => failed(cpu, &e.to_string()),
    };
    threads.into_iter().map(join).collect()
}

fn poll(cpu: u16, seconds: u64) -> Result<Stalls, StallError> {
    pin(cpu).map_err(|e| StallError::Pin { cpu, cause: e.to_string() })?;
    let mut stalls = Stalls { cpu, seconds, count: 0, longest_us: 0, total_us: 0 };
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let mut last = begin;
    while last < end {
        let now = Instant::now();
        note(&mut stalls, now - last);
        last = now;
    }
    Ok(stalls)
}

fn note(stalls: &mut Stalls, gap: Duration) {
    if gap > STALL {
        let us = u64::try_from(gap.as_micros()).unwrap_or(u64::MAX);
        stalls.count += 1;
        stalls.total_us += us;
        stalls.longest_us = stalls.longest_us.max(us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gaps_over_ten_microseconds_count() {
        let mut stalls = Stalls { cpu: 0, seconds: 1, count: 0, longest_us: 0, total_us: 0 };
        for ns in [30, 9_999, 10_000, 10_999, 250_000] {
            note(&mut stalls, Duration::from_nanos(ns));
        }
        assert_eq!((stalls.count, stalls.longest_us, stalls.total_us), (2, 250, 260));
    }

    #[test]
    fn a_cpu_that_is_not_there_is_told() {
        let measured = measure(&[1023].into_iter().collect(), 1);
        assert!(measured[0].as_ref().is_err_and(|e| e.to_string().starts_with("CPU 1023 cannot be polled")));
    }
}
