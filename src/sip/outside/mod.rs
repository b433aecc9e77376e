//! Requests outside of calls that pass through: MESSAGE (RFC 3428), PUBLISH (RFC 3903), and SUBSCRIBE with the dialog that
//! it makes (RFC 6665). Slow-path thread.
//!
//! As with a call, each side is a dialog or a request of its own: another Call-ID, other tags, our Contact; what is about
//! the user crosses by the same rules (`b2bua::headers`), and the dial plan says where to. A request goes on to trunks
//! that pass requests themselves, one destination after the other: the next one after 503, a transport error, or no
//! answer. The body passes as it is.
//!
//! A MESSAGE or PUBLISH keeps nothing but its two transactions. A SUBSCRIBE keeps a `Subscription` until it lapses.

mod subscription;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

pub use self::subscription::{SavedSubscription, Subscriptions, answered, unanswered, within};
use crate::{
    base::ids::Side,
    config::Requests,
    sip::{
        b2bua::{
            Call,
            attempt::{self, Written},
            headers::{self, Crossing},
        },
        dialog::Dialog,
        endpoint::{Core, Turn, Use},
        flow::{Flow, Path, Relocation},
        message::{CSeq, HeaderName, Message, Method, NameAddr, Scheme},
        route::{Asked, Destination, Numbers, TrunkId},
        transaction::ServerId,
        trunk::choice,
    },
};

/// A request on its way to the first destination that takes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passing {
    answer: ServerId,
    from: String,
    to: String,
    numbers: Numbers,
    rest: VecDeque<Destination>,
    /// Of a SUBSCRIBE.
    subscription: Option<u64>,
}

impl Passing {
    /// It comes from another host.
    pub fn relocate(&mut self, here: &Relocation) {
        self.rest.iter_mut().for_each(|destination| here.listener(&mut destination.listener));
    }
}

pub fn policy(core: &Core, trunk: &str) -> Requests {
    attempt::trunk_of(core, trunk).map(|trunk| trunk.requests).unwrap_or_default()
}

/// Whether a MESSAGE of `side` may cross to the other side of a call.
pub fn crosses(core: &Core, call: &Call, side: Side) -> bool {
    let passes = |side| call.leg(side).is_some_and(|leg| policy(core, &leg.trunk) == Requests::Pass);
    passes(side) && passes(side.other())
}

/// What goes along besides what a call's requests may carry: what describes the body, and what events are about.
fn about_events() -> Vec<HeaderName> {
    vec![
        HeaderName::ContentType,
        HeaderName::ContentEncoding,
        HeaderName::ContentLanguage,
        HeaderName::ContentDisposition,
        HeaderName::Event,
        HeaderName::SubscriptionState,
        HeaderName::Expires,
        HeaderName::MinExpires,
        HeaderName::Accept,
        HeaderName::AllowEvents,
        HeaderName::SipETag,
        HeaderName::SipIfMatch,
    ]
}

/// A MESSAGE, PUBLISH or SUBSCRIBE outside of any dialog, from a trunk that may send them.
pub fn incoming(core: &mut Core, turn: &mut Turn<'_>, server: ServerId, trunk: TrunkId, flow: Flow) {
    if let Err(status) = begin(core, turn, server, trunk, flow) {
        core.answer(turn.now, server, status);
    }
}

fn begin(core: &mut Core, turn: &mut Turn<'_>, server: ServerId, trunk: TrunkId, flow: Flow) -> Result<(), u16> {
    let request = core.live.tx.server(server).map(|entry| entry.request.clone()).ok_or(481u16)?;
    if request.max_forwards() == Some(0) {
        return Err(483);
    }
    // RFC 3261 §26.2.2: sips would have to be TLS to the end, which is not looked after here.
    if !matches!(request.uri().map(|uri| &uri.scheme), Some(Scheme::Sip | Scheme::Tel)) {
        return Err(416);
    }
    let name = core.config.trunks.get(usize::from(trunk.0)).map(|trunk| trunk.name.clone()).unwrap_or_default();
    let choice = core.routing.choose(&Asked::of(&request, trunk, core.clock.epoch_ms(turn.now)));
    if core.loops(&request, Core::mark(&choice.numbers.called.seen, &request)) {
        return Err(482);
    }
    let mut to = core.routing.destinations(&choice.to);
    if choice.rule.is_none() {
        return Err(404);
    }
    to.retain(|destination| policy(core, &destination.trunk) == Requests::Pass);
    let rest = VecDeque::from(choice::arrange(core, turn.now, to));
    if rest.is_empty() {
        return Err(403);
    }
    let subscription = match request.method() {
        Some(Method::Subscribe) => Some(subscription::begin(core, turn.now, &request, flow, &name)?),
        _ => None,
    };
    let numbers = choice.numbers;
    let passing = Passing { answer: server, from: name, to: String::new(), numbers, rest, subscription };
    next(core, turn, passing).map_err(|(status, subscription)| {
        subscription::end(core, subscription);
        status
    })
}

/// Sends the request to the next destination.
fn next(core: &mut Core, turn: &Turn<'_>, mut passing: Passing) -> Result<(), (u16, Option<u64>)> {
    let failed = |status: u16, passing: &Passing| (status, passing.subscription);
    let Some(destination) = passing.rest.pop_front() else { return Err(failed(503, &passing)) };
    let entry = core.live.tx.server(passing.answer).filter(|entry| entry.pending());
    let Some(request) = entry.map(|entry| entry.request.clone()) else { return Err(failed(481, &passing)) };
    let tag = core.random.token();
    let call_id = core.random.token();
    let built = build(core, &request, &passing, &destination, &call_id, &tag);
    let Some((message, dialog)) = built else { return Err(failed(500, &passing)) };
    let (path, mark) = (Path::direct(dialog.source), Core::mark(&passing.numbers.called.seen, &request));
    passing.to = destination.trunk.clone();
    if let Some(id) = passing.subscription {
        subscription::calls(core, id, dialog, &destination.trunk);
    }
    let failed = failed(503, &passing);
    core.send(turn.now, &destination.trunk, message, path, mark, Use::Outside(Box::new(passing)))
        .map(|_| ())
        .ok_or(failed)
}

fn build(
    core: &Core,
    request: &Message,
    passing: &Passing,
    destination: &Destination,
    call_id: &str,
    tag: &str,
) -> Option<(Message, Dialog)> {
    let method = request.method()?.clone();
    let written = Written::new(core, &passing.numbers, destination);
    let target = attempt::called_uri(&passing.numbers, request.uri()?, destination, &written)?;
    let crossing = Crossing::new(core, &passing.from, &destination.trunk, destination.listener);
    let mut from = attempt::calling_address(&passing.numbers, request, crossing.caller(request)?, &written)?;
    from.set_tag(tag);
    let mut to = NameAddr::new(target.clone());
    to.uri.port = None;
    to.uri.params = Default::default();
    let mut out = Message::request(method.clone(), target);
    let forwards = request.max_forwards().unwrap_or(70).saturating_sub(1);
    out.headers.push(HeaderName::MaxForwards, forwards.to_string());
    out.headers.push(HeaderName::From, from.to_string());
    out.headers.push(HeaderName::To, to.to_string());
    out.headers.push(HeaderName::CallId, call_id);
    out.headers.push(HeaderName::CSeq, CSeq { seq: 1, method: method.clone() }.to_string());
    if method == Method::Subscribe {
        out.headers.push(HeaderName::Contact, core.contact(destination.listener, false));
    }
    headers::push(crossing.request(request), &mut out);
    headers::copy(request, &mut out, about_events());
    out.body = request.body.clone();
    let flow = Flow {
        local: destination.listener,
        transport: destination.transport,
        remote: destination.remote,
        connection: None,
    };
    Some((out, Dialog::calling(call_id, from, to, 1, flow)))
}

/// A response to a request that was sent on.
pub fn response(core: &mut Core, turn: &mut Turn<'_>, passing: Passing, response: &Message, flow: Flow) {
    let Some(status) = response.status().filter(|status| *status >= 200) else { return };
    if status == 503 && !passing.rest.is_empty() {
        return try_next(core, turn, passing, status);
    }
    let Some(listener) = core.live.tx.server(passing.answer).map(|entry| entry.path().flow.local) else { return };
    let crossing = Crossing::new(core, &passing.to, &passing.from, listener);
    let phrase = headers::phrase_of(response).unwrap_or_default();
    let (shown, lines) = (crossing.status(response), crossing.response(response));
    let tag = match passing.subscription {
        Some(id) => subscription::settled(core, turn.now, id, response, flow),
        None => Some(core.random.token()),
    };
    let tag = tag.unwrap_or_else(|| core.random.token());
    let Some(mut out) = core.response(passing.answer, shown, &phrase, &tag) else { return };
    if passing.subscription.is_some() && status < 300 {
        let request = core.live.tx.server(passing.answer).map(|entry| entry.request.clone());
        if let Some(request) = request {
            headers::copy(&request, &mut out, vec![HeaderName::RecordRoute]);
        }
        out.headers.push(HeaderName::Contact, core.contact(listener, false));
    }
    headers::push(lines, &mut out);
    headers::copy(response, &mut out, about_events());
    out.body = response.body.clone();
    core.respond(turn.now, passing.answer, &out);
}

/// No response came, or the request could not be delivered.
pub fn lost(core: &mut Core, turn: &mut Turn<'_>, passing: Passing, transport: bool) {
    try_next(core, turn, passing, if transport { 503 } else { 408 });
}

fn try_next(core: &mut Core, turn: &mut Turn<'_>, passing: Passing, status: u16) {
    let (answer, more) = (passing.answer, !passing.rest.is_empty());
    if let Err((failed, subscription)) = next(core, turn, passing) {
        subscription::end(core, subscription);
        core.answer(turn.now, answer, if more { failed } else { status });
    }
}
