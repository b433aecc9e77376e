//! `tandem flows`: each direction of each stream as the workers see it.

use clap::Args;

use super::{
    CliError, Client, Outcome,
    table::{Table, or_dash, shown},
};
use crate::observe::admin::{AdminRequest, Answer, FlowKind, FlowRow, Listing, MAX_ROWS};

/// List the media flows with their counters
///
/// A flow is one direction of one RTP or RTCP stream: what arrives at a local port from one side of a session and
/// leaves to the other.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem flows
  tandem --json flows | jq '.rows[] | select(.not_ready != \"\")'

Exit codes: 0 done; 3 no tandem answers.")]
pub struct Flows {
    /// How many flows to show at most
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ROWS)))]
    limit: u32,
}

impl Flows {
    pub fn execute(&self, client: &Client, json: bool) -> Result<Outcome, CliError> {
        match client.ask(&AdminRequest::FlowsList { limit: self.limit })? {
            Answer::Flows(flows) => Outcome::show(json, &flows, listing),
            _ => Err(client.foreign().into()),
        }
    }
}

pub(super) fn listing(flows: &Listing<FlowRow>) -> String {
    let mut table = Table::new(&[
        "SESSION",
        "SIDE",
        "KIND",
        "SOURCE",
        "LOCAL",
        "DESTINATION",
        "CONVERTS",
        "#WORKER",
        "#PACKETS",
        "#LOST",
        "#JITTER",
        "#REFUSED",
        "#OFF OWNER",
        "NOT READY",
    ]);
    for flow in &flows.rows {
        table.row([
            flow.session.clone(),
            flow.side.to_string(),
            kind(flow.kind).into(),
            or_dash(flow.source),
            flow.local.to_string(),
            or_dash(flow.destination),
            or_dash(flow.transcode.as_ref()),
            or_dash(flow.worker),
            flow.packets.to_string(),
            flow.lost.to_string(),
            format!("{:.1} ms", flow.jitter_ms),
            flow.dropped.to_string(),
            flow.off_owner.to_string(),
            flow.not_ready.clone(),
        ]);
    }
    let rows = if flows.rows.is_empty() { String::new() } else { table.render() };
    rows + &shown(flows.rows.len(), flows.total, "flow")
}

fn kind(kind: FlowKind) -> &'static str {
    match kind {
        FlowKind::Rtp => "rtp",
        FlowKind::Rtcp => "rtcp",
        FlowKind::Mux => "rtp+rtcp",
    }
}
