//! One registration: when REGISTER is due, what an answer makes of it. Pure; slow-path thread; saved, so that the next host
//! goes on with the same Call-ID and CSeq numbers (RFC 3261 §10.2).
//!
//! A *round* tries the registrar's servers one after the other. It ends with an answer that counts, or when no server is
//! left; after a failure the next one waits, longer each time (RFC 5626 §4.5).

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    base::{
        Time,
        limits::{REGISTRATION_LONGEST_S, REGISTRATION_ROUTES, RETRY_AFTER_LONGEST},
    },
    config::{SipTransport, TrunkRegister},
    sip::{message::NameAddr, transaction::ClientId},
};

/// Short lifetimes are not renewed more often than this.
const SHORTEST_REFRESH: Duration = Duration::from_secs(5);
/// Whoever shuts down does not wait longer for the registrar.
const LEAVE_PATIENCE: Duration = Duration::from_secs(4);

/// What came of a REGISTER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Bound for so long; 0: the registrar says yes and binds nothing.
    Accepted {
        expires_s: u32,
    },
    /// 423: it binds for no less than this.
    TooBrief {
        min_s: u32,
    },
    /// 503: another server may take it.
    Busy {
        after: Option<Duration>,
    },
    /// 401, 403, 407: the credentials are not taken, or the account is not allowed to.
    Unauthorized {
        status: u16,
        after: Option<Duration>,
    },
    Refused {
        status: u16,
        after: Option<Duration>,
    },
    Silent,
    Unreachable,
}

impl Outcome {
    pub const NAMES: [&'static str; 7] =
        ["accepted", "too_brief", "busy", "unauthorized", "refused", "silent", "unreachable"];

    const fn index(self) -> usize {
        match self {
            Outcome::Accepted { .. } => 0,
            Outcome::TooBrief { .. } => 1,
            Outcome::Busy { .. } => 2,
            Outcome::Unauthorized { .. } => 3,
            Outcome::Refused { .. } => 4,
            Outcome::Silent => 5,
            Outcome::Unreachable => 6,
        }
    }

    pub const fn as_str(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

/// The REGISTER that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    pub client: ClientId,
    pub transport: SipTransport,
    pub server: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Leaving {
    /// The binding is to be removed by then.
    Until(Time),
    Done,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registration {
    /// For whom it stands; with another of these it is another registration.
    registrar: String,
    aor: String,
    pub call_id: String,
    pub tag: String,
    /// CSeq number of the last REGISTER.
    pub seq: u32,
    /// The lifetime to ask for: as configured, or as a 423 demanded.
    asked_s: u32,
    /// A 423 was obeyed in this round.
    raised: bool,
    /// Bound until then.
    until: Option<Time>,
    next: Option<Time>,
    under_way: Option<UnderWay>,
    /// Servers of this round that did not take it.
    tried: Vec<SocketAddr>,
    /// The longest that one of them asked to be left alone.
    after: Option<Duration>,
    /// Rounds in a row that failed.
    failures: u32,
    leaving: Option<Leaving>,
    /// RFC 3608: the way for requests from the registered address.
    routes: Vec<NameAddr>,
    /// Since this process began, by `Outcome::NAMES`.
    #[serde(skip)]
    counts: [u64; Outcome::NAMES.len()],
    #[serde(skip)]
    last: Option<&'static str>,
}

impl Registration {
    pub fn new(rule: &TrunkRegister, call_id: String, tag: String, first: Time) -> Registration {
        Registration {
            registrar: rule.registrar.clone(),
            aor: rule.aor.clone(),
            call_id,
            tag,
            seq: 0,
            asked_s: rule.expires_s,
            raised: false,
            until: None,
            next: Some(first),
            under_way: None,
            tried: Vec::new(),
            after: None,
            failures: 0,
            leaving: None,
            routes: Vec::new(),
            counts: [0; Outcome::NAMES.len()],
            last: None,
        }
    }

    /// Whether it is the one that the configuration asks for.
    pub fn is_of(&self, rule: &TrunkRegister) -> bool {
        self.registrar == rule.registrar && self.aor == rule.aor
    }

    /// It is being taken back, or has been.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    pub fn aor(&self) -> &str {
        &self.aor
    }

    pub fn is_registered(&self, now: Time) -> bool {
        self.until.is_some_and(|until| until > now) && self.leaving.is_none()
    }

    pub fn next_deadline(&self) -> Option<Time> {
        let leaving = match self.leaving {
            Some(Leaving::Done) => return None,
            Some(Leaving::Until(at)) => Some(at),
            None => None,
        };
        let next = self.next.filter(|_| self.under_way.is_none());
        [next, self.until, leaving].into_iter().flatten().min()
    }

    /// REGISTER is to be sent now.
    pub fn is_due(&self, now: Time) -> bool {
        self.next.is_some_and(|at| at <= now) && self.under_way.is_none() && !self.is_over()
    }

    /// What the next REGISTER asks for.
    pub fn expires_s(&self) -> u32 {
        if self.leaving.is_some() { 0 } else { self.asked_s }
    }

    pub fn has_tried(&self, server: SocketAddr) -> bool {
        self.tried.contains(&server)
    }

    pub fn sent(&mut self, under_way: UnderWay) {
        self.next = None;
        self.under_way = Some(under_way);
    }

    /// The REGISTER `client`, if it is the one that is waited for, which it then is no longer.
    pub fn take(&mut self, client: ClientId) -> Option<UnderWay> {
        self.under_way.take_if(|under_way| under_way.client == client)
    }

    /// True: the lifetime is over, and nothing renewed it.
    pub fn runs_out(&mut self, now: Time) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }

    /// A REGISTER to `server` came to this. `draw` gives a number below its argument.
    pub fn heard(
        &mut self,
        now: Time,
        rule: &TrunkRegister,
        server: SocketAddr,
        outcome: Outcome,
        draw: &mut dyn FnMut(u32) -> u32,
    ) {
        self.counts[outcome.index()] += 1;
        self.last = Some(outcome.as_str());
        if self.leaving.is_some() {
            self.end();
            return;
        }
        match outcome {
            Outcome::Accepted { expires_s } if expires_s > 0 => {
                let lifetime = Duration::from_secs(u64::from(expires_s.min(REGISTRATION_LONGEST_S)));
                self.until = Some(now + lifetime);
                self.next = Some(now + refresh_after(rule, lifetime, draw).max(SHORTEST_REFRESH));
                self.failures = 0;
                self.end_round();
            }
            // RFC 3261 §10.2.8: again at once with what it demands; once a round, or it could raise that for ever.
            Outcome::TooBrief { min_s } if min_s > self.asked_s && min_s <= REGISTRATION_LONGEST_S && !self.raised => {
                self.asked_s = min_s;
                self.raised = true;
                self.next = Some(now);
            }
            // RFC 3263 §4.3: the next server, if there is one.
            Outcome::Busy { after } => self.try_next(now, server, after),
            Outcome::Silent | Outcome::Unreachable => self.try_next(now, server, None),
            Outcome::Accepted { .. } | Outcome::TooBrief { .. } => self.back_off(now, rule, None, draw),
            Outcome::Unauthorized { after, .. } | Outcome::Refused { after, .. } => {
                self.back_off(now, rule, after, draw);
            }
        }
        // Whoever refuses a renewal has not removed the binding: it stands until it runs out.
    }

    fn try_next(&mut self, now: Time, server: SocketAddr, after: Option<Duration>) {
        self.tried.push(server);
        self.after = self.after.max(after);
        self.next = Some(now);
    }

    /// No server of this round is left.
    pub fn exhausted(&mut self, now: Time, rule: &TrunkRegister, draw: &mut dyn FnMut(u32) -> u32) {
        if self.leaving.is_some() {
            self.end();
            return;
        }
        let after = self.after;
        self.back_off(now, rule, after, draw);
    }

    fn back_off(&mut self, now: Time, rule: &TrunkRegister, after: Option<Duration>, draw: &mut dyn FnMut(u32) -> u32) {
        // RFC 5626 §4.5: doubled for each failure in a row, up to a bound, and of that half to all.
        let doubled = rule.retry_s.saturating_mul(1 << self.failures.min(20));
        let longest_ms = doubled.min(rule.retry_max_s.max(rule.retry_s)).saturating_mul(1_000);
        let wait = Duration::from_millis(u64::from(longest_ms / 2 + draw(longest_ms / 2 + 1)));
        self.failures = self.failures.saturating_add(1);
        self.next = Some(now + wait.max(after.unwrap_or_default().min(RETRY_AFTER_LONGEST)));
        self.end_round();
    }

    fn end_round(&mut self) {
        self.tried.clear();
        self.after = None;
        self.raised = false;
    }

    /// The way that requests take from now on.
    pub fn note_routes(&mut self, routes: Vec<NameAddr>) {
        // RFC 3608 §5: each of them routes loosely.
        self.routes =
            routes.into_iter().filter(|route| route.uri.is_loose_router()).take(REGISTRATION_ROUTES).collect();
    }

    pub fn routes(&self, now: Time) -> &[NameAddr] {
        if self.is_registered(now) { &self.routes } else { &[] }
    }

    /// RFC 3261 §10.2.2: the binding is to be removed, by `deadline` at the latest. The REGISTER that is under way is
    /// returned, since nobody waits for it any longer.
    pub fn leave(&mut self, now: Time, deadline: Time) -> Option<UnderWay> {
        if self.leaving.is_some() {
            return None;
        }
        let under_way = self.under_way.take();
        // One that is under way may have been obeyed already.
        if self.until.is_some_and(|until| until > now) || under_way.is_some() {
            self.leaving = Some(Leaving::Until(deadline.min(now + LEAVE_PATIENCE)));
            self.next = Some(now);
            self.tried.clear();
        } else {
            self.end();
        }
        under_way
    }

    /// True: the time to remove the binding is over; what is under way is returned.
    pub fn gives_up(&mut self, now: Time) -> Option<UnderWay> {
        if matches!(self.leaving, Some(Leaving::Until(at)) if at <= now) {
            let under_way = self.under_way.take();
            self.end();
            return under_way;
        }
        None
    }

    fn end(&mut self) {
        self.leaving = Some(Leaving::Done);
        self.until = None;
        self.next = None;
    }

    /// It is not registered any more, and will not be.
    pub fn is_over(&self) -> bool {
        self.leaving == Some(Leaving::Done)
    }

    pub fn expires_in(&self, now: Time) -> Option<Duration> {
        self.until.filter(|_| self.is_registered(now)).map(|until| until - now)
    }

    pub fn next_in(&self, now: Time) -> Option<Duration> {
        self.next.map(|next| next.since(now))
    }

    pub fn counts(&self) -> [u64; Outcome::NAMES.len()] {
        self.counts
    }

    /// What the last REGISTER came to.
    pub fn last(&self) -> Option<&'static str> {
        self.last
    }
}

/// RFC 3261 §10.2.4: before it runs out; not all at the same part of it, or those that began together stay together.
fn refresh_after(rule: &TrunkRegister, lifetime: Duration, draw: &mut dyn FnMut(u32) -> u32) -> Duration {
    let ms = u32::try_from(lifetime.as_millis()).unwrap_or(u32::MAX);
    let latest = u64::from(ms) * u64::from(rule.refresh_percent) / 100;
    Duration::from_millis(latest.saturating_sub(u64::from(draw(ms / 10 + 1))))
}
