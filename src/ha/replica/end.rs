//! The slow path's end of the connection, without the thread that has the sockets: which connection counts, what the
//! machines make of its frames, and what the thread is to do. Pure; slow-path thread.

use std::{collections::VecDeque, time::Duration};

use crate::{
    base::Time,
    ha::replicate::{Action, Batch, Frame, Lag, Overrun, Peer, Receiver, Role, Sender},
};

/// What the thread is to do.
#[derive(Debug)]
pub enum Command {
    Be(Role),
    Send { connection: u64, frame: Box<Frame> },
    HangUp { connection: u64 },
}

/// What the thread tells.
#[derive(Debug)]
pub enum Event {
    Up { connection: u64, role: Role },
    Down { connection: u64 },
    Frame { connection: u64, frame: Box<Frame>, bytes: usize },
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

#[derive(Debug, Default)]
pub struct End {
    role: Option<Role>,
    connection: Option<u64>,
    sender: Sender,
    receiver: Receiver,
    /// The standby was given up in `offer`.
    gave_up: bool,
    commands: VecDeque<Command>,
}

impl End {
    /// Ends the connection of another role. As a standby nothing is known from now on.
    pub fn be(&mut self, role: Role) {
        if self.role != Some(role) {
            self.role = Some(role);
            self.sender.lost();
            self.receiver.forget();
            self.gave_up = false;
            self.connection = None;
            self.commands.push_back(Command::Be(role));
        }
    }

    /// What happened since the last look. Each round.
    pub fn take(&mut self, now: Time, events: impl Iterator<Item = Event>) -> Vec<Happened> {
        let mut happened = Vec::new();
        if std::mem::take(&mut self.gave_up) {
            happened.push(Happened::Left);
        }
        for event in events {
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
                Event::Frame { connection, frame, .. } if self.connection == Some(connection) => {
                    happened.extend(self.frame(now, *frame));
                }
                Event::Up { .. } | Event::Down { .. } | Event::Frame { .. } => {}
            }
        }
        happened
    }

    fn frame(&mut self, now: Time, frame: Frame) -> Option<Happened> {
        if let (Some(Role::Active), Frame::Ack { session, seq }) = (self.role, &frame) {
            self.sender.acked_by_peer(*session, *seq);
            return None;
        }
        match self.receiver.take(now, frame) {
            Ok(Action::Begin) => Some(Happened::Begin),
            Ok(Action::Apply { batch, age }) => Some(Happened::Apply { batch: Box::new(batch), age }),
            Err(broken) => {
                tracing::warn!("replication begins anew: {broken}");
                self.receiver.lost();
                self.hang_up();
                None
            }
        }
    }

    /// What the thread is to do, in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Bytes of the state's queue that may go out in this round, and whether there is anybody to take changes for.
    pub fn budget(&self) -> Option<usize> {
        (self.sender.peer() != Peer::NotConnected).then(|| self.sender.budget())
    }

    /// What a round of the active host changed, and how many entries are still queued. It goes out at once.
    pub fn offer(&mut self, now: Time, batch: Batch, left: usize) {
        match self.sender.offer(now, batch, left) {
            Ok(Some(frame)) => self.send(frame),
            Ok(None) => {}
            Err(overrun) => self.give_up(overrun),
        }
    }

    fn give_up(&mut self, overrun: Overrun) {
        tracing::warn!("the standby is given up and will be synchronised anew: {overrun}");
        self.gave_up = true;
        self.hang_up();
    }

    /// All that `take` brought has been applied. Once a round.
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
            self.commands.push_back(Command::HangUp { connection });
        }
    }

    fn send(&mut self, frame: Frame) {
        if let Some(connection) = self.connection {
            self.commands.push_back(Command::Send { connection, frame: Box::new(frame) });
        }
    }
}
