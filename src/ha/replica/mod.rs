//! Replication's connection: one thread, one TCP connection to the peer, and between it and the slow path two queues.
//!
//! The standby connects, the active host accepts; what passes is `ha::replicate`'s frames, in `pipe`'s encryption. `Replica` is
//! the slow path's end: it holds the machines, so that what a round needs (how much of the queue may go out, what is
//! acknowledged) is at hand, and it never waits. The thread reads, writes, encrypts, connects again, and says when the
//! connection comes and goes; `end` is what needs no thread, and the simulation of the pair turns it. Always: frames of one
//! connection never pass on another.

mod end;
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
};

use crossbeam::channel::{self, Receiver, Sender};
use mio::{Poll, Waker};

pub use self::end::{Command, End, Event, Happened};
use self::thread::Work;
use super::{
    heartbeat::wire::subkey,
    replicate::{Batch, Lag, Peer, Role},
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

pub struct Replica {
    commands: Option<Sender<Command>>,
    events: Receiver<Event>,
    /// The thread's.
    wake: Arc<Waker>,
    /// Bytes of frames that wait for the slow path.
    inbox: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
    end: End,
    packer: Packer,
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
            end: End::default(),
            packer: Packer::default(),
        })
    }

    /// Ends the connection of another role. As a standby nothing is known from now on.
    pub fn be(&mut self, role: Role) {
        self.end.be(role);
        self.pass_on();
    }

    /// What happened since the last look. Each round.
    pub fn poll(&mut self, now: Time) -> Vec<Happened> {
        let Self { end, events, inbox, wake, .. } = self;
        let happened = end.take(now, events.try_iter().inspect(|event| free(event, inbox, wake)));
        self.pass_on();
        happened
    }

    /// Bytes of the state's queue that may go out in this round, and whether there is anybody to take changes for.
    pub fn budget(&self) -> Option<usize> {
        self.end.budget()
    }

    /// What a round of the active host changed, and how many entries are still queued. It goes out at once.
    pub fn offer(&mut self, now: Time, sip: Changes, media: MediaChanges, ng: NgChanges, left: usize) {
        let batch = Batch::of(sip, media, ng, &mut self.packer);
        self.end.offer(now, batch, left);
        self.pass_on();
    }

    /// All that `poll` brought has been applied. Once a round.
    pub fn ack(&mut self) {
        self.end.ack();
        self.pass_on();
    }

    /// The last batch: what happened up to now is in it, or before it.
    pub fn last(&self) -> Option<(u64, u64)> {
        self.end.last()
    }

    /// Whether the standby has it; None: no standby is going to.
    pub fn is_safe(&self, batch: (u64, u64)) -> Option<bool> {
        self.end.is_safe(batch)
    }

    pub fn peer(&self) -> Peer {
        self.end.peer()
    }

    pub fn lag(&self, now: Time) -> Lag {
        self.end.lag(now)
    }

    /// Sessions that ended because the standby did not keep up.
    pub fn overruns(&self) -> u64 {
        self.end.overruns()
    }

    /// As a standby: connected, and every entry has come.
    pub fn is_synced(&self) -> bool {
        self.end.is_synced()
    }

    /// As a standby: what is known is, or was, a whole state.
    pub fn is_whole(&self) -> bool {
        self.end.is_whole()
    }

    fn pass_on(&mut self) {
        let Some(commands) = &self.commands else { return };
        let mut any = false;
        while let Some(command) = self.end.poll_command() {
            any = true;
            // The thread ends only when this end does.
            let _ = commands.send(command);
        }
        if any {
            let _ = self.wake.wake();
        }
    }
}

/// A frame waits no longer.
fn free(event: &Event, inbox: &AtomicUsize, thread: &Waker) {
    if let Event::Frame { bytes, .. } = event
        && inbox.fetch_sub(*bytes, Ordering::Relaxed) >= REPLICA_INBOX_BYTES
    {
        // It had stopped reading.
        let _ = thread.wake();
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
