//! Reliable provisional responses towards the caller (RFC 3262, the UAS's part): RSeq, repetitions, PRACK. Slow-path
//! thread; saved with its call.
//!
//! Always: at most one of them waits for its PRACK, the next ones wait in line (§3 demands it of the first and
//! recommends it for all). A response that brings leg B's description is acknowledged to leg B only once the caller has
//! acknowledged it, so that what the PRACK carries can cross.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    attempt,
    call::{Call, Phase},
    media, prack, progress,
    teardown::{self, Ending},
    update,
};
use crate::{
    base::{Time, ids::Side},
    config::ReliableProvisionals,
    sip::{
        endpoint::{Cause, Core, Refusal, Turn},
        message::{HeaderName, Message, Method},
        transaction::{ServerId, table::Label},
    },
};

pub const RELIABLE: &str = "100rel";

/// Responses that wait in line; a further one is not sent.
const IN_LINE: usize = 8;

/// The session description in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Carries {
    Nothing,
    Offer,
    Answer,
}

/// A reliable provisional response of leg B whose PRACK waits for the caller's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Couple {
    /// The fork it came from.
    pub tag: String,
    pub rseq: u32,
    /// The CSeq number of our INVITE.
    pub seq: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct InLine {
    response: Message,
    carries: Carries,
    couple: Option<Couple>,
}

/// Sent, and not acknowledged.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiting {
    rseq: u32,
    bytes: Bytes,
    status: u16,
    carries: Carries,
    couple: Option<Couple>,
    interval: Duration,
    /// None: the final response was sent, it is not repeated any more.
    next: Option<Time>,
    give_up: Time,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reliable {
    /// The caller's INVITE, and its CSeq number.
    seq: u32,
    /// The caller takes no other provisional response.
    pub required: bool,
    /// RSeq of the next one.
    next_rseq: u32,
    waiting: Option<Waiting>,
    line: VecDeque<InLine>,
    /// What the caller was told in one of them: it counts, whatever a later response says.
    pub told: Option<Bytes>,
}

pub fn policy(core: &Core, trunk: &str) -> ReliableProvisionals {
    attempt::trunk_of(core, trunk).map(|trunk| trunk.reliable_provisionals).unwrap_or_default()
}

/// Whether the sender of a request can (or demands to) acknowledge provisional responses.
pub fn supported(request: &Message, name: &HeaderName) -> bool {
    request.tokens(name).any(|tag| tag.eq_ignore_ascii_case(RELIABLE))
}

/// RFC 3261 §21.4.16: 421 to a caller without an extension that its trunk must have.
pub fn check(core: &Core, trunk: &str, request: &Message) -> Result<(), Refusal> {
    let able = supported(request, &HeaderName::Supported) || supported(request, &HeaderName::Require);
    if policy(core, trunk) == ReliableProvisionals::Require && !able {
        return Err(Refusal::new(421, Cause::BadRequest).with(HeaderName::Require, RELIABLE));
    }
    Ok(())
}

impl Reliable {
    /// For a caller's INVITE. None: it takes no reliable provisional response.
    pub fn of(core: &mut Core, trunk: &str, request: &Message) -> Option<Box<Reliable>> {
        let required = supported(request, &HeaderName::Require);
        let able = required || supported(request, &HeaderName::Supported);
        if !able || policy(core, trunk) == ReliableProvisionals::Off {
            return None;
        }
        // RFC 3262 §3: the first RSeq is a random number from 1 to 2**31 - 1; room is left to count on.
        let next_rseq = 1 + core.random.below(1 << 30);
        let seq = request.cseq().ok()?.seq;
        Some(Box::new(Reliable { seq, required, next_rseq, waiting: None, line: VecDeque::new(), told: None }))
    }

    /// RFC 3262 §3: no 2xx while a session description waits for its PRACK.
    pub fn holds_answer(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.carries != Carries::Nothing)
    }

    /// A final response is sent: nothing is repeated any more, and what was in line is left out.
    pub fn stop(&mut self) {
        if self.line.drain(..).any(|entry| entry.carries != Carries::Nothing) {
            self.told = None;
        }
        if let Some(waiting) = &mut self.waiting {
            waiting.next = None;
        }
    }

    pub fn next_deadline(&self) -> Option<Time> {
        let waiting = self.waiting.as_ref()?;
        waiting.next.map(|next| next.min(waiting.give_up))
    }
}

/// Sends a provisional response to the caller reliably, now or when those before it are acknowledged.
pub fn provisional(
    core: &mut Core,
    now: Time,
    call: &mut Call,
    response: Message,
    carries: Carries,
    couple: Option<Couple>,
) {
    let Some(reliable) = &mut call.reliable else { return };
    if carries != Carries::Nothing {
        reliable.told = Some(response.body.clone());
    }
    let entry = InLine { response, carries, couple };
    if reliable.waiting.is_none() {
        send(core, now, call, entry);
    } else if reliable.line.len() < IN_LINE {
        reliable.line.push_back(entry);
    } else if let Some(couple) = entry.couple {
        // The caller is too slow for so many; leg B is not kept waiting.
        prack::send(core, now, call, &couple, None);
    }
}

fn send(core: &mut Core, now: Time, call: &mut Call, entry: InLine) {
    let InLine { mut response, carries, couple } = entry;
    let timing = core.live.tx.timing();
    let server = call.invite;
    let Some(reliable) = &mut call.reliable else { return };
    let rseq = reliable.next_rseq;
    reliable.next_rseq += 1;
    response.headers.push(HeaderName::Require, RELIABLE);
    response.headers.push(HeaderName::RSeq, rseq.to_string());
    core.respond(now, server, &response);
    let Some((_, bytes, status)) = core.live.tx.last_response(server) else { return };
    reliable.waiting = Some(Waiting {
        rseq,
        bytes,
        status,
        carries,
        couple,
        interval: timing.t1,
        next: Some(now + timing.t1),
        give_up: now + timing.give_up(),
    });
}

/// Repeats what waits for its PRACK, or gives the call up.
pub fn fire(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call) {
    let server = call.invite;
    let Some(waiting) = call.reliable.as_mut().and_then(|reliable| reliable.waiting.as_mut()) else { return };
    let Some(next) = waiting.next else { return };
    if call.phase != Phase::Setup {
        waiting.next = None;
    } else if waiting.give_up <= turn.now {
        // RFC 3262 §3: 64·T1 without a PRACK, and the INVITE is refused with a 5xx.
        let ending = Ending::tandem(Cause::NoAck, 504);
        teardown::end(core, turn, call, ending.with_reason("SIP;cause=504;text=\"No PRACK\""));
    } else if next <= turn.now {
        // RFC 3262 §3: the interval doubles, without a ceiling.
        waiting.interval *= 2;
        waiting.next = Some(turn.now + waiting.interval);
        if let Some(path) = core.live.tx.server(server).map(|entry| entry.path()) {
            core.live.tx.transmit(&path, waiting.bytes.clone(), Label::Response(waiting.status), true);
        }
    }
}

/// A PRACK from the caller.
pub fn received(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, server: ServerId, request: &Message) {
    let Some(acknowledged) = prack::rack(request) else { return core.answer(turn.now, server, 400) };
    let waiting = call.reliable.as_mut().and_then(|reliable| {
        let seq = reliable.seq;
        reliable.waiting.take_if(|waiting| acknowledged == (waiting.rseq, seq, Method::Invite))
    });
    // RFC 3262 §3.
    let Some(waiting) = waiting else { return core.answer(turn.now, server, 481) };
    let body = media::sdp_of(request);
    match (waiting.carries, body) {
        (Carries::Offer, answer) => late_answer(core, turn, call, server, waiting.couple, answer),
        (carries, Some(_)) => {
            call.a.peer.agreed |= carries == Carries::Answer;
            update::with_prack(core, turn, call, server, waiting.couple, request);
        }
        (carries, None) => {
            call.a.peer.agreed |= carries == Carries::Answer;
            core.answer(turn.now, server, 200);
            if let Some(couple) = waiting.couple {
                prack::send(core, turn.now, call, &couple, None);
            }
        }
    }
    go_on(core, turn, call);
}

/// RFC 3262 §5: the answer to an offer in a reliable provisional response is in its PRACK.
fn late_answer(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    server: ServerId,
    couple: Option<Couple>,
    answer: Option<Bytes>,
) {
    core.answer(turn.now, server, 200);
    let passed = answer.and_then(|answer| media::pass_answer(core, turn, call, Side::B, &answer).ok());
    let Some(passed) = passed else {
        return teardown::end(core, turn, call, Ending::tandem(Cause::BadAnswer, 488));
    };
    call.a.peer.agreed = true;
    media::phase(turn, call, crate::control::Phase::Early);
    if let Some(couple) = couple {
        if let Some((_, peer)) = call.b.as_mut().and_then(|leg| leg.with_tag(Some(&couple.tag))) {
            peer.agreed = true;
        }
        prack::send(core, turn.now, call, &couple, Some(passed));
    }
}

/// The next one in line, or the 2xx that waited.
fn go_on(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call) {
    if call.phase != Phase::Setup {
        return;
    }
    if call.held.is_some() {
        progress::release(core, turn, call);
    } else if let Some(entry) = call.reliable.as_mut().and_then(|reliable| reliable.line.pop_front()) {
        send(core, turn.now, call, entry);
    }
}
