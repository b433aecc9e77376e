//! Requests that cross within a call without touching it, with their bodies: INFO (RFC 6086), MESSAGE (RFC 3428 §8), a
//! REFER that is passed on. And OPTIONS, which tandem answers itself. Slow-path thread.

use super::{
    call::{Call, LegState, Phase},
    headers, teardown,
};
use crate::{
    base::ids::Side,
    sip::{
        endpoint::{Core, SDP, Turn, Use},
        message::{HeaderName, Message, Method, Scheme},
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
        HeaderName::Other("Refer-Sub".into()),
    ]
}

/// An INFO, or a MESSAGE, from `side` goes to the other one.
pub fn pass(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, side: Side, server: ServerId, request: &Message) {
    let method = request.method().cloned().unwrap_or(Method::Info);
    if let Err(status) = send(core, turn, call, side, server, request, method, Vec::new()) {
        core.answer(turn.now, server, status);
    }
}

/// Sends a request of `side` on with its body and these header fields, and returns its CSeq number there.
#[allow(clippy::too_many_arguments)]
pub fn send(
    core: &mut Core,
    turn: &Turn<'_>,
    call: &mut Call,
    side: Side,
    server: ServerId,
    request: &Message,
    method: Method,
    lines: Vec<(HeaderName, String)>,
) -> Result<u32, u16> {
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
    let targets = matches!(method, Method::Refer | Method::Notify);
    let mut out = leg.dialog.request(method);
    out.headers.set(HeaderName::MaxForwards, forwards.to_string());
    let path = core.path(&leg.dialog, &leg.trunk);
    if targets {
        // RFC 3515 §2.2, RFC 6665 §8.2: these say where their sender is found.
        out.headers.push(HeaderName::Contact, core.contact(path.flow.local, leg.dialog.is_secure()));
    }
    headers::push(lines, &mut out);
    headers::copy(request, &mut out, passed());
    out.body = request.body.clone();
    let seq = leg.dialog.local_seq();
    let purpose = Use::Relay { call: id, to, answer: server };
    core.send(turn.now, &leg.trunk, out, path, 0, purpose).map(|_| seq).ok_or(480)
}

/// The other side's final response goes back.
pub fn response(core: &mut Core, turn: &Turn<'_>, answer: ServerId, response: &Message) {
    let Some(status) = response.status().filter(|status| *status >= 200) else { return };
    let phrase = headers::phrase_of(response).unwrap_or_default();
    let Some(mut out) = core.response(answer, status, &phrase, "") else { return };
    headers::copy(response, &mut out, passed());
    headers::push(headers::passed_with(response), &mut out);
    if let Some(contact) = dialog_contact(core, answer, response) {
        out.headers.push(HeaderName::Contact, contact);
    }
    out.body = response.body.clone();
    core.respond(turn.now, answer, &out);
}

/// RFC 3515 §2.2: the 2xx to a REFER says where to find us.
fn dialog_contact(core: &Core, answer: ServerId, response: &Message) -> Option<String> {
    let entry = core.live.tx.server(answer)?;
    let refers = entry.request.method() == Some(&Method::Refer) && response.status().is_some_and(|s| s < 300);
    let secure = entry.request.uri().is_some_and(|uri| uri.scheme == Scheme::Sips);
    refers.then(|| core.contact(entry.path().flow.local, secure))
}

/// RFC 3261 §12.2.1.2: a side that does not know the dialog any more has hung up. RFC 5057 §5.1: of a NOTIFY, it may be
/// the subscription alone that it does not know, and who is referred may say so too.
pub fn lost(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, response: &Message) {
    let about_dialog = response.cseq().is_ok_and(|cseq| !matches!(cseq.method, Method::Notify | Method::Refer));
    if response.status() == Some(481) && about_dialog {
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
