//! What a packet costs the subject's core when 500 calls talk. Main thread.
//!
//! Pollers have all of their core's time at any rate, so theirs is what they count themselves in turns that found
//! packets; rtpengine sleeps, and the kernel's account of its threads says what it took.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use tandem_lab::runner::take_turn;

use super::{
    place::{CALLS, Place, Subject, Who, Work},
    subject::Testpmd,
};
use crate::{
    Bench,
    report::{Report, median},
};

/// What 500 calls send: two streams of 50 packets a second each.
const RATE: f64 = CALLS as f64 * 100.0;
const LENGTH: Duration = Duration::from_secs(2);
const LOOKS: usize = 3;

pub fn run(bench: &Bench, tandem: &Path, report: &mut Report) -> Result<()> {
    for who in [Who::Testpmd, Who::Tandem, Who::Rtpengine] {
        bench.step(&format!("lab, cost at {CALLS} calls: {}", who.name()));
        let _turn = take_turn(true)?;
        let mut place = Place::take(who, tandem, &bench.out)?;
        let works: &[Work] = if who == Who::Testpmd { &[Work::Relay] } else { &[Work::Relay, Work::Transcode] };
        for &work in works {
            let mut costs = Vec::new();
            for _ in 0..LOOKS {
                costs.push(cost(&mut place, work, bench)?);
            }
            let how = match who {
                Who::Tandem => "cycles of turns with packets, by its metrics; it polls",
                Who::Testpmd => "its own count of cycles in rounds with packets; it polls",
                Who::Rtpengine => "time of its threads; the kernel received on the other core",
            };
            let name = format!("lab: processor time for each packet at {CALLS} calls, {} {}", who.name(), work.name());
            let value = format!("{:.0} ns ({how}; median of {LOOKS})", median(&costs));
            println!("  {name}: {value}");
            report.facts.push((name, value));
        }
    }
    Ok(())
}

/// In nanoseconds.
fn cost(place: &mut Place, work: Work, bench: &Bench) -> Result<f64> {
    if let Subject::Testpmd(testpmd) = &mut place.subject {
        // It tells when it ends.
        testpmd.end()?;
        *testpmd = Testpmd::start(&place.ground, &bench.out, true)?;
        place.subject.prefer()?;
    }
    place.send(work, RATE, Duration::from_millis(200))?;
    let threads = place.threads()?;
    let cycles = match &place.subject {
        Subject::Tandem(tandem) => tandem.busy_cycles()?,
        _ => 0.0,
    };
    let packets = place.send(work, RATE, LENGTH)?.packets as f64;
    let now = place.threads()?;
    Ok(match &mut place.subject {
        Subject::Tandem(tandem) => (tandem.busy_cycles()? - cycles) / packets / tsc_hertz()? * 1e9,
        Subject::Testpmd(testpmd) => testpmd.cycles_per_packet()? / tsc_hertz()? * 1e9,
        Subject::Rtpengine(_) => now.ran_since(&threads).as_nanos() as f64 / packets,
    })
}

/// Cycles of the time-stamp counter a second, as the kernel measured it for BogoMIPS (twice the rate in MHz).
fn tsc_hertz() -> Result<f64> {
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let line = info.lines().find(|line| line.starts_with("bogomips")).context("/proc/cpuinfo has no bogomips")?;
    let value: f64 = line.rsplit(':').next().unwrap_or_default().trim().parse()?;
    Ok(value * 1e6 / 2.0)
}
