//! Session timers (RFC 4028) of one leg: what a request asks for, what a response settles, when to refresh and when to
//! give up. Slow-path thread; values and rules, no messages sent here (`refresh` does that).
//!
//! Each leg has a timer of its own: nothing of the headers crosses. "uac" and "uas" are the ends of the transaction
//! that carries the header, so they are turned into `Refresher` as soon as they are read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{attempt, call::Leg};
use crate::{
    base::Time,
    config::SessionTimerMode,
    sip::{
        endpoint::{Cause, Core, Refusal},
        message::{HeaderName, Message},
    },
};

/// RFC 4028 §5: no session interval is shorter.
pub const SHORTEST_S: u32 = 90;
/// RFC 4028 §10: the session ends this long before it expires, or a third of the interval if that is less.
const MARGIN_S: u64 = 32;

pub const TIMER: &str = "timer";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refresher {
    Us,
    Peer,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionTimer {
    pub interval_s: u32,
    pub refresher: Refresher,
    /// When we send a refresh.
    pub refresh_at: Option<Time>,
    /// When the session is taken for dead.
    pub bye_at: Time,
}

impl SessionTimer {
    /// From a 2xx that was sent or arrived just now.
    pub fn new(now: Time, interval_s: u32, refresher: Refresher) -> SessionTimer {
        let interval = Duration::from_secs(u64::from(interval_s));
        let margin = Duration::from_secs(MARGIN_S).min(interval / 3);
        SessionTimer {
            interval_s,
            refresher,
            // RFC 4028 §7.2, §9: at half of the interval.
            refresh_at: (refresher == Refresher::Us).then(|| now + interval / 2),
            bye_at: now + interval.saturating_sub(margin),
        }
    }

    pub fn next_deadline(&self) -> Time {
        self.refresh_at.map_or(self.bye_at, |at| at.min(self.bye_at))
    }
}

/// What the configuration says about a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub mode: SessionTimerMode,
    pub expires_s: u32,
    pub min_se_s: u32,
}

pub fn policy(core: &Core, trunk: &str) -> Policy {
    let all = core.config.sip.session_timer;
    let mode = attempt::trunk_of(core, trunk).and_then(|trunk| trunk.session_timer).unwrap_or(all.mode);
    Policy { mode, expires_s: all.expires_s, min_se_s: all.min_se_s.max(SHORTEST_S) }
}

/// A Session-Expires header: the interval, and who refreshes as the transaction calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SessionExpires {
    interval_s: u32,
    /// Some(true): the UAC.
    by_uac: Option<bool>,
}

/// `1800;refresher=uac`. One that cannot be read is none.
fn session_expires(message: &Message) -> Option<SessionExpires> {
    let mut parts = message.headers.get(&HeaderName::SessionExpires)?.split(';').map(str::trim);
    let interval_s = parts.next()?.parse().ok()?;
    let named = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| {
        let name = name.trim();
        name.eq_ignore_ascii_case("refresher")
    });
    let by_uac = named.and_then(|(_, who)| match who.trim() {
        who if who.eq_ignore_ascii_case("uac") => Some(true),
        who if who.eq_ignore_ascii_case("uas") => Some(false),
        _ => None,
    });
    Some(SessionExpires { interval_s, by_uac })
}

/// The largest Min-SE of a message: each proxy may have raised it (RFC 4028 §7.3 asks for the highest).
pub fn min_se(message: &Message) -> Option<u32> {
    let values = message.tokens(&HeaderName::MinSe);
    values.filter_map(|value| value.split(';').next()?.trim().parse().ok()).max()
}

/// Whether a request says that its sender speaks session timers.
fn supports(request: &Message) -> bool {
    [HeaderName::Supported, HeaderName::Require]
        .iter()
        .any(|name| request.tokens(name).any(|tag| tag.eq_ignore_ascii_case(TIMER)))
}

/// Whether a request is meant to refresh the session.
pub fn refreshes(request: &Message) -> bool {
    request.headers.contains(&HeaderName::SessionExpires)
}

/// RFC 4028 §9: an interval that is too short is refused, if its sender knows what 422 means.
pub fn check(policy: Policy, request: &Message) -> Result<(), Refusal> {
    let too_short = session_expires(request).is_some_and(|asked| asked.interval_s < policy.min_se_s);
    if policy.mode == SessionTimerMode::Off || !too_short || !supports(request) {
        return Ok(());
    }
    Err(Refusal::new(422, Cause::BadRequest).with(HeaderName::MinSe, policy.min_se_s.to_string()))
}

/// Completes a session refresh request of ours (INVITE, UPDATE). `timer`: the one that runs in this dialog; `min_se_s`:
/// the highest Min-SE that the peer has asked for.
pub fn ask(policy: Policy, timer: Option<&SessionTimer>, min_se_s: u32, request: &mut Message) {
    if policy.mode == SessionTimerMode::Off {
        return;
    }
    let least = min_se_s.max(SHORTEST_S);
    let value = match timer {
        // RFC 4028 §7.4: the interval and the roles that are in force.
        Some(timer) => {
            let who = if timer.refresher == Refresher::Us { "uac" } else { "uas" };
            format!("{};refresher={who}", timer.interval_s.max(least))
        }
        // RFC 4028 §7.1: who refreshes is for the other end to choose.
        None if policy.mode == SessionTimerMode::Request => policy.expires_s.max(least).to_string(),
        None => return,
    };
    request.headers.push(HeaderName::SessionExpires, value);
    if least > SHORTEST_S || policy.min_se_s > SHORTEST_S {
        request.headers.push(HeaderName::MinSe, least.max(policy.min_se_s).to_string());
    }
}

/// What a 422 demands, if that is more than `asked_s` and so worth another try (RFC 4028 §7.3).
pub fn demanded(policy: Policy, asked_s: u32, response: &Message) -> Option<u32> {
    let more = response.status() == Some(422) && policy.mode != SessionTimerMode::Off;
    min_se(response).filter(|least| more && *least > asked_s.max(SHORTEST_S))
}

/// A 2xx to a session refresh request of ours arrived in `leg`.
pub fn settled(policy: Policy, now: Time, leg: &mut Leg, response: &Message) {
    // RFC 4028 §7.2: without the header the session does not expire, also if it did before.
    leg.timer = session_expires(response).filter(|_| policy.mode != SessionTimerMode::Off).map(|said| {
        // The response must name the refresher; where it does not, we lose nothing by refreshing.
        let refresher = if said.by_uac == Some(false) { Refresher::Peer } else { Refresher::Us };
        SessionTimer::new(now, said.interval_s.max(SHORTEST_S), refresher)
    });
}

/// Completes our 2xx to the peer's session refresh request, and starts the timer anew.
pub fn settle(policy: Policy, now: Time, leg: &mut Leg, request: &Message, response: &mut Message) {
    leg.timer = settle_as(policy, now, leg.timer.as_ref(), request);
    let Some(timer) = &leg.timer else { return };
    let by_peer = timer.refresher == Refresher::Peer;
    let who = if by_peer { "uac" } else { "uas" };
    response.headers.push(HeaderName::SessionExpires, format!("{};refresher={who}", timer.interval_s));
    if by_peer {
        // RFC 4028 §9: the peer must know that it has to refresh.
        response.headers.push(HeaderName::Require, TIMER);
    }
}

fn settle_as(policy: Policy, now: Time, before: Option<&SessionTimer>, request: &Message) -> Option<SessionTimer> {
    if policy.mode == SessionTimerMode::Off {
        return None;
    }
    let (asked, knows) = (session_expires(request), supports(request));
    let least = min_se(request).unwrap_or(0).max(policy.min_se_s);
    let (interval_s, refresher) = match (asked, before) {
        (Some(asked), _) => {
            // RFC 4028 §9, table 2: as the request says; else we choose, and choose ourselves: a refresh of ours changes
            // nothing, and crosses to nobody.
            let by_peer = knows && asked.by_uac == Some(true);
            (asked.interval_s, if by_peer { Refresher::Peer } else { Refresher::Us })
        }
        // Another request refreshes the session too; its roles stay.
        (None, Some(before)) if knows => (before.interval_s, before.refresher),
        (None, _) if policy.mode == SessionTimerMode::Request => (policy.expires_s, Refresher::Us),
        (None, _) => return None,
    };
    Some(SessionTimer::new(now, interval_s.max(least), refresher))
}
