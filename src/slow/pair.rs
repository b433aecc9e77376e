//! The slow path of a host of a pair: what it does with the pair thread's orders, what it sends to the standby, and what it
//! makes of what the active host sends. Slow-path thread.
//!
//! As standby it has no calls of its own: SIP waits as bytes, media as published plans that the lease mutes (`ha::mirror`).
//! As active it sends what each round changed before it sends what came of it, and holds the answers to calls back until
//! the standby has said that it knows of them.

use std::time::Duration;

use bytes::Bytes;

use super::{
    boot::{epoch_ms, seed},
    floating::FloatingAddresses,
    ng::NgSockets,
    round::Round,
};
use crate::{
    base::Time,
    flow::counters::{LoopCounter, PortCounter},
    ha::{
        held::{Held, Token},
        link::{Link, Order, Report, Wish},
        mirror::{self, Mirror},
        replica::Replica,
        replicate::{Peer, Role},
    },
    io::SlowIo,
    ng::Ng,
    sip::{endpoint::Endpoint, flow::Flow},
};

/// How often the pair thread hears how this host is, if nothing changes.
const LOOK: Duration = Duration::from_millis(50);
/// A worker that has not come round for so long does not forward: four frames of a call.
const STALLED: Duration = Duration::from_millis(500);
/// A host that is to end waits so long for its peer to begin to take over.
const HANDOVER: Duration = Duration::from_secs(3);
/// Under which name the health page speaks of the pair.
const SUBJECT: &str = "pair";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Standby,
    Active,
    /// A switchover: nothing is begun any more, and `Prepared` is said once the standby has everything.
    Preparing {
        told: bool,
    },
    /// The peer takes over: media that still comes is forwarded, nothing else is done.
    Draining,
}

/// What the pair thread was told last.
#[derive(Default)]
struct Told {
    fit: Option<Result<(), String>>,
    synced: Option<bool>,
    whole: Option<bool>,
    peer_synced: Option<bool>,
}

pub struct Pair {
    link: Link,
    replica: Replica,
    mirror: Mirror,
    held: Held<(Flow, Bytes)>,
    floating: FloatingAddresses,
    part: Part,
    commit: Duration,
    next_look: Time,
    workers: Vec<(u64, Time)>,
    /// Packets that had left when this host became active, until the first one more has.
    sent_before: Option<(Time, u64)>,
    /// What the pair thread was told last, so that it hears of a change at once.
    told: Told,
    /// This process ends once it is not active any more; since when.
    leaving: Option<Time>,
}

impl Pair {
    pub fn new(link: Link, replica: Replica, floating: FloatingAddresses, commit: Duration, workers: usize) -> Self {
        Pair {
            link,
            replica,
            mirror: Mirror::default(),
            held: Held::default(),
            floating,
            part: Part::Standby,
            commit,
            next_look: Time::ZERO,
            workers: vec![(0, Time::ZERO); workers],
            sent_before: None,
            told: Told::default(),
            leaving: None,
        }
    }

    /// Whether this host answers SIP now.
    pub fn speaks(&self) -> bool {
        self.part == Part::Active
    }

    pub fn link(&self) -> &Link {
        &self.link
    }

    /// A signal to end: hand over first, if there is somebody. False: calls have to be drained as on a host without a peer.
    pub fn leave(&mut self, now: Time) -> bool {
        if self.leaving.is_some() {
            return false;
        }
        let takes_over = self.part != Part::Active || self.link.wish(Wish::Switchover).is_ok();
        self.leaving = takes_over.then_some(now);
        takes_over
    }

    /// Nothing is left to be done here.
    pub fn has_left(&self) -> bool {
        self.leaving.is_some() && self.part == Part::Standby
    }

    /// The peer was to take over and does not: true once.
    pub fn cannot_leave(&mut self, now: Time) -> bool {
        let in_vain = self.part == Part::Active && self.leaving.is_some_and(|since| now.since(since) > HANDOVER);
        if in_vain {
            self.leaving = None;
        }
        in_vain
    }

    /// When `turn` has something to do at the latest.
    pub fn next_deadline(&self) -> Time {
        self.held.next_deadline().unwrap_or(Time::NEVER).min(self.next_look)
    }
}

/// Calls of the `ng` protocol, where it is spoken.
fn machine(sockets: &mut Option<NgSockets>) -> Option<&mut Ng> {
    sockets.as_mut().map(|sockets| &mut sockets.machine)
}

impl Round {
    /// Once in a round, before anything else: orders, the replica's frames, what is held and may go.
    pub(super) fn pair_turn(&mut self, now: Time) {
        let Some(mut pair) = self.pair.take() else { return };
        pair.link.beat();
        while let Some(order) = pair.link.order() {
            self.obey(now, &mut pair, order);
        }
        if pair.part == Part::Standby {
            pair.mirror.round(now, &mut pair.replica, &mut self.engine, machine(&mut self.sources.ng));
        }
        let slow_io = &mut self.sources.slow_io;
        pair.floating.fire(now, &mut |port, frame| {
            slow_io.inject(port, frame);
        });
        if now >= pair.next_look {
            pair.next_look = now + LOOK;
            self.look(now, &mut pair);
        }
        self.pair = Some(pair);
        self.release_held(now);
    }

    fn obey(&mut self, now: Time, pair: &mut Pair, order: Order) {
        match order {
            Order::Activate { generation, cause, .. } => {
                tracing::info!(%generation, cause = cause.as_str(), "this host is active");
                self.activate(now, pair);
            }
            Order::Deactivate { reason } => {
                tracing::warn!(reason = reason.as_str(), "this host is standby");
                self.deactivate(now, pair);
            }
            Order::Prepare => pair.part = Part::Preparing { told: false },
            Order::Drain => {
                pair.part = Part::Draining;
                pair.held.clear();
                pair.floating.release();
            }
            Order::Resume => {
                if pair.part == Part::Draining {
                    pair.floating.take(now);
                }
                pair.part = Part::Active;
            }
        }
    }

    /// Media flows already: the address first, so that it arrives, then SIP.
    fn activate(&mut self, now: Time, pair: &mut Pair) {
        pair.floating.take(now);
        let slow_io = &mut self.sources.slow_io;
        pair.floating.fire(now, &mut |port, frame| {
            slow_io.inject(port, frame);
        });
        pair.link.report(Report::Activated { announced: self.clock.now(), first_packet: None });
        pair.sent_before = Some((now, self.sent_packets()));
        let seed = match seed() {
            Ok(seed) => seed,
            Err(e) => {
                // Without randomness no call is safe: the pair thread hears of it, and the peer may do better.
                self.health.fail(&e.to_string());
                return;
            }
        };
        let mirror = std::mem::take(&mut pair.mirror);
        self.endpoint = mirror.take_over(
            self.config.clone(),
            seed,
            now,
            epoch_ms(),
            &mut self.engine,
            machine(&mut self.sources.ng),
        );
        pair.part = Part::Active;
        pair.replica.be(Role::Active);
        self.health.clear(SUBJECT);
        tracing::info!(calls = self.endpoint.in_progress(), sessions = self.engine.sessions(), "calls go on here");
    }

    fn deactivate(&mut self, now: Time, pair: &mut Pair) {
        pair.floating.release();
        pair.held.clear();
        pair.sent_before = None;
        pair.mirror = Mirror::new(now, &mut self.engine, machine(&mut self.sources.ng));
        if let Ok(seed) = seed() {
            self.endpoint = Endpoint::new(self.config.clone(), seed, now, epoch_ms());
        }
        self.sources.sockets.close_all(now);
        pair.part = Part::Standby;
        pair.replica.be(Role::Standby);
        self.object();
    }

    /// A standby takes no calls.
    pub(super) fn object(&self) {
        self.health.object(SUBJECT, "this host is the standby of its pair");
    }

    /// What this round changed goes to the standby. The token of what must be acknowledged before an answer leaves.
    pub(super) fn commit(&mut self, now: Time) -> Option<Token> {
        let pair = self.pair.as_mut().filter(|pair| matches!(pair.part, Part::Active | Part::Preparing { .. }))?;
        let ng = machine(&mut self.sources.ng);
        mirror::tell(now, &mut pair.replica, &mut self.endpoint, &mut self.engine, ng);
        pair.replica.last()
    }

    /// A message that may leave now, or None: it waits.
    pub(super) fn hold(&mut self, now: Time, token: Option<Token>, flow: Flow, bytes: Bytes) -> Option<(Flow, Bytes)> {
        let Some(pair) = &mut self.pair else { return Some((flow, bytes)) };
        // RFC 3261 §13.3.1.4: a 2xx makes the session; who hears of it must find it on either host.
        let answer = bytes.starts_with(b"SIP/2.0 2");
        let known_later = token.filter(|token| answer && pair.replica.is_safe(*token) == Some(false));
        let needs = known_later.map(|token| (token, now + pair.commit));
        pair.held.pass(flow.remote, needs, (flow, bytes))
    }

    fn release_held(&mut self, now: Time) {
        let Some(pair) = &mut self.pair else { return };
        if pair.held.is_empty() {
            return;
        }
        let Pair { held, replica, .. } = pair;
        for (flow, bytes) in held.release(now, |token| replica.is_safe(token)) {
            self.send(now, flow, &bytes);
        }
    }

    /// What the pair thread has to know of this host.
    fn look(&mut self, now: Time, pair: &mut Pair) {
        let fit = self.fit(now, pair);
        if pair.told.fit.as_ref() != Some(&fit) && pair.link.report(Report::Fit(fit.clone())) {
            pair.told.fit = Some(fit);
        }
        let standby = pair.part == Part::Standby;
        let Pair { link, replica, told, .. } = pair;
        let tell = |told: &mut Option<bool>, is: bool, report: fn(bool) -> Report| {
            if *told != Some(is) && link.report(report(is)) {
                *told = Some(is);
            }
        };
        tell(&mut told.synced, standby && replica.is_synced(), Report::Synced);
        tell(&mut told.whole, standby && replica.is_whole(), Report::Whole);
        tell(&mut told.peer_synced, replica.peer() == Peer::Synced, Report::PeerSynced);
        if pair.part == Part::Active {
            let lag = pair.replica.lag(now);
            let ms = u64::try_from(lag.age.as_millis()).unwrap_or(u64::MAX);
            pair.link.report(Report::Lag { messages: lag.messages as u64, ms });
        }
    }

    /// Progress that is looked at in every round, because somebody waits for it.
    pub(super) fn pair_progress(&mut self, now: Time) {
        let sent = self.sent_packets();
        let Some(pair) = &mut self.pair else { return };
        if let Some((since, before)) = pair.sent_before
            && sent > before
        {
            pair.sent_before = None;
            pair.link.report(Report::Activated { announced: since, first_packet: Some(now) });
        }
        if pair.part == (Part::Preparing { told: false }) {
            let safe = pair.replica.last().is_some_and(|token| pair.replica.is_safe(token) == Some(true));
            if safe && pair.held.is_empty() && pair.link.report(Report::Prepared) {
                pair.part = Part::Preparing { told: true };
            }
        }
    }

    /// Whether workers turn, links are up and nothing has failed.
    fn fit(&self, now: Time, pair: &mut Pair) -> Result<(), String> {
        self.health.alive()?;
        for (worker, (counters, (turns, since))) in self.files.counters.iter().zip(&mut pair.workers).enumerate() {
            let turned = counters.loop_count(LoopCounter::Iterations);
            if turned != *turns || *since == Time::ZERO {
                (*turns, *since) = (turned, now);
            } else if now.since(*since) >= STALLED {
                return Err(format!("worker {worker} has not come round for {STALLED:?}"));
            }
        }
        if let Ok(devices) = self.files.devices.try_lock() {
            for port in &devices.ports {
                if matches!(port.link_up(), Ok(false)) {
                    return Err(format!("the link of port {} is down", port.name));
                }
            }
        }
        Ok(())
    }

    /// By the workers, over all ports.
    fn sent_packets(&self) -> u64 {
        let sent = self
            .files
            .counters
            .iter()
            .flat_map(|counters| (0..counters.ports()).map(|port| counters.count(port, PortCounter::TxPackets)));
        sent.sum()
    }
}
