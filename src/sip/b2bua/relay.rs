//! Requests that cross within a call without touching it: INFO (RFC 6086) with its body. And OPTIONS, which tandem
//! answers itself. Slow-path thread.

use super::{
    call::{Call, LegState, Phase},
    headers, teardown,
};
use crate::{
    base::ids::Side,
    sip::{
        endpoint::{Core, SDP, Turn, Use},
        message::{HeaderName, Message, Method},
        transaction::ServerId,
    },
};

/// What belongs to a body, and to what it is about.
fn passed() -> Vec<HeaderName> {
    vec![
        HeaderName::ContentType,
        HeaderName::ContentEncoding,
        HeaderName::ContentLanguage,
        HeaderName::ContentDisposition,
        HeaderName::Other("Info-Package".into()),
    ]
}

/// An INFO from `side` goes to the other one.
pub fn info(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, side: Side, server: ServerId, request: &Message) {
    if let Err(status) = pass(core, turn, call, side, server, request) {
        core.answer(turn.now, server, status);
    }
}

fn pass(
    core: &mut Core,
    turn: &Turn<'_>,
    call: &mut Call,
    side: Side,
    server: ServerId,
    request: &Message,
) -> Result<(), u16> {
    let forwards = request.max_forwards().unwrap_or(70).checked_sub(1).ok_or(483u16)?;
    let (id, to) = (call.id, side.other());
    // RFC 3261 §21.4.18: there is nobody at the other end, not yet or not any more.
    if call.phase == Phase::Ended {
        return Err(481);
    }
    let leg = call.leg_mut(to).ok_or(480u16)?;
    let there = matches!(leg.state, LegState::Early | LegState::Confirmed) && leg.dialog.remote_tag().is_some();
    if !there {
        return Err(480);
    }
    let mut out = leg.dialog.request(Method::Info);
    out.headers.set(HeaderName::MaxForwards, forwards.to_string());
    headers::copy(request, &mut out, passed());
    out.body = request.body.clone();
    let path = core.path(&leg.dialog, &leg.trunk);
    let purpose = Use::Relay { call: id, to, answer: server };
    core.send(turn.now, &leg.trunk, out, path, 0, purpose).map(|_| ()).ok_or(480)
}

/// The other side's final response goes back.
pub fn response(core: &mut Core, turn: &Turn<'_>, answer: ServerId, response: &Message) {
    let Some(status) = response.status().filter(|status| *status >= 200) else { return };
    let phrase = headers::phrase_of(response).unwrap_or_default();
    let Some(mut out) = core.response(answer, status, &phrase, "") else { return };
    headers::copy(response, &mut out, passed());
    headers::push(headers::passed_with(response), &mut out);
    out.body = response.body.clone();
    core.respond(turn.now, answer, &out);
}

/// RFC 3261 §12.2.1.2: a side that does not know the dialog any more has hung up.
pub fn lost(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, response: &Message) {
    if response.status() == Some(481) {
        teardown::dialog_lost(core, turn, call);
    }
}

/// RFC 3261 §11.2: what tandem can do.
pub fn options(core: &mut Core, turn: &Turn<'_>, server: ServerId, trunk: &str) {
    let tag = core.random.token();
    let Some(mut response) = core.response(server, 200, "", &tag) else { return };
    core.capabilities(trunk, &mut response);
    response.headers.push(HeaderName::Accept, SDP);
    response.headers.push(HeaderName::AcceptEncoding, "identity");
    core.respond(turn.now, server, &response);
}
