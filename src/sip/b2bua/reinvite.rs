//! Offers within a call that cross from leg to leg: hold, resume, another codec, another address. Slow-path thread.
//!
//! One at a time and to the end: the request goes to the other leg with its session description rewritten, and so does
//! the response. Unless that is a 2xx, the session stays as it was. Most of them are re-INVITEs; `update` says when an
//! UPDATE or a PRACK carries an offer, and by which method it goes on.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    ack,
    call::{Call, Late, Leg, LegState, Phase},
    headers::{self, Crossing},
    media, prack,
    reliable::{self, Couple},
    session_timer, setup,
    teardown::{self, Ending},
    transfer, unwanted,
};
use crate::{
    base::{Time, ids::Side},
    sip::{
        endpoint::{Cause, Core, EndedBy, Refusal, SDP, Turn, Use},
        flow::Flow,
        message::{HeaderName, Message, Method},
        transaction::{ClientId, ServerId},
    },
};

/// RFC 3311 §5.2: an UPDATE is answered at once. One that went on as re-INVITE is cancelled after this, so that its
/// answer comes before timer F of who sent it.
const UPDATE_PATIENCE: Duration = Duration::from_secs(20);

/// Who asks, and by which methods.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    pub from: Side,
    pub server: ServerId,
    pub asked: Method,
    pub sent: Method,
}

/// A request under way from one leg to the other: a re-INVITE, or what carries an offer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reinvite {
    /// Who sent it.
    pub from: Side,
    pub server: ServerId,
    /// As it came, and as it went on.
    pub asked: Method,
    pub sent: Method,
    /// The offer, as it went on.
    body: Option<Bytes>,
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
    let leg = call.leg_mut(side).ok_or(Refusal::new(481, Cause::DialogLost))?;
    leg.peer.note(request);
    session_timer::check(session_timer::policy(core, &leg.trunk), request)?;
    if transfer::is_alone(call, side) {
        setup::check_body(request)?;
        // There is nobody yet whom a change would concern.
        let told = media::told(call, side).filter(|_| media::is_in_force(call, side, &request.body));
        let told = told.ok_or(Refusal::new(491, Cause::BadRequest))?;
        answer_here(core, turn, call, side, server, request, Some(told));
        return Ok(());
    }
    may_begin(core, call, side)?;
    setup::check_body(request)?;
    if request.max_forwards() == Some(0) {
        return Err(Refusal::new(483, Cause::BadRequest));
    }
    if session_timer::refreshes(request)
        && media::is_in_force(call, side, &request.body)
        && let Some(told) = media::told(call, side)
    {
        // A session refresh that changes nothing concerns this leg only.
        answer_here(core, turn, call, side, server, request, Some(told));
        return Ok(());
    }
    let body = rewrite(core, call, side, &request.body)?;
    if let Some(trying) = core.response(server, 100, "", "") {
        core.respond(turn.now, server, &trying);
    }
    let passage = Passage { from: side, server, asked: Method::Invite, sent: Method::Invite };
    send(core, turn, call, passage, body).ok_or(Refusal::new(481, Cause::DialogLost))
}

/// The offer of `from`, if there is one, for the other side.
fn rewrite(core: &mut Core, call: &mut Call, from: Side, offer: &[u8]) -> Result<Option<Bytes>, Refusal> {
    let other = call.leg(from.other()).ok_or(Refusal::new(481, Cause::DialogLost))?;
    let trunk = other.trunk.clone();
    if offer.is_empty() { Ok(None) } else { media::pass_offer(core, call, from, offer, &trunk).map(Some) }
}

/// Sends on what came, with its offer rewritten.
pub fn cross(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    passage: Passage,
    offer: &[u8],
) -> Result<(), Refusal> {
    let body = rewrite(core, call, passage.from, offer)?;
    send(core, turn, call, passage, body).ok_or(Refusal::new(481, Cause::DialogLost))
}

fn send(core: &mut Core, turn: &Turn<'_>, call: &mut Call, passage: Passage, body: Option<Bytes>) -> Option<()> {
    let id = call.id;
    let to = passage.from.other();
    let leg = call.leg_mut(to)?;
    let mut request = leg.dialog.request(passage.sent.clone());
    let seq = leg.dialog.local_seq();
    let path = core.path(&leg.dialog, &leg.trunk);
    request.headers.push(HeaderName::Contact, core.contact(path.flow.local, leg.dialog.is_secure()));
    core.capabilities(&leg.trunk, &mut request);
    if leg.state == LegState::Confirmed {
        session_timer::ask(session_timer::policy(core, &leg.trunk), leg.timer.as_ref(), leg.min_se_s, &mut request);
    }
    if passage.sent == Method::Invite {
        // tandem passes provisional responses to a re-INVITE on, but does not acknowledge them.
        let others: Vec<&str> = core.extensions(&leg.trunk);
        let others: Vec<&str> = others.into_iter().filter(|tag| *tag != reliable::RELIABLE).collect();
        request.headers.remove(&HeaderName::Supported);
        if !others.is_empty() {
            request.headers.push(HeaderName::Supported, others.join(", "));
        }
    }
    put_body(&mut request, body.clone());
    let client = core.send(turn.now, &leg.trunk, request, path, 0, Use::Reinvite { call: id, to })?;
    note(core, turn, call, passage, body, client, seq);
    Some(())
}

/// As `cross`, in the PRACK that leg B still waits for.
pub fn cross_in_prack(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    passage: Passage,
    couple: &Couple,
    offer: &[u8],
) -> Result<(), Refusal> {
    let body = rewrite(core, call, passage.from, offer)?;
    let purpose = Use::Reinvite { call: call.id, to: Side::B };
    let client = prack::send_for(core, turn.now, call, couple, body.clone(), purpose);
    note(core, turn, call, passage, body, client.ok_or(Refusal::new(481, Cause::DialogLost))?, 0);
    Ok(())
}

fn note(
    core: &Core,
    turn: &Turn<'_>,
    call: &mut Call,
    passage: Passage,
    body: Option<Bytes>,
    client: ClientId,
    seq: u32,
) {
    let ring = Duration::from_secs(u64::from(core.config.sip.ring_s));
    // What is no INVITE ends with its own transaction, by timer F.
    let patience = match (&passage.sent, &passage.asked) {
        (&Method::Invite, &Method::Invite) => ring,
        (&Method::Invite, _) => ring.min(UPDATE_PATIENCE),
        _ => core.live.tx.timing().give_up() * 2,
    };
    if let Some(media) = &mut call.media {
        media.renegotiated = true;
    }
    let Passage { from, server, asked, sent } = passage;
    let give_up = turn.now + patience;
    let late = body.is_none();
    call.reinvite = Some(Reinvite {
        from,
        server,
        asked,
        sent,
        body,
        client,
        seq,
        late,
        cancelled: None,
        cancel_sent: false,
        give_up,
    });
}

/// The 2xx to what concerns one leg only; its Contact counts from now on.
pub fn answer_here(
    core: &mut Core,
    turn: &Turn<'_>,
    call: &mut Call,
    side: Side,
    server: ServerId,
    request: &Message,
    body: Option<Bytes>,
) {
    let Some(leg) = call.leg_mut(side) else { return };
    let Some(mut response) = core.response(server, 200, "", leg.dialog.local_tag()) else { return };
    complete(core, turn, leg, request, &mut response);
    put_body(&mut response, body);
    if request.method() == Some(&Method::Invite) {
        ack::accept(core, turn, call, side, server, &response, None);
    } else {
        core.respond(turn.now, server, &response);
    }
}

/// What a 2xx to a target refresh request (RFC 3261 §12.2.2, RFC 3311 §5.2) says and does beside its description.
fn complete(core: &Core, turn: &Turn<'_>, leg: &mut Leg, request: &Message, response: &mut Message) {
    let tag = request.from().ok().and_then(|from| from.tag().map(str::to_owned));
    let Some((dialog, _)) = leg.with_tag(tag.as_deref()) else { return };
    let (source, secure) = (dialog.source, dialog.is_secure());
    dialog.refresh(request, source);
    response.headers.push(HeaderName::Contact, core.contact(source.local, secure));
    core.capabilities(&leg.trunk, response);
    if leg.state == LegState::Confirmed {
        session_timer::settle(session_timer::policy(core, &leg.trunk), turn.now, leg, request, response);
    }
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
    let unacked = |side| call.leg(side).is_some_and(|leg| leg.unacked.is_some() || leg.refreshing.is_some());
    if unacked(side) || unacked(side.other()) { Err(glare) } else { Ok(()) }
}

/// RFC 3261 §14.2: an INVITE while the last one of the same side is not answered.
pub fn wait(core: &mut Core) -> Refusal {
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
        status @ 100..=199 => {
            send_cancel(core, turn, &mut reinvite);
            if status > 100 && reinvite.cancelled.is_none() {
                progress(core, turn, call, &reinvite, response);
            }
            call.reinvite = Some(reinvite);
        }
        422 if again(core, turn, call, &reinvite, response) => {}
        200..=299 => accepted(core, turn, call, reinvite, response, flow),
        status => {
            let crossing = Crossing::of_call(core, call, reinvite.from.other());
            let ending = Ending::rejected(response, EndedBy::of(reinvite.from.other()), Cause::Rejected);
            let ending = ending.across(&crossing, response);
            refused(core, turn, &reinvite, &ending);
            if matches!(status, 408 | 481) && call.phase == Phase::Answered {
                // RFC 3261 §12.2.1.2.
                teardown::dialog_lost(core, turn, call);
            }
        }
    }
}

/// A provisional response to our re-INVITE, for who sent it: its status alone.
fn progress(core: &mut Core, turn: &Turn<'_>, call: &Call, reinvite: &Reinvite, response: &Message) {
    let Some(status) = response.status() else { return };
    let phrase = headers::phrase_of(response).unwrap_or_default();
    let Some(leg) = call.leg(reinvite.from) else { return };
    // RFC 3262 §3: where it must be reliable, it is left out; none has to be sent.
    let request = core.live.tx.server(reinvite.server).map(|entry| &entry.request);
    if reinvite.asked != Method::Invite
        || request.is_none_or(|request| reliable::supported(request, &HeaderName::Require))
    {
        return;
    }
    let Some(mut passed) = core.response(reinvite.server, status, &phrase, leg.dialog.local_tag()) else { return };
    passed.headers.push(HeaderName::Contact, core.contact(leg.dialog.source.local, leg.dialog.is_secure()));
    core.respond(turn.now, reinvite.server, &passed);
}

/// RFC 4028 §7.3: 422 is between that side and tandem, which asks again. False: it is as good as any other refusal.
fn again(core: &mut Core, turn: &Turn<'_>, call: &mut Call, reinvite: &Reinvite, response: &Message) -> bool {
    let Some(leg) = call.leg_mut(reinvite.from.other()) else { return false };
    let policy = session_timer::policy(core, &leg.trunk);
    let asked = leg.timer.as_ref().map_or(policy.expires_s, |timer| timer.interval_s).max(leg.min_se_s);
    let Some(demanded) = session_timer::demanded(policy, asked, response) else { return false };
    leg.min_se_s = demanded;
    let passage = Passage {
        from: reinvite.from,
        server: reinvite.server,
        asked: reinvite.asked.clone(),
        sent: reinvite.sent.clone(),
    };
    reinvite.sent != Method::Prack && send(core, turn, call, passage, reinvite.body.clone()).is_some()
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
    if let Some(leg) = call.leg_mut(to).filter(|_| reinvite.sent != Method::Prack) {
        leg.dialog.refresh(response, flow);
        leg.peer.note(response);
        if leg.state == LegState::Confirmed {
            session_timer::settled(session_timer::policy(core, &leg.trunk), turn.now, leg, response);
        }
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
        confirm(core, call, &reinvite);
        refused(core, turn, &reinvite, &Ending::tandem(Cause::BadAnswer, 502));
        teardown::end(core, turn, call, Ending::tandem(Cause::BadAnswer, 502));
        return;
    };
    let late = if reinvite.late {
        Some(Late { client: reinvite.client, seq: reinvite.seq })
    } else {
        confirm(core, call, &reinvite);
        None
    };
    pass_acceptance(core, turn, call, &reinvite, response, body, late);
}

/// The ACK, if what we sent is an INVITE.
fn confirm(core: &mut Core, call: &Call, reinvite: &Reinvite) {
    if reinvite.sent == Method::Invite {
        ack::confirm(core, call, reinvite.from.other(), reinvite.client, reinvite.seq, None);
    }
}

/// The 2xx for who sent the request.
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
    let (status, phrase) = (response.status().unwrap_or(200), headers::phrase_of(response).unwrap_or_default());
    let Some(mut passed) = core.response(reinvite.server, status, &phrase, leg.dialog.local_tag()) else { return };
    if reinvite.asked != Method::Prack {
        complete(core, turn, leg, &request, &mut passed);
    }
    headers::push(Crossing::of_call(core, call, from.other()).response(response), &mut passed);
    put_body(&mut passed, Some(body));
    if reinvite.asked == Method::Invite {
        ack::accept(core, turn, call, from, reinvite.server, &passed, late);
    } else {
        core.respond(turn.now, reinvite.server, &passed);
    }
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
    if !transport && call.phase == Phase::Answered {
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
    match reinvite.cancelled {
        Some(_) if reinvite.asked != Method::Invite => core.live.tx.abandon(reinvite.client),
        Some(status) => {
            core.live.tx.abandon(reinvite.client);
            refused(core, turn, &reinvite, &Ending::tandem(Cause::NoAnswer, status));
        }
        None => {
            if reinvite.asked != Method::Invite {
                // RFC 3311 §5.2: the other side wants longer than an UPDATE may take.
                refused(core, turn, &reinvite, &Ending::tandem(Cause::NoAnswer, 504));
            }
            let server = reinvite.server;
            call.reinvite = Some(reinvite);
            cancelled(core, turn, call, server, 408);
        }
    }
}
