//! A REFER that crosses to the other side of the call, and the NOTIFYs that come back. Slow-path thread.
//!
//! Refer-To is masked like any address; the dialog that its Replaces names is known to the transferor by other tags and
//! another Call-ID than to the other side, so these are exchanged for those of the other leg of that call (RFC 3891 §3:
//! as who is asked sees it).

use serde::{Deserialize, Serialize};

use super::{Call, Named, Replaces, is_up, target::Target, target::escape_header};
use crate::{
    base::{ids::Side, limits::REFERS_PASSED},
    sip::{
        b2bua::{headers::Crossing, relay},
        endpoint::{Core, Turn},
        message::{HeaderName, Message, Method, NameAddr},
        transaction::ServerId,
    },
};

/// A REFER that was passed on: its CSeq numbers name the subscription on either side (RFC 3515 §2.4.6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassedRefer {
    from: Side,
    came: u32,
    went: u32,
}

/// The dialog that `named` is about, as the other side of its call knows it.
pub fn mapped(named: &Named, call: &Call) -> Option<Replaces> {
    if !named.is_of(call) {
        return None;
    }
    let far = call.leg(named.replaced().other())?;
    Some(Replaces {
        call_id: far.dialog.call_id.clone(),
        to_tag: far.dialog.remote_tag()?.to_owned(),
        from_tag: far.dialog.local_tag().to_owned(),
        early_only: named.replaces.early_only,
    })
}

/// Sends the REFER of `side` on. `replaces`: what is to stand in its Refer-To.
pub fn refer(
    core: &mut Core,
    turn: &Turn<'_>,
    call: &mut Call,
    side: Side,
    server: ServerId,
    replaces: Option<Replaces>,
) {
    let Some(request) = core.live.tx.server(server).filter(|entry| entry.pending()).map(|entry| entry.request.clone())
    else {
        return;
    };
    let sent = match Target::of(&request) {
        Ok(target) if is_up(call) => pass(core, turn, call, side, server, (&request, target, replaces)),
        Ok(_) => Err(481),
        Err(refusal) => Err(refusal.status),
    };
    match sent {
        Ok(went) => {
            let came = request.cseq().map_or(0, |cseq| cseq.seq);
            if call.passed.len() >= REFERS_PASSED {
                call.passed.remove(0);
            }
            call.passed.push(PassedRefer { from: side, came, went });
        }
        Err(status) => core.answer(turn.now, server, status),
    }
}

fn pass(
    core: &mut Core,
    turn: &Turn<'_>,
    call: &mut Call,
    side: Side,
    server: ServerId,
    (request, target, replaces): (&Message, Target, Option<Replaces>),
) -> Result<u32, u16> {
    let trunks = [side, side.other()].map(|side| call.leg(side).map(|leg| leg.trunk.clone()).unwrap_or_default());
    let crossing = Crossing::of_call(core, call, side);
    let mut shown = crossing.refer_to(&target.address, request).ok_or(403u16)?;
    if let (Some(from), Some(to)) = (core.routing.trunk(&trunks[0]), core.routing.trunk(&trunks[1])) {
        let number = core.routing.number(&target.address.uri, from);
        shown.uri.user = number.user_part(&target.address.uri, &core.routing.written(&number, to));
    }
    shown.uri.headers = replaces.map(|replaces| format!("Replaces={}", escape_header(&replaces.write())));
    let mut lines = vec![(HeaderName::ReferTo, NameAddr::new(shown.uri).to_string())];
    lines.extend(crossing.referred(request).map(|by| (HeaderName::ReferredBy, by)));
    let refer_sub = HeaderName::Other("Refer-Sub".into());
    lines.extend(request.headers.get(&refer_sub).map(|value| (refer_sub.clone(), value.to_owned())));
    relay::send(core, turn, call, side, server, request, Method::Refer, lines)
}

/// A NOTIFY of `side` about a REFER that was passed to it. False: there is none.
pub fn notify(
    core: &mut Core,
    turn: &Turn<'_>,
    call: &mut Call,
    side: Side,
    server: ServerId,
    request: &Message,
) -> bool {
    let Some((package, id)) = event(request).filter(|(package, _)| package.eq_ignore_ascii_case("refer")) else {
        return false;
    };
    let mut about = call.passed.iter().rev().filter(|refer| refer.from != side);
    let refer = match id {
        Some(id) => about.find(|refer| refer.went == id),
        None => about.next(),
    };
    let Some(refer) = refer else { return false };
    let event = id.map_or(package.clone(), |_| format!("{package};id={}", refer.came));
    let mut lines = vec![(HeaderName::Event, event)];
    lines.extend(
        request.headers.get(&HeaderName::SubscriptionState).map(|s| (HeaderName::SubscriptionState, s.to_owned())),
    );
    let mut request = request.clone();
    if request.content_is("message/sipfrag") {
        // What follows the status line tells of hops and addresses.
        let end = request.body.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(request.body.len());
        let mut line = request.body.slice(..end).to_vec();
        line.extend_from_slice(b"\r\n");
        request.body = line.into();
    }
    if let Err(status) = relay::send(core, turn, call, side, server, &request, Method::Notify, lines) {
        core.answer(turn.now, server, status);
    }
    true
}

fn event(request: &Message) -> Option<(String, Option<u32>)> {
    let mut parts = request.headers.get(&HeaderName::Event)?.split(';').map(str::trim);
    let package = parts.next()?.to_owned();
    let id = parts.find_map(|part| part.strip_prefix("id=")).and_then(|id| id.parse().ok());
    Some((package, id))
}
