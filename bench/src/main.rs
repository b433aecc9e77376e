//! tandem's benchmarks. `scripts/bench` calls this. Each section measures tandem and its reference in turn, on the same
//! core, several rounds, and adds its rows and curves to the report.
//!
//! The main thread starts every program and measures; one thread waits for signals and cleans up. Whatever happens,
//! what was measured before is written.

mod ceiling;
mod facts;
mod foreign;
mod gate;
mod growth;
mod html;
mod kernel;
mod lab;
mod pages;
mod plot;
mod progress;
mod replay;
mod report;
mod signalling;
mod table;
mod testpmd;
mod worker;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use tandem_lab::{cleanup, sys};

use crate::{progress::Progress, report::Report};

/// What every section needs.
pub struct Bench {
    /// The appliance's program.
    pub tandem: PathBuf,
    /// Where reports, logs and generated captures go.
    pub out: PathBuf,
    pub rounds: usize,
    /// Fewer rounds and shorter windows, to see that everything runs.
    pub quick: bool,
    /// CPU of the threads that do not forward.
    pub main_cpu: usize,
    /// CPUs that forward: the first for one worker; the second, where there is one, for two.
    pub cpus: Vec<usize>,
    /// Forwarding time before a measurement; `tandem replay run` has the same.
    pub warm_up: Duration,
    /// Of one measurement: whole seconds.
    pub window: Duration,
    /// Of one measurement where there are many.
    pub short_window: Duration,
    pub most_flows: usize,
    /// Whether huge pages are used, by every subject alike.
    pub huge: bool,
    progress: Progress,
}

impl Bench {
    /// Says what is being done.
    pub fn step(&self, what: &str) {
        self.progress.say(what);
    }

    fn captures(&self) -> PathBuf {
        self.out.join("captures")
    }
}

/// One part of the run.
struct Section {
    name: &'static str,
    /// What it took where this was written, without `--quick`.
    takes_s: u64,
    /// Packets and flows of its largest capture, if it has any: what huge pages are counted for.
    largest: fn(&Bench) -> (usize, usize),
    run: fn(&Bench, &mut Report) -> Result<()>,
}

const NO_CAPTURE: fn(&Bench) -> (usize, usize) = |_| (0, 0);

/// In the order in which they run: the quick ones first.
const SECTIONS: &[Section] = &[
    Section { name: "kernel", takes_s: 10, largest: NO_CAPTURE, run: kernel::run },
    Section { name: "ceiling", takes_s: 90, largest: ceiling::largest, run: ceiling::run },
    Section { name: "growth", takes_s: 420, largest: growth::largest, run: growth::run },
    Section { name: "lab", takes_s: 660, largest: NO_CAPTURE, run: lab::run },
    Section { name: "signalling", takes_s: 270, largest: NO_CAPTURE, run: signalling::run },
];

#[derive(Parser)]
#[command(name = "tandem-bench", about = "tandem against testpmd, rtpengine and memcpy, in one run")]
struct Arguments {
    /// The appliance to measure
    #[arg(long, global = true, value_name = "FILE", default_value = "target/release/tandem")]
    binary: PathBuf,
    /// Where reports, logs and generated captures go
    #[arg(long, global = true, value_name = "FOLDER", default_value = "target/bench")]
    out: PathBuf,
    /// Rounds of each comparison
    #[arg(long, global = true, default_value_t = facts::ROUNDS as u16, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Two rounds and short windows: shows that everything runs, and is not for comparison
    #[arg(long, global = true)]
    quick: bool,
    /// Measure only this section; may be given several times
    #[arg(long = "section", alias = "only", value_name = "NAME", value_delimiter = ',', value_parser = section)]
    sections: Vec<&'static Section>,
    /// Leave out captures with more flows
    #[arg(long, value_name = "FLOWS", default_value_t = 1_000_000)]
    most_flows: usize,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Fail where the packet rate fell: instructions per packet, and the ratio to testpmd
    Gate(gate::Arguments),
    /// Run the worker alone on simulated ports, for callgrind to count
    Worker(worker::Arguments),
    /// Print how many huge pages of 2 MiB the chosen sections take
    Pages,
    /// Print the table and write report.html again from a report.json
    Show { report: Option<PathBuf> },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tandem-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Some(Command::Worker(arguments)) => worker::run(arguments),
        Some(Command::Show { report }) => show(&report.clone().unwrap_or(arguments.out.join("report.json"))),
        Some(Command::Pages) => {
            println!("{}", arguments.pages(&bench(arguments)?));
            Ok(())
        }
        Some(Command::Gate(gate)) => {
            cleanup::wait_for_signals()?;
            gate::run(gate, bench(arguments)?)
        }
        None => measure(arguments),
    }
}

fn section(name: &str) -> Result<&'static Section, String> {
    let names = || SECTIONS.iter().map(|section| section.name).collect::<Vec<_>>().join(", ");
    SECTIONS.iter().find(|section| section.name == name).ok_or_else(|| format!("say one of {}", names()))
}

impl Arguments {
    fn sections(&self) -> Vec<&'static Section> {
        let wanted = |name| self.sections.is_empty() || self.sections.iter().any(|chosen| chosen.name == name);
        SECTIONS.iter().filter(|section| wanted(section.name)).collect()
    }

    /// Huge pages that the chosen sections take; they run one after another, and share them.
    fn pages(&self, bench: &Bench) -> usize {
        let captures = self.sections().into_iter().map(|section| (section.largest)(bench));
        captures.map(|(packets, flows)| pages::needed(packets, flows)).max().unwrap_or(0)
    }
}

fn bench(arguments: &Arguments) -> Result<Bench> {
    // Absolute without asking whether it is there: counting pages needs no program.
    let tandem = std::path::absolute(&arguments.binary)?;
    let out = std::path::absolute(&arguments.out)?;
    let count = std::thread::available_parallelism()?.get();
    // The last CPU is the quietest on most machines; where there are two only, two workers share with control.
    let cpus = match count {
        1 => vec![0],
        2 => vec![1, 0],
        _ => vec![count - 1, count - 2],
    };
    let quick = arguments.quick;
    Ok(Bench {
        tandem,
        out,
        rounds: if quick { 2 } else { usize::from(arguments.rounds) },
        quick,
        main_cpu: 0,
        cpus,
        warm_up: Duration::from_millis(500),
        window: Duration::from_secs(if quick { 1 } else { 2 }),
        short_window: Duration::from_secs(1),
        most_flows: arguments.most_flows,
        huge: true,
        progress: Progress::new(),
    })
}

fn measure(arguments: &Arguments) -> Result<()> {
    ensure!(sys::is_root(), "huge pages and network namespaces need root");
    cleanup::wait_for_signals()?;
    let bench = bench(arguments)?;
    let sections = arguments.sections();
    fs::create_dir_all(bench.captures()).with_context(|| format!("cannot make {}", bench.out.display()))?;
    if sections.iter().any(|section| section.name != "kernel") {
        ensure!(bench.tandem.exists(), "no appliance at {}: cargo build --release", bench.tandem.display());
    }
    pages::check(arguments.pages(&bench))?;
    let mut report = Report::default();
    facts::gather(&bench, &mut report);
    let mut failed = Vec::new();
    for (i, section) in sections.iter().enumerate() {
        let share = if bench.quick { 4 } else { 1 };
        let seconds = |section: &Section| Duration::from_secs(section.takes_s / share);
        bench.progress.section(seconds(section), sections[i + 1..].iter().map(|section| seconds(section)).sum());
        let started = Instant::now();
        // A section that fails must not take the others' results with it; the run fails all the same.
        if let Err(error) = (section.run)(&bench, &mut report) {
            eprintln!("tandem-bench: {}: {error:#}", section.name);
            report.facts.push((format!("{} failed", section.name), format!("{error:#}")));
            failed.push(section.name);
        }
        report.facts.push((format!("{} took", section.name), format!("{} s", started.elapsed().as_secs())));
        write(&report, &bench.out)?;
    }
    table::print(&report);
    println!("\n{}\n{}", bench.out.join("report.json").display(), bench.out.join("report.html").display());
    if !failed.is_empty() {
        bail!("not measured to the end: {}", failed.join(", "));
    }
    Ok(())
}

fn write(report: &Report, out: &Path) -> Result<()> {
    fs::write(out.join("report.json"), serde_json::to_string_pretty(report)?)?;
    fs::write(out.join("report.html"), html::page(report))?;
    Ok(())
}

fn show(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("no report at {}", path.display()))?;
    let report: Report = serde_json::from_str(&text)?;
    table::print(&report);
    let page = path.with_extension("html");
    fs::write(&page, html::page(&report))?;
    println!("\n{}", page.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn sections_are_chosen_by_name_and_run_in_their_order() {
        Arguments::command().debug_assert();
        let chosen = |line: &[&str]| -> Vec<&str> {
            let arguments = Arguments::try_parse_from([&["tandem-bench"][..], line].concat()).unwrap();
            arguments.sections().iter().map(|section| section.name).collect()
        };
        assert_eq!(chosen(&[]), SECTIONS.iter().map(|section| section.name).collect::<Vec<_>>());
        assert_eq!(chosen(&["--section", "growth", "--section", "kernel"]), ["kernel", "growth"]);
        assert_eq!(chosen(&["--section", "growth,kernel", "--quick"]), ["kernel", "growth"]);
        assert!(Arguments::try_parse_from(["tandem-bench", "--section", "tea"]).is_err());
    }

    #[test]
    fn the_largest_of_the_chosen_sections_says_how_many_huge_pages() {
        let pages = |line: &[&str]| {
            let arguments = Arguments::try_parse_from([&["tandem-bench"][..], line].concat()).unwrap();
            arguments.pages(&bench(&arguments).unwrap())
        };
        assert_eq!(pages(&["--section", "kernel"]), 0);
        // A million buffers of 2.4 KB are 1,130 pages of 2 MiB.
        assert!((1_130..2_048).contains(&pages(&[])), "{}", pages(&[]));
        let (ceiling, growth) = (pages(&["--section", "ceiling"]), pages(&["--section", "growth"]));
        assert!(0 < ceiling && ceiling < growth);
        assert_eq!(pages(&["--section", "ceiling,growth"]), growth);
    }
}
