//! Requests on their way in: which transaction, which dialog, which trunk (RFC 3261 §18.2, §17.2.3, §8.2, §12.2.2).
//!
//! Slow-path thread. Who is nobody to us, by transaction, dialog or trunk, is answered without state or not at all.

use std::net::SocketAddr;

use super::{Cause, Core, Endpoint, Refusal, Turn, counters::method_label};
use crate::{
    base::{ids::Side, limits::SIP_SERVER_TRANSACTIONS},
    config::{SipTransport, UnknownCaller},
    sip::{
        b2bua::{Call, ack, reinvite, relay, reliable, setup, teardown, transfer, update},
        dialog::DialogKey,
        flow::{Flow, Path},
        message::{HeaderName, Malformed, Message, Method, Via},
        outside,
        route::TrunkId,
        transaction::{ServerId, ServerKey, table::Label},
    },
};

impl Endpoint {
    /// What could not be read is answered as its reader says, or not at all.
    pub(super) fn malformed(&mut self, flow: Flow, malformed: &Malformed) {
        *self.core.counters.malformed.entry(malformed.kind).or_default() += 1;
        let Some(reply) = &malformed.reply else { return };
        let silent = self.core.config.sip.unknown_caller == UnknownCaller::Silent;
        if silent && self.core.trunk_of(&flow).is_none() {
            return;
        }
        let mut reply = reply.as_ref().clone();
        let Ok(via) = reply.top_via() else { return };
        note_source(&mut reply, &flow, &via);
        let label = Label::of(&reply);
        self.core.live.tx.transmit(&reply_path(&flow, &via), reply.write().into(), label, false);
    }

    pub(super) fn request(&mut self, turn: &mut Turn<'_>, flow: Flow, mut request: Message) {
        let Some(method) = request.method().cloned() else { return };
        *self.core.counters.requests_in.entry(method_label(&method)).or_default() += 1;
        let Ok(via) = request.top_via() else { return };
        let Some(key) = ServerKey::of(&request, &via) else { return };
        note_source(&mut request, &flow, &via);
        let path = reply_path(&flow, &via);
        if let Some(id) = self.core.live.tx.server_of(&key) {
            if method != Method::Ack {
                self.core.counters.retransmissions_in += 1;
                self.core.live.tx.repeated(id);
            } else if self.core.live.tx.ack(turn.now, id, &request) {
                self.ack(turn, &flow, &request);
            }
            return;
        }
        match method {
            Method::Ack => self.ack(turn, &flow, &request),
            Method::Cancel => self.cancel(turn, flow, key, path, request),
            _ if request.to().is_ok_and(|to| to.tag().is_some()) => self.in_dialog(turn, flow, key, path, request),
            _ => self.out_of_dialog(turn, flow, key, path, request),
        }
    }

    fn ack(&mut self, turn: &mut Turn<'_>, flow: &Flow, request: &Message) {
        let found = DialogKey::of_request(request).and_then(|key| self.core.live.dialogs.get(&key).copied());
        let Some((id, side)) = found.filter(|found| self.is_from_leg(*found, flow)) else {
            // RFC 3261 §17.2.1: nothing answers an ACK.
            self.core.counters.strays += 1;
            return;
        };
        self.with_call(id, |core, call| {
            if call.leg(side).is_some_and(|leg| leg.dialog.is_from_peer(request)) {
                ack::received(core, turn, call, side, request);
            }
        });
    }

    /// Whoever saw a message of a dialog knows its tags. Its requests come from where the peer spoke last, or from an
    /// address of its trunk; from elsewhere, or in the clear where the peer spoke over TLS, they belong to no dialog.
    fn is_from_leg(&self, (id, side): (super::CallId, Side), flow: &Flow) -> bool {
        let Some(leg) = self.calls.get(&id).and_then(|call| call.leg(side)) else { return false };
        let ip = flow.remote.ip();
        if leg.dialog.source.transport == SipTransport::Tls && flow.transport != SipTransport::Tls {
            return false;
        }
        ip == leg.dialog.source.remote.ip() || self.core.knows(&leg.trunk, ip)
    }

    /// RFC 3261 §9.2.
    fn cancel(&mut self, turn: &mut Turn<'_>, flow: Flow, key: ServerKey, path: Path, request: Message) {
        // RFC 3261 §22.1: a CANCEL comes from the hop that the request came from. Branches are unique, not secret: whoever
        // guesses one from elsewhere ends nothing, and leaves no transaction that could swallow the genuine one.
        let invite = self.core.live.tx.server_of(&key.cancelled()).filter(|invite| {
            let entry = self.core.live.tx.server(*invite);
            entry.map(|entry| entry.path().flow).is_some_and(|invite| {
                let clear = invite.transport == SipTransport::Tls && flow.transport != SipTransport::Tls;
                invite.remote.ip() == flow.remote.ip() && !clear
            })
        });
        let Some(invite) = invite else {
            if self.admitted(&flow, &path, &request).is_some() {
                self.core.answer_stateless(&path, &request, 481);
            }
            return;
        };
        let (owner, tag) = match self.core.live.tx.server(invite) {
            Some(entry) => (entry.user, entry.to_tag.clone()),
            None => (None, None),
        };
        let server = self.core.live.tx.accept(key, request.clone(), path, owner);
        let tag = owner.and_then(|(id, side)| self.local_tag(id, side)).or(tag);
        self.core.refuse(turn.now, server, tag.as_deref(), &Refusal::new(200, Cause::Cancelled));
        let Some((id, _)) = owner else { return };
        self.with_call(id, |core, call| {
            if invite == call.invite {
                teardown::cancelled(core, turn, call, &request);
            } else {
                reinvite::cancelled(core, turn, call, invite, 487);
            }
        });
    }

    fn local_tag(&self, id: super::CallId, side: Side) -> Option<String> {
        Some(self.calls.get(&id)?.leg(side)?.dialog.local_tag().to_owned())
    }

    fn in_dialog(&mut self, turn: &mut Turn<'_>, flow: Flow, key: ServerKey, path: Path, request: Message) {
        let found = DialogKey::of_request(&request).and_then(|key| self.core.live.dialogs.get(&key).copied());
        let known = found.filter(|(id, side)| {
            let leg = self.calls.get(id).and_then(|call| call.leg(*side));
            leg.is_some_and(|leg| leg.knows(&request)) && self.is_from_leg((*id, *side), &flow)
        });
        let Some((id, side)) = known else {
            if self.in_subscription(turn, &flow, &key, &path, &request) {
                return;
            }
            // RFC 3261 §12.2.2: a dialog that we do not know (any more).
            if self.admitted(&flow, &path, &request).is_some() {
                self.core.answer_stateless(&path, &request, 481);
            }
            return;
        };
        let server = self.core.live.tx.accept(key, request.clone(), path, Some((id, side)));
        self.with_call(id, |core, call| dispatch(core, turn, call, side, server, &request, flow));
    }

    /// False: it belongs to no subscription either.
    fn in_subscription(
        &mut self,
        turn: &mut Turn<'_>,
        flow: &Flow,
        key: &ServerKey,
        path: &Path,
        request: &Message,
    ) -> bool {
        let all = &self.core.live.subscriptions;
        let found = all.find(request).filter(|found| {
            let ip = flow.remote.ip();
            all.place(*found).is_some_and(|(source, trunk)| {
                let clear = source.transport == SipTransport::Tls && flow.transport != SipTransport::Tls;
                !clear && (ip == source.remote.ip() || self.core.knows(trunk, ip))
            })
        });
        let Some(found) = found else { return false };
        let server = self.core.live.tx.accept(key.clone(), request.clone(), *path, None);
        outside::within(&mut self.core, turn, found, server, request, *flow);
        true
    }

    fn out_of_dialog(&mut self, turn: &mut Turn<'_>, flow: Flow, key: ServerKey, path: Path, request: Message) {
        let Some(trunk) = self.admitted(&flow, &path, &request) else { return };
        // A source address can be forged: what has no dialog may not fill the table for what has one.
        if self.core.live.tx.servers() >= SIP_SERVER_TRANSACTIONS {
            self.core.counters.overload += 1;
            self.core.answer_stateless(&path, &request, 503);
            return;
        }
        // Datagrams had their turn before they were read.
        if flow.reliable() && request.method() == Some(&Method::Invite) && !self.core.overload.admits() {
            self.core.counters.shed += 1;
            self.core.answer_stateless(&path, &request, 503);
            return;
        }
        let merged = self.core.live.tx.merged(&request);
        let name =
            self.core.config.trunks.get(usize::from(trunk.0)).map(|trunk| trunk.name.clone()).unwrap_or_default();
        let method = request.method().cloned().unwrap_or(Method::Invite);
        // RFC 3261 §8.2: who it is comes before what is wanted.
        let demanded = self.core.demands(turn.now, &name, &request);
        let refusal = demanded.or_else(|| refuse_method(&self.core, &method, &name)).or_else(|| match method {
            // Refused as a call, with a record.
            Method::Invite => None,
            _ => setup::check_extensions(&request, &self.core.extensions(&name)).err(),
        });
        let server = self.core.live.tx.accept(key, request, path, None);
        if merged {
            // RFC 3261 §8.2.2.2.
            self.core.answer(turn.now, server, 482);
        } else if let Some(refusal) = refusal {
            self.core.refuse(turn.now, server, None, &refusal);
        } else {
            match method {
                Method::Invite => {
                    if let Some(call) = setup::incoming(&mut self.core, turn, server, trunk, flow) {
                        self.keep(Box::new(call));
                    }
                }
                Method::Options => relay::options(&mut self.core, turn, server, &name),
                Method::Message | Method::Publish | Method::Subscribe => {
                    outside::incoming(&mut self.core, turn, server, trunk, flow);
                }
                // RFC 5589 §5.4 would have it refused where the caller is unknown; tandem has no call to transfer.
                Method::Refer => self.core.answer(turn.now, server, 603),
                // RFC 3261 §15.1.2, RFC 6086 §4.2.2, RFC 3311 §5.2, RFC 3262 §3: BYE, INFO, UPDATE and PRACK have a
                // dialog, or are lost.
                _ => self.core.answer(turn.now, server, 481),
            }
        }
    }

    /// The trunk that a message comes from. None: from nobody, who is answered by configuration.
    fn admitted(&mut self, flow: &Flow, path: &Path, request: &Message) -> Option<TrunkId> {
        let trunk = self.core.trunk_of(flow);
        if trunk.is_none() {
            self.core.counters.unknown_callers += 1;
            if self.core.config.sip.unknown_caller == UnknownCaller::Reject {
                self.core.answer_stateless(path, request, 403);
            }
        }
        trunk
    }
}

impl Core {
    pub(super) fn trunk_of(&self, flow: &Flow) -> Option<TrunkId> {
        let address = self.local(flow.local).map_or("", |local| local.name.as_str());
        let id = self.routing.trunk_of(flow.remote.ip(), address)?;
        // The sockets let in over TLS from its addresses who shows one of its certificates, and nobody else.
        let demanding = self.config.trunks.get(usize::from(id.0)).is_some_and(|trunk| trunk.tls.demands_certificate());
        (!demanding || flow.transport == SipTransport::Tls).then_some(id)
    }
}

/// A request within a dialog.
fn dispatch(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    side: Side,
    server: ServerId,
    request: &Message,
    flow: Flow,
) {
    let Some(leg) = call.leg_mut(side) else { return };
    if let Some(refusal) = core.demands(turn.now, &leg.trunk, request) {
        core.refuse(turn.now, server, None, &refusal);
        return;
    }
    let tag = request.from().ok().and_then(|from| from.tag().map(str::to_owned));
    let Some((dialog, _)) = leg.with_tag(tag.as_deref()) else { return };
    if dialog.note_request(request, flow).is_err() {
        core.answer(turn.now, server, 500);
        return;
    }
    let known = core.extensions(&leg.trunk);
    let method = request.method().unwrap_or(&Method::Invite);
    // A NOTIFY comes as an answer to something, and is looked at.
    let refused = refuse_method(core, method, &leg.trunk).filter(|_| *method != Method::Notify);
    if let Some(refusal) = refused.or_else(|| setup::check_extensions(request, &known).err()) {
        core.refuse(turn.now, server, None, &refusal);
        return;
    }
    let trunk = leg.trunk.clone();
    match method {
        Method::Invite => reinvite::incoming(core, turn, call, side, server, request),
        Method::Bye => teardown::bye_received(core, turn, call, side, server, request),
        Method::Info => relay::pass(core, turn, call, side, server, request),
        Method::Update => update::incoming(core, turn, call, side, server, request),
        Method::Prack if side == Side::A => reliable::received(core, turn, call, server, request),
        // RFC 3262 §3: it acknowledges nothing that we sent.
        Method::Prack => core.answer(turn.now, server, 481),
        Method::Refer => transfer::incoming(core, turn, call, side, server, request),
        Method::Message if outside::crosses(core, call, side) => relay::pass(core, turn, call, side, server, request),
        Method::Notify if transfer::pass_notify(core, turn, call, side, server, request) => {}
        // RFC 6665 §4.1.3: nobody subscribed to that.
        Method::Notify => core.answer(turn.now, server, 481),
        Method::Options => relay::options(core, turn, server, &trunk),
        _ => core.refuse(turn.now, server, None, &not_allowed(core, &trunk)),
    }
}

/// RFC 3261 §8.2.1: 405 for methods that are known and not taken, §21.5.2: 501 for those that are not known.
fn refuse_method(core: &Core, method: &Method, trunk: &str) -> Option<Refusal> {
    match method {
        Method::Other(_) => Some(Refusal::new(501, Cause::BadRequest)),
        method if core.allowed(trunk).split(", ").any(|allowed| allowed == method.as_str()) => None,
        _ => Some(not_allowed(core, trunk)),
    }
}

fn not_allowed(core: &Core, trunk: &str) -> Refusal {
    Refusal::new(405, Cause::BadRequest).with(HeaderName::Allow, core.allowed(trunk))
}

/// RFC 3261 §18.2.1 and RFC 3581 §4: the top Via is told where the message really came from.
fn note_source(message: &mut Message, flow: &Flow, via: &Via) {
    let ip = flow.remote.ip().to_canonical();
    let asked = via.rport().is_some();
    if !asked && via.host.ip() == Some(ip) {
        return;
    }
    let mut via = via.clone();
    via.params.set("received", Some(&ip.to_string()));
    if asked {
        via.params.set("rport", Some(&flow.remote.port().to_string()));
    }
    let lines: Vec<String> = message.headers.all(&HeaderName::Via).map(str::to_owned).collect();
    let Some((first, rest)) = lines.split_first() else { return };
    let first = match Via::parse_list(first) {
        Ok(list) => std::iter::once(via.to_string())
            .chain(list.iter().skip(1).map(Via::to_string))
            .collect::<Vec<_>>()
            .join(", "),
        Err(_) => via.to_string(),
    };
    message.headers.remove(&HeaderName::Via);
    for line in rest.iter().rev() {
        message.headers.push_front(HeaderName::Via, line.as_str());
    }
    message.headers.push_front(HeaderName::Via, first);
}

/// RFC 3261 §18.2.2 and RFC 3581 §4: where responses go. `maddr` is not followed: it would let a caller choose a third
/// party as their target.
pub(super) fn reply_path(flow: &Flow, via: &Via) -> Path {
    let sent_by = SocketAddr::new(flow.remote.ip(), via.port.unwrap_or(flow.transport.default_port()));
    match flow.transport {
        SipTransport::Tcp | SipTransport::Tls => Path { flow: *flow, fallback: Some(sent_by) },
        SipTransport::Udp if via.rport().is_some() => Path::direct(*flow),
        SipTransport::Udp => Path::direct(Flow { remote: sent_by, ..*flow }),
    }
}
