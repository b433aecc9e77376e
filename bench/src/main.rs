//! tandem's benchmarks. `scripts/bench` calls this. Each section measures tandem and its reference in turn, on the same
//! core, several rounds, and returns rows.

mod report;

use std::{path::PathBuf, process::ExitCode};

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
    let _bench = Bench { tandem: arguments.binary.clone(), out: arguments.out.clone(), rounds: arguments.rounds };
    Ok(())
}
