//! One media session: its two legs, what their descriptions say, whom they admit, and the plans that follow. Runs on the
//! slow path; `engine` holds all sessions and drives them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::engine::FlowView;
use super::{
    Direction, Encoding, LegMedia, LegReport, Local, Manner, Phase, SavedMedia, SessionReport, compile,
    figures::FlowFigures, ports::Pair, saved::SavedLeg,
};
use crate::{
    base::{
        Time,
        ids::{SessionId, Side},
    },
    config::Latching,
    flow::{
        FlowClass, FlowTable, Plan, PtOp, PtRule, Publisher,
        event::Candidate,
        nexthop::NextHopId,
        plan::Admit,
        table::{EntryId, FlowKey, TableError},
    },
    media::latching::Latch,
};

/// How long a source that has moved is still admitted: a round trip to the phone, and what its network may hold back.
const DEPARTING: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Flow {
    key: FlowKey,
    current: Option<(EntryId, Plan)>,
    pub figures: FlowFigures,
    /// Of the last plan published.
    version: u32,
}

impl Flow {
    fn new(key: FlowKey) -> Self {
        Flow { key, current: None, figures: FlowFigures::default(), version: 0 }
    }

    fn entry(&self) -> Option<EntryId> {
        self.current.as_ref().map(|(entry, _)| *entry)
    }

    pub fn current(&self) -> Option<&Plan> {
        self.current.as_ref().map(|(_, plan)| plan)
    }

    /// True if a worker works by a new plan from its next burst on.
    fn install(&mut self, plan: Option<Plan>, publisher: &mut Publisher) -> Result<bool, TableError> {
        match (plan, &self.current) {
            (None, None) => Ok(false),
            (None, Some((entry, _))) => {
                self.figures.pending(*entry);
                self.current = None;
                publisher.withdraw(self.key);
                Ok(false)
            }
            (Some(mut plan), current) => {
                if let Some((_, old)) = current {
                    plan.version = old.version;
                    if plan == *old {
                        return Ok(false);
                    }
                }
                plan.version = self.version.wrapping_add(1);
                // With a full table the old plan stays in force: better than silence.
                let entry = publisher.publish(self.key, &plan)?;
                self.version = plan.version;
                if let Some((old, _)) = self.current.replace((entry, plan)) {
                    self.figures.pending(old);
                }
                Ok(true)
            }
        }
    }
}

#[derive(Debug)]
pub struct Leg {
    pub pair: Pair,
    pub media: Option<LegMedia>,
    manner: Manner,
    pub latch: Latch,
    /// Where this side sent from before it moved, and until when that is still admitted.
    departing: Option<(SocketAddr, Time)>,
    /// Where this side's RTCP came from last, where its description cannot be right (NAT).
    rtcp_seen: Option<SocketAddr>,
    pub rtp: Flow,
    pub rtcp: Flow,
}

impl Leg {
    /// None if the pair is not in the flow table.
    pub fn new(pair: Pair, publisher: &Publisher, latching: &Latching, ring: Duration) -> Option<Self> {
        let rtp = publisher.key(pair.rtp(), FlowClass::Rtp)?;
        let rtcp = publisher.key(pair.rtcp(), FlowClass::Rtcp)?;
        let latch = Latch::new(latching.enabled, Duration::from_millis(latching.window_ms.into()), ring);
        Some(Leg {
            pair,
            media: None,
            manner: Manner::default(),
            latch,
            departing: None,
            rtcp_seen: None,
            rtp: Flow::new(rtp),
            rtcp: Flow::new(rtcp),
        })
    }

    pub fn flow(&mut self, class: FlowClass) -> &mut Flow {
        match class {
            FlowClass::Rtp => &mut self.rtp,
            FlowClass::Rtcp => &mut self.rtcp,
        }
    }

    /// Entries of the table that bear, or will bear, figures of this leg.
    pub fn entries(&self) -> Vec<EntryId> {
        let flows = [&self.rtp, &self.rtcp];
        flows.into_iter().flat_map(|flow| flow.figures.waiting().chain(flow.entry())).collect()
    }

    /// Where this side's RTP is sent to: where it really comes from, else where the description says.
    fn rtp_destination(&self) -> Option<SocketAddr> {
        let told = self.media.as_ref()?.rtp?;
        Some(self.latch.admitted().filter(|_| !self.manner.asymmetric).unwrap_or(told))
    }

    fn rtcp_destination(&self) -> Option<SocketAddr> {
        let media = self.media.as_ref()?;
        let rtp = self.rtp_destination()?;
        if media.rtcp_mux {
            return Some(rtp);
        }
        if Some(rtp) == media.rtp {
            return media.rtcp;
        }
        // Behind a NAT: only its own packets tell the port.
        self.rtcp_seen
    }

    /// With rtcp-mux RTCP arrives on the RTP port, without it on the next.
    fn place_rtcp(&mut self, publisher: &mut Publisher) {
        let mux = self.media.as_ref().is_some_and(|media| media.rtcp_mux);
        let at = if mux { self.pair.rtp() } else { self.pair.rtcp() };
        if let Some(key) = publisher.key(at, FlowClass::Rtcp)
            && key != self.rtcp.key
        {
            // Nothing is published by a withdrawal, so it cannot fail.
            let _ = self.rtcp.install(None, publisher);
            self.rtcp.key = key;
        }
    }

    fn saved(&self, now: Time) -> SavedLeg {
        SavedLeg {
            address: self.pair.address.clone(),
            port: self.pair.rtp,
            media: self.media.clone(),
            latch: self.latch.saved(now),
            departing: self.departing.filter(|(_, until)| *until > now).map(|(source, until)| (source, until - now)),
            rtcp_seen: self.rtcp_seen,
            manner: self.manner,
        }
    }

    /// What another host told `age` ago of its leg on the same ports.
    fn adopt(&mut self, now: Time, age: Duration, saved: SavedLeg, latching: &Latching, publisher: &mut Publisher) {
        self.latch.adopt(now, age, saved.latch, latching.enabled);
        self.media = saved.media;
        self.departing = saved.departing.map(|(source, left)| (source, now + left.saturating_sub(age).min(DEPARTING)));
        self.rtcp_seen = saved.rtcp_seen;
        self.manner = saved.manner;
        self.place_rtcp(publisher);
    }

    fn admit(&self, class: FlowClass) -> Admit {
        let Some(admitted) = self.latch.admitted() else { return Admit::Nobody };
        match class {
            FlowClass::Rtp => Admit::Exact(admitted),
            FlowClass::Rtcp if self.media.as_ref().is_some_and(|m| m.rtcp_mux) => Admit::Exact(admitted),
            // RTCP must come from where RTP comes from, or from where the description itself says; its port is its own.
            FlowClass::Rtcp => match self.media.as_ref() {
                Some(m) if m.rtp == Some(admitted) => Admit::Address(m.rtcp.map_or(admitted.ip(), |rtcp| rtcp.ip())),
                _ => Admit::Address(admitted.ip()),
            },
        }
    }

    /// Packets under the current plan come from the source that it admits: then it has spoken. Not so while a departing
    /// source is admitted too, nor while the plan in force is older than the description.
    fn listen(&mut self, now: Time, table: &FlowTable) {
        let current = self.rtp.current.as_ref();
        let exact = current.is_some_and(|(entry, plan)| {
            plan.departing.is_none()
                && self.latch.admitted().map(Admit::Exact) == Some(plan.admit)
                && table.state(*entry).is_claimed()
        });
        if exact {
            self.latch.heard(now);
        }
    }

    fn observe(&mut self, now: Time, table: &FlowTable) -> bool {
        let mut changed = self.departing.take_if(|(_, until)| *until <= now).is_some();
        if self.rtp.entry().is_some() {
            self.listen(now, table);
            let wanted = self.latch.wants_candidates(now);
            changed |= self.rtp.current().is_some_and(|plan| plan.candidates != wanted);
        }
        if let (Some(entry), Some(Admit::Address(ip))) = (self.rtcp.entry(), self.rtcp.current().map(|p| p.admit)) {
            let port = table.state(entry).rtcp().source_port;
            let seen = (port != 0).then(|| SocketAddr::new(ip, port));
            if seen.is_some() && seen != self.rtcp_seen {
                self.rtcp_seen = seen;
                changed = true;
            }
        }
        changed
    }
}

#[derive(Debug)]
pub struct MediaSession {
    pub call_id: String,
    pub legs: [Leg; 2],
    phase: Phase,
    /// Packets of both sides when last looked at, and when that figure last moved.
    packets: u64,
    active: Time,
    timed_out: bool,
    /// A plan could not be published, or routes have changed: to be compiled anew.
    pub stale: bool,
}

impl MediaSession {
    pub fn new(now: Time, call_id: String, legs: [Leg; 2]) -> Self {
        MediaSession { call_id, legs, phase: Phase::Early, packets: 0, active: now, timed_out: false, stale: false }
    }

    /// Takes in what one side's description says. True if plans may have to change.
    pub fn describe(&mut self, now: Time, side: Side, media: &LegMedia, publisher: &mut Publisher) -> bool {
        let leg = &mut self.legs[side.index()];
        if leg.media.as_ref() == Some(media) {
            return false;
        }
        let moved = leg.media.as_ref().map(|m| m.rtp) != Some(media.rtp);
        leg.media = Some(media.clone());
        if moved {
            // Only what moves on departs: a side that is silenced (another destination is tried) is silent at once.
            let from = leg.latch.admitted().filter(|_| media.rtp.is_some());
            leg.departing = from.map(|from| (from, now + DEPARTING));
            leg.latch.signalled(now, media.rtp);
            leg.rtcp_seen = None;
        }
        leg.place_rtcp(publisher);
        if self.phase == Phase::Confirmed {
            self.legs[side.index()].latch.confirmed(now);
        }
        true
    }

    pub fn saved(&self, now: Time) -> SavedMedia {
        let legs = [self.legs[0].saved(now), self.legs[1].saved(now)];
        SavedMedia { call_id: self.call_id.clone(), phase: self.phase, legs }
    }

    /// It is on these ports.
    pub fn fits(&self, saved: &SavedMedia) -> bool {
        self.legs.iter().zip(&saved.legs).all(|(leg, s)| leg.pair.address == s.address && leg.pair.rtp == s.port)
    }

    /// What another host told `age` ago.
    pub fn adopt(
        &mut self,
        now: Time,
        age: Duration,
        saved: SavedMedia,
        latching: &Latching,
        publisher: &mut Publisher,
    ) {
        (self.call_id, self.phase) = (saved.call_id, saved.phase);
        for (leg, saved) in self.legs.iter_mut().zip(saved.legs) {
            leg.adopt(now, age, saved, latching, publisher);
        }
    }

    /// What silence is counted from.
    pub fn begin_anew(&mut self, now: Time) {
        (self.active, self.timed_out) = (now, false);
    }

    /// True if plans may have to change.
    pub fn treat(&mut self, side: Side, manner: Manner) -> bool {
        std::mem::replace(&mut self.legs[side.index()].manner, manner) != manner
    }

    /// True if plans may have to change.
    pub fn enter(&mut self, now: Time, phase: Phase) -> bool {
        let entered = phase != self.phase;
        self.phase = phase;
        if entered && phase == Phase::Confirmed {
            self.active = now;
            self.legs.iter_mut().for_each(|leg| leg.latch.confirmed(now));
        }
        entered
    }

    /// A leg of this session and one of another change places.
    pub fn exchange(&mut self, now: Time, side: Side, other: &mut MediaSession, other_side: Side) {
        let (one, two) = (&mut self.legs[side.index()], &mut other.legs[other_side.index()]);
        std::mem::swap(one, two);
        // A candidate that is queued for the one leg must not count for the other in its place.
        let newest = one.rtp.version.max(two.rtp.version);
        (one.rtp.version, two.rtp.version) = (newest, newest);
        for session in [self, other] {
            session.active = now;
            session.timed_out = false;
            session.packets = 0;
        }
    }

    /// The new source, if this candidate decides it.
    pub fn candidate(&mut self, now: Time, c: Candidate, table: &FlowTable) -> Option<SocketAddr> {
        let leg = &mut self.legs[c.side.index()];
        // The admitted source may have spoken since it was last looked at: then this candidate comes too late.
        leg.listen(now, table);
        // A candidate for an older plan says nothing about this one.
        if leg.rtp.current().is_none_or(|plan| plan.version != c.version) {
            return None;
        }
        let source = leg.latch.candidate(now, c.source, c.ssrc, c.sequence)?;
        leg.rtcp_seen = None;
        Some(source)
    }

    /// The plan for what arrives from `side`; None while one of the sides has not said enough. The next hop is left
    /// to the caller.
    pub fn plan(&self, now: Time, id: SessionId, side: Side, class: FlowClass, tos: u8) -> Option<Plan> {
        let (from, to) = (&self.legs[side.index()], &self.legs[side.other().index()]);
        let (from_media, to_media) = (from.media.as_ref()?, to.media.as_ref()?);
        let rtcp = class == FlowClass::Rtcp;
        let (out_source, out_destination) = if rtcp {
            let local = if to_media.rtcp_mux { to.pair.rtp() } else { to.pair.rtcp() };
            (local, to.rtcp_destination())
        } else {
            (to.pair.rtp(), to.rtp_destination())
        };
        Some(Plan {
            session: id,
            side,
            version: 0,
            rtcp,
            admit: from.admit(class),
            departing: from.departing.filter(|(_, until)| !rtcp && *until > now).map(|(source, _)| source),
            candidates: !rtcp && from.latch.wants_candidates(now),
            muted: false,
            out_source,
            out_destination,
            next_hop: NextHopId::NONE,
            tos: to.manner.tos.unwrap_or(tos),
            clock_hz: compile::clock_hz(from_media),
            rules: if rtcp {
                Vec::new()
            } else {
                forwarded(compile::rules(from_media, to_media), from_media, from.manner)
            },
        })
    }

    pub fn install(
        &mut self,
        side: Side,
        class: FlowClass,
        plan: Option<Plan>,
        publisher: &mut Publisher,
    ) -> Result<bool, TableError> {
        self.legs[side.index()].flow(class).install(plan, publisher)
    }

    /// Looks at what the workers have seen. True if plans may have to change.
    pub fn observe(&mut self, now: Time, table: &FlowTable) -> bool {
        let mut changed = std::mem::take(&mut self.stale);
        let mut packets = 0;
        for leg in &mut self.legs {
            changed |= leg.observe(now, table);
            packets += leg.rtp.figures.packets(table, leg.rtp.entry());
        }
        if packets != self.packets || self.phase == Phase::Early || self.on_hold() {
            self.packets = packets;
            self.active = now;
        }
        changed
    }

    pub fn on_hold(&self) -> bool {
        let held = |m: &LegMedia| m.direction != Direction::SendRecv || m.rtp.is_none();
        self.legs.iter().any(|leg| leg.media.as_ref().is_some_and(held))
    }

    /// The flows with a plan in force.
    pub fn flows<'a>(&'a self, id: SessionId, table: &'a FlowTable) -> impl Iterator<Item = FlowView<'a>> {
        Side::BOTH.into_iter().flat_map(move |side| {
            let leg = &self.legs[side.index()];
            [(FlowClass::Rtp, &leg.rtp), (FlowClass::Rtcp, &leg.rtcp)].into_iter().filter_map(move |(class, flow)| {
                let (entry, plan) = flow.current.as_ref()?;
                let rtcp = class == FlowClass::Rtcp;
                let source = if rtcp { leg.rtcp_seen } else { leg.latch.admitted() };
                Some(FlowView {
                    session: id,
                    call_id: &self.call_id,
                    side,
                    class,
                    local: SocketAddr::new(leg.pair.local, flow.key.port),
                    plan,
                    report: flow.figures.report(table, Some(*entry), rtcp, plan.clock_hz, source),
                    owner: table.state(*entry).owner(),
                    not_ready: not_ready(plan, table),
                })
            })
        })
    }

    pub fn silent_for(&self, now: Time) -> Duration {
        now.since(self.active)
    }

    /// True the first time.
    pub fn time_out(&mut self) -> bool {
        !std::mem::replace(&mut self.timed_out, true)
    }

    pub fn report(&self, id: SessionId, table: &Arc<FlowTable>) -> SessionReport {
        SessionReport {
            id,
            legs: [self.leg_report(Side::A, table), self.leg_report(Side::B, table)],
            transcoded: self.legs.iter().any(|leg| {
                leg.rtp.current().is_some_and(|plan| plan.rules.first().is_some_and(|r| r.op != PtOp::Relay))
            }),
        }
    }

    fn leg_report(&self, side: Side, table: &FlowTable) -> LegReport {
        let leg = &self.legs[side.index()];
        let clock_hz = leg.media.as_ref().map_or(8_000, compile::clock_hz);
        let rtcp = leg.rtcp.figures.rtcp(table, leg.rtcp.entry());
        let blocks = rtcp.filter(|r| r.reports > 0);
        LegReport {
            rtp: leg.rtp.figures.report(table, leg.rtp.entry(), false, clock_hz, leg.latch.admitted()),
            rtcp: leg.rtcp.figures.report(table, leg.rtcp.entry(), true, clock_hz, leg.rtcp_seen),
            peer_fraction_lost: blocks.map(|r| r.fraction_lost),
            peer_jitter_ms: blocks.map(|r| f64::from(r.jitter) * 1_000.0 / f64::from(clock_hz)),
            peer_round_trip_ms: rtcp.map(|r| r.round_trip_ms).filter(|ms| *ms > 0),
            // RFC 3611 §4.7.5: 127 says that there is none.
            peer_r_factor: rtcp.map(|r| r.r_factor).filter(|r| *r > 0 && *r != 127),
            codec: leg.media.as_ref().and_then(|m| m.formats.first()).map(|f| f.encoding.name().to_owned()),
        }
    }
}

/// The rules less those for what is blocked: without a rule, a payload type is dropped.
fn forwarded(mut rules: Vec<PtRule>, from: &LegMedia, manner: Manner) -> Vec<PtRule> {
    let is_event = |pt| from.formats.iter().any(|f| f.pt == pt && f.encoding == Encoding::TelephoneEvent);
    rules.retain(|rule| if is_event(rule.pt_in) { !manner.events_blocked } else { !manner.media_blocked });
    rules
}

fn not_ready(plan: &Plan, table: &FlowTable) -> Option<&'static str> {
    if plan.muted {
        Some("muted")
    } else if plan.out_destination.is_none() {
        Some("no destination")
    } else if plan.next_hop == NextHopId::NONE {
        Some("no route")
    } else if table.next_hops.get(plan.next_hop).is_none() {
        Some("no neighbour")
    } else {
        None
    }
}

impl From<&Pair> for Local {
    fn from(pair: &Pair) -> Local {
        let told = |local: SocketAddr| SocketAddr::new(pair.told, local.port());
        Local {
            address: pair.address.clone(),
            rtp: pair.rtp(),
            rtcp: pair.rtcp(),
            told_rtp: told(pair.rtp()),
            told_rtcp: told(pair.rtcp()),
        }
    }
}
