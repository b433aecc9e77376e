//! Registration of tandem with trunks (RFC 3261 §10.2): REGISTER is sent, renewed in time, and taken back when tandem shuts
//! down. Slow-path thread, no I/O.
//!
//! - `machine`: one registration, without messages.
//! - `view`: what the operator is shown.
//!
//! Here: the messages, and which server gets them. Challenges are answered where those of all requests are (`auth`).
//!
//! Always: at most one REGISTER of a trunk is under way; a registration is known by its trunk's name, its registrar and
//! its address of record, so that saved state fits a configuration that has changed.

pub mod machine;
#[cfg(test)]
mod tests;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use self::machine::{Outcome, Registration, UnderWay};
pub use self::view::RegistrationView;
use super::{
    deadlines::Deadlines,
    endpoint::{ALLOW, Core, Level, Random, Use},
    flow::{Flow, ListenerId, Path},
    message::{CSeq, HeaderName, Message, Method, NameAddr, Scheme, Uri},
    route::Destination,
    transaction::ClientId,
    trunk::{choice, limits::configured},
};
use crate::{
    base::{Time, marks::Marks},
    config::{Config, Trunk, TrunkRegister},
};

/// After a start the first REGISTERs are this far apart.
const APART: Duration = Duration::from_millis(20);

/// Every registration of the configuration, by its trunk's name.
#[derive(Clone, Debug, Default)]
pub struct Registrations {
    by_trunk: BTreeMap<String, Registration>,
    /// Trunks that are not called while they are not registered. Made from the configuration.
    required: BTreeSet<String>,
    /// By the trunk's place. Made from `by_trunk`.
    due: Deadlines<u16>,
    /// For the journal.
    changed: Marks<String>,
}

impl Registrations {
    /// Fits the state to the configuration: what is not configured goes, what is new begins.
    pub fn fit(&mut self, config: &Config, now: Time, random: &mut Random) {
        let rule = |name: &str| config.trunks.iter().find(|trunk| trunk.name == name)?.register.as_ref();
        self.by_trunk.retain(|name, registration| rule(name).is_some_and(|rule| registration.is_of(rule)));
        self.due = Deadlines::default();
        let mut first = now;
        for (at, trunk) in (0u16..).zip(&config.trunks) {
            let Some(rule) = &trunk.register else { continue };
            if rule.required {
                self.required.insert(trunk.name.clone());
            }
            let registration = self.by_trunk.entry(trunk.name.clone()).or_insert_with(|| {
                first += APART;
                Registration::new(rule, random.token(), random.short(), first)
            });
            self.due.set(at, registration.next_deadline());
        }
    }

    /// Whether `take_changed` is asked for.
    pub fn follow(&mut self, asked: bool) {
        self.changed.ask(asked);
    }

    /// Trunks whose registrations changed.
    pub fn take_changed(&mut self) -> Vec<String> {
        self.changed.take().collect()
    }

    /// One of another host; before `fit`. A host that shut down took its bindings back: ours is to be made anew.
    pub fn adopt(&mut self, trunk: String, registration: Registration) {
        if !registration.is_leaving() {
            self.by_trunk.insert(trunk, registration);
        }
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.due.next()
    }

    pub fn get(&self, trunk: &str) -> Option<&Registration> {
        self.by_trunk.get(trunk)
    }

    /// The trunk must be registered before it is called, and is not.
    pub fn keeps_from(&self, trunk: &str, now: Time) -> bool {
        self.required.contains(trunk) && !self.by_trunk.get(trunk).is_some_and(|one| one.is_registered(now))
    }

    /// The way of calls to the trunk, as its registrar said (RFC 3608 §6.1).
    pub fn routes(&self, trunk: &str, now: Time) -> &[NameAddr] {
        self.by_trunk.get(trunk).map_or(&[], |registration| registration.routes(now))
    }

    /// Every binding was removed, or given up.
    pub fn are_over(&self) -> bool {
        self.by_trunk.values().all(Registration::is_over)
    }
}

/// Lends the registration of a trunk to `act`, and puts it back with its deadline.
fn with(core: &mut Core, trunk: usize, act: impl FnOnce(&mut Core, &Trunk, &TrunkRegister, &mut Registration)) {
    let config = core.config.clone();
    let Some(configured) = config.trunks.get(trunk) else { return };
    let Some(rule) = &configured.register else { return };
    let Some(mut registration) = core.live.registrations.by_trunk.remove(&configured.name) else { return };
    act(core, configured, rule, &mut registration);
    if let Ok(at) = u16::try_from(trunk) {
        core.live.registrations.due.set(at, registration.next_deadline());
    }
    core.live.registrations.changed.note_with(|| configured.name.clone());
    core.live.registrations.by_trunk.insert(configured.name.clone(), registration);
}

/// Sends what is due.
pub fn fire(core: &mut Core, now: Time) {
    while let Some(at) = core.live.registrations.due.pop_due(now) {
        with(core, usize::from(at), |core, trunk, rule, registration| {
            if registration.runs_out(now) {
                let text = format!("{} is no longer registered with trunk {}: it ran out", rule.aor, trunk.name);
                core.log(Level::Warn, None, None, text);
            }
            if let Some(under_way) = registration.gives_up(now) {
                core.live.tx.abandon(under_way.client);
            }
            if registration.is_due(now) {
                send(core, now, trunk, rule, registration);
            }
        });
    }
}

/// Takes every registration back.
pub fn leave(core: &mut Core, now: Time, deadline: Time) {
    for at in 0..core.config.trunks.len() {
        with(core, at, |core, _, _, registration| {
            if let Some(under_way) = registration.leave(now, deadline) {
                core.live.tx.abandon(under_way.client);
            }
        });
    }
}

/// To the first server that has not been tried in this round.
fn send(core: &mut Core, now: Time, trunk: &Trunk, rule: &TrunkRegister, registration: &mut Registration) {
    let servers = choice::all_servers(core, now, &trunk.name, &rule.registrar);
    let to = servers.into_iter().find(|to| !registration.has_tried(to.remote));
    let sent = to.and_then(|to| Some((register(core, now, trunk, rule, registration, &to)?, to)));
    let Some((client, to)) = sent else {
        let random = &mut core.random;
        registration.exhausted(now, rule, &mut |below| random.below(below));
        let wait = registration.next_in(now).unwrap_or_default().as_secs();
        let text = format!("no registrar of trunk {} takes {}; again in {wait} s", trunk.name, rule.aor);
        core.log(Level::Warn, None, None, text);
        return;
    };
    registration.sent(UnderWay { client, transport: to.transport, server: to.remote });
}

/// RFC 3261 §10.2.
fn register(
    core: &mut Core,
    now: Time,
    trunk: &Trunk,
    rule: &TrunkRegister,
    registration: &mut Registration,
    to: &Destination,
) -> Option<ClientId> {
    let aor = Uri::parse(&rule.aor).ok()?;
    registration.seq = registration.seq.checked_add(1)?;
    let mut from = NameAddr::new(aor.clone());
    from.set_tag(&registration.tag);
    // The domain of the location service; no user.
    let mut request = Message::request(Method::Register, Uri::sip(None, aor.host.clone(), aor.port));
    let lines = &mut request.headers;
    lines.push(HeaderName::MaxForwards, "70");
    lines.push(HeaderName::From, from.to_string());
    lines.push(HeaderName::To, NameAddr::new(aor).to_string());
    lines.push(HeaderName::CallId, registration.call_id.as_str());
    lines.push(HeaderName::CSeq, CSeq { seq: registration.seq, method: Method::Register }.to_string());
    lines.push(HeaderName::Contact, contact(core, rule, to.listener)?.to_string());
    lines.push(HeaderName::Expires, registration.expires_s().to_string());
    lines.push(HeaderName::Allow, ALLOW);
    // RFC 3327 §5.1: proxies on the way may ask to stay on it.
    lines.push(HeaderName::Supported, "path");
    let flow = Flow { local: to.listener, transport: to.transport, remote: to.remote, connection: None };
    let purpose = Use::Register { trunk: trunk.name.clone() };
    core.send(now, &trunk.name, request, Path::direct(flow), 0, purpose)
}

/// Where calls to the registered address are to come.
fn contact(core: &Core, rule: &TrunkRegister, listener: ListenerId) -> Option<NameAddr> {
    let aor = Uri::parse(&rule.aor).ok()?;
    let mut contact = NameAddr::parse(&core.contact(listener, aor.scheme == Scheme::Sips)).ok()?;
    contact.uri.user = match &rule.contact_user {
        Some(user) => Some(super::message::escape_user(user)),
        None => aor.user,
    };
    Some(contact)
}

/// A response to a REGISTER.
pub fn answered(core: &mut Core, now: Time, client: ClientId, trunk: &str, response: &Message) {
    let Some(status) = response.status().filter(|status| *status >= 200) else { return };
    let after = retry_after(response);
    let outcome = match status {
        200..=299 => Outcome::Accepted { expires_s: lifetime_s(core, client, trunk, response) },
        401 | 403 | 407 => Outcome::Unauthorized { status, after },
        423 => match seconds(response, &HeaderName::MinExpires) {
            Some(min_s) => Outcome::TooBrief { min_s },
            None => Outcome::Refused { status, after },
        },
        503 => Outcome::Busy { after },
        _ => Outcome::Refused { status, after },
    };
    heard(core, now, client, trunk, outcome, Some(response));
}

/// It could not be delivered, or its transaction ended without an answer.
pub fn unanswered(core: &mut Core, now: Time, client: ClientId, trunk: &str, transport: bool) {
    let outcome = if transport { Outcome::Unreachable } else { Outcome::Silent };
    heard(core, now, client, trunk, outcome, None);
}

fn heard(core: &mut Core, now: Time, client: ClientId, trunk: &str, outcome: Outcome, response: Option<&Message>) {
    let Some(at) = core.routing.trunk(trunk).map(|id| usize::from(id.0)) else { return };
    // Challenges have made it go on since it was sent.
    let seq = core.live.tx.client(client).and_then(|entry| entry.request.cseq().ok()).map(|cseq| cseq.seq);
    with(core, at, |core, trunk, rule, registration| {
        let Some(under_way) = registration.take(client) else { return };
        registration.seq = registration.seq.max(seq.unwrap_or(0));
        let was = registration.is_registered(now);
        let random = &mut core.random;
        registration.heard(now, rule, under_way.server, outcome, &mut |below| random.below(below));
        if matches!(outcome, Outcome::Busy { .. } | Outcome::Silent | Outcome::Unreachable) {
            core.names.failed(now, under_way.transport, under_way.server);
        }
        if let (Outcome::Accepted { .. }, Some(response)) = (outcome, response) {
            registration.note_routes(response.addresses(&HeaderName::ServiceRoute).unwrap_or_default());
        }
        tell(core, now, trunk, registration, was, outcome, under_way.server);
    });
}

/// `was`: it was registered before.
fn tell(
    core: &mut Core,
    now: Time,
    trunk: &Trunk,
    registration: &Registration,
    was: bool,
    outcome: Outcome,
    server: SocketAddr,
) {
    let (aor, name) = (registration.aor(), &trunk.name);
    if registration.is_over() {
        core.log(Level::Info, None, None, format!("{aor} was taken back from trunk {name} ({server})"));
    } else if let Outcome::Accepted { expires_s: 1.. } = outcome {
        if !was {
            let lasts = registration.expires_in(now).unwrap_or_default().as_secs();
            let text = format!("{aor} is registered with trunk {name} ({server}) for {lasts} s");
            core.log(Level::Info, None, None, text);
        }
    } else {
        let wait = registration.next_in(now).unwrap_or_default().as_secs();
        let what = match outcome {
            Outcome::Unauthorized { status, .. } | Outcome::Refused { status, .. } => format!("answered {status}"),
            Outcome::Accepted { .. } => "bound nothing".to_owned(),
            _ => outcome.as_str().to_owned(),
        };
        let text = format!("REGISTER of {aor} with trunk {name} ({server}): {what}; again in {wait} s");
        core.log(Level::Warn, None, None, text);
    }
}

/// RFC 3261 §10.2.4: the registrar says how long, at our Contact among the bindings that it lists, or for all of them.
fn lifetime_s(core: &Core, client: ClientId, trunk: &str, response: &Message) -> u32 {
    let rule = configured(core, trunk).and_then(|trunk| trunk.register.as_ref());
    let listener = core.live.tx.client(client).map(|entry| entry.path().flow.local);
    let ours = rule.zip(listener).and_then(|(rule, listener)| contact(core, rule, listener));
    let expires = |contact: &NameAddr| contact.params.value("expires")?.trim().parse::<u32>().ok();
    let bound = response.contacts().unwrap_or_default();
    let mine = bound.iter().find(|contact| ours.as_ref().is_some_and(|ours| contact.uri.equivalent(&ours.uri)));
    let at_ours = match mine {
        Some(mine) => expires(mine),
        // A registrar that writes where it sees us: ours is among them, and too early costs little.
        None => bound.iter().filter_map(expires).min(),
    };
    let asked = || core.live.registrations.get(trunk).map_or(0, Registration::expires_s);
    at_ours.or_else(|| seconds(response, &HeaderName::Expires)).unwrap_or_else(asked)
}

fn seconds(message: &Message, name: &HeaderName) -> Option<u32> {
    let value = message.headers.get(name)?.trim();
    let digits = value.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// RFC 3261 §20.33: seconds, perhaps with a comment or parameters behind them.
fn retry_after(response: &Message) -> Option<Duration> {
    seconds(response, &HeaderName::RetryAfter).map(|seconds| Duration::from_secs(u64::from(seconds)))
}
