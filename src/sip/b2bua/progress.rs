//! Responses to the INVITE of leg B, up to the answer. Slow-path thread.
//!
//! The called side may fork: each fork is an early dialog of its own on leg B, and all of them are one early dialog
//! towards the caller. Its media follows the fork that sent a description last; the first 2xx decides.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    ack, attempt,
    call::{Call, Late, LegState, Phase},
    headers::{self, Crossing},
    media,
    prack::{self, Order},
    reliable::{self, Carries, Couple},
    session_timer,
    teardown::{self, Ending},
    transfer, unwanted,
};
use crate::{
    base::ids::Side,
    control,
    sip::{
        dialog::Dialog,
        endpoint::{Cause, Core, Level, SDP, Turn},
        flow::Flow,
        message::{HeaderName, Message},
        transaction::ClientId,
    },
};

/// RFC 3261 §13.3.1.1: proxies on the way give up after three minutes without a provisional response.
const REFRESH: Duration = Duration::from_secs(60);

/// A 2xx of leg B that waits until the caller has acknowledged a description (RFC 3262 §3).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held {
    pub client: ClientId,
    pub response: Message,
    pub flow: Flow,
}

/// A response to the INVITE `client`, which belongs to this call's set-up.
pub fn response(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    client: ClientId,
    response: &Message,
    flow: Flow,
) {
    let status = response.status().unwrap_or(0);
    if call.attempt.as_ref().is_none_or(|attempt| attempt.client != client) {
        let ours = call.b.as_ref().and_then(|leg| leg.dialog.remote_tag());
        after_answer(core, turn, ours, client, response, flow);
        return;
    }
    if let Some(held) = &call.held {
        let ours = held.response.to().ok();
        after_answer(core, turn, ours.as_ref().and_then(|to| to.tag()), client, response, flow);
        return;
    }
    match status {
        100..=199 => provisional(core, turn, call, client, response, flow),
        200..=299 if call.reliable.as_ref().is_some_and(|reliable| reliable.holds_answer()) => {
            call.held = Some(Box::new(Held { client, response: response.clone(), flow }));
        }
        200..=299 => answered(core, turn, call, client, response, flow),
        _ => attempt::rejected(core, turn, call, response),
    }
}

/// The caller has acknowledged what held the 2xx back.
pub fn release(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call) {
    if let Some(held) = call.held.take() {
        let Held { client, response, flow } = *held;
        answered(core, turn, call, client, &response, flow);
    }
}

/// RFC 3261 §13.2.2.4: each further 2xx with another tag is a dialog of its own; tandem keeps the first.
fn after_answer(
    core: &mut Core,
    turn: &Turn<'_>,
    ours: Option<&str>,
    client: ClientId,
    response: &Message,
    flow: Flow,
) {
    let tag = response.to().ok().and_then(|to| to.tag().map(str::to_owned));
    if response.status().is_some_and(|s| (200..300).contains(&s)) && tag.as_deref() != ours {
        unwanted::refuse_fork(core, turn.now, client, response, flow);
    }
}

fn provisional(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    client: ClientId,
    response: &Message,
    flow: Flow,
) {
    if let Some(attempt) = &mut call.attempt {
        attempt.no_reply_at = None;
    }
    if response.status() == Some(100) {
        return;
    }
    let Some((order, tag)) = note(core, call, client, response, flow) else { return };
    let Some((carries, body)) = describe(core, turn, call, response, order, tag.as_deref()) else { return };
    if carries == Carries::Answer {
        media::phase(turn, call, control::Phase::Early);
    }
    if call.rang.is_none() {
        call.rang = Some(turn.now);
        core.counters.ringing.note(turn.now - call.started);
    }
    call.refresh_at = Some(turn.now + REFRESH);
    let seq = core.live.tx.client(client).and_then(|entry| entry.request.cseq().ok()).map_or(0, |cseq| cseq.seq);
    let couple = match (order, tag) {
        (Order::Next(rseq), Some(tag)) => Some(Couple { tag, rseq, seq }),
        _ => None,
    };
    if call.origin.is_some() {
        transfer::rings(core, call, response);
        if let Some(couple) = couple {
            prack::send(core, turn.now, call, &couple, None);
        }
        return;
    }
    let Some(passed) = to_caller(core, call, response, body) else { return };
    let reliably = |required| required || carries != Carries::Nothing || couple.is_some();
    if call.reliable.as_ref().is_some_and(|reliable| reliably(reliable.required)) {
        let (waits, now) = if carries == Carries::Nothing { (None, couple) } else { (couple, None) };
        reliable::provisional(core, turn.now, call, passed, carries, waits);
        if let Some(couple) = now {
            prack::send(core, turn.now, call, &couple, None);
        }
    } else {
        core.respond(turn.now, call.invite, &passed);
        if let Some(couple) = couple {
            prack::send(core, turn.now, call, &couple, None);
        }
    }
}

/// Which fork says it, and where it stands among that fork's responses. None: it is a repetition, or out of order.
fn note(
    core: &Core,
    call: &mut Call,
    client: ClientId,
    response: &Message,
    flow: Flow,
) -> Option<(Order, Option<String>)> {
    let tag = response.to().ok().and_then(|to| to.tag().map(str::to_owned));
    let leg = call.b.as_mut()?;
    if tag.is_some() {
        leg.establish(response, flow, fresh_dialog(core, client, flow))?;
    }
    let peer = match &tag {
        Some(tag) => leg.with_tag(Some(tag))?.1,
        None => &mut leg.peer,
    };
    let order = prack::order(peer, response);
    (order != Order::Discard).then_some((order, tag))
}

/// The dialog of our INVITE before any response.
fn fresh_dialog(core: &Core, client: ClientId, flow: Flow) -> Option<Dialog> {
    let request = &core.live.tx.client(client)?.request;
    let (local, remote, seq) = (request.from().ok()?, request.to().ok()?, request.cseq().ok()?.seq);
    Some(Dialog::calling(request.call_id()?, local, remote, seq, flow))
}

/// What the response's description is, and what the caller gets of it. None: an offer that cannot be answered; it is
/// not acknowledged, and the fork gives up.
fn describe(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    response: &Message,
    order: Order,
    tag: Option<&str>,
) -> Option<(Carries, Option<Bytes>)> {
    let said = media::sdp_of(response);
    let reliable = matches!(order, Order::Next(_));
    let renegotiated = media::is_renegotiated(call);
    let caller_can_answer = call.reliable.as_ref().is_some_and(|reliable| reliable.told.is_none());
    let late = call.late;
    let leg = call.b.as_mut()?;
    if let Some(tag) = tag.filter(|_| said.is_some() || leg.peer.description.is_none()) {
        leg.lead(tag);
    }
    let Some(mut said) = said else { return Some((Carries::Nothing, None)) };
    if leg.peer.agreed {
        // RFC 3261 §13.2.1: once its answer came reliably, a fork's later descriptions do not count; but it is heard again.
        said = leg.peer.description.clone()?;
        if late || media::is_in_force(call, Side::B, &said) {
            return Some((Carries::Nothing, None));
        }
    } else if !late {
        leg.peer.description = Some(said.clone());
        leg.peer.agreed = reliable;
    }
    if !late {
        let passed = if renegotiated { None } else { media::pass_answer(core, turn, call, Side::A, &said).ok() };
        return Some(passed.map_or((Carries::Nothing, None), |passed| (Carries::Answer, Some(passed))));
    }
    let leg = call.b.as_mut()?;
    // Without an offer in the INVITE, only a reliable provisional response may carry one (RFC 3261 §13.2.1).
    if !reliable || leg.peer.description.is_some() {
        return Some((Carries::Nothing, None));
    }
    if !caller_can_answer {
        return None;
    }
    leg.peer.description = Some(said.clone());
    let trunk = call.a.trunk.clone();
    let passed = media::pass_offer(core, call, Side::B, &said, &trunk).ok()?;
    Some((Carries::Offer, Some(passed)))
}

/// A response for leg A with the status, phrase and user's headers of leg B's.
fn to_caller(core: &Core, call: &Call, response: &Message, body: Option<Bytes>) -> Option<Message> {
    let phrase = headers::phrase_of(response).unwrap_or_default();
    let mut passed = core.response(call.invite, response.status()?, &phrase, call.a.dialog.local_tag())?;
    dialog_headers(core, call, &mut passed);
    headers::push(Crossing::of_call(core, call, Side::B).response(response), &mut passed);
    if let Some(body) = body {
        passed.headers.push(HeaderName::ContentType, SDP);
        passed.body = body;
    }
    Some(passed)
}

/// RFC 3261 §12.1.1: what makes a response begin a dialog.
fn dialog_headers(core: &Core, call: &Call, response: &mut Message) {
    if let Some(request) = call.invite_request(core) {
        headers::copy(request, response, vec![HeaderName::RecordRoute]);
    }
    response.headers.push(HeaderName::Contact, core.contact(call.a.dialog.source.local, call.a.dialog.is_secure()));
    core.capabilities(&call.a.trunk, response);
}

/// The first 2xx: the call is answered.
fn answered(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, client: ClientId, response: &Message, flow: Flow) {
    let Some(attempt) = call.attempt.take() else { return };
    if let Some(reliable) = &mut call.reliable {
        // What was still in line does not go out: the 2xx says it.
        reliable.stop();
    }
    let fresh = fresh_dialog(core, client, flow);
    let Some(leg) = &mut call.b else { return };
    if let Some(tag) = response.to().ok().as_ref().and_then(|to| to.tag()) {
        if leg.establish(response, flow, fresh.clone()).is_none() {
            // A fork too many counts all the same, now that it answered.
            leg.forks.clear();
            leg.establish(response, flow, fresh);
        }
        leg.lead(tag);
    } else {
        leg.dialog.establish(response, flow);
    }
    leg.forks.clear();
    leg.state = LegState::Confirmed;
    let policy = session_timer::policy(core, &leg.trunk);
    session_timer::settled(policy, turn.now, leg, response);
    // RFC 3261 §13.2.2.4: the ACK has the INVITE's number; an INFO in early media may have raised the dialog's since.
    let invite = core.live.tx.client(client).and_then(|entry| entry.request.cseq().ok());
    let seq = invite.map_or(leg.dialog.local_seq(), |cseq| cseq.seq);
    if let Some(record) = call.record.attempts.last_mut() {
        record.status = response.status();
    }
    call.record.trunk_b = Some(attempt.destination.trunk.clone());
    call.record.destination = Some(attempt.destination.uri.clone());
    call.record.call_id_b = Some(leg.dialog.call_id.clone());
    let Some(body) = body_for_caller(core, turn, call, response) else {
        // What cannot be used must still be acknowledged; then it is hung up (RFC 3261 §13.2.2.4).
        ack::confirm(core, call, Side::B, client, seq, None);
        teardown::end(core, turn, call, Ending::tandem(Cause::BadAnswer, 502));
        return;
    };
    let late = if call.late && !call.a.peer.agreed {
        // The answer to leg B's offer comes in leg A's ACK.
        Some(Late { client, seq })
    } else {
        ack::confirm(core, call, Side::B, client, seq, None);
        None
    };
    call.phase = Phase::Answered;
    call.answered = Some(turn.now);
    call.refresh_at = None;
    core.counters.answered += 1;
    core.counters.setup.note(turn.now - call.started);
    media::phase(turn, call, control::Phase::Confirmed);
    let text = format!("answered by {}", attempt.destination.uri);
    core.log(Level::Info, Some(call.id), Some(call.sip_call_id()), text);
    if call.origin.is_some() {
        return transfer::answered(core, call);
    }
    if let Some(mut passed) = to_caller(core, call, response, body) {
        let policy = session_timer::policy(core, &call.a.trunk);
        if let Some(request) = core.live.tx.server(call.invite).map(|entry| &entry.request) {
            session_timer::settle(policy, turn.now, &mut call.a, request, &mut passed);
        }
        call.a.state = LegState::Confirmed;
        let server = call.invite;
        ack::accept(core, turn, call, Side::A, server, &passed, late);
    }
}

/// The session description for leg A: leg B's answer or, if leg A offered nothing, its offer. Some(None): leg A needs none
/// any more. None: there is none, or none that can be used.
fn body_for_caller(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, response: &Message) -> Option<Option<Bytes>> {
    let settled = call.a.peer.agreed && (call.late || media::is_renegotiated(call));
    if settled {
        return Some(None);
    }
    let peer = &call.b.as_ref()?.peer;
    // A provisional response may have brought it, and the 2xx not repeat it as it should have.
    let earlier = || peer.description.clone().or_else(|| media::said(call, Side::B));
    let said = if peer.agreed { earlier() } else { media::sdp_of(response).or_else(earlier) }?;
    if call.late {
        let trunk = call.a.trunk.clone();
        return media::pass_offer(core, call, Side::B, &said, &trunk).ok().map(Some);
    }
    let passed = media::pass_answer(core, turn, call, Side::A, &said).ok()?;
    // RFC 3262 §5, RFC 6337 §2.1: a caller that has acknowledged an answer is not told again, but for another fork's.
    let told = call.reliable.as_ref().and_then(|reliable| reliable.told.as_ref());
    Some((told != Some(&passed)).then_some(passed))
}
