//! What workers tell the slow path: latch candidates. Bounded; what does not fit is counted and forgotten, for the next
//! packet of a real peer comes 20 ms later.

use std::net::SocketAddr;

use crossbeam::queue::ArrayQueue;

use crate::base::ids::{SessionId, Side};

/// A packet from a source that its flow does not admit, while the flow asks for candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub session: SessionId,
    pub side: Side,
    /// The plan's version, so that a candidate for an older description is told from one for this.
    pub version: u32,
    pub source: SocketAddr,
    pub ssrc: u32,
    /// RTP sequence number.
    pub sequence: u16,
}

/// One queue per worker.
#[derive(Debug)]
pub struct Events {
    queue: ArrayQueue<Candidate>,
}

impl Events {
    pub fn new(capacity: usize) -> Self {
        Events { queue: ArrayQueue::new(capacity) }
    }

    /// False if there was no room.
    #[inline]
    pub fn push(&self, candidate: Candidate) -> bool {
        self.queue.push(candidate).is_ok()
    }

    pub fn pop(&self) -> Option<Candidate> {
        self.queue.pop()
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
