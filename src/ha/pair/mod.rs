//! The pair thread: heartbeats in and out, the role machine, the lease. It waits for its sockets and the machine's next
//! deadline, and for nothing else: the disk, the provider and the slow path have threads of their own and answer by queues.
//!
//! What always holds: the ticks that a lease is counted from are read before the time that the machine is told, and both
//! before the heartbeat leaves. A datagram costs one HMAC; at most `HA_DATAGRAMS` of a path are read before the clock is.

mod path;
mod provider;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::{Events, Poll, Token, Waker};

use self::{path::Path, provider::Mover};
use super::{
    heartbeat::{Channel, Key},
    link::{Count, Lag, Link, PairStatus, PeerStatus, Report, Shared, Takeover},
    provider::Provider,
    role::{Cause, Machine, Order, Output, ProviderKind, Reason, Settings},
    state::{Disk, StateError},
};
use crate::{
    base::{Time, clock::Monotonic},
    config::Ha,
    flow::lease::Lease,
    host::cpus::pin,
};

const WAKER: usize = 1_000;
/// Orders and reports that may wait. A slow path that leaves more unread does not turn.
const QUEUE: usize = 256;
/// The slow path comes round every millisecond; silent for so long, it hangs.
const SLOW_SILENCE: Duration = Duration::from_secs(1);
/// How often the snapshot is renewed, besides at every order.
const SNAPSHOT: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum PairError {
    #[error("cannot hear heartbeats on {local}: {source}")]
    Path { local: std::net::SocketAddr, source: io::Error },
    #[error(transparent)]
    State(#[from] StateError),
    #[error("cannot start the pair's threads: {0}")]
    Start(io::Error),
    #[error("the kernel gives no random bytes for the pair's nonce: {0}")]
    Random(getrandom::Error),
}

/// What the thread is given.
pub struct Setup<'a> {
    pub ha: &'a Ha,
    /// `node.name`.
    pub node: &'a str,
    /// Of `ec2`; `none` and `garp` move nothing by themselves.
    pub provider: Option<Box<dyn Provider>>,
    pub lease: Arc<Lease>,
    /// The one whose times the slow path reports.
    pub clock: Monotonic,
    /// The device's clock, which workers hold against the lease.
    pub ticks: Box<dyn Fn() -> u64 + Send>,
    pub ticks_per_second: u64,
    /// Where the thread runs; None: where the one that starts it does.
    pub cpu: Option<u16>,
}

/// The running thread. Dropping it ends the lease and the thread: the peer then finds this host silent.
#[derive(Debug)]
pub struct Pair {
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Pair {
    /// Opens the paths and the file with the generation, and starts. The lease does not hold until this host is active.
    pub fn start(setup: Setup<'_>) -> Result<(Pair, Link), PairError> {
        let poll = Poll::new().map_err(PairError::Start)?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(WAKER)).map_err(PairError::Start)?);
        let Setup { ha, node, provider, lease, clock, ticks, ticks_per_second, cpu } = setup;
        let mut paths = Vec::with_capacity(ha.paths.len());
        for (at, link) in ha.paths.iter().enumerate() {
            let opened = Path::open(*link, poll.registry(), Token(at));
            paths.push(opened.map_err(|source| PairError::Path { local: link.local, source })?);
        }
        let (disk, stored) = Disk::open(&ha.state, waker.clone())?;
        let kind = provider
            .as_ref()
            .map_or(ProviderKind::default(), |one| ProviderKind { claims: true, witness: one.is_witness() });
        let name = provider.as_ref().map_or(ha.provider.as_str(), |one| one.name());
        let mover = provider.map(|one| Mover::start(one, waker.clone())).transpose().map_err(PairError::Start)?;
        let settings = Settings {
            me: node.to_owned(),
            peer: ha.peer.clone(),
            heartbeat: Duration::from_millis(ha.heartbeat_ms.into()),
            misses: ha.misses,
            drain: Duration::from_millis(ha.drain_ms.into()),
            hold_down: Duration::from_millis(ha.hold_down_ms.into()),
            preempt: ha.preempt,
            provider: kind,
        };
        let (order, orders) = bounded(QUEUE);
        let (report, reports) = bounded(QUEUE);
        let (beats, shared) = (Arc::new(AtomicU64::new(0)), Arc::new(Shared::default()));
        let stop = Arc::new(AtomicBool::new(false));
        lease.end();
        let now = clock.now();
        let mut runner = Runner {
            stop: stop.clone(),
            poll,
            paths,
            key: Key::new(ha.key.expose(), node, &ha.peer),
            channel: Channel::new(nonce()?),
            machine: Machine::new(settings, stored.number, now),
            disk,
            mover,
            lease,
            clock,
            ticks,
            ticks_per_second,
            order,
            reports,
            slow: SlowPath {
                beats: beats.clone(),
                seen: 0,
                at: now,
                looked: now,
                fit: Err("tandem is starting".into()),
            },
            shared: shared.clone(),
            names: Names { node: node.to_owned(), peer: ha.peer.clone(), provider: name.to_owned() },
            peer_synced: false,
            lag: None,
            takeover: None,
            next_snapshot: now,
        };
        runner.publish(now);
        let run = move || {
            if let Some(cpu) = cpu
                && let Err(e) = pin(cpu)
            {
                tracing::warn!(cpu, "the pair thread is not on its CPU: {e}");
            }
            runner.run();
        };
        let thread = thread::Builder::new().name("pair".into()).spawn(run).map_err(PairError::Start)?;
        let link = Link { orders, reports: report, waker: waker.clone(), beats, shared };
        Ok((Pair { stop, waker, thread: Some(thread) }, link))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// 64 bits that no process had before and that nobody can guess.
fn nonce() -> Result<u64, PairError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(PairError::Random)?;
    Ok(u64::from_be_bytes(bytes))
}

struct Names {
    node: String,
    peer: String,
    provider: String,
}

/// What is known of the slow path.
struct SlowPath {
    beats: Arc<AtomicU64>,
    seen: u64,
    at: Time,
    looked: Time,
    fit: Result<(), String>,
}

impl SlowPath {
    fn look(&mut self, now: Time) -> Result<(), String> {
        let beats = self.beats.load(Ordering::Relaxed);
        // Where the whole process slept, the slow path is not to blame.
        let slept = now.since(self.looked) > SLOW_SILENCE / 4;
        self.looked = now;
        if beats != self.seen || slept {
            (self.seen, self.at) = (beats, now);
        }
        if now.since(self.at) > SLOW_SILENCE {
            return Err(format!("the slow path has not come round for {} ms", now.since(self.at).as_millis()));
        }
        self.fit.clone()
    }
}

/// A takeover that goes on, by the times of this host.
struct Taking {
    told: Takeover,
    at: Time,
}

struct Runner {
    stop: Arc<AtomicBool>,
    poll: Poll,
    paths: Vec<Path>,
    key: Key,
    channel: Channel,
    machine: Machine,
    disk: Disk,
    /// None: the provider moves nothing by itself.
    mover: Option<Mover>,
    lease: Arc<Lease>,
    clock: Monotonic,
    ticks: Box<dyn Fn() -> u64 + Send>,
    ticks_per_second: u64,
    order: Sender<Order>,
    reports: Receiver<Report>,
    slow: SlowPath,
    shared: Arc<Shared>,
    names: Names,
    peer_synced: bool,
    lag: Option<Lag>,
    takeover: Option<Taking>,
    next_snapshot: Time,
}

impl Runner {
    fn run(&mut self) {
        let mut events = Events::with_capacity(16);
        let mut more = false;
        while !self.stop.load(Ordering::Relaxed) {
            let wait = if more { Duration::ZERO } else { self.machine.next() - self.clock.now() };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!("the pair thread cannot wait: {error}");
                thread::sleep(Duration::from_millis(1));
            }
            // In this order: a pause between the two ends the lease earlier, not later.
            let ticks = (self.ticks)();
            let now = self.clock.now();
            more = self.hear(now);
            self.take_reports(now);
            self.take_answers(now);
            let fit = self.slow.look(now);
            self.machine.fit(now, fit);
            self.machine.tick(now);
            self.carry_out(now, ticks);
            if now >= self.next_snapshot {
                self.publish(now);
            }
        }
        self.lease.end();
    }

    /// True if more datagrams may wait.
    fn hear(&mut self, now: Time) -> bool {
        let Self { paths, key, channel, machine, .. } = self;
        let mut more = false;
        for (at, path) in paths.iter_mut().enumerate() {
            more |= path.hear(key, &mut |left, heartbeat| {
                let taken = channel.take(now, at, left, heartbeat);
                if let Ok(Some(news)) = &taken {
                    machine.heard(now, news);
                }
                taken.map(|_| ())
            });
        }
        more
    }

    fn take_reports(&mut self, now: Time) {
        for report in self.reports.try_iter().take(QUEUE) {
            match report {
                Report::Fit(fit) => self.slow.fit = fit,
                Report::Synced(synced) => self.machine.synced(now, synced),
                Report::Whole(whole) => self.machine.whole(now, whole),
                Report::PeerSynced(synced) => self.peer_synced = synced,
                Report::Lag { messages, ms } => self.lag = Some(Lag { messages, seconds: ms as f64 / 1e3 }),
                Report::Prepared => self.machine.prepared(now),
                Report::Activated { announced, first_packet } => {
                    if let Some(Taking { told, at }) = &mut self.takeover {
                        told.announce_s = Some(announced.since(*at).as_secs_f64());
                        told.first_packet_s = first_packet.map(|first| first.since(*at).as_secs_f64());
                    }
                }
                Report::Wish(wish) => {
                    tracing::info!(?wish, "an operator's wish");
                    self.machine.wish(now, wish);
                }
            }
        }
    }

    fn take_answers(&mut self, now: Time) {
        while let Some((generation, result)) = self.disk.written() {
            self.machine.persisted(now, &generation, result);
        }
        while let Some(answer) = self.mover.as_ref().and_then(Mover::answer) {
            self.machine.answered(now, answer);
        }
    }

    fn carry_out(&mut self, now: Time, ticks: u64) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send(advert) => {
                    let heartbeat = self.channel.next(now, advert);
                    for (at, path) in self.paths.iter_mut().enumerate() {
                        path.send(at, &heartbeat, &self.key);
                    }
                }
                Output::Lease { until, by } => {
                    let left = self.clock.now();
                    if left < by {
                        self.lease.extend(ticks.saturating_add(self.in_ticks(until.since(now))));
                    } else {
                        self.machine.late(left);
                    }
                }
                Output::EndLease => self.lease.end(),
                Output::Persist(generation) => {
                    if !self.disk.write(generation.clone()) {
                        self.machine.persisted(now, &generation, Err("the disk does not keep up".into()));
                    }
                }
                Output::Ask(ask) => {
                    if let Some(mover) = &self.mover {
                        mover.ask(ask);
                    }
                }
                Output::Order(order) => self.give(now, order),
                Output::Note(text) => tracing::info!(peer = self.names.peer, "{text}"),
            }
        }
    }

    fn in_ticks(&self, span: Duration) -> u64 {
        let ticks = span.as_nanos() * u128::from(self.ticks_per_second) / 1_000_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    fn give(&mut self, now: Time, order: Order) {
        if let Order::Activate { generation, cause, last_heard, detected_at } = &order {
            let silent = *cause == Cause::Silence;
            let told = Takeover {
                cause: *cause,
                generation: generation.clone(),
                ago_s: 0.0,
                detect_s: if silent { detected_at.since(*last_heard).as_secs_f64() } else { 0.0 },
                claim_s: now.since(*detected_at).as_secs_f64(),
                announce_s: None,
                first_packet_s: None,
            };
            self.takeover = Some(Taking { told, at: now });
        }
        if self.order.try_send(order).is_err() {
            // It is told once a second, by `fit`, that the slow path does not turn; this is its consequence.
            tracing::error!("the slow path takes no orders");
        }
        self.publish(now);
    }

    fn publish(&mut self, now: Time) {
        self.next_snapshot = now + SNAPSHOT;
        let view = self.machine.view(now);
        let counters = self.machine.counters();
        let ahead = |until: Option<Time>| until.map(|until| until.since(now).as_secs_f64());
        let advert = view.peer.map(|peer| peer.advert);
        let flags = advert.map(|advert| advert.flags).unwrap_or_default();
        let causes = Cause::ALL.iter().zip(counters.takeovers);
        let reasons = Reason::ALL.iter().zip(counters.stops);
        let count = |name: &str, count: u64| Count { name: name.to_owned(), count };
        let paths = self.paths.iter().enumerate();
        let status = PairStatus {
            node: self.names.node.clone(),
            role: view.role,
            generation: Some(view.generation).filter(|generation| generation.number > 0),
            for_s: now.since(view.since).as_secs_f64(),
            provider: self.names.provider.clone(),
            ready: view.ready,
            synced: view.synced,
            unfit: view.unfit,
            provider_objects: view.rehearsal,
            disk_objects: view.disk,
            frozen: view.frozen,
            held_down_s: ahead(view.held_until),
            lease_left_s: ahead(view.lease_until),
            revalidating: view.revalidating,
            peer: PeerStatus {
                node: self.names.peer.clone(),
                silent: view.silent || advert.is_none(),
                role: advert.map(|advert| advert.role),
                fit: flags.fit,
                synced: flags.synced || self.peer_synced,
                ready: flags.ready,
                frozen: flags.frozen,
            },
            paths: paths.map(|(at, path)| path.status(at, self.channel.heard_on(at), now)).collect(),
            lag: self.lag,
            takeovers: causes.map(|(cause, number)| count(cause.as_str(), number)).collect(),
            stops: reasons.map(|(reason, number)| count(reason.as_str(), number)).collect(),
            overslept: counters.overslept,
            abandoned_claims: counters.abandoned,
            last_takeover: self
                .takeover
                .as_ref()
                .map(|taking| Takeover { ago_s: now.since(taking.at).as_secs_f64(), ..taking.told.clone() }),
        };
        self.shared.publish(status);
    }
}
