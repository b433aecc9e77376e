//! `tandem calls`: list, show one with its legs and quality, hang up.

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};

use super::{
    CliError, Client, Outcome,
    table::{Table, duration, or_dash, plain, shown},
};
use crate::{
    control::{LegReport, StreamReport},
    observe::admin::{AdminRequest, Answer, CallDetail, CallRow, CallState, LegDetail, Listing, MAX_ROWS},
};

/// List the calls in progress, show one, or hang one up
///
/// Without a verb it lists.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  tandem calls                               the first 200 calls in progress
  tandem calls list --limit 10000
  tandem calls show 4f2a                     one call: legs, media, quality
  tandem calls hangup 4f2a                   BYE on both sides
  tandem --json calls | jq -r '.rows[] | select(.from_trunk == \"carrier\") | .id'

Exit codes: 0 done; 1 no such call; 3 no tandem answers."
)]
pub struct Calls {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the calls in progress
    List(List),
    /// Show one call with its legs and their quality
    Show(One),
    /// End one call: BYE on both sides, or CANCEL and 480 if it is not answered
    Hangup(One),
}

#[derive(Debug, Args)]
struct List {
    /// How many calls to show at most
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ROWS)))]
    limit: u32,
}

#[derive(Debug, Args)]
struct One {
    /// The call's id as listed, or the beginning of it that no other call shares
    #[arg(value_name = "ID")]
    id: String,
}

impl Calls {
    pub fn execute(&self, client: &Client, json: bool) -> Result<Outcome, CliError> {
        match &self.verb {
            None => list(client, json, self.list.limit),
            Some(Verb::List(list_arguments)) => list(client, json, list_arguments.limit),
            Some(Verb::Show(one)) => match client.ask(&AdminRequest::CallsShow { id: one.id.clone() })? {
                Answer::Call(call) => Outcome::show(json, &call, |call| detail(call)),
                _ => Err(client.foreign().into()),
            },
            Some(Verb::Hangup(one)) => match client.ask(&AdminRequest::CallsHangup { id: one.id.clone() })? {
                Answer::Hangup(call) => Outcome::show(json, &call, |call| {
                    format!(
                        "call {} from {} to {} is being ended\n",
                        plain(&call.id),
                        plain(&call.from),
                        plain(&call.to)
                    )
                }),
                _ => Err(client.foreign().into()),
            },
        }
    }
}

fn list(client: &Client, json: bool, limit: u32) -> Result<Outcome, CliError> {
    let now_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    match client.ask(&AdminRequest::CallsList { limit })? {
        Answer::Calls(calls) => Outcome::show(json, &calls, |calls| listing(calls, now_unix_ms)),
        _ => Err(client.foreign().into()),
    }
}

fn state(call: &CallRow) -> &'static str {
    match call.state {
        CallState::Trying => "trying",
        CallState::Ringing => "ringing",
        CallState::Answered => "answered",
        CallState::Held => "held",
        CallState::Ending => "ending",
    }
}

fn codecs(call: &CallRow) -> String {
    match &call.codecs {
        [Some(a), Some(b)] if a == b => a.clone(),
        [None, None] => "-".into(),
        [a, b] => format!("{} ↔ {}", or_dash(a.as_ref()), or_dash(b.as_ref())),
    }
}

pub(super) fn listing(calls: &Listing<CallRow>, now_unix_ms: u64) -> String {
    let mut table = Table::new(&["ID", "STATE", "FROM", "TO", "TRUNKS", "CODECS", "#AGE", "#ANSWERED"]);
    for call in &calls.rows {
        table.row([
            call.id.clone(),
            state(call).into(),
            call.from.clone(),
            call.to.clone(),
            format!("{} → {}", call.from_trunk, or_dash(call.to_trunk.as_ref())),
            codecs(call),
            duration(now_unix_ms.saturating_sub(call.started_unix_ms) as f64 / 1e3),
            or_dash(call.answered_s.map(duration)),
        ]);
    }
    let rows = if calls.rows.is_empty() { String::new() } else { table.render() };
    rows + &shown(calls.rows.len(), calls.total, "call")
}

pub(super) fn detail(detail: &CallDetail) -> String {
    let call = &detail.call;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:<12}{}", plain(&value));
    };
    line("call", call.id.clone());
    line("state", state(call).into());
    line("from", format!("{} ({})", call.from, call.from_trunk));
    line("to", format!("{} ({})", call.to, or_dash(call.to_trunk.as_ref())));
    line("answered", or_dash(call.answered_s.map(|seconds| format!("{} ago", duration(seconds)))));
    if let Some(media) = &detail.media {
        line("media", format!("{}{}", media.id, if media.transcoded { ", transcoded" } else { "" }));
    }
    for (side, leg) in ["a", "b"].into_iter().zip(&detail.legs) {
        text.push('\n');
        text.push_str(&signalling(side, leg));
    }
    if let Some(media) = &detail.media {
        text.push('\n');
        text.push_str(&quality(&media.legs));
    }
    text
}

fn signalling(side: &str, leg: &LegDetail) -> String {
    let mut text = format!("side {side}\n");
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "  {name:<12}{}", plain(&value));
        }
    };
    line("trunk", leg.trunk.clone());
    line("call-id", leg.call_id.clone());
    line("contact", leg.remote_uri.clone());
    line("signals to", leg.remote.map(|remote| format!("{remote} {}", leg.transport.as_deref().unwrap_or_default())));
    line(
        "rtp here",
        leg.local_media.as_ref().map(|local| {
            if local.rtp == local.told_rtp {
                local.rtp.to_string()
            } else {
                format!("{} (told {})", local.rtp, local.told_rtp)
            }
        }),
    );
    line("rtp there", leg.remote_rtp.map(|remote| remote.to_string()));
    line("hold", leg.on_hold.then(|| "yes".to_owned()));
    text
}

/// What arrived from each side, and what each side's RTCP says of what it received.
fn quality(legs: &[LegReport; 2]) -> String {
    let mut table = Table::new(&[
        "HEARD FROM",
        "CODEC",
        "SOURCE",
        "#PACKETS",
        "#LOST",
        "#LOSS",
        "#JITTER",
        "#REORDERED",
        "#DUPLICATE",
        "#REFUSED",
        "#IT LOST",
        "#IT JITTERED",
    ]);
    for (side, leg) in ["a", "b"].into_iter().zip(legs) {
        let stream = &leg.rtp;
        table.row([
            side.into(),
            or_dash(leg.codec.as_ref()),
            or_dash(stream.source),
            stream.packets.to_string(),
            stream.lost.to_string(),
            loss(stream),
            format!("{:.1} ms", stream.jitter_ms),
            stream.reordered.to_string(),
            stream.duplicate.to_string(),
            (stream.dropped_source + stream.dropped_other).to_string(),
            // RFC 3550 §6.4.1: the fraction lost is of 256.
            or_dash(leg.peer_fraction_lost.map(|fraction| format!("{:.1} %", f64::from(fraction) / 2.56))),
            or_dash(leg.peer_jitter_ms.map(|jitter| format!("{jitter:.1} ms"))),
        ]);
    }
    table.render()
}

fn loss(stream: &StreamReport) -> String {
    let lost = stream.lost.max(0) as f64;
    let expected = stream.packets as f64 + lost;
    if expected > 0.0 { format!("{:.2} %", 100.0 * lost / expected) } else { "-".into() }
}
