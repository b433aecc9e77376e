//! What the admin socket is told: requests answered from the endpoint, the sessions and the ports. Runs on the slow path.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    round::{drain, reload},
    sockets::Sockets,
};
use crate::{
    base::{Time, clock::Monotonic, ids::Side},
    config::Config,
    control::{
        MediaControl, SessionReport,
        engine::{Engine, FlowView},
    },
    flow::{
        DropReason, FlowClass, PtOp, PuntClass,
        counters::{PortCounter, WorkerCounters},
        plan::Admit,
    },
    ha::link::{Link, Wish},
    io::dpdk::{Meters, PortFacts},
    observe::{
        Health,
        admin::{
            AdminRequest, AdminResponse, Answer, BanRow, CallDetail, CallRow, CallState, CertificateRow,
            DestinationRow, DrainState, FlowKind, FlowRow, LegDetail, Listing, MAX_ROWS, Named, PortRow,
            RegistrationRow, Status, TrunkRow,
        },
    },
    sip::{
        b2bua::{CallSummary, view},
        endpoint::{BanSummary, CallId, Endpoint},
        trunk::{DestinationView, TrunkView},
    },
    tls::OwnCertificate,
};

/// What is known of the ports.
pub struct PortFiles {
    pub facts: Vec<PortFacts>,
    pub counters: Vec<WorkerCounters>,
    pub devices: Arc<Mutex<Meters>>,
}

/// What an answer may look at, and change.
pub struct View<'a> {
    pub now: Time,
    pub clock: Monotonic,
    pub endpoint: &'a mut Endpoint,
    pub engine: &'a mut Engine,
    pub sockets: &'a mut Sockets,
    pub files: &'a PortFiles,
    pub config: &'a Config,
    pub health: &'a Health,
    pub drain_until: &'a mut Option<Time>,
    /// None: this host is alone.
    pub pair: Option<&'a Link>,
}

pub fn answer(view: &mut View<'_>, request: AdminRequest) -> AdminResponse {
    let answer = match request {
        AdminRequest::CallsList { limit } => {
            let mut calls: Vec<_> = view.endpoint.calls().collect();
            calls.sort_by_key(|c| (c.start_ms, c.id.0));
            let total = calls.len() as u64;
            let rows = calls.iter().take(limit.min(MAX_ROWS) as usize).map(|c| call_row(view, c)).collect();
            Ok(Answer::Calls(Listing { total, rows }))
        }
        AdminRequest::CallsShow { id } => find(view, &id).and_then(|id| call_detail(view, id)),
        AdminRequest::CallsHangup { id } => find(view, &id).and_then(|id| hang_up(view, id)),
        AdminRequest::BansList { limit } => {
            let mut bans = view.endpoint.bans(view.now);
            bans.sort_by_key(|ban| (std::cmp::Reverse(ban.since_ms), ban.net));
            let total = bans.len() as u64;
            Ok(Answer::Bans(Listing {
                total,
                rows: bans.iter().take(limit.min(MAX_ROWS) as usize).map(ban_row).collect(),
            }))
        }
        AdminRequest::BansAdd { network, for_s } => {
            let ban = view.endpoint.ban(view.now, network, for_s.map(Duration::from_secs));
            ban.map(|ban| Answer::Ban(ban_row(&ban))).map_err(|e| e.to_string())
        }
        AdminRequest::BansRemove { network } => {
            let ban = view.endpoint.unban(network);
            let absent = || format!("{network} is not banned as such; `tandem bans` lists the bans");
            ban.map(|ban| Answer::Ban(ban_row(&ban))).ok_or_else(absent)
        }
        AdminRequest::FlowsList { limit } => {
            let total = view.engine.flows().count() as u64;
            let rows = view.engine.flows().take(limit.min(MAX_ROWS) as usize).map(|f| flow_row(&f)).collect();
            Ok(Answer::Flows(Listing { total, rows }))
        }
        AdminRequest::PortsList {} => {
            let rows: Vec<_> = (0..view.files.facts.len()).map(|i| port_row(view, i)).collect();
            Ok(Answer::Ports(Listing { total: rows.len() as u64, rows }))
        }
        AdminRequest::TrunksList {} => {
            let rows: Vec<_> = view.endpoint.trunks(view.now).into_iter().map(trunk_row).collect();
            Ok(Answer::Trunks(Listing { total: rows.len() as u64, rows }))
        }
        AdminRequest::Drain { deadline_s } => {
            let deadline_s = deadline_s.unwrap_or(view.config.node.drain_s);
            let until = view.now + Duration::from_secs(deadline_s);
            drain(view.endpoint, view.engine, view.health, view.now, until);
            *view.drain_until = Some(until);
            Ok(Answer::Drain(DrainState { calls: view.endpoint.in_progress() as u64, deadline_s }))
        }
        AdminRequest::TlsReload {} => match reload(view.sockets, view.config) {
            Ok(own) => Ok(Answer::Certificates(certificates(&own))),
            Err(e) => Err(format!("the certificates from before stay in use: {e}")),
        },
        AdminRequest::HaStatus {} => pair(view).map(|pair| Answer::Ha(Box::new((*pair.status()).clone()))),
        AdminRequest::HaSwitchover {} => wish(view, Wish::Switchover),
        AdminRequest::HaFreeze {} => wish(view, Wish::Freeze),
        AdminRequest::HaJoin {} => wish(view, Wish::Join),
        AdminRequest::Status {} => Ok(Answer::Status(Status {
            node: view.config.node.name.clone(),
            version: env!("TANDEM_VERSION").to_owned(),
            uptime_s: view.clock.now().since(Time::from_secs(1)).as_secs(),
            calls: view.endpoint.in_progress() as u64,
            draining: view.drain_until.is_some(),
            objections: view.health.objections(),
        })),
    };
    match answer {
        Ok(answer) => AdminResponse::Ok(answer),
        Err(sentence) => AdminResponse::Error(sentence),
    }
}

fn pair<'a>(view: &View<'a>) -> Result<&'a Link, String> {
    view.pair.ok_or_else(|| "this host is alone: its configuration has no [ha]".to_owned())
}

fn wish(view: &View<'_>, wish: Wish) -> Result<Answer, String> {
    pair(view)?.wish(wish).map(|status| Answer::Ha(Box::new((*status).clone())))
}

/// The call with this id, or the only one whose id begins so.
fn find(view: &View<'_>, id: &str) -> Result<CallId, String> {
    let mut found = view.endpoint.calls().map(|c| c.id).filter(|c| c.to_string().starts_with(id));
    match (found.next(), found.next()) {
        (Some(call), None) => Ok(call),
        (None, _) => Err(format!("no call in progress has the id {id}; `tandem calls` lists them")),
        (Some(_), Some(_)) => Err(format!("several calls have ids that begin with {id}; give more of it")),
    }
}

fn ban_row(ban: &BanSummary) -> BanRow {
    BanRow {
        network: ban.net,
        reason: ban.offence.map_or("operator", |offence| offence.as_str()).to_owned(),
        since_unix_ms: ban.since_ms,
        until_unix_ms: ban.until_ms,
        hits: ban.hits,
    }
}

fn certificates(own: &[OwnCertificate]) -> Listing<CertificateRow> {
    let row = |one: &OwnCertificate| CertificateRow { file: one.file.clone(), expires_unix_s: one.expires_unix_s };
    Listing { total: own.len() as u64, rows: own.iter().map(row).collect() }
}

fn report(view: &View<'_>, call: &CallSummary) -> Option<SessionReport> {
    view.engine.report(call.session?)
}

fn call_row(at: &View<'_>, call: &CallSummary) -> CallRow {
    let report = report(at, call);
    let codec = |side: Side| report.as_ref().and_then(|r| r.legs[side.index()].codec.clone());
    let epoch_ms = super::boot::epoch_ms();
    CallRow {
        id: call.id.to_string(),
        call_id: call.call_id.clone(),
        state: match call.state {
            view::CallState::Calling => CallState::Trying,
            view::CallState::Ringing => CallState::Ringing,
            view::CallState::Answered if call.session.is_some_and(|s| at.engine.is_held(s)) => CallState::Held,
            view::CallState::Answered => CallState::Answered,
        },
        from: call.from.clone(),
        to: call.called.clone(),
        from_trunk: call.trunk_a.clone(),
        to_trunk: call.trunk_b.clone(),
        started_unix_ms: call.start_ms,
        answered_s: call.answer_ms.map(|at| epoch_ms.saturating_sub(at) as f64 / 1e3),
        codecs: [codec(Side::A), codec(Side::B)],
    }
}

fn call_detail(view: &View<'_>, id: CallId) -> Result<Answer, String> {
    let detail = view.endpoint.call(id).ok_or_else(|| format!("the call {id} has just ended"))?;
    let mut legs = [LegDetail::default(), LegDetail::default()];
    for (side, leg) in Side::BOTH.into_iter().zip(&detail.legs) {
        let session = detail.summary.session;
        legs[side.index()] = LegDetail {
            trunk: Some(leg.trunk.clone()),
            call_id: Some(leg.call_id.clone()),
            remote_uri: Some(leg.remote_target.clone()),
            remote: Some(leg.source),
            transport: Some(leg.transport.word().to_owned()),
            local_media: session.and_then(|s| view.engine.local(s, side)),
            remote_rtp: session.and_then(|s| view.engine.signalled(s, side)),
            on_hold: session.is_some_and(|s| view.engine.is_held(s)),
        };
    }
    let media = report(view, &detail.summary);
    Ok(Answer::Call(Box::new(CallDetail { call: call_row(view, &detail.summary), legs, media })))
}

fn hang_up(view: &mut View<'_>, id: CallId) -> Result<Answer, String> {
    let gone = || format!("the call {id} has just ended");
    let call = view.endpoint.call(id).ok_or_else(gone)?;
    let row = call_row(view, &call.summary);
    if view.endpoint.hang_up(view.now, id, view.engine) { Ok(Answer::Hangup(row)) } else { Err(gone()) }
}

fn flow_row(flow: &FlowView<'_>) -> FlowRow {
    let source = match flow.plan.admit {
        Admit::Exact(source) => Some(source),
        Admit::Address(ip) => Some(std::net::SocketAddr::new(ip, flow.report.source.map_or(0, |s| s.port()))),
        Admit::Nobody => None,
    };
    let r = &flow.report;
    FlowRow {
        session: flow.session.to_string(),
        call_id: flow.call_id.to_owned(),
        side: flow.side,
        kind: match flow.class {
            FlowClass::Rtp => FlowKind::Rtp,
            FlowClass::Rtcp => FlowKind::Rtcp,
        },
        local: flow.local,
        source,
        destination: flow.plan.out_destination,
        not_ready: flow.not_ready.unwrap_or_default().to_owned(),
        transcode: flow.plan.rules.iter().find_map(|rule| match rule.op {
            PtOp::Relay => None,
            PtOp::MuToA => Some("PCMU→PCMA".to_owned()),
            PtOp::AToMu => Some("PCMA→PCMU".to_owned()),
        }),
        worker: flow.owner.map(|w| w.0),
        packets: r.packets,
        bytes: r.bytes,
        lost: r.lost,
        jitter_ms: r.jitter_ms,
        dropped: r.dropped_source + r.dropped_other,
        off_owner: r.off_owner,
    }
}

fn trunk_row(trunk: TrunkView) -> TrunkRow {
    let l = &trunk.limits;
    let limits = [
        ("max_calls", l.max_calls),
        ("max_calls_in", l.max_calls_in),
        ("max_calls_out", l.max_calls_out),
        ("calls_per_second", l.calls_per_second),
        ("calls_per_second_in", l.calls_per_second_in),
        ("calls_per_second_out", l.calls_per_second_out),
        ("burst", l.burst),
    ];
    let named = |(name, limit): (&str, Option<u32>)| Some(Named { name: name.to_owned(), count: limit?.into() });
    let refused = trunk.refused.iter().filter(|(_, _, count)| *count > 0);
    let destination = |to: DestinationView| DestinationRow {
        uri: to.uri,
        priority: to.priority,
        weight: to.weight,
        up: to.up,
        for_s: to.for_s,
        changes: to.changes.iter().sum(),
        calls: to.calls,
    };
    let registration = trunk.registration.map(|one| RegistrationRow {
        aor: one.aor,
        registrar: one.registrar,
        registered: one.registered,
        expires_in_s: one.expires_in_s,
        next_in_s: one.next_in_s,
        last: one.last.map(str::to_owned),
        attempts: one
            .attempts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| Named { name: name.to_owned(), count })
            .collect(),
    });
    TrunkRow {
        registration,
        calls_in: trunk.calls[0],
        calls_out: trunk.calls[1],
        policy: trunk.policy.as_str().to_owned(),
        limits: limits.into_iter().filter_map(named).collect(),
        refused: refused
            .map(|(direction, limit, count)| Named { name: format!("{} {limit}", direction.as_str()), count: *count })
            .collect(),
        destinations: trunk.destinations.into_iter().map(destination).collect(),
        name: trunk.name,
    }
}

fn port_row(view: &View<'_>, i: usize) -> PortRow {
    let (facts, config) = (&view.files.facts[i], &view.config.ports[i]);
    let sum = |counter| view.files.counters.iter().map(|w| w.count(i, counter)).sum();
    let drops = DropReason::ALL.iter().map(|&r| Named {
        name: r.label().to_owned(),
        count: view.files.counters.iter().map(|w| w.drop_count(i, r)).sum(),
    });
    let punts = PuntClass::ALL.iter().map(|&c| Named {
        name: c.label().to_owned(),
        count: view.files.counters.iter().map(|w| w.punt_count(i, c)).sum(),
    });
    let m = facts.mac;
    let (mut xstats, mut link_up) = (Vec::new(), false);
    // While a scrape reads the devices, the row goes without what only they know: the slow path waits for nobody.
    if let Ok(mut devices) = view.files.devices.try_lock()
        && let Some(device) = devices.ports.get_mut(i)
    {
        link_up = device.link_up().unwrap_or(false);
        let read = device.xstats(&mut |name, count| {
            if count > 0 {
                xstats.push(Named { name: name.to_owned(), count });
            }
        });
        if let Err(e) = read {
            tracing::debug!(port = facts.name, "no extended counters: {e}");
        }
    }
    PortRow {
        name: facts.name.clone(),
        device: config.device.clone(),
        driver: facts.driver.clone(),
        mac: format!("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", m[0], m[1], m[2], m[3], m[4], m[5]),
        mtu: facts.mtu,
        exception: config.exception.clone(),
        rx_queues: facts.rx_queues,
        tx_queues: facts.tx_queues,
        rx_packets: sum(PortCounter::RxPackets),
        rx_bytes: sum(PortCounter::RxBytes),
        tx_packets: sum(PortCounter::TxPackets),
        tx_bytes: sum(PortCounter::TxBytes),
        drops: drops.filter(|n| n.count > 0).collect(),
        punts: punts.filter(|n| n.count > 0).collect(),
        xstats,
        link_up,
    }
}
