//! One host's slow path, as far as calls and their copy are concerned: `slow::pair` with the real machines for everything
//! that is told, kept, held and applied. A call is two entries that change together, each with the number of the change.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;

use super::{super::world::MS, ledger::Copy};
use crate::{
    base::{Time, marks::Marks, pack::Packer},
    control::MediaChanges,
    ha::{
        held::{Held, Token},
        replica::{End, Event, Happened},
        replicate::{Batch, Peer, Role},
        role::Order,
    },
    ng::NgChanges,
    sip::endpoint::{CallId, Changes, Key, Shadow},
};

/// How often it tells the pair thread of itself.
pub const LOOK: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Standby,
    Active,
    Preparing { told: bool },
    Draining,
}

/// The answer to a peer that tells of a change of its call.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub call: u64,
    /// None: it ended.
    pub change: Option<u64>,
    pub token: Option<Token>,
}

/// The active host's calls, and which of them have to be told.
#[derive(Default)]
pub struct Book {
    pub calls: BTreeMap<u64, u64>,
    changed: Marks<u64>,
    queue: VecDeque<(u64, usize)>,
}

fn keys(call: u64) -> [Key; 2] {
    [Key::Call(CallId(call)), Key::Subscription(call)]
}

impl Book {
    pub fn set(&mut self, call: u64, change: Option<u64>) {
        match change {
            Some(change) => drop(self.calls.insert(call, change)),
            None => drop(self.calls.remove(&call)),
        }
        self.changed.note(call);
    }

    fn mark_all(&mut self) {
        self.changed.ask(true);
        self.queue = self.calls.keys().flat_map(|call| [(*call, 0), (*call, 1)]).collect();
    }

    fn stop_journal(&mut self) {
        self.changed.ask(false);
        self.queue.clear();
    }

    fn take_changes(&mut self, at: Time, at_once: usize) -> Changes {
        let mut changes = Changes { at, ..Changes::default() };
        let value = |change: &u64| Bytes::copy_from_slice(&change.to_be_bytes());
        for call in self.changed.take() {
            match self.calls.get(&call) {
                Some(change) => changes.puts.extend(keys(call).map(|key| (key, value(change)))),
                None => changes.deletes.extend(keys(call)),
            }
        }
        for (call, which) in self.queue.drain(..at_once.min(self.queue.len())) {
            let [first, second] = keys(call);
            let key = if which == 0 { first } else { second };
            changes.puts.extend(self.calls.get(&call).map(|change| (key, value(change))));
        }
        changes
    }
}

pub struct Host {
    pub up: bool,
    pub boot: u64,
    pub memory: u64,
    pub part: Part,
    pub end: End,
    shadow: Shadow,
    pub book: Book,
    pub held: Held<Answer>,
    /// With each whether a loss by it is excused.
    pub orders: VecDeque<(Order, bool)>,
    pub inbox: VecDeque<Event>,
    pub sip: usize,
    pub stalled_until: u64,
    pub next_look: Time,
    /// What the pair thread was told last.
    pub told: Option<(bool, bool)>,
    /// A round is due then, and which.
    pub round: Option<(u64, u64)>,
    next_sync: Time,
    packer: Packer,
    /// As active: the standby was found synchronised in this session.
    pub synced_with: Option<u64>,
}

impl Host {
    pub fn new(boot: u64, memory: u64) -> Host {
        let mut end = End::default();
        end.be(Role::Standby);
        Host {
            up: false,
            boot,
            memory,
            part: Part::Standby,
            end,
            shadow: Shadow::default(),
            book: Book::default(),
            held: Held::default(),
            orders: VecDeque::new(),
            inbox: VecDeque::new(),
            sip: 0,
            stalled_until: 0,
            next_look: Time::ZERO,
            told: None,
            round: None,
            next_sync: Time::ZERO,
            packer: Packer::default(),
            synced_with: None,
        }
    }

    /// `Mirror::round`. True: a synchronisation came to its end.
    pub fn follow(&mut self, now: Time) -> bool {
        let mut completed = false;
        for happened in self.end.take(now, self.inbox.drain(..)) {
            match happened {
                Happened::Begin => self.shadow.begin(),
                Happened::Apply { batch, .. } => {
                    let parts = batch.apart();
                    self.shadow.apply(now, parts.sip);
                    if parts.complete {
                        self.shadow.complete();
                        completed = true;
                    }
                }
                Happened::Joined | Happened::Left => {}
            }
        }
        self.end.ack();
        completed
    }

    /// `mirror::tell`, a few entries of a full synchronisation at a time.
    pub fn tell(&mut self, now: Time, pace: Duration) {
        for happened in self.end.take(now, self.inbox.drain(..)) {
            match happened {
                Happened::Joined => self.book.mark_all(),
                Happened::Left => self.book.stop_journal(),
                Happened::Begin | Happened::Apply { .. } => {}
            }
        }
        let Some(budget) = self.end.budget() else { return };
        let due = budget > 0 && now >= self.next_sync;
        if due {
            self.next_sync = now + pace;
        }
        let changes = self.book.take_changes(now, usize::from(due));
        let batch = Batch::of(changes, MediaChanges::default(), NgChanges::default(), &mut self.packer);
        self.end.offer(now, batch, self.book.queue.len());
    }

    /// `Mirror::take_over`: the calls of which it has all.
    pub fn take_over(&mut self) {
        self.book = Book { calls: self.copy().calls, ..Book::default() };
        self.shadow = Shadow::default();
        self.part = Part::Active;
        self.end.be(Role::Active);
    }

    /// An empty standby.
    pub fn forget(&mut self, memory: u64) {
        self.memory = memory;
        self.held.clear();
        self.book = Book::default();
        self.shadow = Shadow::default();
        self.part = Part::Standby;
        self.end.be(Role::Standby);
    }

    /// RFC 3261 §13.3.1.4, as in `slow::pair`: who hears of a change must find it on either host.
    pub fn hold(&mut self, now: Time, commit: Duration, answer: Answer) -> Option<Answer> {
        let known_later = answer.token.filter(|token| self.end.is_safe(*token) == Some(false));
        let needs = known_later.map(|token| (token, now + commit));
        self.held.pass(SocketAddr::from(([127, 0, 0, 1], 1_024 + (answer.call % 60_000) as u16)), needs, answer)
    }

    pub fn release(&mut self, now: Time) -> Vec<Answer> {
        let Self { held, end, .. } = self;
        held.release(now, |token| end.is_safe(token))
    }

    /// Whether the pair thread is to be told that all is prepared.
    pub fn is_prepared(&self) -> bool {
        let safe = self.end.last().is_some_and(|token| self.end.is_safe(token) == Some(true));
        self.part == Part::Preparing { told: false } && safe && self.held.is_empty()
    }

    /// A standby that has just found the session complete.
    pub fn newly_synced(&mut self) -> Option<u64> {
        let (session, _) = self.end.last().filter(|_| self.end.peer() == Peer::Synced)?;
        (self.synced_with.replace(session) != Some(session)).then_some(session)
    }

    pub fn next_deadline(&self) -> Time {
        let queued =
            if self.end.budget().is_some() && !self.book.queue.is_empty() { self.next_sync } else { Time::NEVER };
        self.held.next_deadline().unwrap_or(Time::NEVER).min(self.next_look).min(queued)
    }

    pub fn copy(&self) -> Copy {
        let memory = self.up.then_some(self.memory);
        if !self.up {
            return Copy { memory, calls: BTreeMap::new(), traces: BTreeSet::new() };
        }
        if self.part != Part::Standby {
            return Copy { memory, calls: self.book.calls.clone(), traces: self.book.calls.keys().copied().collect() };
        }
        let mut halves: [BTreeMap<u64, u64>; 2] = Default::default();
        for (key, value) in self.shadow.entries() {
            let change = u64::from_be_bytes(value[..].try_into().expect("eight bytes"));
            match key {
                Key::Call(CallId(call)) => halves[0].insert(*call, change),
                Key::Subscription(call) => halves[1].insert(*call, change),
                other => panic!("{other:?}"),
            };
        }
        let traces = halves[0].keys().chain(halves[1].keys()).copied().collect();
        let both = |(call, first): (&u64, &u64)| halves[1].get(call).map(|second| (*call, *first.min(second)));
        Copy { memory, calls: halves[0].iter().filter_map(both).collect(), traces }
    }
}

/// What a run is about, as far as calls are concerned.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From one thing that happens to a call to the next, on the average.
    pub sip_us: u64,
    /// From an entry of a full synchronisation to the next.
    pub sync: Duration,
    pub commit: Duration,
}

impl Pace {
    pub fn of(random: &mut rand_chacha::ChaCha8Rng) -> Pace {
        use super::super::network::below;
        Pace {
            sip_us: [4, 15, 60][below(random, 3) as usize] * MS,
            sync: Duration::from_micros([200, 3_000, 12_000][below(random, 3) as usize]),
            commit: Duration::from_millis([5, 50][below(random, 2) as usize]),
        }
    }
}
