//! Transfers: REFER (RFC 3515), Replaces (RFC 3891), as RFC 5589 puts them together. Slow-path thread; all state is
//! part of a call and saved with it.
//!
//! A call has two places, A and B, and each has one leg. A call whose legs change is two calls that exchange one leg
//! each, and nothing else (`join`):
//!
//! ```text
//!   call 1:  X ── T          call 1:  X ── Y
//!   call 2:  T ── Y    →     call 2:  T ── T     ends: both of T's legs get BYE
//! ```
//!
//! The media session of each call exchanges the same sides (`MediaControl::exchange`), so X and Y keep the ports of ours
//! that they know. Who has to hear something new of it (it was on hold, or used a codec that the other lacks) gets a
//! re-INVITE (`refresh::tell`), one side apart from the other. All transfers are this exchange, and differ in where call 2
//! comes from:
//!
//! | | call 2 | at the exchange |
//! |---|---|---|
//! | blind (`blind`) | one that tandem makes: leg A is nobody, leg B is called by the dial plan, with fail-over, limits, forks, timers of any call | once leg B answers |
//! | attended (`refer`) | the transferor's other call, which Replaces in Refer-To names | at once |
//! | INVITE with Replaces (`replace`) | the INVITE's; leg B is nobody | at once |
//!
//! While the target of a blind transfer is called, call 1 goes on as it was: it may be held, resumed, hung up. A
//! transferor that hangs up leaves (`goes_on_without`): X waits alone, and call 1 ends only if the target fails. Calls
//! are lent out one at a time, so what concerns two waits as a `Deferred` until the endpoint has put the first one back.
//!
//! A trunk with `transfer = "pass"` sends its REFER across instead (`pass`); then the other side makes the call.
//!
//! Always: at most one transfer of a call is under way; a failed one leaves both legs as they were; a call that
//! tandem makes ends if its transfer does; each call has one record, and that of a call whose leg went over is written
//! when the joined call ends.

mod blind;
mod join;
mod notify;
mod pass;
mod refer;
mod replace;
mod target;

use serde::{Deserialize, Serialize};

pub use super::call::Call;
use super::{
    attempt,
    call::{LegState, Phase},
    headers::Crossing,
    media,
    teardown::Ending,
};
use crate::{
    base::{Time, ids::Side},
    config::Transfer,
    sip::{
        endpoint::{CallId, Core, Turn},
        message::{HeaderName, Message},
        transaction::ServerId,
    },
};

pub use self::{
    blind::{answered, rings, told},
    join::{attended, target_answered, target_failed},
    notify::refused as notify_refused,
    pass::{PassedRefer, mapped, notify as pass_notify, refer as pass_refer},
    refer::incoming,
    replace::{begin as begin_replacing, replace},
    target::{Named, Replaces, named},
};

/// The option tags that come with it: RFC 3891, RFC 4488.
pub const REPLACES: &str = "replaces";
pub const NO_REFER_SUB: &str = "norefersub";

/// A REFER that is being carried out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// The transferor's.
    pub side: Side,
    /// The call that tandem makes to the target, or the transferor's other one.
    pub target: CallId,
    /// None: NOTIFYs were not asked for, or are not taken any more.
    pub subscription: Option<notify::Subscription>,
}

/// What a call of tandem's own is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The call whose side waits for it.
    pub of: CallId,
    /// The INVITE that the transferee might have sent.
    pub invite: Message,
    /// RFC 3892, of a transferor who is trusted.
    pub referred_by: Option<String>,
    /// Of a dialog that is not tandem's: whom the target is to let go of.
    pub replaces: Option<String>,
}

impl Origin {
    /// Completes the INVITE to the target.
    pub fn complete(&self, crossing: &Crossing<'_>, invite: &mut Message) {
        if let Some(by) = self.referred_by.as_ref().and_then(|by| crossing.referrer(by, &self.invite)) {
            invite.headers.push(HeaderName::ReferredBy, by);
        }
        if let Some(replaces) = &self.replaces {
            invite.headers.push(HeaderName::Replaces, replaces.as_str());
        }
    }
}

/// What concerns two calls, or one that is not at hand.
#[derive(Debug)]
pub enum Deferred {
    /// A call that tandem makes has begun.
    Begin(Box<Call>),
    /// It has a provisional response.
    Rings {
        of: CallId,
        target: CallId,
        status: u16,
    },
    Answered {
        of: CallId,
        target: CallId,
    },
    Failed {
        of: CallId,
        target: CallId,
        status: u16,
    },
    /// Nobody waits for it any more.
    Drop(CallId),
    /// The other side of the call that is named, the transferor's, takes the transferor's place in `of`.
    Attend {
        of: CallId,
        named: Named,
    },
    /// The caller of `by` takes the place of the leg that is named.
    Replace {
        by: Box<Call>,
        named: Named,
    },
    /// A REFER from `side` that is to be passed on.
    Pass {
        of: CallId,
        side: Side,
        server: ServerId,
    },
}

pub fn policy(core: &Core, trunk: &str) -> Transfer {
    attempt::trunk_of(core, trunk).map(|trunk| trunk.transfer).unwrap_or_default()
}

/// Both sides are there, and the call is answered.
fn is_up(call: &Call) -> bool {
    let confirmed = |side| call.leg(side).is_some_and(|leg| leg.state == LegState::Confirmed);
    call.phase == Phase::Answered && confirmed(Side::A) && confirmed(Side::B)
}

/// `side` is there alone: the transferor has left, and the target has not answered.
pub fn is_alone(call: &Call, side: Side) -> bool {
    let gone = |pending: &Pending| {
        pending.side != side && call.leg(pending.side).is_some_and(|leg| leg.state == LegState::Gone)
    };
    call.phase == Phase::Answered && call.transfer.as_deref().is_some_and(gone)
}

/// A BYE from `side`: a transferor may leave before the target has answered (RFC 5589 §6.1). True: the call goes on.
pub fn goes_on_without(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, side: Side) -> bool {
    let up = is_up(call);
    let Some(pending) = call.transfer.as_mut().filter(|pending| up && pending.side == side) else { return false };
    let Some(leg) = (match side {
        Side::A => Some(&mut call.a),
        Side::B => call.b.as_mut(),
    }) else {
        return false;
    };
    if let Some(subscription) = &mut pending.subscription {
        // RFC 5057 §4.1: the subscription is a usage of the dialog by itself.
        subscription.after = Some((leg.dialog.clone(), leg.trunk.clone()));
    }
    super::teardown::drop_reinvite(core, turn.now, call, None);
    super::teardown::confirm_late(core, call);
    if let Some(leg) = call.leg_mut(side) {
        leg.gone(core);
    }
    media::silence(turn, call, side);
    true
}

/// The call ends, whatever becomes of its transfer.
pub fn end(core: &mut Core, now: Time, call: &mut Call, ending: &Ending) {
    if let Some(target) = call.transfer.as_ref().map(|pending| pending.target) {
        // RFC 3515 §2.4.5: what became of it, as a status line.
        notify::send(core, now, call, 487);
        call.transfer = None;
        core.deferred.push_back(Deferred::Drop(target));
    }
    if let Some(origin) = call.origin.take() {
        core.deferred.push_back(Deferred::Failed { of: origin.of, target: call.id, status: ending.status });
    }
}
