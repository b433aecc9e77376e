//! `tandem status`: is the running tandem ready for calls, and if not, why.

use std::process::ExitCode;

use clap::Args;

use super::{
    CliError, Client, EXIT_FAILED, Outcome,
    table::{duration, plain},
};
use crate::observe::admin::{self, AdminRequest, Answer};

/// Say whether the running tandem takes calls, and if not, why
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem status
  tandem --json status | jq .calls

Exit codes: 0 it takes calls; 1 it does not; 3 no tandem answers.")]
pub struct Status {}

impl Status {
    pub fn execute(&self, client: &Client, json: bool) -> Result<Outcome, CliError> {
        let status = match client.ask(&AdminRequest::Status {})? {
            Answer::Status(status) => status,
            _ => return Err(client.foreign().into()),
        };
        let ready = status.objections.is_empty() && !status.draining;
        let mut outcome = Outcome::show(json, &status, sentences)?;
        if !ready {
            outcome.code = ExitCode::from(EXIT_FAILED);
        }
        Ok(outcome)
    }
}

pub(super) fn sentences(status: &admin::Status) -> String {
    let word = match (status.draining, status.objections.is_empty()) {
        (true, _) => "draining",
        (false, true) => "ready",
        (false, false) => "not ready",
    };
    let up = duration(status.uptime_s as f64);
    let objections: String = status.objections.iter().map(|reason| format!("  {}\n", plain(reason))).collect();
    format!(
        "{} (tandem {}) is {word}: {} calls, up {up}\n{objections}",
        plain(&status.node),
        status.version,
        status.calls
    )
}
