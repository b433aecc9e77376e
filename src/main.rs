//! The `tandem` command: arguments → configuration → boot.

use std::process::ExitCode;

use clap::Parser;
use tandem::cli::{self, Arguments, CliError, Command, EXIT_FAILED, run::Run};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Command::Run(run) => boot(run),
        _ => cli::execute(&arguments).map_err(anyhow::Error::from),
    };
    result.unwrap_or_else(|error| {
        eprintln!("tandem: {error:#}");
        error.downcast_ref::<CliError>().map_or(ExitCode::from(EXIT_FAILED), CliError::exit_code)
    })
}

#[cfg(feature = "dpdk")]
fn boot(run: &Run) -> anyhow::Result<ExitCode> {
    use tandem::{config, host::Host, observe, slow};

    let reading = config::read(&run.config, &Host::read());
    for problem in &reading.problems {
        eprintln!("{problem}");
    }
    let Some(config) = reading.config else { return Ok(ExitCode::from(EXIT_FAILED)) };
    observe::log::init(&config.log)?;
    slow::run(config)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(feature = "dpdk"))]
fn boot(_: &Run) -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "this build has no DPDK and cannot drive ports: build with the feature `dpdk`, which is on by default"
    )
}
