//! The media of a call: opens the session, lets offers and answers pass through the anchor, tells call control what
//! was agreed. Slow-path thread.
//!
//! A refused offer needs no way back: call control is told only what was answered, and the anchor counts what it said.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{attempt, call::Call};
use crate::{
    base::ids::Side,
    control::{LegMedia, OpenError, OpenRequest, Phase, Session, SessionReport},
    sip::{
        endpoint::{Cause, Core, Level, Refusal, SDP, Turn},
        message::{HeaderName, Message},
        sdp::{Joined, Sdp, SdpAnchor},
    },
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallMedia {
    pub session: Session,
    /// The address names it was opened with.
    names: [Vec<String>; 2],
    anchor: SdpAnchor,
    /// The last offer, as its side wrote it.
    offered: Option<(Side, Bytes)>,
    /// What each side's description in force says, as that side wrote it.
    said: [Option<Bytes>; 2],
    /// There was an offer after the first one: the first one's answers mean nothing any more.
    pub renegotiated: bool,
}

/// The session description in a message; a body of another type is none.
pub fn sdp_of(message: &Message) -> Option<Bytes> {
    (!message.body.is_empty() && message.content_is(SDP)).then(|| message.body.clone())
}

/// Opens the media session for an attempt to a trunk. The one of an earlier attempt serves again if it has the same addresses; to
/// leg A it is one session all along.
pub fn open(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, trunk: &str) -> Result<(), Refusal> {
    let names = [names_of(core, &call.a.trunk), names_of(core, trunk)];
    let mut anchor = match &call.media {
        Some(media) => media.anchor.clone(),
        None => SdpAnchor::new([core.random.u64(), core.random.u64()]),
    };
    anchor.new_peer(Side::B, core.random.u64());
    if let Some(media) = &mut call.media {
        if media.names == names {
            media.anchor = anchor;
            media.renegotiated = false;
            // What the destination before had said (early media) holds no longer: it is neither heard nor fed.
            turn.media.update(turn.outside, media.session.id, Side::B, &LegMedia::nowhere());
            return Ok(());
        }
        close(core, turn, call);
    }
    let request = OpenRequest { media: names.clone(), call_id: call.sip_call_id().to_owned() };
    match turn.media.open(turn.outside, &request) {
        Ok(session) => {
            core.live.sessions.insert(session.id, call.id);
            call.media =
                Some(CallMedia { session, names, anchor, offered: None, said: [None, None], renegotiated: false });
            Ok(())
        }
        Err(error) => {
            core.log(Level::Warn, Some(call.id), Some(call.sip_call_id()), format!("no media session: {error}"));
            let retry_s = if error == OpenError::NoAddress { "600" } else { "10" };
            Err(Refusal::new(503, Cause::NoMedia).with(HeaderName::RetryAfter, retry_s))
        }
    }
}

fn names_of(core: &Core, trunk: &str) -> Vec<String> {
    match attempt::trunk_of(core, trunk) {
        Some(trunk) if trunk.media.is_empty() => vec![trunk.address.clone()],
        Some(trunk) => trunk.media.clone(),
        None => Vec::new(),
    }
}

/// Rewrites the offer of `from` for the other side, which belongs to `trunk`.
pub fn pass_offer(core: &mut Core, call: &mut Call, from: Side, offer: &[u8], trunk: &str) -> Result<Bytes, Refusal> {
    let codecs = attempt::trunk_of(core, trunk).map(|t| t.codecs.clone()).unwrap_or_default();
    let (id, call_id) = (call.id, call.sip_call_id().to_owned());
    let Some(media) = &mut call.media else { return Err(Refusal::new(500, Cause::NotAcceptable)) };
    let [a, b] = &media.session.local;
    let local = if from == Side::A { b } else { a };
    let passed = Sdp::parse(offer).and_then(|offer| media.anchor.offer_to_other_side(from, &offer, local, &codecs));
    if passed.is_ok() {
        media.offered = Some((from, Bytes::copy_from_slice(offer)));
    }
    passed.map_err(|error| {
        core.log(Level::Info, Some(id), Some(&call_id), format!("offer of leg {from}: {error}"));
        Refusal::new(error.status(), Cause::NotAcceptable)
    })
}

/// Rewrites the answer to `offerer`'s offer, and puts what was agreed into effect on both sides.
pub fn pass_answer(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    offerer: Side,
    answer: &[u8],
) -> Result<Bytes, Refusal> {
    let (id, call_id) = (call.id, call.sip_call_id().to_owned());
    let Some(media) = &mut call.media else { return Err(Refusal::new(500, Cause::BadAnswer)) };
    let [a, b] = &media.session.local;
    let local = if offerer == Side::A { a } else { b };
    let answered = Sdp::parse(answer).and_then(|answer| media.anchor.answer_to_offerer(&answer, local));
    let answered = match answered {
        Ok(answered) => answered,
        Err(error) => {
            let text = format!("answer of leg {}: {error}", offerer.other());
            core.log(Level::Info, Some(id), Some(&call_id), text);
            return Err(Refusal::new(502, Cause::BadAnswer));
        }
    };
    for (side, leg) in Side::BOTH.iter().zip(&answered.legs) {
        turn.media.update(turn.outside, media.session.id, *side, leg);
    }
    let offer = media.offered.as_ref().filter(|(from, _)| *from == offerer).map(|(_, offer)| offer.clone());
    let answer = Some(Bytes::copy_from_slice(answer));
    media.said = if offerer == Side::A { [offer, answer] } else { [answer, offer] };
    Ok(answered.sdp)
}

/// What comes of it if leg `from` of `other` takes the place of `call`'s `side`, that newcomer having said `new`; nothing
/// is changed yet.
pub fn join(
    core: &mut Core,
    call: &Call,
    side: Side,
    other: &Call,
    from: Side,
    new: &[u8],
) -> Result<(SdpAnchor, Joined), Refusal> {
    let missing = || Refusal::new(488, Cause::NotAcceptable);
    let (Some(ours), Some(theirs)) = (&call.media, &other.media) else { return Err(missing()) };
    let kept = ours.said[side.other().index()].as_ref().ok_or_else(missing)?;
    let trunk = call.leg(side.other()).map(|leg| leg.trunk.as_str()).unwrap_or_default();
    let codecs = attempt::trunk_of(core, trunk).map(|t| t.codecs.clone()).unwrap_or_default();
    let mut anchor = ours.anchor.clone();
    anchor.adopt(side, &theirs.anchor, from);
    let mut locals = ours.session.local.clone();
    locals[side.index()] = theirs.session.local[from.index()].clone();
    let said = Sdp::parse(new).and_then(|new| Sdp::parse(kept).map(|kept| (new, kept)));
    let joined = said.and_then(|(new, kept)| anchor.join(side, new, kept, &locals, &codecs));
    joined.map(|joined| (anchor, joined)).map_err(|error| {
        core.log(Level::Info, Some(call.id), Some(call.sip_call_id()), format!("the sides cannot be joined: {error}"));
        Refusal::new(error.status(), Cause::NotAcceptable)
    })
}

/// Puts that into effect: the ports of both sides go along with their peers.
pub fn exchange(
    turn: &mut Turn<'_>,
    (call, side): (&mut Call, Side),
    (other, from): (&mut Call, Side),
    new: &Bytes,
    (anchor, joined): (SdpAnchor, &Joined),
) {
    let (Some(ours), Some(theirs)) = (&mut call.media, &mut other.media) else { return };
    turn.media.exchange(turn.outside, (ours.session.id, side), (theirs.session.id, from));
    std::mem::swap(&mut ours.session.local[side.index()], &mut theirs.session.local[from.index()]);
    std::mem::swap(&mut ours.names[side.index()], &mut theirs.names[from.index()]);
    ours.anchor = anchor;
    ours.offered = None;
    ours.renegotiated = true;
    ours.said[side.index()] = Some(new.clone());
    for (side, leg) in Side::BOTH.iter().zip(&joined.legs) {
        turn.media.update(turn.outside, ours.session.id, *side, leg);
    }
}

/// `side` has left, and nobody is in its place yet.
pub fn silence(turn: &mut Turn<'_>, call: &Call, side: Side) {
    if let Some(media) = &call.media {
        turn.media.update(turn.outside, media.session.id, side, &LegMedia::nowhere());
    }
}

/// What `side` said, as if it held nobody.
pub fn offer_of(call: &Call, side: Side) -> Option<Bytes> {
    Sdp::parse(&said(call, side)?).ok().map(|said| said.active().write())
}

/// What `side` was told last, as an offer that changes nothing.
pub fn told(call: &Call, side: Side) -> Option<Bytes> {
    call.media.as_ref()?.anchor.repeat(side)
}

/// Whether that is, to the byte, what `side` said when the description in force was agreed.
pub fn is_in_force(call: &Call, side: Side, description: &[u8]) -> bool {
    said(call, side).is_some_and(|said| said == description)
}

/// `side` answered an offer that repeated what it was told. It may all the same have moved.
pub fn refreshed(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, side: Side, answer: &Bytes) {
    if is_in_force(call, side, answer) {
        return;
    }
    let (id, call_id) = (call.id, call.sip_call_id().to_owned());
    let Some(media) = &mut call.media else { return };
    match Sdp::parse(answer).and_then(|answer| answer.media()) {
        Ok(audio) => {
            turn.media.update(turn.outside, media.session.id, side, &audio.leg);
            media.said[side.index()] = Some(answer.clone());
        }
        Err(error) => {
            core.log(Level::Info, Some(id), Some(&call_id), format!("answer of leg {side} to a refresh: {error}"));
        }
    }
}

/// What `side` said when the description in force was agreed.
pub fn said(call: &Call, side: Side) -> Option<Bytes> {
    call.media.as_ref()?.said[side.index()].clone()
}

pub fn is_renegotiated(call: &Call) -> bool {
    call.media.as_ref().is_some_and(|media| media.renegotiated)
}

pub fn phase(turn: &mut Turn<'_>, call: &Call, phase: Phase) {
    if let Some(media) = &call.media {
        turn.media.phase(turn.outside, media.session.id, phase);
    }
}

pub fn close(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call) -> Option<SessionReport> {
    let media = call.media.take()?;
    core.live.sessions.remove(&media.session.id);
    turn.media.close(turn.outside, media.session.id)
}
