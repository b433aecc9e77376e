//! The command line: one file per noun. Commands that tell of a running tandem, or change one, ask it over its
//! admin socket. Everything here runs on the main thread of a short-lived process.
//!
//! Exit codes: 0 done; 1 refused or wrong (a bad configuration, no such call); 2 wrong usage; 3 no tandem answers.

pub mod bans;
pub mod calls;
pub mod check;
pub mod client;
pub mod completions;
pub mod drain;
pub mod flows;
pub mod ha;
pub mod man;
pub mod plan;
pub mod ports;
pub mod reload;
pub mod replay;
pub mod route;
pub mod run;
pub mod status;
pub mod table;
pub mod trunks;
pub mod tune;
pub mod version;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

pub use client::{Client, ClientError};

/// Refused, or wrong.
pub const EXIT_FAILED: u8 = 1;
/// No tandem answers on the admin socket.
pub const EXIT_UNREACHABLE: u8 = 3;

#[derive(Debug, Parser)]
#[command(
    name = "tandem",
    version = env!("TANDEM_VERSION"),
    about = "A media-plane appliance for telephony: SIP, RTP anchored on poll-mode cores, G.711 transcoding in flight",
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  tandem check /etc/tandem/tandem.toml       say what is wrong with a configuration
  tandem run --config /etc/tandem/tandem.toml
  tandem calls                               list the calls in progress
  tandem calls show 4f2a                     one call with its legs and their quality
  tandem --json ports | jq '.rows[].drops'

Exit codes: 0 done; 1 refused or wrong (a bad configuration, no such call); 2 wrong usage; 3 no tandem answers."
)]
pub struct Arguments {
    /// The admin socket of the running tandem (its admin.socket)
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/tandem/admin.sock")]
    pub socket: PathBuf,

    /// Print JSON instead of tables and sentences [default: off]
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(run::Run),
    Check(check::Check),
    Plan(plan::Plan),
    Calls(calls::Calls),
    Bans(bans::Bans),
    Flows(flows::Flows),
    Ports(ports::Ports),
    Trunks(trunks::Trunks),
    Drain(drain::Drain),
    Ha(ha::Ha),
    Reload(reload::Reload),
    Replay(replay::Replay),
    Route(route::Route),
    Status(status::Status),
    Tune(tune::Tune),
    Completions(completions::Completions),
    Man(man::Man),
    Version(version::Version),
}

#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot print the answer: {0}")]
    Print(#[from] io::Error),
    #[error("cannot write the answer as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot write the pages to {}: {source}", folder.display())]
    Pages { folder: PathBuf, source: io::Error },
    /// It cannot be answered: the configuration is wrong, or lacks what was asked for.
    #[error("{0}")]
    Question(String),
    #[error(transparent)]
    Replay(#[from] crate::replay::ReplayError),
}

impl CliError {
    pub fn exit_code(&self) -> ExitCode {
        match self {
            CliError::Client(error) if !matches!(error, ClientError::Refused(_)) => ExitCode::from(EXIT_UNREACHABLE),
            _ => ExitCode::from(EXIT_FAILED),
        }
    }
}

/// What a command has to say, and its exit code.
#[derive(Debug)]
pub struct Outcome {
    pub text: String,
    pub code: ExitCode,
}

impl Outcome {
    fn done(text: String) -> Self {
        Outcome { text, code: ExitCode::SUCCESS }
    }

    /// `value` as JSON if that was asked for, else what `text` makes of it.
    fn show<T: serde::Serialize>(json: bool, value: &T, text: impl FnOnce(&T) -> String) -> Result<Self, CliError> {
        let text = if json { format!("{}\n", serde_json::to_string_pretty(value)?) } else { text(value) };
        Ok(Outcome::done(text))
    }
}

/// Runs every command but `run`, which main boots, and prints what it says.
pub fn execute(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let client = Client::new(&arguments.socket);
    let json = arguments.json;
    let outcome = match &arguments.command {
        Command::Run(_) => return Ok(ExitCode::SUCCESS),
        Command::Check(check) => check.execute(json)?,
        Command::Plan(plan) => plan.execute(json)?,
        Command::Calls(calls) => calls.execute(&client, json)?,
        Command::Bans(bans) => bans.execute(&client, json)?,
        Command::Flows(flows) => flows.execute(&client, json)?,
        Command::Ports(ports) => ports.execute(&client, json)?,
        Command::Trunks(trunks) => trunks.execute(&client, json)?,
        Command::Drain(drain) => drain.execute(&client, json)?,
        Command::Ha(ha) => ha.execute(&client, json)?,
        Command::Reload(reload) => reload.execute(&client, json)?,
        Command::Replay(replay) => replay.execute(json)?,
        Command::Route(route) => route.execute(json)?,
        Command::Status(status) => status.execute(&client, json)?,
        Command::Tune(tune) => tune.execute(json)?,
        Command::Completions(completions) => completions.execute(),
        Command::Man(man) => man.execute()?,
        Command::Version(version) => version.execute(json)?,
    };
    print(&outcome.text)?;
    Ok(outcome.code)
}

/// A reader that went away (`tandem calls | head`) is no error.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
