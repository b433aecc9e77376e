//! Thousands of pairs, each from a seed: clocks that differ, two paths that lose, delay, reorder, repeat and fall silent in
//! one direction or both, threads and processes that sleep, hosts that crash, disks and an API that take their time.
//!
//! `TANDEM_SEED=n cargo test --lib ha::role -- --nocapture simulation` runs one of them and prints what happened.

mod calls;
mod network;
mod world;

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use world::{Plan, World};

const RUNS: u64 = 20_000;

/// What each run was, added up, so that a run that tests nothing is noticed.
fn run(seed: u64, trace: bool) -> Result<world::Tally, String> {
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
        let mut sum = world::Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= RUNS {
                return sum;
            }
            match run(seed, false) {
                Ok(tally) => sum.add(&tally),
                Err(what) => panic!("seed {seed}: {what}\nTANDEM_SEED={seed} replays it"),
            }
        }
    };
    let sum = thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().fold(world::Tally::default(), |mut sum, worker| {
            sum.add(&worker.join().expect("a run failed"));
            sum
        })
    });
    println!("{sum:?}");
    sum.covers_everything();
}
