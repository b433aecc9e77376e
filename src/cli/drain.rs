//! `tandem drain`: no new calls; those in progress may end by themselves.

use std::{thread, time::Duration};

use clap::Args;

use super::{CliError, Client, ClientError, Outcome};
use crate::observe::admin::{AdminRequest, Answer, DrainState};

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_secs(1);

/// Take no new calls and let those in progress end
///
/// New calls get 503. Calls in progress go on until they end by themselves or the deadline has passed, then get a BYE;
/// after the last one tandem exits. The same happens on SIGTERM.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem drain                               as node.drain_s says
  tandem drain --deadline 60 --wait          come back when the last call has ended

Exit codes: 0 done; 1 refused; 3 no tandem answers.")]
pub struct Drain {
    /// Seconds that calls may go on [default: node.drain_s of the configuration]
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u64>,

    /// Come back only when no call is left [default: come back at once]
    #[arg(long)]
    wait: bool,
}

impl Drain {
    pub fn execute(&self, client: &Client, json: bool) -> Result<Outcome, CliError> {
        let state = match client.ask(&AdminRequest::Drain { deadline_s: self.deadline })? {
            Answer::Drain(state) => state,
            _ => return Err(client.foreign().into()),
        };
        if self.wait && state.calls > 0 {
            self.until_empty(client)?;
            return Outcome::show(json, &DrainState { calls: 0, ..state }, |_| "no call is left\n".into());
        }
        Outcome::show(json, &state, sentence)
    }

    fn until_empty(&self, client: &Client) -> Result<(), CliError> {
        loop {
            thread::sleep(LOOK);
            match client.ask(&AdminRequest::Status {}) {
                Ok(Answer::Status(status)) if status.calls == 0 => return Ok(()),
                Ok(Answer::Status(_)) => {}
                Ok(_) => return Err(client.foreign().into()),
                // It exits after its last call.
                Err(ClientError::Absent(_) | ClientError::Dead(_) | ClientError::Closed(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

pub(super) fn sentence(state: &DrainState) -> String {
    match state.calls {
        0 => "draining: no call is in progress\n".into(),
        1 => format!("draining: 1 call is in progress and gets a BYE after {} s\n", state.deadline_s),
        calls => format!("draining: {calls} calls are in progress and get a BYE after {} s\n", state.deadline_s),
    }
}
