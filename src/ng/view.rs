//! `query`, `list` and `statistics`: what is known of a call and of this node, under the names that rtpengine gives it, so that
//! what reads them need not be changed. What tandem does not measure is left out. Pure; slow-path thread.

use std::net::SocketAddr;

use super::{
    NgError,
    call::{Line, Pair},
    machine::Ng,
    request::{Command, Request},
    value::{Dictionary, Value},
};
use crate::{
    base::{Time, ids::Side, limits::NG_LISTED},
    control::{LegReport, MediaControl, StreamReport},
};

/// Calls that `list` names if it is not told how many.
const USUALLY_LISTED: usize = 32;

impl Ng {
    pub(super) fn query(&self, request: &Request, media: &dyn MediaControl) -> Result<Dictionary, NgError> {
        let call_id = request.needs_call_id()?;
        let number = *self.by_id.get(call_id).ok_or(NgError::UnknownCall)?;
        Ok(self.view(number, media).with("result", "ok"))
    }

    /// All of a call; empty if there is none.
    pub(super) fn view(&self, number: u64, media: &dyn MediaControl) -> Dictionary {
        let Some(call) = self.calls.get(&number) else { return Dictionary::default() };
        // One who has several branches is shown once, with the sections of all.
        let mut shown: Vec<(&str, Dictionary, Vec<Value>)> = Vec::new();
        let (mut rtp, mut rtcp) = (Sum::default(), Sum::default());
        for pair in &call.pairs {
            for side in Side::BOTH {
                let name = pair.tag(side).unwrap_or_default();
                let legs: Vec<Option<LegReport>> = pair.lines.iter().map(|line| leg(line, side, media)).collect();
                legs.iter().flatten().for_each(|leg| {
                    rtp.add(&leg.rtp);
                    rtcp.add(&leg.rtcp);
                });
                let lines = pair.lines.iter().zip(&legs).enumerate();
                let medias = lines.map(|(at, (line, leg))| section(at, line, side, leg.as_ref()).into());
                match shown.iter_mut().find(|(known, ..)| *known == name) {
                    Some((.., known)) => known.extend(medias),
                    None => shown.push((name, participant(pair, side, name), medias.collect())),
                }
            }
        }
        let mut tags = Dictionary::default();
        shown.into_iter().for_each(|(name, head, medias)| tags.put(name, head.with("medias", medias)));
        let mut view = Dictionary::default()
            .with("created", call.created_ms / 1_000)
            .with("last signal", call.signalled_ms / 1_000)
            .with("tags", tags)
            .with("totals", Dictionary::default().with("RTP", rtp.shown()).with("RTCP", rtcp.shown()));
        if let Some(metadata) = &call.metadata {
            view.put("metadata", metadata.as_str());
        }
        view
    }

    pub(super) fn list(&self, request: &Request) -> Dictionary {
        let limit = request.limit.unwrap_or(USUALLY_LISTED).min(NG_LISTED);
        let calls: Vec<Value> = self.by_id.keys().take(limit).map(|id| Value::from(id.as_str())).collect();
        Dictionary::default().with("calls", calls).with("result", "ok")
    }

    pub(super) fn statistics(&self, now: Time, media: &dyn MediaControl) -> Dictionary {
        let counters = &self.counters;
        let sessions = self.calls.values().flat_map(|call| call.sessions());
        let transcoded = sessions.filter(|id| media.report(*id).is_some_and(|report| report.transcoded)).count();
        let current = Dictionary::default()
            .with("sessionsown", self.calls.len())
            .with("sessionsforeign", 0u64)
            .with("sessionstotal", self.calls.len())
            .with("transcodedmedia", transcoded);
        let timed_out = counters.timed_out_silent + counters.timed_out_offers;
        let total = Dictionary::default()
            .with("uptime", (now.as_millis() / 1_000).to_string())
            .with("managedsessions", counters.ended)
            .with("rejectedsessions", counters.refused_load)
            .with("timeoutsessions", timed_out)
            .with("silenttimeoutsessions", counters.timed_out_silent)
            .with("offertimeoutsessions", counters.timed_out_offers)
            .with("regularterminatedsessions", counters.ended.saturating_sub(timed_out));
        let mut control = Dictionary::default();
        for (_, name) in Command::ALL {
            let (done, failed) = counters.commands.get(name).copied().unwrap_or_default();
            control.put(&format!("total{}count", name.replace(' ', "").to_lowercase()), done + failed);
        }
        let failed: u64 = counters.commands.values().map(|(_, failed)| failed).sum();
        control.put("totalerrorcount", failed + counters.refused);
        let statistics = Dictionary::default()
            .with("currentstatistics", current)
            .with("totalstatistics", total)
            .with("controlstatistics", control);
        Dictionary::default().with("statistics", statistics).with("result", "ok")
    }
}

fn leg(line: &Line, side: Side, media: &dyn MediaControl) -> Option<LegReport> {
    let mut report = media.report(line.session.as_ref()?.id)?;
    Some(std::mem::take(&mut report.legs[side.index()]))
}

fn participant(pair: &Pair, side: Side, tag: &str) -> Dictionary {
    let mut shown = Dictionary::default().with("tag", tag).with("created", pair.created_ms / 1_000);
    if let Some(label) = &pair.labels[side.index()] {
        shown.put("label", label.as_str());
    }
    if let Some(branch) = &pair.branch {
        shown.put("via-branch", branch.as_str());
    }
    if let Some(other) = pair.tag(side.other()) {
        shown.put("in dialogue with", other);
    }
    shown
}

fn section(at: usize, line: &Line, side: Side, leg: Option<&LegReport>) -> Dictionary {
    let mut shown = Dictionary::default()
        .with("index", at + 1)
        .with("type", line.media.as_str())
        .with("protocol", line.proto[side.index()].as_str());
    let Some((session, leg)) = line.session.as_ref().zip(leg) else { return shown };
    if let Some(codec) = &leg.codec {
        shown.put("codec", codec.as_str());
    }
    let local = &session.local[side.index()];
    let signalled = line.signalled[side.index()];
    let streams = vec![
        stream("RTP", local.told_rtp, &leg.rtp, signalled).into(),
        stream("RTCP", local.told_rtcp, &leg.rtcp, None).into(),
    ];
    shown.with("streams", streams)
}

fn stream(flag: &str, local: SocketAddr, report: &StreamReport, signalled: Option<SocketAddr>) -> Dictionary {
    let mut shown =
        Dictionary::default().with("local port", local.port()).with("local address", local.ip().to_string());
    if let Some(source) = report.source {
        shown.put("endpoint", endpoint(source));
    }
    if let Some(signalled) = signalled {
        shown.put("advertised endpoint", endpoint(signalled));
    }
    let mut sum = Sum::default();
    sum.add(report);
    shown.with("flags", vec![Value::from(flag)]).with("stats", sum.shown())
}

fn endpoint(at: SocketAddr) -> Dictionary {
    let family = if at.is_ipv4() { "IPv4" } else { "IPv6" };
    Dictionary::default().with("family", family).with("address", at.ip().to_string()).with("port", at.port())
}

#[derive(Default)]
struct Sum {
    packets: u64,
    bytes: u64,
    errors: u64,
}

impl Sum {
    fn add(&mut self, report: &StreamReport) {
        self.packets += report.packets;
        self.bytes += report.bytes;
        self.errors += report.dropped_source + report.dropped_other;
    }

    fn shown(&self) -> Dictionary {
        Dictionary::default().with("packets", self.packets).with("bytes", self.bytes).with("errors", self.errors)
    }
}
