//! An INVITE outside any dialog, from a trunk: what is refused at once, and how a call begins. Slow-path thread.

use std::collections::VecDeque;

use super::{
    accept, attempt,
    call::{Call, Leg, Phase},
    reliable::{self, Reliable},
    session_timer,
};
use crate::{
    base::ids::Side,
    config::SipTransport,
    sip::{
        dialog::Dialog,
        endpoint::{CallId, CallRecord, Cause, Core, EndedBy, Level, Output, Refusal, Turn},
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
    let targets = admit(core, trunk, &request, &flow, &choice).and_then(|targets| {
        // No limit keeps an emergency call out.
        if !choice.emergency {
            limits::admit(core, turn, &record.trunk_a, Direction::In)?;
        }
        let targets = choice::arrange(core, turn.now, targets);
        if request.uri().is_some_and(|uri| uri.scheme == Scheme::Sips) { over_tls(targets) } else { Ok(targets) }
    });
    match targets {
        Ok(targets) => begin(core, turn, id, server, &request, flow, targets, choice.numbers, record),
        Err(refusal) => {
            refuse(core, turn, server, record, &refusal);
            None
        }
    }
}

fn begin_record(
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
    }
}

/// RFC 3261 §8.2.2 to §8.2.3 and §16.3, then our own limits, then the dial plan.
fn admit(
    core: &Core,
    trunk: TrunkId,
    request: &Message,
    flow: &Flow,
    choice: &Choice,
) -> Result<Vec<Destination>, Refusal> {
    let understood = match request.uri().map(|uri| &uri.scheme) {
        Some(Scheme::Sip | Scheme::Tel) => true,
        // RFC 3261 §26.2.2: it promises TLS on every hop, and this one has broken the promise.
        Some(Scheme::Sips) => flow.transport == SipTransport::Tls,
        _ => false,
    };
    if !understood {
        return Err(Refusal::new(416, Cause::BadRequest));
    }
    let name = core.config.trunks.get(usize::from(trunk.0)).map_or("", |trunk| trunk.name.as_str());
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
fn refuse(core: &mut Core, turn: &Turn<'_>, server: ServerId, mut record: CallRecord, refusal: &Refusal) {
    core.refuse(turn.now, server, None, refusal);
    *core.counters.ended.entry(refusal.cause).or_default() += 1;
    record.cause = refusal.cause;
    record.status = refusal.status;
    let text = format!("call refused: {} {}", refusal.status, refusal.cause.as_str());
    core.log(Level::Info, Some(record.id), Some(&record.call_id_a), text);
    core.out.push_back(Output::Record(Box::new(record)));
}

#[allow(clippy::too_many_arguments)]
fn begin(
    core: &mut Core,
    turn: &mut Turn<'_>,
    id: CallId,
    server: ServerId,
    request: &Message,
    flow: Flow,
    targets: Vec<Destination>,
    numbers: Numbers,
    record: CallRecord,
) -> Option<Call> {
    let tag = core.random.token();
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
    let mut call = Call {
        id,
        phase: Phase::Setup,
        a,
        b: None,
        invite: server,
        late: request.body.is_empty(),
        attempt: None,
        targets: VecDeque::from(targets),
        numbers,
        failure: None,
        media: None,
        reinvite: None,
        reliable: Reliable::of(core, &record.trunk_a, request),
        held: None,
        refresh_at: None,
        started: turn.now,
        rang: None,
        answered: None,
        record,
        counted: Counted::default(),
    };
    attempt::next(core, turn, &mut call);
    Some(call)
}
