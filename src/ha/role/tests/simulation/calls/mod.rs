//! What the hosts carry besides their roles: calls that come, change and end at whoever is active, and the machines that
//! keep a copy of them on the standby: `replicate::Sender` and `Receiver` behind `replica::End`, `Held`, and the `Shadow`.
//!
//! `ledger` says what is promised of a call, `host` is a slow path, `line` the connection between the two.

mod host;
mod ledger;
mod line;

use rand_chacha::ChaCha8Rng;

use self::{
    host::{Answer, Host, LOOK, Pace, Part},
    ledger::{Copy, Ledger},
    line::{Line, Told},
};
use super::{
    network::{below, chance},
    world::MS,
};
use crate::{
    base::Time,
    ha::{
        link::Report,
        replicate::Peer,
        role::{Order, Reason},
    },
};

/// A call more is not begun beyond these.
const CALLS_MOST: usize = 12;

/// The world at an instant.
pub struct Around {
    pub now: u64,
    pub clock: [Time; 2],
    pub up: [bool; 2],
    /// Of the processes.
    pub asleep_until: [u64; 2],
    pub transmits: [bool; 2],
    /// Nothing comes through on the line of the replication.
    pub cut: bool,
}

/// What is to happen later.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Round {
        at: usize,
        which: u64,
    },
    Look {
        at: usize,
        which: u64,
    },
    Arrive {
        connection: u64,
        to: usize,
    },
    /// Something happens to a call.
    Sip,
}

/// An event and its time.
pub struct Do(pub u64, pub Event);

impl Do {
    fn look(at: usize, when: u64, which: u64) -> Do {
        Do(when, Event::Look { at, which })
    }

    fn arrive(connection: u64, to: usize, when: u64) -> Do {
        Do(when, Event::Arrive { connection, to })
    }
}

/// What happened, for `covers_everything`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Answers that left: acknowledged, before it as their time was over, without a standby.
    pub acknowledged: u64,
    pub ends_acknowledged: u64,
    pub overdue: u64,
    pub uncovered: u64,
    pub syncs: u64,
    pub breaks: u64,
    pub overruns: u64,
    /// Acknowledged calls that a host went on with that took over.
    pub adopted: u64,
    pub lost_with_both: u64,
    pub lost_unheard: u64,
}

impl Figures {
    /// What must have happened many times in so many runs; a standby that is given up is rare.
    pub fn all(&self) -> [u64; 9] {
        [
            self.acknowledged,
            self.ends_acknowledged,
            self.overdue,
            self.uncovered,
            self.syncs,
            self.breaks,
            self.adopted,
            self.lost_with_both,
            self.lost_unheard,
        ]
    }

    pub fn add(&mut self, other: &Figures) {
        self.acknowledged += other.acknowledged;
        self.ends_acknowledged += other.ends_acknowledged;
        self.overdue += other.overdue;
        self.uncovered += other.uncovered;
        self.syncs += other.syncs;
        self.breaks += other.breaks;
        self.overruns += other.overruns;
        self.adopted += other.adopted;
        self.lost_with_both += other.lost_with_both;
        self.lost_unheard += other.lost_unheard;
    }
}

pub struct Calls {
    hosts: [Host; 2],
    line: Line,
    ledger: Ledger,
    pace: Pace,
    /// Nothing happens to calls any more.
    pub quiet_from: u64,
    memories: u64,
    rounds: u64,
    last_call: u64,
    last_change: u64,
    figures: Figures,
    /// For the world to take.
    pub todo: Vec<Do>,
    pub reports: Vec<(usize, Report)>,
}

impl Calls {
    pub fn new(random: &mut ChaCha8Rng, quiet_from: u64) -> Calls {
        Calls {
            hosts: [0, 1].map(|_| Host::new(0, 0)),
            line: Line::new(random),
            ledger: Ledger::default(),
            pace: Pace::of(random),
            quiet_from,
            memories: 0,
            rounds: 0,
            last_call: 0,
            last_change: 0,
            figures: Figures::default(),
            todo: vec![Do(0, Event::Sip)],
            reports: Vec::new(),
        }
    }

    pub fn figures(&self) -> Figures {
        Figures {
            breaks: self.line.breaks,
            overruns: self.figures.overruns + self.hosts.iter().map(|host| host.end.overruns()).sum::<u64>(),
            lost_with_both: self.ledger.lost_with_both,
            lost_unheard: self.ledger.lost_unheard,
            ..self.figures
        }
    }

    pub fn start(&mut self, around: &Around, random: &mut ChaCha8Rng, at: usize) {
        self.memories += 1;
        let boot = self.hosts[at].boot + 1;
        self.hosts[at] = Host::new(boot, self.memories);
        self.hosts[at].up = true;
        self.carry_out(around, random, at);
        self.poke(around, random, at);
    }

    pub fn crash(&mut self, around: &Around, random: &mut ChaCha8Rng, at: usize) -> Result<(), String> {
        let copies = self.copies();
        self.ledger.memory_ends(at, &copies, true, false)?;
        self.figures.overruns += self.hosts[at].end.overruns();
        let boot = self.hosts[at].boot + 1;
        self.hosts[at] = Host::new(boot, 0);
        let silently = chance(random, 50);
        self.line.crash(around, random, at, silently, &mut self.todo);
        // The other one may have let it take over, and not have come to obey yet.
        for (order, excused) in &mut self.hosts[1 - at].orders {
            *excused |= matches!(order, Order::Deactivate { reason: Reason::Switchover | Reason::Fault });
        }
        Ok(())
    }

    /// The pair thread's. `excused`: the other host may have calls that this one cannot know of.
    pub fn order(&mut self, around: &Around, random: &mut ChaCha8Rng, at: usize, order: Order, excused: bool) {
        self.hosts[at].orders.push_back((order, excused));
        self.poke(around, random, at);
    }

    pub fn stall(&mut self, now: u64, at: usize, us: u64) {
        self.hosts[at].stalled_until = now + us;
    }

    pub fn reset(&mut self, around: &Around, random: &mut ChaCha8Rng) {
        self.line.reset(around, random, &mut self.todo);
    }

    pub fn happen(&mut self, around: &Around, random: &mut ChaCha8Rng, event: Event) -> Result<(), String> {
        match event {
            Event::Round { at, which } => {
                if self.hosts[at].up && self.hosts[at].round.is_some_and(|(_, due)| due == which) {
                    self.hosts[at].round = None;
                    let awake = around.asleep_until[at].max(self.hosts[at].stalled_until);
                    if awake > around.now {
                        self.round_at(at, awake);
                        return Ok(());
                    }
                    return self.round(around, random, at);
                }
            }
            Event::Look { at, which } => {
                let memories = [0, 1].map(|at: usize| self.hosts[at].memory);
                let told = self.line.look(around, random, at, which, memories, &mut self.todo);
                self.told(around, random, told);
            }
            Event::Arrive { connection, to } => {
                let told = self.line.arrive(around, random, connection, to, &mut self.todo);
                self.told(around, random, told);
            }
            Event::Sip => {
                if around.now < self.quiet_from {
                    let at = below(random, 2) as usize;
                    self.hosts[at].sip += 1;
                    self.poke(around, random, at);
                    self.todo.push(Do(around.now + below(random, 2 * self.pace.sip_us), Event::Sip));
                }
            }
        }
        Ok(())
    }

    fn told(&mut self, around: &Around, random: &mut ChaCha8Rng, told: Told) {
        for (at, event) in told {
            self.hosts[at].inbox.push_back(event);
            self.poke(around, random, at);
        }
    }

    /// There is something to do: a round begins within a millisecond.
    fn poke(&mut self, around: &Around, random: &mut ChaCha8Rng, at: usize) {
        self.round_at(at, around.now + below(random, MS));
    }

    fn round_at(&mut self, at: usize, when: u64) {
        let host = &mut self.hosts[at];
        if host.up && host.round.is_none_or(|(due, _)| when < due) {
            self.rounds += 1;
            host.round = Some((when, self.rounds));
            self.todo.push(Do(when, Event::Round { at, which: self.rounds }));
        }
    }

    /// `slow::round`, as far as it matters here.
    fn round(&mut self, around: &Around, random: &mut ChaCha8Rng, at: usize) -> Result<(), String> {
        let now = around.clock[at];
        while let Some((order, excused)) = self.hosts[at].orders.pop_front() {
            self.obey(at, order, excused)?;
        }
        let pace = self.pace;
        if self.hosts[at].part == Part::Standby && self.hosts[at].follow(now) {
            self.figures.syncs += 1;
            let copies = self.copies();
            self.ledger.verify(&copies)?;
        }
        self.look(at, now);
        for answer in self.hosts[at].release(now) {
            self.left(around, at, answer)?;
        }
        let mut answers = Vec::new();
        let happens = std::mem::take(&mut self.hosts[at].sip);
        if self.hosts[at].part == Part::Active {
            answers.extend((0..happens).map(|_| self.call(random, at)));
        }
        if matches!(self.hosts[at].part, Part::Active | Part::Preparing { .. }) {
            let host = &mut self.hosts[at];
            host.tell(now, pace.sync);
            let token = host.end.last();
            self.synchronised(at);
            for answer in answers {
                if let Some(answer) = self.hosts[at].hold(now, pace.commit, Answer { token, ..answer }) {
                    self.left(around, at, answer)?;
                }
            }
        }
        if self.hosts[at].is_prepared() {
            self.hosts[at].part = Part::Preparing { told: true };
            self.reports.push((at, Report::Prepared));
        }
        self.carry_out(around, random, at);
        let due = self.hosts[at].next_deadline().since(now).as_micros() as u64;
        self.round_at(at, around.now + due + below(random, MS));
        Ok(())
    }

    fn obey(&mut self, at: usize, order: Order, excused: bool) -> Result<(), String> {
        let copies = self.copies();
        match order {
            Order::Activate { .. } => {
                self.ledger.activated(at, &copies, excused)?;
                self.figures.adopted += self.ledger.calls();
                self.hosts[at].take_over();
            }
            Order::Deactivate { .. } => {
                self.ledger.memory_ends(at, &copies, false, excused)?;
                self.memories += 1;
                self.hosts[at].forget(self.memories);
            }
            Order::Prepare => self.hosts[at].part = Part::Preparing { told: false },
            Order::Drain => {
                self.hosts[at].part = Part::Draining;
                self.hosts[at].held.clear();
            }
            Order::Resume => self.hosts[at].part = Part::Active,
        }
        Ok(())
    }

    /// The pair thread hears whether this host has every call.
    fn look(&mut self, at: usize, now: Time) {
        let host = &mut self.hosts[at];
        if now < host.next_look {
            return;
        }
        host.next_look = now + LOOK;
        let standby = host.part == Part::Standby;
        let (synced, whole) = (standby && host.end.is_synced(), standby && host.end.is_whole());
        let before = host.told.replace((synced, whole));
        if before.is_none_or(|(told, _)| told != synced) {
            self.reports.push((at, Report::Synced(synced)));
        }
        if before.is_none_or(|(_, told)| told != whole) {
            self.reports.push((at, Report::Whole(whole)));
        }
    }

    /// A call begins, changes or ends.
    fn call(&mut self, random: &mut ChaCha8Rng, at: usize) -> Answer {
        let book = &mut self.hosts[at].book;
        let kind = below(random, 10);
        let some = below(random, book.calls.len() as u64) as usize;
        let some = book.calls.keys().nth(some).copied();
        self.last_change += 1;
        let (call, change) = match some {
            Some(call) if kind < 3 || book.calls.len() >= CALLS_MOST => (call, None),
            Some(call) if kind < 6 => (call, Some(self.last_change)),
            _ => {
                self.last_call += 1;
                (self.last_call, Some(self.last_change))
            }
        };
        book.set(call, change);
        if change.is_none() {
            self.ledger.ended(call);
        }
        Answer { call, change, token: None }
    }

    /// An answer leaves, if the host transmits: the standby has what it tells of, or not.
    fn left(&mut self, around: &Around, at: usize, answer: Answer) -> Result<(), String> {
        let host = &self.hosts[at];
        let safe = answer.token.map(|token| (token.0, host.end.is_safe(token)));
        if !around.transmits[at] {
            return Ok(());
        }
        let session = match safe {
            Some((session, Some(true))) => session,
            Some((_, Some(false))) => {
                self.figures.overdue += 1;
                return Ok(());
            }
            _ => {
                self.figures.uncovered += 1;
                return Ok(());
            }
        };
        let Some(standby) = self.line.memory_behind(session) else { return Err("a session of nobody".into()) };
        let (active, Answer { call, change, .. }) = (host.memory, answer);
        match change {
            // A later change of it may be under way, or its end.
            Some(change) if host.book.calls.contains_key(&call) => {
                self.figures.acknowledged += 1;
                self.ledger.acknowledged(call, change, at, active, standby);
            }
            Some(_) => {}
            None => {
                self.figures.ends_acknowledged += 1;
                self.ledger.end_acknowledged(call);
            }
        }
        let copies = self.copies();
        self.ledger.verify(&copies)
    }

    fn synchronised(&mut self, at: usize) {
        if let Some(session) = self.hosts[at].newly_synced()
            && let Some(standby) = self.line.memory_behind(session)
        {
            let active = self.hosts[at].memory;
            self.ledger.synchronised(at, active, standby);
        }
    }

    fn carry_out(&mut self, around: &Around, random: &mut ChaCha8Rng, at: usize) {
        while let Some(command) = self.hosts[at].end.poll_command() {
            let told = self.line.command(around, random, at, command, &mut self.todo);
            self.told(around, random, told);
        }
    }

    fn copies(&self) -> [Copy; 2] {
        [self.hosts[0].copy(), self.hosts[1].copy()]
    }

    /// What is wrong with the copy, when all has been well for a while.
    pub fn unsettled(&self, active: usize) -> Option<String> {
        let (host, peer) = (&self.hosts[active], &self.hosts[1 - active]);
        if host.part != Part::Active || peer.part != Part::Standby {
            return Some(format!("slow paths {:?} and {:?}", host.part, peer.part));
        }
        if host.end.peer() != Peer::Synced || !peer.end.is_synced() {
            return Some(format!("the standby is {:?} and {}", host.end.peer(), peer.end.is_synced()));
        }
        let [mine, theirs] = [host.copy(), peer.copy()];
        (mine.calls != theirs.calls || theirs.traces.len() != theirs.calls.len())
            .then(|| format!("{:?} is not {:?}", theirs.calls, mine.calls))
    }

    pub fn verify(&self) -> Result<(), String> {
        self.ledger.verify(&self.copies())
    }
}
