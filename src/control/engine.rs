//! Media sessions: the implementation of `MediaControl` on the flow table. Runs on the slow path; time and the kernel's
//! routes are arguments, so that tests drive it without either.
//!
//! A session has four flows: RTP and RTCP from either side. Each change of what is known of a side recompiles them; a
//! plan that comes out as it was is left alone, so that a refreshed description costs the workers nothing.

mod standby;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use super::{
    LegMedia, Local, Manner, MediaControl, OpenError, OpenRequest, Phase, Session, SessionReport, StreamReport,
    media::{Leg, MediaSession},
    neighbours::{Kernel, NextHopBook},
    ports::{AllotError, Pair, Ports},
};
use crate::{
    base::{
        Time,
        ids::{SessionId, Side, WorkerId},
        marks::Marks,
    },
    config::Config,
    flow::{
        FlowClass, FlowTable, Plan, Publisher,
        event::{Candidate, Events},
        table::EntryId,
    },
};

/// Candidates taken from one worker's queue per tick.
const CANDIDATES_AT_ONCE: usize = 256;
/// Every session is looked at once in this time: activity, learnt RTCP ports, windows that close.
const ROUND: Duration = Duration::from_millis(500);
/// Ticks in a round: a tick looks at this fraction of the sessions.
const TICKS_PER_ROUND: usize = 50;

/// What those above call control should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// No media either way for `media.timeout_s`.
    MediaTimeout(SessionId),
    /// A side's media comes from elsewhere than its description says.
    Latched { session: SessionId, call_id: String, side: Side, source: SocketAddr },
}

/// One flow as listings show it.
#[derive(Debug)]
pub struct FlowView<'a> {
    pub session: SessionId,
    pub call_id: &'a str,
    pub side: Side,
    pub class: FlowClass,
    pub local: SocketAddr,
    pub plan: &'a Plan,
    pub report: StreamReport,
    /// The worker that writes its state line.
    pub owner: Option<WorkerId>,
    /// Why nothing would be forwarded now.
    pub not_ready: Option<&'static str>,
}

/// Figures for the metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct EngineCounters {
    pub opened: u64,
    pub closed: u64,
    pub refused_port: u64,
    pub refused_table: u64,
    pub refused_address: u64,
    pub latched: u64,
    pub timed_out: u64,
    pub published: u64,
    /// Plans that could not be published: the table was full.
    pub unpublished: u64,
    /// Sessions of the active host that could not be taken in: an address or port is not to be had here.
    pub unfollowed: u64,
}

pub struct Engine {
    publisher: Publisher,
    events: Vec<Arc<Events>>,
    ports: Ports,
    hops: NextHopBook,
    kernel: Box<dyn Kernel>,
    sessions: BTreeMap<SessionId, MediaSession>,
    /// Entries whose leg has changed its session since they were published, until they can be reused.
    moved: HashMap<EntryId, (SessionId, Side)>,
    /// Where the round over the sessions goes on.
    cursor: SessionId,
    next_tick: Time,
    next_id: u64,
    out: VecDeque<ControlEvent>,
    settings: Settings,
    /// The standby's: another host's workers forward, and nothing is heard here.
    following: bool,
    /// For the standby: sessions that changed, and behind them all of them, once.
    changed: Marks<SessionId>,
    queue: VecDeque<SessionId>,
    /// The standby's: sessions that were not told anew yet.
    untold: BTreeSet<SessionId>,
    pub counters: EngineCounters,
}

#[derive(Clone, Debug)]
struct Settings {
    tos: u8,
    timeout: Option<Duration>,
    latching: crate::config::Latching,
    ring: Duration,
    max_sessions: usize,
}

impl Engine {
    pub fn new(config: &Config, table: Arc<FlowTable>, events: Vec<Arc<Events>>, kernel: Box<dyn Kernel>) -> Self {
        Engine {
            hops: NextHopBook::new(table.clone()),
            publisher: Publisher::new(table),
            events,
            ports: Ports::new(config),
            kernel,
            sessions: BTreeMap::new(),
            moved: HashMap::new(),
            cursor: SessionId(0),
            next_tick: Time::ZERO,
            next_id: 1,
            out: VecDeque::new(),
            settings: Settings {
                tos: config.media.dscp << 2,
                timeout: (config.media.timeout_s > 0).then(|| Duration::from_secs(config.media.timeout_s.into())),
                latching: config.media.latching.clone(),
                ring: Duration::from_secs(config.sip.ring_s.into()),
                max_sessions: config.media.max_sessions as usize,
            },
            following: false,
            changed: Marks::default(),
            queue: VecDeque::new(),
            untold: BTreeSet::new(),
            counters: EngineCounters::default(),
        }
    }

    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub fn spare_ports(&self) -> usize {
        self.ports.spare()
    }

    pub fn spare_entries(&self) -> usize {
        self.publisher.spare()
    }

    /// Flows with a plan in force.
    pub fn flows_published(&self) -> usize {
        self.sessions
            .values()
            .flat_map(|s| &s.legs)
            .flat_map(|l| [&l.rtp, &l.rtcp])
            .filter(|f| f.current().is_some())
            .count()
    }

    pub fn flows(&self) -> impl Iterator<Item = FlowView<'_>> {
        let table = self.publisher.table();
        self.sessions.iter().flat_map(move |(id, session)| session.flows(*id, table))
    }

    /// What was allotted on one side.
    pub fn local(&self, id: SessionId, side: Side) -> Option<Local> {
        Some(Local::from(&self.sessions.get(&id)?.legs[side.index()].pair))
    }

    /// Where one side's description wants its RTP.
    pub fn signalled(&self, id: SessionId, side: Side) -> Option<SocketAddr> {
        self.sessions.get(&id)?.legs[side.index()].media.as_ref()?.rtp
    }

    pub fn is_held(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(MediaSession::on_hold)
    }

    pub fn next_hops(&self) -> &NextHopBook {
        &self.hops
    }

    pub fn poll_event(&mut self) -> Option<ControlEvent> {
        self.out.pop_front()
    }

    pub fn neighbour_changed(&mut self, port: crate::base::ids::PortId, ip: IpAddr, mac: Option<[u8; 6]>) {
        self.hops.neighbour_changed(port, ip, mac);
    }

    /// Routes are looked up anew, for each session when it is next looked at: within half a second, and never for all
    /// of them at once.
    pub fn routes_changed(&mut self) {
        self.hops.routes_changed();
        self.sessions.values_mut().for_each(|session| session.stale = true);
    }

    /// Once a second: next hops that no plan goes by are given back where they crowd.
    pub fn tidy(&mut self) {
        if self.hops.is_crowded() {
            let flows = self.sessions.values().flat_map(|s| &s.legs).flat_map(|l| [&l.rtp, &l.rtcp]);
            let in_use = flows.filter_map(|f| f.current()).map(|plan| plan.next_hop).collect();
            self.hops.release(&in_use, &mut *self.kernel);
        }
    }

    /// Candidates, entries that may be reused, and a share of the sessions. Call it every few milliseconds.
    pub fn tick(&mut self, now: Time) {
        self.take_candidates(now);
        let (sessions, moved) = (&mut self.sessions, &mut self.moved);
        self.publisher.reclaim(|table, retired| {
            let view = table.plan(retired.entry);
            let (id, side) = moved.remove(&retired.entry).unwrap_or((view.session(), view.side()));
            if let Some(session) = sessions.get_mut(&id) {
                let rtcp = retired.key.class == FlowClass::Rtcp;
                let leg = &mut session.legs[side.index()];
                leg.flow(retired.key.class).figures.retire(retired.entry, &table.state(retired.entry), rtcp);
            }
        });
        if now >= self.next_tick {
            self.ports.wake(now);
            self.next_tick = now + ROUND / TICKS_PER_ROUND as u32;
            self.look_at_some(now);
        }
    }

    fn take_candidates(&mut self, now: Time) {
        for queue in 0..self.events.len() {
            for _ in 0..CANDIDATES_AT_ONCE {
                let Some(candidate) = self.events[queue].pop() else { break };
                self.candidate(now, candidate);
            }
        }
    }

    fn candidate(&mut self, now: Time, c: Candidate) {
        let Some(session) = self.sessions.get_mut(&c.session) else { return };
        if let Some(source) = session.candidate(now, c, self.publisher.table()) {
            self.counters.latched += 1;
            let call_id = session.call_id.clone();
            self.out.push_back(ControlEvent::Latched { session: c.session, call_id, side: c.side, source });
            self.recompile(now, c.session);
        }
    }

    fn look_at_some(&mut self, now: Time) {
        let share = self.sessions.len().div_ceil(TICKS_PER_ROUND);
        for _ in 0..share {
            let next = self.sessions.range((Bound::Excluded(self.cursor), Bound::Unbounded)).next();
            let Some((&id, _)) = next.or_else(|| self.sessions.first_key_value()) else { return };
            self.cursor = id;
            self.look_at(now, id);
        }
    }

    fn look_at(&mut self, now: Time, id: SessionId) {
        let table = self.publisher.table().clone();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let changed = session.observe(now, &table);
        let limit = self.settings.timeout.filter(|_| !self.following);
        if limit.is_some_and(|limit| session.silent_for(now) >= limit) && session.time_out() {
            self.counters.timed_out += 1;
            self.out.push_back(ControlEvent::MediaTimeout(id));
        }
        if changed {
            self.recompile(now, id);
        }
    }

    fn recompile(&mut self, now: Time, id: SessionId) {
        self.changed.note(id);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for side in Side::BOTH {
            for class in [FlowClass::Rtp, FlowClass::Rtcp] {
                let plan = session.plan(now, id, side, class, self.settings.tos);
                let plan = plan.map(|mut plan| {
                    if let Some(to) = plan.out_destination {
                        plan.next_hop = self.hops.hop(to.ip(), &mut *self.kernel);
                    }
                    plan
                });
                match session.install(side, class, plan, &mut self.publisher) {
                    Ok(published) => self.counters.published += u64::from(published),
                    // Tried again when the session is next looked at; until then the old plan stands.
                    Err(_) => {
                        session.stale = true;
                        self.counters.unpublished += 1;
                    }
                }
            }
        }
    }
}

impl MediaControl for Engine {
    fn open(&mut self, now: Time, request: &OpenRequest) -> Result<Session, OpenError> {
        // Four flows, each with a spare entry for the version that replaces it.
        if self.sessions.len() >= self.settings.max_sessions || self.publisher.spare() < 8 {
            self.counters.refused_table += 1;
            return Err(OpenError::TableFull);
        }
        let a = self.allot(now, &request.media[0])?;
        let b = match self.allot(now, &request.media[1]) {
            Ok(b) => b,
            Err(e) => {
                self.ports.give_back(&a);
                return Err(e);
            }
        };
        let id = SessionId(self.next_id);
        self.next_id += 1;
        let local = [Local::from(&a), Local::from(&b)];
        let leg = |pair| Leg::new(pair, &self.publisher, &self.settings.latching, self.settings.ring);
        let (Some(leg_a), Some(leg_b)) = (leg(a.clone()), leg(b.clone())) else {
            self.ports.give_back(&a);
            self.ports.give_back(&b);
            self.counters.refused_address += 1;
            return Err(OpenError::NoAddress);
        };
        self.sessions.insert(id, MediaSession::new(now, request.call_id.clone(), [leg_a, leg_b]));
        self.changed.note(id);
        self.counters.opened += 1;
        Ok(Session { id, local })
    }

    fn update(&mut self, now: Time, id: SessionId, side: Side, media: &LegMedia) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.describe(now, side, media, &mut self.publisher)
        {
            self.recompile(now, id);
        }
    }

    fn phase(&mut self, now: Time, id: SessionId, phase: Phase) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.enter(now, phase)
        {
            self.recompile(now, id);
        }
    }

    fn treat(&mut self, now: Time, id: SessionId, side: Side, manner: Manner) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.treat(side, manner)
        {
            self.recompile(now, id);
        }
    }

    fn exchange(&mut self, now: Time, one: (SessionId, Side), other: (SessionId, Side)) {
        if one.0 == other.0 || !self.sessions.contains_key(&other.0) {
            return;
        }
        let Some(mut first) = self.sessions.remove(&one.0) else { return };
        if let Some(second) = self.sessions.get_mut(&other.0) {
            first.exchange(now, one.1, second, other.1);
            let (here, there) = (first.legs[one.1.index()].entries(), second.legs[other.1.index()].entries());
            self.moved.extend(here.into_iter().map(|entry| (entry, one)));
            self.moved.extend(there.into_iter().map(|entry| (entry, other)));
        }
        self.sessions.insert(one.0, first);
        self.recompile(now, one.0);
        self.recompile(now, other.0);
    }

    fn close(&mut self, now: Time, id: SessionId) -> Option<SessionReport> {
        let mut session = self.sessions.remove(&id)?;
        self.changed.note(id);
        self.withdraw(&mut session);
        session.legs.iter().for_each(|leg| self.ports.free(now, &leg.pair));
        self.counters.closed += 1;
        Some(session.report(id, self.publisher.table()))
    }

    fn report(&self, id: SessionId) -> Option<SessionReport> {
        Some(self.sessions.get(&id)?.report(id, self.publisher.table()))
    }
}

impl Engine {
    fn allot(&mut self, now: Time, names: &[String]) -> Result<Pair, OpenError> {
        self.ports.allot(now, names).map_err(|e| match e {
            AllotError::NoPort => {
                self.counters.refused_port += 1;
                OpenError::NoPort
            }
            AllotError::NoAddress => {
                self.counters.refused_address += 1;
                OpenError::NoAddress
            }
        })
    }
}
