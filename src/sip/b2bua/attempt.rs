//! One destination after the other: the INVITE of leg B, and what makes tandem pass on to the next. Slow-path thread.
//!
//! The next one is tried after 503, after a transport error, when nothing at all came within `trunk.no_reply_ms` (or by
//! timer B), and when no final answer came within `sip.ring_s`. Any other final response is the called side's answer.

use std::time::Duration;

use bytes::Bytes;

use super::{
    call::{Attempt, Call, Leg, Phase},
    headers::{self, Crossing},
    hiding, media, prack,
    session_timer::{self, SHORTEST_S},
    teardown::{self, Ending},
    unwanted,
};
use crate::{
    base::{Time, ids::Side},
    config::SessionTimerMode,
    sip::{
        dialog::Dialog,
        endpoint::{AttemptRecord, Cause, Core, EndedBy, Level, Refusal, SDP, Turn, Use},
        flow::{Flow, Path},
        message::{CSeq, HeaderName, Message, Method, NameAddr, Scheme, Uri, escape_user},
        route::{Destination, Numbers},
        trunk::{Direction, count, limits},
    },
};

/// Tries the next destination; ends the call if there is none. A destination whose media addresses are used up, and
/// every one of a trunk at its limit, is passed over: another's may have room.
pub fn next(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call) {
    // What failed before is no call of its trunk any more.
    count::note(&mut core.live.trunks, call);
    while let Some(destination) = call.targets.pop_front() {
        if let Err(refusal) = limits::admit(core, turn, &destination.trunk, Direction::Out) {
            call.targets.retain(|other| other.trunk != destination.trunk);
            call.failure.get_or_insert(Ending::refused(refusal));
            continue;
        }
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
    if let Some(request) = call.invite_request(core) {
        Crossing::new(core, &call.a.trunk, &destination.trunk, destination.listener).check_privacy(request)?;
    }
    media::open(core, turn, call, &destination.trunk)?;
    let offer = match call.invite_request(core).map(|request| request.body.clone()) {
        Some(body) if !body.is_empty() => Some(media::pass_offer(core, call, Side::A, &body, &destination.trunk)?),
        _ => None,
    };
    let unavailable = || Refusal::new(503, Cause::Unavailable);
    let written = Written::new(core, &call.numbers, &destination);
    let ids = Ids { tag: core.random.token(), call_id: core.random.token(), seq: 1, min_se_s: SHORTEST_S };
    let (invite, dialog) =
        build_invite(core, turn.now, call, &destination, &written, offer, &ids).ok_or_else(unavailable)?;
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
        called: written.called,
        calling: written.calling,
        at_ms: core.clock.epoch_ms(turn.now),
        status: None,
    };
    // Of what came in: should it come back with other numbers, it is another call until they repeat.
    let mark = call.invite_request(core).map_or(0, |request| Core::mark(&call.record.called, request));
    let purpose = Use::Setup { call: call.id, trunk: destination.trunk.clone() };
    let client =
        core.send(turn.now, &destination.trunk, invite, Path::direct(flow), mark, purpose).ok_or_else(unavailable)?;
    core.live.dialogs.insert(dialog.key(), (call.id, Side::B));
    let text = format!("trying {} ({})", destination.uri, destination.trunk);
    core.log(Level::Info, Some(call.id), Some(call.sip_call_id()), text);
    call.record.attempts.push(record);
    call.b = Some(Leg::calling(dialog, &destination.trunk, &destination.uri));
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

/// The numbers of a call as its destination's trunk wants them.
pub struct Written {
    pub called: String,
    pub calling: Option<String>,
}

impl Written {
    pub fn new(core: &Core, numbers: &Numbers, destination: &Destination) -> Written {
        let trunk = core.routing.trunk(&destination.trunk);
        let write = |number| trunk.map(|trunk| core.routing.written(number, trunk)).unwrap_or_default();
        Written { called: write(&numbers.called), calling: numbers.calling.as_ref().map(write) }
    }
}

/// What names an INVITE of leg B, and may have to be another in its second try.
struct Ids {
    tag: String,
    call_id: String,
    seq: u32,
    min_se_s: u32,
}

/// The INVITE of leg B: nothing of leg A's hops, its own Call-ID and tags, what `headers` lets pass.
fn build_invite(
    core: &Core,
    now: Time,
    call: &Call,
    destination: &Destination,
    written: &Written,
    offer: Option<Bytes>,
    ids: &Ids,
) -> Option<(Message, Dialog)> {
    let Ids { tag, call_id, seq, min_se_s } = ids;
    let request = call.invite_request(core)?;
    let target = called_uri(&call.numbers, request.uri()?, destination, written)?;
    let crossing = Crossing::new(core, &call.a.trunk, &destination.trunk, destination.listener);
    let mut from = calling_address(&call.numbers, request, crossing.caller(request)?, written)?;
    from.set_tag(tag);
    let mut to = NameAddr::new(Uri::sip(target.user.as_deref(), target.host.clone(), None));
    to.uri.scheme = target.scheme.clone();
    let secure = target.scheme == Scheme::Sips;
    note_user(&target, &mut to.uri);
    let mut invite = Message::request(Method::Invite, target);
    let forwards = request.max_forwards().unwrap_or(70).saturating_sub(1);
    let lines = &mut invite.headers;
    lines.push(HeaderName::MaxForwards, forwards.to_string());
    for route in core.live.registrations.routes(&destination.trunk, now) {
        lines.push(HeaderName::Route, route.to_string());
    }
    lines.push(HeaderName::From, from.to_string());
    lines.push(HeaderName::To, to.to_string());
    lines.push(HeaderName::CallId, call_id.as_str());
    lines.push(HeaderName::CSeq, CSeq { seq: *seq, method: Method::Invite }.to_string());
    lines.push(HeaderName::Contact, core.contact(destination.listener, secure));
    core.capabilities(&destination.trunk, &mut invite);
    session_timer::ask(session_timer::policy(core, &destination.trunk), None, *min_se_s, &mut invite);
    prack::ask(core, call, &destination.trunk, &mut invite);
    headers::push(crossing.request(request), &mut invite);
    if let Some(origin) = &call.origin {
        origin.complete(&crossing, &mut invite);
    }
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
    Some((invite, Dialog::calling(call_id, from, to, *seq, flow)))
}

/// RFC 4028 §7.3: the destination wants a longer session interval, and is asked again with it. False: it asks for no
/// more than it was offered.
fn ask_again(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, response: &Message) -> bool {
    let (Some(attempt), Some(leg)) = (&call.attempt, &call.b) else { return false };
    let policy = session_timer::policy(core, &leg.trunk);
    // Without a session interval of ours, a proxy on the way has put one in.
    let asked_s = if policy.mode == SessionTimerMode::Request { policy.expires_s } else { 0 };
    let Some(min_se_s) = session_timer::demanded(policy, asked_s.max(leg.min_se_s), response) else { return false };
    let destination = attempt.destination.clone();
    let ids = Ids {
        tag: leg.dialog.local_tag().to_owned(),
        call_id: leg.dialog.call_id.clone(),
        seq: leg.dialog.local_seq() + 1,
        min_se_s,
    };
    let offer = match call.invite_request(core).map(|request| request.body.clone()) {
        Some(body) if !body.is_empty() => media::pass_offer(core, call, Side::A, &body, &destination.trunk).ok(),
        _ => None,
    };
    let written = Written::new(core, &call.numbers, &destination);
    let Some((invite, dialog)) = build_invite(core, turn.now, call, &destination, &written, offer, &ids) else {
        return false;
    };
    let Some(mark) = call.invite_request(core).map(|request| Core::mark(&call.record.called, request)) else {
        return false;
    };
    let purpose = Use::Setup { call: call.id, trunk: destination.trunk.clone() };
    let path = Path::direct(dialog.source);
    let Some(client) = core.send(turn.now, &destination.trunk, invite, path, mark, purpose) else { return false };
    let mut leg = Leg::calling(dialog, &destination.trunk, &destination.uri);
    leg.min_se_s = min_se_s;
    call.b = Some(leg);
    if let Some(attempt) = &mut call.attempt {
        attempt.client = client;
    }
    true
}

/// The INVITE goes out again, with the number that is returned: whatever early dialogs the first one made have ended with
/// its final response (RFC 3261 §12.3), and the destination has as long to react as it had.
pub fn begin_again(core: &Core, now: Time, call: &mut Call, invite: &Message) -> Option<u32> {
    let leg = call.b.as_ref()?;
    let seq = leg.dialog.local_seq().checked_add(1)?;
    let (from, to) = (invite.from().ok()?, invite.to().ok()?);
    let dialog = Dialog::calling(&leg.dialog.call_id, from, to, seq, leg.dialog.source);
    let (trunk, place, min_se_s) = (leg.trunk.clone(), leg.place.clone(), leg.min_se_s);
    call.b = Some(Leg { min_se_s, place, ..Leg::new(dialog, &trunk) });
    let no_reply_ms = trunk_of(core, &trunk).map_or(4_000, |t| t.no_reply_ms);
    if let Some(attempt) = &mut call.attempt {
        attempt.no_reply_at = Some(now + Duration::from_millis(u64::from(no_reply_ms)));
    }
    Some(seq)
}

/// The number called, at the destination.
pub fn called_uri(numbers: &Numbers, asked: &Uri, destination: &Destination, written: &Written) -> Option<Uri> {
    let mut uri = Uri::parse(&destination.uri).ok()?;
    // RFC 3261 §26.2.2: sips stays sips, which says TLS by itself.
    if asked.scheme == Scheme::Sips {
        uri.scheme = Scheme::Sips;
        uri.params.remove("transport");
    }
    uri.user = numbers.called.user_part(asked, &written.called);
    note_user(asked, &mut uri);
    Some(uri)
}

/// The caller as the other side may see him, with his number as it wants it; who stays unknown has none.
pub fn calling_address(
    numbers: &Numbers,
    request: &Message,
    mut shown: NameAddr,
    written: &Written,
) -> Option<NameAddr> {
    if hiding::is_nowhere(&shown.uri.host) {
        return Some(shown);
    }
    let caller = request.from().ok()?;
    if let (Some(number), Some(written)) = (&numbers.calling, &written.calling) {
        // Of what was dialled, that which may be shown.
        let params = shown.uri.user.as_deref().and_then(|user| user.split_once(';')).map(|(_, params)| params);
        shown.uri.user = match params {
            _ if caller.uri.scheme.is_sip() => number.user_part(&shown.uri, written),
            Some(params) => Some(format!("{};{params}", escape_user(written))),
            None => Some(escape_user(written)),
        };
        // Many phones show their number as their name.
        if caller.display.as_ref() == Some(&number.dialled) {
            shown.display = Some(written.clone());
        }
    }
    note_user(&caller.uri, &mut shown.uri);
    Some(shown)
}

/// RFC 3261 §19.1.6: what the user part is goes along with it, and of a tel URI it is a telephone number.
fn note_user(asked: &Uri, uri: &mut Uri) {
    if let Some(user) = asked.params.get("user") {
        uri.params.set("user", user);
    } else if asked.scheme == Scheme::Tel && uri.user.is_some() {
        uri.params.set("user", Some("phone"));
    }
}

/// The attempt came to nothing.
pub fn failed(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, ending: Ending, try_next: bool) {
    if let Some(attempt) = call.attempt.take()
        && try_next
    {
        // RFC 3263 §4.3: the next server; this one is tried last for a while.
        core.names.failed(turn.now, attempt.destination.transport, attempt.destination.remote);
    }
    if let Some(record) = call.record.attempts.last_mut() {
        record.status = Some(ending.status);
    }
    if let Some(mut leg) = call.b.take() {
        leg.gone(core);
    }
    teardown::drop_reinvite(core, turn.now, call, None);
    // A caller that was told an offer by one destination cannot be told another's (RFC 3264 §4).
    let offered = call.late && call.reliable.as_ref().is_some_and(|reliable| reliable.told.is_some());
    if try_next && call.phase == Phase::Setup && !offered {
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
    let Some(attempt) = call.attempt.as_ref().filter(|_| call.held.is_none()) else { return };
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
    if ask_again(core, turn, call, response) {
        return;
    }
    let crossing = Crossing::of_call(core, call, Side::B);
    let ending = Ending::rejected(response, EndedBy::Callee, Cause::Rejected).across(&crossing, response);
    let unavailable = ending.status == 503;
    let ending = if unavailable { Ending { cause: Cause::Unavailable, ..ending } } else { ending };
    failed(core, turn, call, ending, unavailable);
}
