//! What CI runs, and fails on: the packet rate fell. Main thread.
//!
//! Two things are held against `bench/budget.toml`. Instructions per packet, counted by callgrind over the worker on
//! simulated ports: the count repeats, so its margin is small. It knows no AVX-512, so the conversion's AVX2 path is
//! counted. And the ratio of tandem's relay to testpmd's 5tswap over the same capture, the best of some rounds in turn:
//! it varies with whatever else the machine does, so its floor lies well below what was measured. No rate and no time
//! fails a build.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::{
    Bench, ceiling, pages,
    replay::{self, Convert},
    testpmd::Mode,
};

/// More instructions than recorded that still pass: compilers move a few.
const MARGIN: f64 = 1.02;
/// Of the ratio that `--record` measured: what is left of it on a machine that is busy with other things.
const FLOOR: f64 = 0.75;
const PACKETS: usize = 64_000;
const KERNEL: &str = "avx2";
const JOBS: [&str; 2] = ["relay", "mu-to-a"];

#[derive(clap::Args)]
pub struct Arguments {
    /// Write what is measured now as the budget
    #[arg(long)]
    record: bool,
    #[arg(long, value_name = "FILE", default_value = "bench/budget.toml")]
    budget: std::path::PathBuf,
    /// Count instructions only: needs neither root nor testpmd
    #[arg(long)]
    instructions_only: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    /// Instructions per packet.
    instructions: Instructions,
    /// Least ratios to testpmd's 5tswap.
    ratio: Option<Ratio>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Instructions {
    relay: f64,
    mu_to_a: f64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ratio {
    relay: f64,
    mu_to_a: f64,
}

pub fn run(arguments: &Arguments, mut bench: Bench) -> Result<()> {
    fs::create_dir_all(bench.captures())?;
    // A budget that cannot be read is said before anything is measured.
    let budget = if arguments.record { None } else { Some(read(&arguments.budget)?) };
    let instructions = count_all(&bench)?;
    let ratio = if arguments.instructions_only { None } else { Some(compare(&mut bench)?) };
    match budget {
        None => record(&arguments.budget, instructions, ratio),
        Some(budget) => judge(&budget, instructions, ratio),
    }
}

fn read(path: &Path) -> Result<Budget> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("no budget at {}: `tandem-bench gate --record` writes it", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not a budget", path.display()))
}

fn count_all(bench: &Bench) -> Result<Instructions> {
    let around = per_packet(bench, "io")?;
    let [relay, mu_to_a] = JOBS.map(|job| per_packet(bench, job).map(|all| all - around));
    let counted = Instructions { relay: relay?, mu_to_a: mu_to_a? };
    println!("instructions per packet: relay {:.1}, μ→A {:.1} ({KERNEL})", counted.relay, counted.mu_to_a);
    Ok(counted)
}

/// Of the worker and what is around it: twice as many packets less once as many.
fn per_packet(bench: &Bench, mode: &str) -> Result<f64> {
    bench.step(&format!("counting instructions: {mode}"));
    let (once, twice) = (callgrind(bench, mode, PACKETS)?, callgrind(bench, mode, 2 * PACKETS)?);
    Ok((twice - once) as f64 / PACKETS as f64)
}

fn callgrind(bench: &Bench, mode: &str, packets: usize) -> Result<u64> {
    let program = std::env::current_exe()?;
    let profile = bench.out.join(format!("callgrind.{mode}.{packets}"));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", &format!("--callgrind-out-file={}", profile.display())])
        .arg(program)
        .args(["worker", "--mode", mode, "--packets", &packets.to_string(), "--kernel", KERNEL])
        .output()
        .context("valgrind could not be started: scripts/install bench installs it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the worker failed under callgrind: {said}");
    collected(&said).with_context(|| format!("callgrind did not say what it counted: {said}"))
}

/// `==123== Collected : 4567`
fn collected(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

/// The best of the rounds, each relay and conversion against a 5tswap of the same seconds.
fn compare(bench: &mut Bench) -> Result<Ratio> {
    let needed = pages::needed(bench, false);
    bench.huge = pages::check(needed).is_ok();
    if !bench.huge {
        println!("no {needed} huge pages are free: testpmd and tandem both use ordinary ones");
    }
    let capture = replay::generate(bench, ceiling::FLOWS)?;
    let mut best = Ratio { relay: 0.0, mu_to_a: 0.0 };
    for round in 1..=bench.rounds {
        bench.step(&format!("round {round} of {}: 5tswap, relay, μ→A", bench.rounds));
        let reference = capture.testpmd(bench, 1)?.measure(Mode::FiveTupleSwap, bench.warm_up, bench.window)?;
        let relay = capture.tandem(bench, Convert::None, 1)?.mpps / reference;
        let mu_to_a = capture.tandem(bench, Convert::MuToA, 1)?.mpps / reference;
        println!("  of 5tswap: relay {relay:.2}, μ→A {mu_to_a:.2}");
        best = Ratio { relay: best.relay.max(relay), mu_to_a: best.mu_to_a.max(mu_to_a) };
    }
    Ok(best)
}

fn record(path: &Path, instructions: Instructions, ratio: Option<Ratio>) -> Result<()> {
    let mut text = format!(
        "# What the packet rate is held against in CI: `tandem-bench gate`, written by `tandem-bench gate --record`.\n\n\
         # Instructions per packet of the worker, by callgrind, conversion by {KERNEL}. {:.0} % more pass.\n\
         [instructions]\nrelay = {:.1}\nmu_to_a = {:.1}\n",
        (MARGIN - 1.0) * 100.0,
        instructions.relay,
        instructions.mu_to_a
    );
    if let Some(ratio) = ratio {
        let _ = write!(
            text,
            "\n# Least ratio to testpmd's 5tswap, best of the rounds: {FLOOR} of what was measured when this was written.\n\
             [ratio]\nrelay = {:.2}\nmu_to_a = {:.2}\n",
            ratio.relay * FLOOR,
            ratio.mu_to_a * FLOOR
        );
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("written: {}", path.display());
    Ok(())
}

fn judge(budget: &Budget, instructions: Instructions, ratio: Option<Ratio>) -> Result<()> {
    let mut failed = Vec::new();
    for (job, now, allowed) in [
        ("relay", instructions.relay, budget.instructions.relay),
        ("μ→A", instructions.mu_to_a, budget.instructions.mu_to_a),
    ] {
        if now > allowed * MARGIN {
            failed.push(format!("{job} takes {now:.1} instructions a packet, and {allowed:.1} are recorded"));
        } else if now * MARGIN < allowed {
            println!(
                "{job} takes fewer instructions than recorded, {now:.1} for {allowed:.1}: `gate --record` keeps that"
            );
        }
    }
    match (ratio, budget.ratio) {
        (Some(now), Some(floor)) => {
            for (job, now, floor) in [("relay", now.relay, floor.relay), ("μ→A", now.mu_to_a, floor.mu_to_a)] {
                if now < floor {
                    failed.push(format!(
                        "{job} reaches {now:.2} of testpmd's 5tswap in no round, and {floor:.2} is the floor"
                    ));
                }
            }
        }
        (Some(_), None) => bail!("the budget has no [ratio]: record it on a machine with testpmd"),
        (None, _) => println!("skipped: ratios to testpmd"),
    }
    ensure!(failed.is_empty(), "the packet rate fell: {}", failed.join("; "));
    println!("the packet rate is within its budget");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrinds_count_is_read() {
        let said = "==9== Callgrind, a call-graph\n==9== \n==9== Events    : Ir\n==9== Collected : 20551234\n==9== \n";
        assert_eq!(collected(said), Some(20_551_234));
        assert_eq!(collected("==9== Events    : Ir"), None);
    }

    #[test]
    fn what_is_within_the_margin_passes_and_what_is_not_fails() {
        let budget: Budget =
            toml::from_str("[instructions]\nrelay = 400.0\nmu_to_a = 600.0\n[ratio]\nrelay = 0.5\nmu_to_a = 0.4\n")
                .unwrap();
        let now = |relay, mu_to_a| Instructions { relay, mu_to_a };
        let ratio = |relay, mu_to_a| Some(Ratio { relay, mu_to_a });
        assert!(judge(&budget, now(407.0, 611.0), ratio(0.5, 0.4)).is_ok());
        assert!(judge(&budget, now(300.0, 611.0), None).is_ok());
        for (instructions, ratio) in [
            (now(409.0, 600.0), ratio(0.9, 0.9)),
            (now(400.0, 613.0), ratio(0.9, 0.9)),
            (now(400.0, 600.0), ratio(0.49, 0.9)),
            (now(400.0, 600.0), ratio(0.9, 0.39)),
        ] {
            assert!(judge(&budget, instructions, ratio).is_err());
        }
    }

    #[test]
    fn a_budget_that_was_recorded_is_read_back() {
        let path = std::env::temp_dir().join(format!("tandem-budget-{}.toml", std::process::id()));
        let counted = Instructions { relay: 411.2, mu_to_a: 633.4 };
        record(&path, counted, Some(Ratio { relay: 0.8, mu_to_a: 0.6 })).unwrap();
        let budget = read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!((budget.instructions.relay, budget.instructions.mu_to_a), (411.2, 633.4));
        assert_eq!(budget.ratio.map(|ratio| ratio.relay), Some(0.6));
    }
}
