//! The call that tandem makes to the target of a transfer: as if the transferee had called it, by the dial plan of the
//! transferor's trunk, who must be allowed to. Slow-path thread.

use std::collections::VecDeque;

use super::{Call, Deferred, Origin, notify, target::Target};
use crate::{
    base::ids::Side,
    sip::{
        b2bua::{
            attempt,
            call::{Leg, LegState},
            hiding, media, setup,
        },
        dialog::Dialog,
        endpoint::{CallId, Core, Level, SDP, Turn},
        message::{CSeq, HeaderName, Host, Message, Method, NameAddr, Uri, escape_user},
        route::{Asked, Number},
        transaction::ServerId,
        trunk::choice,
    },
};

/// Begins that call; it goes on by `Deferred`s, and fails by one.
pub fn begin(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, id: CallId, target: &Target, refer: &Message) {
    match make(core, turn, call, id, target, refer) {
        Ok(mut made) => {
            attempt::next(core, turn, &mut made);
            core.deferred.push_back(Deferred::Begin(Box::new(made)));
        }
        Err(status) => core.deferred.push_back(Deferred::Failed { of: call.id, target: id, status }),
    }
}

/// The status that says why not, else the call; its destinations are still to be tried.
fn make(
    core: &mut Core,
    turn: &Turn<'_>,
    call: &mut Call,
    id: CallId,
    target: &Target,
    refer: &Message,
) -> Result<Call, u16> {
    let side = call.transfer.as_ref().map_or(Side::A, |pending| pending.side);
    let (Some(transferor), Some(kept)) = (call.leg(side), call.leg(side.other())) else { return Err(481) };
    let offer = media::offer_of(call, side.other()).ok_or(488u16)?;
    let (from, trunk) = (transferor.trunk.clone(), kept.trunk.clone());
    if core.live.drain.is_some() || core.live.active >= core.config.sip.max_calls {
        return Err(503);
    }
    let caller = caller(call, side.other(), &kept.dialog.remote);
    let source = kept.dialog.source;
    let mut invite = Message::request(Method::Invite, target.address.uri.clone());
    let call_id = core.random.token();
    let forwards = refer.max_forwards().unwrap_or(70);
    invite.headers.push(HeaderName::MaxForwards, forwards.to_string());
    invite.headers.push(HeaderName::From, caller.to_string());
    invite.headers.push(HeaderName::To, NameAddr::new(target.address.uri.clone()).to_string());
    invite.headers.push(HeaderName::CallId, call_id.as_str());
    invite.headers.push(HeaderName::CSeq, CSeq { seq: 1, method: Method::Invite }.to_string());
    if let Some(privacy) = &kept.peer.privacy {
        invite.headers.push(HeaderName::Privacy, privacy.as_str());
    }
    invite.headers.push(HeaderName::ContentType, SDP);
    invite.body = offer;
    let asked_by = core.routing.trunk(&from).ok_or(404u16)?;
    let choice = core.routing.choose(&Asked::of(&invite, asked_by, core.clock.epoch_ms(turn.now)));
    if choice.rule.is_none() {
        return Err(404);
    }
    let destinations = core.routing.destinations(&choice.to);
    let targets = VecDeque::from(choice::arrange(core, turn.now, destinations));
    let its_trunk = core.routing.trunk(&trunk).ok_or(404u16)?;
    let mut record = setup::begin_record(core, turn, id, its_trunk, &invite, &choice);
    record.call_id_a = kept.dialog.call_id.clone();
    let replaces = target.replaces.as_ref().map(|replaces| replaces.write());
    let believed = attempt::trunk_of(core, &from).is_some_and(|trunk| trunk.identity.trust);
    let referred_by = refer.headers.get(&HeaderName::ReferredBy).filter(|_| believed).map(str::to_owned);
    let origin = Origin { of: call.id, invite, referred_by, replaces };
    let mut nobody = Leg::new(Dialog::calling(&call_id, caller.clone(), caller, 0, source), &trunk);
    nobody.state = LegState::Gone;
    core.live.active += 1;
    core.counters.calls += 1;
    let text = format!("transfer by {from} to {}", record.called);
    core.log(Level::Info, Some(call.id), Some(call.sip_call_id()), text);
    let mut made = setup::new_call(turn, id, ServerId::NONE, nobody, choice.numbers, record);
    made.targets = targets;
    made.origin = Some(Box::new(origin));
    Ok(made)
}

/// The transferee, with its number as the rules see numbers; who hides stays hidden.
fn caller(call: &Call, side: Side, address: &NameAddr) -> NameAddr {
    let number: Option<&Number> = match side {
        Side::A => call.numbers.calling.as_ref(),
        Side::B => Some(&call.numbers.called),
    };
    // After a transfer, the numbers are those of who was here before.
    let number = number.filter(|_| call.record.transfers.is_empty());
    let host = address.uri.host.clone();
    let user = number.map(|number| escape_user(&number.seen)).or(address.uri.user.clone());
    let uri = match &host {
        host if hiding::is_nowhere(host) => address.uri.clone(),
        Host::Ip(_) | Host::Name(_) => Uri::sip(user.as_deref(), host, None),
    };
    NameAddr { display: address.display.clone(), ..NameAddr::new(uri) }
}

/// A provisional response of the target.
pub fn rings(core: &mut Core, call: &Call, response: &Message) {
    if let (Some(origin), Some(status)) = (&call.origin, response.status()) {
        core.deferred.push_back(Deferred::Rings { of: origin.of, target: call.id, status });
    }
}

/// The target has answered.
pub fn answered(core: &mut Core, call: &Call) {
    if let Some(origin) = &call.origin {
        core.deferred.push_back(Deferred::Answered { of: origin.of, target: call.id });
    }
}

/// What the transferor is told of a provisional response.
pub fn told(core: &mut Core, turn: &Turn<'_>, call: &mut Call, target: CallId, status: u16) {
    if call.transfer.as_ref().is_some_and(|pending| pending.target == target) {
        notify::send(core, turn.now, call, status);
    }
}
