//! The INVITE server transaction: RFC 3261 §17.2.1 with RFC 6026 §8.3's Accepted state.
//!
//! Slow-path thread. States and timers, no messages. The 100 that §17.2.1 asks for within 200 ms is sent by the user
//! of the transaction, at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Step, Timing, Transmit, Up};
use crate::base::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Proceeding,
    /// A 2xx was sent: repetitions of the INVITE are swallowed, the user repeats the 2xx, until timer L.
    Accepted,
    /// A 300–699 was sent: timer G repeats it until the ACK, or timer H.
    Completed,
    /// The ACK came: stragglers are swallowed until timer I.
    Confirmed,
    Terminated,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerInvite {
    state: State,
    reliable: bool,
    /// Timer G: its current interval and when it fires.
    interval: Duration,
    resend_at: Option<Time>,
    /// Timer H, I or L, by state.
    end_at: Option<Time>,
}

impl ServerInvite {
    pub fn start(reliable: bool) -> Self {
        ServerInvite { state: State::Proceeding, reliable, interval: Duration::ZERO, resend_at: None, end_at: None }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// The user sends a response. Nothing is transmitted if the state no longer allows it.
    pub fn respond(&mut self, now: Time, timing: &Timing, status: u16) -> Step {
        match (self.state, status) {
            (State::Proceeding, 100..=199) => {}
            (State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                self.end_at = Some(now + timing.give_up());
            }
            // RFC 6026 §8.3: the user's repetitions of the 2xx pass.
            (State::Accepted, 200..=299) => {}
            (State::Proceeding, 300..=699) => {
                self.state = State::Completed;
                self.interval = timing.t1;
                self.resend_at = (!self.reliable).then(|| now + timing.t1);
                self.end_at = Some(now + timing.give_up());
            }
            _ => return Step::NOTHING,
        }
        Step::transmit(Transmit::Response)
    }

    /// The INVITE arrived again.
    pub fn repeated(&mut self) -> Step {
        match self.state {
            State::Proceeding | State::Completed => Step::transmit(Transmit::Response),
            _ => Step::NOTHING,
        }
    }

    pub fn ack(&mut self, now: Time, timing: &Timing) -> Step {
        match self.state {
            State::Completed => {
                self.resend_at = None;
                if self.reliable {
                    // Timer I is zero over a reliable transport.
                    self.terminate();
                } else {
                    self.state = State::Confirmed;
                    self.end_at = Some(now + timing.t4);
                }
                Step::NOTHING
            }
            // RFC 6026 §8.3: an ACK for a 2xx belongs to the user.
            State::Accepted => Step::up(Up::Ack),
            _ => Step::NOTHING,
        }
    }

    pub fn terminate(&mut self) {
        self.state = State::Terminated;
        self.resend_at = None;
        self.end_at = None;
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.resend_at.into_iter().chain(self.end_at).min()
    }

    pub fn fire(&mut self, now: Time, timing: &Timing) -> Step {
        if self.end_at.is_some_and(|at| at <= now) {
            let was = self.state;
            self.terminate();
            // Timer H: the ACK never came. I and L end in silence.
            return if was == State::Completed { Step::up(Up::Timeout) } else { Step::NOTHING };
        }
        if self.resend_at.is_some_and(|at| at <= now) {
            self.interval = timing.doubled(self.interval);
            self.resend_at = Some(now + self.interval);
            return Step::transmit(Transmit::Response);
        }
        Step::NOTHING
    }
}
