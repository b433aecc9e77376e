//! OPTIONS to the destinations of trunks (RFC 3261 §11): when they are sent, and what is made of what comes back.
//! Slow-path thread.
//!
//! At most one is under way per destination. One that is not answered when the next is due has failed: its transaction
//! would go on for 32 s, longer than anybody wants to wait for the news.

use std::time::Duration;

use super::{Trunks, limits::configured};
use crate::{
    base::Time,
    config::{Alive, Config, TrunkHealth},
    sip::{
        endpoint::{Core, Level, Use},
        flow::{Flow, Path},
        message::{CSeq, HeaderName, Host, Message, Method, NameAddr, Scheme, Uri},
        transaction::ClientId,
    },
};

impl Trunks {
    /// When each destination is asked next. Those that never were are spread over their interval, so that not all
    /// trunks are asked in one instant.
    pub(super) fn schedule(&mut self, config: &Config, now: Time) {
        self.probes = Default::default();
        let all: usize = config.trunks.iter().filter(|t| t.health.is_some()).map(|t| t.destinations.len()).sum();
        let mut nth = 0u32;
        for (at, trunk) in (0u16..).zip(&config.trunks) {
            let Some(rule) = &trunk.health else { continue };
            for (place, to) in (0u16..).zip(&trunk.destinations) {
                let Some(state) = self.destination_mut(&trunk.name, &to.uri) else { continue };
                let due = state.probe_at.unwrap_or(now + interval(rule) * nth / u32::try_from(all).unwrap_or(1).max(1));
                state.probe_at = Some(due);
                self.probes.set((at, place), Some(due));
                nth += 1;
            }
        }
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.probes.next()
    }

    /// No call will go anywhere any more: nobody is asked.
    pub fn stop_probes(&mut self) {
        self.probes = Default::default();
    }
}

fn interval(rule: &TrunkHealth) -> Duration {
    Duration::from_secs(u64::from(rule.interval_s.max(1)))
}

/// Asks the destinations that are due.
pub fn fire(core: &mut Core, now: Time) {
    while let Some((at, place)) = core.live.trunks.probes.pop_due(now) {
        let config = core.config.clone();
        let Some(trunk) = config.trunks.get(usize::from(at)) else { continue };
        let (Some(rule), Some(to)) = (&trunk.health, trunk.destinations.get(usize::from(place))) else { continue };
        let next = now + interval(rule);
        core.live.trunks.probes.set((at, place), Some(next));
        let Some(state) = core.live.trunks.destination_mut(&trunk.name, &to.uri) else { continue };
        state.probe_at = Some(next);
        if let Some(silent) = state.probe.take() {
            core.live.tx.abandon(silent);
            heard(core, now, &trunk.name, &to.uri, false, "no answer");
        }
        let sent = send(core, now, &trunk.name, &to.uri);
        if sent.is_none() {
            heard(core, now, &trunk.name, &to.uri, false, "OPTIONS cannot be sent");
        }
        if let Some(state) = core.live.trunks.destination_mut(&trunk.name, &to.uri) {
            state.probe = sent;
        }
    }
}

/// RFC 3261 §11.1: outside of a dialog, to the destination itself.
fn send(core: &mut Core, now: Time, trunk: &str, uri: &str) -> Option<ClientId> {
    let to = super::choice::first_server(core, now, trunk, uri)?;
    let (tag, call_id) = (core.random.token(), core.random.token());
    let local = core.local(to.listener)?;
    let mut from = NameAddr::new(Uri::sip(None, Host::Ip(local.told), None));
    from.set_tag(&tag);
    let target = Uri::parse(uri).ok()?;
    let mut callee = NameAddr::new(Uri::sip(None, target.host.clone(), None));
    callee.uri.scheme = target.scheme.clone();
    let secure = target.scheme == Scheme::Sips;
    let mut options = Message::request(Method::Options, target);
    let lines = &mut options.headers;
    lines.push(HeaderName::MaxForwards, "70");
    lines.push(HeaderName::From, from.to_string());
    lines.push(HeaderName::To, callee.to_string());
    lines.push(HeaderName::CallId, call_id.as_str());
    lines.push(HeaderName::CSeq, CSeq { seq: 1, method: Method::Options }.to_string());
    lines.push(HeaderName::Contact, core.contact(to.listener, secure));
    lines.push(HeaderName::Accept, crate::sip::endpoint::SDP);
    let flow = Flow { local: to.listener, transport: to.transport, remote: to.remote, connection: None };
    let purpose = Use::Probe { trunk: trunk.to_owned(), uri: uri.to_owned() };
    core.send(now, trunk, options, Path::direct(flow), 0, purpose)
}

/// A final response to an OPTIONS.
pub fn answered(core: &mut Core, now: Time, client: ClientId, trunk: &str, uri: &str, response: &Message) {
    let status = response.status().unwrap_or(0);
    if status < 200 || !ours(core, client, trunk, uri) {
        return;
    }
    let Some(rule) = configured(core, trunk).and_then(|trunk| trunk.health.as_ref()) else { return };
    let alive = match rule.alive {
        Alive::Any => true,
        Alive::Success => status < 300,
    };
    heard(core, now, trunk, uri, alive, &format!("answered {status}"));
}

/// It could not be delivered, or its transaction ended without an answer.
pub fn unanswered(core: &mut Core, now: Time, client: ClientId, trunk: &str, uri: &str, transport: bool) {
    if ours(core, client, trunk, uri) {
        heard(core, now, trunk, uri, false, if transport { "unreachable" } else { "no answer" });
    }
}

/// The probe under way is this one; it is over now.
fn ours(core: &mut Core, client: ClientId, trunk: &str, uri: &str) -> bool {
    let state = core.live.trunks.destination_mut(trunk, uri);
    state.is_some_and(|state| state.probe.take_if(|probe| *probe == client).is_some())
}

fn heard(core: &mut Core, now: Time, trunk: &str, uri: &str, alive: bool, why: &str) {
    let Some(rule) = configured(core, trunk).and_then(|trunk| trunk.health.clone()) else { return };
    let Some(state) = core.live.trunks.destination_mut(trunk, uri) else { return };
    if !state.health.note(now, &rule, alive) {
        return;
    }
    state.changes[usize::from(!alive)] += 1;
    let (level, word) = if alive { (Level::Info, "up") } else { (Level::Warn, "down") };
    core.log(level, None, None, format!("destination {uri} of trunk {trunk} is {word}: {why}"));
}
