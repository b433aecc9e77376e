//! One pair with everything around it, and what must hold at every instant. Times here are the world's, in microseconds;
//! each host has a clock of its own.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet, VecDeque},
    time::Duration,
};

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{
    calls::{self, Around, Calls, Do},
    network::{Wire, below, chance},
    plan::{Plan, Tally},
};
use crate::{
    base::Time,
    ha::{
        generation::Generation,
        heartbeat::{Channel, Heartbeat, Role},
        link::Report,
        provider::{Floating, Place, ProviderError},
        role::{
            Answer, Ask, CONFIRM_PATIENCE, Cause, Machine, Order, Output, ProviderKind, Reason, START_PATIENCE,
            Settings, Wish,
        },
    },
};

pub const MS: u64 = 1_000;
pub const NAMES: [&str; 2] = ["a", "b"];
const HEARTBEAT: u64 = 20 * MS;
/// Four misses and half an interval.
const DETECTION: u64 = 90 * MS;
const DRAIN: u64 = 200 * MS;
/// After the partition heals, two may transmit for so long.
const HEALED: u64 = 200 * MS;
/// The provider answers a witness's question within this, where the API is not lost.
const API_MOST: u64 = 400 * MS;
/// What a request waits for an API that is lost.
const API_TIMEOUT: u64 = 1_000 * MS;
const INBOX: usize = 64;
/// A claim of the addresses, with a request that is lost.
const CLAIM: u64 = API_TIMEOUT + 1_000 * MS;
/// Calls come and go for so long after the faults.
const CALLS_AFTER: u64 = 1_500 * MS;

/// What a host's machine is told when its pair thread wakes.
type Mail = Box<dyn FnOnce(&mut Machine, Time)>;

struct Node {
    up: bool,
    /// Of the process; what was begun for an earlier one comes to nothing.
    boot: u64,
    machine: Machine,
    channel: Channel,
    offset_us: u64,
    rate_ppm: i64,
    pair_asleep_until: u64,
    process_asleep_until: u64,
    /// The end of its last sleep or start, and of its last sleep.
    awake_since: u64,
    slept_until: u64,
    crashed_at: u64,
    lease_until: Time,
    disk: u64,
    inbox: VecDeque<Delivery>,
    mail: VecDeque<Mail>,
    /// As its workers and its slow path know it.
    role: Role,
    turn: u64,
    generation: Option<Generation>,
    activated_at: u64,
    /// The highest active generation of the peer that its machine was told of.
    told: Option<Generation>,
    unfit: bool,
    /// As its machine knows it: by its health, or by what the disk or the provider said last, which may count for longer than
    /// either is out of order.
    told_unable: bool,
    /// It could not be let until then.
    unable_until: u64,
    api_lost: bool,
    api_good_since: u64,
    claimed_at: u64,
    seen_here: u64,
}

#[derive(Clone, Copy, Debug)]
struct Delivery {
    path: usize,
    heartbeat: Heartbeat,
}

#[derive(Debug)]
enum What {
    Deliver(usize, Delivery),
    Turn(usize, u64),
    Effects(usize, u64, Time, Vec<Output>, Option<Generation>),
    Written(usize, u64, Generation, bool),
    /// A request reaches the API.
    Api(usize, u64, Ask),
    Answer(usize, u64, Answer),
    Calls(calls::Event),
    Report(usize, u64, Report),
    Start(usize),
    Fault,
    Calm,
}

pub struct World {
    plan: Plan,
    trace: bool,
    random: ChaCha8Rng,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    whats: std::collections::HashMap<u64, What>,
    serial: u64,
    nodes: [Node; 2],
    /// `[from][path]`.
    wires: [[Wire; 2]; 2],
    /// The last time that a heartbeat was lost on both paths or came late.
    network_bad: u64,
    /// Nothing comes through on the line of the replication.
    line_cut: bool,
    holder: Option<usize>,
    moved_at: u64,
    calls: Calls,
    broken: Option<String>,
    activated: HashSet<Generation>,
    overlapping: bool,
    tally: Tally,
}

impl World {
    pub fn new(plan: Plan, trace: bool) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(plan.seed ^ 0x5eed);
        let nodes = [0, 1].map(|at| node(&plan, at, &mut random));
        let wires =
            [[Wire::calm(&mut random), Wire::calm(&mut random)], [Wire::calm(&mut random), Wire::calm(&mut random)]];
        let calls = Calls::new(&mut random, plan.faults_until + CALLS_AFTER);
        let tally = Tally { runs: 1, witnessed: u64::from(plan.witness), ..Tally::default() };
        let mut world = World {
            plan,
            trace,
            random,
            now: 0,
            events: BinaryHeap::new(),
            whats: std::collections::HashMap::new(),
            serial: 0,
            nodes,
            wires,
            network_bad: 0,
            line_cut: false,
            holder: None,
            moved_at: 0,
            calls,
            broken: None,
            activated: HashSet::new(),
            overlapping: false,
            tally,
        };
        for at in 0..2 {
            let after = if chance(&mut world.random, 50) { 0 } else { below(&mut world.random, 1_500 * MS) };
            world.after(after, What::Start(at));
        }
        world.after(10 * MS, What::Fault);
        let calm = world.plan.faults_until;
        world.after(calm, What::Calm);
        world
    }

    pub fn run(mut self) -> Result<Tally, String> {
        let mut wrong_since = None;
        while let Some(Reverse((at, serial))) = self.events.pop() {
            if at >= self.plan.ends_at {
                break;
            }
            self.now = at;
            self.check()?;
            if let Some(what) = self.whats.remove(&serial) {
                self.happen(what)?;
            }
            self.check()?;
            // The last 300 ms must find one active host and one standby.
            if at + 300 * MS >= self.plan.ends_at && wrong_since.is_none() {
                wrong_since = self.unsettled();
            }
        }
        if let Some(what) = wrong_since {
            return Err(format!("not settled after the faults: {what}"));
        }
        self.calls.verify()?;
        self.tally.calls = self.calls.figures();
        for node in &self.nodes {
            let counters = node.machine.counters();
            self.tally.overslept += counters.overslept;
            self.tally.abandoned += counters.abandoned;
            for (sum, more) in self.tally.takeovers.iter_mut().zip(counters.takeovers) {
                *sum += more;
            }
            for (sum, more) in self.tally.stops.iter_mut().zip(counters.stops) {
                *sum += more;
            }
        }
        Ok(self.tally)
    }

    fn unsettled(&self) -> Option<String> {
        let roles = [0, 1].map(|at| self.nodes[at].machine.role());
        let transmit = [0, 1].map(|at| self.transmits(at));
        let active = transmit.iter().position(|transmits| *transmits);
        let settled = active.is_some_and(|active| {
            roles[active] == Role::Active
                && roles[1 - active] == Role::Standby
                && !transmit[1 - active]
                && (!self.plan.witness || self.holder == Some(active))
        });
        match active {
            Some(active) if settled => self.calls.unsettled(active),
            _ => Some(format!("{roles:?}, transmitting {transmit:?}, addresses at {:?}", self.holder)),
        }
    }

    fn after(&mut self, us: u64, what: What) {
        self.serial += 1;
        self.events.push(Reverse((self.now + us, self.serial)));
        self.whats.insert(self.serial, what);
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9} {}", self.now, text());
        }
    }

    fn local(&self, at: usize) -> Time {
        let node = &self.nodes[at];
        let gone = self.now as i64 + self.now as i64 * node.rate_ppm / 1_000_000;
        Time::from_micros(node.offset_us + gone as u64)
    }

    fn transmits(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        node.up && self.now >= node.process_asleep_until && self.local(at) < node.lease_until
    }

    fn asleep_until(&self, at: usize) -> u64 {
        self.nodes[at].pair_asleep_until.max(self.nodes[at].process_asleep_until)
    }

    /// What must hold at every instant.
    fn check(&mut self) -> Result<(), String> {
        if let Some(what) = self.broken.take() {
            return Err(format!("{} µs: {what}", self.now));
        }
        if !(self.transmits(0) && self.transmits(1)) {
            self.overlapping = false;
            return Ok(());
        }
        let generation = |at: usize| self.nodes[at].generation.clone();
        let higher = usize::from(generation(1) > generation(0));
        let (high, low) = (&self.nodes[higher], &self.nodes[1 - higher]);
        let since = high.activated_at;
        let planned = low.role == Role::Draining;
        if !std::mem::replace(&mut self.overlapping, true) {
            self.tally.overlaps += u64::from(!planned);
            self.tally.planned += u64::from(planned);
        }
        let wrong = |what: &str| Err(format!("{} µs: both transmit: {what}", self.now));
        if planned {
            return if self.now - since > DRAIN + 2 * DETECTION { wrong("the drain does not end") } else { Ok(()) };
        }
        if self.plan.sound_path {
            return wrong("and the network works");
        }
        if low.told >= high.generation {
            return wrong("the lower one has heard of the higher");
        }
        let awake = high.awake_since.max(low.awake_since);
        if self.network_bad + START_PATIENCE.as_micros() as u64 + DETECTION + HEALED < since {
            return wrong("nothing was wrong with the network when the second took over");
        }
        if self.now > self.network_bad.max(awake) + HEALED {
            return wrong("and the network has worked for 200 ms");
        }
        // What the API says of a claim is not believed for a while, unless it has said that it came about.
        let grace =
            if low.seen_here > low.claimed_at { 0 } else { low.claimed_at + CONFIRM_PATIENCE.as_micros() as u64 };
        let noticed = self.moved_at.max(low.api_good_since).max(awake).max(since).max(grace);
        // Two looks, each with a way there and back.
        let most = noticed + 1_000 * MS + DETECTION + 4 * API_MOST + 150 * MS;
        if self.plan.witness && self.holder == Some(higher) && !low.api_lost && self.now > most {
            return wrong("the addresses are gone, and the lower one does not notice");
        }
        Ok(())
    }

    fn happen(&mut self, what: What) -> Result<(), String> {
        match what {
            What::Start(at) => self.start(at),
            What::Deliver(at, delivery) => {
                let node = &mut self.nodes[at];
                if node.up && node.inbox.len() < INBOX {
                    node.inbox.push_back(delivery);
                    self.turn(at);
                }
            }
            What::Turn(at, turn) if self.nodes[at].turn == turn => self.turn(at),
            What::Effects(at, boot, then, outputs, told) if self.nodes[at].boot == boot => {
                self.effects(at, then, outputs, told)?;
            }
            What::Written(at, boot, generation, written) => {
                let node = &mut self.nodes[at];
                // A crash in between leaves either.
                if written && (node.boot == boot || generation.number % 2 == 0) {
                    node.disk = node.disk.max(generation.number);
                }
                let result = written.then_some(()).ok_or_else(|| "no space".to_owned());
                self.tell(at, boot, move |machine, now| machine.persisted(now, &generation, result));
            }
            What::Api(at, boot, ask) => self.api(at, boot, ask),
            What::Answer(at, boot, answer) => {
                if answer == Answer::Claimed(Ok(())) {
                    self.nodes[at].claimed_at = self.now;
                }
                if let Answer::Confirmed(Ok(places)) = &answer
                    && places.iter().all(|(_, place)| *place == Place::Here)
                {
                    self.nodes[at].seen_here = self.now;
                }
                self.tell(at, boot, move |machine, now| machine.answered(now, answer));
            }
            What::Calls(event) => self.with_calls(|calls, around, random| calls.happen(around, random, event))?,
            What::Report(at, boot, report) => self.tell(at, boot, move |machine, now| match report {
                Report::Synced(synced) => machine.synced(now, synced),
                Report::Whole(whole) => machine.whole(now, whole),
                Report::Prepared => machine.prepared(now),
                _ => {}
            }),
            What::Fault => {
                if self.now < self.plan.faults_until {
                    self.fault();
                    // A witness is asked once a second: what it is to notice has to last.
                    let most = if self.plan.witness { 800 } else { 250 };
                    let pause = (5 + below(&mut self.random, most)) * MS;
                    self.after(pause, What::Fault);
                }
            }
            What::Calm => self.calm(),
            What::Turn(..) | What::Effects(..) => {}
        }
        Ok(())
    }

    /// Turns what carries the calls, and takes what came of it.
    fn with_calls(
        &mut self,
        turn: impl FnOnce(&mut Calls, &Around, &mut ChaCha8Rng) -> Result<(), String>,
    ) -> Result<(), String> {
        let around = Around {
            now: self.now,
            clock: [self.local(0), self.local(1)],
            up: [self.nodes[0].up, self.nodes[1].up],
            asleep_until: [self.nodes[0].process_asleep_until, self.nodes[1].process_asleep_until],
            transmits: [self.transmits(0), self.transmits(1)],
            cut: self.line_cut,
        };
        let result = turn(&mut self.calls, &around, &mut self.random);
        for Do(when, event) in std::mem::take(&mut self.calls.todo) {
            self.after(when.saturating_sub(self.now), What::Calls(event));
        }
        for (at, report) in std::mem::take(&mut self.calls.reports) {
            self.say(|| format!("the slow path of {} reports {report:?}", NAMES[at]));
            let boot = self.nodes[at].boot;
            self.after(10, What::Report(at, boot, report));
        }
        result.map_err(|what| format!("{} µs: {what}", self.now))
    }

    /// Whether this host may go on, or stop, without regard to calls that only the other one, or only it, has: who could
    /// have known better was not heard, or could not be let.
    fn excused(&self, at: usize, order: &Order) -> bool {
        let other = &self.nodes[1 - at];
        // A claim takes as long as the provider does.
        let claim = if self.plan.witness { CLAIM } else { 0 };
        let lately = |since: u64| since > 0 && since + claim + DETECTION + HEALED > self.now;
        let slept = lately(other.slept_until.max(self.nodes[at].slept_until));
        let unheard = lately(self.network_bad + u64::from(self.network_bad > 0) * START_PATIENCE.as_micros() as u64);
        let unable = other.unfit || other.told_unable || other.api_lost || lately(other.unable_until);
        match order {
            Order::Activate { cause: Cause::Silence | Cause::Alone, .. } => slept || unheard || unable,
            Order::Activate { cause: Cause::Elected | Cause::Handover, .. } => unable,
            Order::Deactivate { reason: Reason::Outranked | Reason::AddressesGone } => slept || unheard,
            // The one that it stopped for has crashed since.
            Order::Deactivate { reason: Reason::Switchover | Reason::Fault } => lately(other.crashed_at),
            _ => false,
        }
    }

    /// What another thread has to say reaches the pair thread when it is awake.
    fn tell(&mut self, at: usize, boot: u64, say: impl FnOnce(&mut Machine, Time) + 'static) {
        let node = &self.nodes[at];
        if !node.up || node.boot != boot {
            return;
        }
        self.nodes[at].mail.push_back(Box::new(say));
        self.turn(at);
    }

    /// A round of the pair thread.
    fn turn(&mut self, at: usize) {
        if self.nodes[at].up && self.now >= self.asleep_until(at) {
            let now = self.local(at);
            self.hear(at, now);
            let node = &mut self.nodes[at];
            while let Some(say) = node.mail.pop_front() {
                say(&mut node.machine, now);
            }
            self.settle(at, now);
        }
    }

    fn hear(&mut self, at: usize, now: Time) {
        let node = &mut self.nodes[at];
        let mut told = None;
        while let Some(Delivery { path, heartbeat }) = node.inbox.pop_front() {
            if let Ok(Some(news)) = node.channel.take(now, path, path as u8, &heartbeat) {
                if heartbeat.advert.role.is_active() {
                    told = Some(Generation { number: heartbeat.advert.claim, node: NAMES[1 - at].into() });
                }
                node.machine.heard(now, &news);
            }
        }
        // It counts once what the machine made of it has been done.
        if let Some(told) = told {
            node.told = node.told.take().max(Some(told));
        }
    }

    fn settle(&mut self, at: usize, now: Time) {
        let node = &mut self.nodes[at];
        let fit = if node.unfit { Err("a fault of the simulation".into()) } else { Ok(()) };
        node.machine.fit(now, fit);
        node.machine.tick(now);
        let view = node.machine.view(now);
        let unable = view.unfit.is_some() || view.rehearsal.is_some() || view.disk.is_some();
        if std::mem::replace(&mut node.told_unable, unable) {
            node.unable_until = self.now;
        }
        let outputs: Vec<Output> = std::iter::from_fn(|| node.machine.poll_output()).collect();
        let boot = node.boot;
        // Now and then the thread is put to sleep between what it decided and what it does.
        let busy = self.now < self.plan.faults_until && !outputs.is_empty();
        if busy && chance(&mut self.random, 1) {
            let stall = below(&mut self.random, 200 * MS);
            let told = self.nodes[at].told.take();
            self.say(|| format!("{} stalls for {stall} µs before it acts", NAMES[at]));
            self.after(stall, What::Effects(at, boot, now, outputs, told));
            self.sleep(at, stall, false);
        } else if let Err(what) = self.effects(at, now, outputs, None) {
            self.broken = Some(what);
        }
        let node = &mut self.nodes[at];
        node.turn += 1;
        let turn = node.turn;
        let next = node.machine.next().since(now).as_micros() as u64;
        let late = below(&mut self.random, 1_500);
        let wakes = self.asleep_until(at).saturating_sub(self.now);
        self.after(next.max(wakes) + late, What::Turn(at, turn));
    }

    fn effects(
        &mut self,
        at: usize,
        decided: Time,
        outputs: Vec<Output>,
        told: Option<Generation>,
    ) -> Result<(), String> {
        if told.is_some() {
            self.nodes[at].told = told;
        }
        let boot = self.nodes[at].boot;
        self.nodes[at].role = self.nodes[at].machine.role();
        for output in outputs {
            match output {
                Output::Send(advert) => {
                    let heartbeat = self.nodes[at].channel.next(decided, advert);
                    self.send(at, heartbeat);
                }
                Output::Lease { until, by } => {
                    let left = self.local(at);
                    if left < by {
                        self.nodes[at].lease_until = until;
                    } else {
                        self.nodes[at].machine.late(left);
                    }
                }
                Output::EndLease => self.nodes[at].lease_until = Time::ZERO,
                Output::Persist(generation) => {
                    let slow = chance(&mut self.random, 10);
                    let takes =
                        if slow { below(&mut self.random, 150 * MS) } else { 200 + below(&mut self.random, 4 * MS) };
                    let fails = self.now < self.plan.faults_until && chance(&mut self.random, 3);
                    self.after(takes, What::Written(at, boot, generation, !fails));
                }
                Output::Ask(ask) => {
                    let takes = below(&mut self.random, API_MOST);
                    self.after(takes, What::Api(at, boot, ask));
                }
                Output::Order(order) => self.order(at, order)?,
                Output::Note(text) => self.say(|| format!("{}: {text}", NAMES[at])),
            }
        }
        Ok(())
    }

    fn send(&mut self, from: usize, heartbeat: Heartbeat) {
        let mut best = u64::MAX;
        for path in 0..2 {
            for after in self.wires[from][path].carry(&mut self.random) {
                best = best.min(after);
                self.after(after, What::Deliver(1 - from, Delivery { path, heartbeat }));
            }
        }
        if best == u64::MAX {
            self.network_bad = self.now;
        } else if best > HEARTBEAT / 4 {
            self.network_bad = self.network_bad.max(self.now + best);
        }
    }

    fn order(&mut self, at: usize, order: Order) -> Result<(), String> {
        self.say(|| format!("{}: {order:?}", NAMES[at]));
        if let Order::Activate { generation, .. } = &order {
            let node = &mut self.nodes[at];
            if node.disk < generation.number {
                return Err(format!("{} µs: active before {generation} is on disk", self.now));
            }
            (node.generation, node.activated_at) = (Some(generation.clone()), self.now);
            if !self.activated.insert(generation.clone()) {
                return Err(format!("{} µs: {generation} a second time", self.now));
            }
        }
        let excused = self.excused(at, &order);
        self.with_calls(|calls, around, random| {
            calls.order(around, random, at, order, excused);
            Ok(())
        })
    }

    fn api(&mut self, at: usize, boot: u64, ask: Ask) {
        let lost = self.nodes[at].api_lost;
        // A request may come through although its answer does not.
        let done = !lost || chance(&mut self.random, 50);
        if done && matches!(ask, Ask::Claim(_)) && self.holder != Some(at) {
            self.say(|| format!("the addresses move to {}", NAMES[at]));
            (self.holder, self.moved_at) = (Some(at), self.now);
        }
        let unreachable = || ProviderError::Unreachable("no answer".into());
        let result = if lost { Err(unreachable()) } else { Ok(()) };
        let answer = match ask {
            Ask::Claim(_) => Answer::Claimed(result),
            Ask::Rehearse => Answer::Rehearsed(result),
            Ask::Confirm => Answer::Confirmed(result.map(|()| {
                let place = match self.holder {
                    Some(holder) if holder == at => Place::Here,
                    Some(holder) => Place::Elsewhere(NAMES[holder].into()),
                    None => Place::Nowhere,
                };
                let floating = Floating { name: "f".into(), local: [192, 0, 2, 1].into(), advertise: None };
                vec![(floating, place)]
            })),
        };
        let takes = if lost { API_TIMEOUT } else { below(&mut self.random, API_MOST) };
        self.after(takes, What::Answer(at, boot, answer));
    }

    fn sleep(&mut self, at: usize, us: u64, process: bool) {
        let until = self.now + us;
        let node = &mut self.nodes[at];
        node.pair_asleep_until = node.pair_asleep_until.max(until);
        if process {
            node.process_asleep_until = node.process_asleep_until.max(until);
        }
        node.awake_since = node.awake_since.max(until);
        node.slept_until = node.slept_until.max(until);
        node.turn += 1;
        let turn = node.turn;
        let wakes = self.asleep_until(at) - self.now;
        self.after(wakes, What::Turn(at, turn));
    }

    fn start(&mut self, at: usize) {
        if self.nodes[at].up {
            return;
        }
        self.say(|| format!("{} starts", NAMES[at]));
        let now = self.local(at);
        let node = &mut self.nodes[at];
        node.up = true;
        node.machine = Machine::new(settings(&self.plan, at), node.disk, now);
        node.channel = Channel::new(1 + 2 * node.boot + at as u64);
        node.awake_since = self.now;
        let started = self.with_calls(|calls, around, random| {
            calls.start(around, random, at);
            Ok(())
        });
        self.broken = self.broken.take().or(started.err());
        self.turn(at);
    }

    fn crash(&mut self, at: usize) {
        if !self.nodes[at].up {
            return;
        }
        self.say(|| format!("{} crashes", NAMES[at]));
        let node = &mut self.nodes[at];
        node.up = false;
        node.crashed_at = self.now;
        node.boot += 1;
        node.lease_until = Time::ZERO;
        (node.pair_asleep_until, node.process_asleep_until) = (0, 0);
        (node.generation, node.told) = (None, None);
        node.inbox.clear();
        node.mail.clear();
        let crashed = self.with_calls(|calls, around, random| calls.crash(around, random, at));
        self.broken = self.broken.take().or(crashed.err());
        let counters = self.nodes[at].machine.counters().clone();
        for (sum, more) in self.tally.takeovers.iter_mut().zip(counters.takeovers) {
            *sum += more;
        }
        let now = self.local(at);
        self.nodes[at].machine = Machine::new(settings(&self.plan, at), 0, now);
    }

    fn fault(&mut self) {
        let at = below(&mut self.random, 2) as usize;
        match below(&mut self.random, 15) {
            12 => {
                self.say(|| "the connection of the replication is reset".into());
                let reset = self.with_calls(|calls, around, random| {
                    calls.reset(around, random);
                    Ok(())
                });
                self.broken = self.broken.take().or(reset.err());
            }
            13 => {
                self.say(|| "nothing comes through on the line of the replication".into());
                self.line_cut = true;
            }
            14 => {
                let most = if chance(&mut self.random, 10) { 3_000 * MS } else { 300 * MS };
                let us = below(&mut self.random, most);
                self.say(|| format!("the slow path of {} stalls {us} µs", NAMES[at]));
                self.calls.stall(self.now, at, us);
            }
            0 => {
                let us = below(&mut self.random, 500 * MS);
                self.say(|| format!("the pair thread of {} sleeps {us} µs", NAMES[at]));
                self.sleep(at, us, false);
            }
            1 | 2 => {
                let us = below(&mut self.random, 700 * MS);
                self.say(|| format!("the process of {} sleeps {us} µs", NAMES[at]));
                self.sleep(at, us, true);
            }
            3 => {
                self.crash(at);
                let us = below(&mut self.random, 1_500 * MS);
                self.after(us, What::Start(at));
            }
            4 | 5 => self.wire(at, Wire::rough),
            6 => self.wire(at, Wire::calm),
            7 => {
                // A partition, in one direction or both.
                let both = chance(&mut self.random, 50);
                self.cut(at);
                if both {
                    self.cut(1 - at);
                }
            }
            8 => {
                let node = &mut self.nodes[at];
                node.unfit ^= true;
                node.unable_until = self.now;
                self.say(|| format!("{} is {}", NAMES[at], if self.nodes[at].unfit { "unfit" } else { "fit" }));
                self.turn(at);
            }
            9 => {
                let boot = self.nodes[at].boot;
                self.say(|| format!("an operator wants {} to switch over", NAMES[at]));
                self.tell(at, boot, move |machine, now| machine.wish(now, Wish::Switchover));
            }
            10 => {
                let node = &mut self.nodes[at];
                node.api_lost ^= true;
                node.api_good_since = self.now + API_TIMEOUT;
                node.unable_until = self.now;
            }
            _ => {
                self.wire(0, Wire::calm);
                self.wire(1, Wire::calm);
            }
        }
    }

    /// New wires from this host; the sound path stays as it is.
    fn wire(&mut self, from: usize, make: fn(&mut ChaCha8Rng) -> Wire) {
        for path in usize::from(self.plan.sound_path)..2 {
            self.wires[from][path] = make(&mut self.random);
        }
        self.line_cut = false;
        self.say(|| format!("the wires from {}: {:?}", NAMES[from], self.wires[from]));
    }

    fn cut(&mut self, from: usize) {
        for path in usize::from(self.plan.sound_path)..2 {
            self.wires[from][path].cut = true;
        }
        self.line_cut |= !self.plan.sound_path;
        self.say(|| format!("nothing comes through from {}", NAMES[from]));
    }

    fn calm(&mut self) {
        self.say(|| "all faults end".into());
        self.line_cut = false;
        for at in 0..2 {
            self.wires[at] = [Wire::calm(&mut self.random), Wire::calm(&mut self.random)];
            let node = &mut self.nodes[at];
            node.unable_until = if node.unfit || node.api_lost { self.now } else { node.unable_until };
            (node.unfit, node.api_lost) = (false, false);
            node.api_good_since = self.now + API_TIMEOUT;
            self.calls.stall(self.now, at, 0);
            self.start(at);
        }
    }
}

fn settings(plan: &Plan, at: usize) -> Settings {
    Settings {
        me: NAMES[at].into(),
        peer: NAMES[1 - at].into(),
        heartbeat: Duration::from_micros(HEARTBEAT),
        misses: 4,
        drain: Duration::from_micros(DRAIN),
        hold_down: Duration::from_millis(300),
        preempt: plan.preempt[at],
        provider: ProviderKind { claims: plan.witness, witness: plan.witness },
    }
}

fn node(plan: &Plan, at: usize, random: &mut ChaCha8Rng) -> Node {
    Node {
        up: false,
        boot: 0,
        machine: Machine::new(settings(plan, at), 0, Time::ZERO),
        channel: Channel::new(1),
        offset_us: 1_000 * MS + below(random, 100_000 * MS),
        rate_ppm: below(random, 40_000) as i64 - 20_000,
        pair_asleep_until: 0,
        process_asleep_until: 0,
        awake_since: 0,
        slept_until: 0,
        crashed_at: 0,
        lease_until: Time::ZERO,
        disk: 0,
        inbox: VecDeque::new(),
        mail: VecDeque::new(),
        role: Role::Starting,
        turn: 0,
        generation: None,
        activated_at: 0,
        told: None,
        unfit: false,
        told_unable: false,
        unable_until: 0,
        api_lost: false,
        api_good_since: 0,
        claimed_at: 0,
        seen_here: 0,
    }
}
