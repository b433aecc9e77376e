//! The dial plan: which rule a call follows, and why not another. Slow-path thread, and `tandem route`; compiled once
//! from the configuration, then read only. A look-up costs the number of prefix lengths, not the number of rules.
//!
//! Emergency rules go before all others. Then the longest prefix; among equal ones a rule that names the trunk it comes
//! from, then one that names its times, then the one that stands first. A rule that is for other trunks, or closed at
//! the time, gives way to the next.

use std::{cmp::Reverse, collections::HashMap};

use serde::Serialize;

use super::{
    TrunkId,
    numbers::{Number, Numbers},
    times::Times,
};
use crate::{
    config::{Config, Numbers as Scheme, Rewrite},
    sip::message::{Message, Uri},
};

/// What is to be routed.
#[derive(Clone, Debug)]
pub struct Asked {
    pub from: TrunkId,
    /// The Request-URI.
    pub called: Option<Uri>,
    /// The URI of From.
    pub calling: Option<Uri>,
    /// Wall time in milliseconds since 1970.
    pub at_ms: u64,
}

impl Asked {
    pub fn of(request: &Message, from: TrunkId, at_ms: u64) -> Asked {
        let calling = request.from().ok().map(|from| from.uri);
        Asked { from, called: request.uri().cloned(), calling, at_ms }
    }
}

/// What the plan says, with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub numbers: Numbers,
    /// Index into `config.routes`; None: no rule fits.
    pub rule: Option<usize>,
    /// The call is to an emergency number: no limit may refuse it.
    pub emergency: bool,
    /// In order of preference.
    pub to: Vec<TrunkId>,
    /// Every rule that the number fits, in the order of their claims.
    pub considered: Vec<Considered>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Considered {
    /// Index into `config.routes`.
    pub rule: usize,
    pub verdict: Verdict,
}

/// Why a rule that the number fits is followed, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Wins,
    /// It is for calls from other trunks.
    OtherTrunk,
    /// None of its times is now.
    Closed,
    /// The winner is for this emergency number.
    NoEmergency,
    /// The winner's prefix is longer.
    ShorterPrefix,
    /// The winner, of the same prefix, names the trunk.
    NamesNoTrunk,
    /// The winner, of the same prefix, names its times.
    NamesNoTimes,
    /// The winner, with the same claim, stands before it.
    StandsLater,
}

#[derive(Debug)]
struct Rule {
    /// Index into `config.routes`.
    at: usize,
    length: usize,
    /// Empty: any.
    from: Vec<TrunkId>,
    times: Option<Times>,
    emergency: bool,
    called: Rewrite,
    calling: Rewrite,
    to: Vec<TrunkId>,
}

#[derive(Debug, Default)]
pub struct Plan {
    rules: Vec<Rule>,
    /// Indices into `rules`, the better claim first.
    prefixes: HashMap<String, Vec<usize>>,
    longest_prefix: usize,
    /// By the whole number.
    emergencies: HashMap<String, Vec<usize>>,
    /// How each trunk writes numbers.
    schemes: Vec<Scheme>,
}

impl Plan {
    /// Names that lead nowhere are left out, and rules that cannot be read: the loader refuses them.
    pub fn new(config: &Config, trunks: &HashMap<String, TrunkId>) -> Plan {
        let mut plan =
            Plan { schemes: config.trunks.iter().map(|trunk| trunk.numbers.clone()).collect(), ..Plan::default() };
        let ids = |names: &[String]| -> Vec<TrunkId> { names.iter().filter_map(|n| trunks.get(n).copied()).collect() };
        for (at, route) in config.routes.iter().enumerate() {
            let from = ids(&route.from);
            if from.is_empty() && !route.from.is_empty() {
                continue;
            }
            let times = match route.times.as_slice() {
                [] => None,
                windows => {
                    let zone = route.timezone.as_deref().unwrap_or(&config.sip.timezone);
                    let Some(times) = Times::new(windows, zone) else { continue };
                    Some(times)
                }
            };
            let index = plan.rules.len();
            if route.emergency {
                plan.emergencies.entry(route.prefix.clone()).or_default().push(index);
            } else {
                plan.longest_prefix = plan.longest_prefix.max(route.prefix.len());
                plan.prefixes.entry(route.prefix.clone()).or_default().push(index);
            }
            plan.rules.push(Rule {
                at,
                length: route.prefix.len(),
                from,
                times,
                emergency: route.emergency,
                called: route.called.clone(),
                calling: route.calling.clone(),
                to: ids(&route.to),
            });
        }
        let rules = &plan.rules;
        for list in plan.prefixes.values_mut().chain(plan.emergencies.values_mut()) {
            list.sort_by_key(|index| rules.get(*index).map(Rule::claim));
        }
        plan
    }

    /// How a trunk writes numbers.
    pub fn scheme(&self, trunk: TrunkId) -> Option<&Scheme> {
        self.schemes.get(usize::from(trunk.0))
    }

    /// Where a call goes, and why.
    pub fn choose(&self, asked: &Asked) -> Choice {
        let scheme = self.scheme(asked.from);
        let called = asked.called.as_ref().map(|uri| Number::of(uri, scheme)).unwrap_or_default();
        let calling = asked.calling.as_ref().and_then(|uri| Number::of_caller(uri, scheme));
        let mut numbers = Numbers { called, calling };
        let mut considered = Vec::new();
        let mut winner: Option<&Rule> = None;
        for rule in self.candidates(&numbers.called) {
            let verdict = if !rule.from.is_empty() && !rule.from.contains(&asked.from) {
                Verdict::OtherTrunk
            } else if rule.times.as_ref().is_some_and(|times| !times.are_open(asked.at_ms)) {
                Verdict::Closed
            } else {
                winner.map_or(Verdict::Wins, |winner| rule.yields_to(winner))
            };
            if verdict == Verdict::Wins {
                winner = Some(rule);
            }
            considered.push(Considered { rule: rule.at, verdict });
        }
        if let Some(rule) = winner {
            numbers.called.rewrite(&rule.called);
            numbers.rewrite_calling(&rule.calling, asked.calling.as_ref());
        }
        Choice {
            numbers,
            rule: winner.map(|rule| rule.at),
            emergency: winner.is_some_and(|rule| rule.emergency),
            to: winner.map(|rule| rule.to.clone()).unwrap_or_default(),
            considered,
        }
    }

    /// The rules that the number fits, the better claim first.
    fn candidates<'p>(&'p self, called: &Number) -> impl Iterator<Item = &'p Rule> {
        // An emergency number counts however it was dialled.
        let again = (called.dialled != called.seen).then_some(called.dialled.as_str());
        let urgent = [Some(called.seen.as_str()), again].into_iter().flatten().filter_map(|n| self.emergencies.get(n));
        let longest = self.longest_prefix.min(called.seen.len());
        let prefixes = (0..=longest).rev().filter_map(|length| self.prefixes.get(called.seen.get(..length)?));
        let indices: Vec<usize> = urgent.chain(prefixes).flatten().copied().collect();
        indices.into_iter().filter_map(|index| self.rules.get(index))
    }
}

impl Rule {
    /// Smaller is better.
    fn claim(&self) -> (Reverse<usize>, bool, bool, usize) {
        (Reverse(self.length), self.from.is_empty(), self.times.is_none(), self.at)
    }

    /// Why `winner` goes before it.
    fn yields_to(&self, winner: &Rule) -> Verdict {
        if winner.emergency && !self.emergency {
            Verdict::NoEmergency
        } else if self.length < winner.length {
            Verdict::ShorterPrefix
        } else if self.from.is_empty() && !winner.from.is_empty() {
            Verdict::NamesNoTrunk
        } else if self.times.is_none() && winner.times.is_some() {
            Verdict::NamesNoTimes
        } else {
            Verdict::StandsLater
        }
    }
}
