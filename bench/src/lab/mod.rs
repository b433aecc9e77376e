//! The veth lab: Debian's rtpengine, testpmd and tandem, each on the same core between the same cables, with the same
//! generator and sink, and tandem and rtpengine with the same calls, set up by the same `ng` commands. Main thread.
//!
//! What is measured: the highest rate without loss, by search, relayed and converted; the delay that is added, tandem's
//! and testpmd's at the same rate; processor time for each packet. Subjects take turns, round by round, and each begins
//! anew in each round. What comes out is looked at before anything is measured.
//!
//! Everything that is started and laid is registered with the laboratory's `cleanup` and goes with its handle, on an
//! error and on a signal as well.

mod asm;
mod bpf;
mod calls;
mod cost;
mod delay;
mod generator;
mod incumbent;
mod place;
mod rates;
mod search;
mod sink;
mod subject;
pub mod usage;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use tandem_lab::cleanup;

use crate::{Bench, report::Report};

pub fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let tandem = bench.tandem.canonicalize().with_context(|| format!("no appliance at {}", bench.tandem.display()))?;
    let cpus = std::thread::available_parallelism()?.get();
    ensure!(cpus >= 2, "the lab needs two CPUs: one for the subject, one for the generator");
    cleanup::sweep_leftovers();
    // The generator keeps to its core; what comes after this section may have them all again.
    let all = sched_getaffinity(Pid::from_raw(0))?;
    let result = measure(bench, &tandem, report);
    sched_setaffinity(Pid::from_raw(0), &all)?;
    result
}

fn measure(bench: &Bench, tandem: &Path, report: &mut Report) -> Result<()> {
    let found = rates::run(bench, tandem, report)?;
    delay::run(bench, tandem, &found, report)?;
    cost::run(bench, tandem, report)
}
