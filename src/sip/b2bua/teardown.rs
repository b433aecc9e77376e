//! How calls end: BYE, CANCEL, failures, time-outs, the operator. Slow-path thread.
//!
//! `end` does it all at once: media closed, record written, counted, the caller answered if it still waits, BYE or
//! CANCEL sent. What lingers after it are legs that wait for an ACK or for the response to our BYE.

use super::{
    ack,
    call::{Call, LegState, Phase},
    headers::{self, Crossing},
    media, transfer, unwanted,
};
use crate::{
    base::{Time, ids::Side},
    sip::{
        endpoint::{Cause, Core, EndedBy, Level, Refusal, Turn, Use},
        message::{HeaderName, Message, Method},
        transaction::ServerId,
    },
};

use serde::{Deserialize, Serialize};

/// Why and how a call ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    pub by: EndedBy,
    pub cause: Cause,
    /// What the caller gets if it still waits for a final response.
    pub status: u16,
    pub phrase: Option<String>,
    /// The Reason header that goes with BYE and CANCEL.
    pub reason: Option<String>,
    /// What goes with the response.
    pub headers: Vec<(HeaderName, String)>,
}

impl Ending {
    /// tandem's own decision.
    pub fn tandem(cause: Cause, status: u16) -> Ending {
        Ending { by: EndedBy::Tandem, cause, status, phrase: None, reason: None, headers: Vec::new() }
    }

    pub fn refused(refusal: Refusal) -> Ending {
        let Refusal { status, phrase, cause, headers } = refusal;
        Ending { phrase, headers, ..Ending::tandem(cause, status) }
    }

    /// A final response, passed on with its code, phrase and what `headers` lets pass.
    pub fn rejected(response: &Message, by: EndedBy, cause: Cause) -> Ending {
        let (status, phrase) = (response.status().unwrap_or(500), headers::phrase_of(response));
        let reason = headers::reason_of(response);
        Ending { by, cause, status, phrase, reason, headers: headers::passed_with(response) }
    }

    /// With what the crossing lets pass of the response that ended it.
    pub fn across(mut self, crossing: &Crossing<'_>, response: &Message) -> Ending {
        let status = crossing.status(response);
        if status != self.status {
            (self.status, self.phrase) = (status, None);
        }
        self.headers = crossing.response(response);
        self
    }

    /// A request of one side ended it.
    fn by_side(side: Side, cause: Cause, request: &Message) -> Ending {
        Ending { by: EndedBy::of(side), reason: headers::reason_of(request), ..Ending::tandem(cause, 487) }
    }

    pub fn with_reason(mut self, reason: &str) -> Ending {
        self.reason = Some(reason.to_owned());
        self
    }
}

/// Ends the call, if it has not ended yet.
pub fn end(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, ending: Ending) {
    if call.phase == Phase::Ended {
        return;
    }
    transfer::end(core, turn.now, call, &ending);
    let answered = call.phase == Phase::Answered;
    call.phase = Phase::Ended;
    call.refresh_at = None;
    for leg in std::iter::once(&mut call.a).chain(&mut call.b) {
        leg.timer = None;
        leg.reoffer = None;
    }
    call.targets.clear();
    core.live.active = core.live.active.saturating_sub(1);
    if let Some(report) = media::close(core, turn, call) {
        call.record.note_media(report);
    }
    record(core, turn, call, &ending, answered);
    drop_reinvite(core, turn.now, call, ending.reason.as_deref());
    if let Some(reliable) = &mut call.reliable {
        reliable.stop();
    }
    if !answered {
        refuse_caller(core, turn.now, call, &ending);
    }
    if let Some(held) = call.held.take() {
        // Leg B answered, and will not be connected.
        unwanted::refuse_fork(core, turn.now, held.client, &held.response, held.flow);
        call.attempt = None;
    }
    if let Some(attempt) = call.attempt.take() {
        let trunk = &attempt.destination.trunk;
        unwanted::give_up(core, turn.now, attempt.client, trunk, true, ending.reason.as_deref());
    }
    confirm_late(core, call);
    for side in Side::BOTH {
        hang_up(core, turn.now, call, side, ending.reason.as_deref());
    }
}

fn record(core: &mut Core, turn: &Turn<'_>, call: &mut Call, ending: &Ending, answered: bool) {
    if call.absorbed {
        return;
    }
    *core.counters.ended.entry(ending.cause).or_default() += 1;
    let record = &mut call.record;
    record.ringing_ms = call.rang.map(|at| core.clock.epoch_ms(at));
    record.answer_ms = call.answered.map(|at| core.clock.epoch_ms(at));
    record.end_ms = core.clock.epoch_ms(turn.now);
    let duration = call.answered.map(|at| turn.now - at).unwrap_or_default();
    record.duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    record.ended_by = ending.by;
    record.cause = ending.cause;
    record.status = if answered { 200 } else { ending.status };
    record.reason = ending.reason.clone().or(ending.phrase.clone());
    let record = call.record.clone();
    for mut carried in std::mem::take(&mut call.carried) {
        *core.counters.ended.entry(ending.cause).or_default() += 1;
        carried.end_ms = record.end_ms;
        carried.duration_ms = record.end_ms.saturating_sub(carried.answer_ms.unwrap_or(record.end_ms));
        (carried.ended_by, carried.cause, carried.status) = (record.ended_by, record.cause, record.status);
        carried.reason = record.reason.clone();
        core.write_record(carried);
    }
    let text = format!("call ended: {} {}", record.status, ending.cause.as_str());
    core.log(Level::Info, Some(call.id), Some(call.sip_call_id()), text);
    core.write_record(record);
}

fn refuse_caller(core: &mut Core, now: Time, call: &mut Call, ending: &Ending) {
    let refusal = Refusal {
        status: ending.status,
        phrase: ending.phrase.clone(),
        cause: ending.cause,
        headers: ending.headers.clone(),
    };
    let tag = call.a.dialog.local_tag().to_owned();
    core.refuse(now, call.invite, Some(&tag), &refusal);
    call.a.gone(core);
}

/// What is under way within the call ends with it: 487 to who sent it, CANCEL to who got it.
pub fn drop_reinvite(core: &mut Core, now: Time, call: &mut Call, reason: Option<&str>) {
    for side in Side::BOTH {
        let Some(leg) = call.leg_mut(side) else { continue };
        if let Some(refreshing) = leg.refreshing.take() {
            unwanted::give_up(core, now, refreshing.client, &leg.trunk, false, reason);
        }
    }
    let Some(reinvite) = call.reinvite.take() else { return };
    core.answer(now, reinvite.server, 487);
    let Some(leg) = call.leg(reinvite.from.other()) else { return };
    unwanted::give_up(core, now, reinvite.client, &leg.trunk, false, reason);
}

/// A 2xx that still waits for an ACK gets one; the answer it should carry will not come.
pub fn confirm_late(core: &mut Core, call: &mut Call) {
    for side in Side::BOTH {
        let late = call.leg_mut(side).and_then(|leg| leg.unacked.as_mut()).and_then(|unacked| unacked.late.take());
        if let Some(late) = late {
            ack::confirm(core, call, side.other(), late.client, late.seq, None);
        }
    }
}

/// Ends one leg, by what its state asks for.
fn hang_up(core: &mut Core, now: Time, call: &mut Call, side: Side, reason: Option<&str>) {
    let Some(leg) = call.leg_mut(side) else { return };
    match leg.state {
        LegState::Early => leg.gone(core),
        // RFC 3261 §15: who was called does not send BYE before the ACK.
        LegState::Confirmed if leg.unacked.is_some() => leg.state = LegState::ByeWaits(reason.map(str::to_owned)),
        LegState::Confirmed => send_bye(core, now, call, side, reason),
        LegState::ByeWaits(_) | LegState::ByeSent | LegState::Gone => {}
    }
}

pub fn send_bye(core: &mut Core, now: Time, call: &mut Call, side: Side, reason: Option<&str>) {
    let id = call.id;
    let Some(leg) = call.leg_mut(side) else { return };
    let mut bye = leg.dialog.request(Method::Bye);
    if let Some(reason) = reason {
        bye.headers.push(HeaderName::Reason, reason);
    }
    let path = core.path(&leg.dialog, &leg.trunk);
    match core.send(now, &leg.trunk, bye, path, 0, Use::Bye { call: id, to: side }) {
        Some(_) => leg.state = LegState::ByeSent,
        None => leg.gone(core),
    }
}

/// Our BYE was answered, or never will be: RFC 3261 §15.1.1, the dialog is over either way.
pub fn bye_done(core: &mut Core, call: &mut Call, side: Side) {
    if let Some(leg) = call.leg_mut(side) {
        leg.gone(core);
    }
}

/// A BYE from `side`, in its dialog.
pub fn bye_received(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    side: Side,
    server: ServerId,
    bye: &Message,
) {
    if side == Side::B && call.phase == Phase::Setup && call.held.take().is_some() {
        // It answered, and did not wait for the ACK.
        core.answer(turn.now, server, 200);
        call.attempt = None;
        return end(core, turn, call, Ending::tandem(Cause::NoAnswer, 480));
    }
    if side == Side::B && call.phase == Phase::Setup {
        // RFC 3261 §15: who was called must not send BYE in an early dialog.
        core.answer(turn.now, server, 481);
        return;
    }
    core.answer(turn.now, server, 200);
    if transfer::goes_on_without(core, turn, call, side) {
        return;
    }
    let cause = if call.phase == Phase::Setup { Cause::Cancelled } else { Cause::Hangup };
    if call.phase != Phase::Setup
        && let Some(leg) = call.leg_mut(side)
    {
        // Before `end`, so that no BYE goes back. A 2xx that waits for its ACK is not repeated any more.
        let late = leg.unacked.take().and_then(|u| u.late);
        leg.gone(core);
        if let Some(late) = late {
            ack::confirm(core, call, side.other(), late.client, late.seq, None);
        }
    }
    end(core, turn, call, Ending::by_side(side, cause, bye));
}

/// A CANCEL of leg A's INVITE.
pub fn cancelled(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, cancel: &Message) {
    if call.phase == Phase::Setup {
        end(core, turn, call, Ending::by_side(Side::A, Cause::Cancelled, cancel));
    }
}

/// `side` does not know the dialog any more: RFC 3261 §12.2.1.2, the call is over.
pub fn dialog_lost(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call) {
    end(core, turn, call, Ending::tandem(Cause::DialogLost, 481));
}
