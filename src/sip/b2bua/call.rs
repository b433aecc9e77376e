//! A call and its legs: what is kept between two messages. Slow-path thread; all of it is saved.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

pub use super::leg::{Late, Leg, LegState, Unacked};
use super::{
    media::CallMedia,
    progress::Held,
    reinvite::Reinvite,
    reliable::Reliable,
    teardown::Ending,
    transfer::{Origin, PassedRefer, Pending},
};
use crate::{
    base::{Time, ids::Side},
    config::Config,
    sip::{
        endpoint::{CallId, CallRecord, Core},
        flow::Relocation,
        message::Message,
        route::{Destination, Numbers},
        transaction::{ClientId, ServerId},
        trunk::Counted,
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
    /// Called and calling number, as dialled and as the dial plan left them.
    pub numbers: Numbers,
    /// How the last attempt failed.
    pub failure: Option<Ending>,
    pub media: Option<CallMedia>,
    /// An offer that crosses within the call, or a re-INVITE without one.
    pub reinvite: Option<Reinvite>,
    /// How the caller acknowledges provisional responses, if it does.
    pub reliable: Option<Box<Reliable>>,
    /// Leg B's 2xx, while the caller has not acknowledged a description.
    pub held: Option<Box<Held>>,
    /// When the last provisional response is sent again (RFC 3261 §13.3.1.1).
    pub refresh_at: Option<Time>,
    pub started: Time,
    pub rang: Option<Time>,
    pub answered: Option<Time>,
    /// Filled in as the call goes; its times at the end.
    pub record: CallRecord,
    /// tandem makes it itself, to the target of a transfer: leg A is nobody, and stays `Gone`.
    #[serde(default)]
    pub origin: Option<Box<Origin>>,
    /// A transfer under way.
    #[serde(default)]
    pub transfer: Option<Box<Pending>>,
    /// REFERs that were passed on, newest last.
    #[serde(default)]
    pub passed: Vec<PassedRefer>,
    /// Records of calls whose legs joined this one; they are written with its own.
    #[serde(default)]
    pub carried: Vec<CallRecord>,
    /// Its record is another call's to write.
    #[serde(default)]
    pub absorbed: bool,
    /// Where it is counted as in progress.
    #[serde(skip)]
    pub counted: Counted,
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
        let attempt = self.attempt.as_ref().filter(|_| self.held.is_none());
        [
            attempt.and_then(|a| a.no_reply_at),
            attempt.map(|a| a.ring_until),
            self.refresh_at,
            self.a.next_deadline(),
            self.b.as_ref().and_then(Leg::next_deadline),
            self.reinvite.as_ref().map(|r| r.give_up),
            self.reliable.as_ref().and_then(|reliable| reliable.next_deadline()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// It comes from another host.
    pub fn relocate(&mut self, here: &Relocation, config: &Config) {
        for leg in std::iter::once(&mut self.a).chain(&mut self.b) {
            here.flow(&mut leg.dialog.source);
            leg.forks.iter_mut().for_each(|fork| here.flow(&mut fork.dialog.source));
        }
        let subscription = self.transfer.as_mut().and_then(|pending| pending.subscription.as_mut());
        if let Some((dialog, _)) = subscription.and_then(|subscription| subscription.after.as_mut()) {
            here.flow(&mut dialog.source);
        }
        if let Some(held) = &mut self.held {
            here.flow(&mut held.flow);
        }
        let attempt = self.attempt.iter_mut().map(|attempt| &mut attempt.destination);
        attempt.chain(&mut self.targets).for_each(|to| here.listener(&mut to.listener));
        if let Some(media) = &mut self.media {
            media.session.local.iter_mut().for_each(|local| local.relocate(config));
        }
    }

    /// The request of leg A's INVITE, as long as it waits for a final response; or what stands for it.
    pub fn invite_request<'a>(&'a self, core: &'a Core) -> Option<&'a Message> {
        match &self.origin {
            Some(origin) => Some(&origin.invite),
            None => core.live.tx.server(self.invite).map(|entry| &entry.request),
        }
    }
}
