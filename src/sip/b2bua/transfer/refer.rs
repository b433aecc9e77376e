//! A REFER within a call (RFC 3515 §2.4.2): what is refused, and who carries it out. Slow-path thread.

use super::{
    Call, Deferred, Named, Pending, blind, is_up,
    notify::{self, Subscription},
    policy,
    target::Target,
};
use crate::{
    base::{ids::Side, limits::TRANSFERS_PER_CALL},
    config::Transfer,
    sip::{
        endpoint::{CallId, Cause, Core, Refusal, Turn},
        message::{HeaderName, Message},
        transaction::ServerId,
    },
};

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

fn refused(status: u16) -> Refusal {
    Refusal::new(status, Cause::BadRequest)
}

fn begin(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    side: Side,
    server: ServerId,
    request: &Message,
) -> Result<(), Refusal> {
    let trunk = call.leg(side).map(|leg| leg.trunk.clone()).unwrap_or_default();
    let target = Target::of(request)?;
    if request.max_forwards() == Some(0) {
        return Err(refused(483));
    }
    // Before the answer there is nobody yet whom to send elsewhere.
    if !is_up(call) {
        return Err(refused(603));
    }
    if call.transfer.is_some() {
        return Err(refused(491));
    }
    let passes = policy(core, &trunk) == Transfer::Pass;
    if passes {
        core.deferred.push_back(Deferred::Pass { of: call.id, side, server });
        return Ok(());
    }
    if call.carried.len() >= TRANSFERS_PER_CALL {
        return Err(refused(603));
    }
    let named = target.replaces.clone().and_then(|replaces| Named::find(core, replaces));
    if named.as_ref().is_some_and(|named| named.of == call.id) {
        return Err(refused(603));
    }
    let subscription = wants_to_know(request).then(|| subscribe(call, side, request));
    let target_call = named.as_ref().map_or_else(|| CallId(core.random.u64()), |named| named.of);
    let pending = Pending { side, target: target_call, subscription };
    notify::accept(core, turn.now, call, &pending, server);
    call.transfer = Some(Box::new(pending));
    notify::send(core, turn.now, call, 100);
    match named {
        Some(named) => core.deferred.push_back(Deferred::Attend { of: call.id, named }),
        None => blind::begin(core, turn, call, target_call, &target, request),
    }
    Ok(())
}

/// RFC 4488 §4.
fn wants_to_know(request: &Message) -> bool {
    let said = request.headers.get(&HeaderName::Other("Refer-Sub".into()));
    !said.is_some_and(|said| said.split(';').next().is_some_and(|value| value.trim().eq_ignore_ascii_case("false")))
}

fn subscribe(call: &mut Call, side: Side, request: &Message) -> Subscription {
    let again = call.leg_mut(side).is_some_and(|leg| std::mem::replace(&mut leg.referred, true));
    let id = request.cseq().ok().map(|cseq| cseq.seq).filter(|_| again);
    Subscription { id, after: None, told: 0 }
}
