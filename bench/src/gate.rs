//! What CI runs, and fails on: the packet rate fell. Main thread.
//!
//! Two things are held against `bench/budget.toml`. Instructions per packet, counted by callgrind over the worker on
//! simulated ports: the count repeats, so its margin is small. It knows no AVX-512, so the conversion's AVX2 path is
//! counted. And the ratio of tandem to testpmd's 5tswap over the same capture, in rounds: it varies with whatever else the
//! machine does, so the best of the rounds is held against a floor that lies well below the median of those that were
//! recorded. No rate and no time fails a build. Ordinary pages are used, by both: the ratio is then the same kind of
//! figure on every machine.
//!
//! Each check says passed, failed or skipped on a line of its own, and the last line counts them: `scripts/test` reads
//! that.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tandem::codec::Kernel;
use tandem_lab::process::{self, Running};

use crate::{
    Bench,
    replay::{self, Convert, Recipe},
    report::median,
    testpmd::Mode,
};

/// More instructions than recorded that still pass. The count of one program repeats to the last digit; builds of the
/// same code differed by 0.9 %.
const MARGIN: f64 = 1.03;
/// Of the ratio that `--record` measured: what is left of it on a machine that is busy with other things.
const FLOOR: f64 = 0.75;
const PACKETS: usize = 64_000;
const KERNEL: &str = "avx2";
/// Buffers of ten megabytes: what is measured is the code, and less the caches that others use too.
const CAPTURE: Recipe = Recipe { flows: 1_000, packets: 4, frame_bytes: None };
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(120);

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
    instructions: Figures,
    /// Least ratios to testpmd's 5tswap.
    ratio: Figures,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    relay: f64,
    mu_to_a: f64,
}

impl Figures {
    fn each(self) -> [(&'static str, f64); 2] {
        [("relay", self.relay), ("μ→A", self.mu_to_a)]
    }
}

/// What became of one check.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}

pub fn run(arguments: &Arguments, mut bench: Bench) -> Result<()> {
    fs::create_dir_all(bench.captures())?;
    // A budget that cannot be read is said before anything is measured.
    let budget = if arguments.record { None } else { Some(read(&arguments.budget)?) };
    let counted =
        if Kernel::available().iter().any(|kernel| kernel.name() == KERNEL) { Some(count_all(&bench)?) } else { None };
    bench.huge = false;
    let rounds = if arguments.instructions_only { None } else { Some(compare(&bench)?) };
    let Some(budget) = budget else {
        let counted = counted.with_context(|| format!("this CPU has no {KERNEL}: record on one that has"))?;
        let rounds = rounds.context("a budget has ratios too: record without --instructions-only")?;
        return record(&arguments.budget, counted, middle(&rounds));
    };
    let mut outcomes = against_instructions(counted, budget.instructions);
    outcomes.extend(against_ratios(rounds.as_deref().map(best), budget.ratio));
    let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    for outcome in &outcomes {
        match outcome {
            Outcome::Passed(what) => println!("passed {what}"),
            Outcome::Failed(what) => println!("failed {what}"),
            Outcome::Skipped(what) => println!("skipped {what}"),
        }
    }
    let passed = count(|outcome| matches!(outcome, Outcome::Passed(_)));
    println!("{passed} passed, {failed} failed, {} skipped", outcomes.len() - passed - failed);
    ensure!(failed == 0, "the packet rate fell; if it was meant to, `scripts/bench gate --record` and say why");
    Ok(())
}

fn read(path: &Path) -> Result<Budget> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("no budget at {}: `scripts/bench gate --record` writes it", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not a budget", path.display()))
}

fn count_all(bench: &Bench) -> Result<Figures> {
    let around = per_packet(bench, "io")?;
    let counted =
        Figures { relay: per_packet(bench, "relay")? - around, mu_to_a: per_packet(bench, "mu-to-a")? - around };
    println!("instructions per packet: relay {:.1}, μ→A {:.1} ({KERNEL})", counted.relay, counted.mu_to_a);
    Ok(counted)
}

/// Of the worker and what is around it: twice as many packets less once as many.
fn per_packet(bench: &Bench, mode: &str) -> Result<f64> {
    println!("counting instructions: {mode}");
    let (once, twice) = (callgrind(bench, mode, PACKETS)?, callgrind(bench, mode, 2 * PACKETS)?);
    Ok((twice as f64 - once as f64) / PACKETS as f64)
}

fn callgrind(bench: &Bench, mode: &str, packets: usize) -> Result<u64> {
    let profile = bench.out.join(format!("callgrind.{mode}.{packets}"));
    let mut command = process::command_in(None, "valgrind");
    command.args(["--tool=callgrind", &format!("--callgrind-out-file={}", profile.display())]);
    command.arg(std::env::current_exe()?);
    command.args(["worker", "--mode", mode, "--packets", &packets.to_string(), "--kernel", KERNEL]);
    let mut running = Running::start("valgrind", command, bench.out.join("callgrind.log"))
        .context("scripts/install bench installs valgrind")?;
    let status = running.wait(PATIENCE)?;
    ensure!(status.success(), "the worker failed under callgrind: {}", running.tail());
    collected(&running.output()).with_context(|| format!("callgrind did not say what it counted: {}", running.tail()))
}

/// `==123== Collected : 4567`
fn collected(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

/// Each relay and conversion against a 5tswap of the same seconds.
fn compare(bench: &Bench) -> Result<Vec<Figures>> {
    let capture = replay::generate(bench, CAPTURE)?;
    let window = bench.short_window;
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let reference = capture.testpmd(bench, 1)?.measure(Mode::FiveTupleSwap, bench.warm_up, window)?;
        let relay = capture.tandem(bench, Convert::None, 1, window)?.mpps / reference;
        let mu_to_a = capture.tandem(bench, Convert::MuToA, 1, window)?.mpps / reference;
        println!("round {round} of {ROUNDS}, of 5tswap: relay {relay:.2}, μ→A {mu_to_a:.2}");
        rounds.push(Figures { relay, mu_to_a });
    }
    Ok(rounds)
}

/// Of each job by itself: what fails a build should have failed in every round.
fn best(rounds: &[Figures]) -> Figures {
    let most = |take: fn(&Figures) -> f64| rounds.iter().map(take).fold(0.0, f64::max);
    Figures { relay: most(|r| r.relay), mu_to_a: most(|r| r.mu_to_a) }
}

fn middle(rounds: &[Figures]) -> Figures {
    let median = |take: fn(&Figures) -> f64| median(&rounds.iter().map(take).collect::<Vec<_>>());
    Figures { relay: median(|r| r.relay), mu_to_a: median(|r| r.mu_to_a) }
}

/// Processors differ by half in their ratio to testpmd: a floor that an earlier recording set lower stays.
fn record(path: &Path, instructions: Figures, ratio: Figures) -> Result<()> {
    let before = read(path).ok().map(|budget| budget.ratio);
    let floor = |now: f64, before: Option<f64>| (now * FLOOR).min(before.unwrap_or(f64::INFINITY));
    let mut text = format!(
        "# What the packet rate is held against in CI: `scripts/bench gate`. Written by `scripts/bench gate --record`.\n\n\
         # Instructions per packet of the worker as measured, by callgrind, conversion by {KERNEL}. {:.0} % more pass.\n\
         [instructions]\nrelay = {:.1}\nmu_to_a = {:.1}\n",
        (MARGIN - 1.0) * 100.0,
        instructions.relay,
        instructions.mu_to_a
    );
    let _ = write!(
        text,
        "\n# Least ratio to testpmd's 5tswap in the best of {ROUNDS} rounds: {:.0} % of the least median that was recorded,\n\
         # of all processors (here: relay {:.2}, μ→A {:.2}).\n[ratio]\nrelay = {:.2}\nmu_to_a = {:.2}\n",
        FLOOR * 100.0,
        ratio.relay,
        ratio.mu_to_a,
        floor(ratio.relay, before.map(|before| before.relay)),
        floor(ratio.mu_to_a, before.map(|before| before.mu_to_a))
    );
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("written: {}", path.display());
    Ok(())
}

fn against_instructions(counted: Option<Figures>, budget: Figures) -> Vec<Outcome> {
    let Some(counted) = counted else {
        return budget
            .each()
            .map(|(job, _)| Outcome::Skipped(format!("instructions per packet, {job}: this CPU has no {KERNEL}")))
            .into();
    };
    let both = counted.each().into_iter().zip(budget.each());
    both.map(|((job, now), (_, recorded))| {
        let said =
            format!("instructions per packet, {job}: {now:.1}, recorded {recorded:.1}, limit {:.1}", recorded * MARGIN);
        if now > recorded * MARGIN {
            Outcome::Failed(said)
        } else if now * MARGIN < recorded {
            Outcome::Passed(format!("{said}; it takes fewer: `scripts/bench gate --record` keeps that"))
        } else {
            Outcome::Passed(said)
        }
    })
    .collect()
}

fn against_ratios(best: Option<Figures>, floor: Figures) -> Vec<Outcome> {
    let Some(best) = best else {
        return floor.each().map(|(job, _)| Outcome::Skipped(format!("ratio to 5tswap, {job}: not asked for"))).into();
    };
    let both = best.each().into_iter().zip(floor.each());
    both.map(|((job, now), (_, floor))| {
        let said = format!("ratio to 5tswap, {job}: {now:.2} in the best of {ROUNDS} rounds, floor {floor:.2}");
        if now < floor { Outcome::Failed(said) } else { Outcome::Passed(said) }
    })
    .collect()
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

    fn passed(outcomes: &[Outcome]) -> Vec<bool> {
        outcomes.iter().map(|outcome| matches!(outcome, Outcome::Passed(_))).collect()
    }

    #[test]
    fn what_is_within_the_margin_passes_and_what_is_not_fails() {
        let figures = |relay, mu_to_a| Figures { relay, mu_to_a };
        let budget = figures(400.0, 600.0);
        for (now, expected) in [
            (figures(411.0, 617.0), [true, true]),
            (figures(300.0, 617.0), [true, true]),
            (figures(413.0, 600.0), [false, true]),
            (figures(400.0, 619.0), [true, false]),
        ] {
            assert_eq!(passed(&against_instructions(Some(now), budget)), expected, "{now:?}");
        }
        let floor = figures(0.5, 0.4);
        for (now, expected) in [
            (figures(0.5, 0.4), [true, true]),
            (figures(0.49, 0.9), [false, true]),
            (figures(0.9, 0.39), [true, false]),
        ] {
            assert_eq!(passed(&against_ratios(Some(now), floor)), expected, "{now:?}");
        }
    }

    #[test]
    fn the_best_round_is_judged_and_the_middle_one_recorded() {
        let rounds = [(0.5, 0.4), (0.9, 0.1), (0.6, 0.3)].map(|(relay, mu_to_a)| Figures { relay, mu_to_a });
        assert_eq!(best(&rounds), Figures { relay: 0.9, mu_to_a: 0.4 });
        assert_eq!(middle(&rounds), Figures { relay: 0.6, mu_to_a: 0.3 });
    }

    #[test]
    fn what_is_not_measured_is_skipped_with_its_reason() {
        let budget = Figures { relay: 1.0, mu_to_a: 1.0 };
        for outcomes in [against_instructions(None, budget), against_ratios(None, budget)] {
            assert_eq!(outcomes.len(), 2);
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Skipped(reason) if !reason.is_empty())));
        }
    }

    #[test]
    fn a_budget_that_was_recorded_is_read_back() {
        let path = std::env::temp_dir().join(format!("tandem-budget-{}.toml", std::process::id()));
        let counted = Figures { relay: 411.2, mu_to_a: 633.4 };
        record(&path, counted, Figures { relay: 0.8, mu_to_a: 0.6 }).unwrap();
        let budget = read(&path).unwrap();
        assert_eq!((budget.instructions, budget.ratio), (counted, Figures { relay: 0.6, mu_to_a: 0.45 }));
        // Recorded again on another processor.
        record(&path, counted, Figures { relay: 0.4, mu_to_a: 0.8 }).unwrap();
        let again = read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(again.ratio, Figures { relay: 0.3, mu_to_a: 0.45 });
    }
}
