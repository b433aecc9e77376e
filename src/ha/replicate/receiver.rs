//! The standby's side: batches in order or not at all, acknowledged by their numbers, and how old what they say is. Pure;
//! slow-path thread.

use std::time::Duration;

use super::{Batch, Frame};
use crate::base::Time;

/// What is to be done with a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// All entries are going to come: those that do not, until `Apply` says it is complete, are no more.
    Begin,
    /// To be applied whole. It says what was so `age` ago.
    Apply { batch: Batch, age: Duration },
}

/// The connection cannot go on; a new one begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("batch {found} came where {expected} was due")]
    Gap { expected: u64, found: u64 },
    #[error("a frame that a standby does not get here")]
    Unexpected,
}

#[derive(Debug)]
struct Session {
    id: u64,
    /// The last batch.
    last: u64,
    acked: u64,
    complete: bool,
    /// Our time less the state's, at its least, and when that was so: the shortest way that a batch had.
    shortest: Option<(i128, Time)>,
}

#[derive(Debug, Default)]
pub struct Receiver {
    session: Option<Session>,
    /// Some session came to its end: what is known is a whole state, and perhaps a little old.
    whole: bool,
}

/// How far two clocks may drift apart: 100 µs in a second.
const DRIFT: i128 = 10_000;

impl Receiver {
    /// The connection is gone. What is known stays.
    pub fn lost(&mut self) {
        self.session = None;
    }

    /// This host became a standby: it knows nothing.
    pub fn forget(&mut self) {
        *self = Receiver::default();
    }

    /// Connected, and every entry has come.
    pub fn is_synced(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.complete)
    }

    /// What is known is, or was, a whole state.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    pub fn take(&mut self, now: Time, frame: Frame) -> Result<Action, Broken> {
        match (frame, &mut self.session) {
            (Frame::Start { session: id }, _) => {
                self.session = Some(Session { id, last: 0, acked: 0, complete: false, shortest: None });
                Ok(Action::Begin)
            }
            (Frame::Batch { session: id, batch }, Some(session)) if session.id == id => {
                if batch.seq != session.last + 1 {
                    return Err(Broken::Gap { expected: session.last + 1, found: batch.seq });
                }
                session.last = batch.seq;
                session.complete |= batch.complete;
                self.whole |= batch.complete;
                let age = session.age(now, batch.at);
                Ok(Action::Apply { batch, age })
            }
            _ => Err(Broken::Unexpected),
        }
    }

    /// What was taken has been applied: the acknowledgement, if it says something new.
    pub fn ack(&mut self) -> Option<Frame> {
        let session = self.session.as_mut().filter(|session| session.acked < session.last)?;
        session.acked = session.last;
        Some(Frame::Ack { session: session.id, seq: session.last })
    }
}

impl Session {
    /// How much longer a batch was under way than the quickest one: there is no clock in common. What that one took is in
    /// nobody's account; on the link of a pair it is less than a millisecond.
    fn age(&mut self, now: Time, at: Time) -> Duration {
        let offset = i128::from(now.as_micros()) - i128::from(at.as_micros());
        let shortest = match self.shortest {
            Some((shortest, when)) => offset.min(shortest + now.since(when).as_micros() as i128 / DRIFT),
            None => offset,
        };
        self.shortest = Some((shortest, now));
        Duration::from_micros(u64::try_from(offset - shortest).unwrap_or(0))
    }
}
