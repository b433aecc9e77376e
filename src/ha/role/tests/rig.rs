//! Two machines, joined by a network that does as it is told, and a clock that moves by the millisecond.

use std::time::Duration;

use crate::{
    base::Time,
    ha::{
        generation::Generation,
        heartbeat::{Channel, Role},
        role::{Answer, Ask, Cause, Machine, Order, Output, ProviderKind, Reason, Settings},
    },
};

pub const A: usize = 0;
pub const B: usize = 1;
const NAMES: [&str; 2] = ["a", "b"];

pub struct Host {
    pub machine: Machine,
    channel: Channel,
    pub up: bool,
    pub asleep: bool,
    /// What it sends arrives.
    pub heard: bool,
    pub lease: Time,
    pub orders: Vec<Order>,
    pub asks: Vec<Ask>,
    pub notes: Vec<String>,
    /// The disk takes what it is given at once; else it fails.
    pub disk: bool,
    pub written: u64,
    boots: u64,
}

pub struct Rig {
    pub hosts: [Host; 2],
    pub ms: u64,
    settings: fn(usize) -> Settings,
}

pub fn settings(at: usize) -> Settings {
    Settings {
        me: NAMES[at].into(),
        peer: NAMES[1 - at].into(),
        heartbeat: Duration::from_millis(20),
        misses: 4,
        drain: Duration::from_millis(200),
        hold_down: Duration::from_millis(3_000),
        preempt: false,
        provider: ProviderKind::default(),
    }
}

impl Rig {
    /// Both start at once, and are fit.
    pub fn with(settings: fn(usize) -> Settings) -> Rig {
        let mut rig = Rig::down(settings);
        rig.start(A);
        rig.start(B);
        rig
    }

    /// Neither runs yet.
    pub fn down(settings: fn(usize) -> Settings) -> Rig {
        let host = |at| Host {
            machine: Machine::new(settings(at), 0, Time::ZERO),
            channel: Channel::new(1),
            up: false,
            asleep: false,
            heard: true,
            lease: Time::ZERO,
            orders: Vec::new(),
            asks: Vec::new(),
            notes: Vec::new(),
            disk: true,
            written: 0,
            boots: 0,
        };
        Rig { hosts: [host(A), host(B)], ms: 1_000, settings }
    }

    /// B active, A its ready standby.
    pub fn settled() -> Rig {
        Rig::settled_with(settings)
    }

    pub fn settled_with(settings: fn(usize) -> Settings) -> Rig {
        let mut rig = Rig::with(settings);
        rig.settle();
        rig
    }

    /// Settled, but that A's disk has refused from the start.
    pub fn settled_without_disk() -> Rig {
        let mut rig = Rig::down(settings);
        rig.hosts[A].disk = false;
        rig.start(A);
        rig.start(B);
        rig.settle();
        rig
    }

    fn settle(&mut self) {
        self.run(3_000);
        assert_eq!(self.roles(), [Role::Standby, Role::Active], "{:?}", self.hosts[A].notes);
        self.tell(A, |machine, now| machine.synced(now, true));
        self.run(100);
        self.hosts.iter_mut().for_each(|host| host.orders.clear());
    }

    pub fn now(&self) -> Time {
        Time::from_millis(self.ms)
    }

    pub fn start(&mut self, at: usize) {
        let now = self.now();
        let host = &mut self.hosts[at];
        host.boots += 1;
        host.machine = Machine::new((self.settings)(at), host.written, now);
        host.channel = Channel::new(host.boots * 2 + at as u64);
        host.up = true;
        self.tell(at, |machine, now| machine.fit(now, Ok(())));
    }

    pub fn kill(&mut self, at: usize) {
        self.hosts[at].up = false;
        self.hosts[at].lease = Time::ZERO;
    }

    pub fn tell(&mut self, at: usize, say: impl FnOnce(&mut Machine, Time)) {
        let now = self.now();
        say(&mut self.hosts[at].machine, now);
        self.carry_out(at);
    }

    /// Time passes.
    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.ms += 1;
            let now = self.now();
            for at in [A, B] {
                let host = &self.hosts[at];
                if host.up && !host.asleep && host.machine.next() <= now {
                    self.tell(at, |machine, now| machine.tick(now));
                }
            }
        }
    }

    /// Until it has this role; how long it took.
    #[track_caller]
    pub fn until(&mut self, at: usize, role: Role, most_ms: u64) -> u64 {
        let begin = self.ms;
        while self.role(at) != role {
            assert!(self.ms - begin < most_ms, "{} is {:?}: {:?}", NAMES[at], self.role(at), self.hosts[at].notes);
            self.run(1);
        }
        self.ms - begin
    }

    pub fn role(&self, at: usize) -> Role {
        self.hosts[at].machine.role()
    }

    pub fn roles(&self) -> [Role; 2] {
        [self.role(A), self.role(B)]
    }

    pub fn transmits(&self, at: usize) -> bool {
        self.hosts[at].up && !self.hosts[at].asleep && self.now() < self.hosts[at].lease
    }

    pub fn answer(&mut self, at: usize, answer: Answer) {
        self.tell(at, |machine, now| machine.answered(now, answer));
    }

    pub fn takeovers(&self, at: usize, cause: Cause) -> u64 {
        self.hosts[at].machine.counters().takeovers[cause as usize]
    }

    pub fn stops(&self, at: usize, reason: Reason) -> u64 {
        self.hosts[at].machine.counters().stops[reason as usize]
    }

    pub fn generation(&self, at: usize) -> Generation {
        self.hosts[at].machine.view(self.now()).generation
    }

    fn carry_out(&mut self, at: usize) {
        let now = self.now();
        while let Some(output) = self.hosts[at].machine.poll_output() {
            let host = &mut self.hosts[at];
            match output {
                Output::Send(advert) => {
                    let heartbeat = host.channel.next(now, advert);
                    let heard = host.heard;
                    let to = &mut self.hosts[1 - at];
                    if heard
                        && to.up
                        && !to.asleep
                        && let Ok(Some(news)) = to.channel.take(now, 0, 0, &heartbeat)
                    {
                        to.machine.heard(now, &news);
                        self.carry_out(1 - at);
                    }
                }
                Output::Lease { until, by } => {
                    assert!(now < by, "every tick is in time here");
                    host.lease = until;
                }
                Output::EndLease => host.lease = Time::ZERO,
                Output::Persist(generation) => {
                    let result = if host.disk { Ok(()) } else { Err("no space".to_owned()) };
                    if host.disk {
                        host.written = generation.number;
                    }
                    host.machine.persisted(now, &generation, result);
                }
                Output::Ask(ask) => host.asks.push(ask),
                Output::Order(order) => host.orders.push(order),
                Output::Note(text) => host.notes.push(text),
            }
        }
    }
}
