//! UPDATE (RFC 3311), in early and confirmed dialogs, and offers in a PRACK. Slow-path thread.
//!
//! Without a session description it concerns one leg only: its Contact and its session timer; tandem answers. With one
//! it crosses: as UPDATE where the other side takes UPDATE, in an answered call else as re-INVITE.

use super::{
    call::{Call, LegState, Phase},
    prack,
    reinvite::{self, Passage},
    reliable::Couple,
    session_timer, setup,
};
use crate::{
    base::ids::Side,
    sip::{
        endpoint::{Cause, Core, Refusal, Turn},
        message::{HeaderName, Message, Method},
        transaction::ServerId,
    },
};

/// An UPDATE from `side`.
pub fn incoming(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    side: Side,
    server: ServerId,
    request: &Message,
) {
    let done = begin(core, turn, call, side, server, request);
    if let Err(refusal) = done {
        core.refuse(turn.now, server, None, &refusal);
    }
}

fn begin(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    side: Side,
    server: ServerId,
    request: &Message,
) -> Result<(), Refusal> {
    setup::check_body(request)?;
    let alive = |leg: &super::call::Leg| matches!(leg.state, LegState::Early | LegState::Confirmed);
    let leg = call.leg_mut(side).filter(|leg| alive(leg)).ok_or(Refusal::new(481, Cause::DialogLost))?;
    session_timer::check(session_timer::policy(core, &leg.trunk), request)?;
    let tag = request.from().ok().and_then(|from| from.tag().map(str::to_owned));
    if let Some((_, peer)) = leg.with_tag(tag.as_deref()) {
        peer.note(request);
    }
    if call.phase == Phase::Ended {
        return Err(Refusal::new(481, Cause::DialogLost));
    }
    // RFC 3311 §5.2: the one before it is not answered yet.
    if call.reinvite.as_ref().is_some_and(|pending| pending.from == side && pending.asked == Method::Update) {
        return Err(reinvite::wait(core));
    }
    if request.body.is_empty() {
        reinvite::answer_here(core, turn, call, side, server, request, None);
        return Ok(());
    }
    if request.max_forwards() == Some(0) {
        return Err(Refusal::new(483, Cause::BadRequest));
    }
    may_offer(core, call, side, tag.as_deref())?;
    let sent = way(call, side.other())?;
    if let (Some(tag), Some(leg)) = (tag, call.leg_mut(side)) {
        // The media follows the fork that spoke last.
        leg.lead(&tag);
    }
    reinvite::cross(core, turn, call, Passage { from: side, server, asked: Method::Update, sent }, &request.body)
}

/// RFC 3311 §5.2: an offer while another is open. One of ours: 491; one of the peer's: 500.
fn may_offer(core: &mut Core, call: &mut Call, side: Side, tag: Option<&str>) -> Result<(), Refusal> {
    let glare = || Refusal::new(491, Cause::BadRequest);
    match &call.reinvite {
        Some(pending) if pending.from == side => return Err(reinvite::wait(core)),
        Some(_) => return Err(glare()),
        None => {}
    }
    let open = |side| {
        let leg = call.leg(side);
        leg.is_some_and(|leg| leg.refreshing.is_some() || leg.unacked.as_ref().is_some_and(|u| u.late.is_some()))
    };
    if open(Side::A) || open(Side::B) {
        return Err(glare());
    }
    if call.phase == Phase::Answered {
        return Ok(());
    }
    // The first offer and answer: leg A's INVITE has ours to come, leg B's has ours to answer; without an offer in the
    // INVITE it is the other way round.
    let agreed = call.leg_mut(side).and_then(|leg| leg.with_tag(tag)).is_some_and(|(_, peer)| peer.agreed);
    let theirs_is_open = (side == Side::A) != call.late;
    match (agreed, theirs_is_open) {
        (true, _) => Ok(()),
        (false, true) => Err(reinvite::wait(core)),
        (false, false) => Err(glare()),
    }
}

/// How an offer goes to `to`.
fn way(call: &Call, to: Side) -> Result<Method, Refusal> {
    let Some(leg) = call.leg(to) else { return Err(Refusal::new(481, Cause::DialogLost)) };
    let early = call.phase == Phase::Setup;
    if leg.state == LegState::Gone {
        return Err(Refusal::new(491, Cause::BadRequest));
    }
    // RFC 3261 §14.1: no INVITE while another one of that dialog is not done; and no other offer before the ACK says that
    // the answer arrived.
    if leg.unacked.is_some() {
        return Err(Refusal::new(491, Cause::BadRequest));
    }
    if leg.peer.update && (!early || leg.peer.agreed) {
        return Ok(Method::Update);
    }
    if early {
        // RFC 3311 §5.2: what cannot be done is refused; there is no other way to that side before the answer.
        let why = "399 tandem \"the other side takes no offer before the answer\"";
        return Err(Refusal::new(488, Cause::NotAcceptable).with(HeaderName::Warning, why));
    }
    Ok(Method::Invite)
}

/// An offer in the caller's PRACK (RFC 3262 §5), which has acknowledged the response that `couple` belongs to. It goes
/// on in leg B's PRACK where that is still to be sent, else in an UPDATE.
pub fn with_prack(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    server: ServerId,
    couple: Option<Couple>,
    request: &Message,
) {
    let passage = |sent| Passage { from: Side::A, server, asked: Method::Prack, sent };
    let free =
        setup::check_body(request).and_then(|()| may_offer(core, call, Side::A, request_tag(request).as_deref()));
    let done = match (free, &couple) {
        (Err(refusal), _) => Err(refusal),
        (Ok(()), Some(couple)) => {
            reinvite::cross_in_prack(core, turn, call, passage(Method::Prack), couple, &request.body)
        }
        (Ok(()), None) => way(call, Side::B).and_then(|sent| {
            let passage = passage(sent);
            reinvite::cross(core, turn, call, passage, &request.body)
        }),
    };
    if let Err(refusal) = done {
        // The response counts as acknowledged all the same, and so does leg B's.
        core.refuse(turn.now, server, None, &refusal);
        if let Some(couple) = couple {
            prack::send(core, turn.now, call, &couple, None);
        }
    }
}

fn request_tag(request: &Message) -> Option<String> {
    request.from().ok()?.tag().map(str::to_owned)
}
