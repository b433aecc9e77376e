//! The connection of the replication as TCP carries it, and at either end what the thread `replica` makes of it: in order and
//! whole, or broken, with what is under way lost. A break is noticed at one end before the other, or at one end only, and
//! then by silence.

use std::collections::{HashMap, VecDeque};

use rand_chacha::ChaCha8Rng;

use super::{
    super::{
        network::below,
        world::{MS, NAMES},
    },
    Around, Do,
};
use crate::{
    base::limits::REPLICA_SILENT,
    ha::{
        replica::{Command, Event},
        replicate::{Frame, Hello, Role},
    },
};

/// From one look of the thread at its connections to the next, and from a connection that failed to the next.
const TICK: u64 = 50 * MS;
const AGAIN: u64 = 200 * MS;

enum Segment {
    Frame(Box<Frame>),
    /// The other end has closed, or the kernel there knows of no such connection.
    Closed,
}

struct Socket {
    id: u64,
    up: bool,
    heard: u64,
}

/// By node: its socket, and what is under way to it, with the time of arrival.
struct Connection {
    serial: u64,
    sockets: [Option<Socket>; 2],
    to: [VecDeque<(u64, Segment)>; 2],
}

#[derive(Default)]
struct Thread {
    role: Option<Role>,
    not_before: u64,
    /// Which of its looks is the next; others are of another role or process.
    looks: u64,
}

pub struct Line {
    threads: [Thread; 2],
    connections: Vec<Connection>,
    /// By the name that one end gave it: the other process's memory when it was made.
    behind: HashMap<u64, u64>,
    serial: u64,
    delay_us: u64,
    jitter_us: u64,
    pub breaks: u64,
}

/// What a thread tells its slow path.
pub type Told = Vec<(usize, Event)>;

impl Line {
    pub fn new(random: &mut ChaCha8Rng) -> Line {
        Line {
            threads: Default::default(),
            connections: Vec::new(),
            behind: HashMap::new(),
            serial: 0,
            delay_us: [50, 500, 5 * MS, 40 * MS][below(random, 4) as usize],
            jitter_us: [50, 1_000, 10 * MS][below(random, 3) as usize],
            breaks: 0,
        }
    }

    /// The memory that this session had at the other end.
    pub fn memory_behind(&self, session: u64) -> Option<u64> {
        self.behind.get(&session).copied()
    }

    pub fn command(
        &mut self,
        around: &Around,
        random: &mut ChaCha8Rng,
        at: usize,
        command: Command,
        todo: &mut Vec<Do>,
    ) -> Told {
        let mut told = Told::new();
        let with = |id: u64| move |c: &Connection| c.sockets[at].as_ref().is_some_and(|socket| socket.id == id);
        match command {
            Command::Be(role) => {
                let looks = self.threads[at].looks + 1;
                self.threads[at] = Thread { role: Some(role), not_before: around.now, looks };
                for on in 0..self.connections.len() {
                    self.close(around, random, at, on, &mut told, todo);
                }
                todo.push(Do::look(at, around.now + MS, looks));
            }
            Command::Send { connection, frame } => {
                if let Some(on) = self.connections.iter().position(with(connection)) {
                    self.push(around, random, 1 - at, on, Segment::Frame(frame), todo);
                }
            }
            Command::HangUp { connection } => {
                self.threads[at].not_before = around.now + AGAIN;
                if let Some(on) = self.connections.iter().position(with(connection)) {
                    self.close(around, random, at, on, &mut told, todo);
                }
            }
        }
        told
    }

    fn push(
        &mut self,
        around: &Around,
        random: &mut ChaCha8Rng,
        to: usize,
        on: usize,
        segment: Segment,
        todo: &mut Vec<Do>,
    ) {
        let connection = &mut self.connections[on];
        let after = self.delay_us + below(random, self.jitter_us + 1);
        let before = connection.to[to].back().map_or(0, |(at, _)| *at);
        let at = (around.now + after).max(before);
        connection.to[to].push_back((at, segment));
        todo.push(Do::arrive(connection.serial, to, at));
    }

    /// This end closes. The other one gets what was sent before, and then hears of it.
    fn close(
        &mut self,
        around: &Around,
        random: &mut ChaCha8Rng,
        at: usize,
        on: usize,
        told: &mut Told,
        todo: &mut Vec<Do>,
    ) {
        let Some(socket) = self.connections[on].sockets[at].take() else { return };
        self.connections[on].to[at].clear();
        if socket.up {
            self.breaks += 1;
            told.push((at, Event::Down { connection: socket.id }));
        }
        self.push(around, random, 1 - at, on, Segment::Closed, todo);
    }

    /// What is under way is lost, and both ends hear of it in their time.
    pub fn reset(&mut self, around: &Around, random: &mut ChaCha8Rng, todo: &mut Vec<Do>) {
        for on in 0..self.connections.len() {
            for to in 0..2 {
                self.connections[on].to[to].clear();
                self.push(around, random, to, on, Segment::Closed, todo);
            }
        }
    }

    /// The process is gone; its kernel says so, unless that is gone as well.
    pub fn crash(&mut self, around: &Around, random: &mut ChaCha8Rng, at: usize, silently: bool, todo: &mut Vec<Do>) {
        let looks = self.threads[at].looks + 1;
        self.threads[at] = Thread { looks, ..Thread::default() };
        for on in 0..self.connections.len() {
            if self.connections[on].sockets[at].take().is_none() {
                continue;
            }
            self.connections[on].to[at].clear();
            if silently {
                self.connections[on].to[1 - at].clear();
            } else {
                self.push(around, random, 1 - at, on, Segment::Closed, todo);
            }
        }
    }

    pub fn arrive(
        &mut self,
        around: &Around,
        random: &mut ChaCha8Rng,
        serial: u64,
        to: usize,
        todo: &mut Vec<Do>,
    ) -> Told {
        let mut told = Told::new();
        let Some(on) = self.connections.iter().position(|c| c.serial == serial) else { return told };
        let connection = &mut self.connections[on];
        let Some((at, _)) = connection.to[to].front_mut() else { return told };
        if *at > around.now {
            return told;
        }
        // What does not come through is sent again, and a thread reads when it is awake.
        let later = if around.cut { around.now + 100 * MS } else { around.asleep_until[to] };
        if later > around.now {
            *at = later;
            todo.push(Do::arrive(serial, to, later));
            return told;
        }
        let Some((_, segment)) = connection.to[to].pop_front() else { return told };
        // What had waited behind it.
        if let Some((at, _)) = connection.to[to].front() {
            todo.push(Do::arrive(serial, to, (*at).max(around.now)));
        }
        let Some(socket) = &mut connection.sockets[to] else {
            // Nobody has that connection here any more.
            if around.up[to] && !matches!(segment, Segment::Closed) {
                self.push(around, random, 1 - to, on, Segment::Closed, todo);
            }
            return told;
        };
        socket.heard = around.now;
        match segment {
            Segment::Closed => {
                self.threads[to].not_before = around.now + AGAIN;
                self.close(around, random, to, on, &mut told, todo);
            }
            Segment::Frame(frame) => match *frame {
                Frame::Hello(theirs) => {
                    let id = socket.id;
                    let Some(role) = self.threads[to].role else { return told };
                    if Hello::new(NAMES[to], role).meets(&theirs, NAMES[1 - to]).is_err() {
                        self.threads[to].not_before = around.now + AGAIN;
                        self.close(around, random, to, on, &mut told, todo);
                        return told;
                    }
                    socket.up = true;
                    told.push((to, Event::Up { connection: id, role }));
                    // A peer that connects anew has lost the connection that was.
                    for old in 0..self.connections.len() {
                        if self.connections[old].sockets[to].as_ref().is_some_and(|s| s.up && s.id != id) {
                            self.close(around, random, to, old, &mut told, todo);
                        }
                    }
                }
                frame => {
                    told.push((to, Event::Frame { connection: socket.id, frame: Box::new(frame), bytes: 0 }));
                }
            },
        }
        self.connections.retain(|c| c.sockets.iter().any(Option::is_some) || c.to.iter().any(|to| !to.is_empty()));
        told
    }

    /// The thread's look at its connections: one that is silent is given up, one that is missing is made.
    pub fn look(
        &mut self,
        around: &Around,
        random: &mut ChaCha8Rng,
        at: usize,
        which: u64,
        memories: [u64; 2],
        todo: &mut Vec<Do>,
    ) -> Told {
        let mut told = Told::new();
        if self.threads[at].looks != which {
            return told;
        }
        if around.asleep_until[at] > around.now {
            todo.push(Do::look(at, around.asleep_until[at], which));
            return told;
        }
        for on in 0..self.connections.len() {
            let connection = &mut self.connections[on];
            let lives =
                connection.sockets[1 - at].is_some() && !around.cut && around.asleep_until[1 - at] <= around.now;
            let Some(socket) = &mut connection.sockets[at] else { continue };
            if lives {
                socket.heard = around.now;
            }
            if around.now - socket.heard > REPLICA_SILENT.as_micros() as u64 {
                self.close(around, random, at, on, &mut told, todo);
            }
        }
        let thread = &self.threads[at];
        let has = self.connections.iter().any(|c| c.sockets[at].is_some());
        if thread.role == Some(Role::Standby) && !has && around.now >= thread.not_before {
            self.connect(around, random, at, memories, todo);
        }
        todo.push(Do::look(at, around.now + TICK, which));
        told
    }

    fn connect(&mut self, around: &Around, random: &mut ChaCha8Rng, at: usize, memories: [u64; 2], todo: &mut Vec<Do>) {
        if around.cut {
            self.threads[at].not_before = around.now + AGAIN + below(random, 800 * MS);
            return;
        }
        let Some(Role::Active) = self.threads[1 - at].role else {
            self.threads[at].not_before = around.now + AGAIN;
            return;
        };
        self.serial += 1;
        let socket = |node: u64| Some(Socket { id: 2 * self.serial + node, up: false, heard: around.now });
        self.connections.push(Connection {
            serial: self.serial,
            sockets: [socket(0), socket(1)],
            to: Default::default(),
        });
        self.behind.extend([0, 1].map(|node| (2 * self.serial + node as u64, memories[1 - node])));
        let on = self.connections.len() - 1;
        for (from, name) in NAMES.into_iter().enumerate() {
            let role = if from == at { Role::Standby } else { Role::Active };
            let hello = Frame::Hello(Hello::new(name, role));
            self.push(around, random, 1 - from, on, Segment::Frame(Box::new(hello)), todo);
        }
    }
}
