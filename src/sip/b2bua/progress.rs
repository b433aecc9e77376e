//! Responses to the INVITE of leg B, up to the answer. Slow-path thread.

use std::time::Duration;

use bytes::Bytes;

use super::{
    ack, attempt,
    call::{Call, Late, LegState, Phase},
    headers, media,
    teardown::{self, Ending},
    unwanted,
};
use crate::{
    base::ids::Side,
    control,
    sip::{
        endpoint::{ALLOW, Cause, Core, Level, SDP, Turn},
        flow::Flow,
        message::{HeaderName, Message, Start},
        transaction::ClientId,
    },
};

/// RFC 3261 §13.3.1.1: proxies on the way give up after three minutes without a provisional response.
const REFRESH: Duration = Duration::from_secs(60);

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
        after_answer(core, turn, call, client, response, flow);
        return;
    }
    match status {
        100..=199 => provisional(core, turn, call, response, flow),
        200..=299 => answered(core, turn, call, client, response, flow),
        _ => attempt::rejected(core, turn, call, response),
    }
}

/// RFC 3261 §13.2.2.4: each further 2xx with another tag is a dialog of its own; tandem keeps the first.
fn after_answer(core: &mut Core, turn: &Turn<'_>, call: &Call, client: ClientId, response: &Message, flow: Flow) {
    let tag = response.to().ok().and_then(|to| to.tag().map(str::to_owned));
    let ours = call.b.as_ref().and_then(|leg| leg.dialog.remote_tag());
    if response.status().is_some_and(|s| (200..300).contains(&s)) && tag.as_deref() != ours {
        unwanted::refuse_fork(core, turn.now, client, response, flow);
    }
}

fn provisional(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, response: &Message, flow: Flow) {
    if let Some(attempt) = &mut call.attempt {
        attempt.no_reply_at = None;
    }
    if response.status() == Some(100) {
        return;
    }
    if let Some(leg) = &mut call.b
        && response.to().is_ok_and(|to| to.tag().is_some())
    {
        leg.dialog.establish(response, flow);
    }
    // Without an offer in the INVITE, only a reliable provisional response may carry one (RFC 3261 §13.2.1).
    let early = match media::sdp_of(response) {
        Some(answer) if !call.late => media::pass_answer(core, turn, call, Side::A, &answer).ok(),
        _ => None,
    };
    if early.is_some() {
        media::phase(turn, call, control::Phase::Early);
    }
    if call.rang.is_none() {
        call.rang = Some(turn.now);
        core.counters.ringing.note(turn.now - call.started);
    }
    call.refresh_at = Some(turn.now + REFRESH);
    if let Some(passed) = to_caller(core, call, response, early) {
        core.respond(turn.now, call.invite, &passed);
    }
}

/// A response for leg A with the status, phrase and user's headers of leg B's.
fn to_caller(core: &Core, call: &Call, response: &Message, body: Option<Bytes>) -> Option<Message> {
    let Start::Response { status, reason } = &response.start else { return None };
    let mut passed = core.response(call.invite, *status, reason, call.a.dialog.local_tag())?;
    dialog_headers(core, call, &mut passed);
    for (name, value) in headers::passed_with(response) {
        passed.headers.push(name, value);
    }
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
    response.headers.push(HeaderName::Contact, core.contact(call.a.dialog.source.local));
    response.headers.push(HeaderName::Allow, ALLOW);
}

/// The first 2xx: the call is answered.
fn answered(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, client: ClientId, response: &Message, flow: Flow) {
    let Some(attempt) = call.attempt.take() else { return };
    let Some(leg) = &mut call.b else { return };
    leg.dialog.establish(response, flow);
    leg.state = LegState::Confirmed;
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
    let late = if call.late {
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
    if let Some(passed) = to_caller(core, call, response, Some(body)) {
        call.a.state = LegState::Confirmed;
        let server = call.invite;
        ack::accept(core, turn, call, Side::A, server, &passed, late);
    }
}

/// The session description for leg A: leg B's answer or, if leg A offered nothing, its offer. None: there is none, or
/// none that can be used.
fn body_for_caller(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, response: &Message) -> Option<Bytes> {
    match media::sdp_of(response) {
        Some(offer) if call.late => {
            let trunk = call.a.trunk.clone();
            media::pass_offer(core, call, Side::B, &offer, &trunk).ok()
        }
        Some(answer) => media::pass_answer(core, turn, call, Side::A, &answer).ok(),
        // The answer already came with a provisional response, and was not repeated as it should have been.
        None => media::last_answer(call),
    }
}
