//! In which order a trunk's destinations are tried. Slow-path thread.
//!
//! The lowest priority number first; within one priority as the policy says. A destination that is down, or whose trunk
//! must be registered and is not, is not tried while any other of the route is up; if none is, all are tried, since a wrong guess costs less than a lost call.

use std::{cmp::Ordering, net::SocketAddr};

use super::limits::configured;
use crate::{
    base::Time,
    config::{Policy, SipTransport, TrunkDestination},
    sip::{
        endpoint::Core,
        route::{Destination, listener},
    },
};

/// What a policy looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub priority: u16,
    pub weight: u16,
    /// In progress there.
    pub calls: u32,
}

/// The destinations of a route, each trunk's in its policy's order, without those that are down.
pub fn arrange(core: &mut Core, now: Time, listed: Vec<Destination>) -> Vec<Destination> {
    let mut arranged = Vec::with_capacity(listed.len());
    let mut rest = listed.into_iter().peekable();
    while let Some(first) = rest.next() {
        let mut group = vec![first];
        while let Some(next) = rest.next_if(|next| next.trunk == group[0].trunk) {
            group.push(next);
        }
        for to in arrange_trunk(core, group) {
            arranged.extend(servers(core, now, to));
        }
    }
    let down = |to: &Destination| {
        let known = core.live.trunks.destination(&to.trunk, &to.uri);
        known.is_some_and(|to| !to.health.is_up()) || core.live.registrations.keeps_from(&to.trunk, now)
    };
    if arranged.iter().all(down) {
        return arranged;
    }
    arranged.retain(|to| !down(to));
    arranged
}

/// A destination that is a name becomes its servers (RFC 3263), each over its own transport; another stays as it is.
fn servers(core: &mut Core, now: Time, to: Destination) -> Vec<Destination> {
    let random = &mut core.random;
    let Some(found) = core.names.servers(now, &to.trunk, &to.uri, &mut |below| random.below(below)) else {
        return vec![to];
    };
    let name = core.local(to.listener).map(|local| local.name.clone()).unwrap_or_default();
    let at = |(transport, remote): (SipTransport, SocketAddr)| {
        let listener = listener(&core.locals, &name, transport)?;
        Some(Destination { listener, transport, remote, ..to.clone() })
    };
    found.into_iter().filter_map(at).collect()
}

/// Where a destination is reached first: for OPTIONS to it.
pub fn first_server(core: &mut Core, now: Time, trunk: &str, uri: &str) -> Option<Destination> {
    all_servers(core, now, trunk, uri).into_iter().next()
}

/// The servers of a destination, or of the trunk's registrar, in the order in which they are to be tried.
pub fn all_servers(core: &mut Core, now: Time, trunk: &str, uri: &str) -> Vec<Destination> {
    let to = core.routing.place(trunk, uri).cloned();
    to.map(|to| servers(core, now, to)).unwrap_or_default()
}

fn arrange_trunk(core: &mut Core, group: Vec<Destination>) -> Vec<Destination> {
    let Some(trunk) = configured(core, &group[0].trunk) else { return group };
    let (policy, name) = (trunk.policy, trunk.name.clone());
    let entry = |to: &Destination| trunk.destinations.iter().find(|entry| entry.uri == to.uri);
    let candidates: Vec<Candidate> = group
        .iter()
        .map(|to| Candidate {
            priority: entry(to).map_or(TrunkDestination::PRIORITY, |entry| entry.priority),
            weight: entry(to).map_or(TrunkDestination::WEIGHT, |entry| entry.weight),
            calls: core.live.trunks.destination(&to.trunk, &to.uri).map_or(0, |to| to.calls),
        })
        .collect();
    let turn = match core.live.trunks.by_name.get_mut(&name) {
        Some(state) => {
            state.turn = state.turn.wrapping_add(1);
            state.turn.wrapping_sub(1)
        }
        None => 0,
    };
    let random = &mut core.random;
    let places = order(policy, &candidates, turn, &mut |below| random.below(below));
    let mut group: Vec<Option<Destination>> = group.into_iter().map(Some).collect();
    places.into_iter().filter_map(|at| group.get_mut(at)?.take()).collect()
}

/// The candidates' places in the order in which they are tried. `turn` counts the calls so far, `draw` gives a number
/// below its argument.
pub fn order(policy: Policy, candidates: &[Candidate], turn: u32, draw: &mut dyn FnMut(u32) -> u32) -> Vec<usize> {
    let mut places: Vec<usize> = (0..candidates.len()).collect();
    // Stable: those that share a priority stay as listed.
    places.sort_by_key(|at| candidates[*at].priority);
    let mut ordered = Vec::with_capacity(places.len());
    for group in places.chunk_by(|a, b| candidates[*a].priority == candidates[*b].priority) {
        let mut group = group.to_vec();
        match policy {
            Policy::Order => {}
            Policy::RoundRobin => rotate(&mut group, turn),
            Policy::Weighted => group = by_weight(candidates, group, draw),
            Policy::LeastCalls => {
                // Among equals each in turn: else the first would get every call of an idle trunk.
                rotate(&mut group, turn);
                group.sort_by(|a, b| less_busy(&candidates[*a], &candidates[*b]));
            }
        }
        ordered.extend(group);
    }
    ordered
}

fn rotate(group: &mut [usize], turn: u32) {
    let by = turn as usize % group.len().max(1);
    group.rotate_left(by);
}

/// Fewer calls for its weight; one without weight after all that have one.
fn less_busy(a: &Candidate, b: &Candidate) -> Ordering {
    let share = |calls: u32, other: u16| u64::from(calls) * u64::from(other);
    (a.weight == 0)
        .cmp(&(b.weight == 0))
        .then_with(|| share(a.calls, b.weight.max(1)).cmp(&share(b.calls, a.weight.max(1))))
}

/// RFC 2782, "Usage rules", Weight: those of weight 0 first in the list; draw a number from 0 to the sum of the weights;
/// the first whose running sum is not less than it is next; again with the rest.
pub fn by_weight(candidates: &[Candidate], mut group: Vec<usize>, draw: &mut dyn FnMut(u32) -> u32) -> Vec<usize> {
    group.sort_by_key(|at| candidates[*at].weight != 0);
    let mut ordered = Vec::with_capacity(group.len());
    while group.len() > 1 {
        let sum: u32 = group.iter().map(|at| u32::from(candidates[*at].weight)).sum();
        let drawn = draw(sum.saturating_add(1));
        let mut running = 0;
        let next = group.iter().position(|at| {
            running += u32::from(candidates[*at].weight);
            running >= drawn
        });
        ordered.push(group.remove(next.unwrap_or(0)));
    }
    ordered.extend(group);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(priority: u16, weight: u16, calls: u32) -> Candidate {
        Candidate { priority, weight, calls }
    }

    fn never(_: u32) -> u32 {
        panic!("this policy leaves nothing to chance");
    }

    #[test]
    fn priorities_come_first_and_order_is_as_listed() {
        let all = [of(2, 1, 0), of(1, 1, 9), of(2, 1, 0), of(1, 1, 0)];
        assert_eq!(order(Policy::Order, &all, 5, &mut never), [1, 3, 0, 2]);
    }

    #[test]
    fn round_robin_turns_within_each_priority() {
        let all = [of(1, 1, 0), of(1, 1, 0), of(1, 1, 0), of(2, 1, 0), of(2, 1, 0)];
        let at = |turn| order(Policy::RoundRobin, &all, turn, &mut never);
        assert_eq!(at(0), [0, 1, 2, 3, 4]);
        assert_eq!(at(1), [1, 2, 0, 4, 3]);
        assert_eq!(at(2), [2, 0, 1, 3, 4]);
        assert_eq!(at(3), [0, 1, 2, 4, 3]);
    }

    #[test]
    fn least_calls_looks_at_the_weight_and_takes_turns_among_equals() {
        let all = [of(1, 1, 4), of(1, 3, 9), of(1, 1, 5)];
        assert_eq!(order(Policy::LeastCalls, &all, 0, &mut never), [1, 0, 2]);
        let idle = [of(1, 1, 0), of(1, 1, 0), of(1, 0, 0)];
        assert_eq!(order(Policy::LeastCalls, &idle, 0, &mut never), [0, 1, 2]);
        assert_eq!(order(Policy::LeastCalls, &idle, 1, &mut never), [1, 0, 2]);
        assert_eq!(order(Policy::LeastCalls, &idle, 2, &mut never)[2], 2);
    }

    #[test]
    fn the_weighted_choice_is_that_of_rfc_2782() {
        // Weights 0, 1 and 3: numbers are drawn from 0 to 4, both included. Zero-weight ones stand first in the list.
        let all = [of(0, 1, 0), of(0, 0, 0), of(0, 3, 0)];
        let first = |drawn: u32| {
            let mut asked = Vec::new();
            let places = by_weight(&all, vec![0, 1, 2], &mut |below| {
                asked.push(below);
                if asked.len() == 1 { drawn } else { 0 }
            });
            assert_eq!(asked[0], 5);
            places[0]
        };
        // Running sums 0, 1, 4.
        assert_eq!([first(0), first(1), first(2), first(3), first(4)], [1, 0, 2, 2, 2]);
    }

    #[test]
    fn over_many_calls_the_shares_are_those_of_the_weights() {
        let all = [of(1, 10, 0), of(1, 30, 0), of(1, 60, 0), of(7, 1, 0)];
        let mut random = crate::sip::endpoint::Random::for_tests();
        let mut firsts = [0u32; 4];
        for turn in 0..20_000 {
            let places = order(Policy::Weighted, &all, turn, &mut |below| random.below(below));
            let mut sorted = places.clone();
            sorted.sort_unstable();
            assert_eq!((sorted, places[3]), (vec![0, 1, 2, 3], 3));
            firsts[places[0]] += 1;
        }
        // The draw includes 0, which the first listed gets: shares are 11, 30 and 60 of 101.
        for (at, share) in [11.0 / 101.0, 30.0 / 101.0, 60.0 / 101.0].into_iter().enumerate() {
            let found = f64::from(firsts[at]) / 20_000.0;
            assert!((found - share).abs() < 0.015, "{at}: {found} for {share}");
        }
    }
}
