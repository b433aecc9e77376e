//! tandem's benchmarks. `scripts/bench` calls this. Each section measures tandem and its reference in turn, on the same
//! core, several rounds, and returns rows.

mod report;
mod signalling;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Parser;

/// What every section needs.
pub struct Bench {
    /// The appliance's program.
    pub tandem: PathBuf,
    /// Where reports, logs and generated captures go.
    pub out: PathBuf,
    pub rounds: usize,
}

#[derive(Parser)]
#[command(name = "tandem-bench", about = "tandem against testpmd, rtpengine and memcpy, in one run")]
struct Arguments {
    #[arg(long, value_name = "FILE", default_value = "target/release/tandem")]
    binary: PathBuf,
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    out: PathBuf,
    /// Rounds of each comparison
    #[arg(long, default_value_t = 5)]
    rounds: usize,
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
    wait_for_signals()?;
    let bench = Bench { tandem: arguments.binary.clone(), out: arguments.out.clone(), rounds: arguments.rounds };
    std::fs::create_dir_all(&bench.out)?;
    let mut report = report::Report::default();
    signalling::run(&bench, &mut report)?;
    for row in &report.rows {
        let bar = row.bar.map_or("no bar", |bar| if row.reaches(bar) { "reaches its bar" } else { "below its bar" });
        println!(
            "{} = {:.1} {} ({bar}; spread {:.3}, {:?}); {}",
            row.name, row.ratio, row.unit, row.spread, row.rounds, row.note
        );
    }
    report.facts.iter().for_each(|(k, v)| println!("{k}: {v}"));
    Ok(())
}

/// SIGINT, SIGTERM and SIGHUP end everything that was started and laid, then the benchmark.
fn wait_for_signals() -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([libc::SIGINT, libc::SIGTERM, libc::SIGHUP])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _ = writeln!(std::io::stderr(), "\ninterrupted: cleaning up");
            tandem_lab::cleanup::sweep_and_exit(128 + signal);
        }
    });
    Ok(())
}
