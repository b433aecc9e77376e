//! Two calls exchange a leg each: the end of every transfer that tandem carries out. Slow-path thread.

use bytes::Bytes;

use super::{Call, Named, is_up, notify};
use crate::{
    base::{ids::Side, limits::TRANSFERS_PER_CALL},
    sip::{
        b2bua::{
            call::{LegState, Phase},
            media, refresh,
            session_timer::Refresher,
            teardown::{self, Ending},
        },
        endpoint::{CallId, Cause, Core, EndedBy, Level, Refusal, TransferKind, TransferRecord, Turn},
        sdp::{Joined, SdpAnchor},
    },
};

/// Leg `from` of `other` takes the place of `call`'s `side`; `other` ends, with the legs that are left to it.
pub struct Exchange<'a> {
    pub call: &'a mut Call,
    pub side: Side,
    pub other: &'a mut Call,
    pub from: Side,
    pub kind: TransferKind,
}

impl Exchange<'_> {
    /// What both sides will be told, if it is possible at all.
    pub fn plan(&self, core: &mut Core, new: &[u8]) -> Result<(SdpAnchor, Joined), Refusal> {
        media::join(core, self.call, self.side, self.other, self.from, new)
    }

    /// Carries it out. What was under way in either call is dropped: it was about somebody else.
    pub fn carry_out(self, core: &mut Core, turn: &mut Turn<'_>, new: &Bytes, plan: (SdpAnchor, Joined)) {
        let Exchange { call, side, other, from, kind } = self;
        let negotiated = call.reinvite.is_some() || other.reinvite.is_some();
        for call in [&mut *call, &mut *other] {
            teardown::drop_reinvite(core, turn.now, call, None);
            teardown::confirm_late(core, call);
        }
        let (anchor, joined) = plan;
        let report = other.media.as_ref().and_then(|media| turn.media.report(media.session.id));
        if let Some(report) = report.filter(|_| kind == TransferKind::Attended) {
            other.record.note_media(report);
        }
        media::exchange(turn, (call, side), (other, from), new, (anchor, &joined));
        if let (Some(ours), Some(theirs)) = (call.leg_mut(side), other.leg_mut(from)) {
            std::mem::swap(ours, theirs);
        }
        for (call, side) in [(&*call, side), (&*other, from)] {
            if let Some(leg) = call.leg(side).filter(|leg| leg.state != LegState::Gone) {
                core.live.dialogs.insert(leg.dialog.key(), (call.id, side));
            }
        }
        for side in Side::BOTH {
            let Some(leg) = call.leg_mut(side) else { continue };
            if joined.changed[side.index()] || negotiated {
                refresh::tell(turn.now, leg);
            }
            // A refresh that was dropped is made up for.
            if let Some(timer) = leg.timer.as_mut().filter(|timer| timer.refresher == Refresher::Us) {
                timer.refresh_at.get_or_insert(turn.now);
            }
        }
        record(core, turn, call, side, other, kind);
        call.passed.clear();
        other.origin = None;
        other.absorbed = true;
        other.phase = Phase::Answered;
        teardown::end(core, turn, other, Ending::tandem(Cause::Hangup, 200));
    }
}

fn record(core: &mut Core, turn: &Turn<'_>, call: &mut Call, side: Side, other: &mut Call, kind: TransferKind) {
    let at_ms = core.clock.epoch_ms(turn.now);
    let left = EndedBy::of(side);
    call.record.transfers.push(TransferRecord { at_ms, kind, left, with: other.id });
    let mut theirs = other.record.clone();
    theirs.joined = Some(call.id);
    theirs.ringing_ms = other.rang.map(|at| core.clock.epoch_ms(at));
    theirs.answer_ms = Some(other.answered.map_or(at_ms, |at| core.clock.epoch_ms(at)));
    call.carried.append(&mut other.carried);
    call.carried.push(theirs);
    let text = format!("transfer: the {} gives way to call {}", left_name(left), other.id);
    core.log(Level::Info, Some(call.id), Some(call.sip_call_id()), text);
}

fn left_name(left: EndedBy) -> &'static str {
    if left == EndedBy::Caller { "caller" } else { "callee" }
}

/// The target of `call`'s transfer has answered, in `target`.
pub fn target_answered(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, target: &mut Call) {
    let pending = call.transfer.as_ref().filter(|pending| pending.target == target.id).map(|pending| pending.side);
    let Some(side) = pending.filter(|_| call.phase == Phase::Answered && target.phase == Phase::Answered) else {
        return teardown::end(core, turn, target, Ending::tandem(Cause::Cancelled, 487));
    };
    let said = media::said(target, Side::B).unwrap_or_default();
    let exchange = Exchange { call, side, other: target, from: Side::B, kind: TransferKind::Blind };
    match exchange.plan(core, &said) {
        Ok(plan) => {
            succeed(core, turn, exchange.call);
            exchange.carry_out(core, turn, &said, plan);
        }
        // Its end says so to the call.
        Err(refusal) => teardown::end(core, turn, target, Ending::refused(refusal)),
    }
}

fn succeed(core: &mut Core, turn: &Turn<'_>, call: &mut Call) {
    notify::send(core, turn.now, call, 200);
    call.transfer = None;
}

/// The target of `call`'s transfer will not answer.
pub fn target_failed(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, target: CallId, status: u16) {
    let Some(side) = call.transfer.as_ref().filter(|p| p.target == target).map(|pending| pending.side) else { return };
    notify::send(core, turn.now, call, status);
    call.transfer = None;
    core.log(Level::Info, Some(call.id), Some(call.sip_call_id()), format!("transfer failed: {status}"));
    if call.leg(side).is_none_or(|leg| leg.state == LegState::Gone) {
        // The transferor did not wait, so nobody is left at that end.
        let ending = Ending { by: EndedBy::of(side), ..Ending::tandem(Cause::Hangup, 200) };
        teardown::end(core, turn, call, ending.with_reason(&format!("SIP;cause={status}")));
    }
}

/// RFC 5589 §7: the transferor, whose leg of `with` is named, brings both other sides together.
pub fn attended(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, with: &mut Call, named: &Named) {
    let Some(side) = call.transfer.as_ref().filter(|p| p.target == with.id).map(|pending| pending.side) else { return };
    let its = named.replaced();
    let trunks = [call.leg(side), with.leg(its)].map(|leg| leg.map(|leg| leg.trunk.as_str()));
    let allowed = trunks[0] == trunks[1]
        || trunks[1].is_some_and(|trunk| super::policy(core, trunk) == crate::config::Transfer::Local);
    // RFC 3891 §3: a dialog that is not confirmed is not replaced where its other end was called.
    if !named.is_of(with) || !is_up(call) || !is_up(with) || with.transfer.is_some() {
        return target_failed(core, turn, call, with.id, 481);
    }
    if !allowed || call.carried.len() + with.carried.len() >= TRANSFERS_PER_CALL {
        return target_failed(core, turn, call, with.id, 603);
    }
    let from = its.other();
    let said = media::said(with, from).unwrap_or_default();
    let exchange = Exchange { call, side, other: with, from, kind: TransferKind::Attended };
    match exchange.plan(core, &said) {
        Ok(plan) => {
            succeed(core, turn, exchange.call);
            exchange.carry_out(core, turn, &said, plan);
        }
        Err(refusal) => target_failed(core, turn, exchange.call, exchange.other.id, refusal.status),
    }
}
