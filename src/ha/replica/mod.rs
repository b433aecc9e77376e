//! Replication's connection: one thread, one TCP connection to the peer, and between it and the slow path two queues.
//!
//! The standby connects, the active host accepts; what passes is `ha::replicate`'s frames, in `pipe`'s encryption. `Replica` is
//! the slow path's end: it holds the machines, so that what a round needs (how much of the queue may go out, what is
//! acknowledged) is at hand, and it never waits. The thread reads, writes, encrypts, connects again, and says when the
//! connection comes and goes. Always: frames of one connection never pass on another.

mod pipe;
#[cfg(test)]
mod tests;
mod thread;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam::channel::{self, Receiver, Sender};
use mio::{Poll, Waker};

use self::thread::{Command, Event, Work};
use super::{
    heartbeat::wire::subkey,
    replicate::{self, Action, Batch, Frame, Lag, Peer, Role},
};
use crate::{
    base::{Time, clock::Monotonic, limits::REPLICA_INBOX_BYTES, pack::Packer},
    config::Ha,
    control::MediaChanges,
    ng::NgChanges,
    sip::endpoint::Changes,
};

#[derive(Clone)]
pub struct Settings {
    /// This node's name, and the one that the peer must have.
    pub node: String,
    pub peer_node: String,
    /// Where this node listens, and where it connects from.
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// Known to both and to nobody else.
    pub key: [u8; 32],
}

impl Settings {
    /// What the configuration of `node` says; the connection's key is its own, made from the pair's.
    pub fn new(node: &str, ha: &Ha) -> Settings {
        Settings {
            node: node.to_owned(),
            peer_node: ha.peer.clone(),
            local: ha.replication.local,
            peer: ha.replication.peer,
            key: subkey(ha.key.expose(), "tandem ha replication 1"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    #[error("cannot start the thread of replication: {0}")]
    Start(std::io::Error),
}

/// What the slow path is to do.
#[derive(Debug, PartialEq)]
pub enum Happened {
    /// A standby connected: mark everything.
    Joined,
    /// It is gone: stop noting.
    Left,
    /// The active host is going to tell everything.
    Begin,
    /// To be applied whole, then acknowledged. It says what was so `age` ago.
    Apply { batch: Box<Batch>, age: Duration },
}

pub struct Replica {
    commands: Option<Sender<Command>>,
    events: Receiver<Event>,
    /// The thread's.
    wake: Arc<Waker>,
    /// Bytes of frames that wait for the slow path.
    inbox: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
    role: Option<Role>,
    connection: Option<u64>,
    sender: replicate::Sender,
    receiver: replicate::Receiver,
    packer: Packer,
    /// The standby was given up in `offer`.
    gave_up: bool,
}

impl Replica {
    /// It does nothing until it is told a role. `waker` is woken for everything that comes.
    pub fn start(settings: Settings, clock: Monotonic, waker: Option<Arc<Waker>>) -> Result<Replica, ReplicaError> {
        let poll = Poll::new().map_err(ReplicaError::Start)?;
        let wake = Arc::new(Waker::new(poll.registry(), thread::WAKE).map_err(ReplicaError::Start)?);
        // Bounded in bytes: what goes out by the sender's window, what comes in by `inbox`.
        let (commands, orders) = channel::unbounded();
        let (tell, events) = channel::unbounded();
        let inbox = Arc::<AtomicUsize>::default();
        let mut work = Work::new(settings, clock, poll, orders, tell, inbox.clone(), waker);
        let thread = std::thread::Builder::new().name("replica".into()).spawn(move || work.run());
        Ok(Replica {
            commands: Some(commands),
            events,
            wake,
            inbox,
            thread: Some(thread.map_err(ReplicaError::Start)?),
            role: None,
            connection: None,
            sender: replicate::Sender::default(),
            receiver: replicate::Receiver::default(),
            packer: Packer::default(),
            gave_up: false,
        })
    }

    /// Ends the connection of another role. As a standby nothing is known from now on.
    pub fn be(&mut self, role: Role) {
        if self.role != Some(role) {
            self.role = Some(role);
            self.sender.lost();
            self.receiver.forget();
            self.gave_up = false;
            self.connection = None;
            self.command(Command::Be(role));
        }
    }

    /// What happened since the last look. Each round.
    pub fn poll(&mut self, now: Time) -> Vec<Happened> {
        let mut happened = Vec::new();
        if std::mem::take(&mut self.gave_up) {
            happened.push(Happened::Left);
        }
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Up { connection, role } if Some(role) == self.role => {
                    self.connection = Some(connection);
                    if role == Role::Active {
                        let start = self.sender.connected(connection);
                        self.send(start);
                        happened.push(Happened::Joined);
                    }
                }
                Event::Down { connection } if self.connection == Some(connection) => {
                    self.connection = None;
                    self.receiver.lost();
                    if self.sender.peer() != Peer::NotConnected {
                        self.sender.lost();
                        happened.push(Happened::Left);
                    }
                }
                Event::Frame { connection, frame, bytes } => {
                    let held = self.inbox.fetch_sub(bytes, Ordering::Relaxed);
                    if held >= REPLICA_INBOX_BYTES {
                        // The thread had stopped reading.
                        let _ = self.wake.wake();
                    }
                    if self.connection == Some(connection) {
                        self.take(now, *frame, &mut happened);
                    }
                }
                Event::Up { .. } | Event::Down { .. } => {}
            }
        }
        happened
    }

    fn take(&mut self, now: Time, frame: Frame, happened: &mut Vec<Happened>) {
        if let (Some(Role::Active), Frame::Ack { session, seq }) = (self.role, &frame) {
            self.sender.acked_by_peer(*session, *seq);
            return;
        }
        match self.receiver.take(now, frame) {
            Ok(Action::Begin) => happened.push(Happened::Begin),
            Ok(Action::Apply { batch, age }) => happened.push(Happened::Apply { batch: Box::new(batch), age }),
            Err(broken) => {
                tracing::warn!("replication begins anew: {broken}");
                self.receiver.lost();
                self.hang_up();
            }
        }
    }

    /// Bytes of the state's queue that may go out in this round, and whether there is anybody to take changes for.
    pub fn budget(&self) -> Option<usize> {
        (self.sender.peer() != Peer::NotConnected).then(|| self.sender.budget())
    }

    /// What a round of the active host changed, and how many entries are still queued. It goes out at once.
    pub fn offer(&mut self, now: Time, sip: Changes, media: MediaChanges, ng: NgChanges, left: usize) {
        let batch = Batch::of(sip, media, ng, &mut self.packer);
        match self.sender.offer(now, batch, left) {
            Ok(Some(frame)) => self.send(frame),
            Ok(None) => {}
            Err(overrun) => {
                tracing::warn!("the standby is given up and will be synchronised anew: {overrun}");
                self.gave_up = true;
                self.hang_up();
            }
        }
    }

    /// All that `poll` brought has been applied. Once a round.
    pub fn ack(&mut self) {
        if let Some(ack) = self.receiver.ack() {
            self.send(ack);
        }
    }

    /// The last batch: what happened up to now is in it, or before it.
    pub fn last(&self) -> Option<(u64, u64)> {
        self.sender.last()
    }

    /// Whether the standby has it; None: no standby is going to.
    pub fn is_safe(&self, batch: (u64, u64)) -> Option<bool> {
        self.sender.is_safe(batch)
    }

    pub fn peer(&self) -> Peer {
        self.sender.peer()
    }

    pub fn lag(&self, now: Time) -> Lag {
        self.sender.lag(now)
    }

    /// Sessions that ended because the standby did not keep up.
    pub fn overruns(&self) -> u64 {
        self.sender.overruns
    }

    /// As a standby: connected, and every entry has come.
    pub fn is_synced(&self) -> bool {
        self.receiver.is_synced()
    }

    /// As a standby: what is known is, or was, a whole state.
    pub fn is_whole(&self) -> bool {
        self.receiver.is_whole()
    }

    fn hang_up(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.command(Command::HangUp { connection });
        }
    }

    fn send(&mut self, frame: Frame) {
        if let Some(connection) = self.connection {
            self.command(Command::Send { connection, frame: Box::new(frame) });
        }
    }

    fn command(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // The thread ends only when this end does.
            let _ = commands.send(command);
            let _ = self.wake.wake();
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.wake.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
