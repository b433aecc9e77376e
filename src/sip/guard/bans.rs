//! Who is shut out, since when, until when and why. Slow-path thread; saved with the endpoint's state.
//!
//! Always holds: what is kept is bounded, apart for bans that were earned and for those that the operator set.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::networks::Networks;
use crate::base::{
    Time,
    limits::{SIP_BANS, SIP_BANS_OF_OPERATOR, SIP_OFFENDERS},
    marks::Marks,
};

/// What a source that is no trunk is banned for, if it does it often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offence {
    /// A message as scanners write them.
    Scanner,
    /// A request of somebody who is no trunk.
    UnknownCaller,
    /// What cannot be read.
    Malformed,
    /// More messages than it may send.
    Limit,
}

impl Offence {
    pub const ALL: [Offence; 4] = [Offence::Scanner, Offence::UnknownCaller, Offence::Malformed, Offence::Limit];

    pub const fn as_str(self) -> &'static str {
        match self {
            Offence::Scanner => "scanner",
            Offence::UnknownCaller => "unknown_caller",
            Offence::Malformed => "malformed",
            Offence::Limit => "limit",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// None: the operator's decision.
    pub offence: Option<Offence>,
    /// On the state's clock.
    pub since: Time,
    pub until: Time,
    /// Messages and connections that it kept out, in this process.
    #[serde(skip)]
    pub hits: u64,
}

/// Offences of one source since `since`.
#[derive(Clone, Copy, Debug)]
struct Tally {
    since: Time,
    count: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// 0: nobody is banned for offences.
    pub after: u32,
    pub window: Duration,
    pub lasts: Duration,
}

#[derive(Debug)]
pub struct Bans {
    terms: Terms,
    bans: Networks<Ban>,
    of_operator: usize,
    tallies: HashMap<IpNet, Tally>,
    next_tidy: Time,
    /// For the journal.
    changed: Marks<IpNet>,
}

const TIDY: Duration = Duration::from_secs(1);

impl Bans {
    pub fn new(terms: Terms) -> Self {
        Bans {
            terms,
            bans: Networks::default(),
            of_operator: 0,
            tallies: HashMap::new(),
            next_tidy: Time::ZERO,
            changed: Marks::default(),
        }
    }

    /// Whether `ip` is shut out now; counts it.
    pub fn stops(&mut self, now: Time, ip: IpAddr) -> bool {
        let Some((net, ban)) = self.bans.get_mut(ip) else { return false };
        if ban.until > now {
            ban.hits += 1;
            return true;
        }
        self.remove(net);
        // A wider network may be banned for longer.
        self.bans.get(ip).is_some_and(|ban| ban.until > now)
    }

    pub fn is_banned(&self, now: Time, ip: IpAddr) -> bool {
        self.bans.get(ip).is_some_and(|ban| ban.until > now)
    }

    /// Notes an offence of `source`. True if it is banned for it now.
    pub fn offends(&mut self, now: Time, source: IpNet, offence: Offence) -> bool {
        if self.terms.after == 0 {
            return false;
        }
        if self.tallies.len() >= SIP_OFFENDERS && !self.tallies.contains_key(&source) {
            self.tidy(now);
            if self.tallies.len() >= SIP_OFFENDERS {
                return false;
            }
        }
        let tally = self.tallies.entry(source).or_insert(Tally { since: now, count: 0 });
        if now.since(tally.since) >= self.terms.window {
            *tally = Tally { since: now, count: 0 };
        }
        tally.count += 1;
        if tally.count < self.terms.after {
            return false;
        }
        self.tallies.remove(&source);
        if self.bans.len() - self.of_operator >= SIP_BANS {
            self.tidy(now);
        }
        if self.bans.exact(source).is_some() || self.bans.len() - self.of_operator >= SIP_BANS {
            return false;
        }
        let ban = Ban { offence: Some(offence), since: now, until: now + self.terms.lasts, hits: 0 };
        self.put(source, ban);
        true
    }

    /// The operator bans a network, for `lasts` or as long as the configuration says. None: there are too many.
    pub fn add(&mut self, now: Time, net: IpNet, lasts: Option<Duration>) -> Option<Ban> {
        let before = self.bans.exact(net).filter(|ban| ban.offence.is_none());
        if before.is_none() && self.of_operator >= SIP_BANS_OF_OPERATOR {
            self.next_tidy = Time::ZERO;
            self.tidy(now);
            if self.of_operator >= SIP_BANS_OF_OPERATOR {
                return None;
            }
        }
        let ban = Ban { offence: None, since: now, until: now + lasts.unwrap_or(self.terms.lasts), hits: 0 };
        self.put(net, ban.clone());
        Some(ban)
    }

    /// One that was earned, given, or taken over from another host.
    pub fn put(&mut self, net: IpNet, ban: Ban) {
        self.changed.note(net);
        self.of_operator += usize::from(ban.offence.is_none());
        if let Some(before) = self.bans.insert(net, ban) {
            self.of_operator -= usize::from(before.offence.is_none());
        }
    }

    pub fn remove(&mut self, net: IpNet) -> Option<Ban> {
        let ban = self.bans.remove(net)?;
        self.of_operator -= usize::from(ban.offence.is_none());
        self.tallies.remove(&net.trunc());
        self.changed.note(net);
        Some(ban)
    }

    /// Those in force.
    pub fn iter(&self, now: Time) -> impl Iterator<Item = (&IpNet, &Ban)> {
        self.bans.iter().filter(move |(_, ban)| ban.until > now)
    }

    /// By offences, and by the operator; what has run out since the last tidying included.
    pub fn counts(&self) -> (usize, usize) {
        (self.bans.len() - self.of_operator, self.of_operator)
    }

    /// Forgets what has run out, at most once a second.
    pub fn tidy(&mut self, now: Time) {
        if now < self.next_tidy {
            return;
        }
        self.next_tidy = now + TIDY;
        let over: Vec<IpNet> = self.bans.iter().filter(|(_, b)| b.until <= now).map(|(net, _)| *net).collect();
        for net in over {
            self.remove(net);
        }
        let window = self.terms.window;
        self.tallies.retain(|_, tally| now.since(tally.since) < window);
    }

    /// Whether `take_changed` is asked for.
    pub fn follow(&mut self, asked: bool) {
        self.changed.ask(asked);
    }

    /// Networks whose bans came, changed or went.
    pub fn take_changed(&mut self) -> Vec<IpNet> {
        self.changed.take().collect()
    }

    /// All there are, also what has run out since the last tidying.
    pub fn networks(&self) -> impl Iterator<Item = IpNet> {
        self.bans.iter().map(|(net, _)| *net)
    }

    pub fn get(&self, net: IpNet) -> Option<&Ban> {
        self.bans.exact(net)
    }
}
