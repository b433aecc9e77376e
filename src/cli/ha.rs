//! `tandem ha`: the pair as the running tandem sees it, and what an operator may want of it.

use std::{thread, time::Duration};

use clap::{Args, Subcommand};

use super::{
    CliError, Client, Outcome,
    table::{duration, plain},
};
use crate::{
    ha::{
        heartbeat::Role,
        link::{PairStatus, PathStatus},
        meters,
    },
    observe::admin::{AdminRequest, Answer},
};

/// How often `switchover` looks whether it has come about, and for how long.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: u32 = 200;

/// Show the pair, hand over to the other host, hold the roles or let go of them
///
/// Without a command it shows the pair as this host sees it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem ha status
  tandem ha switchover                       the other host becomes active, without a frame lost
  tandem ha freeze                           before work on the network between the two
  tandem ha join                             after it
  tandem --json ha status | jq -r .role

Exit codes: 0 done; 1 refused, or it did not come about; 3 no tandem answers.")]
pub struct Ha {
    #[command(subcommand)]
    command: Option<HaCommand>,
}

#[derive(Debug, Subcommand)]
enum HaCommand {
    /// Show this host's role, what is heard of the other, and the last takeover
    #[command(after_help = "Examples:\n  tandem ha status\n  tandem --json ha status | jq .peer")]
    Status,
    /// Make the standby active, and this pair's active host its standby; asked on either
    ///
    /// The active host brings the standby up to date, lets it take over, and forwards what still comes to it for
    /// ha.drain_ms. Refused unless the standby is ready.
    #[command(after_help = "Examples:\n  tandem ha switchover")]
    Switchover,
    /// Take nothing over and hand nothing over on this host until `tandem ha join`
    ///
    /// An active host goes on, also when it is not well. A standby stays one, also when the active host dies. A restart
    /// ends it.
    #[command(after_help = "Examples:\n  tandem ha freeze")]
    Freeze,
    /// Take part again at once: neither frozen nor held down
    #[command(after_help = "Examples:\n  tandem ha join")]
    Join,
}

impl Ha {
    pub fn execute(&self, client: &Client, json: bool) -> Result<Outcome, CliError> {
        match self.command {
            None | Some(HaCommand::Status) => Outcome::show(json, &ask(client, &AdminRequest::HaStatus {})?, text),
            Some(HaCommand::Switchover) => switch_over(client, json),
            Some(HaCommand::Freeze) => {
                let status = ask(client, &AdminRequest::HaFreeze {})?;
                Outcome::show(json, &status, |_| "frozen: this host keeps its role until `tandem ha join`\n".into())
            }
            Some(HaCommand::Join) => {
                let status = ask(client, &AdminRequest::HaJoin {})?;
                Outcome::show(json, &status, |_| "this host takes part again\n".into())
            }
        }
    }
}

fn ask(client: &Client, request: &AdminRequest) -> Result<PairStatus, CliError> {
    match client.ask(request)? {
        Answer::Ha(status) => Ok(*status),
        _ => Err(client.foreign().into()),
    }
}

fn switch_over(client: &Client, json: bool) -> Result<Outcome, CliError> {
    let before = ask(client, &AdminRequest::HaSwitchover {})?;
    let wanted = if before.role == Role::Active { Role::Standby } else { Role::Active };
    for _ in 0..LOOKS {
        thread::sleep(LOOK);
        let now = ask(client, &AdminRequest::HaStatus {})?;
        if now.role == wanted {
            return Outcome::show(json, &now, |now| format!("{} is {} now\n", plain(&now.node), now.role.as_str()));
        }
    }
    let sentence =
        format!("no switchover came about: {} is still {}; its log says why", before.node, before.role.as_str());
    Err(CliError::Question(sentence))
}

/// Milliseconds, as a person compares them.
fn ms(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

pub(super) fn text(status: &PairStatus) -> String {
    let mut lines = vec![headline(status)];
    let objections = [
        status.unfit.as_ref().map(|why| format!("not fit: {}", plain(why))),
        status
            .provider_objects
            .as_ref()
            .map(|why| format!("the provider would not move the addresses: {}", plain(why))),
        status.disk_objects.as_ref().map(|why| format!("the generation cannot be written: {}", plain(why))),
        status.frozen.then(|| "frozen: `tandem ha join` lets it take part again".to_owned()),
        status.held_down_s.map(|left| format!("held down for {}", duration(left))),
        status
            .revalidating
            .then(|| "it woke, and sends nothing before it knows that the peer is not active".to_owned()),
    ];
    lines.extend(objections.into_iter().flatten().map(|objection| format!("  {objection}")));
    lines.push(format!("generation   {}", status.generation.as_ref().map_or("-".into(), |g| plain(&g.to_string()))));
    lines.push(format!("provider     {}", plain(&status.provider)));
    lines.push(format!(
        "lease        {}",
        status.lease_left_s.map_or("none: nothing is sent".into(), |s| format!("{} left", ms(s)))
    ));
    lines.push(format!("peer         {}", peer(status)));
    lines.extend(status.paths.iter().map(path));
    if let Some(lag) = status.lag {
        lines.push(format!("replication  {} changes behind, {}", lag.messages, ms(lag.seconds)));
    }
    if let Some(last) = &status.last_takeover {
        let parts = meters::parts(last).into_iter().filter_map(|(part, s)| Some(format!("{part} {}", ms(s?))));
        lines.push(format!(
            "took over    {} ago ({}): {}",
            duration(last.ago_s),
            last.cause.as_str(),
            parts.collect::<Vec<_>>().join(", ")
        ));
    }
    lines.join("\n") + "\n"
}

fn headline(status: &PairStatus) -> String {
    let detail = match status.role {
        Role::Standby if status.ready => " (ready)",
        Role::Standby if !status.synced => " (synchronising)",
        Role::Standby => " (not ready)",
        _ => "",
    };
    format!("{} is {}{detail} for {}", plain(&status.node), status.role.as_str(), duration(status.for_s))
}

fn peer(status: &PairStatus) -> String {
    let peer = &status.peer;
    let Some(role) = peer.role else { return format!("{} was not heard yet", plain(&peer.node)) };
    if peer.silent {
        return format!("{} is silent, and was {}", plain(&peer.node), role.as_str());
    }
    let facts = [
        (!peer.fit).then_some("not fit"),
        peer.frozen.then_some("frozen"),
        (role == Role::Standby).then_some(if peer.ready { "ready" } else { "not ready" }),
    ];
    let facts: Vec<&str> = facts.into_iter().flatten().collect();
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    format!("{} is {}{facts}", plain(&peer.node), role.as_str())
}

fn path(path: &PathStatus) -> String {
    let heard = path.heard_s.map_or("nothing heard yet".into(), |age| format!("heard {} ago", ms(age)));
    let refused: u64 = path.refused.iter().map(|count| count.count).sum();
    let refused = if refused > 0 { format!(", {refused} not believed") } else { String::new() };
    format!("path {}       {} → {}: {heard}{refused}", path.path, path.local, path.peer)
}
