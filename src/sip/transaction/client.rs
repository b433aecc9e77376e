//! The non-INVITE client transaction: RFC 3261 §17.1.2.
//!
//! Slow-path thread. As `client_invite`: states and timers, no messages.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Step, Timing, Transmit, Up};
use crate::base::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Trying,
    Proceeding,
    /// A final response came; repetitions are swallowed until timer K.
    Completed,
    Terminated,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Client {
    state: State,
    reliable: bool,
    /// Timer E: its current interval and when it fires.
    interval: Duration,
    resend_at: Option<Time>,
    /// Timer F or K, by state.
    end_at: Option<Time>,
}

impl Client {
    /// The request has just been sent.
    pub fn start(now: Time, timing: &Timing, reliable: bool) -> Self {
        Client {
            state: State::Trying,
            reliable,
            interval: timing.t1,
            resend_at: (!reliable).then(|| now + timing.t1),
            end_at: Some(now + timing.give_up()),
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn response(&mut self, now: Time, timing: &Timing, status: u16) -> Step {
        match (self.state, status) {
            (State::Trying | State::Proceeding, 100..=199) => {
                // Timer E goes on, at T2 from its next firing; timer F is not touched.
                self.state = State::Proceeding;
                Step::up(Up::Response)
            }
            (State::Trying | State::Proceeding, 200..=699) => {
                self.resend_at = None;
                if self.reliable {
                    // Timer K is zero over a reliable transport.
                    self.terminate();
                } else {
                    self.state = State::Completed;
                    self.end_at = Some(now + timing.t4);
                }
                Step::up(Up::Response)
            }
            _ => Step::NOTHING,
        }
    }

    pub fn transport_failed(&mut self) -> Step {
        let told = matches!(self.state, State::Trying | State::Proceeding);
        if told {
            self.terminate();
            Step::up(Up::TransportFailed)
        } else {
            Step::NOTHING
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
            // Timer F; K ends in silence.
            return if was == State::Completed { Step::NOTHING } else { Step::up(Up::Timeout) };
        }
        if self.resend_at.is_some_and(|at| at <= now) {
            // RFC 3261 §17.1.2.2: min(2·interval, T2) while Trying, T2 while Proceeding.
            self.interval = if self.state == State::Proceeding { timing.t2 } else { timing.doubled(self.interval) };
            self.resend_at = Some(now + self.interval);
            return Step::transmit(Transmit::Request);
        }
        Step::NOTHING
    }
}
