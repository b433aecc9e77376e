//! An INVITE with Replaces (RFC 3891 §3): its caller takes the place of a leg. Slow-path thread.

use super::{Call, Deferred, Named, Replaces, is_up, join::Exchange, policy};
use crate::{
    base::limits::TRANSFERS_PER_CALL,
    config::Transfer,
    sip::{
        b2bua::{
            ack,
            call::{LegState, Phase},
            headers, media, session_timer, setup,
            teardown::{self, Ending},
        },
        endpoint::{CallRecord, Cause, Core, Refusal, SDP, TransferKind, Turn},
        flow::Flow,
        message::{HeaderName, Message},
        route::Numbers,
        transaction::ServerId,
    },
};

/// Begins the caller's own call, which waits for the one that it is to become a part of.
#[allow(clippy::too_many_arguments)]
pub fn begin(
    core: &mut Core,
    turn: &mut Turn<'_>,
    server: ServerId,
    request: &Message,
    flow: Flow,
    numbers: Numbers,
    record: CallRecord,
    replaces: Result<Replaces, Refusal>,
) {
    let named = replaces.and_then(|replaces| {
        // tandem would have to offer for a side that it has not asked.
        if request.body.is_empty() {
            return Err(Refusal::new(488, Cause::NotAcceptable));
        }
        Named::find(core, replaces).ok_or(Refusal::new(481, Cause::BadRequest))
    });
    match named {
        Err(refusal) => setup::refuse(core, turn, server, record, &refusal),
        Ok(named) => {
            if let Some(by) = setup::begin(core, turn, server, request, flow, numbers, record) {
                core.deferred.push_back(Deferred::Replace { by: Box::new(by), named });
            }
        }
    }
}

/// Why the leg is not to be replaced.
fn check(core: &Core, by: &Call, call: Option<&Call>, named: &Named) -> Result<(), Refusal> {
    let refused = |status| Err(Refusal::new(status, Cause::Rejected));
    let Some(call) = call.filter(|call| named.is_of(call)) else { return refused(481) };
    // RFC 3891 §3: the dialog was there, and has ended; an early one counts only where tandem called, and then its
    // caller waits for an answer of its own.
    match call.phase {
        Phase::Ended => return refused(603),
        Phase::Setup => return refused(481),
        Phase::Answered => {}
    }
    if named.replaces.early_only {
        return refused(486);
    }
    let trunk = call.leg(named.replaced()).map(|leg| leg.trunk.as_str()).unwrap_or_default();
    if trunk != by.a.trunk && policy(core, trunk) == Transfer::Refuse {
        return refused(403);
    }
    if call.transfer.is_some() {
        return refused(491);
    }
    if !is_up(call) || call.carried.len() >= TRANSFERS_PER_CALL {
        return refused(603);
    }
    Ok(())
}

/// The caller of `by` takes the place of the leg that its Replaces names, if that is there. `by` has ended afterwards.
pub fn replace(core: &mut Core, turn: &mut Turn<'_>, by: &mut Call, call: Option<&mut Call>, named: &Named) {
    if by.phase != Phase::Setup {
        return;
    }
    let done = check(core, by, call.as_deref(), named).and_then(|()| match call {
        Some(call) => take_over(core, turn, by, call, named),
        None => Ok(()),
    });
    if let Err(refusal) = done {
        teardown::end(core, turn, by, Ending::refused(refusal));
    }
}

fn take_over(
    core: &mut Core,
    turn: &mut Turn<'_>,
    by: &mut Call,
    call: &mut Call,
    named: &Named,
) -> Result<(), Refusal> {
    let side = named.replaced();
    let (server, gone) = (by.invite, || Refusal::new(481, Cause::DialogLost));
    let request = by.invite_request(core).cloned().ok_or_else(gone)?;
    let kept = call.leg(side.other()).map(|leg| leg.trunk.clone()).ok_or_else(gone)?;
    media::open(core, turn, by, &kept)?;
    let from = crate::base::ids::Side::A;
    let exchange = Exchange { call, side, other: by, from, kind: TransferKind::Replaced };
    let plan = exchange.plan(core, &request.body)?;
    let body = plan.1.sdp.clone();
    exchange.other.answered = Some(turn.now);
    exchange.other.a.state = LegState::Confirmed;
    exchange.carry_out(core, turn, &request.body, plan);
    core.counters.answered += 1;
    let Some(leg) = call.leg_mut(side) else { return Ok(()) };
    let Some(mut response) = core.response(server, 200, "", leg.dialog.local_tag()) else { return Ok(()) };
    headers::copy(&request, &mut response, vec![HeaderName::RecordRoute]);
    response.headers.push(HeaderName::Contact, core.contact(leg.dialog.source.local, leg.dialog.is_secure()));
    core.capabilities(&leg.trunk, &mut response);
    session_timer::settle(session_timer::policy(core, &leg.trunk), turn.now, leg, &request, &mut response);
    response.headers.push(HeaderName::ContentType, SDP);
    response.body = body;
    ack::accept(core, turn, call, side, server, &response, None);
    Ok(())
}
