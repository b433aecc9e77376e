//! INVITEs within an answered call: hold, resume, another codec, another address. Slow-path thread.
//!
//! One at a time and to the end: the request goes to the other leg with its session description rewritten, and so does
//! the response. Unless that is a 2xx, the session stays as it was.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    ack,
    call::{Call, Late, LegState, Phase},
    headers, media, setup,
    teardown::{self, Ending},
    unwanted,
};
use crate::{
    base::{Time, ids::Side},
    sip::{
        endpoint::{ALLOW, Cause, Core, EndedBy, Refusal, SDP, Turn, Use},
        flow::Flow,
        message::{HeaderName, Message, Method, Start},
        transaction::{ClientId, ServerId},
    },
};

/// A re-INVITE under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reinvite {
    /// Who sent it.
    pub from: Side,
    pub server: ServerId,
    /// The one we sent to the other side, and its CSeq number.
    pub client: ClientId,
    pub seq: u32,
    /// It carried no offer.
    pub late: bool,
    /// Nobody waits for it; the CANCEL goes out after a provisional response. Who sent it gets this status if the
    /// other side says nothing to that.
    pub cancelled: Option<u16>,
    pub cancel_sent: bool,
    /// It is cancelled then; once cancelled, forgotten.
    pub give_up: Time,
}

/// A re-INVITE from `side`.
pub fn incoming(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    side: Side,
    server: ServerId,
    request: &Message,
) {
    if let Err(refusal) = begin(core, turn, call, side, server, request) {
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
    may_begin(core, call, side)?;
    setup::check_body(request)?;
    if request.max_forwards() == Some(0) {
        return Err(Refusal::new(483, Cause::BadRequest));
    }
    let other = side.other();
    let lost = || Refusal::new(481, Cause::DialogLost);
    let trunk = call.leg(other).ok_or_else(lost)?.trunk.clone();
    let late = request.body.is_empty();
    let offer = if late { None } else { Some(media::pass_offer(core, call, side, &request.body, &trunk)?) };
    if let Some(trying) = core.response(server, 100, "", "") {
        core.respond(turn.now, server, &trying);
    }
    let id = call.id;
    let leg = call.leg_mut(other).ok_or_else(lost)?;
    let mut invite = leg.dialog.request(Method::Invite);
    let seq = leg.dialog.local_seq();
    let path = core.path(&leg.dialog, &leg.trunk);
    invite.headers.push(HeaderName::Contact, core.contact(path.flow.local));
    invite.headers.push(HeaderName::Allow, ALLOW);
    put_body(&mut invite, offer);
    let purpose = Use::Reinvite { call: id, to: other };
    let client = core.send(turn.now, invite, path, 0, purpose).ok_or_else(lost)?;
    let give_up = turn.now + Duration::from_secs(u64::from(core.config.sip.ring_s));
    call.reinvite =
        Some(Reinvite { from: side, server, client, seq, late, cancelled: None, cancel_sent: false, give_up });
    Ok(())
}

/// RFC 3261 §14.2, and §14.1 for the one we would have to send.
fn may_begin(core: &mut Core, call: &Call, side: Side) -> Result<(), Refusal> {
    let glare = Refusal::new(491, Cause::BadRequest);
    if call.phase == Phase::Setup {
        // Leg A's own INVITE has no final response yet; leg B must not send one before its 2xx.
        return Err(if side == Side::A { wait(core) } else { glare });
    }
    let confirmed = |side| call.leg(side).is_some_and(|leg| leg.state == LegState::Confirmed);
    if call.phase == Phase::Ended || !confirmed(Side::A) || !confirmed(Side::B) {
        return Err(Refusal::new(481, Cause::DialogLost));
    }
    match &call.reinvite {
        Some(pending) if pending.from == side => return Err(wait(core)),
        Some(_) => return Err(glare),
        None => {}
    }
    let unacked = |side| call.leg(side).is_some_and(|leg| leg.unacked.is_some());
    if unacked(side) || unacked(side.other()) { Err(glare) } else { Ok(()) }
}

/// RFC 3261 §14.2: an INVITE while the last one of the same side is not answered.
fn wait(core: &mut Core) -> Refusal {
    Refusal::new(500, Cause::BadRequest).with(HeaderName::RetryAfter, core.random.below(11).to_string())
}

fn put_body(message: &mut Message, body: Option<Bytes>) {
    if let Some(body) = body {
        message.headers.push(HeaderName::ContentType, SDP);
        message.body = body;
    }
}

/// A response to the re-INVITE that we sent.
pub fn response(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    client: ClientId,
    response: &Message,
    flow: Flow,
) {
    let Some(mut reinvite) = call.reinvite.take_if(|reinvite| reinvite.client == client) else { return };
    match response.status().unwrap_or(0) {
        100..=199 => {
            send_cancel(core, turn, &mut reinvite);
            call.reinvite = Some(reinvite);
        }
        200..=299 => accepted(core, turn, call, reinvite, response, flow),
        status => {
            let ending = Ending::rejected(response, EndedBy::of(reinvite.from.other()), Cause::Rejected);
            refused(core, turn, &reinvite, &ending);
            if matches!(status, 408 | 481) {
                // RFC 3261 §12.2.1.2.
                teardown::dialog_lost(core, turn, call);
            }
        }
    }
}

/// RFC 3261 §9.1: once, and not before a provisional response.
fn send_cancel(core: &mut Core, turn: &Turn<'_>, reinvite: &mut Reinvite) {
    let proceeding = core.live.tx.client(reinvite.client).is_some_and(|entry| entry.proceeding());
    if reinvite.cancelled.is_some() && proceeding && !std::mem::replace(&mut reinvite.cancel_sent, true) {
        unwanted::cancel(core, turn.now, reinvite.client, None);
    }
}

fn accepted(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, reinvite: Reinvite, response: &Message, flow: Flow) {
    let (from, to) = (reinvite.from, reinvite.from.other());
    if let Some(leg) = call.leg_mut(to) {
        leg.dialog.refresh(response, flow);
    }
    let body = match media::sdp_of(response) {
        Some(offer) if reinvite.late => {
            let trunk = call.leg(from).map(|leg| leg.trunk.clone()).unwrap_or_default();
            media::pass_offer(core, call, to, &offer, &trunk).ok()
        }
        Some(answer) => media::pass_answer(core, turn, call, from, &answer).ok(),
        None => None,
    };
    let Some(body) = body else {
        // The other side has changed its session to what we cannot follow.
        ack::confirm(core, call, to, reinvite.client, reinvite.seq, None);
        refused(core, turn, &reinvite, &Ending::tandem(Cause::BadAnswer, 502));
        teardown::end(core, turn, call, Ending::tandem(Cause::BadAnswer, 502));
        return;
    };
    let late = if reinvite.late {
        Some(Late { client: reinvite.client, seq: reinvite.seq })
    } else {
        ack::confirm(core, call, to, reinvite.client, reinvite.seq, None);
        None
    };
    pass_acceptance(core, turn, call, &reinvite, response, body, late);
}

/// The 2xx for who sent the re-INVITE; its Contact counts from now on.
fn pass_acceptance(
    core: &mut Core,
    turn: &Turn<'_>,
    call: &mut Call,
    reinvite: &Reinvite,
    response: &Message,
    body: Bytes,
    late: Option<Late>,
) {
    let from = reinvite.from;
    let Some(request) = core.live.tx.server(reinvite.server).map(|entry| entry.request.clone()) else { return };
    let Some(leg) = call.leg_mut(from) else { return };
    let source = leg.dialog.source;
    leg.dialog.refresh(&request, source);
    let (status, phrase) = match &response.start {
        Start::Response { status, reason } => (*status, reason.as_str()),
        Start::Request { .. } => (200, ""),
    };
    let Some(mut passed) = core.response(reinvite.server, status, phrase, leg.dialog.local_tag()) else { return };
    passed.headers.push(HeaderName::Contact, core.contact(source.local));
    passed.headers.push(HeaderName::Allow, ALLOW);
    for (name, value) in headers::passed_with(response) {
        passed.headers.push(name, value);
    }
    put_body(&mut passed, Some(body));
    ack::accept(core, turn, call, from, reinvite.server, &passed, late);
}

/// The session stays as it was; who sent the re-INVITE is told why.
fn refused(core: &mut Core, turn: &Turn<'_>, reinvite: &Reinvite, ending: &Ending) {
    let refusal = Refusal {
        status: ending.status,
        phrase: ending.phrase.clone(),
        cause: ending.cause,
        headers: ending.headers.clone(),
    };
    core.refuse(turn.now, reinvite.server, None, &refusal);
}

/// No response came to our re-INVITE, or it could not be delivered.
pub fn unanswered(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, client: ClientId, transport: bool) {
    let Some(reinvite) = call.reinvite.take_if(|reinvite| reinvite.client == client) else { return };
    let status = if transport { 503 } else { 408 };
    refused(core, turn, &reinvite, &Ending::tandem(Cause::DialogLost, status));
    if !transport {
        // RFC 3261 §14.1: as if 408 had come.
        teardown::dialog_lost(core, turn, call);
    }
}

/// Who sent the re-INVITE cancels it. The other side decides: its 487 or, if the CANCEL crosses it, its 2xx is passed
/// on, so that both sides have the same session.
pub fn cancelled(core: &mut Core, turn: &Turn<'_>, call: &mut Call, server: ServerId, status: u16) {
    let give_up = turn.now + core.live.tx.timing().give_up();
    if let Some(reinvite) = call.reinvite.as_mut().filter(|r| r.server == server && r.cancelled.is_none()) {
        reinvite.cancelled = Some(status);
        reinvite.give_up = give_up;
        send_cancel(core, turn, reinvite);
    }
}

/// The time for a final response is over.
pub fn fire(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call) {
    let Some(reinvite) = call.reinvite.take_if(|reinvite| reinvite.give_up <= turn.now) else { return };
    if let Some(status) = reinvite.cancelled {
        core.live.tx.abandon(reinvite.client);
        refused(core, turn, &reinvite, &Ending::tandem(Cause::NoAnswer, status));
    } else {
        let server = reinvite.server;
        call.reinvite = Some(reinvite);
        cancelled(core, turn, call, server, 408);
    }
}
