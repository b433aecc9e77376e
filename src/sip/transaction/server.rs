//! The non-INVITE server transaction: RFC 3261 §17.2.2.
//!
//! Slow-path thread. States and timers, no messages.

use serde::{Deserialize, Serialize};

use super::{Step, Timing, Transmit};
use crate::base::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Trying,
    Proceeding,
    /// A final response was sent; the request's repetitions draw it again until timer J.
    Completed,
    Terminated,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Server {
    state: State,
    reliable: bool,
    /// Timer J.
    end_at: Option<Time>,
}

impl Server {
    pub fn start(reliable: bool) -> Self {
        Server { state: State::Trying, reliable, end_at: None }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn respond(&mut self, now: Time, timing: &Timing, status: u16) -> Step {
        match (self.state, status) {
            (State::Trying | State::Proceeding, 100..=199) => self.state = State::Proceeding,
            (State::Trying | State::Proceeding, 200..=699) => {
                if self.reliable {
                    // Timer J is zero over a reliable transport.
                    self.terminate();
                } else {
                    self.state = State::Completed;
                    self.end_at = Some(now + timing.give_up());
                }
            }
            _ => return Step::NOTHING,
        }
        Step::transmit(Transmit::Response)
    }

    /// The request arrived again.
    pub fn repeated(&mut self) -> Step {
        match self.state {
            // RFC 3261 §17.2.2: swallowed while Trying, there is nothing to repeat yet.
            State::Proceeding | State::Completed => Step::transmit(Transmit::Response),
            _ => Step::NOTHING,
        }
    }

    pub fn terminate(&mut self) {
        self.state = State::Terminated;
        self.end_at = None;
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.end_at
    }

    pub fn fire(&mut self, now: Time, _timing: &Timing) -> Step {
        if self.end_at.is_some_and(|at| at <= now) {
            self.terminate();
        }
        Step::NOTHING
    }
}
