//! tandem's own session refreshes (RFC 4028 §7.4, §10) and the end of a session that nobody refreshed. Slow-path thread.
//!
//! A refresh concerns one leg. It is an UPDATE without a description where the peer takes UPDATE, else a re-INVITE with
//! the description that the peer was told last, in the same version.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ack,
    call::{Call, Leg, LegState, Phase},
    media,
    session_timer::{self, Refresher},
    teardown::{self, Ending},
};
use crate::{
    base::{Time, ids::Side},
    sip::{
        endpoint::{Cause, Core, SDP, Turn, Use},
        flow::Flow,
        message::{HeaderName, Message, Method},
        transaction::ClientId,
    },
};

/// A refresh that was refused for the moment is sent again after this, if the response names no time.
const AGAIN: Duration = Duration::from_secs(5);
/// Another negotiation is under way: looked at again after this.
const BUSY: Duration = Duration::from_secs(1);
/// The same, where somebody may be on hold meanwhile.
const SOON: Duration = Duration::from_millis(200);

/// A refresh of ours under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refreshing {
    pub client: ClientId,
    pub seq: u32,
    /// A re-INVITE, not an UPDATE.
    pub invite: bool,
    /// It tells that another party is at the other end: how often that was tried.
    #[serde(default)]
    pub reoffer: Option<u8>,
}

/// A re-INVITE that tells a side what has become of the other one, to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reoffer {
    pub at: Time,
    pub tries: u8,
}

/// Re-INVITEs that tell the same; then the side stays as it is.
const REOFFERS: u8 = 5;

/// Lets the session timer of `side` fire, and tells it what has changed.
pub fn fire(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, side: Side) {
    if let Some(reoffer) = call.leg(side).and_then(|leg| leg.reoffer).filter(|reoffer| reoffer.at <= turn.now) {
        send(core, turn, call, side, Some(reoffer.tries));
    }
    let Some(timer) = call.leg(side).and_then(|leg| leg.timer.as_ref()) else { return };
    if timer.bye_at <= turn.now {
        // RFC 4028 §10.
        let ending = Ending::tandem(Cause::SessionExpired, 408);
        teardown::end(core, turn, call, ending.with_reason("SIP;cause=408;text=\"Session timer expired\""));
    } else if timer.refresh_at.is_some_and(|at| at <= turn.now) {
        send(core, turn, call, side, None);
    }
}

/// Sends a refresh, or (`reoffer`) a re-INVITE with what this side is to know from now on.
fn send(core: &mut Core, turn: &Turn<'_>, call: &mut Call, side: Side, reoffer: Option<u8>) {
    if is_busy(call) {
        let wait = if reoffer.is_some() { SOON } else { BUSY };
        return again(call, side, reoffer, turn.now + wait);
    }
    let offer = media::told(call, side);
    let id = call.id;
    let Some(leg) = call.leg_mut(side) else { return };
    if leg.state != LegState::Confirmed {
        leg.timer = None;
        leg.reoffer = None;
        return;
    }
    // What is told anew is told, whatever a refresh would have done.
    let reoffer = reoffer.or(leg.reoffer.map(|reoffer| reoffer.tries));
    leg.reoffer = None;
    let invite = reoffer.is_some() || !leg.peer.update;
    let mut request = leg.dialog.request(if invite { Method::Invite } else { Method::Update });
    let seq = leg.dialog.local_seq();
    let path = core.path(&leg.dialog, &leg.trunk);
    request.headers.push(HeaderName::Contact, core.contact(path.flow.local, leg.dialog.is_secure()));
    core.capabilities(&leg.trunk, &mut request);
    session_timer::ask(session_timer::policy(core, &leg.trunk), leg.timer.as_ref(), leg.min_se_s, &mut request);
    if let Some(offer) = offer.filter(|_| invite) {
        request.headers.push(HeaderName::ContentType, SDP);
        request.body = offer;
    }
    let client = core.send(turn.now, &leg.trunk, request, path, 0, Use::Refresh { call: id, to: side });
    leg.refreshing = client.map(|client| Refreshing { client, seq, invite, reoffer: reoffer.map(|tries| tries + 1) });
    let wait = leg.refreshing.is_none().then(|| turn.now + AGAIN);
    if let Some(timer) = &mut leg.timer {
        timer.refresh_at = wait;
    }
}

/// This side is to be told, as soon as nothing else is under way, what is at the other end now.
pub fn tell(now: Time, leg: &mut Leg) {
    leg.reoffer = Some(Reoffer { at: now, tries: 0 });
}

/// RFC 3261 §14.1, RFC 3311 §5.1: one negotiation at a time.
fn is_busy(call: &Call) -> bool {
    let leg_is_busy = |side| call.leg(side).is_none_or(|leg| leg.unacked.is_some() || leg.refreshing.is_some());
    call.phase != Phase::Answered || call.reinvite.is_some() || leg_is_busy(Side::A) || leg_is_busy(Side::B)
}

/// What was sent did not come to anything for the moment.
fn again(call: &mut Call, side: Side, reoffer: Option<u8>, at: Time) {
    let Some(leg) = call.leg_mut(side) else { return };
    if let Some(tries) = reoffer {
        leg.reoffer = (tries < REOFFERS).then_some(Reoffer { at, tries });
    }
    if let Some(timer) = leg.timer.as_mut().filter(|timer| timer.refresher == Refresher::Us) {
        timer.refresh_at = Some(at);
    }
}

/// A response to a refresh of ours.
pub fn response(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    side: Side,
    client: ClientId,
    response: &Message,
    flow: Flow,
) {
    let status = response.status().unwrap_or(0);
    let Some(leg) = call.leg_mut(side) else { return };
    if status < 200 {
        return;
    }
    let Some(done) = leg.refreshing.take_if(|refreshing| refreshing.client == client) else { return };
    let policy = session_timer::policy(core, &leg.trunk);
    match status {
        200..=299 => {
            leg.dialog.refresh(response, flow);
            leg.peer.note(response);
            session_timer::settled(policy, turn.now, leg, response);
            if done.invite {
                ack::confirm(core, call, side, client, done.seq, None);
                if let Some(answer) = media::sdp_of(response) {
                    media::refreshed(core, turn, call, side, &answer);
                }
            }
        }
        // RFC 3261 §12.2.1.2, RFC 4028 §10.
        408 | 481 => teardown::dialog_lost(core, turn, call),
        422 => {
            let asked = leg.timer.as_ref().map_or(0, |timer| timer.interval_s).max(leg.min_se_s);
            let demanded = session_timer::demanded(policy, asked, response);
            leg.min_se_s = demanded.unwrap_or(leg.min_se_s);
            let wait = if demanded.is_some() { Duration::ZERO } else { AGAIN };
            again(call, side, done.reoffer, turn.now + wait);
        }
        405 | 501 if !done.invite => {
            // It said that it takes UPDATE, and does not.
            leg.peer.update = false;
            again(call, side, done.reoffer, turn.now);
        }
        491 => {
            let ours = leg.place.is_some();
            let wait = glare_wait(core, ours);
            again(call, side, done.reoffer, turn.now + wait);
        }
        _ => {
            let after = response.headers.get(&HeaderName::RetryAfter).and_then(|value| {
                let digits: String = value.trim().chars().take_while(char::is_ascii_digit).collect();
                digits.parse().ok().map(Duration::from_secs)
            });
            // Who refuses to be told keeps what it had; a session that is not refreshed would end.
            let reoffer = done.reoffer.filter(|_| (500..600).contains(&status));
            again(call, side, reoffer, turn.now + after.unwrap_or(AGAIN).max(AGAIN));
        }
    }
}

/// RFC 3261 §14.1: who made the Call-ID (tandem, where it called) waits 2.1 to 4 s, the other end up to 2 s, in steps
/// of 10 ms.
fn glare_wait(core: &mut Core, ours: bool) -> Duration {
    let steps = if ours { 210 + core.random.below(191) } else { core.random.below(201) };
    Duration::from_millis(u64::from(steps) * 10)
}

/// No response came to a refresh of ours, or it could not be delivered.
pub fn unanswered(
    core: &mut Core,
    turn: &mut Turn<'_>,
    call: &mut Call,
    side: Side,
    client: ClientId,
    transport: bool,
) {
    let Some(leg) = call.leg_mut(side) else { return };
    let Some(done) = leg.refreshing.take_if(|refreshing| refreshing.client == client) else { return };
    if transport {
        // The connection may come back before the session expires.
        again(call, side, done.reoffer, turn.now + AGAIN);
    } else {
        teardown::dialog_lost(core, turn, call);
    }
}
