//! Destinations that are host names: what the DNS said of them, when it is asked again, and which servers failed lately.
//! Slow-path thread; pure: questions go out as values, answers come in.
//!
//! - `lookup`: RFC 3263 §4, from a name to servers, one question after the other.
//!
//! Always holds: what was known of a name stays in use while the DNS fails, however old it is; a name is asked for again
//! before its answer expires; only an answer that says that there is nothing takes servers away. Not saved: each host asks
//! for itself.

pub mod lookup;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use self::lookup::{Lookup, Outcome};
use crate::{
    base::Time,
    config::{Config, NamedDestination, SipTransport},
    sip::{deadlines::Deadlines, flow::Local, trunk::choice},
};

/// One question to the DNS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Query {
    pub name: String,
    pub kind: QueryKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QueryKind {
    Naptr,
    Srv,
    A,
    Aaaa,
}

/// RFC 3403 §4.1, what matters of it here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    pub order: u16,
    pub preference: u16,
    pub flags: String,
    pub service: String,
    pub replacement: String,
}

/// RFC 2782.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    Naptr(Vec<Naptr>),
    Srv(Vec<Srv>),
    Addresses(Vec<IpAddr>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Found {
        records: Records,
        ttl_s: u32,
    },
    /// The DNS says that there is no such name or record.
    Nothing {
        ttl_s: u32,
    },
    /// It says nothing: no server answered, or none would.
    Failed,
}

/// Servers that one record names: RFC 2782's choice is among records, the addresses of one are tried as they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Of its service among those that the name offers (RFC 3263 §4.1), lowest first.
    pub rank: u16,
    pub priority: u16,
    pub weight: u16,
    pub transport: SipTransport,
    pub port: u16,
    pub addresses: Vec<IpAddr>,
}

/// A server that did not take a request is tried after the others for so long.
const FAILED_FOR: Duration = Duration::from_secs(60);
/// Failed servers that are remembered.
const FAILED_MOST: usize = 1_024;
/// After a failure of the DNS it is asked again then.
const RETRY: Duration = Duration::from_secs(15);
/// A TTL is taken as no shorter than this, so that a zone with TTL 0 is not asked for all the time, and no longer.
const TTL_S: (u32, u32) = (5, 86_400);

/// A name of one trunk: transports and address family depend on where the trunk signals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    trunk: String,
    uri: String,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    named: NamedDestination,
    transports: Vec<SipTransport>,
    v6: bool,
    lookup: Option<Lookup>,
    servers: Vec<Server>,
    /// The DNS failed last time it was asked.
    failing: bool,
}

/// What to tell the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub bad: bool,
    pub text: String,
}

#[derive(Debug, Default)]
pub struct Names {
    entries: Vec<Entry>,
    by_place: HashMap<Place, usize>,
    due: Deadlines<u32>,
    failed: HashMap<(SipTransport, SocketAddr), Time>,
}

impl Names {
    /// Every destination and registrar of the configuration that is a name; all are asked for at `now`.
    pub fn new(config: &Config, locals: &[Local], now: Time) -> Names {
        let mut names = Names::default();
        for trunk in &config.trunks {
            let heard = locals.iter().filter(|local| local.name == trunk.address);
            let v6 = heard.clone().any(|local| local.bind.is_ipv6());
            let transports: Vec<SipTransport> = heard.map(|local| local.transport).collect();
            let registrar = trunk.register.as_ref().map(|rule| &rule.registrar);
            for uri in trunk.destinations.iter().map(|to| &to.uri).chain(registrar) {
                let Some(named) = NamedDestination::parse(uri) else { continue };
                let place = Place { trunk: trunk.name.clone(), uri: uri.clone() };
                if names.by_place.contains_key(&place) {
                    continue;
                }
                names.by_place.insert(place.clone(), names.entries.len());
                let (transports, servers) = (transports.clone(), Vec::new());
                names.entries.push(Entry { place, named, transports, v6, lookup: None, servers, failing: false });
            }
        }
        for at in 0..names.entries.len() {
            names.due.set(u32::try_from(at).unwrap_or(u32::MAX), Some(now));
        }
        names
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.due.next()
    }

    /// Nobody will be called any more.
    pub fn stop(&mut self) {
        self.due = Deadlines::default();
    }

    /// The questions that are due.
    pub fn fire(&mut self, now: Time) -> Vec<Query> {
        let mut questions = Vec::new();
        while let Some(at) = self.due.pop_due(now) {
            let Some(entry) = self.entries.get_mut(at as usize) else { continue };
            // Whoever asks for us always answers; if that answer is lost, we ask again.
            self.due.set(at, Some(now + RETRY * 4));
            let mut lookup = Lookup::new(&entry.named, &entry.transports, entry.v6);
            questions.extend(lookup.start());
            entry.lookup = Some(lookup);
        }
        questions.sort();
        questions.dedup();
        questions
    }

    /// The DNS answered. Returns further questions, and what is worth a line in the log.
    pub fn answered(&mut self, now: Time, query: &Query, answer: &Answer) -> (Vec<Query>, Vec<News>) {
        let (mut questions, mut news) = (Vec::new(), Vec::new());
        for (at, entry) in (0u32..).zip(&mut self.entries) {
            let Some(lookup) = &mut entry.lookup else { continue };
            questions.extend(lookup.answered(query, answer));
            let Some(outcome) = lookup.outcome() else { continue };
            entry.lookup = None;
            let (next, told) = entry.settle(outcome);
            self.due.set(at, Some(now + next));
            news.extend(told);
        }
        questions.sort();
        questions.dedup();
        (questions, news)
    }

    /// The servers of a destination in the order in which they are to be tried now: by service, by priority, by chance and
    /// weight; those that failed lately after all others. None: it is no name.
    pub fn servers(
        &self,
        now: Time,
        trunk: &str,
        uri: &str,
        draw: &mut dyn FnMut(u32) -> u32,
    ) -> Option<Vec<(SipTransport, SocketAddr)>> {
        let place = Place { trunk: trunk.to_owned(), uri: uri.to_owned() };
        let entry = self.entries.get(*self.by_place.get(&place)?)?;
        let mut ordered = Vec::new();
        for at in order(&entry.servers, draw) {
            let Some(server) = entry.servers.get(at) else { continue };
            ordered.extend(server.addresses.iter().map(|ip| (server.transport, SocketAddr::new(*ip, server.port))));
        }
        let failed = |server: &(SipTransport, SocketAddr)| self.failed.get(server).is_some_and(|until| *until > now);
        ordered.sort_by_key(failed);
        Some(ordered)
    }

    /// A request to this server came to nothing.
    pub fn failed(&mut self, now: Time, transport: SipTransport, at: SocketAddr) {
        if self.entries.is_empty() {
            return;
        }
        if self.failed.len() >= FAILED_MOST {
            self.failed.retain(|_, until| *until > now);
        }
        if self.failed.len() < FAILED_MOST {
            self.failed.insert((transport, at), now + FAILED_FOR);
        }
    }

    /// The names of the trunk's destinations that have servers of this transport, those at `remote` only if it is given.
    pub fn hosts(&self, trunk: &str, transport: SipTransport, remote: Option<SocketAddr>) -> Vec<String> {
        let fits = |server: &&Server| {
            let there = |at: SocketAddr| server.port == at.port() && server.addresses.contains(&at.ip());
            server.transport == transport && remote.is_none_or(there)
        };
        let of_trunk = self.entries.iter().filter(|entry| entry.place.trunk == trunk);
        of_trunk
            .filter(|entry| entry.servers.iter().any(|server| fits(&server)))
            .map(|e| e.named.host.clone())
            .collect()
    }

    /// Whether the DNS names this address for a destination of the trunk.
    pub fn knows(&self, trunk: &str, ip: IpAddr) -> bool {
        let of_trunk = self.entries.iter().filter(|entry| entry.place.trunk == trunk);
        of_trunk.flat_map(|entry| &entry.servers).any(|server| server.addresses.contains(&ip))
    }
}

impl Entry {
    /// When to ask again, and what changed.
    fn settle(&mut self, outcome: Outcome) -> (Duration, Option<News>) {
        let Place { trunk, uri } = &self.place;
        let told = |bad, what: String| Some(News { bad, text: format!("destination {uri} of trunk {trunk}: {what}") });
        match outcome {
            Outcome::Failed => {
                let kept = if self.servers.is_empty() { "no server is known" } else { "what was known stays in use" };
                let first = !std::mem::replace(&mut self.failing, true);
                (RETRY, first.then(|| told(true, format!("the DNS does not answer; {kept}"))).flatten())
            }
            Outcome::Servers { servers, ttl_s } => {
                let ttl_s = ttl_s.clamp(TTL_S.0, TTL_S.1);
                let changed = self.servers != servers || std::mem::replace(&mut self.failing, false);
                self.servers = servers;
                let addresses: usize = self.servers.iter().map(|server| server.addresses.len()).sum();
                let bad = addresses == 0;
                let news = changed.then(|| told(bad, format!("the DNS names {addresses} servers"))).flatten();
                // Before it expires, so that no call waits for the DNS.
                (Duration::from_secs(u64::from(ttl_s)) * 4 / 5, news)
            }
        }
    }
}

/// RFC 3263 §4.1 and RFC 2782: by service, by priority, and by chance within one priority.
fn order(servers: &[Server], draw: &mut dyn FnMut(u32) -> u32) -> Vec<usize> {
    let candidates: Vec<choice::Candidate> =
        servers.iter().map(|s| choice::Candidate { priority: s.priority, weight: s.weight, calls: 0 }).collect();
    let mut places: Vec<usize> = (0..servers.len()).collect();
    let group_of = |at: &usize| servers.get(*at).map(|server| (server.rank, server.priority));
    places.sort_by_key(group_of);
    let mut ordered = Vec::with_capacity(places.len());
    for group in places.chunk_by(|a, b| group_of(a) == group_of(b)) {
        ordered.extend(choice::by_weight(&candidates, group.to_vec(), draw));
    }
    ordered
}
