//! A call and its legs: what is kept between two messages. Slow-path thread; all of it is saved.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use super::{media::CallMedia, reinvite::Reinvite, teardown::Ending};
use crate::{
    base::{Time, ids::Side},
    sip::{
        dialog::Dialog,
        endpoint::{CallId, CallRecord, Core},
        message::Message,
        route::Destination,
        transaction::{ClientId, ServerId},
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Leg A waits for a final response.
    Setup,
    /// Leg A got a 2xx.
    Answered,
    /// Recorded and without media; legs that still owe or expect a message linger.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LegState {
    /// No 2xx yet.
    Early,
    Confirmed,
    /// To be hung up as soon as our 2xx is acknowledged (RFC 3261 §15); with this Reason.
    ByeWaits(Option<String>),
    /// Our BYE is under way.
    ByeSent,
    /// The dialog is no more.
    Gone,
}

/// Our 2xx to an INVITE, which is repeated until its ACK (RFC 3261 §13.3.1.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unacked {
    pub server: ServerId,
    /// The INVITE's CSeq number.
    pub seq: u32,
    pub interval: Duration,
    pub next: Time,
    pub give_up: Time,
    /// Our 2xx carried an offer: the answer comes in the ACK, and goes on to the other leg in the ACK that its 2xx
    /// still waits for.
    pub late: Option<Late>,
}

/// The 2xx of the other leg that waits for our ACK.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Late {
    pub client: ClientId,
    pub seq: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Leg {
    pub dialog: Dialog,
    pub trunk: String,
    pub state: LegState,
    pub unacked: Option<Unacked>,
}

impl Leg {
    pub fn new(dialog: Dialog, trunk: &str) -> Self {
        Leg { dialog, trunk: trunk.to_owned(), state: LegState::Early, unacked: None }
    }

    /// The dialog ended: nothing finds the leg any more.
    pub fn gone(&mut self, core: &mut Core) {
        core.live.dialogs.remove(&self.dialog.key());
        self.state = LegState::Gone;
        self.unacked = None;
    }
}

/// The destination that is being tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub client: ClientId,
    pub destination: Destination,
    /// Passed over then, unless it said something.
    pub no_reply_at: Option<Time>,
    /// Passed over then, unless it answered.
    pub ring_until: Time,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    pub id: CallId,
    pub phase: Phase,
    pub a: Leg,
    /// Of the current attempt.
    pub b: Option<Leg>,
    /// Leg A's INVITE.
    pub invite: ServerId,
    /// The INVITE carried no offer; the answering side makes one.
    pub late: bool,
    pub attempt: Option<Attempt>,
    /// Destinations not tried yet.
    pub targets: VecDeque<Destination>,
    /// How the last attempt failed.
    pub failure: Option<Ending>,
    pub media: Option<CallMedia>,
    pub reinvite: Option<Reinvite>,
    /// When the last provisional response is sent again (RFC 3261 §13.3.1.1).
    pub refresh_at: Option<Time>,
    pub started: Time,
    pub rang: Option<Time>,
    pub answered: Option<Time>,
    /// Filled in as the call goes; its times at the end.
    pub record: CallRecord,
}

impl Call {
    pub fn leg(&self, side: Side) -> Option<&Leg> {
        match side {
            Side::A => Some(&self.a),
            Side::B => self.b.as_ref(),
        }
    }

    pub fn leg_mut(&mut self, side: Side) -> Option<&mut Leg> {
        match side {
            Side::A => Some(&mut self.a),
            Side::B => self.b.as_mut(),
        }
    }

    /// Leg A's Call-ID, for logs.
    pub fn sip_call_id(&self) -> &str {
        &self.a.dialog.call_id
    }

    /// Nothing more will happen to it.
    pub fn finished(&self) -> bool {
        let gone = |leg: &Leg| leg.state == LegState::Gone;
        self.phase == Phase::Ended && gone(&self.a) && self.b.as_ref().is_none_or(gone)
    }

    pub fn next_deadline(&self) -> Option<Time> {
        let unacked = |leg: &Leg| leg.unacked.as_ref().map(|u| u.next.min(u.give_up));
        let attempt = self.attempt.as_ref();
        [
            attempt.and_then(|a| a.no_reply_at),
            attempt.map(|a| a.ring_until),
            self.refresh_at,
            unacked(&self.a),
            self.b.as_ref().and_then(unacked),
            self.reinvite.as_ref().map(|r| r.give_up),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The request of leg A's INVITE, as long as it waits for a final response.
    pub fn invite_request<'a>(&self, core: &'a Core) -> Option<&'a Message> {
        core.live.tx.server(self.invite).map(|entry| &entry.request)
    }
}
