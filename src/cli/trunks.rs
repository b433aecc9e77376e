//! `tandem trunks`: calls, limits, destinations and registration of each trunk.

use std::fmt::Write;

use clap::Args;

use super::{
    CliError, Client, Outcome,
    table::{Table, duration, or_dash, plain, shown},
};
use crate::observe::admin::{AdminRequest, Answer, DestinationRow, Listing, Named, TrunkRow};

/// List the trunks: calls in progress, limits, registrations, and the state of each destination
///
/// A destination is `up` or `down` by the answers to OPTIONS where the trunk's health asks for them, else `-`. In and out
/// are as tandem sees it: a call comes in from a trunk and goes out to one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem trunks
  tandem trunks carrier                      that trunk alone
  tandem --json trunks | jq '.rows[].destinations[] | select(.up == false)'
  tandem --json trunks | jq '.rows[] | select(.registration.registered == false) | .name'

Exit codes: 0 done; 3 no tandem answers.")]
pub struct Trunks {
    /// Only the trunk of this name [default: all]
    name: Option<String>,
}

impl Trunks {
    pub fn execute(&self, client: &Client, json: bool) -> Result<Outcome, CliError> {
        let mut trunks = match client.ask(&AdminRequest::TrunksList {})? {
            Answer::Trunks(trunks) => trunks,
            _ => return Err(client.foreign().into()),
        };
        if let Some(name) = &self.name {
            trunks.rows.retain(|trunk| trunk.name == *name);
            trunks.total = trunks.rows.len() as u64;
        }
        Outcome::show(json, &trunks, listing)
    }
}

pub(super) fn listing(trunks: &Listing<TrunkRow>) -> String {
    if trunks.rows.is_empty() {
        return shown(0, trunks.total, "trunk");
    }
    let mut table = Table::new(&["TRUNK", "#IN", "#OUT", "LIMITS", "POLICY"]);
    for trunk in &trunks.rows {
        table.row([
            trunk.name.clone(),
            trunk.calls_in.to_string(),
            trunk.calls_out.to_string(),
            words(&trunk.limits),
            trunk.policy.clone(),
        ]);
    }
    let mut text = table.render();
    if trunks.rows.iter().any(|trunk| !trunk.destinations.is_empty()) {
        text.push('\n');
        text.push_str(&destinations(&trunks.rows));
    }
    if trunks.rows.iter().any(|trunk| trunk.registration.is_some()) {
        text.push('\n');
        text.push_str(&registrations(&trunks.rows));
    }
    for trunk in trunks.rows.iter().filter(|trunk| !trunk.refused.is_empty()) {
        // Writing to a String does not fail.
        let _ = writeln!(text, "\n{} refused: {}", plain(&trunk.name), words(&trunk.refused));
    }
    text.push_str(&shown(trunks.rows.len(), trunks.total, "trunk"));
    text
}

fn words(named: &[Named]) -> String {
    let words: Vec<String> = named.iter().map(|n| format!("{} {}", plain(&n.name), n.count)).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn destinations(trunks: &[TrunkRow]) -> String {
    let mut table =
        Table::new(&["TRUNK", "DESTINATION", "#PRIORITY", "#WEIGHT", "STATE", "#FOR", "#CHANGES", "#CALLS"]);
    for trunk in trunks {
        for to in &trunk.destinations {
            table.row([
                trunk.name.clone(),
                to.uri.clone(),
                to.priority.to_string(),
                to.weight.to_string(),
                state(to).to_owned(),
                or_dash(to.for_s.map(|seconds| duration(seconds as f64))),
                to.changes.to_string(),
                to.calls.to_string(),
            ]);
        }
    }
    table.render()
}

fn registrations(trunks: &[TrunkRow]) -> String {
    let mut table = Table::new(&["TRUNK", "REGISTERED AS", "WITH", "STATE", "#EXPIRES", "#NEXT", "LAST"]);
    let seconds = |seconds: Option<u64>| or_dash(seconds.map(|seconds| duration(seconds as f64)));
    for trunk in trunks {
        let Some(one) = &trunk.registration else { continue };
        table.row([
            trunk.name.clone(),
            one.aor.clone(),
            one.registrar.clone(),
            if one.registered { "registered" } else { "not registered" }.to_owned(),
            seconds(one.expires_in_s),
            seconds(one.next_in_s),
            or_dash(one.last.clone()),
        ]);
    }
    table.render()
}

fn state(to: &DestinationRow) -> &'static str {
    match to.up {
        None => "-",
        Some(true) => "up",
        Some(false) => "down",
    }
}
