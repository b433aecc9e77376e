//! The slow path's loop. One round: wait a millisecond at most, take what is ready, run what is due, send what came out.

use std::{
    cell::RefCell,
    collections::{BTreeSet, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use mio::{Events, Poll, Token};
use signal_hook::consts::SIGHUP;
use signal_hook_mio::v1_0::Signals;

use super::{
    answers::{self, PortFiles, View},
    boot::epoch_ms,
    kernel::NetlinkKernel,
    lateness::Lateness,
    meters::{NgSnapshot, SlowMeters, Snapshot},
    ng::NgSockets,
    pair::Pair,
    resolver::Resolver,
    sockets::{Received, Sockets},
    supervisor::Supervisor,
    watch::{Change, Watch},
};
use crate::{
    base::{Time, clock::Monotonic},
    config::Config,
    control::engine::{ControlEvent, Engine},
    flow::counters::LoopCounter,
    io::{
        SlowIo,
        dpdk::DpdkSlowIo,
        exception::Exception,
        netlink::{NeighbourEvent, Neighbours},
    },
    observe::{CdrWriter, Health, admin::AdminServer, metrics::CallMetrics},
    sip::{
        endpoint::{CallId, CallRecord, Endpoint, Level, Output},
        flow::Flow,
        names::{self, Query},
        trunk::TrunkView,
    },
    tls::{Credentials, OwnCertificate, TlsError},
};

pub const TOKEN_SIGNALS: usize = 0;
pub const TOKEN_NETLINK: usize = 1;
pub const TOKEN_RESOLVER: usize = 2;
pub const TOKEN_EXCEPTION: usize = 16;
pub const TOKEN_ADMIN: usize = 64;
pub const TOKEN_NG: usize = 512;
/// From here on tokens belong to the SIP sockets.
pub const TOKEN_SIP: usize = 1024;

const _: () = assert!(TOKEN_EXCEPTION + crate::base::limits::MAX_PORTS <= TOKEN_ADMIN);
const _: () = assert!(TOKEN_ADMIN + AdminServer::TOKENS <= TOKEN_NG);
const _: () = assert!(TOKEN_NG + NgSockets::TOKENS <= TOKEN_SIP);

/// The longest wait: the workers' rings are polled, and nobody wakes us for them.
const WAIT: Duration = Duration::from_millis(1);
/// Time for the messages of one socket in a round.
const MESSAGES: Duration = Duration::from_millis(5);
/// Time for new calls in a round; what is left waits for the next, behind everything that belongs to calls in progress.
const NEW_CALLS: Duration = Duration::from_millis(5);
/// Frames taken from the workers, and from each TAP, before the sockets get their turn.
const FRAMES_AT_ONCE: usize = 512;
/// What is looked at once in this time: timers of drivers, idle connections, lost wake-ups.
const SECOND: Duration = Duration::from_secs(1);
/// How often the metrics thread gets new figures.
const SNAPSHOT: Duration = Duration::from_millis(250);
/// What the kernel was given last needs this long to leave by the worker.
const LAST_FRAMES: Duration = Duration::from_millis(200);
/// After the last call, or the second signal: how long BYEs may still be answered.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Everything the loop waits for or takes from.
pub struct Sources {
    pub poll: Poll,
    pub signals: Signals,
    pub admin: AdminServer,
    pub sockets: Sockets,
    pub exceptions: Vec<Exception>,
    pub slow_io: DpdkSlowIo,
    pub neighbours: Rc<RefCell<Neighbours>>,
    pub kernel: NetlinkKernel,
    /// None: no destination is a name.
    pub resolver: Option<Resolver>,
    pub supervisor: Supervisor,
    /// None: the protocol is not spoken.
    pub ng: Option<NgSockets>,
}

/// Figures of the exception devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelCounters {
    pub to_kernel: u64,
    pub to_kernel_refused: u64,
    pub from_kernel: u64,
    pub from_kernel_refused: u64,
}

pub struct Round {
    pub(super) config: Arc<Config>,
    pub(super) clock: Monotonic,
    pub(super) sources: Sources,
    pub(super) engine: Engine,
    pub(super) endpoint: Endpoint,
    pub(super) files: PortFiles,
    cdr: Option<CdrWriter>,
    pub(super) health: Arc<Health>,
    calls: Arc<CallMetrics>,
    meters: Arc<SlowMeters>,
    counters: KernelCounters,
    /// Sources that had more than was taken; their next event may not come.
    again: BTreeSet<Token>,
    frame: Vec<u8>,
    next_second: Time,
    next_snapshot: Time,
    drain_until: Option<Time>,
    end_at: Option<Time>,
    drained_at: Option<Time>,
    cdr_lost: u64,
    lateness: Lateness,
    /// Of the round before: what came during it waited as long.
    took: Duration,
    /// The trunks' figures, renewed each second.
    trunks: Arc<Vec<TrunkView>>,
    /// None: a host without a peer.
    pub(super) pair: Option<Pair>,
    /// Records that the disk does not have yet, by their lines.
    unwritten: VecDeque<(u64, CallId)>,
    watch: Watch,
}

impl Round {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        config: Arc<Config>,
        clock: Monotonic,
        sources: Sources,
        engine: Engine,
        endpoint: Endpoint,
        files: PortFiles,
        cdr: Option<CdrWriter>,
        health: Arc<Health>,
        calls: Arc<CallMetrics>,
        meters: Arc<SlowMeters>,
        pair: Option<Pair>,
    ) -> Self {
        let frame = vec![0; sources.exceptions.iter().map(Exception::frame_bytes).max().unwrap_or(2048)];
        let now = clock.now();
        let watch = Watch::new(files.counters.len(), now);
        Round {
            config,
            clock,
            sources,
            engine,
            endpoint,
            files,
            cdr,
            health,
            calls,
            meters,
            counters: KernelCounters::default(),
            again: BTreeSet::new(),
            frame,
            next_second: now,
            next_snapshot: now,
            drain_until: None,
            end_at: None,
            drained_at: None,
            cdr_lost: 0,
            lateness: Lateness::new(now),
            took: Duration::ZERO,
            trunks: Arc::default(),
            pair,
            unwritten: VecDeque::new(),
            watch,
        }
    }

    /// Whether this host answers SIP: not as the standby of a pair.
    fn speaks(&self) -> bool {
        self.pair.as_ref().is_none_or(Pair::speaks)
    }

    /// Until the calls have ended after a signal to end.
    pub fn run(&mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            let wait = self.wait();
            if let Err(e) = self.sources.poll.poll(&mut events, Some(wait))
                && e.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!("the poll failed: {e}");
                std::thread::sleep(WAIT);
            }
            let now = self.clock.now();
            self.sources.kernel.set_now(now);
            self.pair_turn(now);
            let all_punted = self.pass_punted();
            self.pass_injected();
            let mut ready = std::mem::take(&mut self.again);
            ready.extend(events.iter().map(|e| e.token()));
            ready.into_iter().for_each(|token| self.ready(now, token));
            let next = self.endpoint.next_deadline().filter(|_| self.speaks());
            let due = next.map_or(Duration::ZERO, |at| now.since(at));
            let waited = self.lateness.look(now, all_punted && self.again.is_empty());
            let late = waited.max(due).max(self.took);
            self.meters.late(late, self.endpoint.offer_waited(now));
            self.endpoint.note_lateness(now, late);
            self.run_due(now);
            self.send_out(now);
            self.take_offers(now);
            self.send_out(now);
            self.pair_progress(now);
            let done = self.clock.now();
            self.took = done - now;
            self.meters.round(self.took);
            if self.ended(done) {
                return;
            }
        }
    }

    fn wait(&self) -> Duration {
        if !self.again.is_empty() || self.endpoint.offers_waiting() > 0 || self.sources.slow_io.punted_waits() {
            return Duration::ZERO;
        }
        let deadline = self.endpoint.next_deadline().filter(|_| self.speaks()).unwrap_or(Time::NEVER);
        let deadline = self.pair.as_ref().map_or(deadline, |pair| pair.next_deadline().min(deadline));
        (deadline - self.clock.now()).min(WAIT)
    }

    /// New calls, as long as there is time for them in this round; one at least.
    fn take_offers(&mut self, began: Time) {
        if !self.speaks() {
            return;
        }
        let until = self.clock.now().max(began) + NEW_CALLS;
        while self.endpoint.take_offer(self.clock.now(), &mut self.engine) && self.clock.now() < until {}
    }

    /// What workers punted goes to the kernel. False if more may wait.
    fn pass_punted(&mut self) -> bool {
        let Sources { slow_io, exceptions, .. } = &mut self.sources;
        let counters = &mut self.counters;
        let passed = slow_io.punted(FRAMES_AT_ONCE, &mut |port, frame| {
            let taken = exceptions.get_mut(usize::from(port.0)).is_some_and(|e| e.write(frame));
            counters.to_kernel += u64::from(taken);
            counters.to_kernel_refused += u64::from(!taken);
        });
        passed < FRAMES_AT_ONCE
    }

    /// What the kernel sends goes out of its port.
    fn pass_injected(&mut self) {
        for exception in &mut self.sources.exceptions {
            for _ in 0..FRAMES_AT_ONCE {
                match exception.read(&mut self.frame) {
                    Ok(Some(frame)) => {
                        let taken = self.sources.slow_io.inject(exception.port, frame);
                        self.counters.from_kernel += u64::from(taken);
                        self.counters.from_kernel_refused += u64::from(!taken);
                    }
                    Ok(None) => break,
                    Err(e) => {
                        let port = self.config.ports.get(usize::from(exception.port.0)).map_or("?", |p| &p.name);
                        if self.health.object(&format!("exception device of {port}"), &e.to_string()) {
                            tracing::error!(port, "the exception device cannot be read: {e}");
                        }
                        break;
                    }
                }
            }
        }
    }

    fn ready(&mut self, now: Time, token: Token) {
        match token.0 {
            TOKEN_SIGNALS => self.take_signals(now),
            TOKEN_NETLINK => self.take_neighbours(now),
            TOKEN_RESOLVER => self.take_names(now),
            at if at < TOKEN_ADMIN => {}
            _ if self.sources.admin.owns(token) => self.answer_admin(now),
            at if (TOKEN_NG..TOKEN_SIP).contains(&at) => {
                let speaks = self.speaks();
                let Self { sources, engine, again, .. } = self;
                let Some(ng) = &mut sources.ng else { return };
                ng.machine.stand_by(!speaks);
                if ng.ready(now, token, engine) {
                    again.insert(token);
                }
            }
            _ => {
                if self.take_messages(now, token) {
                    self.again.insert(token);
                }
            }
        }
    }

    /// What waits at one socket, as long as there is time for it in this round: a look at a message costs less than a call,
    /// and what was looked at is known to be urgent or not. True if there may be more.
    fn take_messages(&mut self, now: Time, token: Token) -> bool {
        let until = self.clock.now() + MESSAGES;
        loop {
            let mut received = Vec::new();
            let Self { sources, endpoint, .. } = self;
            let more = sources.sockets.ready(now, token, endpoint, &mut |r| received.push(r));
            self.take(now, received);
            if !more || self.clock.now() >= until {
                return more;
            }
        }
    }

    fn take(&mut self, now: Time, received: Vec<Received>) {
        // What reaches a standby was meant for the active host, and its sender asks again.
        if !self.speaks() {
            return;
        }
        for r in received {
            match r {
                Received::Datagram(flow, bytes) => self.endpoint.datagram(now, flow, bytes, &mut self.engine),
                Received::Message(flow, message) => self.endpoint.receive(now, flow, *message, &mut self.engine),
                Received::Lost(flow) => self.endpoint.transport_failed(now, flow, &mut self.engine),
            }
        }
    }

    fn take_neighbours(&mut self, now: Time) {
        let mut changes = Vec::new();
        self.sources.neighbours.borrow_mut().poll(now, &mut |event| changes.push(event));
        for change in changes {
            match change {
                NeighbourEvent::Found { hop, mac } => self.engine.neighbour_changed(hop.port, hop.ip, Some(mac)),
                NeighbourEvent::Lost { hop } => {
                    tracing::warn!(ip = %hop.ip, "a next hop no longer answers");
                    self.engine.neighbour_changed(hop.port, hop.ip, None);
                }
                NeighbourEvent::RoutesChanged => self.engine.routes_changed(),
            }
        }
    }

    fn take_names(&mut self, now: Time) {
        let answers = self.sources.resolver.as_ref().map(Resolver::answers).unwrap_or_default();
        answers.iter().for_each(|(query, answer)| self.endpoint.resolved(now, query, answer));
    }

    fn take_signals(&mut self, now: Time) {
        for signal in self.sources.signals.pending() {
            if signal == SIGHUP {
                if let Some(cdr) = &self.cdr {
                    cdr.reopen();
                }
                // Whatever comes of it is in the log.
                let _ = reload(&mut self.sources.sockets, &self.config);
                continue;
            }
            let alone = self.drain_until.is_none() && self.end_at.is_none();
            if alone && self.pair.as_mut().is_some_and(|pair| pair.leave(now)) {
                tracing::info!("the peer takes over, then tandem ends");
            } else if self.drain_until.is_some() {
                tracing::info!("a second signal: calls in progress are ended now");
                self.endpoint.drain(now, now, &mut self.engine);
                self.end_at = Some(now + LAST_WORDS);
            } else {
                self.sources.supervisor.stopping();
                self.begin_drain(now);
            }
        }
    }

    fn begin_drain(&mut self, now: Time) {
        let until = now + Duration::from_secs(self.config.node.drain_s);
        drain(&mut self.endpoint, &mut self.engine, &self.health, now, until);
        self.drain_until = Some(until);
    }

    fn answer_admin(&mut self, now: Time) {
        let Self { endpoint, engine, files, config, health, drain_until, sources, clock, pair, .. } = self;
        let Sources { admin, sockets, .. } = sources;
        admin.poll(now, &mut |request| {
            let pair = pair.as_ref().map(Pair::link);
            let mut view =
                View { now, clock: *clock, endpoint, engine, sockets, files, config, health, drain_until, pair };
            answers::answer(&mut view, request)
        });
    }

    fn run_due(&mut self, now: Time) {
        self.engine.tick(now);
        while let Some(event) = self.engine.poll_event() {
            match event {
                ControlEvent::MediaTimeout(_) if !self.speaks() => {}
                ControlEvent::MediaTimeout(session) => {
                    let Self { sources, engine, endpoint, .. } = self;
                    let ours = sources.ng.as_mut().is_some_and(|ng| ng.machine.media_timeout(now, session, engine));
                    if !ours {
                        endpoint.media_timeout(now, session, engine);
                    }
                }
                ControlEvent::Latched { call_id, side, source, .. } => {
                    tracing::info!(call_id, %side, %source, "media is latched to where it comes from");
                }
            }
        }
        if self.speaks() && self.endpoint.next_deadline().is_some_and(|at| at <= now) {
            self.endpoint.tick(now, &mut self.engine);
        }
        self.run_ng(now);
        if now >= self.next_second {
            self.next_second = now + SECOND;
            self.each_second(now);
        }
        if now >= self.next_snapshot {
            self.next_snapshot = now + SNAPSHOT;
            self.watch_workers(now);
            self.meters.publish(self.snapshot());
            self.health.beat(now);
            self.sources.supervisor.beat(now, self.health.alive().is_ok());
        }
    }

    fn watch_workers(&mut self, now: Time) {
        let turns = self.files.counters.iter().map(|counters| counters.loop_count(LoopCounter::Iterations));
        for change in self.watch.look(now, turns) {
            match change {
                Change::Stalled { worker, since } => {
                    let ms = since.as_millis();
                    self.health.object(&format!("worker {worker}"), "it takes no turns");
                    tracing::error!(worker, ms, "a worker takes no turns: is its core its own? (tandem tune verify)");
                }
                Change::Recovered { worker, after } => {
                    self.health.clear(&format!("worker {worker}"));
                    tracing::warn!(worker, ms = after.as_millis(), "a worker that had stalled goes on");
                }
            }
        }
    }

    fn run_ng(&mut self, now: Time) {
        let speaks = self.speaks();
        let Self { sources, engine, calls, drain_until, end_at, .. } = self;
        let Some(ng) = sources.ng.as_mut().map(|ng| &mut ng.machine) else { return };
        if let Some(until) = *drain_until
            && !ng.is_draining()
        {
            ng.drain(until);
        }
        if end_at.is_some() {
            ng.drain(now);
        }
        if speaks && ng.next_deadline().is_some_and(|at| at <= now) {
            ng.tick(now, engine);
        }
        ng.take_closed().iter().for_each(|report| calls.media(&report.legs));
        while let Some(note) = ng.poll_note() {
            tracing::info!("ng: {note}");
        }
    }

    fn each_second(&mut self, now: Time) {
        self.sources.slow_io.run_timers();
        self.engine.tidy();
        self.take_neighbours(now);
        self.answer_admin(now);
        self.endpoint.set_wall(now, epoch_ms());
        if let Some(ng) = &mut self.sources.ng {
            ng.machine.set_wall(now, epoch_ms());
        }
        self.trunks = Arc::new(self.endpoint.trunks(now));
        let mut received = Vec::new();
        self.endpoint.tidy_bans(now);
        self.sources.sockets.sweep(now, &mut self.endpoint, &mut |r| received.push(r));
        self.take(now, received);
        if let Some(port) = self.sources.slow_io.reset_wanted() {
            let name = self.config.ports.get(usize::from(port.0)).map_or("?", |p| p.name.as_str());
            // The device carries nothing until its driver is started anew, which a new process does: a host that
            // cannot forward must not look healthy.
            let reason = "the device asks to be reset and carries nothing";
            if self.health.object(&format!("port {name}"), reason) {
                tracing::error!(port = name, "{reason}: tandem has to be restarted");
            }
            self.health.fail(reason);
        }
    }

    fn send_out(&mut self, now: Time) {
        self.note_written();
        let token = self.commit(now);
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Send { flow, bytes } => {
                    if let Some((flow, bytes)) = self.hold(now, token, flow, bytes) {
                        self.send(now, flow, &bytes);
                    }
                }
                Output::Record(record) => {
                    if let Some(legs) = &record.legs {
                        self.calls.media(legs);
                    }
                    self.write_down(&record);
                }
                Output::Log(note) => log(&note),
                Output::Resolve(query) => self.ask(now, query),
            }
        }
    }

    /// A record goes to the disk's thread; the standby keeps it until the disk has it.
    fn write_down(&mut self, record: &CallRecord) {
        match &self.cdr {
            Some(cdr) if cdr.write(record) => self.unwritten.push_back((cdr.last(), record.id)),
            Some(_) => {
                self.cdr_lost += 1;
                self.endpoint.record_written(record.id);
            }
            None => self.endpoint.record_written(record.id),
        }
    }

    /// What the disk has by now.
    fn note_written(&mut self) {
        let done = self.cdr.as_ref().map_or(u64::MAX, CdrWriter::done);
        while let Some((_, id)) = self.unwritten.pop_front_if(|(line, _)| *line <= done) {
            self.endpoint.record_written(id);
        }
    }

    fn ask(&mut self, now: Time, query: Query) {
        match &self.sources.resolver {
            Some(resolver) => resolver.ask(query),
            None => self.endpoint.resolved(now, &query, &names::Answer::Failed),
        }
    }

    pub(super) fn send(&mut self, now: Time, flow: Flow, bytes: &[u8]) {
        let mut received = Vec::new();
        let Self { sources, endpoint, .. } = self;
        sources.sockets.send(now, flow, bytes, endpoint, &mut |r| received.push(r));
        self.take(now, received);
    }

    fn snapshot(&self) -> Snapshot {
        let (clients, servers, dialogs) = self.endpoint.table_sizes();
        Snapshot {
            sip: self.endpoint.counters().clone(),
            guard: self.endpoint.guard_counters().clone(),
            bans: self.endpoint.ban_counts(),
            calls_in_progress: self.endpoint.in_progress(),
            offers_waiting: self.endpoint.offers_waiting(),
            admitted_share: self.endpoint.admitted_share(),
            trunks: self.trunks.clone(),
            engine: self.engine.counters,
            sessions: self.engine.sessions(),
            flows: self.engine.flows_published(),
            spare_ports: self.engine.spare_ports(),
            spare_entries: self.engine.spare_entries(),
            sockets: self.sources.sockets.counters,
            certificates: self.sources.sockets.credentials().map(|tls| tls.own().to_vec()).unwrap_or_default(),
            connections: self.sources.sockets.connections(),
            kernel: self.counters,
            clients,
            servers,
            dialogs,
            cdr_queued: self.cdr.as_ref().map_or(0, CdrWriter::queued),
            cdr: self.cdr.as_ref().map(CdrWriter::counters),
            ng: self.sources.ng.as_ref().map(|ng| NgSnapshot {
                counters: ng.machine.counters.clone(),
                calls: ng.machine.in_progress(),
                connections: ng.connections(),
            }),
            worker_stalls: self.watch.stalls.clone(),
        }
    }

    /// The last messages still have to pass the kernel and the worker, and transactions to be answered: the end comes
    /// when none waits any more, and no later than `LAST_WORDS` after the last call.
    fn ended(&mut self, now: Time) -> bool {
        if let Some(pair) = &mut self.pair {
            if pair.has_left() {
                return true;
            }
            if pair.cannot_leave(now) {
                tracing::warn!("the peer does not take over");
                self.begin_drain(now);
            }
        }
        let ng_drained = self.sources.ng.as_ref().is_none_or(|ng| ng.machine.is_drained());
        if self.drain_until.is_some() && self.endpoint.is_drained() && ng_drained {
            let since = *self.drained_at.get_or_insert(now);
            let silent = self.endpoint.table_sizes().0 == 0 && now.since(since) >= LAST_FRAMES;
            return silent || now.since(since) >= LAST_WORDS;
        }
        self.end_at.is_some_and(|at| now >= at)
    }
}

/// Reads the certificates and keys again. What is wrong with them leaves those that are in use; connections go on.
pub fn reload(sockets: &mut Sockets, config: &Config) -> Result<Vec<OwnCertificate>, TlsError> {
    match Credentials::load(config) {
        Ok(credentials) => {
            let own = credentials.as_ref().map(|tls| tls.own().to_vec()).unwrap_or_default();
            sockets.arm(credentials);
            tracing::info!(certificates = own.len(), "certificates are loaded anew");
            Ok(own)
        }
        Err(e) => {
            tracing::error!("certificates are not loaded anew, those from before stay in use: {e}");
            Err(e)
        }
    }
}

/// No new calls; those in progress go on until `until`.
pub fn drain(endpoint: &mut Endpoint, engine: &mut Engine, health: &Health, now: Time, until: Time) {
    tracing::info!(calls = endpoint.in_progress(), seconds = (until - now).as_secs(), "draining: no new calls");
    health.object("drain", "no new calls are taken");
    endpoint.drain(now, until, engine);
}

fn log(note: &crate::sip::endpoint::Note) {
    let call_id = note.sip_call_id.as_deref().unwrap_or("-");
    let call = note.call.map(|c| c.to_string()).unwrap_or_default();
    match note.level {
        Level::Debug => tracing::debug!(call_id, call, "{}", note.text),
        Level::Info => tracing::info!(call_id, call, "{}", note.text),
        Level::Warn => tracing::warn!(call_id, call, "{}", note.text),
    }
}
