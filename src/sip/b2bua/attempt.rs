//! One destination after the other: the INVITE of leg B, and what makes tandem pass on to the next. Slow-path thread.
//!
//! The next one is tried after 503, after a transport error, when nothing at all came within `trunk.no_reply_ms` (or by
//! timer B), and when no final answer came within `sip.ring_s`. Any other final response is the called side's answer.

use std::time::Duration;

use bytes::Bytes;

use super::{
    call::{Attempt, Call, Leg, Phase},
    headers, media,
    teardown::{self, Ending},
    unwanted,
};
use crate::{
    base::ids::Side,
    sip::{
        dialog::Dialog,
        endpoint::{ALLOW, AttemptRecord, Cause, Core, EndedBy, Level, Refusal, SDP, Turn, Use},
        flow::{Flow, Path},
        message::{CSeq, HeaderName, Host, Message, Method, NameAddr, Uri, escape_user},
        route::{Destination, called_number},
    },
};

/// Tries the next destination; ends the call if there is none. A destination whose media addresses are used up is
/// passed over: another's may have room.
pub fn next(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call) {
    while let Some(destination) = call.targets.pop_front() {
        match start(core, turn, call, destination) {
            Ok(()) => return,
            Err(refusal) if refusal.cause == Cause::NoMedia => call.failure = Some(Ending::refused(refusal)),
            Err(refusal) => return teardown::end(core, turn, call, Ending::refused(refusal)),
        }
    }
    let failure = call.failure.take();
    teardown::end(core, turn, call, failure.unwrap_or(Ending::tandem(Cause::Unavailable, 503)));
}

fn start(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, destination: Destination) -> Result<(), Refusal> {
    media::open(core, turn, call, &destination)?;
    let offer = match call.invite_request(core).map(|request| request.body.clone()) {
        Some(body) if !body.is_empty() => Some(media::pass_offer(core, call, Side::A, &body, &destination.trunk)?),
        _ => None,
    };
    let unavailable = || Refusal::new(503, Cause::Unavailable);
    let (invite, dialog) = build_invite(core, call, &destination, offer).ok_or_else(unavailable)?;
    let flow = Flow {
        local: destination.listener,
        transport: destination.transport,
        remote: destination.remote,
        connection: None,
    };
    let record = AttemptRecord {
        trunk: destination.trunk.clone(),
        destination: destination.uri.clone(),
        call_id: dialog.call_id.clone(),
        at_ms: core.clock.epoch_ms(turn.now),
        status: None,
    };
    let mark = Core::mark(&call.record.called, &invite);
    let purpose = Use::Setup { call: call.id, trunk: destination.trunk.clone() };
    let client = core.send(turn.now, invite, Path::direct(flow), mark, purpose).ok_or_else(unavailable)?;
    core.live.dialogs.insert(dialog.key(), (call.id, Side::B));
    let text = format!("trying {} ({})", destination.uri, destination.trunk);
    core.log(Level::Info, Some(call.id), Some(call.sip_call_id()), text);
    call.record.attempts.push(record);
    call.b = Some(Leg::new(dialog, &destination.trunk));
    let no_reply_ms = trunk_of(core, &destination.trunk).map_or(4_000, |t| t.no_reply_ms);
    call.attempt = Some(Attempt {
        client,
        destination,
        no_reply_at: Some(turn.now + Duration::from_millis(u64::from(no_reply_ms))),
        ring_until: turn.now + Duration::from_secs(u64::from(core.config.sip.ring_s)),
    });
    Ok(())
}

pub fn trunk_of<'a>(core: &'a Core, name: &str) -> Option<&'a crate::config::Trunk> {
    core.config.trunks.get(usize::from(core.routing.trunk(name)?.0))
}

/// The INVITE of leg B: nothing of leg A's hops, its own Call-ID and tags, what `headers` lets pass.
fn build_invite(
    core: &mut Core,
    call: &Call,
    destination: &Destination,
    offer: Option<Bytes>,
) -> Option<(Message, Dialog)> {
    let (tag, call_id) = (core.random.token(), core.random.token());
    let local = core.local(destination.listener)?;
    let request = call.invite_request(core)?;
    let target = called_uri(request.uri()?, destination)?;
    let caller = request.from().ok()?;
    let user = caller.uri.called().map(|user| if caller.uri.scheme.is_sip() { user.into() } else { escape_user(user) });
    let mut from = NameAddr::new(Uri::sip(user.as_deref(), Host::Ip(local.told), None));
    from.display = caller.display;
    from.set_tag(&tag);
    let to = NameAddr::new(Uri::sip(target.user.as_deref(), target.host.clone(), None));
    let mut invite = Message::request(Method::Invite, target);
    let forwards = request.max_forwards().unwrap_or(70).saturating_sub(1);
    let lines = &mut invite.headers;
    lines.push(HeaderName::MaxForwards, forwards.to_string());
    lines.push(HeaderName::From, from.to_string());
    lines.push(HeaderName::To, to.to_string());
    lines.push(HeaderName::CallId, call_id.as_str());
    lines.push(HeaderName::CSeq, CSeq { seq: 1, method: Method::Invite }.to_string());
    lines.push(HeaderName::Contact, core.contact(destination.listener));
    lines.push(HeaderName::Allow, ALLOW);
    headers::copy(request, &mut invite, headers::of_invite());
    if let Some(offer) = offer {
        invite.headers.push(HeaderName::ContentType, SDP);
        invite.body = offer;
    }
    let flow = Flow {
        local: destination.listener,
        transport: destination.transport,
        remote: destination.remote,
        connection: None,
    };
    Some((invite, Dialog::calling(&call_id, from, to, 1, flow)))
}

/// The number called, at the destination.
fn called_uri(asked: &Uri, destination: &Destination) -> Option<Uri> {
    let mut uri = Uri::parse(&destination.uri).ok()?;
    uri.user = if asked.scheme.is_sip() {
        asked.user.clone()
    } else {
        Some(called_number(asked)).filter(|n| !n.is_empty()).map(|n| escape_user(&n))
    };
    if let Some(user) = asked.params.get("user") {
        uri.params.set("user", user);
    }
    Some(uri)
}

/// The attempt came to nothing.
pub fn failed(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, ending: Ending, try_next: bool) {
    call.attempt = None;
    if let Some(record) = call.record.attempts.last_mut() {
        record.status = Some(ending.status);
    }
    if let Some(mut leg) = call.b.take() {
        leg.gone(core);
    }
    if try_next && call.phase == Phase::Setup {
        let text = format!("destination failed: {} {}", ending.status, ending.cause.as_str());
        core.log(Level::Info, Some(call.id), Some(call.sip_call_id()), text);
        call.failure = Some(ending);
        next(core, turn, call);
    } else {
        teardown::end(core, turn, call, ending);
    }
}

/// The INVITE got no response (timer B), or could not be delivered.
pub fn unanswered(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, transport: bool) {
    // RFC 3261 §8.1.3.1: as if 408 or 503 had come.
    let (cause, status) = if transport { (Cause::Unavailable, 503) } else { (Cause::NoReply, 408) };
    failed(core, turn, call, Ending::tandem(cause, status), true);
}

/// Lets the attempt's timers fire.
pub fn fire(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call) {
    let Some(attempt) = &call.attempt else { return };
    let silent = attempt.no_reply_at.is_some_and(|at| at <= turn.now);
    if !silent && attempt.ring_until > turn.now {
        return;
    }
    let cause = if silent { Cause::NoReply } else { Cause::NoAnswer };
    unwanted::give_up(core, turn.now, attempt.client, &attempt.destination.trunk, true, Some("SIP;cause=408"));
    failed(core, turn, call, Ending::tandem(cause, 408), true);
}

/// A final response that is no 2xx.
pub fn rejected(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, response: &Message) {
    let ending = Ending::rejected(response, EndedBy::Callee, Cause::Rejected);
    let unavailable = ending.status == 503;
    let ending = if unavailable { Ending { cause: Cause::Unavailable, ..ending } } else { ending };
    failed(core, turn, call, ending, unavailable);
}
