//! An INVITE outside any dialog, from a trunk: what is refused at once, and how a call begins. Slow-path thread.

use std::collections::VecDeque;

use super::{
    accept, attempt,
    call::{Call, Leg, Phase},
    reliable::{self, Reliable},
    session_timer,
    transfer::{self, Replaces},
};
use crate::{
    base::ids::Side,
    config::{SipTransport, Transfer},
    sip::{
        dialog::Dialog,
        endpoint::{CallId, CallRecord, Cause, Core, EndedBy, Level, Refusal, Turn},
        flow::Flow,
        message::{HeaderName, Message, Scheme},
        route::{Asked, Choice, Destination, Numbers, TrunkId},
        transaction::ServerId,
        trunk::{Counted, Direction, choice, limits},
    },
};

/// RFC 3261 §21.5.4: when a caller who got 503 may come again, in seconds.
const RETRY_AFTER_S: &str = "10";

/// Begins a call, or refuses it. The transaction `server` has its request and no response yet.
pub fn incoming(core: &mut Core, turn: &mut Turn<'_>, server: ServerId, trunk: TrunkId, flow: Flow) -> Option<Call> {
    let request = core.live.tx.server(server)?.request.clone();
    let choice = core.routing.choose(&Asked::of(&request, trunk, core.clock.epoch_ms(turn.now)));
    let id = CallId(core.random.u64());
    core.counters.calls += 1;
    let record = begin_record(core, turn, id, trunk, &request, &choice);
    let replaces = Replaces::of(&request).filter(|_| transfer::policy(core, &record.trunk_a) != Transfer::Refuse);
    let checked = check(core, &record.trunk_a, &request, &flow, &choice);
    if let (Some(replaces), Ok(())) = (replaces, &checked) {
        let admitted = limits::admit(core, turn, &record.trunk_a, Direction::In);
        let replaces = admitted.and(replaces);
        transfer::begin_replacing(core, turn, server, &request, flow, choice.numbers, record, replaces);
        return None;
    }
    let targets = checked.and_then(|()| route(core, &choice)).and_then(|targets| {
        // No limit keeps an emergency call out.
        if !choice.emergency {
            limits::admit(core, turn, &record.trunk_a, Direction::In)?;
        }
        let targets = choice::arrange(core, turn.now, targets);
        if request.uri().is_some_and(|uri| uri.scheme == Scheme::Sips) { over_tls(targets) } else { Ok(targets) }
    });
    match targets {
        Ok(targets) => {
            let mut call = begin(core, turn, server, &request, flow, choice.numbers, record)?;
            call.targets = VecDeque::from(targets);
            attempt::next(core, turn, &mut call);
            Some(call)
        }
        Err(refusal) => {
            refuse(core, turn, server, record, &refusal);
            None
        }
    }
}

pub fn begin_record(
    core: &Core,
    turn: &Turn<'_>,
    id: CallId,
    trunk: TrunkId,
    request: &Message,
    choice: &Choice,
) -> CallRecord {
    let now_ms = core.clock.epoch_ms(turn.now);
    CallRecord {
        id,
        node: core.config.node.name.clone(),
        from: request.from().map(|from| from.uri.to_string()).unwrap_or_default(),
        to: request.to().map(|to| to.uri.to_string()).unwrap_or_default(),
        called: choice.numbers.called.seen.clone(),
        calling: choice.numbers.calling.as_ref().map(|calling| calling.seen.clone()),
        emergency: choice.emergency,
        trunk_a: core.config.trunks.get(usize::from(trunk.0)).map(|t| t.name.clone()).unwrap_or_default(),
        trunk_b: None,
        destination: None,
        call_id_a: request.call_id().unwrap_or_default().to_owned(),
        call_id_b: None,
        start_ms: now_ms,
        ringing_ms: None,
        answer_ms: None,
        end_ms: now_ms,
        duration_ms: 0,
        ended_by: EndedBy::Tandem,
        cause: Cause::BadRequest,
        status: 0,
        reason: None,
        attempts: Vec::new(),
        codecs: [None, None],
        transcoded: false,
        legs: None,
        transfers: Vec::new(),
        joined: None,
    }
}

/// RFC 3261 §8.2.2 to §8.2.3 and §16.3, then our own limits.
fn check(core: &Core, name: &str, request: &Message, flow: &Flow, choice: &Choice) -> Result<(), Refusal> {
    let understood = match request.uri().map(|uri| &uri.scheme) {
        Some(Scheme::Sip | Scheme::Tel) => true,
        // RFC 3261 §26.2.2: it promises TLS on every hop, and this one has broken the promise.
        Some(Scheme::Sips) => flow.transport == SipTransport::Tls,
        _ => false,
    };
    if !understood {
        return Err(Refusal::new(416, Cause::BadRequest));
    }
    check_extensions(request, &core.extensions(name))?;
    reliable::check(core, name, request)?;
    session_timer::check(session_timer::policy(core, name), request)?;
    if request.max_forwards() == Some(0) {
        return Err(Refusal::new(483, Cause::BadRequest));
    }
    if core.loops(request, Core::mark(&choice.numbers.called.seen, request)) {
        return Err(Refusal::new(482, Cause::BadRequest));
    }
    check_body(request)?;
    accept::check(request)?;
    let busy = |cause| Refusal::new(503, cause).with(HeaderName::RetryAfter, RETRY_AFTER_S);
    if core.live.drain.is_some() {
        return Err(busy(Cause::Draining));
    }
    if core.live.active >= core.config.sip.max_calls && !choice.emergency {
        return Err(busy(Cause::Limit));
    }
    Ok(())
}

fn route(core: &Core, choice: &Choice) -> Result<Vec<Destination>, Refusal> {
    if choice.rule.is_none() {
        return Err(Refusal::new(404, Cause::NoRoute));
    }
    Ok(core.routing.destinations(&choice.to))
}

/// RFC 3261 §26.2.2: a call to a sips URI goes on over TLS, or not at all.
fn over_tls(mut targets: Vec<Destination>) -> Result<Vec<Destination>, Refusal> {
    targets.retain(|to| to.transport == SipTransport::Tls);
    if targets.is_empty() { Err(Refusal::new(503, Cause::Unavailable)) } else { Ok(targets) }
}

/// RFC 3261 §8.2.2.3: what is required must be among `known`.
pub fn check_extensions(request: &Message, known: &[&str]) -> Result<(), Refusal> {
    let is_known = |tag: &&str| known.iter().any(|known| known.eq_ignore_ascii_case(tag));
    let mut unknown: Vec<&str> = request.tokens(&HeaderName::Require).filter(|tag| !is_known(tag)).collect();
    unknown.extend(request.tokens(&HeaderName::ProxyRequire));
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(420, Cause::BadRequest).with(HeaderName::Unsupported, unknown.join(", ")))
}

/// RFC 3261 §8.2.3: a body is a session description, and not encoded.
pub fn check_body(request: &Message) -> Result<(), Refusal> {
    if request.body.is_empty() {
        return Ok(());
    }
    let encoding = request.headers.get(&HeaderName::ContentEncoding).unwrap_or("identity");
    if !encoding.eq_ignore_ascii_case("identity") {
        return Err(Refusal::new(415, Cause::BadRequest).with(HeaderName::AcceptEncoding, "identity"));
    }
    if !request.content_is("application/sdp") {
        return Err(Refusal::new(415, Cause::BadRequest).with(HeaderName::Accept, "application/sdp"));
    }
    Ok(())
}

/// A refusal before anything of the call exists: a response, a record, a count.
pub fn refuse(core: &mut Core, turn: &Turn<'_>, server: ServerId, mut record: CallRecord, refusal: &Refusal) {
    core.refuse(turn.now, server, None, refusal);
    *core.counters.ended.entry(refusal.cause).or_default() += 1;
    record.cause = refusal.cause;
    record.status = refusal.status;
    let text = format!("call refused: {} {}", refusal.status, refusal.cause.as_str());
    core.log(Level::Info, Some(record.id), Some(&record.call_id_a), text);
    core.write_record(record);
}

/// A call from its INVITE; whom to call is still to be said.
pub fn begin(
    core: &mut Core,
    turn: &mut Turn<'_>,
    server: ServerId,
    request: &Message,
    flow: Flow,
    numbers: Numbers,
    record: CallRecord,
) -> Option<Call> {
    let (id, tag) = (record.id, core.random.token());
    let Some(dialog) = Dialog::answering(request, &tag, flow) else {
        // RFC 3261 §8.1.1.8: an INVITE has a Contact.
        let mut refusal = Refusal::new(400, Cause::BadRequest);
        refusal.phrase = Some("Missing Contact".into());
        refuse(core, turn, server, record, &refusal);
        return None;
    };
    // RFC 3261 §17.2.1: at once, so that the caller stops repeating.
    if let Some(trying) = core.response(server, 100, "", &tag) {
        core.respond(turn.now, server, &trying);
    }
    if let Some(entry) = core.live.tx.server_mut(server) {
        entry.user = Some((id, Side::A));
    }
    core.live.dialogs.insert(dialog.key(), (id, Side::A));
    core.live.active += 1;
    let text = format!("call from {} to {} ({})", record.trunk_a, record.called, record.from);
    core.log(Level::Info, Some(id), request.call_id(), text);
    let mut a = Leg::new(dialog, &record.trunk_a);
    a.peer.note(request);
    let reliable = Reliable::of(core, &record.trunk_a, request);
    let mut call = new_call(turn, id, server, a, numbers, record);
    (call.late, call.reliable) = (request.body.is_empty(), reliable);
    Some(call)
}

/// A call of which there is leg A alone.
pub fn new_call(turn: &Turn<'_>, id: CallId, invite: ServerId, a: Leg, numbers: Numbers, record: CallRecord) -> Call {
    Call {
        id,
        phase: Phase::Setup,
        a,
        b: None,
        invite,
        late: false,
        attempt: None,
        targets: VecDeque::new(),
        numbers,
        failure: None,
        media: None,
        reinvite: None,
        reliable: None,
        held: None,
        refresh_at: None,
        started: turn.now,
        rang: None,
        answered: None,
        record,
        origin: None,
        transfer: None,
        passed: Vec::new(),
        carried: Vec::new(),
        absorbed: false,
        counted: Counted::default(),
    }
}
