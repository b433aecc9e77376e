//! What `scripts/demo` shows: 20 calls over each device, what each far end heard, and what it cost. Main thread.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    appliance::Device,
    lab::{Frame, Lab, Plan},
    runner::take_turn,
    scenarios::{both_laws, cost},
    verdict::Heard,
};

const CALLS: u32 = 20;

/// Returns whether everything was right.
pub fn run(frame: &Frame) -> Result<bool> {
    let _turn = take_turn(false)?;
    let mut good = true;
    for device in [Device::AfPacket, Device::AfXdp] {
        println!("\n== net_{}: {CALLS} calls from a μ-law phone to an A-law phone ==", device.name());
        match show(frame, device) {
            Ok(()) => {}
            Err(error) => {
                println!("  not right: {error:#}");
                good = false;
            }
        }
    }
    Ok(good)
}

fn show(frame: &Frame, device: Device) -> Result<()> {
    println!("laying caller, tandem and callee as network namespaces, starting the appliance on DPDK …");
    let mut lab = Lab::open(frame, Plan::new(device), &format!("demo@{}", device.name()))?;
    println!("calling: SIPp on both sides, 7 s of speech each way, every frame watched at both ends …");
    let started = Instant::now();
    let before = times(&mut lab)?;
    let result = both_laws(&mut lab, CALLS);
    let after = times(&mut lab)?;
    let took = started.elapsed();
    let ended = result.and_then(|heard| lab.close().map(|()| heard));
    let [there, back] = match ended {
        Ok(heard) => heard,
        Err(error) => {
            lab.save()?;
            return Err(error.context(format!("see {}", lab.room.display())));
        }
    };
    println!();
    table("the A-law phone heard", &there);
    table("the μ-law phone heard", &back);
    report(&lab, took, &cost(&before, &after, took));
    Ok(())
}

fn times(lab: &mut Lab<'_>) -> Result<Vec<crate::appliance::ThreadTime>> {
    if lab.is_stand_in() { Ok(Vec::new()) } else { lab.appliance()?.thread_times() }
}

fn table(who: &str, heard: &Heard) {
    println!("  {who}:");
    for (what, count) in [
        ("frames sent to it", heard.sent),
        ("frames received", heard.received),
        ("frames lost", heard.lost()),
        ("payload bytes", heard.bytes),
        ("bytes that differ from G.711's tables", heard.differing_bytes),
    ] {
        println!("    {what:<38} {count:>9}");
    }
}

fn report(lab: &Lab<'_>, took: Duration, cost: &str) {
    println!("  what it cost, over {:.0} s:{}", took.as_secs_f64(), cost.replacen(';', "", 1));
    println!("  where to look: {0}/tandem.toml, {0}/tandem.log, {0}/cdr.jsonl", lab.room.display());
}
