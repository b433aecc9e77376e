//! All calls of the `ng` protocol, their deadlines, and the way in: a message, the time and call control come in, an answer
//! goes out. Runs on the slow path; sans-IO.
//!
//! Always holds: a call is changed in one place, `changed`, so that a journal misses nothing; a command that fails has changed
//! nothing and holds no port; a call that nobody answers, or that nobody speaks in, ends by itself.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use bytes::Bytes;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    NgError,
    call::Call,
    cookies::Cookies,
    keys::What,
    message::Message,
    request::{Command, Family, Request},
    value::Dictionary,
};
use crate::{
    base::{
        Time,
        ids::SessionId,
        limits::{NG_KEYS_NOTED, NG_MESSAGE_BYTES},
    },
    config::Config,
    control::{MediaControl, SessionReport},
    sip::deadlines::Deadlines,
};

/// How often a call is looked at for packets.
const LOOK: Duration = Duration::from_secs(30);
/// Calls that are looked at or ended in one tick.
const DUE_AT_ONCE: usize = 64;
/// What waits to be logged; more is lost.
const NOTES: usize = 256;

/// What the configuration says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names of the addresses where no interface is named.
    pub media: Vec<String>,
    pub interfaces: HashMap<String, Vec<String>>,
    /// Of each address by its name.
    pub families: HashMap<String, Family>,
    pub offer_timeout: Duration,
    pub silent_timeout: Duration,
    pub delete_delay: Duration,
    pub max_calls: usize,
    pub allow: Vec<IpNet>,
}

impl Settings {
    /// None: the protocol is not spoken here.
    pub fn of(config: &Config) -> Option<Settings> {
        let ng = config.ng.as_ref()?;
        let address = |a: &crate::config::Address| (a.name.clone(), vec![a.name.clone()]);
        let named = ng.interfaces.iter().map(|interface| (interface.name.clone(), interface.media.clone()));
        Some(Settings {
            media: ng.media.clone(),
            // An interface may be called like an address, and then is meant.
            interfaces: config.addresses.iter().map(address).chain(named).collect(),
            families: config.addresses.iter().map(|a| (a.name.clone(), Family::of(a.local))).collect(),
            offer_timeout: Duration::from_secs(ng.offer_timeout_s.into()),
            silent_timeout: Duration::from_secs(ng.silent_timeout_s.into()),
            delete_delay: Duration::from_secs(ng.delete_delay_s.into()),
            max_calls: ng.max_calls as usize,
            allow: ng.allow.clone(),
        })
    }
}

/// Figures for the metrics.
#[derive(Clone, Debug, Default)]
pub struct NgCounters {
    /// By command: carried out, and failed.
    pub commands: HashMap<&'static str, (u64, u64)>,
    /// Commands that are not there or could not be read.
    pub refused: u64,
    /// Answered from memory.
    pub repeated: u64,
    /// Without a cookie to answer.
    pub malformed: u64,
    /// From addresses that are not allowed.
    pub strangers: u64,
    pub calls: u64,
    pub ended: u64,
    pub timed_out_offers: u64,
    pub timed_out_silent: u64,
    pub refused_load: u64,
}

/// A call with the time on the clock that its times are of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedCall {
    pub(super) at: Time,
    pub(super) call: Call,
}

#[derive(Debug)]
pub struct Ng {
    pub(super) settings: Settings,
    pub(super) calls: HashMap<u64, Call>,
    pub(super) by_id: HashMap<String, u64>,
    pub(super) sessions: HashMap<SessionId, u64>,
    pub(super) deadlines: Deadlines<u64>,
    next: u64,
    cookies: Cookies,
    /// Of this node, in descriptions that it has marked.
    pub(super) mark: String,
    /// Wall time at the clock's time zero, milliseconds since 1970.
    epoch_ms: u64,
    pub(super) draining: Option<Time>,
    /// The other host of a pair is active: nothing is answered.
    pub(super) standby: bool,
    /// Call-IDs of calls that have changed or ended since they were taken; None: nobody asks.
    pub(super) journal: Option<BTreeSet<String>>,
    /// Calls that somebody who wants all of them has still to be told, and those that have not been told to us.
    pub(super) queue: VecDeque<String>,
    pub(super) untold: BTreeSet<String>,
    noted: HashSet<(What, String)>,
    notes: VecDeque<String>,
    closed: Vec<SessionReport>,
    pub counters: NgCounters,
}

impl Ng {
    /// `mark`: a number that no other node uses.
    pub fn new(settings: Settings, mark: u64, now: Time, epoch_ms: u64) -> Ng {
        let mut ng = Ng {
            settings,
            calls: HashMap::new(),
            by_id: HashMap::new(),
            sessions: HashMap::new(),
            deadlines: Deadlines::default(),
            next: 1,
            cookies: Cookies::default(),
            mark: format!("{mark:016x}"),
            epoch_ms: 0,
            draining: None,
            standby: false,
            journal: None,
            queue: VecDeque::new(),
            untold: BTreeSet::new(),
            noted: HashSet::new(),
            notes: VecDeque::new(),
            closed: Vec::new(),
            counters: NgCounters::default(),
        };
        ng.set_wall(now, epoch_ms);
        ng
    }

    pub fn set_wall(&mut self, now: Time, epoch_ms: u64) {
        self.epoch_ms = epoch_ms.saturating_sub(now.as_millis());
    }

    pub(super) fn wall_ms(&self, now: Time) -> u64 {
        self.epoch_ms.saturating_add(now.as_millis())
    }

    /// Whether messages from there are read at all.
    pub fn admits(&mut self, source: IpAddr) -> bool {
        let admitted = self.settings.allow.iter().any(|net| net.contains(&source));
        self.counters.strangers += u64::from(!admitted);
        admitted
    }

    pub fn in_progress(&self) -> usize {
        self.calls.len()
    }

    /// Carries out one message. None: there is nobody to answer.
    pub fn message(&mut self, now: Time, source: IpAddr, bytes: &Bytes, media: &mut dyn MediaControl) -> Option<Bytes> {
        if self.standby {
            return None;
        }
        let Some(message) = Some(bytes).filter(|b| b.len() <= NG_MESSAGE_BYTES).and_then(Message::parse) else {
            self.counters.malformed += 1;
            return None;
        };
        if let Some(reply) = self.cookies.reply(now, source, &message.cookie) {
            self.counters.repeated += 1;
            return Some(reply);
        }
        let reply = self.reply(now, &message, media);
        self.cookies.keep(now, source, &message.cookie, &reply);
        Some(reply)
    }

    /// The same of a message without a cookie: nothing tells it from one that comes again, and nothing is kept of it.
    pub fn plain(&mut self, now: Time, bytes: &Bytes, media: &mut dyn MediaControl) -> Option<Bytes> {
        let heard = !self.standby && bytes.len() <= NG_MESSAGE_BYTES;
        heard.then(|| self.reply(now, &Message::plain(bytes), media))
    }

    fn reply(&mut self, now: Time, message: &Message, media: &mut dyn MediaControl) -> Bytes {
        let reply = message.reply(&self.carry_out(now, message, media));
        if reply.len() > NG_MESSAGE_BYTES {
            return message.reply(&failure("the answer does not fit into a datagram"));
        }
        reply
    }

    fn carry_out(&mut self, now: Time, message: &Message, media: &mut dyn MediaControl) -> Dictionary {
        let request = message.body.as_ref().map_err(Clone::clone).and_then(Request::read);
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                self.counters.refused += 1;
                self.note(format!("a command was refused: {error}"));
                return failure(&error.to_string());
            }
        };
        self.note_unknown(&request);
        let done = match request.command {
            Command::Ping => Ok(Dictionary::default().with("result", "pong")),
            Command::Offer => self.offer(now, &request, media),
            Command::Answer => self.answer(now, &request, media),
            Command::Delete => self.delete(now, &request, media),
            Command::Query => self.query(&request, media),
            Command::List => Ok(self.list(&request)),
            Command::Statistics => Ok(self.statistics(now, media)),
            Command::Block { events, on } => self.block(now, &request, events, on, media),
        };
        let name = Command::ALL.iter().find(|(command, _)| *command == request.command).map_or("", |(_, name)| *name);
        let counts = self.counters.commands.entry(name).or_default();
        match done {
            Ok(reply) => {
                counts.0 += 1;
                reply
            }
            Err(error) => {
                counts.1 += 1;
                self.failed(&request, name, &error)
            }
        }
    }

    fn failed(&mut self, request: &Request, name: &str, error: &NgError) -> Dictionary {
        let call_id = request.call_id.as_deref().unwrap_or("-");
        self.note(format!("{name} of call {call_id}: {error}"));
        self.counters.refused_load += u64::from(error.is_load());
        if error.is_load() && request.load_limit {
            return Dictionary::default().with("result", "load limit").with("message", error.to_string());
        }
        failure(&error.to_string())
    }

    /// Each key and flag that nobody knows is told once.
    fn note_unknown(&mut self, request: &Request) {
        for (what, name) in &request.unknown {
            if self.noted.len() < NG_KEYS_NOTED && self.noted.insert((*what, name.clone())) {
                self.note(format!("the {} {name:?} is not known and is ignored", what.as_str()));
            }
        }
    }

    pub(super) fn note(&mut self, text: String) {
        if self.notes.len() < NOTES {
            self.notes.push_back(text);
        }
    }

    /// What is to be logged.
    pub fn poll_note(&mut self) -> Option<String> {
        self.notes.pop_front()
    }

    /// Final figures of media sessions that have ended since.
    pub fn take_closed(&mut self) -> Vec<SessionReport> {
        std::mem::take(&mut self.closed)
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.next()
    }

    /// Ends what nobody has answered, what has been silent for too long, and what was to be deleted.
    pub fn tick(&mut self, now: Time, media: &mut dyn MediaControl) {
        for _ in 0..DUE_AT_ONCE {
            let Some(number) = self.deadlines.pop_due(now) else { return };
            self.look_at(now, number, media);
        }
    }

    fn look_at(&mut self, now: Time, number: u64, media: &mut dyn MediaControl) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        let packets = call.sessions().filter_map(|id| media.report(id)).map(|report| packets(&report)).sum();
        if packets != call.packets {
            (call.packets, call.active) = (packets, now);
        }
        let silent = call.answered() && now.since(call.active.max(call.signalled)) >= self.settings.silent_timeout;
        let unanswered = !call.answered() && now.since(call.signalled) >= self.settings.offer_timeout;
        let deleted = call.delete_at.is_some_and(|at| at <= now) || self.draining.is_some_and(|until| until <= now);
        if !(silent || unanswered || deleted) {
            return self.changed(now, number);
        }
        self.counters.timed_out_offers += u64::from(unanswered && !deleted);
        self.counters.timed_out_silent += u64::from(silent && !deleted);
        self.end(now, number, media);
    }

    /// Call control has had no media of this session for `media.timeout_s`. True if it was one of ours.
    pub fn media_timeout(&mut self, now: Time, session: SessionId, media: &mut dyn MediaControl) -> bool {
        let Some(&number) = self.sessions.get(&session) else { return false };
        let Some(call) = self.calls.get_mut(&number) else { return true };
        let lines = call.pairs.iter_mut().flat_map(|pair| &mut pair.lines);
        let mut talks = false;
        for line in lines.filter(|line| line.agreed) {
            line.silent |= line.session.as_ref().is_some_and(|s| s.id == session);
            talks |= !line.silent;
        }
        if talks {
            self.changed(now, number);
        } else {
            self.counters.timed_out_silent += 1;
            self.end(now, number, media);
        }
        true
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// No new calls; those in progress may go on until `until`.
    pub fn drain(&mut self, until: Time) {
        self.draining = Some(until);
        let numbers: Vec<u64> = self.calls.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.deadlines.set(number, Some(until)));
    }

    pub fn is_drained(&self) -> bool {
        self.calls.is_empty()
    }

    /// A call that was not there, which `changed` is to be told of.
    pub(super) fn insert(&mut self, call: Call) -> u64 {
        let number = self.next;
        self.next += 1;
        self.by_id.insert(call.id.clone(), number);
        self.calls.insert(number, call);
        number
    }

    /// Whatever has changed a call comes by here: its sessions, its deadline and the journal follow.
    pub(super) fn changed(&mut self, now: Time, number: u64) {
        let Some(call) = self.calls.get(&number) else { return };
        self.sessions.extend(call.sessions().map(|id| (id, number)));
        let patience = if call.answered() { self.settings.silent_timeout } else { self.settings.offer_timeout };
        let give_up = call.signalled + patience;
        let look = if call.answered() { now + LOOK.min(patience) } else { give_up.max(now) };
        let deadline = [call.delete_at, self.draining].into_iter().flatten().fold(look, Time::min);
        self.deadlines.set(number, Some(deadline));
        if let Some(journal) = &mut self.journal {
            journal.insert(call.id.clone());
        }
    }

    /// Takes a call away, with its sessions.
    pub(super) fn end(&mut self, now: Time, number: u64, media: &mut dyn MediaControl) -> Vec<SessionReport> {
        let Some(call) = self.calls.remove(&number) else { return Vec::new() };
        self.by_id.remove(&call.id);
        self.deadlines.set(number, None);
        self.counters.ended += 1;
        let reports = call.sessions().filter_map(|id| self.close(now, id, media)).collect();
        if let Some(journal) = &mut self.journal {
            journal.insert(call.id);
        }
        reports
    }

    pub(super) fn close(&mut self, now: Time, id: SessionId, media: &mut dyn MediaControl) -> Option<SessionReport> {
        self.sessions.remove(&id);
        let report = media.close(now, id)?;
        self.closed.push(report.clone());
        Some(report)
    }
}

pub(super) fn failure(reason: &str) -> Dictionary {
    Dictionary::default().with("result", "error").with("error-reason", reason)
}

fn packets(report: &SessionReport) -> u64 {
    report.legs.iter().map(|leg| leg.rtp.packets + leg.rtcp.packets).sum()
}
