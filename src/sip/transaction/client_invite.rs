//! The INVITE client transaction: RFC 3261 §17.1.1 with RFC 6026 §8.4's Accepted state.
//!
//! Slow-path thread. Knows states, timers and status codes, no messages: the table holds the bytes and does what each
//! `Step` says. Always: at most one transmission and one event per input; after `Terminated` nothing happens.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Step, Timing, Transmit, Up};
use crate::base::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// No response yet: timer A repeats the request, timer B ends it.
    Calling,
    /// A provisional response came. No timer: the user of the transaction bounds the ringing.
    Proceeding,
    /// A 2xx came; further ones go to the user until timer M.
    Accepted,
    /// A 300–699 came; repetitions are acknowledged until timer D.
    Completed,
    Terminated,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientInvite {
    state: State,
    reliable: bool,
    /// Timer A: its current interval and when it fires.
    interval: Duration,
    resend_at: Option<Time>,
    /// Timer B, D or M, by state.
    end_at: Option<Time>,
}

impl ClientInvite {
    /// The request has just been sent.
    pub fn start(now: Time, timing: &Timing, reliable: bool) -> Self {
        ClientInvite {
            state: State::Calling,
            reliable,
            interval: timing.t1,
            // RFC 3261 §17.1.1.2: timer A is not started over a reliable transport.
            resend_at: (!reliable).then(|| now + timing.t1),
            end_at: Some(now + timing.give_up()),
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn response(&mut self, now: Time, timing: &Timing, status: u16) -> Step {
        match (self.state, status) {
            (State::Calling | State::Proceeding, 100..=199) => {
                self.state = State::Proceeding;
                self.resend_at = None;
                self.end_at = None;
                Step::up(Up::Response)
            }
            (State::Calling | State::Proceeding, 200..=299) => {
                // RFC 6026 §8.4: stay for 64·T1, so that each further 2xx (repeated, or from another fork) reaches
                // the user, who acknowledges it.
                self.state = State::Accepted;
                self.resend_at = None;
                self.end_at = Some(now + timing.give_up());
                Step::up(Up::Response)
            }
            (State::Accepted, 200..=299) => Step::up(Up::Response),
            (State::Calling | State::Proceeding, 300..=699) => {
                self.resend_at = None;
                self.complete(now, timing);
                Step { transmit: Transmit::Ack, up: Some(Up::Response) }
            }
            (State::Completed, 300..=699) => Step::transmit(Transmit::Ack),
            _ => Step::NOTHING,
        }
    }

    fn complete(&mut self, now: Time, timing: &Timing) {
        if self.reliable {
            // Timer D is zero over a reliable transport.
            self.state = State::Terminated;
            self.end_at = None;
        } else {
            self.state = State::Completed;
            self.end_at = Some(now + timing.timer_d());
        }
    }

    /// The request or an ACK could not be delivered.
    pub fn transport_failed(&mut self) -> Step {
        let told = matches!(self.state, State::Calling);
        if matches!(self.state, State::Calling | State::Completed) {
            self.terminate();
        }
        if told { Step::up(Up::TransportFailed) } else { Step::NOTHING }
    }

    /// The user does not wait any longer (RFC 3261 §9.1: no final response 64·T1 after CANCEL).
    pub fn terminate(&mut self) {
        self.state = State::Terminated;
        self.resend_at = None;
        self.end_at = None;
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.resend_at.into_iter().chain(self.end_at).min()
    }

    /// Lets the timers that are due fire.
    pub fn fire(&mut self, now: Time, _timing: &Timing) -> Step {
        if self.end_at.is_some_and(|at| at <= now) {
            let was = self.state;
            self.terminate();
            // Timer B; D and M end in silence.
            return if was == State::Calling { Step::up(Up::Timeout) } else { Step::NOTHING };
        }
        if self.resend_at.is_some_and(|at| at <= now) {
            // Timer A doubles without a ceiling: timer B comes before that matters.
            self.interval *= 2;
            self.resend_at = Some(now + self.interval);
            return Step::transmit(Transmit::Request);
        }
        Step::NOTHING
    }
}
