//! Thousands of pairs, each from a seed: clocks that differ, two paths that lose, delay, reorder, repeat and fall silent in
//! one direction or both, threads and processes that sleep, hosts that crash, disks and an API that take their time; and
//! what they carry: calls that come, change and end, a connection that is cut and reset, and the copy on the standby.
//! `calls::ledger` says what is promised of an acknowledged call.
//!
//! `TANDEM_SEED=n cargo test --lib ha::role -- --nocapture simulation` runs one of them and prints what happened.

mod calls;
mod network;
mod plan;
mod world;

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use plan::{Plan, Tally};
use world::World;

const RUNS: u64 = 10_000;
/// So many are told of.
const FAILURES: usize = 40;

/// What each run was, added up, so that a run that tests nothing is noticed.
fn run(seed: u64, trace: bool) -> Result<Tally, String> {
    World::new(Plan::of(seed), trace).run()
}

#[test]
fn at_most_one_transmits_and_one_is_active_in_the_end() {
    if let Ok(seed) = env::var("TANDEM_SEED") {
        let seed = seed.parse().expect("TANDEM_SEED is a number");
        println!("{:?}", Plan::of(seed));
        println!("{:?}", run(seed, true).unwrap());
        return;
    }
    let next = AtomicU64::new(0);
    let work = || {
        let (mut sum, mut failed) = (Tally::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= RUNS || failed.len() >= FAILURES {
                return (sum, failed);
            }
            match run(seed, false) {
                Ok(tally) => sum.add(&tally),
                Err(what) => failed.push(format!("TANDEM_SEED={seed} replays: {what}")),
            }
        }
    };
    let (sum, failed) = thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().fold((Tally::default(), Vec::new()), |(mut sum, mut failed), worker| {
            let (more, wrong) = worker.join().expect("a run ends");
            sum.add(&more);
            failed.extend(wrong);
            (sum, failed)
        })
    });
    println!("{sum:?}");
    assert!(failed.is_empty(), "of {RUNS} runs:\n{}", failed.join("\n"));
    sum.covers_everything();
}
