//! tandem's own session refreshes (RFC 4028 §7.4, §10) and the end of a session that nobody refreshed. Slow-path thread.
//!
//! A refresh concerns one leg. It is an UPDATE without a description where the peer takes UPDATE, else a re-INVITE with
//! the description that the peer was told last, in the same version.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ack,
    call::{Call, LegState, Phase},
    media, session_timer,
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

/// A refresh of ours under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refreshing {
    pub client: ClientId,
    pub seq: u32,
    /// A re-INVITE, not an UPDATE.
    pub invite: bool,
}

/// Lets the session timer of `side` fire.
pub fn fire(core: &mut Core, turn: &mut Turn<'_>, call: &mut Call, side: Side) {
    let Some(timer) = call.leg(side).and_then(|leg| leg.timer.as_ref()) else { return };
    if timer.bye_at <= turn.now {
        // RFC 4028 §10.
        let ending = Ending::tandem(Cause::SessionExpired, 408);
        teardown::end(core, turn, call, ending.with_reason("SIP;cause=408;text=\"Session timer expired\""));
    } else if timer.refresh_at.is_some_and(|at| at <= turn.now) {
        send(core, turn, call, side);
    }
}

fn send(core: &mut Core, turn: &Turn<'_>, call: &mut Call, side: Side) {
    if is_busy(call) {
        return postpone(call, side, turn.now + BUSY);
    }
    let offer = media::told(call, side);
    let id = call.id;
    let Some(leg) = call.leg_mut(side) else { return };
    if leg.state != LegState::Confirmed {
        leg.timer = None;
        return;
    }
    let invite = !leg.peer.update;
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
    leg.refreshing = client.map(|client| Refreshing { client, seq, invite });
    let again = leg.refreshing.is_none().then(|| turn.now + AGAIN);
    if let Some(timer) = &mut leg.timer {
        timer.refresh_at = again;
    }
}

/// RFC 3261 §14.1, RFC 3311 §5.1: one negotiation at a time.
fn is_busy(call: &Call) -> bool {
    let leg_is_busy = |side| call.leg(side).is_none_or(|leg| leg.unacked.is_some() || leg.refreshing.is_some());
    call.phase != Phase::Answered || call.reinvite.is_some() || leg_is_busy(Side::A) || leg_is_busy(Side::B)
}

fn postpone(call: &mut Call, side: Side, until: Time) {
    if let Some(timer) = call.leg_mut(side).and_then(|leg| leg.timer.as_mut()) {
        timer.refresh_at = Some(until);
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
            postpone(call, side, turn.now + wait);
        }
        405 | 501 if !done.invite => {
            // It said that it takes UPDATE, and does not.
            leg.peer.update = false;
            postpone(call, side, turn.now);
        }
        491 => {
            let wait = glare_wait(core, side);
            postpone(call, side, turn.now + wait);
        }
        _ => {
            let after = response.headers.get(&HeaderName::RetryAfter).and_then(|value| {
                let digits: String = value.trim().chars().take_while(char::is_ascii_digit).collect();
                digits.parse().ok().map(Duration::from_secs)
            });
            postpone(call, side, turn.now + after.unwrap_or(AGAIN).max(AGAIN));
        }
    }
}

/// RFC 3261 §14.1: who made the Call-ID (tandem, on leg B) waits 2.1 to 4 s, the other end up to 2 s, in steps of 10 ms.
fn glare_wait(core: &mut Core, side: Side) -> Duration {
    let steps = match side {
        Side::A => core.random.below(201),
        Side::B => 210 + core.random.below(191),
    };
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
    if leg.refreshing.take_if(|refreshing| refreshing.client == client).is_none() {
        return;
    }
    if transport {
        // The connection may come back before the session expires.
        postpone(call, side, turn.now + AGAIN);
    } else {
        teardown::dialog_lost(core, turn, call);
    }
}
