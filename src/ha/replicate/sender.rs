//! The active host's side: numbers batches, knows what is acknowledged, and gives a standby up that does not keep up. Pure;
//! slow-path thread.

use std::{collections::VecDeque, time::Duration};

use super::{BEAT, Batch, Frame};
use crate::base::{
    Time,
    limits::{REPLICA_BATCH_BYTES, REPLICA_SILENT, REPLICA_SYNC_BYTES, REPLICA_WINDOW_BYTES},
};

/// How the standby stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    NotConnected,
    /// Entries that are still to be sent or acknowledged.
    Synchronising {
        left: usize,
    },
    /// It has every entry, and changes as they come.
    Synced,
}

/// How far it is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Batches that it has not acknowledged.
    pub messages: usize,
    /// How long the oldest of these is under way.
    pub age: Duration,
    pub bytes: usize,
}

/// The standby does not keep up: the session is over, and so must the connection be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overrun {
    #[error("the standby has not acknowledged {0} bytes")]
    Bytes(usize),
    #[error("the standby has acknowledged nothing for {0:?}")]
    Silent(Duration),
    #[error("a batch of {0} bytes")]
    Batch(usize),
}

#[derive(Debug)]
struct Session {
    id: u64,
    /// The last number given away, and the last one acknowledged.
    last: u64,
    acked: u64,
    /// Not acknowledged: when sent, and bytes.
    under_way: VecDeque<(Time, usize)>,
    bytes: usize,
    sent: Option<Time>,
    /// Entries queued behind the changes.
    left: usize,
    /// The batch with which every entry had gone out.
    complete: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Sender {
    session: Option<Session>,
    /// Sessions that ended because the standby did not keep up.
    pub overruns: u64,
}

impl Sender {
    /// A standby connected. Every entry is to be queued now. `id` must not have been used before.
    pub fn connected(&mut self, id: u64) -> Frame {
        self.session = Some(Session {
            id,
            last: 0,
            acked: 0,
            under_way: VecDeque::new(),
            bytes: 0,
            sent: None,
            left: usize::MAX,
            complete: None,
        });
        Frame::Start { session: id }
    }

    /// The connection is gone. Nothing is to be noted any more.
    pub fn lost(&mut self) {
        self.session = None;
    }

    pub fn peer(&self) -> Peer {
        match &self.session {
            None => Peer::NotConnected,
            Some(s) if s.complete.is_some_and(|complete| s.acked >= complete) => Peer::Synced,
            Some(s) => Peer::Synchronising { left: s.left },
        }
    }

    /// Bytes of queued entries that may go out now: the queue waits for acknowledgements, changes do not.
    pub fn budget(&self) -> usize {
        let Some(session) = &self.session else { return 0 };
        (REPLICA_WINDOW_BYTES / 2).saturating_sub(session.bytes).min(REPLICA_SYNC_BYTES)
    }

    /// What a round changed, and how many entries are still queued. None: there is nothing to say, or nobody to say it to.
    pub fn offer(&mut self, now: Time, mut batch: Batch, left: usize) -> Result<Option<Frame>, Overrun> {
        let Some(session) = &mut self.session else { return Ok(None) };
        session.left = left;
        let completes = left == 0 && session.complete.is_none();
        let beat = session.sent.is_none_or(|sent| now.since(sent) >= BEAT);
        if batch.is_empty() && !completes && !beat {
            return self.look(now).map(|()| None);
        }
        let bytes = batch.bytes();
        session.last += 1;
        (batch.seq, batch.complete) = (session.last, completes);
        if completes {
            session.complete = Some(session.last);
        }
        session.under_way.push_back((now, bytes));
        session.bytes += bytes;
        session.sent = Some(now);
        let frame = Frame::Batch { session: session.id, batch };
        if bytes > REPLICA_BATCH_BYTES {
            return Err(self.give_up(Overrun::Batch(bytes)));
        }
        self.look(now).map(|()| Some(frame))
    }

    /// Gives a standby up that has not acknowledged for too long, or too much.
    fn look(&mut self, now: Time) -> Result<(), Overrun> {
        let Some(session) = &self.session else { return Ok(()) };
        let waits = session.under_way.front().map_or(Duration::ZERO, |(sent, _)| now.since(*sent));
        if session.bytes > REPLICA_WINDOW_BYTES {
            return Err(self.give_up(Overrun::Bytes(session.bytes)));
        }
        if waits > REPLICA_SILENT {
            return Err(self.give_up(Overrun::Silent(waits)));
        }
        Ok(())
    }

    fn give_up(&mut self, overrun: Overrun) -> Overrun {
        self.session = None;
        self.overruns += 1;
        overrun
    }

    /// The standby has all up to `seq`. What belongs to another session, or was never sent, says nothing.
    pub fn acked_by_peer(&mut self, id: u64, seq: u64) {
        let Some(session) = self.session.as_mut().filter(|s| s.id == id && seq <= s.last) else { return };
        while session.acked < seq
            && let Some((_, bytes)) = session.under_way.pop_front()
        {
            session.acked += 1;
            session.bytes -= bytes;
        }
    }

    /// The number of the last batch: what happened up to now is safe once `is_safe` says so of it.
    pub fn last(&self) -> Option<(u64, u64)> {
        self.session.as_ref().map(|session| (session.id, session.last))
    }

    /// Whether a synchronised standby has that batch. None: there is no standby that could, and waiting is in vain.
    pub fn is_safe(&self, (id, seq): (u64, u64)) -> Option<bool> {
        let session = self.session.as_ref().filter(|session| session.id == id)?;
        (self.peer() == Peer::Synced).then_some(session.acked >= seq)
    }

    pub fn lag(&self, now: Time) -> Lag {
        let Some(session) = &self.session else { return Lag::default() };
        let age = session.under_way.front().map_or(Duration::ZERO, |(sent, _)| now.since(*sent));
        Lag { messages: session.under_way.len(), age, bytes: session.bytes }
    }
}
